"""A checkpoint as the target: its engine runs in this process, without HTTP between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modcore.bench.measurement import Measurement
from modcore.bench.workload import BenchRequest
from modcore.engine import AsyncEngine, Engine, SamplingParams


class EngineTarget:
    """`engine`, loaded from the checkpoint `name` with `options`; close it in the end."""

    kind = "checkpoint"

    def __init__(self, engine: Engine, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.model = Path(name).resolve().name
        self.vocab_size = engine.model.vocab_size
        self.context: int | None = engine.capacity
        self.details: dict[str, Any] = {
            "architecture": type(engine.model).__name__,
            "dtype": str(engine.model.dtype).removeprefix("torch."),
            "ignore_eos": True,
            "engine": {key: value for key, value in options.items() if key != "dtype"},
        }
        self._engine = AsyncEngine(engine, max_waiting=2**31)

    async def ask(self, request: BenchRequest, measurement: Measurement) -> None:
        """Answer `request` greedily."""
        params = SamplingParams(max_tokens=request.max_tokens, temperature=0.0, ignore_eos=True)
        measurement.sent()
        async with await self._engine.submit(request.prompt_ids, params) as answer:
            async for piece in answer:
                if piece.token_ids:
                    measurement.piece(len(piece.token_ids))

    def close(self) -> None:
        """End the engine's thread."""
        self._engine.close()
