"""A trainset: what is a row, and what is said about what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.errors import InvalidRequest
from modcore.training.dataset import Trainset

ROW = {"prompt": "2 + 2 =", "response": "4"}
CHAT = {
    "messages": [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Yes."},
    ]
}


def lines(file: Path, *rows: Any) -> Path:
    file.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    )
    return file


def test_both_forms_of_rows_are_read_in_order_and_empty_lines_are_passed_over(
    tmp_path: Path,
) -> None:
    file = lines(tmp_path / "set.jsonl", ROW, "\n", "   \r\n", CHAT)
    first, second = Trainset.read(file).examples
    assert (first.prompt, first.response, first.place) == ("2 + 2 =", "4", f"{file}, line 1")
    assert second.prompt == tuple(CHAT["messages"][:-1])
    assert (second.response, second.place) == ("Yes.", f"{file}, line 4")


def test_a_list_and_a_file_of_the_same_rows_have_the_same_digest(tmp_path: Path) -> None:
    file = lines(tmp_path / "set.jsonl", ROW, CHAT)
    assert Trainset.read(str(file)).digest() == Trainset.read([ROW, CHAT]).digest()
    assert Trainset.read([ROW, CHAT]).digest() != Trainset.read([CHAT, ROW]).digest()


def test_a_byte_order_mark_and_line_separators_in_a_text_are_no_lines(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text('\ufeff{"prompt": "a\u2028b", "response": "c"}\n', encoding="utf-8")
    assert Trainset.read(file).examples[0].prompt == "a\u2028b"


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1))
def test_whatever_text_a_row_holds_comes_out_again(pairs: list[tuple[str, str]]) -> None:
    rows = [{"prompt": prompt, "response": response} for prompt, response in pairs]
    read = Trainset.read(rows).examples
    assert [(each.prompt, each.response) for each in read] == pairs


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "a"}, "no 'response' (its keys: prompt)"),
        ({"prompt": "a", "completion": "b"}, "its keys: prompt, completion"),
        ({}, "no 'prompt' (its keys: none)"),
        ({"prompt": "a", "response": 3}, "the response is 3; it has to be text"),
        ({"prompt": "", "response": "b"}, "the prompt is empty"),
        ({"prompt": "a", "response": ""}, "the response is empty"),
        ({"prompt": "\ud800", "response": "b"}, "half a character"),
        ({**ROW, **CHAT}, "both 'messages' and 'prompt'"),
        (["a", "b"], "a list is no row"),
        ("a text", "a str is no row"),
        (None, "a NoneType is no row"),
        ({"messages": "hello"}, "at least a question and its answer"),
        ({"messages": CHAT["messages"][-1:]}, "at least a question and its answer"),
        ({"messages": CHAT["messages"][:-1]}, "the last message is the user's"),
        ({"messages": [{"role": "user"}, CHAT["messages"][-1]]}, "message 1 has no 'content'"),
        ({"messages": ["hi", CHAT["messages"][-1]]}, "message 1 is 'hi'"),
        (
            {"messages": [*CHAT["messages"][:-1], {"role": "assistant", "content": ""}]},
            "the content of message 3 is empty",
        ),
    ],
)
def test_a_wrong_row_is_named_with_its_number(row: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Trainset.read([ROW, row])
    assert str(caught.value).startswith("row 2: ")
    assert words in str(caught.value)
    assert caught.value.param == "trainset"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prompt": "a"\n', "not JSON"),
        ("[" * 100_000 + "\n", "cannot be read"),
        ("1" * 10_000 + "\n", "cannot be read"),
        ('{"prompt": "a"}\n', "no 'response'"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(tmp_path: Path, line: str, words: str) -> None:
    file = lines(tmp_path / "set.jsonl", ROW, "\n", line, ROW)
    with pytest.raises(InvalidRequest) as caught:
        Trainset.read(file)
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert words in str(caught.value)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    file.write_bytes(json.dumps(ROW).encode() + b'\n{"prompt": "\xff"}\n')
    with pytest.raises(InvalidRequest, match=r"line 2: this is not UTF-8"):
        Trainset.read(file)


def test_what_holds_no_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="the list has no rows"):
        Trainset.read([])
    with pytest.raises(InvalidRequest, match=r"set\.jsonl has no rows"):
        Trainset.read(lines(tmp_path / "set.jsonl", "\n\n"))
    with pytest.raises(InvalidRequest, match="is a directory"):
        Trainset.read(tmp_path)
    with pytest.raises(InvalidRequest, match="not an int"):
        Trainset.read(3)  # type: ignore[arg-type]


def test_a_path_that_leads_nowhere_is_an_error_and_not_characters(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no trainset"):
        Trainset.read(tmp_path / "none.jsonl")
