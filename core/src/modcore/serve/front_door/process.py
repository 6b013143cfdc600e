"""The process of a front door: it follows the registry, listens, and lets what runs finish when it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable

from modcore.gateway.directory import Directory
from modcore.serve import server
from modcore.serve.front_door.app import FrontDoor
from modcore.serve.front_door.comings import Comings


def run(
    front_door: FrontDoor,
    directory: Directory,
    listener: socket.socket,
    on_ready: Callable[[], None],
) -> None:
    """Serve `front_door` on `listener` until SIGTERM or SIGINT; `on_ready` is called once it answers."""
    comings = Comings(front_door.routes, front_door.metrics, _say)

    def begin() -> None:
        loop = asyncio.get_running_loop()

        def tidy() -> None:
            front_door.tidy(comings.notice().values())

        def changed() -> None:  # called in the directory's thread
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tidy)

        directory.on_change(changed)
        tidy()
        on_ready()

    server.run(
        front_door,
        listener,
        on_ready=begin,
        on_overdue=front_door.calls.end_all,
        on_drain=front_door.drain,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
