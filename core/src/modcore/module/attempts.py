"""One call that may be tried at several instances: which is next, and when it is enough.

What may be made elsewhere is for `gateway.call_failure` to say. Where all instances are full a call waits for a
place: a program may make more calls at once than a service takes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from types import TracebackType

from modcore.errors import ServiceError
from modcore.gateway.balancer import Balancer, Lease, NoInstance
from modcore.gateway.call_failure import CallFailure
from modcore.gateway.instance import Instance
from modcore.module.remote import DeadlineExceeded, Died, NotBegun
from modcore.module.remote.failures import told

#: Seconds that a call without a deadline waits for the first instance of a service: its module may be large.
FIRST_SECONDS = 300.0
#: Seconds that it waits for one to come back when all have gone.
AGAIN_SECONDS = 15.0
#: Seconds that it waits for a place when all are full.
FULL_SECONDS = 300.0
#: How often a call may die: what kills the instances that it comes to shall not kill them all.
MAX_DEATHS = 3
_PAUSE, _LONGEST_PAUSE = (
    0.02,
    1.0,
)  # seconds before looking again: for somebody, for a place at most
_random = random.random


class Attempts:
    """The attempts at one call, which may take `seconds` (None: for ever) to the end of its answer.

    Each is made in a ``with`` block of the whole, which keeps what it fails with when another is to follow::

        while True:
            instance = attempts.instance()
            with attempts:
                return at(instance)

    `has_served` says that somebody was there before, `is_hopeless` that nobody will come (back). `begun` is
    for streams: after the first piece nothing is tried again.
    """

    def __init__(
        self,
        balancer: Balancer,
        seconds: float | None,
        *,
        idempotent: bool,
        has_served: bool,
        is_hopeless: Callable[[], bool],
    ) -> None:
        self._balancer, self._seconds, self._idempotent = balancer, seconds, idempotent
        self._has_served, self._is_hopeless = has_served, is_hopeless
        self._end = None if seconds is None else time.monotonic() + seconds
        self._tried: tuple[str, ...] = ()
        self._error: ServiceError | None = None
        self._deaths = 0
        self._waiting_since: float | None = None
        self._gone_since: float | None = None  # nobody is there, not even one who is full
        self._pause = _PAUSE
        self._lease: Lease | None = None
        self.begun = False

    @property
    def left(self) -> float | None:
        """Seconds that are left for the call; None without a deadline."""
        if self._end is None or (self._error is None and self._waiting_since is None):
            return self._seconds  # nothing has taken any time yet
        return max(self._end - time.monotonic(), 0.001)

    def instance(self) -> Instance:
        """The instance to try now; waits for one where that is of use."""
        while (lease := self._next()) is None:
            time.sleep(self._pause)
        return lease.instance

    async def ainstance(self) -> Instance:
        """As `instance`, for asyncio."""
        while (lease := self._next()) is None:
            await asyncio.sleep(self._pause)
        return lease.instance

    def __enter__(self) -> None:
        """The attempt at the instance that was named last."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        lease, self._lease = self._lease, None
        if lease is None:
            return False
        if not isinstance(error, (NotBegun, Died)):
            lease.release() if error is not None else lease.succeeded()
            return False
        if error.failure is CallFailure.BUSY:
            lease.release()  # one that is full or about to end is in reach
        else:
            lease.failed()
        self._tried += (lease.instance.id,)
        self._error, self._has_served = error, True
        return self._may_follow(error)

    def _may_follow(self, error: NotBegun | Died) -> bool:
        """Whether another attempt may follow one that ended with `error`."""
        if isinstance(error, Died):
            self._deaths += 1
        if self.begun or self._deaths > MAX_DEATHS:
            return False
        return error.failure.may_be_repeated(idempotent=self._idempotent)

    def _next(self) -> Lease | None:
        """A place at an instance that has not been tried, None where one is to be waited for.

        Raises what the last one tried has said when nobody is left and waiting is of no use.
        """
        try:
            self._lease = self._balancer.pick(self._tried)
        except NoInstance as nobody:
            if _is_full(self._error) and not self._tried:
                self._error = nobody  # who was full has gone
            self._verify_patience(self._error or nobody)
            self._tried = ()  # who has refused may be back
        return self._lease

    def _verify_patience(self, error: ServiceError) -> None:
        """Raise `error` or DeadlineExceeded unless there is time to wait for somebody."""
        now = time.monotonic()
        if self._seconds is not None and self._end is not None and now >= self._end:
            raise DeadlineExceeded(
                f"no instance took the call within {told(self._seconds)}: {error}"
            ) from error
        if self._waiting_since is None:
            self._waiting_since = now
        waited = now - self._waiting_since
        if _is_full(error):
            self._gone_since = None
            is_over = waited >= FULL_SECONDS
            # Many may wait for a few places, and each look costs the service something.
            self._pause = min(_PAUSE + waited / 2, _LONGEST_PAUSE) * (0.5 + _random())
        else:
            patience = AGAIN_SECONDS if self._has_served else FIRST_SECONDS
            if self._gone_since is None:
                self._gone_since = now
            is_over = self._is_hopeless() or now - self._gone_since >= patience
            self._pause = _PAUSE
        if is_over:
            raise error
        if self._end is not None:
            self._pause = min(self._pause, self._end - now)


def _is_full(error: ServiceError | None) -> bool:
    return isinstance(error, NotBegun) and error.state == "busy"
