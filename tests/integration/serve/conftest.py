"""The servers that the tests here talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import openai
import pytest

from servers import ServerProcess, serving


@pytest.fixture(scope="session")
def server(text_checkpoint: Path) -> Iterator[ServerProcess]:
    """A server without a key, shared by all tests."""
    with serving(str(text_checkpoint), "--dtype", "float32") as running:
        yield running
        assert running.process.poll() is None, "a test ended the server"


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> openai.OpenAI:
    return server.client()


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[ServerProcess]]:
    """Start a server of the test's own: `with serve(*words, **environment) as server`."""
    return serving
