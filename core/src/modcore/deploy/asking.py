"""Asking a running service over HTTP: whether it answers, how busy it is, its log, and to end."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT = 1.0  # seconds
_MAX_ANSWER = 64 * 1024 * 1024
#: How many calls an instance is busy with, as its ``/metrics`` say it.
_IN_FLIGHT = re.compile(r"^modcore:calls_in_flight(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `status` is 0 when there was none, `is_refused` when nobody listens there."""

    status: int = 0
    text: str = ""
    state: str = ""
    is_refused: bool = False


def ask(url: str, method: str, path: str, token: str | None, timeout: float = TIMEOUT) -> Answer:
    """The answer of the service at `url`; its status is 0 when it does not answer in time."""
    address = urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=timeout)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, f"{address.path.rstrip('/')}{path}", headers=headers)
        answer = connection.getresponse()
        text = answer.read(_MAX_ANSWER).decode("utf-8", errors="replace")
        return Answer(answer.status, text, answer.getheader("x-modcore-state", ""))
    except ConnectionRefusedError:
        return Answer(is_refused=True)
    except (OSError, http.client.HTTPException):
        return Answer()
    finally:
        connection.close()


def state_of(url: str) -> str:
    """``ready``, ``draining``, ``not ready`` or ``silent``, as the service at `url` says it."""
    answer = ask(url, "GET", "/readyz", None)
    if answer.status == http.client.SERVICE_UNAVAILABLE:
        return answer.state or ("draining" if "draining" in answer.text else "not ready")
    return "ready" if answer.status else "silent"


def calls_in_flight(url: str, token: str | None) -> int | None:
    """How many calls it is busy with; None when it does not tell."""
    answer = ask(url, "GET", "/metrics", token)
    found = _IN_FLIGHT.search(answer.text) if answer.status == 200 else None
    return int(float(found[1])) if found else None


def log_lines(url: str, token: str | None, count: int) -> list[str] | None:
    """The last `count` lines of its log; None when it has none, or does not answer."""
    answer = ask(url, "GET", f"/_modcore/logs?lines={count}", token)
    if answer.status != 200:
        return None
    return answer.text.removesuffix("\n").split("\n") if answer.text else []


def ask_to_end(url: str, token: str | None) -> Answer:
    """Ask it to drain and end; what it says, 202 when it will."""
    return ask(url, "POST", "/_modcore/stop", token)
