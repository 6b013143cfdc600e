"""Errors arrive as themselves where they are known, with what belongs to them."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from modcore.wire import RemoteError, decode, describe, encode, rebuild
from modcore.wire.errors import traceback_of


class Ours(Exception):
    def __init__(self, one: int, two: str) -> None:
        super().__init__(one, two)
        self.one, self.two = one, two


def travelled(error: BaseException) -> Exception:
    described: dict[str, Any] = decode(*encode(describe(error, traceback_of)))
    return rebuild(described)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ValueError(),
        ValueError("x", 2),
        KeyError("missing"),
        KeyError(3),
        OSError(2, "No such file", "place"),
        UnicodeDecodeError,
        Ours(1, "b"),
        StopIteration(4),
        TimeoutError("late"),
    ],
    ids=repr,
)
def test_known_error_arrives_with_type_and_arguments(error: Any) -> None:
    error = error("utf-8", b"", 0, 1, "x") if isinstance(error, type) else error
    arrived = travelled(error)
    if isinstance(error, UnicodeDecodeError):  # of bytes, which its text does not show
        assert isinstance(arrived, (UnicodeDecodeError, RemoteError))
        return
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.args == error.args


def test_unknown_error_and_an_exit_keep_their_names() -> None:
    for error in (type("Strange", (Exception,), {})("oh"), SystemExit("oh")):
        arrived = travelled(error)
        assert isinstance(arrived, RemoteError)
        assert (arrived.type_name, arrived.message) == (type(error).__name__, "oh")


def test_notes_cause_and_members_travel() -> None:
    try:
        try:
            raise LookupError("below")
        except LookupError as cause:
            raise ExceptionGroup("several", [ValueError("a"), KeyError("b")]) from cause
    except ExceptionGroup as raised:
        raised.add_note("a note")
        arrived = travelled(raised)
    assert isinstance(arrived, ExceptionGroup)
    assert list(map(repr, arrived.exceptions)) == ["ValueError('a')", "KeyError('b')"]
    assert repr(arrived.__cause__) == "LookupError('below')"
    assert arrived.__notes__[0] == "a note"
    assert "in the service" in arrived.__notes__[1]
    assert "below" in "".join(traceback.format_exception(arrived))


def test_foreigner_gets_type_and_message_and_no_path() -> None:
    assert describe(ValueError("x")) == {"type": "ValueError", "message": "x"}
    error = FileNotFoundError(2, "No such file or directory", "/secret/place")
    assert "/secret" not in str(describe(error))


def test_error_that_cannot_be_shown_is_described_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "cannot be shown" in describe(Broken())["message"]
    assert encode(describe(ValueError("\ud800"), traceback_of))


@pytest.mark.parametrize(
    "described",
    [
        None,
        [],
        {},
        {"type": 3, "message": None, "notes": 1, "args": "x", "exceptions": [1], "cause": 2},
        {"type": "system", "module": "os", "message": "x"},
        {"type": "KeyboardInterrupt", "message": "x"},
    ],
    ids=repr,
)
def test_nonsense_becomes_a_remote_error(described: Any) -> None:
    assert isinstance(rebuild(described), RemoteError)


def test_a_name_that_a_package_would_import_first_is_not_imported() -> None:
    described = {"type": "NoInstance", "module": "modcore.gateway", "message": "gone"}
    assert type(rebuild(described)) is RemoteError
