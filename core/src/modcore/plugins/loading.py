"""Importing what an entry point names, and keeping a plugin's misbehaviour from everyone else.

Whatever a plugin does at import (raise, call ``sys.exit``, print, never come back) becomes a
PluginError that names the distribution, its version, the cause and the ``pip`` line that helps.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from modcore.errors import MissingExtra, PluginError
from modcore.plugins.discovery import PluginEntry

TIMEOUT = "MODCORE_PLUGIN_TIMEOUT"

_ENGINE_EXTRA = frozenset({"jinja2", "numpy", "safetensors", "torch", "transformers"})


class _Redirection:
    """Sends stdout to stderr while anybody asks for it; threads may ask at the same time.

    What a plugin prints must not end up in ``--json`` output, nor what a program prints that it
    starts: so it is the file descriptor that is redirected, besides Python's object.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._restore = contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._redirect()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._restore.close()

    def _redirect(self) -> None:
        self._restore.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError):  # a program may run without a stdout or stderr
            if sys.__stdout__ is not None:
                sys.__stdout__.flush()
            kept = os.dup(1)
            self._restore.callback(os.close, kept)
            os.dup2(2, 1)
            self._restore.callback(os.dup2, kept, 1)


stdout_to_stderr = _Redirection()


def load(entry: PluginEntry) -> Any:
    """The object that `entry` names; raises PluginError with the cause chained."""
    with stdout_to_stderr():
        return _import(entry)


def load_all_within(entries: Sequence[PluginEntry], seconds: float) -> list[Any]:
    """The objects that `entries` name; in the place of one that fails, its PluginError.

    They are imported side by side and have `seconds` together: a plugin that never comes back costs
    no more than that, however many there are. Its import goes on in a daemon thread that nobody
    waits for.
    """
    outcomes: dict[PluginEntry, Any] = {}

    def work(entry: PluginEntry) -> None:
        try:
            outcomes[entry] = _import(entry)
        except PluginError as error:
            outcomes[entry] = error
        except BaseException as error:  # KeyboardInterrupt, which no key can raise in a thread
            outcomes[entry] = broken(entry, error)

    threads = [
        threading.Thread(target=work, args=(entry,), name=f"import {entry.dist}", daemon=True)
        for entry in entries
    ]
    deadline = time.monotonic() + seconds
    with stdout_to_stderr():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    return [outcomes.get(entry, _overdue(entry, seconds)) for entry in entries]


def _overdue(entry: PluginEntry, seconds: float) -> PluginError:
    return PluginError(
        f"plugin {entry.provenance} ({entry.target}) is still importing after {seconds:g} s "
        f"and is left out; {remedy(entry, None)}"
    )


def _import(entry: PluginEntry) -> Any:
    module_name, _, attributes = entry.target.partition("[")[0].partition(":")
    try:
        loaded: Any = importlib.import_module(module_name.strip())
        for attribute in filter(None, attributes.strip().split(".")):
            loaded = getattr(loaded, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # plugins raise anything, SystemExit included
        raise broken(entry, error) from error
    return loaded


def broken(entry: PluginEntry, error: BaseException) -> PluginError:
    """The error for an entry that failed with `error`."""
    fault = (
        f"plugin {entry.provenance} is broken: {entry.describe()} fails with {first_line(error)}"
    )
    if isinstance(error, MissingExtra):  # says itself what to install
        return PluginError(fault)
    return PluginError(f"{fault}; {remedy(entry, error)}")


def first_line(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def remedy(entry: PluginEntry, error: BaseException | None) -> str:
    """The ``pip`` line that helps with a broken entry."""
    if isinstance(error, ModuleNotFoundError) and error.name in _ENGINE_EXTRA:
        return "try: pip install 'modcore[engine]'"
    return (
        f"try: pip install --upgrade --force-reinstall {entry.dist}, or pip uninstall {entry.dist}"
    )


def import_timeout(environ: Mapping[str, str], default: float) -> float:
    """How many seconds an import may take: ``MODCORE_PLUGIN_TIMEOUT`` in `environ`, or `default`."""
    text = environ.get(TIMEOUT, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise PluginError(f"{TIMEOUT}={text!r} is not a number of seconds; correct or unset it.")
    return seconds


def noted(function: Callable[..., Any], note: str) -> Callable[..., Any]:
    """`function`, with a note on whatever it raises."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            error.add_note(note)
            raise

    return call


def isolated(
    function: Callable[..., Any], report: Callable[[BaseException], None]
) -> Callable[..., Any]:
    """`function`, with whatever it raises reported instead; it then answers None."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            with stdout_to_stderr():
                return function(*args)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            report(error)
            return None

    return call


def isolated_wrapper(
    function: Callable[..., Any], report: Callable[[BaseException], None]
) -> Callable[..., Any]:
    """As `isolated`, for a pluggy hook wrapper: a generator that yields once, around the others.

    Where the wrapper raises, the result is what it would be without it.
    """

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        wrapper = function(*args)
        try:
            next(wrapper)
        except Exception as error:
            report(error)
            return (yield)
        result = yield
        try:
            wrapper.send(result)
        except StopIteration as done:
            return done.value
        except Exception as error:
            report(error)
        return result

    return call
