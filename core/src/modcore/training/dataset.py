"""The training set: rows, or a jsonl file, each checked where it stands.

A row is ``{"prompt": ..., "response": ...}`` or ``{"messages": [...]}``, which ends with the
assistant's answer. Knows nothing of tokens or templates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modcore.errors import InvalidRequest, named_kind
from modcore.module.jsonl import read_jsonl

#: A chat message: ``{"role": ..., "content": ...}``, and what else the chat template takes.
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt (text, or messages) and the message that answers it; `place` is where it was read."""

    prompt: str | tuple[Message, ...]
    answer: Message
    place: str

    @classmethod
    def from_row(cls, row: object, place: str) -> Example:
        """The example in `row`; raises InvalidRequest, which names `place`, when it is not one."""
        if not isinstance(row, Mapping):
            raise _wrong(place, f"{named_kind(type(row))} is no row; {_FORMS}")
        if "messages" in row and ("prompt" in row or "response" in row):
            raise _wrong(
                place, "the row has both 'messages' and 'prompt' or 'response'; keep one form"
            )
        if "messages" in row:
            messages = _messages(row["messages"], place)
            return cls(messages[:-1], messages[-1], place)
        for key in ("prompt", "response"):
            if key not in row:
                raise _wrong(place, f"the row has no {key!r} (its keys: {_names(row)}); {_FORMS}")
        prompt = _text(row["prompt"], "prompt", place)
        response = _text(row["response"], "response", place)
        return cls(prompt, {"role": "assistant", "content": response}, place)

    @property
    def response(self) -> str:
        """The text of the answer."""
        text: str = self.answer["content"]
        return text


@dataclass(frozen=True, slots=True)
class Trainset:
    """The examples to learn from, in order; never empty."""

    examples: tuple[Example, ...]

    @classmethod
    def read(cls, source: str | Path | Sequence[Any]) -> Trainset:
        """The rows of `source`, a jsonl file or the rows themselves.

        Raises FileNotFoundError for a path that leads nowhere, and InvalidRequest, with file and line,
        for a row that is none, and for a set without rows.
        """
        if isinstance(source, (str, Path)):
            file = Path(source).expanduser()
            rows, where = list(_lines(file)), str(file)
        elif isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
            rows, where = (
                [(row, f"row {number}") for number, row in enumerate(source, 1)],
                "the list",
            )
        else:
            raise InvalidRequest(
                f"A trainset is the path of a jsonl file or a list of rows, not {named_kind(type(source))}.",
                param="trainset",
            )
        if not rows:
            raise InvalidRequest(
                f"The trainset is empty: {where} has no rows; {_FORMS}.", param="trainset"
            )
        return cls(tuple(Example.from_row(row, place) for row, place in rows))

    def digest(self) -> str:
        """A hash of what the rows say, wherever they were read."""
        hashed = hashlib.sha256()
        for example in self.examples:
            row = json.dumps([example.prompt, example.answer], sort_keys=True, default=repr)
            hashed.update(row.encode() + b"\n")
        return hashed.hexdigest()


_FORMS = 'write it as {"prompt": ..., "response": ...} or {"messages": [...]}'


def _lines(file: Path) -> Iterator[tuple[Any, str]]:
    if file.is_dir():
        raise InvalidRequest(f"{file} is a directory; name the jsonl file in it.", param="trainset")
    if not file.exists():
        raise FileNotFoundError(
            f"there is no trainset {file}; give the rows, or the path of a jsonl file."
        )
    return read_jsonl(file, "trainset")


def _messages(value: object, place: str) -> tuple[Message, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < 2:
        raise _wrong(place, "'messages' has to be a list of at least a question and its answer")
    for number, message in enumerate(value, 1):
        what = f"message {number}"
        if not isinstance(message, Mapping):
            raise _wrong(
                place, f'{what} is {message!r}; write it as {{"role": ..., "content": ...}}'
            )
        for key in ("role", "content"):
            if key not in message:
                raise _wrong(place, f"{what} has no {key!r} (its keys: {_names(message)})")
        _text(message["role"], f"role of {what}", place)
        _text(message["content"], f"content of {what}", place, may_be_empty=number < len(value))
    if value[-1]["role"] != "assistant":
        role = value[-1]["role"]
        raise _wrong(
            place, f"the last message is the {role}'s; end with the assistant's, which is learnt"
        )
    return tuple(dict(message) for message in value)


def _text(value: object, what: str, place: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise _wrong(place, f"the {what} is {value!r}; it has to be text")
    if not value and not may_be_empty:
        raise _wrong(place, f"the {what} is empty; fill it in or take the row out")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        problem = f"the {what} holds half a character (a lone surrogate at position {error.start}); take it out"
        raise _wrong(place, problem) from None
    return value


def _names(row: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, row)) or "none"


def _wrong(place: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"{place}: {problem}.", param="trainset")
