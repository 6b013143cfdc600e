"""One Ray for all tests here: its start costs seconds and hundreds of megabytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

APP = """
import os, modcore

@modcore.ActionModule
def shout(text):
    print("shouting", flush=True)
    return text.upper()

@modcore.ActionModule
def where():
    return [os.getpid(), os.environ.get("PRIVATE_TOKEN_HERE")]
"""


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with two modules, and one beside it that cannot be imported."""
    file = tmp_path_factory.mktemp("app") / "poet_app.py"
    file.write_text(APP)
    file.with_name("broken_app.py").write_text("raise LookupError('the weights are gone')\n")
    return file


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local Ray, kept up by a user that is no service."""
    pytest.importorskip("ray", reason="needs Ray: nox -s ray")
    from modcore_ray.connection import connection

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("MODCORE_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        connection.acquire()
        yield
        connection.release()
