"""Where the cluster's key comes from: the environment, a file, or made once and kept."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import stat
from pathlib import Path

from modcore.gateway.addresses import scheme_of, shown
from modcore.gateway.base import GatewayError
from modcore.gateway.cluster_key import ClusterKey
from modcore.gateway.connect import verify_scheme
from modcore.state_directory import state_directory

KEY = "MODCORE_CLUSTER_KEY"
KEY_FILE = "MODCORE_CLUSTER_KEY_FILE"

_MAKE = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
_MAX_FILE = 4096  # bytes


_handed_over: dict[str, str] = {}  # by URL


def use_cluster_key(gateway_url: str, secret: str) -> None:
    """Use `secret` at `gateway_url` in this process: a launcher has handed it over, in no environment."""
    _handed_over[gateway_url] = secret


def cluster_key(gateway_url: str) -> ClusterKey:
    """The key of the services that meet at `gateway_url`.

    What `use_cluster_key` was given; else ``MODCORE_CLUSTER_KEY``; else what the file named by
    ``MODCORE_CLUSTER_KEY_FILE`` holds; else, for sqlite://, one that is made once in the state directory, and for
    memory:// one of this process.
    Raises GatewayError when there is none, when others can read its file, when it is too short, or when no plugin
    brings such a gateway: a scheme that is misspelt wants no key.
    """
    secret = _handed_over.get(gateway_url, os.environ.get(KEY))
    if secret is not None:
        return ClusterKey(secret)
    if named := os.environ.get(KEY_FILE):
        return ClusterKey(_read(Path(named).expanduser()))
    scheme = scheme_of(gateway_url)
    if scheme == "memory":
        return _process_key()
    if scheme == "sqlite":
        return ClusterKey(_kept(state_directory() / "cluster.key"))
    verify_scheme(gateway_url)
    raise GatewayError(
        f"Services that meet at {shown(gateway_url)} need a key in common, and there is none; set {KEY}, or "
        f"{KEY_FILE} to a file that only you can read, to the same secret everywhere. One comes from: {_MAKE}"
    )


@functools.cache
def _process_key() -> ClusterKey:
    return ClusterKey(secrets.token_urlsafe(32))


def _kept(path: Path) -> str:
    """The secret in `path`, which is made when it is not there; of several who make it one succeeds."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{secrets.token_urlsafe(32)}\n")
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)  # whole or not at all, and never over another's
        except OSError as error:
            raise GatewayError(
                f"The cluster's key cannot be kept in {path} ({error.strerror}); set {KEY} instead."
            ) from error
        finally:
            draft.unlink(missing_ok=True)
    return _read(path)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            _verify_private(path, os.fstat(file.fileno()))
            content = file.read(_MAX_FILE + 1)
        secret = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise GatewayError(f"The cluster's key cannot be read from {path}: {reason}.") from error
    if len(content) > _MAX_FILE:
        raise GatewayError(f"The cluster's key in {path} is longer than {_MAX_FILE} bytes.")
    return secret


def _verify_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise GatewayError(f"The cluster's key cannot be read from {path}: it is no file.")
    if os.name == "posix" and status.st_mode & 0o077:
        raise GatewayError(
            f"The cluster's key in {path} can be read by others (mode {stat.S_IMODE(status.st_mode):o}); "
            f"make it yours alone: chmod 600 {path}. If others may have read it, make a new one."
        )
