"""What runs: from the gateway when there is one, and from this user's own records."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from modcore.deploy.asking import calls_in_flight, state_of
from modcore.deploy.service_records import (
    InstanceRecord,
    ServiceRecord,
    read_record,
    read_records,
    read_token,
)
from modcore.errors import ServiceError
from modcore.gateway.instance import Instance

_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instance; None is what nobody here knows.

    `state` is what it says itself, or what its record says: ``dead`` for one whose supervisor is gone;
    `uptime` is in seconds; `is_ours` that this user's own supervisor on this machine looks after it.
    """

    name: str
    replica: int | None
    id: str
    state: str
    url: str
    pid: int | None = None
    uptime: float | None = None
    restarts: int | None = None
    launcher: str = ""
    calls: int | None = None
    is_ours: bool = False


class Inventory:
    """Services on this machine, and those that the gateway at the URL `gateway` knows, if there is one.

    `trouble` says why the gateway's are missing, when its store does not answer; else it is empty.
    """

    def __init__(self, gateway: str | None = None) -> None:
        self.gateway = gateway
        self.trouble = ""

    def rows(self, name: str | None = None) -> list[Row]:
        """Every instance, or those of one service; not asked yet how they are.

        Raises GatewayError when the gateway cannot be used as it is configured.
        """
        found = {row.id: row for row in _recorded(name)}
        for instance in self.registered():
            if name in (None, instance.service):
                found[instance.id] = _merged(found.get(instance.id), instance)
        return sorted(found.values(), key=lambda row: (row.name, row.replica or 0, row.id))

    def asked(self, rows: Sequence[Row]) -> list[Row]:
        """`rows`, with what their instances say of themselves."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self._asked, rows))

    def registered(self) -> list[Instance]:
        """The instances in the gateway whose documents are rightly signed; none without a gateway."""
        if self.gateway is None:
            return []
        from modcore.gateway.base import GatewayUnavailable
        from modcore.gateway.connect import connect
        from modcore.gateway.reading import EntryReader
        from modcore.gateway.secret import cluster_key

        reader, store = EntryReader(cluster_key(self.gateway)), connect(self.gateway)
        try:
            return [known.instance for known in reader.read(store.resolve()).values()]
        except GatewayUnavailable as error:  # what is here can be listed and ended all the same
            self.trouble = f"only this machine's own services are known: {error}"
            return []
        finally:
            store.close()

    def token(self, name: str) -> str | None:
        """The token of the service `name`: its own, else the cluster's; None when nobody here has it."""
        own = read_token(name)
        if own is not None or self.gateway is None:
            return own
        from modcore.gateway.secret import cluster_key

        return cluster_key(self.gateway).token

    def unknown(self, name: str) -> ServiceError:
        """The error for a service that is not there, with the near misses."""
        names = sorted({row.name for row in self.rows()})
        close = difflib.get_close_matches(name, names, 3, 0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else _there_are(names)
        return ServiceError(f"There is no service {name!r}; {hint}")

    def _asked(self, row: Row) -> Row:
        if not row.url:
            return row
        state = row.state if row.state == "draining" else state_of(row.url)
        calls = calls_in_flight(row.url, self.token(row.name)) if state != "silent" else None
        return replace(row, state=state, calls=calls)


def _there_are(names: Sequence[str]) -> str:
    return f"there are {', '.join(names)}." if names else "nothing is deployed."


def _recorded(name: str | None) -> Iterable[Row]:
    records = read_records() if name is None else filter(None, [read_record(name)])
    return [_row(record, each) for record in records for each in record.instances]


def _row(record: ServiceRecord, instance: InstanceRecord) -> Row:
    is_ours = record.is_alive
    lives = is_ours and instance.state not in ("failed", "stopped")
    is_over = instance.state in ("failed", "stopped")
    return Row(
        name=record.name,
        replica=instance.replica,
        id=instance.id,
        state=instance.state if is_ours or is_over else "dead",
        url=instance.url if is_ours else "",
        pid=instance.pid if lives else None,
        uptime=time.time() - instance.started if lives and instance.started else None,
        restarts=instance.restarts,
        launcher=record.launcher,
        is_ours=is_ours,
    )


def _merged(row: Row | None, instance: Instance) -> Row:
    """An instance of the gateway; our own record, if there is one, knows more of it."""
    state = "draining" if instance.draining else "ready"
    if row is not None and row.is_ours:
        return replace(row, state=state, url=instance.url)
    return Row(
        name=instance.service,
        replica=None,
        id=instance.id,
        state=state,
        url=instance.url,
        uptime=max(0.0, time.time() - instance.started_at),
        launcher=instance.launcher,
    )
