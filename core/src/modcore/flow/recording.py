"""What a running pipeline has been given and has made so far, for those who bind to it.

The running calls are a linked list in a context variable: every thread, task and branch sees its
own, the innermost first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, frozen=True)
class Recording:
    """One call of `flow`; `outputs` by the number of the item."""

    flow: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    around: Recording | None
    outputs: dict[int, Any] = field(default_factory=dict)


_innermost: ContextVar[Recording | None] = ContextVar("modcore_flow_calls", default=None)


@contextmanager
def recording(flow: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[Recording]:
    """Record a call of `flow` while the block runs."""
    made = Recording(flow, args, kwargs, _innermost.get())
    token = _innermost.set(made)
    try:
        yield made
    finally:
        _innermost.reset(token)


def recording_of(flow: Any) -> Recording | None:
    """The innermost running call of `flow`."""
    found = _innermost.get()
    while found is not None and found.flow is not flow:
        found = found.around
    return found
