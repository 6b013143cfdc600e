"""A tokenizer that is all in its ``tokenizer.json``, read without transformers.

Importing transformers takes seconds and a hundred megabytes, and for such a tokenizer it would add
nothing: what the file says is what it does. Where its configuration says anything beyond the file, this
module keeps out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modcore.checkpoint import read_json_object

#: Classes of transformers that take ``tokenizer.json`` as it is; the others change what it does.
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_SPECIAL = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    "additional_special_tokens", "extra_special_tokens", "added_tokens_decoder",
)  # fmt: skip
#: Keys that change how text is read.
_CHANGING = ("add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens", "legacy")


def read_plain(directory: Path) -> tuple[Any, int | None] | None:
    """The Rust tokenizer and its end token, or None when transformers has to read it."""
    file, config_file = directory / "tokenizer.json", directory / "tokenizer_config.json"
    if not file.is_file() or not config_file.is_file():
        return None
    try:
        config = read_json_object(config_file)
        if not _is_plain(config):
            return None
        from tokenizers import Tokenizer

        backend = Tokenizer.from_file(str(file))
        known = {
            added.content for added in backend.get_added_tokens_decoder().values() if added.special
        }
        named = set(_contents(config))
        beside = directory / "special_tokens_map.json"
        if beside.is_file():
            named |= set(_contents(read_json_object(beside)))
    except Exception:  # whatever is wrong with it, transformers says so
        return None
    if not named <= known:
        return None
    backend.no_truncation()
    backend.no_padding()
    [eos, *_] = [*_contents({"eos_token": config.get("eos_token")}), None]
    return backend, None if eos is None else backend.token_to_id(eos)


def _is_plain(config: Mapping[str, Any]) -> bool:
    return config.get("tokenizer_class") in _PLAIN_CLASSES and not any(
        config.get(key) for key in _CHANGING
    )


def _contents(config: Mapping[str, Any]) -> Iterator[str]:
    """The special tokens that a configuration names."""
    for key in _SPECIAL:
        value = config.get(key)
        if (key == "added_tokens_decoder" and isinstance(value, dict)) or (
            isinstance(value, dict) and "content" not in value
        ):
            value = list(value.values())
        for item in value if isinstance(value, list) else [value]:
            text = item.get("content") if isinstance(item, dict) else item
            if isinstance(text, str):
                yield text
