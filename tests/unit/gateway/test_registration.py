"""An instance stays registered as long as its process lives, whatever becomes of the store."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateways import KEY, OTHER_KEY, TroubledGateway, instance
from modcore.gateway.base import Entry, GatewayError
from modcore.gateway.instance import read_entry
from modcore.gateway.memory import MemoryStore
from modcore.gateway.registration import Registration
from modcore.gateway.sqlite import SqliteGateway
from waiting import wait_until

TTL = 0.6  # seconds: a heartbeat every 0.2


@pytest.fixture
def registration(gateway: TroubledGateway) -> Iterator[Registration]:
    registration = Registration(gateway, instance(), KEY, TTL)
    yield registration
    registration.close()


def ids(gateway: TroubledGateway) -> list[str]:
    return [entry.id for entry in gateway.gateway.resolve()]


def test_it_is_registered_when_start_returns_and_gone_when_close_does(
    gateway: TroubledGateway, registration: Registration
) -> None:
    registration.start()
    assert ids(gateway) == ["i1"] and registration.is_registered
    registration.close()
    assert ids(gateway) == [] and not registration.is_registered


def test_it_stays_for_many_times_its_time_to_live(
    gateway: TroubledGateway, registration: Registration
) -> None:
    registration.start()
    end = time.monotonic() + 3 * TTL
    wait_until(lambda: ids(gateway) != ["i1"] or time.monotonic() > end)
    assert ids(gateway) == ["i1"]


def test_it_comes_back_within_a_heartbeat_when_the_store_has_lost_everything(
    gateway: TroubledGateway, registration: Registration, store: MemoryStore
) -> None:
    registration.start()
    for _ in range(3):
        with store.changed:
            store.kept.clear()
        wait_until(lambda: ids(gateway) == ["i1"], TTL / 3 + 0.5)


def test_a_store_that_is_down_at_the_start_is_waited_for_in_the_background(
    gateway: TroubledGateway, registration: Registration
) -> None:
    gateway.is_down = True
    registration.start()
    assert not registration.is_registered
    gateway.is_down = False
    wait_until(lambda: ids(gateway) == ["i1"], 1.0)


def test_a_store_that_was_down_longer_than_the_time_to_live_has_it_again_soon(
    gateway: TroubledGateway, registration: Registration
) -> None:
    registration.start()
    gateway.is_down = True
    wait_until(lambda: ids(gateway) == [])
    gateway.is_down = False
    wait_until(lambda: ids(gateway) == ["i1"], TTL / 3 + 0.5)


def test_a_gateway_that_cannot_be_used_is_refused_at_the_start(tmp_path: object) -> None:
    gateway = SqliteGateway(f"sqlite:///{tmp_path}")  # a directory
    registration = Registration(gateway, instance(), KEY, TTL)
    with pytest.raises(GatewayError, match="is no file"):
        registration.start()
    wait_until(lambda: not registration._thread.is_alive())


def test_a_gateway_that_breaks_in_any_way_does_not_end_the_heartbeats(
    gateway: TroubledGateway, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration.start()
    broken = threading.Event()

    def heartbeat(entry: Entry, ttl: float) -> bool:
        broken.set()
        raise ZeroDivisionError

    monkeypatch.setattr(gateway, "heartbeat", heartbeat)
    assert broken.wait(10)
    monkeypatch.undo()
    wait_until(lambda: ids(gateway) == ["i1"])


def test_an_update_is_seen_at_once_and_keeps_the_place(
    gateway: TroubledGateway, registration: Registration
) -> None:
    registration.start()
    registration.update(replace(registration.instance, draining=True))

    def draining() -> bool:
        return [read_entry(entry, KEY).draining for entry in gateway.resolve()] == [True]

    wait_until(draining, 0.15)  # before the next heartbeat
    with pytest.raises(ValueError, match="another instance"):
        registration.update(instance())


def test_an_update_while_the_store_is_down_arrives_when_it_is_back(
    gateway: TroubledGateway, registration: Registration
) -> None:
    registration.start()
    gateway.is_down = True
    registration.update(replace(registration.instance, capacity=7))
    gateway.is_down = False
    wait_until(lambda: [read_entry(entry, KEY).capacity for entry in gateway.resolve()] == [7])


def test_a_zombie_when_its_successor_is_registered_steps_back(gateway: TroubledGateway) -> None:
    old, new = (Registration(gateway, instance(), KEY, TTL) for _ in range(2))
    old.start()
    new.start()
    wait_until(lambda: old.is_superseded)
    old.close()

    assert [entry.epoch for entry in gateway.resolve()] == [new.instance.epoch]
    assert not new.is_superseded
    new.close()


def test_a_forged_successor_is_replaced(
    gateway: TroubledGateway, registration: Registration
) -> None:
    registration.start()
    gateway.register(instance().entry(OTHER_KEY), 60)
    mine = registration.instance.epoch
    wait_until(lambda: [entry.epoch for entry in gateway.resolve()] == [mine])


def test_close_when_the_store_hangs_takes_a_second_at_most(
    gateway: TroubledGateway, registration: Registration
) -> None:
    registration.start()
    gateway.answers.clear()
    started = time.monotonic()
    registration.close()
    assert time.monotonic() - started < 1.3

    gateway.answers.set()  # and what was on its way does not bring it back
    wait_until(lambda: not registration._thread.is_alive())
    assert ids(gateway) == []


def test_start_when_the_store_hangs_is_bounded(
    gateway: TroubledGateway, registration: Registration
) -> None:
    gateway.answers.clear()
    started = time.monotonic()
    registration.start()
    assert time.monotonic() - started < 2.5 and not registration.is_registered
    gateway.answers.set()
    wait_until(lambda: ids(gateway) == ["i1"])


def test_a_forked_child_leaves_its_parents_registration_alone(tmp_path: object) -> None:
    gateway = SqliteGateway(f"sqlite:///{tmp_path}/services.db")
    registration = Registration(gateway, instance(), KEY, TTL)
    registration.start()

    def child() -> None:
        registration.update(replace(registration.instance, draining=True))
        registration.close()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)

    assert process.exitcode == 0
    assert [read_entry(entry, KEY).draining for entry in gateway.resolve()] == [False]
    registration.close()
    assert gateway.resolve() == []


def test_an_instance_that_nobody_would_believe_is_refused_before_it_is_registered(
    gateway: TroubledGateway,
) -> None:
    for wrong in ({"url": "http://127.0.0.1:0"}, {"service": "a b"}, {"module": "x" * 600}):
        with pytest.raises(GatewayError, match="cannot be registered: its"):
            Registration(gateway, instance(**wrong), KEY, TTL)
    with pytest.raises(GatewayError, match="16384 are the most"):
        Registration(gateway, instance(models=("x" * 500,) * 40), KEY, TTL)
