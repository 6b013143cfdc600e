"""What may end a call: its deadline, its caller, the service; and what then becomes of the work."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from modcore.module.remote import DeadlineExceeded, Died, NotBegun, RemoteError, RemoteModule
from service_modules import TOKEN
from services import ServiceProcess, service
from waiting import wait_until


@pytest.fixture(params=["Sync", "Async"])
def running(request: pytest.FixtureRequest) -> Iterator[ServiceProcess]:
    with service(request.param) as each:
        yield each


def test_call_that_passes_its_deadline_is_504_and_a_timeout_here(running: ServiceProcess) -> None:
    body = json.dumps({"args": ["wait", 1.5]}).encode()
    start = time.monotonic()
    status, error = running.error("POST", "/call", body, x_modcore_deadline="0.2")
    assert (status, error["type"]) == (504, "DeadlineExceeded")
    with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        running.remote.call(("wait", 1.5), {}, timeout=0.2)
    assert time.monotonic() - start < 1.4
    # What blocks cannot be ended: it counts as in flight until it comes back.
    wait_until(lambda: running.metric("calls_in_flight") == 0)
    assert running.ask("POST", "/call", body, x_modcore_deadline="nan")[0] == 400
    assert running.ask("POST", "/call", body, x_modcore_deadline="-1")[0] == 504


def test_deadline_of_a_stream_counts_for_all_of_it(running: ServiceProcess) -> None:
    pieces = running.remote.stream(("pieces", 1000, 1, 0.05), {}, timeout=0.4)
    with pytest.raises(DeadlineExceeded):
        assert len(list(pieces)) == 0
    wait_until(lambda: "closed" in running("notes"))


def test_async_work_is_cancelled_when_the_caller_hangs_up() -> None:
    with service("Async") as running:
        with running.send("/call", "wait", 60):
            wait_until(lambda: "begun" in running("notes"))
        wait_until(lambda: "cancelled" in running("notes"), 2)
        wait_until(lambda: running.metric("calls_in_flight") == 0, 2)


def test_blocking_work_counts_as_in_flight_until_it_ends() -> None:
    with service("Sync", capacity=4) as running:
        with running.send("/call", "wait", 1.0):
            wait_until(lambda: "begun" in running("notes"))
        assert running.metric("calls_in_flight") == 1
        wait_until(lambda: running.metric("calls_in_flight") == 0)
        assert running("notes") == ["begun", "ended"]


def test_stream_that_is_left_is_closed_over_there_at_once(running: ServiceProcess) -> None:
    pieces = running.remote.stream(("pieces", 1_000_000, 1, 0.01), {})
    assert [next(pieces), next(pieces)] == ["x", "x"]
    pieces.close()
    wait_until(lambda: running("notes")[-1] == "closed", 2)
    wait_until(lambda: running.metric("calls_in_flight") == 0, 2)


def test_slow_reader_stops_the_producer_and_memory_stays_flat(running: ServiceProcess) -> None:
    process = psutil.Process(running.process.pid)
    before = process.memory_info().rss
    with running.send("/stream", "pieces", 10_000, 64 * 1024) as caller:
        assert caller.recv(100)

        def produced() -> int:
            return len(running("notes"))

        count = -1
        while count != (count := produced()):  # until nothing comes for a while
            time.sleep(0.3)
        assert count < 500
        assert process.memory_info().rss - before < 64 << 20
    wait_until(lambda: running("notes")[-1] == "closed")


def test_module_that_raises_cancelled_error_is_an_error_of_its_own() -> None:
    with service("Async") as running:
        with pytest.raises(RemoteError, match="CancelledError"):
            running("cancel")
        assert running("notes") == []


def test_drain_finishes_calls_ends_streams_with_an_error_and_takes_nothing_new() -> None:
    with service("Sync", grace=1.5) as running, ThreadPoolExecutor(1) as pool:
        kept = RemoteModule(running.url, TOKEN)
        assert kept.call(("echo", 1), {}) == 1
        stream = running.remote.stream(("pieces", 1_000_000, 1, 0.05), {})
        next(stream)
        call = pool.submit(running, "wait", 1.0)
        wait_until(lambda: running.metric("calls_in_flight") == 2)
        running.process.terminate()
        wait_until(lambda: running.ask("GET", "/readyz")[0] == 503)
        status, headers, _ = running.ask("GET", "/health")
        assert (status, headers["x-modcore-state"]) == (200, "draining")
        with pytest.raises(NotBegun) as caught:
            kept.call(("echo", 1), {})
        assert (caught.value.state, caught.value.retry_after) == ("draining", 1.0)
        assert call.result() == "done"
        with pytest.raises(Died, match="stopped"):
            list(stream)
        assert running.process.wait(5) == 0


def test_stop_page_ends_the_service_with_0() -> None:
    with service("Async") as running:
        assert running.ask("POST", "/_modcore/stop")[0] == 202
        assert running.process.wait(5) == 0
        with pytest.raises(NotBegun) as caught:
            running("notes")
        assert caught.value.state == "refused"


def test_call_that_outlasts_the_grace_is_told_so() -> None:
    with service("Async", grace=0.3) as running, ThreadPoolExecutor(1) as pool:
        call = pool.submit(running, "wait", 60)
        wait_until(lambda: running.metric("calls_in_flight") == 1)
        running.process.terminate()
        with pytest.raises(Died, match="stopped") as caught:
            call.result()
        assert caught.value.answered
        assert running.process.wait(5) == 0


def test_process_that_dies_in_a_call_is_told_from_one_that_refuses() -> None:
    with service("Sync") as running:
        with pytest.raises(Died) as caught:
            running("die")
        assert not caught.value.answered
        assert running.process.wait(5) == 3
        with pytest.raises(NotBegun):
            running("echo", 1)


def test_process_that_dies_in_a_stream_is_no_end_of_it() -> None:
    with service("Sync") as running:
        pieces = running.remote.stream(("pieces", 1000, 1, 0.05), {})
        next(pieces)
        running.process.kill()
        with pytest.raises(Died) as caught:
            list(pieces)
        assert caught.value.answered


async def test_async_calls_share_the_loop_and_can_be_cancelled() -> None:
    with service("Async") as running:
        remote = running.remote
        assert await remote.acall(("wait", 0), {}) == "done"
        start = time.monotonic()
        await asyncio.gather(*(remote.acall(("wait", 0.5), {}) for _ in range(20)))
        assert time.monotonic() - start < 3
        task = asyncio.create_task(remote.acall(("wait", 60), {}))
        while "begun" not in (await remote.acall(("notes",), {}))[21:]:
            await asyncio.sleep(0.01)
        task.cancel()
        while "cancelled" not in await remote.acall(("notes",), {}):
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await remote.acall(("wait", 60), {}, timeout=0.2)


async def test_async_stream_ends_the_call_when_it_is_left() -> None:
    with service("Async") as running:
        pieces: Any = running.remote.astream(("pieces", 1_000_000, 1, 0.01), {})
        assert await anext(pieces) == "x"
        await pieces.aclose()
        while (await running.remote.acall(("notes",), {}))[-1] != "closed":
            await asyncio.sleep(0.01)
        whole = [piece async for piece in running.remote.astream(("pieces", 3), {})]
        assert whole == ["x", "x", "x"]


async def test_async_call_to_nobody_has_not_begun() -> None:
    with service("Async") as running:
        pass
    with pytest.raises(NotBegun):
        await running.remote.acall(("notes",), {})


def test_values_of_a_stream_arrive_as_themselves() -> None:
    import numpy
    import torch

    with service("Sync") as running:
        values = [(1, b"2"), {3: {4}}, numpy.arange(3.0), torch.ones(2, dtype=torch.bfloat16), "x"]
        arrived = list(running.remote.stream(("values", values), {}))
        assert arrived[:2] + arrived[4:] == values[:2] + values[4:]
        assert (arrived[2].tolist(), arrived[3].dtype) == ([0.0, 1.0, 2.0], torch.bfloat16)
        assert torch.equal(running("echo", values[3]), values[3])


def test_five_hundred_callers_who_hang_up_leave_nothing_behind(running: ServiceProcess) -> None:
    process = psutil.Process(running.process.pid)
    for size in (50, 450):  # the first let threads and buffers come to be
        for _ in range(size // 50):
            callers = [running.send("/stream", "pieces", 1_000_000, 1024, 0.01) for _ in range(50)]
            for caller in callers:
                assert caller.recv(100)
                caller.close()
        wait_until(lambda: running.metric("calls_in_flight") == 0, 20)
        if size == 50:
            before = process.memory_info().rss
    assert process.memory_info().rss - before < 32 << 20
    assert process.num_fds() < 100
