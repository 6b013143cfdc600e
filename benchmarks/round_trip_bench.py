"""The round trip of a string through a ServerModule, beside the same echo on bare FastAPI and uvicorn.

    python benchmarks/round_trip_bench.py [--rounds 10]

FastAPI with uvicorn (uvloop, httptools) answers `async def` and `def` handlers to a keep-alive `http.client`; a
ServerModule answers for modules whose `forward` is one or the other. All four are measured in turns in one run; the
least median of a round is shown, and the goal is 1.5 times FastAPI's.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import modcore

TEXT = "hello world, this is a string"
CALLS = 400  # in a round
GOAL = 1.5

BARE = """
import socket, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

class Body(BaseModel):
    text: str

app = FastAPI()

@app.post("/async")
async def answer(body: Body):
    return {"result": body.text}

@app.post("/def")
def answer_in_thread(body: Body):
    return {"result": body.text}

listener = socket.socket()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="warning", access_log=False, loop="uvloop", http="httptools")
uvicorn.Server(config).run(sockets=[listener])
"""


class Echo(modcore.ModuleBase):
    def forward(self, text: str) -> str:
        return text


class AsyncEcho(modcore.ModuleBase):
    async def forward(self, text: str) -> str:
        return text


def client(port: int, path: str) -> Callable[[str], str]:
    """A keep-alive client of the bare server."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"content-type": "application/json"}

    def call(text: str) -> str:
        connection.request("POST", path, json.dumps({"text": text}), headers)
        return str(json.loads(connection.getresponse().read())["result"])

    return call


def median_of_round(call: Callable[[str], str]) -> float:
    """Seconds."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call(TEXT)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(cases: dict[str, Callable[[str], str]], rounds: int) -> dict[str, float]:
    """The least median of each case."""
    for call in cases.values():
        for _ in range(CALLS):
            assert call(TEXT) == TEXT
    medians: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, call in cases.items():
            medians[name].append(median_of_round(call))
    return {name: min(each) for name, each in medians.items()}


def show(least: dict[str, float]) -> None:
    """The table, and whether the goal is met."""
    for name, seconds in least.items():
        print(f"{name:32} {seconds * 1e6:6.0f} µs")
    for ours in ("ServerModule, async def", "ServerModule, def"):
        for theirs in ("FastAPI, async def", "FastAPI, def"):
            ratio = least[ours] / least[theirs]
            verdict = "met" if ratio <= GOAL else "NOT met"
            print(f"{ours} / {theirs}: {ratio:.2f} (goal <= {GOAL}, {verdict})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True) as bare:
        assert bare.stdout
        port = int(bare.stdout.readline())
        servers = [modcore.ServerModule(module).start() for module in (AsyncEcho(), Echo())]
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30):
                pass  # it listens
            cases: dict[str, Callable[[str], str]] = {
                "FastAPI, async def": client(port, "/async"),
                "FastAPI, def": client(port, "/def"),
                "ServerModule, async def": servers[0],
                "ServerModule, def": servers[1],
            }
            show(measure(cases, rounds))
        finally:
            for server in servers:
                server.stop()
            bare.terminate()


if __name__ == "__main__":
    main()
