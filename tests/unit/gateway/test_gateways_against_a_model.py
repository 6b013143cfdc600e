"""memory:// and sqlite:// do what a dict with a clock does, in any order of calls, through any handle."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modcore.gateway.base import Entry, Gateway
from modcore.gateway.memory import MemoryGateway, MemoryStore
from modcore.gateway.sqlite import SqliteGateway

entries = st.builds(
    Entry,
    service=st.sampled_from(["a", "b"]),
    id=st.sampled_from(["1", "2", "3"]),
    epoch=st.sampled_from(["old", "new"]),
    document=st.text(max_size=8),
)
ttls = st.sampled_from([1.0, 6.0, 60.0])


class GatewayMachine(RuleBasedStateMachine):
    """Two handles of one store beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.boot = "first"
        self.kept: dict[str, tuple[Entry, float]] = {}
        self.handles = self.open()
        self.revision = self.handles[0].watch("", 0)
        self.has_changed = False

    def open(self) -> Sequence[Gateway]:
        raise NotImplementedError

    def living(self) -> dict[str, Entry]:
        return {key: entry for key, (entry, end) in self.kept.items() if self.now < end}

    @rule(handle=st.integers(0, 1), entry=entries, ttl=ttls)
    def register(self, handle: int, entry: Entry, ttl: float) -> None:
        self.handles[handle].register(entry, ttl)
        self.kept[entry.id] = entry, self.now + ttl
        self.has_changed = True

    @rule(handle=st.integers(0, 1), entry=entries, ttl=ttls)
    def heartbeat(self, handle: int, entry: Entry, ttl: float) -> None:
        known = self.living().get(entry.id)
        is_known = known is not None and known.epoch == entry.epoch
        assert self.handles[handle].heartbeat(entry, ttl) is is_known
        if known is not None and is_known:
            self.kept[entry.id] = known, self.now + ttl

    @rule(handle=st.integers(0, 1), entry=entries)
    def deregister(self, handle: int, entry: Entry) -> None:
        known = self.living().get(entry.id)
        self.handles[handle].deregister(entry)
        if known is not None and known.epoch == entry.epoch:
            del self.kept[entry.id]
            self.has_changed = True

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.5, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(handle=st.integers(0, 1))
    def close(self, handle: int) -> None:
        self.handles[handle].close()

    @rule(handle=st.integers(0, 1))
    @precondition(lambda self: self.has_changed)
    def watch_notices(self, handle: int) -> None:
        current = self.handles[handle].watch(self.revision, 0)
        assert current != self.revision
        self.revision, self.has_changed = current, False

    @invariant()
    def resolves_what_lives(self) -> None:
        living = sorted(self.living().values(), key=lambda entry: entry.id)
        for handle in self.handles:
            assert sorted(handle.resolve(), key=lambda entry: entry.id) == living
            for service in ("a", "b"):
                found = sorted(handle.resolve(service), key=lambda entry: entry.id)
                assert found == [entry for entry in living if entry.service == service]


class MemoryMachine(GatewayMachine):
    def open(self) -> Sequence[Gateway]:
        store = MemoryStore(lambda: self.now)
        return [MemoryGateway("memory://", store) for _ in range(2)]


class SqliteMachine(GatewayMachine):
    def open(self) -> Sequence[Gateway]:
        self.directory = Path(tempfile.mkdtemp())
        return [self.handle() for _ in range(2)]

    def handle(self) -> SqliteGateway:
        url = f"sqlite:///{self.directory}/services.db"
        return SqliteGateway(url, clock=lambda: self.now, boot=self.boot)

    @rule(clock=st.sampled_from([0.0, 1001.0, 1e9]))
    def restart_the_machine(self, clock: float) -> None:
        """The clock begins again, anywhere: nobody has survived it."""
        for handle in self.handles:
            handle.close()
        self.now, self.boot = clock, f"not {self.boot}"[:60]
        self.kept.clear()
        self.handles = [self.handle() for _ in range(2)]

    def teardown(self) -> None:
        for handle in self.handles:
            handle.close()
        shutil.rmtree(self.directory)


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
