"""Images from elsewhere: only where the operator allows it, from one public address, and not for long."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from image_files import picture
from modcore.errors import EngineClosed
from modcore.vision import fetch
from modcore.vision.fetch import Fetcher, is_public
from modcore.vision.images import BadImage
from modcore.vision.options import VisionOptions
from modcore.vision.parts import ImagePart, ImageURL
from modcore.vision.sources import see_images

HOST = "images.example.org"
Answer = Callable[[ssl.SSLSocket], None]


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example.org/a.png",
        "ftp://images.example.org/a.png",
        "file:///etc/passwd",
        "//images.example.org/a.png",
        "https://user@images.example.org/a.png",
        "https://images.example.org@127.0.0.1/a.png",
        "https://127.0.0.1\\@images.example.org/a.png",
        "https://images.example.org\\.evil.org/",
        "https://images.example.org/a b.png",
        "https://images.example.org/\r\nhost: x",
        "https://images.example.org:99999/",
        "https://[::1",
        "https://images.example.org.evil.org/",
        "https://evil.org/images.example.org",
        "https://\uff49mages.example.org/",
        "",
    ],
)  # fmt: skip
def test_nothing_but_https_of_an_allowed_domain_is_asked_for(url: str) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    fetcher = Fetcher(VisionOptions(allow_media_domain=(HOST,)), resolve=resolve)
    with pytest.raises(BadImage, match=r"is to be fetched from|is no domain that the operator"):
        fetcher.fetch(url)


@pytest.mark.parametrize("url", [f"https://{HOST}/a b.png", "https://bücher.example/a.png"])
def test_a_url_that_is_not_encoded_is_told_so(url: str) -> None:
    fetcher = Fetcher(VisionOptions(allow_media_domain=(HOST, "xn--bcher-kva.example")))
    with pytest.raises(BadImage, match="holds blanks or what is no ASCII; write these as %20"):
        fetcher.fetch(url)


def test_no_domain_is_allowed_by_default() -> None:
    with pytest.raises(BadImage, match=r"'images.example.org' is no domain .*allowed: none"):
        Fetcher(VisionOptions()).fetch(f"https://{HOST}/a.png")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1",
        "2002:7f00:1::", "fec0::1", "feff::1", "192.88.99.1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "::127.0.0.1", "nonsense",
    ],
)  # fmt: skip
def test_addresses_that_are_not_the_internet_s_are_none(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "169.254.169.254"]
)
def test_even_an_allowed_name_is_not_asked_at_an_address_of_ours(host: str) -> None:
    fetcher = Fetcher(VisionOptions(allow_media_domain=(host,)))
    with pytest.raises(BadImage, match=r"is not fetched: .* not public|was not found within"):
        fetcher.fetch(f"https://{host}/a.png")


def test_a_name_with_one_private_address_is_not_asked_at_all() -> None:
    addresses = ["8.8.8.8", "127.0.0.1"]
    fetcher = Fetcher(
        VisionOptions(allow_media_domain=(HOST,)), resolve=lambda host, port: addresses
    )
    with pytest.raises(BadImage, match="has no address, or one that is not public"):
        fetcher.fetch(f"https://{HOST}/a.png")


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_SECONDS", 0.2)
    is_over = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        is_over.wait(30)
        return []

    fetcher = Fetcher(VisionOptions(allow_media_domain=(HOST,)), resolve=resolve)
    with pytest.raises(BadImage, match="was not found within"):
        fetcher.fetch(f"https://{HOST}/a.png")
    is_over.set()


# From here on a real server answers, with a certificate of its own.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@contextlib.contextmanager
def answering(certificate: Path, answer: Answer) -> Iterator[int]:
    """A TLS server on loopback whose connections `answer` gets, once the request has been read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with (
            contextlib.suppress(OSError),
            listener,
            context.wrap_socket(listener.accept()[0], server_side=True) as connection,
        ):
            while b"\r\n\r\n" not in connection.recv(65536):
                pass
            answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
        assert not thread.is_alive()


def fetched(
    certificate: Path, answer: Answer, host: str = HOST, asked: str = "", **limits: int
) -> bytes:
    """What a fetcher makes of `answer`, when loopback counts as public."""
    lookups: list[str] = []

    def resolve(name: str, port: int) -> list[str]:
        lookups.append(name)
        return ["127.0.0.1"] if len(lookups) == 1 else ["10.0.0.1"]  # a name that is rebound

    fetcher = Fetcher(
        VisionOptions(allow_media_domain=(host,), **limits),
        resolve=resolve,
        is_allowed=lambda address: address == "127.0.0.1",
        context=ssl.create_default_context(cafile=str(certificate)),
    )
    with answering(certificate, answer) as port:
        data = fetcher.fetch(f"https://{asked or host}:{port}/a.png?b=c")
    assert lookups == [host]
    return data


