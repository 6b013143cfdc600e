"""A Ray of our own on this machine: loopback only, behind a token, without a dashboard, bounded in memory.

Ray's processes get their secrets and switches from the environment that they are started in, and so
does the part of Ray in this process.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from modcore.errors import ServiceError
from modcore_ray.listening import is_loopback

NAMESPACE = "modcore"
#: Results of calls travel through it, never what services say; Ray takes no less.
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
#: Ray puts sockets with names of 64 characters below its directory, and a socket's path has 107 bytes.
_LONGEST_PLACE = 20


def temporary_place() -> Path:
    """A new directory for Ray's sockets, logs and token, this user's alone."""
    place = tempfile.gettempdir()
    if len(place) > _LONGEST_PLACE:
        place = "/tmp"  # noqa: S108 - what is made in it is new, and 0700
    return Path(tempfile.mkdtemp(prefix="modcore-ray-", dir=place))


def start_local_ray(place: Path) -> None:
    """Start Ray below `place` and connect this process; raises ServiceError when it listens to others.

    To be called in a thread that lives as long as Ray: its processes end with the thread that has
    started them.
    """
    import ray

    with _environment(_switches(place)), on_loopback():
        ray.init(
            address="local",
            namespace=NAMESPACE,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=str(place / "r"),  # which Ray opens to everybody
            # A process for each core, started before anybody asks, costs more than it saves.
            _system_config={"prestart_worker_first_driver": False},
        )
    nodes = [node["NodeManagerAddress"] for node in ray.nodes()]
    if not all(map(is_loopback, nodes)):
        ray.shutdown()
        raise ServiceError(
            f"Ray {ray.__version__} listens on {', '.join(nodes)}, not on loopback alone, and was ended; "
            "start a Ray yourself, and name it in RAY_ADDRESS."
        )


def _switches(place: Path) -> dict[str, str]:
    switches = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        token = place / "token"
        token.touch(mode=0o600)
        token.write_text(_token())
        # Ray itself turns authentication on for a Ray that it starts, and would keep the token at home.
        switches["RAY_AUTH_TOKEN_PATH"] = str(token)
    return switches


@functools.cache
def _token() -> str:
    """One token for all that this process starts: Ray keeps the first in memory."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in (*values, "RAY_AUTH_MODE")}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Let Ray take 127.0.0.1 for this machine's address, and so listen there alone, as it does on macOS.

    The switch is ``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0``, which it reads when it is first imported: that
    may have been long ago.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
