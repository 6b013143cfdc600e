"""Asking instances whether they live: the one time that a directory speaks with them."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urlsplit

from modcore.gateway.instance import Instance

TIMEOUT = 0.5  # seconds for each step of a question
DEADLINE = 1.0  # seconds for all of it
AT_ONCE = 32


def answering(instances: Sequence[Instance]) -> set[str]:
    """The ids of those of `instances` that answer ``GET /health`` with 200, or are not asked.

    `AT_ONCE` are asked at most, so that it takes no longer than one. One that names another instance
    (``x-modcore-instance``), or says that it drains, is gone.
    """
    probes = [_Probe(each) for each in random.sample(instances, min(AT_ONCE, len(instances)))]
    with ThreadPoolExecutor(AT_ONCE, "probe") as pool:
        answers = {pool.submit(probe.answers): probe for probe in probes}
        in_time, late = wait(answers, DEADLINE)
        for answer in late:
            answers[answer].abort()
    gone = {probe.instance.id for answer, probe in answers.items() if answer in late}
    gone |= {answers[answer].instance.id for answer in in_time if not answer.result()}
    return {each.id for each in instances} - gone


class _Probe:
    """One question to one instance."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        address = urlsplit(instance.url)
        secure = address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(address.hostname or "", address.port, timeout=TIMEOUT)
        self._path = f"{address.path.rstrip('/')}/health"

    def answers(self) -> bool:
        """Whether it lives, is who it should be, and means to stay."""
        try:
            self._connection.request("GET", self._path)
            response = self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            self._connection.close()
        named = response.getheader("x-modcore-instance", self.instance.id)
        state = response.getheader("x-modcore-state")
        return response.status == 200 and named == self.instance.id and state != "draining"

    def abort(self) -> None:
        """End an answer that comes drop by drop."""
        with contextlib.suppress(OSError, AttributeError):  # not connected, or over
            self._connection.sock.shutdown(socket.SHUT_RDWR)
