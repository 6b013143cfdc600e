"""How large the KV cache becomes, and what is said when it does not fit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from modcore.engine import sizing
from modcore.engine.sizing import MOST_TOKENS, kv_tokens_for
from modcore.errors import ModcoreError

SHAPE = (2, 4, 8)  # 2 * 2 * 4 * 8 * 2 = 256 bytes a token in bfloat16


@pytest.fixture(autouse=True)
def _memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "available_memory", lambda: 256 * 1000)


def tokens(asked: int | None, context: int = 64, batch: int = 4) -> int:
    return kv_tokens_for(asked, context, batch, SHAPE, torch.bfloat16)


def test_full_contexts_for_the_whole_batch_are_taken_when_they_fit() -> None:
    assert tokens(None) == 64 * 4


def test_half_of_the_available_memory_is_taken_at_most() -> None:
    assert tokens(None, context=10_000) == 500


def test_what_is_asked_for_is_taken() -> None:
    assert tokens(900) == 900


def test_more_than_there_is_room_for_is_refused_with_the_numbers() -> None:
    with pytest.raises(ModcoreError, match=r"256 bytes a token.*at most 1000 kv_tokens"):
        tokens(1001)


def test_one_token_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "available_memory", lambda: 300)
    with pytest.raises(ModcoreError, match="one token takes 256 bytes"):
        tokens(None)


def test_tiny_models_do_not_take_millions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "available_memory", lambda: 1 << 50)
    assert tokens(None, context=10**9) == MOST_TOKENS


def test_a_limit_of_address_space_bounds_what_is_available() -> None:
    statement = "from modcore.engine.sizing import available_memory; print(available_memory())"
    room = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -v 4000000 && exec "$0" -c "$1"', sys.executable, statement],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0 < int(room.stdout) < 4_000_000 * 1024
