"""Clients that disconnect in the middle of their stream, through the front door."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

import front_doors
from front_doors import Process
from waiting import wait_until

CLIENTS, AT_ONCE = 500, 50


async def hang_up_after_the_first_event(door: Process, turns: asyncio.Semaphore) -> None:
    address = urlsplit(door.url)
    body = json.dumps({"args": ["slow", 1_000_000, 100]}).encode()
    head = b"POST /stream/echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with turns:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head + body)
        await reader.readuntil(b'{"piece"')
        writer.transport.abort()


@pytest.mark.fault
@pytest.mark.timeout(300)
async def test_five_hundred_clients_that_hang_up_leave_nothing_behind(tmp_path: Path) -> None:
    with front_doors.cluster(tmp_path) as cluster:
        echo, door = cluster.service("echo"), cluster.front_door()
        await asyncio.to_thread(wait_until, lambda: door.instances("echo"))
        turns, process = asyncio.Semaphore(AT_ONCE), psutil.Process(door.process.pid)
        sizes, files = [], []
        for _ in range(4):
            clients = (hang_up_after_the_first_event(door, turns) for _ in range(CLIENTS))
            await asyncio.gather(*clients)
            await asyncio.to_thread(wait_until, lambda: not echo.ask("/health").json["under_way"])
            assert door.metric("modcore_front_door_in_flight", service="echo") == 0
            sizes.append(process.memory_info().rss)
            files.append(process.num_fds())
        assert sizes[-1] < 1.05 * sizes[1]  # the first fills caches
        assert files[-1] <= files[0] + 5
        assert door.call("echo", "x").status == 200
