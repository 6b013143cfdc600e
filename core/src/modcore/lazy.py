"""Packages whose public names are imported when they are first used (PEP 562), so that the package itself is cheap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any


def lazy(
    package: str,
    homes: Mapping[str, str],
    *,
    who: str = "",
    extra: str = "",
    brings: Collection[str] = (),
) -> Callable[[str], Any]:
    """The ``__getattr__`` of `package`: each name of `homes` lives in the module that it names there.

    What `extra` of modcore `brings` may be missing: then MissingExtra says that `who` (``The engine needs``) it.
    """

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import importlib

        try:
            return getattr(importlib.import_module(f"{package}.{home}"), name)
        except ModuleNotFoundError as error:
            if error.name not in brings:
                raise
            from modcore.errors import MissingExtra

            raise MissingExtra(
                f"{who} {error.name}, which is not installed; try: pip install 'modcore[{extra}]'"
            ) from error

    return find
