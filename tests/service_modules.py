"""Modules that tests serve, and the process that serves one: ``python service_modules.py NAME OPTIONS``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import modcore

TOKEN = "a-token-of-these-tests"


@dataclass
class Point:
    x: float
    label: str = ""


class Echo(modcore.ModuleBase):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]


class Same(modcore.ModuleBase):
    def forward(self, value: Any) -> Any:
        return value


class Typed(modcore.ModuleBase):
    def forward(
        self, text: str, times: int = 2, /, *, point: Point, thread: threading.Thread | None = None
    ) -> list[str]:
        return [text] * times


class Noted(modcore.ModuleBase):
    """What happened is in `notes`, which a call of ``notes`` returns."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []


class Sync(Noted):
    def forward(self, what: str, *args: Any) -> Any:
        return getattr(self, f"do_{what}")(*args)

    def do_notes(self) -> list[str]:
        return self.notes

    def do_echo(self, value: Any) -> Any:
        return value

    def do_wait(self, seconds: float) -> str:
        self.notes.append("begun")
        time.sleep(seconds)
        self.notes.append("ended")
        return "done"

    def do_pieces(self, count: int, size: int = 1, pause: float = 0.0) -> Iterator[str]:
        try:
            for number in range(count):
                self.notes.append(str(number))
                yield "x" * size
                time.sleep(pause)
        finally:
            self.notes.append("closed")

    def do_values(self, values: list[Any]) -> Iterator[Any]:
        yield from values

    def do_lines(self, count: int) -> Iterator[int]:
        for number in range(count):
            if number == 3:
                raise ValueError("no more than 3")
            yield number

    def do_chain(self) -> None:
        try:
            {}["missing"]
        except KeyError as error:
            failure = OSError(2, "No such file or directory", "/secret/place")
            failure.add_note("look elsewhere")
            raise failure from error

    def do_die(self) -> None:
        os._exit(3)


class Async(Noted):
    async def forward(self, what: str, *args: Any) -> Any:
        result = getattr(self, f"do_{what}")(*args)
        return await result if asyncio.iscoroutine(result) else result

    async def do_notes(self) -> list[str]:
        return self.notes

    async def do_wait(self, seconds: float) -> str:
        self.notes.append("begun")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise
        return "done"

    async def do_cancel(self) -> None:
        raise asyncio.CancelledError

    async def do_pieces(self, count: int, size: int = 1, pause: float = 0.0) -> AsyncIterator[str]:
        try:
            for number in range(count):
                self.notes.append(str(number))
                yield "x" * size
                await asyncio.sleep(pause)
        finally:
            self.notes.append("closed")


MODULES = {each.__name__: each for each in (Echo, Same, Typed, Sync, Async)}


def main() -> None:
    from modcore.serve import bounded_http
    from modcore.serve.draining import run_service
    from modcore.serve.module_app import ModuleApp
    from modcore.serve.server import open_listener, url_of

    limit = os.environ.get("TEST_REQUEST_SECONDS")
    bounded_http.REQUEST_SECONDS = float(limit or bounded_http.REQUEST_SECONDS)
    options = json.loads(sys.argv[2])
    grace = options.pop("grace", 5.0)
    checkpoint = options.pop("checkpoint", None)
    module = MODULES[sys.argv[1]]() if checkpoint is None else modcore.TrainableModule(checkpoint)
    app = ModuleApp(module.start(), TOKEN, **options)
    listener = open_listener("127.0.0.1", 0)
    run_service(app, listener, lambda: print(f"url: {url_of(listener)}", flush=True), grace=grace)


if __name__ == "__main__":
    main()
