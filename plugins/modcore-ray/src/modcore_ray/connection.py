"""The connection of this process to Ray: made for the first service, given back with the last."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from modcore.errors import MissingExtra, ServiceError
from modcore.flow.interrupts import HEARTBEAT, Latch
from modcore_ray.existing_ray import connect_to, named_address, verify_guarded
from modcore_ray.guard import start_guard
from modcore_ray.local_ray import start_local_ray, temporary_place
from modcore_ray.quiet import quiet


class Placed(Protocol):
    """What is to be ended when this process ends."""

    def end_at_exit(self) -> None:
        """End it, without waiting."""
        ...


class Connection:
    """Counts who uses Ray in this process; a Ray that the program itself has connected to is used, and left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._keeper: _Keeper | None = None
        self._placed: weakref.WeakSet[Placed] = weakref.WeakSet()

    @property
    def is_ours(self) -> bool:
        """Whether Ray runs for this process alone: what it has not now it will never have."""
        return self.place is not None

    def is_lost(self) -> bool:
        """Whether nothing will ever be placed again: the one node of a Ray of our own is dead."""
        import ray

        return self.is_ours and not any(node["Alive"] for node in ray.nodes())

    @property
    def place(self) -> Path | None:
        """The directory of a Ray that runs for this process; None when there is none."""
        return self._keeper.place if self._keeper is not None else None

    def acquire(self) -> None:
        """Connect, if nobody has; raises ServiceError when that fails."""
        import_ray()
        with self._lock:
            if not self._users:
                self._connect()
            self._users += 1

    def release(self) -> None:
        """The other half of `acquire`; the last one ends what the first has started."""
        with self._lock:
            self._users -= 1
            keeper = None if self._users else self._keeper
            if keeper is not None:
                self._keeper = None
                keeper.end()

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[bool]:
        """Whether Ray is there, and stays for now: asked when it is not, Ray would start itself."""
        with self._lock:
            is_there = self._users > 0
            self._users += is_there
        try:
            yield is_there
        finally:
            if is_there:
                self.release()

    def look_after(self, placed: Placed) -> None:
        """End `placed` when this process ends, if it has not ended by then."""
        self._placed.add(placed)

    def _connect(self) -> None:
        import ray

        if ray.is_initialized():  # by the program itself
            verify_guarded()
        else:
            keeper = _Keeper()
            keeper.wait_until_up()
            self._keeper = keeper
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)  # behind Ray's own, so it comes first

    def _at_exit(self) -> None:
        for placed in list(self._placed):
            placed.end_at_exit()
        keeper = self._keeper
        if keeper is not None:
            keeper.end()


class _Keeper(threading.Thread):
    """The thread that connects, and lives as long as the connection: see `start_local_ray`."""

    def __init__(self) -> None:
        super().__init__(name="ray", daemon=True)
        self._address = named_address()
        self.place = temporary_place() if self._address is None else None
        self._up, self._over = Latch(), threading.Event()
        self._failure: Exception | None = None
        self.start()

    def wait_until_up(self) -> None:
        try:
            while not self._up.wait(HEARTBEAT):
                pass
        except BaseException:  # whoever waited has lost patience
            self._over.set()
            raise
        if isinstance(self._failure, ServiceError):
            raise self._failure
        if self._failure is not None:
            raise ServiceError(f"Ray cannot be started: {self._failure}") from self._failure

    def end(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        import ray

        with quiet(), contextlib.ExitStack() as guards:
            try:
                self._connect(guards)
            except Exception as error:  # Ray raises anything
                self._failure = error
            self._up.set()
            if self._failure is None:
                self._over.wait()
            ray.shutdown()

    def _connect(self, guards: contextlib.ExitStack) -> None:
        if self._address is not None:
            connect_to(self._address)
        elif self.place is not None:
            guards.callback(shutil.rmtree, self.place, ignore_errors=True)
            start_local_ray(self.place)
            guards.enter_context(start_guard(self.place))


def import_ray() -> None:
    """Import it; raises MissingExtra when it is not there."""
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise MissingExtra(
            "The launcher ray needs Ray, which is not installed; try: pip install modcore-ray"
        ) from error


#: Ray itself is one for each process.
connection = Connection()
