"""What an engine is doing, and what it has done: numbers that may be read at any time."""

from __future__ import annotations

from dataclasses import dataclass

from modcore.engine.multimodal import MediaStats


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine at one moment; what ends in ``_total`` counts from its start and only grows.

    running, waiting:    requests.
    kv_tokens_total:     tokens that the KV cache holds at most.
    kv_tokens_used:      of those, the ones that belong to running requests.
    kv_tokens_cached:    of those, the ones that no request uses and the prefix cache keeps.
    prompt_tokens_total, generation_tokens_total:  tokens read, tokens written.
    prefix_query_tokens_total:  prompt tokens looked up in the prefix cache.
    prefix_hit_tokens_total:    of those, the ones found.
    preemptions_total:   times that a running request was paused for want of KV tokens.
    media:               what was read beside text, by a model that reads it.
    """

    running: int
    waiting: int
    kv_tokens_total: int
    kv_tokens_used: int
    kv_tokens_cached: int
    prompt_tokens_total: int
    generation_tokens_total: int
    prefix_query_tokens_total: int
    prefix_hit_tokens_total: int
    preemptions_total: int
    media: MediaStats | None = None