def test_all_of_a_request_are_bounded_together(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = picture()
    monkeypatch.setattr(fetch, "MOST_BYTES_TOGETHER", len(data) + 1)
    fetcher = Fetcher(
        VisionOptions(allow_media_domain=(HOST,)),
        resolve=lambda host, port: ["127.0.0.1"],
        is_allowed=lambda address: True,
        context=ssl.create_default_context(cafile=str(certificate)),
    )
    for _ in range(2):
        with answering(certificate, body(data)) as port:
            assert fetcher.fetch(f"https://{HOST}:{port}/a.png") == data
    with pytest.raises(BadImage, match=r"30 seconds and \d+ bytes are the most for all that are"):
        fetcher.fetch(f"https://{HOST}/a.png")


def test_time_for_all_of_a_request_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MOST_SECONDS_TOGETHER", 0.2)
    is_over = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        is_over.wait(30)
        return []

    fetcher = Fetcher(VisionOptions(allow_media_domain=(HOST,)), resolve=resolve)
    for words in ("was not found within", "0 seconds and 50000000 bytes are the most for all"):
        with pytest.raises(BadImage, match=words):
            fetcher.fetch(f"https://{HOST}/a.png")
    is_over.set()


def test_nothing_is_fetched_for_nobody() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    options = VisionOptions(allow_media_domain=(HOST,))
    parts = [ImagePart(ImageURL(f"https://{HOST}/a.png"))]
    with pytest.raises(EngineClosed, match="Nobody waits"):
        see_images(parts, options, Fetcher(options, resolve=resolve), is_wanted=lambda: False)


def test_a_dot_behind_a_name_changes_nothing(certificate: Path) -> None:
    data = picture()
    assert fetched(certificate, body(data), asked=f"{HOST}.") == data


def body(data: bytes, head: bytes = b"200 OK\r\n") -> Answer:
    return lambda connection: connection.sendall(
        b"HTTP/1.1 " + head + b"content-length: %d\r\n\r\n" % len(data) + data
    )


def endless(connection: ssl.SSLSocket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"x" * 65536)


def dripping(connection: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        drip(connection, b"x: y\r\n")


def drip(connection: ssl.SSLSocket, drop: bytes) -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        connection.sendall(drop)
        threading.Event().wait(0.05)


def test_an_image_is_fetched_from_the_address_that_was_looked_at(certificate: Path) -> None:
    data = picture()
    assert fetched(certificate, body(data)) == data


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary", b"404 Not Found"])
def test_redirects_are_not_followed(certificate: Path, status: bytes) -> None:
    head = status + b"\r\nlocation: https://127.0.0.1/secret\r\n"
    with pytest.raises(BadImage, match=f"answers {status[:3].decode()}; redirects are not"):
        fetched(certificate, body(b"", head))


def test_a_body_without_an_end_is_cut_off(certificate: Path) -> None:
    with pytest.raises(BadImage, match="larger than 300000 bytes"):
        fetched(certificate, endless, max_image_bytes=300_000)


def test_ten_megabytes_are_the_most_whatever_the_operator_allows(certificate: Path) -> None:
    with pytest.raises(BadImage, match="larger than 10000000 bytes"):
        fetched(certificate, body(bytes(10_000_001)))


def test_a_body_that_ends_early_is_refused(certificate: Path) -> None:
    def half(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nabc")

    with pytest.raises(BadImage, match=r"it failed|ends early"):
        fetched(certificate, half)


def test_headers_that_drip_are_not_waited_for(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MOST_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(BadImage, match=r"took longer than|it failed"):
        fetched(certificate, dripping)
    assert time.monotonic() - began < 10


def test_a_host_that_takes_its_time_at_every_step_is_cut_off(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is slow to let in, shakes hands when time is up, and then drips."""
    monkeypatch.setattr(fetch, "MOST_SECONDS", 2.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = fill(listener)
    looked_up = threading.Event()

    def serve() -> None:
        looked_up.wait(10)
        until = time.monotonic() + 2.2
        listener.settimeout(5)
        with contextlib.suppress(OSError):
            threading.Event().wait(0.5)
            for _ in fillers:
                listener.accept()[0].close()
            connection = listener.accept()[0]  # let in when it asks again, after a second
            threading.Event().wait(until - time.monotonic())
            with context.wrap_socket(connection, server_side=True) as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                drip(connection, b"x")

    def resolve(name: str, port: int) -> list[str]:
        looked_up.set()
        return ["127.0.0.1"]

    thread = threading.Thread(target=serve)
    thread.start()
    fetcher = Fetcher(
        VisionOptions(allow_media_domain=(HOST,)),
        resolve=resolve,
        is_allowed=lambda address: True,
        context=ssl.create_default_context(cafile=str(certificate)),
    )
    began = time.monotonic()
    with pytest.raises(BadImage, match=r"took longer than|it failed"):
        fetcher.fetch(f"https://{HOST}:{listener.getsockname()[1]}/a.png")
    assert time.monotonic() - began < 5
    for each in (listener, *fillers):
        each.close()
    thread.join(20)


def fill(listener: socket.socket) -> list[socket.socket]:
    """Connections that nobody accepts yet, as many as are let in."""
    fillers: list[socket.socket] = []
    while True:
        filler = socket.socket()
        filler.settimeout(0.2)
        try:
            filler.connect(listener.getsockname())
        except TimeoutError:
            filler.close()
            return fillers
        fillers.append(filler)


def test_a_host_that_is_not_who_it_says_is_not_believed(certificate: Path) -> None:
    with pytest.raises(BadImage, match="it failed"):
        fetched(certificate, body(picture()), host="other.example.org")


def test_compressed_bodies_are_refused(certificate: Path) -> None:
    with pytest.raises(BadImage, match="sends it compressed"):
        fetched(certificate, body(b"x", b"200 OK\r\ncontent-encoding: gzip\r\n"))
