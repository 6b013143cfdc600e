"""The module that an entry point leads to: it, or what it makes of ``--args``."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from modcore.deploy.entry_point import EntryPoint
from modcore.errors import InvalidRequest, ServiceError, named_kind

if TYPE_CHECKING:
    from modcore.module import ModuleBase


def read_arguments(text: str | None) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments in JSON: an object of keyword arguments or a list; raises InvalidRequest."""
    if text is None:
        return None
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"it is no JSON ({error}): {text:.80}", param="args") from None
    if isinstance(arguments, dict):
        return [], arguments
    if isinstance(arguments, list):
        return arguments, {}
    raise InvalidRequest(
        f"{text:.80} is neither an object (of keyword arguments) nor a list.", param="args"
    )


def entry_module(
    entry: EntryPoint, arguments: tuple[list[Any], dict[str, Any]] | None
) -> ModuleBase:
    """The module at `entry`: a class or, given `arguments`, a function is called to make it.

    Raises ServiceError, with the cause, when it leads to nothing that can be served.
    """
    from modcore.module import ActionModule, ModuleBase

    found = entry.load()
    if inspect.isclass(found) or arguments is not None:
        found = _made(entry, found, *(arguments or ([], {})))
    if isinstance(found, ModuleBase):
        return found
    if not callable(found):
        raise ServiceError(
            f"{entry} is {_kind(found)}, which cannot be served; it has to be a Module, a flow, a "
            "callable, or a class or (with --args) a function that makes one."
        )
    return ActionModule(found)


def _made(entry: EntryPoint, maker: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if not callable(maker):
        raise ServiceError(
            f"{entry} is {_kind(maker)}, which takes no --args; only a class or a function does."
        )
    try:
        inspect.signature(maker).bind(*args, **kwargs)
    except TypeError as error:
        raise ServiceError(
            f"--args do not fit {entry}{inspect.signature(maker)}: {error}."
        ) from None
    except ValueError:
        pass  # what is not written in Python may have no signature
    try:
        return maker(*args, **kwargs)
    except Exception as error:
        raise ServiceError(
            f"{entry}: making it fails with {type(error).__name__}: {error}"
        ) from error


def _kind(value: object) -> str:
    return f"{named_kind(type(value))} ({value!r:.60})"
