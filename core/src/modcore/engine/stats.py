"""What an engine tells of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Requests and tokens: what there is now, and totals since the engine was made.

    `kv_tokens_used` are held by requests, `kv_tokens_cached` only kept by the prefix cache.
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
