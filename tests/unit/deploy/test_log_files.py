"""Log files: bounded, private, without secrets, and nowhere but in their directory."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modcore.deploy import log_files
from modcore.deploy.handover import Handover, secrets_in
from modcore.deploy.log_files import LogFile, last_lines, log_path, log_paths, open_log
from modcore.errors import ServiceError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODCORE_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_line_is_kept_with_its_time_for_this_user_alone() -> None:
    log = open_log(log_path("web", 0))
    log.write("hello")
    log.close()
    [line] = last_lines(log.path, 10)
    assert line.endswith("+00:00 hello")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_log_without_a_line_has_none() -> None:
    assert last_lines(open_log(log_path("web", 0)).path, 10) == []


def test_file_that_is_full_is_moved_aside_and_both_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_files, "MAX_BYTES", 1000)
    log = open_log(log_path("web", 0))
    for number in range(100):
        log.write(f"line {number}")
    sizes = [path.stat().st_size for path in log.path.parent.iterdir()]
    assert len(sizes) == 2 and max(sizes) < 1100
    told = [line.rpartition(" ")[2] for line in last_lines(log.path, 20)]
    assert told == [str(number) for number in range(80, 100)]


def test_two_processes_of_one_name_share_a_file_that_stays_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_files, "MAX_BYTES", 1000)
    logs = [open_log(log_path("web", 0)) for _ in range(2)]
    for number in range(200):
        logs[number % 2].write(f"line {number}")
    sizes = [path.stat().st_size for path in logs[0].path.parent.iterdir()]
    assert len(sizes) == 2 and max(sizes) < 1200


def test_threads_write_whole_lines() -> None:
    log = open_log(log_path("web", 0))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.write("x" * 100 + str(number)), range(400)))
    lines = [line.partition(" ")[2] for line in last_lines(log.path, 1000)]
    assert sorted(lines) == sorted("x" * 100 + str(number) for number in range(400))


def test_secrets_are_not_written() -> None:
    handover = Handover(
        token="t0ken", gateway="redis://user:p%40ss@127.0.0.1/0", cluster_key="k3y-of-the-cluster"
    )
    log = open_log(log_path("web", 0), secrets_in(handover.to_bytes()))
    told = log.write("t0ken p%40ss p@ss k3y-of-the-cluster fine")
    assert told == "(secret) (secret) (secret) (secret) fine"
    assert "t0ken" not in log.path.read_text()


def test_bytes_that_are_no_handover_hold_no_secrets() -> None:
    assert secrets_in(None) == secrets_in(b"\x80 no json") == secrets_in(b'{"a": 1}\n') == []


def test_long_line_is_cut() -> None:
    told = open_log(log_path("web", 0)).write("y" * 100_000)
    assert len(told) < 20_000 and told.endswith("(cut)")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "..", "", "n\0ul", "ü" * 300, ".hidden"]
)
def test_name_of_a_module_leads_nowhere_else(name: str, state: Path) -> None:
    path = log_path(name, 0)
    assert path.parent == state / "logs"
    open_log(path).write("x")
    assert log_paths(name) == {0: path}


def test_services_whose_names_begin_alike_are_told_apart() -> None:
    for name, replica in (("a", 0), ("a", 1), ("a-1", 0)):
        open_log(log_path(name, replica)).write("x")
    assert list(log_paths("a")) == [0, 1]
    assert list(log_paths("a-1")) == [0]


def test_link_in_the_place_of_a_log_file_is_not_followed(tmp_path: Path) -> None:
    path = log_path("web", 0)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServiceError, match="cannot be written"):
        open_log(path)
    assert not (tmp_path / "elsewhere").exists()


def test_file_that_is_gone_costs_no_service_its_life() -> None:
    log = LogFile(log_path("web", 0))
    log.path.unlink()
    assert log.write("x") == "x"
    log.close()
    assert log.write("y") == "y"


def test_place_that_cannot_be_written_is_named(state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "logs").write_text("a file")
    with pytest.raises(ServiceError, match="logs"):
        open_log(log_path("web", 0))
    assert [path.name for path in state.iterdir()] == ["logs"]


def test_empty_log_has_no_lines() -> None:
    log = open_log(log_path("web", 0))
    assert last_lines(log.path, 10) == []
    log.write("")
    assert len(last_lines(log.path, 10)) == 1
