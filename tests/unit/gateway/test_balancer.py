"""Which instance a call goes to."""

from __future__ import annotations

import collections
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateways import instance
from modcore.gateway.balancer import Balancer, NoInstance
from modcore.gateway.instance import Instance


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    def __init__(self, count: int) -> None:
        self.instances: Sequence[Instance] = tuple(instance(number=n) for n in range(count))

    def __call__(self) -> Sequence[Instance]:
        return self.instances


def made(count: int) -> tuple[Balancer, Source, Clock]:
    source, clock = Source(count), Clock()
    return Balancer(source, "echo", clock), source, clock


def picked(balancer: Balancer, times: int = 200) -> set[str]:
    """Who is picked by calls one after the other."""
    found = set()
    for _ in range(times):
        with balancer.pick() as lease:
            found.add(lease.instance.id)
    return found


def fail(balancer: Balancer, id: str, others: int) -> None:
    balancer.pick(exclude=[f"i{n}" for n in range(others) if f"i{n}" != id]).failed()


def test_calls_one_after_the_other_are_spread_evenly() -> None:
    balancer, _, _ = made(4)
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(8000):
        with balancer.pick() as lease:
            counts[lease.instance.id] += 1
    assert set(counts) == {"i0", "i1", "i2", "i3"}
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_calls_at_once_are_spread_better_than_by_chance() -> None:
    balancer, _, _ = made(10)
    leases = [balancer.pick() for _ in range(1000)]
    load = balancer.in_flight()
    assert sum(load.values()) == 1000
    assert max(load.values()) - min(load.values()) <= 10  # by chance alone it is about 40
    for lease in leases:
        lease.succeeded()
    assert set(balancer.in_flight().values()) == {0}


def test_a_busy_one_of_two_is_never_picked() -> None:
    balancer, _, _ = made(2)
    busy = balancer.pick()
    assert picked(balancer) == {"i0", "i1"} - {busy.instance.id}


def test_those_that_were_tried_are_excluded() -> None:
    balancer, _, _ = made(3)
    assert {balancer.pick(exclude=["i0", "i2"]).instance.id for _ in range(20)} == {"i1"}
    with pytest.raises(NoInstance, match="No other instance of echo is left: 3 of 3 were tried"):
        balancer.pick(exclude={"i0", "i1", "i2"})


def test_one_that_drains_is_not_picked_even_when_it_is_the_last() -> None:
    balancer, source, _ = made(2)
    first, second = source.instances
    source.instances = (replace(first, draining=True), second)
    assert picked(balancer) == {"i1"}
    source.instances = tuple(replace(each, draining=True) for each in source.instances)
    with pytest.raises(NoInstance, match="Every instance of echo is about to end"):
        balancer.pick()


def test_nobody_there_is_an_error_that_names_the_service() -> None:
    balancer, source, _ = made(0)
    with pytest.raises(NoInstance, match="No instance of echo is registered"):
        balancer.pick()
    source.instances = (instance(),)
    assert picked(balancer) == {"i1"}


def test_one_that_fails_is_left_out_for_two_seconds_doubling_to_thirty() -> None:
    balancer, _, clock = made(2)
    for seconds in (2, 4, 8, 16, 30, 30):
        fail(balancer, "i0", 2)
        assert balancer.ejected == ("i0",)
        clock.now += seconds - 0.01
        assert picked(balancer) == {"i1"}
        clock.now += 0.02
        assert balancer.ejected == ()


def test_calls_that_fail_together_count_once() -> None:
    balancer, _, clock = made(2)
    for lease in [balancer.pick() for _ in range(50)]:
        lease.failed() if lease.instance.id == "i0" else lease.succeeded()
    clock.now += 2.01
    assert balancer.ejected == ()


def test_one_that_comes_back_gets_one_call_at_a_time_until_one_succeeds() -> None:
    balancer, _, clock = made(2)
    fail(balancer, "i0", 2)
    clock.now += 2.01
    leases = [balancer.pick() for _ in range(20)]
    tried = [lease for lease in leases if lease.instance.id == "i0"]
    assert len(tried) == 1

    tried[0].succeeded()
    assert len([1 for _ in range(20) if balancer.pick().instance.id == "i0"]) > 5


def test_a_success_ends_the_memory_of_failures() -> None:
    balancer, _, clock = made(2)
    fail(balancer, "i0", 2)
    clock.now += 2.01
    balancer.pick(exclude=["i1"]).succeeded()
    fail(balancer, "i0", 2)
    clock.now += 2.01
    assert balancer.ejected == ()


def test_all_that_have_failed_are_picked_from_again() -> None:
    balancer, _, _ = made(3)
    for number in range(3):
        fail(balancer, f"i{number}", 3)
    assert len(balancer.ejected) == 3
    assert {balancer.pick().instance.id for _ in range(100)} == {"i0", "i1", "i2"}


def test_one_that_has_failed_is_picked_when_the_others_were_tried() -> None:
    balancer, _, _ = made(2)
    fail(balancer, "i0", 2)
    assert balancer.pick(exclude=["i1"]).instance.id == "i0"


def test_a_new_process_of_the_same_id_starts_with_a_clean_slate() -> None:
    balancer, source, _ = made(2)
    fail(balancer, "i0", 2)
    first, second = source.instances
    source.instances = (replace(first, epoch="new"), second)
    assert picked(balancer) == {"i0", "i1"} and balancer.ejected == ()


def test_what_is_known_of_one_outlives_a_new_snapshot() -> None:
    balancer, source, _ = made(2)
    lease = balancer.pick()
    fail(balancer, "i1", 2)
    source.instances = (*source.instances, instance(number=2))
    assert picked(balancer) <= {"i0", "i2"}
    assert balancer.in_flight()[lease.instance.id] == 1


def test_a_call_to_one_that_has_gone_may_end_after_it() -> None:
    balancer, source, _ = made(2)
    leases = [balancer.pick() for _ in range(2)]
    source.instances = source.instances[:1]
    assert picked(balancer) == {"i0"}
    for lease in leases:
        lease.failed()
        lease.succeeded()  # a second verdict changes nothing
    assert min(balancer.in_flight().values()) >= 0


def test_an_error_in_a_lease_says_nothing_about_the_instance() -> None:
    balancer, _, _ = made(1)
    with pytest.raises(KeyError), balancer.pick():
        raise KeyError
    assert balancer.in_flight() == {"i0": 0} and balancer.ejected == ()


def test_many_threads_leave_no_call_under_way() -> None:
    balancer, source, _ = made(5)
    begin = threading.Barrier(9)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            begin.wait()
            for number in range(2000):
                lease = balancer.pick(exclude=["i0"] if number % 3 else ())
                (lease.failed if number % 7 == 0 else lease.succeeded)()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    begin.wait()
    for count in range(200):
        source.instances = tuple(instance(number=n) for n in range(1 + count % 5, 7))
    for thread in threads:
        thread.join()

    assert errors == []
    picked(balancer, 1)
    assert set(balancer.in_flight().values()) == {0}
