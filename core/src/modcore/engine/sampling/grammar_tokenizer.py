"""A checkpoint's tokenizer as llguidance takes it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from modcore.errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_REASON = 240  # characters of llguidance's words that a message repeats
_NO_END = "<|modcore: no end|>"


def grammar_tokenizer(
    tokenizer: Any, vocab_size: int, eos_token_ids: Collection[int]
) -> tuple[LLTokenizer, int | None]:
    """The fast `tokenizer` of transformers for llguidance; and the token that stands for an end that is none.

    `vocab_size` is the width of the logits. The second is None when one of `eos_token_ids` can be chosen.
    Raises MissingExtra without llguidance, InvalidRequest for a tokenizer that it cannot use.
    """
    backend = _own_copy(tokenizer)
    size = backend.get_vocab_size(with_added_tokens=True)
    ends = sorted(token for token in eos_token_ids if 0 <= token < size)
    unusable = None
    if not ends:
        backend.add_special_tokens([_NO_END])
        unusable = backend.token_to_id(_NO_END)
        ends = [unusable]
    return _ll_tokenizer(backend, max(vocab_size, size + 1), ends), unusable


def in_a_line(reason: str) -> str:
    """What llguidance says, for a message: without what is for its authors, and cut where it is long."""
    words, _, _ = reason.partition("<backtrace>")
    line = " ".join(words.replace("<non-verbose/>", "").split()).rstrip(" .")
    return line if len(line) <= _REASON else line[:_REASON] + "…"


def _own_copy(tokenizer: Any) -> Any:
    """The Rust tokenizer behind transformers', in a copy that may be changed."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InvalidRequest(
            "json_schema and regex need a fast tokenizer, and this checkpoint's is not one.",
            param="json_schema",
        )
    backend = type(backend).from_str(backend.to_str())
    backend.no_padding()
    backend.no_truncation()
    return backend


def _ll_tokenizer(backend: Any, width: int, ends: list[int]) -> LLTokenizer:
    try:
        from llguidance import LLTokenizer
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "json_schema and regex need llguidance, which is not installed; "
            "try: pip install 'modcore[engine]'"
        ) from error
    try:
        return LLTokenizer(backend.to_str(), n_vocab=width, eos_token=ends)
    except ValueError as error:
        raise InvalidRequest(
            f"json_schema and regex cannot be served with this checkpoint's tokenizer: {in_a_line(str(error))}.",
            param="json_schema",
        ) from error
