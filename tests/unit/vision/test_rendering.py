"""From messages to ids: spans are where the images are, and what a user types is plain text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modcore.engine.tokenizer import Tokenizer
from modcore.errors import InvalidRequest
from modcore.vision.rendering import PromptFormat, Renderer, widen
from vision_checkpoints import SPECIALS, train_vision_tokenizer

CONTEXT = "<IMG_CONTEXT>"
FORMAT = PromptFormat(placeholder=CONTEXT, text=f"<img>{CONTEXT}</img>", token=CONTEXT)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory: Path = tmp_path_factory.mktemp("tokenizer")
    train_vision_tokenizer().save_pretrained(directory)
    return Tokenizer(directory)


@pytest.fixture(scope="module")
def renderer(tokenizer: Tokenizer) -> Renderer:
    return Renderer(tokenizer, FORMAT)


#: Texts, harmless ones and such as hold special tokens, whole or in pieces.
TEXTS = st.lists(
    st.sampled_from([*SPECIALS, *(token[:3] for token in SPECIALS), *(token[3:] for token in SPECIALS),
                     "the quick", " brown\n", "\n\n", "é", "🦙", "\ue000", " "]),
    max_size=6,
).map("".join)  # fmt: skip
PARTS = st.lists(st.one_of(st.none(), TEXTS), max_size=5)


@given(st.lists(st.integers(1, 9), max_size=6), st.lists(st.integers(0, 3), max_size=20), st.data())
def test_spans_cover_the_images_and_nothing_else(
    counts: list[int], others: list[int], data: st.DataObject
) -> None:
    token = 7
    places = [data.draw(st.integers(0, len(others))) for _ in counts]
    ids = list(others)
    for place in sorted(places, reverse=True):
        ids.insert(place, token)
    wide = widen(ids, token, counts)
    assert [stop - start for start, stop in wide.spans] == counts
    assert [each for each in wide.ids if each != token] == others
    covered = [place for start, stop in wide.spans for place in range(start, stop)]
    assert covered == [place for place, each in enumerate(wide.ids) if each == token]


@given(st.lists(PARTS, min_size=1, max_size=3))
def test_a_prompt_holds_the_template_s_special_tokens_and_no_others(
    tokenizer: Tokenizer, renderer: Renderer, conversation: list[list[str | None]]
) -> None:
    def message(parts: list[str | None]) -> dict[str, object]:
        shown = [{"type": "image"} if p is None else {"type": "text", "text": p} for p in parts]
        return {"role": "user", "content": shown}

    images = sum(part is None for parts in conversation for part in parts)
    counts = list(range(1, images + 1))
    prompt = renderer.render([message(parts) for parts in conversation], counts)
    empty = renderer.render(
        [message([part and "x" for part in parts]) for parts in conversation], counts
    )
    fast = tokenizer.fast
    special = set(fast.convert_tokens_to_ids(SPECIALS))
    assert [i for i in prompt.ids if i in special] == [i for i in empty.ids if i in special]
    assert [stop - start for start, stop in prompt.spans] == counts
    # Every sign that was typed is there, and in its place.
    said = ["".join("\n" if part is None else part for part in parts) for parts in conversation]
    expected = "".join(f"user\n{text}\n" for text in said) + "assistant\n"
    assert fast.decode([each for each in prompt.ids if each not in special]) == expected


def test_without_special_tokens_a_prompt_is_encoded_whole(
    tokenizer: Tokenizer, renderer: Renderer
) -> None:
    messages = [{"role": "user", "content": "\n the quick <|brown|>\n"}]
    ids = tokenizer.encode_chat(messages)
    assert renderer.render(messages, []).ids == ids


def test_the_copy_for_special_tokens_reads_the_rest_as_the_tokenizer_does(
    tokenizer: Tokenizer, renderer: Renderer
) -> None:
    harmless = [{"role": "user", "content": "\n the quick brown\n fox"}]
    hidden = [*harmless, {"role": "user", "content": "<img>"}]
    ids = renderer.render(hidden, []).ids
    whole = tokenizer.encode_chat(harmless)
    assistant = tokenizer.encode_rendered("<|im_start|>assistant\n")
    assert ids[: len(whole) - len(assistant)] == whole[: -len(assistant)]


def test_what_does_not_fit_is_refused_with_counts(renderer: Renderer) -> None:
    message = {"role": "user", "content": [{"type": "image"}, {"type": "image"}]}
    with pytest.raises(
        InvalidRequest, match=r"has \d+ tokens, 500 of them for 2 images, too many for 100"
    ):
        renderer.render([message], [250, 250], 100)
    with pytest.raises(InvalidRequest, match=r"has 2 places for images .* hold 3 images"):
        renderer.render([message], [1, 1, 1])
    with pytest.raises(InvalidRequest, match="half a character"):
        renderer.render([{"role": "user", "content": "\ud800"}], [])
