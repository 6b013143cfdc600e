"""What every gateway does, whatever its store: the protocol of `modcore.gateway.base` as tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from modcore.gateway.base import Entry, Gateway
from waiting import wait_until

LONG = 60.0  # seconds: a time to live that does not end in a test
SHORT = 0.4


def entry(
    id: str = "one", service: str = "echo", epoch: str = "first", document: str = "{}"
) -> Entry:
    return Entry(service=service, id=id, epoch=epoch, document=document)


def ids(gateway: Gateway, service: str | None = None) -> list[str]:
    return sorted(each.id for each in gateway.resolve(service))


class TestGateway:
    def test_a_store_that_is_new_holds_nothing(self, gateway: Gateway) -> None:
        assert list(gateway.resolve()) == []
        assert list(gateway.resolve("echo")) == []

    def test_what_is_registered_is_resolved_as_it_was(self, gateway: Gateway) -> None:
        gateway.register(entry(), LONG)
        assert list(gateway.resolve()) == [entry()]
        assert list(gateway.resolve("echo")) == [entry()]

    @pytest.mark.parametrize(
        "document", ["", '{"quoted": "\\"\n\\u0000"}', "Grüße, 世界 🎈", "x" * 16_000]
    )
    def test_a_document_comes_back_letter_by_letter(self, gateway: Gateway, document: str) -> None:
        gateway.register(entry(document=document), LONG)
        assert gateway.resolve()[0].document == document

    def test_a_service_has_its_own_instances(self, gateway: Gateway) -> None:
        gateway.register(entry("one", "echo"), LONG)
        gateway.register(entry("two", "echo"), LONG)
        gateway.register(entry("three", "other"), LONG)
        assert ids(gateway, "echo") == ["one", "two"]
        assert ids(gateway, "other") == ["three"]
        assert ids(gateway, "nobody") == []
        assert ids(gateway) == ["one", "three", "two"]

    def test_the_same_id_again_replaces_whatever_its_epoch(self, gateway: Gateway) -> None:
        gateway.register(entry(), LONG)
        newer = entry(epoch="second", document="[]")
        gateway.register(newer, LONG)
        assert list(gateway.resolve()) == [newer]

    def test_the_same_id_under_another_service_has_moved(self, gateway: Gateway) -> None:
        gateway.register(entry(service="echo"), LONG)
        gateway.register(entry(service="other"), LONG)
        assert ids(gateway, "echo") == []
        assert ids(gateway, "other") == ["one"]

    def test_other_clients_see_it(self, open_gateway: Callable[[], Gateway]) -> None:
        open_gateway().register(entry(), LONG)
        assert list(open_gateway().resolve()) == [entry()]

    def test_many_threads_register_at_once_and_all_are_there(self, gateway: Gateway) -> None:
        names = [f"id-{number:03}" for number in range(100)]
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda name: gateway.register(entry(name), LONG), names))
            counts = list(pool.map(lambda _: len(gateway.resolve("echo")), names))
        assert set(counts) == {100}
        assert ids(gateway) == names


class TestLife:
    def test_who_says_nothing_is_forgotten(self, gateway: Gateway) -> None:
        gateway.register(entry(), SHORT)
        waited = wait_until(lambda: not gateway.resolve(), SHORT + 0.5)
        assert waited > SHORT / 2
        assert gateway.resolve("echo") == gateway.resolve()

    def test_who_says_that_it_lives_stays(self, gateway: Gateway) -> None:
        gateway.register(entry(), SHORT)
        gateway.register(entry("silent"), SHORT)
        until = time.monotonic() + 3 * SHORT
        while time.monotonic() < until:
            assert gateway.heartbeat(entry(), SHORT)
            assert "one" in ids(gateway)
            time.sleep(SHORT / 10)
        assert ids(gateway) == ["one"]

    def test_a_heartbeat_of_an_unknown_one_says_so(self, gateway: Gateway) -> None:
        assert gateway.heartbeat(entry(), LONG) is False
        assert ids(gateway) == []

    def test_a_heartbeat_comes_too_late_when_the_time_is_over(self, gateway: Gateway) -> None:
        gateway.register(entry(), SHORT)
        wait_until(lambda: not gateway.resolve(), SHORT + 0.5)
        assert gateway.heartbeat(entry(), LONG) is False
        assert ids(gateway) == []

    def test_who_is_not_listed_any_more_cannot_be_kept(self, gateway: Gateway) -> None:
        for _ in range(20):
            gateway.register(entry(), 0.02)
            deadline = time.monotonic() + 5
            while gateway.resolve():  # without a pause: what is sought is a gap of a millisecond
                assert time.monotonic() < deadline
            assert gateway.heartbeat(entry(), LONG) is False

    def test_a_zombie_cannot_keep_its_successor(self, gateway: Gateway) -> None:
        gateway.register(entry(epoch="old"), LONG)
        gateway.register(entry(epoch="new"), SHORT)
        assert gateway.heartbeat(entry(epoch="old"), LONG) is False
        wait_until(lambda: not gateway.resolve(), SHORT + 0.5)

    def test_a_heartbeat_counts_from_now_however_long_the_first_time_was(
        self, gateway: Gateway
    ) -> None:
        gateway.register(entry(), LONG)
        assert gateway.heartbeat(entry(), SHORT)
        wait_until(lambda: not gateway.resolve(), SHORT + 0.5)

    def test_who_leaves_is_forgotten_at_once(self, gateway: Gateway) -> None:
        gateway.register(entry(), LONG)
        gateway.register(entry("two"), LONG)
        gateway.deregister(entry())
        assert ids(gateway) == ["two"]
        assert gateway.heartbeat(entry(), LONG) is False

    def test_a_zombie_cannot_take_its_successor_away(self, gateway: Gateway) -> None:
        gateway.register(entry(epoch="new"), LONG)
        gateway.deregister(entry(epoch="old"))
        assert ids(gateway) == ["one"]

    def test_an_unknown_one_leaves_without_trouble(self, gateway: Gateway) -> None:
        gateway.deregister(entry())
        gateway.deregister(entry())

    def test_what_is_registered_outlives_the_client(
        self, open_gateway: Callable[[], Gateway]
    ) -> None:
        first = open_gateway()
        first.register(entry(), LONG)
        first.close()
        assert list(open_gateway().resolve()) == [entry()]

    def test_closing_twice_is_closing(self, open_gateway: Callable[[], Gateway]) -> None:
        gateway = open_gateway()
        gateway.resolve()
        gateway.close()
        gateway.close()


class TestWatch:
    def test_who_has_seen_nothing_is_told_at_once(self, gateway: Gateway) -> None:
        started = time.monotonic()
        assert gateway.watch("", 30) != ""
        assert time.monotonic() - started < 1

    def test_nothing_changes_and_the_time_ends_it(self, gateway: Gateway) -> None:
        gateway.register(entry(), LONG)
        revision = gateway.watch("", 30)
        started = time.monotonic()
        assert gateway.watch(revision, 0.3) == revision
        assert 0.25 < time.monotonic() - started < 0.3 + 0.5

    def test_a_heartbeat_is_no_change(self, gateway: Gateway) -> None:
        gateway.register(entry(), LONG)
        revision = gateway.watch("", 30)
        gateway.heartbeat(entry(), LONG)
        assert gateway.watch(revision, 0.05) == revision

    def test_what_changed_before_is_told_at_once(self, gateway: Gateway) -> None:
        revision = gateway.watch("", 30)
        gateway.register(entry(), LONG)
        started = time.monotonic()
        assert gateway.watch(revision, 30) != revision
        assert time.monotonic() - started < 1

    @pytest.mark.parametrize("change", ["comes", "leaves", "drains"])
    def test_a_change_wakes_who_waits(
        self, open_gateway: Callable[[], Gateway], change: str
    ) -> None:
        watching, changing = open_gateway(), open_gateway()
        changing.register(entry(), LONG)
        revision = watching.watch("", 30)
        woken: list[str] = []
        thread = threading.Thread(target=lambda: woken.append(watching.watch(revision, 30)))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive(), woken
        match change:
            case "comes":
                changing.register(entry("two"), LONG)
            case "leaves":
                changing.deregister(entry())
            case "drains":
                changing.register(replace(entry(), document='{"draining": true}'), LONG)
        thread.join(2)
        assert not thread.is_alive()
        assert woken[0] not in ("", revision)
        assert watching.watch(woken[0], 0.05) == woken[0]
