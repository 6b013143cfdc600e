"""Running calls in other processes.

They are spawned, shared by all flows of this process, and end with it. A call that nobody waits for
any more is interrupted; a process that does not leave it is killed. Functions, arguments and
results travel pickled, between processes that trust each other because one has started the others;
context variables stay behind.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from modcore.flow.binding import bind
from modcore.flow.board import Board, doing
from modcore.flow.branches import results_of
from modcore.flow.calls import Call, settled
from modcore.flow.errors import FlowError, InvalidFlow
from modcore.flow.interrupts import GRACE, HEARTBEAT

_lock = threading.Lock()
_pools: dict[int, _Pool] = {}
_numbers = itertools.count(1)


def in_processes(kind: str, calls: Sequence[Call]) -> list[Any]:
    """Each call in another process, as many at a time as there are cores."""
    parcels = _submit(kind, calls)
    futures = list(parcels.values())
    try:
        _wait(futures, until_failure=True)
        _cancel(futures)
        _wait([future for future in futures if not future.cancelled()])
    except BaseException:  # an interrupt of the wait
        _give_up(parcels)
        raise
    return _results(kind, calls, futures)


def _wait(futures: Sequence[Future[bytes]], *, until_failure: bool = False) -> None:
    """Wait for all; looking up now and then, so that another thread can interrupt this one."""
    left: Iterable[Future[bytes]] = futures
    while left:
        done, left = wait(left, HEARTBEAT, FIRST_EXCEPTION)
        if until_failure and any(future.exception() is not None for future in done):
            return


async def ain_processes(kind: str, calls: Sequence[Call]) -> list[Any]:
    """The async form."""
    parcels = _submit(kind, calls)
    futures = list(parcels.values())
    waits = [asyncio.wrap_future(future) for future in futures]
    try:
        if waits:
            await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
        _cancel(futures)
        await asyncio.gather(*waits, return_exceptions=True)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(_give_up, parcels))
        raise
    return _results(kind, calls, futures)


def _submit(kind: str, calls: Sequence[Call]) -> dict[int, Future[bytes]]:
    """The calls under way, by their numbers on the pool's board."""
    parcels = {next(_numbers): _pickled(kind, call) for call in calls}
    for attempt in (1, 2):
        pool = _pool()
        try:
            return {
                number: pool.submit(_work, number, parcel) for number, parcel in parcels.items()
            }
        except BrokenProcessPool:  # an earlier call broke it; a new one is as good
            _forget(pool)
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


def _pickled(kind: str, call: Call) -> bytes:
    function, args, kwargs = call.function, call.args, dict(call.kwargs)
    if isinstance(function, bind):  # what it refers to exists only here
        function, args, kwargs = function._resolved(args, kwargs)
    try:
        return pickle.dumps((function, args, kwargs))
    except Exception as error:
        raise InvalidFlow(
            f"{kind}, {call.part}: cannot go to another process, because it or its arguments do "
            f"not pickle ({type(error).__name__}: {error}); use a function at the top of a module, "
            f"or threads: _concurrent=True"
        ) from error


def _cancel(futures: Sequence[Future[bytes]]) -> None:
    for future in futures:
        future.cancel()


def _give_up(parcels: Mapping[int, Future[bytes]]) -> None:
    """Interrupt what runs, also what the pool has handed out already; kill what does not leave."""
    _cancel(list(parcels.values()))
    pool = _pool()
    end = time.monotonic() + GRACE
    told: set[int] = set()
    while running := {number for number, future in parcels.items() if not future.done()}:
        if time.monotonic() > end:
            pool.board.kill(running)
            _forget(pool)
            return
        told |= pool.board.interrupt(running - told)
        wait([parcels[number] for number in running], HEARTBEAT)


def _results(kind: str, calls: Sequence[Call], futures: Sequence[Future[bytes]]) -> list[Any]:
    results: dict[int, Any] = {}
    failures: dict[int, BaseException] = {}
    for number, future in enumerate(futures):
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            results[number] = pickle.loads(future.result())  # noqa: S301 - from our own child
        elif isinstance(error, BrokenProcessPool):
            failures[number] = _died(calls[number], error)
        else:
            failures[number] = error
    return results_of(kind, calls, results, failures)


def _died(call: Call, error: BrokenProcessPool) -> FlowError:
    died = FlowError(
        f"{call.part}: a process of the pool ended without a word before this was done; where the "
        f"program is a script, its start must be under if __name__ == '__main__'"
    )
    died.__cause__ = error
    return died


class _Pool(ProcessPoolExecutor):
    """As many processes as there are cores, with a board."""

    def __init__(self) -> None:
        width = os.cpu_count() or 1
        self.board = Board(width)
        context = multiprocessing.get_context("spawn")
        super().__init__(width, context, _begin, (self.board,))


def _pool() -> _Pool:
    with _lock:
        own = os.getpid()  # a fork's child has none of its parent's processes
        if own not in _pools:
            _pools.clear()
            _pools[own] = _Pool()
        return _pools[own]


def _forget(pool: _Pool) -> None:
    with _lock:
        if pool in _pools.values():
            _pools.clear()


def _begin(board: Board) -> None:
    """In the child, before anything else."""
    board.take_place()
    _end_with_parent()


def _end_with_parent() -> None:
    """End when the parent is gone, however that came about."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def _work(number: int, parcel: bytes) -> bytes:
    """In the child: do the call; the result, pickled."""
    with doing(number):
        return _done(parcel)


def _done(parcel: bytes) -> bytes:
    function, args, kwargs = pickle.loads(parcel)  # noqa: S301 - from our own parent
    try:
        result = settled(function(*args, **kwargs))
    except Exception as error:
        _check_travels(error)
        raise
    try:
        return pickle.dumps(result)
    except Exception as error:
        raise FlowError(
            f"the result of type {type(result).__name__} cannot come back from its process "
            f"because it does not pickle ({type(error).__name__}: {error})"
        ) from None


def _check_travels(error: Exception) -> None:
    """Raise something that says the same where `error` would not arrive."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what was just dumped
    except Exception:
        told = f"{type(error).__module__}.{type(error).__qualname__}: {error}"
        raise FlowError(f"in another process, with an error that does not pickle: {told}") from None
