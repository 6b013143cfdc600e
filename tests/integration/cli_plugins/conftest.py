"""``modcore`` as a process, in an environment with the core, fabricated plugins and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_sites import CommandLine, Site, bare_interpreter


@pytest.fixture(scope="session")
def core_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the core and its requirements: no torch, no plugin."""
    return bare_interpreter(tmp_path_factory.mktemp("core"), "modcore")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty site."""
    return Site(tmp_path / "site")


@pytest.fixture
def modcore(core_python: str, site: Site) -> CommandLine:
    """The command line over the core and what is installed in `site`."""
    return CommandLine(core_python, [site.path])


@pytest.fixture
def everything(site: Site) -> CommandLine:
    """The command line over this environment, modcore-llama included, and `site`."""
    return CommandLine(sys.executable, [site.path])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """A directory with a config.json: `checkpoint(architectures=["AlphaLM"])`, or of raw bytes."""

    def write(raw: bytes | None = None, **config: object) -> Path:
        directory = tmp_path / "checkpoint"
        directory.mkdir(exist_ok=True)
        (directory / "config.json").write_bytes(json.dumps(config).encode() if raw is None else raw)
        return directory

    return write
