"""Modules that tests send to processes of their own, which can import this file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modcore


class Worker(modcore.ModuleBase):
    def forward(self, what: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, what)(*args, **kwargs)

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    def pid(self) -> int:
        return os.getpid()

    def fail(self, message: str) -> None:
        raise LookupError(message)

    def fail_severally(self) -> None:
        inner = ExceptionGroup("inner", [LookupError("b"), type("Strange", (Exception,), {})("c")])
        raise ExceptionGroup("outer", [ValueError("a"), inner])

    def leave(self) -> None:
        raise SystemExit(3)

    def fail_strangely(self) -> None:
        raise type("Strange", (Exception,), {})("oh")

    def lock(self) -> Any:
        return threading.Lock()

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def count(self, number: int, pause: float = 0.0) -> Iterator[int]:
        for each in range(number):
            time.sleep(pause)
            yield each
            if each == 3:
                raise ValueError("no more than 3")


class Loading(modcore.ModuleBase):
    loaded = 0

    def setup(self) -> None:
        self.loaded += 1

    def forward(self) -> int:
        return self.loaded


class Deploying(modcore.ModuleBase):
    """Says which processes have run its tasks."""

    trained_in = deployed_in = 0

    def _get_train_tasks(self) -> Any:
        return lambda: setattr(self, "trained_in", os.getpid())

    def _get_deploy_tasks(self) -> Any:
        return lambda: setattr(self, "deployed_in", os.getpid())

    def forward(self) -> list[int]:
        return [self.trained_in, self.deployed_in, os.getpid()]


class NotLoading(Loading):
    def setup(self) -> None:
        raise ValueError("the weights are gone")


class Sleeper(modcore.ModuleBase):
    def forward(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


class SlowToLoad(modcore.ModuleBase):
    def setup(self) -> None:
        time.sleep(1.5)

    def forward(self) -> int:
        return os.getpid()


class Printer(modcore.ModuleBase):
    def forward(self) -> str:
        print("url: http://127.0.0.1:9/", flush=True)
        return "printed"


class Known(Exception):
    pass


class Raiser(modcore.ModuleBase):
    def forward(self) -> None:
        raise Known("it")


class Asking(modcore.ModuleBase):
    """Asks another service while it loads, and for each of its own answers."""

    def __init__(self, other: modcore.ModuleBase) -> None:
        super().__init__()
        self.other = other
        self.told = 0

    def setup(self) -> None:
        self.told = self.other("pid")

    def forward(self) -> list[int]:
        return [self.told, self.other("pid"), os.getpid()]


class Dying(modcore.ModuleBase):
    """Ends its process in the middle of the first call of all, of which a file tells."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def forward(self, value: Any) -> Any:
        with Path(self.file).open("a") as file:
            file.write(".")
            file.flush()
            if file.tell() == 1:
                os._exit(3)
        return value


class Patient(modcore.ModuleBase):
    """Asks `other`, which takes long, and notes in a file how long it waited."""

    def __init__(self, other: modcore.ModuleBase, file: str) -> None:
        super().__init__()
        self.other, self.file = other, file

    def forward(self) -> None:
        started = time.monotonic()
        try:
            self.other(30.0)
        finally:
            Path(self.file).write_text(str(time.monotonic() - started))
