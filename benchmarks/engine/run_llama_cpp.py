"""Measure llama.cpp with its own programs, built into --bin.

Decode and prefill are those of `llama-batched-bench` (no HTTP, no sampling: what the library itself reaches). Mixed,
prefix and load go through `llama-server` with 32 slots. The model is GGUF, from `convert_hf_to_gguf.py` of llama.cpp.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path

from peer_cli import Engine, Sample, Setup, Timelines, main
from requests_list import Request

SLOTS = 32
SLOT_TOKENS = 512


class LlamaCpp(Engine):
    """A GGUF file; the server starts when a work first needs it and keeps running."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.bin: Path = setup.extra.bin
        said = subprocess.run(
            [self.bin / "llama-server", "--version"], capture_output=True, text=True, check=True
        )
        version = re.search(r"version: (.*)", said.stdout + said.stderr)
        self.version = version[1] if version else "unknown"
        self.server: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.bench_peak_mb = 0

    @property
    def common(self) -> list[str]:
        """The options every program gets."""
        threads = str(self.setup.threads)
        return ["-m", str(self.setup.model), "-t", threads, "-tb", threads]

    # decode and prefill: llama-batched-bench

    def bench(self, requests: Sequence[Request]) -> dict[str, float]:
        """One line of llama-batched-bench for as many sequences as there are requests, all of one shape."""
        batch, prompt, output = len(requests), len(requests[0].prompt), requests[0].output
        command = [
            str(self.bin / "llama-batched-bench"),
            *self.common,
            "-c",
            str(batch * (prompt + output)),
            "-npp",
            str(prompt),
            "-ntg",
            str(output),
            "-npl",
            str(batch),
            "--output-format",
            "jsonl",
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("{"):
                    self.bench_peak_mb = max(self.bench_peak_mb, peak_mb_of(process.pid))
        for line in lines:
            if line.startswith("{"):
                result: dict[str, float] = json.loads(line)
                return result
        raise RuntimeError(f"{' '.join(command)} gave no result (exit code {process.returncode})")

    def decode(self, requests: Sequence[Request]) -> Sample:
        result = self.bench(requests)
        return Sample(len(requests) * requests[0].output, result["t_tg"])

    def prefill(self, requests: Sequence[Request]) -> Sample:
        result = self.bench(requests)
        return Sample(sum(len(request.prompt) for request in requests), result["t_pp"])

    # mixed, prefix and load: llama-server

    def start(self) -> None:
        """Start the server and wait until it says that it is healthy."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [
            str(self.bin / "llama-server"),
            *self.common,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "-np",
            str(SLOTS),
            "-c",
            str(SLOTS * SLOT_TOKENS),
        ]
        if self.setup.extra.first_token:
            command.append("--no-warmup")
        self.server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not self.healthy():
            if self.server.poll() is not None:
                raise RuntimeError(
                    f"{' '.join(command)} ended with exit code {self.server.returncode}"
                )
            time.sleep(0.01)

    def healthy(self) -> bool:
        """Whether the server answers and has its model."""
        try:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def generate(self, requests: Sequence[Request], variant: str = "") -> Timelines:
        if self.server is None:
            self.start()
        stream = (
            self.setup.prefix_cache
        )  # times of single tokens matter there; elsewhere a stream would only cost
        timelines: Timelines = [[] for _ in requests]
        errors: list[Exception] = []
        start = time.perf_counter()

        def send(request: Request, times: list[float]) -> None:
            try:
                self.complete(request, stream, start, times)
            except Exception as error:
                errors.append(error)

        senders = [
            threading.Thread(target=send, args=pair)
            for pair in zip(requests, timelines, strict=True)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        if errors:
            raise errors[0]
        return timelines

    def complete(self, request: Request, stream: bool, start: float, times: list[float]) -> None:
        """Send one request and note when its tokens, or at the end all of them, came."""
        body = {
            "prompt": request.prompt,
            "n_predict": request.output,
            "temperature": 0.0,
            "samplers": [],
            "ignore_eos": True,
            "stream": stream,
            "cache_prompt": self.setup.prefix_cache,
        }
        connection = HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(
            "POST", "/completion", json.dumps(body), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"llama-server answered {response.status}: {response.read()!r}")
        predicted = 0
        for line in response:
            line = line.removeprefix(b"data: ").strip()
            if line.startswith(b"{"):
                times.append(time.perf_counter() - start)
                predicted = json.loads(line).get("tokens_predicted", 0)
        if predicted != request.output:
            raise RuntimeError(f"a request got {predicted} tokens, not {request.output}")

    def peak_rss_mb(self) -> int:
        return max(self.bench_peak_mb, peak_mb_of(self.server.pid) if self.server else 0)

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(timeout=30)


def peak_mb_of(pid: int) -> int:
    """The largest resident memory so far of a process that is still alive, or 0."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the programs are."""
    parser.add_argument(
        "--bin", type=Path, required=True, help="the folder of llama-server and llama-batched-bench"
    )


if __name__ == "__main__":
    main("llama.cpp", LlamaCpp, quants=("bf16", "q8_0"), add_arguments=add_arguments)
