"""Which instance a call goes to: two at random, and of them the less busy; none that has just failed.

Power of two choices (Mitzenmacher 2001) on the calls that this process has under way. An instance that
cannot be reached is left out for 2 s, doubling up to 30 s, and then tried by one call at a time until
one succeeds.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from modcore.errors import ServiceError
from modcore.gateway.forks import renew_after_fork
from modcore.gateway.instance import Instance

FIRST_EJECTION = 2.0  # seconds
LONGEST_EJECTION = 30.0

_random = random.random
_now = time.monotonic


class NoInstance(ServiceError):
    """Nobody is there to take a call."""


class Balancer:
    """Chooses among the instances that `source` names at each call; for any number of threads.

    `source` has to be quick: it is asked at every `pick`, best for the same tuple as long as nothing has
    changed. `service` is for messages.
    """

    def __init__(
        self,
        source: Callable[[], Sequence[Instance]],
        service: str = "the service",
        clock: Callable[[], float] = _now,
    ) -> None:
        self._source, self._service, self._clock = source, service, clock
        self._lock = threading.Lock()
        self._members: dict[tuple[str, str, str], _Member] = {}
        self._seen: Sequence[Instance] | None = None
        self._usable: list[_Member] = []
        self._usable_until = 0.0
        renew_after_fork(self)

    def pick(self, exclude: Collection[str] = ()) -> Lease:
        """An instance for one call, none of the ids in `exclude`; raises NoInstance when there is none.

        An instance that drains is never picked. One that is left out for its failures is picked only
        when all others are, too.
        """
        instances = self._source()
        with self._lock:
            if instances is not self._seen:
                self._take(instances)
            elif self._clock() >= self._usable_until:
                self._sort_out()
            among = self._usable
            if exclude:
                among = self._without(exclude)
            count = len(among)
            if count > 1:
                member = among[first := int(_random() * count)]
                other = among[(first + 1 + int(_random() * (count - 1))) % count]
                if other.load < member.load:
                    member = other
            elif count:
                member = among[0]
            else:
                raise self._nobody(exclude)
            member.in_flight += 1
            return Lease(self, member)

    @property
    def ejected(self) -> tuple[str, ...]:
        """The ids that are left out now."""
        with self._lock:
            now = self._clock()
            return tuple(m.instance.id for m in self._members.values() if m.ejected_until > now)

    def in_flight(self) -> dict[str, int]:
        """The calls under way, by the ids of the instances."""
        with self._lock:
            return {m.instance.id: m.in_flight for m in self._members.values()}

    def after_fork(self) -> None:
        """The parent's calls are not under way here."""
        self._lock = threading.Lock()
        self._members, self._seen = {}, None

    # All of what follows is called under the lock.

    def _take(self, instances: Sequence[Instance]) -> None:
        known, self._members = self._members, {}
        for instance in instances:
            key = instance.id, instance.epoch, instance.url
            member = self._members[key] = known.get(key) or _Member(instance)
            member.instance = instance
        self._seen = instances
        self._sort_out()

    def _sort_out(self) -> None:
        """Who is picked from until somebody fails, comes, goes, or may come back."""
        now = self._clock()
        awake = [m for m in self._members.values() if not m.instance.draining]
        out = [m.ejected_until for m in awake if m.ejected_until > now]
        self._usable = [m for m in awake if m.ejected_until <= now] or awake
        self._usable_until = min(out, default=float("inf"))

    def _without(self, exclude: Collection[str]) -> list[_Member]:
        """The usable ones without `exclude`; when none is left, those that are left out."""
        left = [m for m in self._usable if m.instance.id not in exclude]
        return left or [
            m
            for m in self._members.values()
            if not m.instance.draining and m.instance.id not in exclude
        ]

    def _nobody(self, exclude: Collection[str]) -> NoInstance:
        known = len(self._members)
        if not known:
            return NoInstance(f"No instance of {self._service} is registered; start one.")
        draining = sum(m.instance.draining for m in self._members.values())
        if draining == known:
            return NoInstance(f"Every instance of {self._service} is about to end ({known}).")
        return NoInstance(
            f"No other instance of {self._service} is left: {len(exclude)} of {known} were tried."
        )

    def _release(self, member: _Member, verdict: bool | None) -> None:
        with self._lock:
            member.in_flight -= 1
            if verdict is None or (verdict and not member.ejections):
                return
            if verdict:
                member.ejections, member.ejected_until = 0, 0.0
            elif (now := self._clock()) >= member.ejected_until:
                # Calls that fail together count once.
                seconds = FIRST_EJECTION * 2.0 ** min(member.ejections, 10)
                member.ejected_until = now + min(seconds, LONGEST_EJECTION)
                member.ejections += 1
            self._sort_out()


class _Member:
    """What this process knows of one instance."""

    __slots__ = ("ejected_until", "ejections", "in_flight", "instance")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.in_flight = self.ejections = 0
        self.ejected_until = 0.0

    @property
    def load(self) -> float:
        """The calls under way; after an ejection one call at a time is enough to find out."""
        return float("inf") if self.ejections and self.in_flight else self.in_flight


class Lease:
    """One call's place at `instance`; it ends with the first of `succeeded`, `failed` and `release`.

    As a context manager it has succeeded when the block ends without an error, and is released without a
    verdict when one is raised: which errors mean that the instance is out of reach is for the caller to say.
    """

    __slots__ = ("_balancer", "_is_over", "_member", "instance")

    def __init__(self, balancer: Balancer, member: _Member) -> None:
        self._balancer, self._member = balancer, member
        self.instance = member.instance
        self._is_over = False

    def succeeded(self) -> None:
        """The instance has answered, be it with an error of its own."""
        self._end(True)

    def failed(self) -> None:
        """The instance could not be reached, or went away: leave it out for a while."""
        self._end(False)

    def release(self) -> None:
        """The call is over and says nothing about the instance."""
        self._end(None)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(True if kind is None else None)

    def _end(self, verdict: bool | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._balancer._release(self._member, verdict)
