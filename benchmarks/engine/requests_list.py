"""The requests every engine of the benchmark gets: token ids drawn by `random.Random`, so the list is the same everywhere.

Lengths depend on nothing but the kind of work. The token ids depend on `seed` too: a benchmark gives each repeat its own
seed, so that no engine can answer a repeat from the prefix cache that the one before it left behind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST_TEXT_ID = 16  # ids below this are special tokens in many checkpoints


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its prompt as token ids, and how many tokens to generate (greedy, the end token ignored)."""

    prompt: list[int]
    output: int


def token_ids(rng: random.Random, count: int, vocabulary: int) -> list[int]:
    """`count` token ids, none of them special."""
    return [rng.randrange(FIRST_TEXT_ID, vocabulary) for _ in range(count)]


def uniform_requests(
    batch: int, prompt: int, output: int, vocabulary: int, seed: int = 0
) -> list[Request]:
    """`batch` requests of one shape, for decode and prefill."""
    rng = random.Random(seed)
    return [Request(token_ids(rng, prompt, vocabulary), output) for _ in range(batch)]


def mixed_requests(vocabulary: int, seed: int = 0, count: int = 32) -> list[Request]:
    """`count` requests with prompts of 16 to 256 tokens and outputs of 16 to 128; the lengths are those of seed 0."""
    lengths = random.Random(0)
    shapes = [(lengths.randint(16, 256), lengths.randint(16, 128)) for _ in range(count)]
    rng = random.Random(seed)
    return [Request(token_ids(rng, prompt, vocabulary), output) for prompt, output in shapes]


def prefix_requests(
    vocabulary: int,
    seed: int = 0,
    count: int = 32,
    prefix: int = 200,
    own: int = 16,
    output: int = 8,
) -> list[Request]:
    """`count` requests that begin with the same `prefix` tokens: send the first alone, then the others at once."""
    rng = random.Random(seed)
    shared = token_ids(rng, prefix, vocabulary)
    return [Request(shared + token_ids(rng, own, vocabulary), output) for _ in range(count)]
