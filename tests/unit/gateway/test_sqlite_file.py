"""The file of a sqlite:// gateway: whose it is, and what is said when it cannot be used."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateways import KEY, instance
from modcore.gateway.base import GatewayError, GatewayUnavailable
from modcore.gateway.sqlite import SqliteGateway
from modcore.gateway.sqlite_errors import explained

ENTRY = instance().entry(KEY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "services.db"


def opened(path: Path) -> SqliteGateway:
    return SqliteGateway(f"sqlite:///{path}")


def test_its_files_when_made_are_this_users_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        gateway = opened(path)
        gateway.register(ENTRY, 6)
    finally:
        os.umask(before)

    files = list(path.parent.glob("services.db*"))
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600} and len(files) == 3


def test_a_relative_path_when_the_directory_changes_stays_the_same_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    gateway = SqliteGateway("sqlite:///services.db")
    monkeypatch.chdir("/")
    gateway.register(ENTRY, 6)

    assert opened(path).resolve() == [ENTRY]


def refused(path: Path) -> str:
    started = time.monotonic()
    with pytest.raises(GatewayError) as caught:
        opened(path).register(ENTRY, 6)
    assert time.monotonic() - started < 1
    assert not isinstance(caught.value, GatewayUnavailable)
    return str(caught.value)


def test_a_file_that_is_no_database_when_opened_is_left_alone_and_named(path: Path) -> None:
    path.write_text("these are my notes\n" * 100)

    assert refused(path) == (
        f"{path} is no database of a gateway, or is damaged (file is not a database); name another file, "
        "or delete it: services register again by themselves."
    )
    assert path.read_text().startswith("these are my notes")


def test_a_database_of_something_else_when_opened_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()

    assert "database of something else" in refused(path)


def test_a_damaged_database_when_read_is_named(path: Path) -> None:
    gateway = opened(path)
    gateway.register(ENTRY, 6)
    gateway.close()
    content = bytearray(path.read_bytes())
    content[200:] = b"\xa5" * (len(content) - 200)
    path.write_bytes(content)

    assert "is damaged" in refused(path)


def test_a_directory_instead_of_a_file_is_refused(path: Path) -> None:
    path.mkdir()

    assert refused(path) == (
        f"{path} is no file; name one in sqlite:///path, it is made when it is not there."
    )


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    opened(path).register(ENTRY, 6)
    path.chmod(mode)

    assert "can be written by others; make it yours alone (chmod 600)" in refused(path)


def test_a_file_in_no_directory_is_refused(path: Path) -> None:
    assert "No such file or directory" in refused(path.parent / "nowhere" / "services.db")


def test_a_link_to_nothing_is_refused(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere" / "at-all.db")

    assert "cannot be made" in refused(path)


def test_a_read_only_database_when_written_says_so(path: Path) -> None:
    opened(path).register(ENTRY, 6)
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        reader.execute("DELETE FROM instances")
    reader.close()

    error = explained(caught.value, path)
    assert str(error).startswith(f"{path} cannot be used (attempt to write a readonly database)")
    assert not isinstance(error, GatewayUnavailable)


def test_a_full_disk_when_it_has_room_again_is_over(path: Path) -> None:
    """A process may write 64 KiB a file; what it registers is larger."""
    code = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from gateways import instance, KEY
from modcore.gateway.base import GatewayUnavailable
from modcore.gateway.sqlite import SqliteGateway
gateway = SqliteGateway(f"sqlite:///{sys.argv[1]}")
entries = [instance(number=n, module="x" * 500).entry(KEY) for n in range(400)]
gateway.register(entries[0], 6)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
try:
    for entry in entries:
        gateway.register(entry, 6)
except GatewayUnavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
gateway.register(entries[-1], 6)
assert entries[-1].id in [entry.id for entry in gateway.resolve()]
"""
    tests = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, path, tests], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path} cannot be written or read now (")


def test_a_file_that_somebody_else_writes_is_waited_for_less_than_a_second(path: Path) -> None:
    gateway = opened(path)
    gateway.register(ENTRY, 60)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    started = time.monotonic()
    with pytest.raises(GatewayUnavailable, match="is being written by another process"):
        gateway.register(ENTRY, 60)
    assert time.monotonic() - started < 1
    assert gateway.resolve() == [ENTRY]  # reading goes on

    other.execute("ROLLBACK")
    other.close()
    gateway.register(ENTRY, 60)


def test_many_threads_when_somebody_else_writes_all_give_up_within_a_second(path: Path) -> None:
    gateway = opened(path)
    gateway.register(ENTRY, 60)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    took: list[float] = []

    def write() -> None:
        started = time.monotonic()
        with pytest.raises(GatewayUnavailable):
            gateway.heartbeat(ENTRY, 60)
        took.append(time.monotonic() - started)

    threads = [threading.Thread(target=write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()

    assert len(took) == 16 and max(took) < 1


def test_a_file_when_deleted_in_use_is_made_anew(path: Path) -> None:
    gateway, reader = opened(path), opened(path)
    gateway.register(ENTRY, 60)
    revision = reader.watch("", 0)
    path.unlink()  # and what SQLite keeps beside it stays

    assert gateway.heartbeat(ENTRY, 60) is False
    gateway.register(ENTRY, 60)
    assert reader.resolve() == [ENTRY] and reader.watch(revision, 0) != revision
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_machine_that_has_no_name_for_its_boot_forgets_what_is_from_another(path: Path) -> None:
    now = [1000.0]
    gateway = SqliteGateway(f"sqlite:///{path}", clock=lambda: now[0], boot="")
    gateway.register(ENTRY, 6)
    now[0] = 10.0
    assert gateway.resolve() == [] and not gateway.heartbeat(ENTRY, 6)


def test_rows_that_no_gateway_wrote_when_resolved_do_no_harm(path: Path) -> None:
    gateway = opened(path)
    gateway.register(ENTRY, 60)
    with sqlite3.connect(path) as other:
        columns = "boot, renewed, ttl FROM instances"
        for service, document in (("x", b"\xff\xfe"), (b"\x00\xff", 7.5)):
            other.execute(
                f"INSERT INTO instances SELECT hex(randomblob(4)), ?, epoch, CAST(? AS TEXT), {columns}"
                " WHERE id = 'i1'",
                (service, document),
            )
    other.close()

    found = gateway.resolve()
    assert len(found) == 3 and ENTRY in found
    assert all(isinstance(each.document, str) for each in found)


def test_a_date_that_jumps_when_it_is_set_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = opened(path)
    gateway.register(ENTRY, 6)
    real = time.time()
    for jump in (-1e8, 1e8):
        monkeypatch.setattr(time, "time", lambda jump=jump: real + jump)
        assert gateway.heartbeat(ENTRY, 6) and gateway.resolve() == [ENTRY]
