"""Pieces are whole characters, and joined they are the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers

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


def sentencepiece() -> Tokenizer:
    """A tokenizer as Llama 2's and Mistral's: what the vocabulary lacks is spelled in bytes."""
    words = [
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *"\N{LOWER ONE EIGHTH BLOCK}abcé",
    ]
    vocabulary = {word: token for token, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    steps = [normalizers.Prepend("\N{LOWER ONE EIGHTH BLOCK}"),
             normalizers.Replace(" ", "\N{LOWER ONE EIGHTH BLOCK}")]  # fmt: skip
    tokenizer.normalizer = normalizers.Sequence(steps)
    space = decoders.Replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
    byte_fallback = [space, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(byte_fallback)
    return tokenizer


BYTES = sentencepiece()
TEXTS = st.text(st.sampled_from("ab é東京語я🦙👩🏽"), max_size=40)


def byte_pieces(ids: Sequence[int], prompt: Sequence[int] = ()) -> list[str]:
    detokenizer = Detokenizer(BYTES.decode, prompt)
    return [*(detokenizer.push(token) for token in ids), detokenizer.flush()]


@given(TEXTS)
def test_characters_spelled_in_bytes_stay_whole_when_several_follow_each_other(text: str) -> None:
    shown = byte_pieces(BYTES.encode(text).ids)
    assert "".join(shown) == text
    assert not any(REPLACEMENT in piece for piece in shown)


@given(TEXTS, TEXTS)
def test_answer_in_bytes_goes_on_behind_any_prompt(prompt: str, text: str) -> None:
    begin, whole = BYTES.encode(prompt).ids, BYTES.encode(prompt + text).ids
    if begin and whole[: len(begin)] == begin:
        assert "".join(byte_pieces(whole[len(begin) :], begin)) == text


@given(TEXTS, st.integers(1, 3))
def test_answer_cut_inside_a_character_keeps_those_before_it(text: str, cut: int) -> None:
    ids = BYTES.encode(text + "🦙").ids[:-cut]
    assert "".join(byte_pieces(ids)).rstrip(REPLACEMENT) == text


@given(TEXTS, st.lists(st.sampled_from([0xFF, 0x80, 0xE2, 0xF0]), min_size=1, max_size=60))
def test_bytes_that_are_no_text_spoil_nothing_before_or_behind_them(
    text: str, broken: list[int]
) -> None:
    spoiled = [BYTES.token_to_id(f"<0x{byte:02X}>") for byte in broken]
    shown = "".join(byte_pieces([*BYTES.encode(text).ids, *spoiled, *BYTES.encode("b c").ids]))
    assert shown.startswith(text)
    assert shown.endswith("b c")


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


def test_stop_string_that_began_before_it_counted_ends_the_text() -> None:
    matcher = StopStrings(["STOP"])
    assert matcher.push("a ST", may_stop=False) == ("a ", False)
    assert matcher.push("OP", may_stop=True) == ("", True)


def test_stop_string_that_ended_before_it_counted_is_text() -> None:
    matcher = StopStrings(["ab", "abcd"])
    assert matcher.push("ab", may_stop=False) == ("", False)
    assert matcher.push("c") == ("", False)
    assert matcher.push("x") == ("abcx", False)


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
