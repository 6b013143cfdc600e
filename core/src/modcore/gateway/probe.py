"""Asking instances whether they live: the one time that a directory speaks with them."""

from __future__ import annotations

import http.client
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from modcore.gateway.instance import Instance

TIMEOUT = 0.5  # seconds
AT_ONCE = 32


def answering(instances: Sequence[Instance]) -> set[str]:
    """The ids of those of `instances` that answer ``GET /health`` with 200, or are not asked.

    `AT_ONCE` are asked at most, so that it takes no longer than one. One that names another instance
    (``x-modcore-instance``), or says that it drains, is gone.
    """
    asked = random.sample(instances, min(AT_ONCE, len(instances)))
    with ThreadPoolExecutor(AT_ONCE, "probe") as pool:
        answers = list(pool.map(_answers, asked))
    gone = {each.id for each, lives in zip(asked, answers, strict=True) if not lives}
    return {each.id for each in instances} - gone


def _answers(instance: Instance) -> bool:
    address = urlsplit(instance.url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=TIMEOUT)
    try:
        connection.request("GET", f"{address.path.rstrip('/')}/health")
        response = connection.getresponse()
        named = response.getheader("x-modcore-instance", instance.id)
        state = response.getheader("x-modcore-state")
        return response.status == 200 and named == instance.id and state != "draining"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
