"""Images from elsewhere, for operators who allow it: nothing is fetched that is not asked for by name.

A name is resolved once and the connection goes to that address, so that it cannot come to mean another
one in between; only public addresses are asked, redirects are not followed, and time and size are bounded.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from modcore.vision.images import BadImage
from modcore.vision.options import VisionOptions

MOST_SECONDS = 5.0
MOST_BYTES = 10_000_000
#: Of all images of a request together, which one thread fetches and which are held until all are there.
MOST_SECONDS_TOGETHER = 30.0
MOST_BYTES_TOGETHER = 50_000_000
#: Networks that hide another address in theirs (what is behind it is not looked for), and those of a site
#: that Python counts as global, because they were given up (RFC 3879).
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(each)
    for each in (
        *("64:ff9b::/96", "2002::/16", "192.88.99.0/24", "2001::/32", "::/96", "::ffff:0:0/96"),
        "fec0::/10",
    )
)
_PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII, no spaces, no backslash

T = TypeVar("T")


class Fetcher:
    """Fetches the images of one request from the domains that `options` allow.

    `resolve` answers with the addresses of a host and port, `is_allowed` says which of them may be
    asked, `context` how TLS is checked.
    """

    def __init__(
        self,
        options: VisionOptions,
        *,
        resolve: Callable[[str, int], list[str]] | None = None,
        is_allowed: Callable[[str], bool] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._domains = options.allow_media_domain
        self._most_bytes = min(MOST_BYTES, options.max_image_bytes)
        self._resolve = resolve or addresses_of
        self._is_allowed = is_allowed or is_public
        self._context = context
        self._until: float | None = None
        self._bytes = 0

    def fetch(self, url: str) -> bytes:
        """What is at `url`; raises BadImage for what is not allowed, too large or too slow."""
        parts = self._allowed(url)
        deadline = self._next_deadline()
        host, port = _host(parts), parts.port or 443
        addresses = _within(deadline, lambda: self._resolve(host, port), host)
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            raise BadImage(
                f"is not fetched: {host} has no address, or one that is not public; send the image as a data: URL."
            )
        data = self._get(parts, addresses[0], deadline)
        self._bytes += len(data)
        return data

    def _next_deadline(self) -> float:
        """When the next image has to be there; raises BadImage when those before it have used up what there is."""
        now = time.monotonic()
        self._until = self._until or now + MOST_SECONDS_TOGETHER
        if now >= self._until or self._bytes >= MOST_BYTES_TOGETHER:
            raise BadImage(
                f"is not fetched: {MOST_SECONDS_TOGETHER:.0f} seconds and {MOST_BYTES_TOGETHER} bytes are the most for "
                "all that are fetched for a request; send fewer, or smaller ones."
            )
        return min(self._until, now + MOST_SECONDS)

    def _allowed(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url) if _PLAIN.fullmatch(url) else None
            host = _host(parts) if parts else ""
            is_usable = parts is not None and parts.port != 0
        except ValueError:
            is_usable, parts, host = False, None, ""
        if url[:8].lower() == "https://" and not _PLAIN.fullmatch(url):
            raise BadImage(
                f"is to be fetched from {url[:80]!r}, which holds blanks or what is no ASCII; write these as %20 and "
                "so on, and a name as xn--..."
            )
        if parts is None or not is_usable or parts.scheme != "https" or "@" in parts.netloc:
            raise BadImage(
                f"is to be fetched from {url[:80]!r}; data: URLs are read, and https: ones of domains that the "
                "operator allows."
            )
        if host not in self._domains:
            allowed = ", ".join(self._domains) or "none"
            raise BadImage(
                f"is not fetched: {host[:80]!r} is no domain that the operator allows (allowed: {allowed}); "
                "send the image as a data: URL."
            )
        return parts

    def _get(self, parts: SplitResult, address: str, deadline: float) -> bytes:
        host = _host(parts)
        connection = _Pinned(host, parts.port or 443, address, self._context, deadline)
        # Whoever sends a byte now and then would never be waited for too long by a socket's own timeout.
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), connection.cut)
        timer.daemon = True
        timer.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(
                "GET", target, headers={"accept": "image/png, image/jpeg, image/webp"}
            )
            with connection.getresponse() as response:  # one that is left unread stays open
                data = self._body(response, host)
            if time.monotonic() >= deadline:  # what was cut off looks like an end
                raise TimeoutError
            return data
        except (OSError, http.client.HTTPException) as error:
            late = time.monotonic() >= deadline
            raise BadImage(
                f"could not be fetched from {host}: "
                + (f"it took longer than {MOST_SECONDS:.0f} seconds." if late else "it failed.")
            ) from error
        finally:
            timer.cancel()
            connection.close()

    def _body(self, response: http.client.HTTPResponse, host: str) -> bytes:
        if response.status != 200:
            raise BadImage(
                f"could not be fetched from {host}, which answers {response.status}; redirects are not followed."
            )
        if response.getheader("content-encoding", "identity") != "identity":
            raise BadImage(f"could not be fetched from {host}, which sends it compressed.")
        data = response.read(self._most_bytes + 1)
        if len(data) > self._most_bytes or (response.length or 0) > 0:
            raise BadImage(
                f"could not be fetched from {host}: it is larger than {self._most_bytes} bytes, or ends early."
            )
        return data


def _host(parts: SplitResult) -> str:
    """The name as certificates have it: without the dot that may stand behind it."""
    return (parts.hostname or "").rstrip(".")


class _Pinned(http.client.HTTPSConnection):
    """A connection to `address`, which has to prove that it is `host`."""

    def __init__(
        self,
        host: str,
        port: int,
        address: str,
        context: ssl.SSLContext | None,
        deadline: float,
    ) -> None:
        self._tls = context or ssl.create_default_context()
        super().__init__(host, port, context=self._tls)
        self._address, self._deadline = address, deadline
        self._raw: socket.socket | None = None
        self._is_cut = False

    def connect(self) -> None:
        """Connect to the address, and shake hands with the host."""
        self._raw = socket.create_connection((self._address, self.port), timeout=self._left())
        self._raw.settimeout(self._left())  # connecting may have taken most of it
        self.sock = self._tls.wrap_socket(self._raw, server_hostname=self.host)
        self._raw = self.sock
        if self._is_cut:  # while hands were shaken, when there was no socket to end
            raise TimeoutError

    def _left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def cut(self) -> None:
        """End what is going on, from another thread."""
        self._is_cut = True
        if self._raw is not None:
            try:
                self._raw.shutdown(socket.SHUT_RDWR)
            except OSError:
                return


def addresses_of(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver knows of `host`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


def is_public(address: str) -> bool:
    """Whether `address` is one of the Internet's: not this machine's, a network's own, or a hidden one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # one with a zone, which only this machine knows
        return False
    is_listed = any(parsed in network for network in _NOT_PUBLIC)
    return parsed.is_global and not (is_listed or parsed.is_multicast or parsed.is_reserved)


def _within(deadline: float, call: Callable[[], T], host: str) -> T:
    """The result of `call`, which may take longer than anybody waits: resolvers do."""
    results: list[T] = []
    thread = threading.Thread(
        target=lambda: _collect(call, results), name="modcore resolver", daemon=True
    )
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not results:
        raise BadImage(
            f"could not be fetched: {host} was not found within {MOST_SECONDS:.0f} seconds."
        )
    return results[0]


def _collect(call: Callable[[], T], results: list[T]) -> None:
    try:
        results.append(call())
    except (OSError, UnicodeError):
        return
