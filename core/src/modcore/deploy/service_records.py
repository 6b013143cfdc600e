"""What is deployed from this machine by this user: a file for each service in the state directory.

A record tells; it decides nothing: whether a service's supervisor lives is seen from the process itself,
and only one can hold a service's `claim`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modcore.deploy.process_identity import ProcessIdentity
from modcore.errors import ServiceError
from modcore.gateway.instance import verify_service_name
from modcore.state_directory import part_of_state, write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """One replica: `id` is its name in a gateway, `state` is starting, ready, down, failed or stopped.

    `started` is in seconds since 1970, for people only.
    """

    replica: int
    id: str
    state: str = "starting"
    url: str = ""
    pid: int | None = None
    restarts: int = 0
    started: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRecord:
    """A service, who supervises it, and its instances; no secret is in it. `gateway` is as people may see it."""

    name: str
    entry: str
    launcher: str
    gateway: str
    supervisor: ProcessIdentity
    started: float
    is_detached: bool
    instances: tuple[InstanceRecord, ...] = field(default=())

    @property
    def is_alive(self) -> bool:
        """Whether it has its supervisor still."""
        return self.supervisor.is_alive

    def to_json(self) -> dict[str, Any]:
        """The record as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ServiceRecord:
        """What `to_json` made; raises ValueError for anything else."""
        try:
            supervisor = ProcessIdentity(**values["supervisor"])
            instances = tuple(InstanceRecord(**each) for each in values["instances"])
            return cls(**{**values, "supervisor": supervisor, "instances": instances})
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no record of a service: {error}") from error

    def write(self) -> None:
        """Keep it, in the place of an older one; raises ServiceError when it cannot be kept."""
        write_private(_path(self.name, "json"), json.dumps(self.to_json(), indent=1))


def read_record(name: str) -> ServiceRecord | None:
    """The record of the service `name`; None when there is none that can be read."""
    try:
        return ServiceRecord.from_json(json.loads(_path(name, "json").read_text("utf-8")))
    except (OSError, ValueError):
        return None


def read_records() -> list[ServiceRecord]:
    """All records that can be read, by name."""
    names = sorted(
        path.name.removesuffix(".json") for path in part_of_state("services").glob("*.json")
    )
    return [record for name in names if (record := read_record(name)) is not None]


def forget(name: str) -> None:
    """Remove what is kept of the service `name`; raises ServiceError for what cannot be removed."""
    for kind in ("json", "token"):
        path = _path(name, kind)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ServiceError(
                f"{path} cannot be removed ({error.strerror}); move away what is there."
            ) from error


def token_path(name: str) -> Path:
    """Where the token of a service without a gateway is kept, for this user alone."""
    return _path(name, "token")


def read_token(name: str) -> str | None:
    """The token of a service without a gateway, or None."""
    try:
        return token_path(name).read_text("utf-8").strip()
    except OSError:
        return None


@contextlib.contextmanager
def claim(name: str) -> Iterator[None]:
    """Inside the ``with`` block, no other process may supervise a service called `name`.

    The system takes the claim back when the process ends, however it does. Raises ServiceError when somebody
    else has it.
    """
    path = _path(name, "lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ServiceError(f"{path} cannot be written ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServiceError(_taken(name)) from None
        yield
    finally:
        os.close(descriptor)


def forget_dead(name: str) -> None:
    """Remove what is kept of a service whose supervisor is gone, unless it has another by now."""
    verify_service_name(name)
    with contextlib.suppress(ServiceError), claim(name):
        forget(name)


def _taken(name: str) -> str:
    record = read_record(name)
    where = f" (process {record.supervisor.pid})" if record is not None and record.is_alive else ""
    return (
        f"A service called {name!r} runs already{where}; end it with: modcore stop {name}, or take its "
        "place with --replace, or choose another --name."
    )


def _path(name: str, kind: str) -> Path:
    return part_of_state("services") / f"{verify_service_name(name)}.{kind}"
