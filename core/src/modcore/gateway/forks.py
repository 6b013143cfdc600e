"""What a fork leaves behind: locks that nobody will release, threads that do not run any more."""

from __future__ import annotations

import functools
import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something with locks, threads or connections that a forked child cannot use."""

    def after_fork(self) -> None:
        """Make locks new, and forget threads and connections; called in the child, alone."""
        ...


_owners: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(owner: Renewable) -> None:
    """Call ``owner.after_fork()`` in every child that this process forks, as long as `owner` lives."""
    _begin()
    _owners.add(owner)


@functools.cache
def _begin() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    for owner in list(_owners):
        owner.after_fork()
