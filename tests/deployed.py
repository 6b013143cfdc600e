"""What tests of deployed services share: programs, commands, and who is alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modcore.deploy.handover import Handover
from modcore.plugins import Service, ServiceSpec, plugin_manager

TOKEN = "the token of the tests"

APP = """
import os, subprocess, sys, time
import modcore


class Worker(modcore.ModuleBase):
    def __init__(self, greeting="hello"):
        super().__init__()
        self.greeting = greeting

    def forward(self, what, *args):
        return getattr(self, what)(*args)

    def pid(self):
        return os.getpid()

    def greet(self, name):
        return f"{self.greeting} {name}"

    def say(self, line):
        print(line, flush=True)

    def leave(self, code):
        os._exit(code)

    def environment(self):
        return dict(os.environ)

    def child(self):
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds


module = Worker()
number = 3


def function(value):
    return value + 1


def maker(greeting):
    return Worker(greeting)
"""


def write_app(directory: Path, text: str = APP, name: str = "app.py") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def entry_spec(app: Path, attribute: str = "module", **values: Any) -> ServiceSpec:
    name = values.pop("name", "worker")
    words = ("serve-module", "--entry", f"{app}:{attribute}", "--name", name)
    return ServiceSpec(name=name, command=(*words, *values.pop("words", ())), **values)


def launch(spec: ServiceSpec, handover: Handover | None = None) -> Service:
    payload = (handover or Handover(token=TOKEN)).to_bytes()
    return plugin_manager().deploy(spec, {"secret_payload": payload})


def modcore_command(
    *words: str, environment: dict[str, str] | None = None, timeout: float = 60.0, **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modcore", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
        **options,
    )


def rows(output: str) -> list[dict[str, Any]]:
    """What ``modcore ps --json`` lists."""
    listed: list[dict[str, Any]] = json.loads(output)["services"]
    return listed


def events(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.strip()]


def group_of(pid: int) -> list[int]:
    """The living processes of the group that `pid` leads."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found
