"""TLS with an authority of one's own. It ends in front of a real Redis, for not every one is built with it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from forwarder import forwarding
from modcore.gateway.base import Entry, GatewayError, GatewayUnavailable
from modcore_redis_gateway.gateway import RedisGateway
from redis_server import redis_server

ONE = Entry(service="echo", id="one", epoch="first", document="{}")


class Files:
    """A certificate authority, and a server that shows a certificate of it."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.authority = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self.client = directory / "client.pem"
        authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(
            str(self.client)
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)
        authority.configure_trust(self.context)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def port(files: Files) -> Iterator[int]:
    with redis_server() as server, forwarding(server.port, files.context) as port:
        yield port


def refusal(url: str) -> str:
    gateway = RedisGateway(url)
    with pytest.raises(GatewayError) as told:
        gateway.register(ONE, 5)
    assert not isinstance(told.value, GatewayUnavailable), told.value
    return str(told.value)


def test_with_its_authority_a_server_is_trusted(files: Files, port: int) -> None:
    gateway = RedisGateway(f"rediss://127.0.0.1:{port}?ssl_ca_certs={files.authority}")
    gateway.register(ONE, 5)
    assert list(gateway.resolve()) == [ONE]
    revision = gateway.watch("", 5)
    assert gateway.watch(revision, 0.1) == revision
    gateway.close()


def test_without_it_a_server_is_not_trusted(port: int) -> None:
    said = refusal(f"rediss://127.0.0.1:{port}")
    assert "certificate is not trusted" in said
    assert "ssl_ca_certs=FILE" in said


def test_a_certificate_for_another_host_is_not_trusted(files: Files, port: int) -> None:
    said = refusal(f"rediss://localhost:{port}?ssl_ca_certs={files.authority}")
    assert "certificate is not trusted" in said
    assert "localhost" in said


def test_a_file_that_is_not_there_is_named(port: int) -> None:
    assert "No such file" in refusal(f"rediss://127.0.0.1:{port}?ssl_ca_certs=/no/ca.pem")


def test_a_server_without_tls_is_asked_after() -> None:
    with redis_server() as server:
        gateway = RedisGateway(f"rediss://127.0.0.1:{server.port}")
        with pytest.raises(GatewayUnavailable, match="a server without TLS"):
            gateway.register(ONE, 5)


def test_a_client_shows_its_certificate_where_it_is_asked(files: Files) -> None:
    files.context.verify_mode = ssl.CERT_REQUIRED
    try:
        with redis_server() as server, forwarding(server.port, files.context) as port:
            url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={files.authority}"
            gateway = RedisGateway(f"{url}&ssl_certfile={files.client}&ssl_keyfile={files.client}")
            gateway.register(ONE, 5)
            gateway.close()
            with pytest.raises(GatewayError):
                RedisGateway(url).register(ONE, 5)
    finally:
        files.context.verify_mode = ssl.CERT_NONE
