"""Pieces are whole characters, and joined they are the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import train_tokenizer
from modcore.engine.detokenizer import REPLACEMENT, Detokenizer, StopStrings

TOKENIZER = train_tokenizer()
VOCABULARY = len(TOKENIZER)


def decode(ids: Sequence[int]) -> str:
    return TOKENIZER.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def pieces(ids: Sequence[int], prompt: Sequence[int] = ()) -> list[str]:
    detokenizer = Detokenizer(decode, prompt)
    return [*(detokenizer.push(token) for token in ids), detokenizer.flush()]


@given(st.text(max_size=60))
def test_pieces_of_any_text_joined_are_the_text(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert "".join(pieces(ids)) == decode(ids)


@settings(max_examples=300)
@given(st.lists(st.integers(0, VOCABULARY - 1), max_size=40))
def test_pieces_of_any_ids_joined_are_their_text(ids: list[int]) -> None:
    assert "".join(pieces(ids)) == decode(ids)


def test_character_of_several_tokens_comes_as_a_whole() -> None:
    ids = TOKENIZER("𓀀é", add_special_tokens=False)["input_ids"]
    assert len(ids) > 2
    assert not any(REPLACEMENT in piece for piece in pieces(ids))


def test_unfinished_character_at_the_end_is_shown_as_replacement() -> None:
    ids = TOKENIZER("a𓀀", add_special_tokens=False)["input_ids"][:-1]
    assert "".join(pieces(ids)) == decode(ids)
    assert REPLACEMENT in "".join(pieces(ids))


def test_answer_after_a_prompt_keeps_its_leading_space() -> None:
    prompt = TOKENIZER("the quick", add_special_tokens=False)["input_ids"]
    ids = TOKENIZER(" brown fox", add_special_tokens=False)["input_ids"]
    assert "".join(pieces(ids, prompt)) == " brown fox"


def run(stops: Sequence[str], texts: Sequence[str]) -> tuple[list[str], bool]:
    matcher = StopStrings(stops)
    shown = []
    for text in texts:
        piece, stopped = matcher.push(text)
        shown.append(piece)
        if stopped:
            return shown, True
    return [*shown, matcher.flush()], False


def test_text_is_cut_before_the_stop_string() -> None:
    assert run(["STOP"], ["go on ", "ST", "OP there"]) == (["go on ", "", ""], True)


def test_what_only_looked_like_a_stop_string_is_shown() -> None:
    assert run(["STOP"], ["a ST", "ART"]) == (["a ", "START", ""], False)


def test_the_earliest_of_several_stop_strings_wins() -> None:
    assert run(["world", "lo"], ["hello world"]) == (["hel"], True)


def expected(stops: Sequence[str], text: str) -> str:
    return min((text.partition(stop)[0] for stop in stops), key=len, default=text)


@pytest.mark.parametrize("split", [list, lambda text: [text[:3], text[3:]]])
@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    text=st.text("abc", max_size=20),
)
def test_joined_pieces_are_the_text_up_to_the_first_match(
    split: Callable[[str], list[str]], stops: list[str], text: str
) -> None:
    # One character at a time finds the stop string that ends first; a whole text the one that begins first.
    shown, stopped = run(stops, split(text))
    assert stopped == any(stop in text for stop in stops)
    if not stopped:
        assert "".join(shown) == text
    else:
        assert "".join(shown) in {text.partition(stop)[0] for stop in stops}
