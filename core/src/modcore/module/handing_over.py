"""A module on its way to another process: as bytes for a private pipe, with the secrets that it needs there."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from modcore.errors import MissingExtra
from modcore.gateway.cluster_key import ClusterKey
from modcore.module.base import ModuleBase


@dataclass(slots=True)
class Receiver:
    """The process that a module is pickled for: its `gateway` (``""``: none), and keys that it needs."""

    gateway: str = ""
    keys: list[ClusterKey] = field(default_factory=list)


#: Set while a module is pickled for a process that is about to be started.
receiver: ContextVar[Receiver | None] = ContextVar("modcore_receiver", default=None)


def pickled_for(process: Receiver, module: ModuleBase) -> bytes:
    """`module` for the private pipe of `process`: by reference where it can be imported, else by value."""
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "ServerModule needs cloudpickle, which is not installed; try: pip install 'modcore[serve]'"
        ) from error
    token = receiver.set(process)
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
