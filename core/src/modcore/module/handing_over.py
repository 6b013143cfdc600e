"""A module on its way to a process of its own, as bytes for that one's private pipe."""

from __future__ import annotations

from contextvars import ContextVar

from modcore.errors import MissingExtra
from modcore.module.base import ModuleBase

#: The gateway of the process that a module is being pickled for (``""``: it has none); None outside of that.
receiver: ContextVar[str | None] = ContextVar("modcore_receiver", default=None)


def pickled_for(gateway: str, module: ModuleBase) -> bytes:
    """`module` for a process at `gateway`: by reference where it can be imported, else by value."""
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "ServerModule needs cloudpickle, which is not installed; try: pip install 'modcore[serve]'"
        ) from error
    token = receiver.set(gateway)
    try:
        return bytes(cloudpickle.dumps(module))
    except Exception as error:  # an object may raise anything when it is pickled
        raise TypeError(
            f"{type(module).__name__} cannot be sent to its process ({type(error).__name__}: {error}): an "
            "attribute or a captured variable of it holds something that belongs to this process, such "
            "as a lock, a socket or an open file; make it when it is first used instead."
        ) from error
    finally:
        receiver.reset(token)
