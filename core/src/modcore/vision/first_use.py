"""What a vision model builds is built once, when it is first needed, by whoever needs it first.

Plugins write plain methods; that they are called in order, once and by one thread is seen to here.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch

#: Methods that run once for each model.
BUILDERS = ("build_preprocessor", "build_model")


class FirstUse:
    """Remembers which builders of one model have run."""

    def __init__(self) -> None:
        self._done: set[object] = set()
        self._lock = threading.RLock()  # a builder may call its base's, or the other one

    def once(self, build: Callable[[], None], key: object) -> None:
        """Call `build`, unless it was called under `key` and returned."""
        if key in self._done:
            return
        with self._lock:
            if key not in self._done:
                build()
                self._done.add(key)


def build_on_first_use(cls: type) -> None:
    """Let the builders that `cls` defines run once, and its ``forward`` after them, without gradients."""
    wraps = {**dict.fromkeys(BUILDERS, _once), "forward": _built}
    for name in wraps.keys() & vars(cls).keys():
        setattr(cls, name, wraps[name](vars(cls)[name]))


def _once(build: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(build)
    def wrapped(self: Any) -> None:
        self.first_use.once(functools.partial(build, self), build)

    return wrapped


def _built(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def wrapped(self: Any, *args: Any, **named: Any) -> Any:
        self.build_model()
        with torch.inference_mode():  # else the cache would hold what gradients are made of
            return forward(self, *args, **named)

    return wrapped
