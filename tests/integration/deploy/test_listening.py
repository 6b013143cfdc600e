"""Where a service listens: on this machine's loopback, or on an address that callers may go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import modcore
from modcore.deploy.handover import Handover
from modcore.deploy.local import LocalLauncher
from modcore.errors import ServiceError
from modcore.plugins import Service, ServiceSpec

TOKEN = "t" * 32


@pytest.fixture
def listen_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Service]]:
    monkeypatch.setenv("MODCORE_STATE_DIR", str(tmp_path / "state"))
    app = tmp_path / "echo_app.py"
    app.write_text("import modcore\necho = modcore.ActionModule(str.upper)\n")
    services: list[Service] = []

    def launched(host: str) -> Service:
        command = ("serve-module", "--entry", f"{app}:echo", "--name", "echo", "--host", host)
        launcher = LocalLauncher(Handover(token=TOKEN).to_bytes())
        services.append(launcher.launch(ServiceSpec(name="echo", command=command)))
        return services[-1]

    yield launched
    for service in services:
        service.stop()


def test_service_listens_where_callers_may_go(listen_at: Callable[[str], Service]) -> None:
    service = listen_at("127.0.0.2")
    assert service.url.startswith("http://127.0.0.2:")
    assert modcore.UrlModule(service.url, token=TOKEN)("tyger") == "TYGER"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.255.255.1", "::", "example.org"])
def test_service_listens_nowhere_else(listen_at: Callable[[str], Service], host: str) -> None:
    with pytest.raises(ServiceError, match=f"--host: {host} is not in MODCORE_ALLOWED_NETWORKS"):
        listen_at(host)
