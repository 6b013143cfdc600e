"""The calling side: a snapshot that follows the store, and stays when the store does not."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateways import CLOSED_PORT, KEY, OTHER_KEY, TroubledGateway, healthy, instance
from modcore.errors import ServiceError
from modcore.gateway.base import Gateway, GatewayError
from modcore.gateway.directory import Directory, shared_directory
from modcore.gateway.instance import Instance
from modcore.gateway.memory import MemoryStore
from modcore.gateway.preservation import Doubts
from modcore.gateway.probe import AT_ONCE, answering
from modcore.gateway.reading import Known
from modcore.gateway.secret import cluster_key
from modcore.gateway.snapshot_file import SnapshotFile
from modcore.gateway.sqlite import SqliteGateway
from waiting import wait_until

Opened = Callable[..., Directory]


@pytest.fixture
def opened(gateway: TroubledGateway) -> Iterator[Opened]:
    directories: list[Directory] = []

    def open_one(gateway: Gateway = gateway, file: SnapshotFile | None = None) -> Directory:
        directories.append(Directory(gateway, KEY, file))
        return directories[-1]

    yield open_one
    for directory in directories:
        directory.close()


def put(gateway: Gateway, *instances: Instance) -> None:
    for each in instances:
        gateway.register(each.entry(KEY), 60)


def take(gateway: Gateway, *instances: Instance) -> None:
    for each in instances:
        gateway.deregister(each.entry(KEY))


def ids(directory: Directory, service: str = "echo") -> list[str]:
    return [each.id for each in directory.instances(service)]


# Following


def test_the_first_look_has_what_is_registered(gateway: TroubledGateway, opened: Opened) -> None:
    put(gateway, instance(number=2), instance(number=1), instance("other", 3))
    directory = opened()

    assert ids(directory) == ["i1", "i2"]
    assert list(directory.services()) == ["echo", "other"]
    assert directory.instances("nobody") == ()
    assert 0 <= directory.age < 5 and directory.error is None


def test_who_comes_and_goes_is_noticed_and_told(gateway: TroubledGateway, opened: Opened) -> None:
    directory = opened()
    seen: list[list[str]] = []
    forget = directory.on_change(lambda: seen.append(ids(directory)))
    one, two = instance(number=1), instance(number=2)
    assert ids(directory) == []
    for change, expected in (
        (lambda: put(gateway, one), ["i1"]),
        (lambda: put(gateway, two), ["i1", "i2"]),
        (lambda: take(gateway, two), ["i1"]),
    ):
        change()
        wait_until(lambda expected=expected: ids(directory) == expected, 1.0)
    wait_until(lambda: seen[-1:] == [["i1"]])
    forget()
    count = len(seen)
    put(gateway, two)
    wait_until(lambda: len(ids(directory)) == 2)
    assert len(seen) == count


def test_a_listener_that_fails_harms_nobody(gateway: TroubledGateway, opened: Opened) -> None:
    directory = opened()
    directory.on_change(lambda: 1 / 0)
    assert ids(directory) == []
    put(gateway, instance())
    assert directory.wait_for("echo", 5)


def test_who_expires_in_silence_is_gone_soon(gateway: TroubledGateway, opened: Opened) -> None:
    put(gateway, *(instance(number=n) for n in (1, 2, 3)))
    directory = opened()
    assert len(ids(directory)) == 3
    gateway.register(directory.instances("echo")[0].entry(KEY), 0.5)
    wait_until(lambda: ids(directory) == ["i2", "i3"], 0.5 + 2.5)


def test_what_does_not_change_stays_the_same_object(
    gateway: TroubledGateway, opened: Opened
) -> None:
    put(gateway, instance(number=1))
    directory = opened()
    before = directory.instances("echo")
    put(gateway, instance("other", 2))
    directory.wait_for("other", 5)
    assert directory.instances("echo") is before
    with pytest.raises(TypeError):
        directory.services()["echo"] = ()  # type: ignore[index]


def test_waiting_for_a_service_ends_when_it_takes_calls(
    gateway: TroubledGateway, opened: Opened
) -> None:
    directory = opened()
    with pytest.raises(ServiceError) as caught:
        directory.wait_for("echo", 0.05)
    assert str(caught.value) == (
        "No instance of 'echo' was registered within 0.05 s; the gateway knows: none."
    )
    put(gateway, replace(instance(), draining=True))
    with pytest.raises(ServiceError, match="the gateway knows: echo"):
        directory.wait_for("echo", 0.3)
    put(gateway, instance(number=2))
    assert [each.id for each in directory.wait_for("echo", 5)] == ["i2"]


# What is not believed


def test_forged_documents_are_ignored_and_counted(gateway: TroubledGateway, opened: Opened) -> None:
    put(gateway, instance(number=1), instance(number=2, url="http://10.1.2.3:80"))
    gateway.register(instance(number=3).entry(OTHER_KEY), 60)
    gateway.register(replace(instance(number=4).entry(KEY), document="\ud800{"), 60)
    gateway.register(replace(instance(number=5).entry(KEY), service="admin"), 60)
    directory = opened()

    assert ids(directory) == ["i1"] and list(directory.services()) == ["echo"]
    assert directory.refused == 4
    assert directory.refusals == {"network": 1, "signature": 1, "shape": 1, "place": 1}


# A store that is down


def test_the_snapshot_stays_while_the_store_is_down_and_its_age_grows(
    gateway: TroubledGateway, opened: Opened, store: MemoryStore
) -> None:
    put(gateway, instance())
    directory = opened()
    assert ids(directory) == ["i1"]
    gateway.is_down = True
    wait_until(lambda: directory.error is not None)
    with store.changed:
        store.kept.clear()
    wait_until(lambda: directory.age > 1.0)
    assert ids(directory) == ["i1"]

    put(gateway.gateway, instance(number=1), instance(number=2))
    gateway.is_down = False
    wait_until(lambda: len(ids(directory)) == 2, 1.5)
    assert directory.age < 1.5 and directory.error is None


def test_reading_never_waits_for_a_store_that_hangs(
    gateway: TroubledGateway, opened: Opened
) -> None:
    put(gateway, instance())
    directory = opened()
    assert ids(directory) == ["i1"]
    gateway.answers.clear()
    started = time.monotonic()
    for _ in range(1000):
        assert ids(directory) == ["i1"]
    assert time.monotonic() - started < 0.5


def test_the_first_look_at_a_store_that_hangs_is_bounded(
    gateway: TroubledGateway, opened: Opened
) -> None:
    gateway.answers.clear()
    directory = opened()
    started = time.monotonic()
    assert ids(directory) == []
    assert time.monotonic() - started < 1.5
    assert directory.age == math.inf


def test_several_threads_at_the_first_look_all_wait_for_it(
    gateway: TroubledGateway, opened: Opened
) -> None:
    put(gateway, instance())
    directory = opened()
    gateway.answers.clear()
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(ids(directory))) for _ in range(4)]
    for thread in threads:
        thread.start()
    gateway.answers.set()
    for thread in threads:
        thread.join()
    assert found == [["i1"]] * 4


def test_closing_is_bounded_and_keeps_the_snapshot(
    gateway: TroubledGateway, opened: Opened
) -> None:
    put(gateway, instance())
    directory = opened()
    assert ids(directory) == ["i1"]
    gateway.answers.clear()
    started = time.monotonic()
    directory.close()
    assert time.monotonic() - started < 1.5
    assert ids(directory) == ["i1"]


def test_a_real_file_that_goes_and_comes_back_is_followed(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "services.db"
    gateway = SqliteGateway(f"sqlite:///{path}")
    put(gateway, instance())
    directory = opened(SqliteGateway(f"sqlite:///{path}"))
    assert ids(directory) == ["i1"]

    for file in tmp_path.glob("services.db*"):
        file.unlink()
    path.mkdir()
    wait_until(lambda: isinstance(directory.error, GatewayError))
    assert ids(directory) == ["i1"]
    path.rmdir()
    put(gateway, instance(number=1), instance(number=2))
    wait_until(lambda: ids(directory) == ["i1", "i2"], 2)


# A store that forgets


def test_all_that_vanish_at_once_are_kept_while_they_answer(
    gateway: TroubledGateway, opened: Opened, store: MemoryStore
) -> None:
    with healthy() as url, healthy(status=503) as ill:
        alive = instance(number=1, url=url)
        dead = instance(number=2, url=f"http://127.0.0.1:{CLOSED_PORT}")
        put(gateway, alive, dead, instance(number=3, url=ill))
        directory = opened()
        assert len(ids(directory)) == 3
        take(gateway, *directory.instances("echo"))
        wait_until(lambda: ids(directory) == ["i1"])

        put(gateway, instance("marker", 9))
        directory.wait_for("marker", 5)  # it has looked again, and asked again
        assert ids(directory) == ["i1"]
    wait_until(lambda: ids(directory) == [], 5)  # it does not answer any more


def test_one_that_answers_for_somebody_else_or_drains_is_not_kept(
    gateway: TroubledGateway, opened: Opened
) -> None:
    with (
        healthy({"x-modcore-instance": "i1"}) as same,
        healthy({"x-modcore-instance": "stranger"}) as other,
        healthy({"x-modcore-state": "draining"}) as draining,
    ):
        put(gateway, *(instance(number=n, url=url) for n, url in enumerate((other, same), 0)))
        put(gateway, instance(number=2, url=draining))
        directory = opened()
        assert len(ids(directory)) == 3
        take(gateway, *directory.instances("echo"))
        wait_until(lambda: ids(directory) == ["i1"])


def known(*instances: Instance) -> dict[str, Known]:
    return {each.id: Known(each.entry(KEY), each) for each in instances}


def test_who_is_doubted_depends_on_how_much_of_its_service_vanishes() -> None:
    four = [instance(number=n) for n in range(4)]
    before = known(*four, instance("other", 9), replace(instance("leaving", 8), draining=True))

    assert set(Doubts().raised(before, known(*four[1:], instance("other", 9)))) == set()
    assert set(Doubts().raised(before, known(*four[2:], instance("other", 9)))) == set()
    assert set(Doubts().raised(before, known(*four[3:]))) == {"i0", "i1", "i2", "i9"}
    assert set(Doubts().raised(before, {})) == {"i0", "i1", "i2", "i3", "i9"}


def test_a_doubt_remains_until_it_is_settled() -> None:
    one, two = instance(number=1), instance(number=2, url=f"http://127.0.0.1:{CLOSED_PORT}")
    doubts = Doubts()
    assert set(doubts.raised(known(one, two), {})) == {"i1", "i2"}
    assert set(doubts.raised(known(one, two), known(one))) == {"i2"}  # half of it, and doubted
    assert doubts.settled(known(two)) == {}
    assert doubts.raised(known(one, two), known(one)) == {}


def test_one_that_answers_drop_by_drop_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-a: ")
                while not asked.wait(0.1):
                    connection.sendall(b".")

        thread = threading.Thread(target=drip)
        thread.start()
        slow = instance(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        started = time.monotonic()
        assert answering([slow]) == set()
        assert time.monotonic() - started < 2
        asked.set()
        thread.join()


def test_no_more_are_asked_at_once_than_can_be_and_the_others_stay() -> None:
    many = [instance(number=n, url=f"http://127.0.0.1:{CLOSED_PORT}") for n in range(AT_ONCE + 8)]
    assert len(answering(many)) == 8


# A new process


def test_a_new_process_while_the_store_is_down_knows_who_was_there(
    gateway: TroubledGateway, opened: Opened, tmp_path: Path
) -> None:
    file = SnapshotFile(tmp_path / "snapshot.json")
    put(gateway, instance(number=1), instance(number=2))
    assert len(ids(opened(file=file))) == 2
    assert file.path.stat().st_mode & 0o777 == 0o600
    os.utime(file.path, (time.time() - 100, time.time() - 100))

    gateway.is_down = True
    fresh = opened(file=SnapshotFile(file.path))
    assert ids(fresh) == ["i1", "i2"]
    assert 99 < fresh.age < 120 and fresh.error is not None
    gateway.is_down = False
    wait_until(lambda: fresh.age < 5)


def test_a_file_that_somebody_has_tampered_with_is_not_believed(
    gateway: TroubledGateway, opened: Opened, tmp_path: Path
) -> None:
    path = tmp_path / "snapshot.json"
    good, forged = instance(number=1).entry(KEY), instance(number=2).entry(OTHER_KEY)
    SnapshotFile(path).save([good, forged, replace(good, id="i3")])
    gateway.is_down = True
    directory = opened(file=SnapshotFile(path))

    assert ids(directory) == ["i1"] and directory.refused == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"entries": [1]}',
        b'{"entries": [{"service": 1}]}',
        b"[" * 100_000,
        json.dumps(
            {"entries": [dict.fromkeys(("service", "id", "epoch", "document"), 1)]}
        ).encode(),
    ],
)
def test_a_file_that_is_no_snapshot_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "snapshot.json"
    path.write_bytes(content)
    assert SnapshotFile(path).load()[0] == []


def test_a_file_that_cannot_be_written_stops_nobody(
    gateway: TroubledGateway, opened: Opened, tmp_path: Path
) -> None:
    put(gateway, instance())
    assert ids(opened(file=SnapshotFile(tmp_path / "nowhere" / "x.json"))) == ["i1"]


# Shared in a process


def test_a_process_has_one_directory_for_each_gateway(tmp_path: Path, state: Path) -> None:
    url = f"sqlite:///{tmp_path}/services.db"
    first = shared_directory(url)
    try:
        assert shared_directory(url) is first
        assert shared_directory("memory://shared") is not first
        put_with_its_key = instance().entry(cluster_key(url))
        SqliteGateway(url).register(put_with_its_key, 60)
        assert first.wait_for("echo", 5)
        wait_until(lambda: len(list((state / "gateways").iterdir())) == 1)
    finally:
        first.close()
    assert first.is_closed and shared_directory(url) is not first


def test_a_forked_child_follows_the_store_for_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/services.db"
    directory = shared_directory(url)
    gateway, key = SqliteGateway(url), cluster_key(url)
    gateway.register(instance(number=1).entry(key), 60)
    directory.wait_for("echo", 5)

    def child() -> None:
        mine = shared_directory(url)
        was_there = ids(mine) == ["i1"]
        gateway.register(instance(number=2).entry(key), 60)
        wait_until(lambda: ids(mine) == ["i1", "i2"])
        os._exit(0 if was_there and mine is directory else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)

    assert process.exitcode == 0
    wait_until(lambda: ids(directory) == ["i1", "i2"])
    directory.close()
