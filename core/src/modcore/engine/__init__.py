"""The engine: a checkpoint's weights, infer layers and infer state, put together and run.

Reads in the order in which a request travels: `tokenizer`, `request`, `scheduler`, `model`
(`weights`, `layers`, `state`, `memory`, `kernels`), `sampling`, `detokenizer`. Knows no model family by name:
those are plugins. Needs ``modcore[engine]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modcore.lazy import lazy

if TYPE_CHECKING:
    from modcore.engine.answers import Choice, Generation, Piece, Usage
    from modcore.engine.async_engine import Answer, AsyncEngine
    from modcore.engine.engine import Engine
    from modcore.engine.prompts import Prompt
    from modcore.engine.sampling import SamplingParams
    from modcore.engine.stats import EngineStats

_HOMES = {
    "Answer": "async_engine",
    "AsyncEngine": "async_engine",
    "Engine": "engine",
    "Choice": "answers",
    "Generation": "answers",
    "Piece": "answers",
    "EngineStats": "stats",
    "Prompt": "prompts",
    "SamplingParams": "sampling",
    "Usage": "answers",
}

__all__ = [
    "Answer",
    "AsyncEngine",
    "Choice",
    "Engine",
    "EngineStats",
    "Generation",
    "Piece",
    "Prompt",
    "SamplingParams",
    "Usage",
]

__getattr__ = lazy(
    __name__,
    _HOMES,
    who="The engine needs",
    extra="engine",
    brings=("torch", "transformers", "safetensors", "numpy"),
)
