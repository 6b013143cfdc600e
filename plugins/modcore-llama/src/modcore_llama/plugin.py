"""The hooks of modcore-llama: configs that name only their model type. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modcore.plugins import ModelMatch, hookimpl, match_model_type

MODEL_TYPES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


@hookimpl
def modcore_match_model(config: Mapping[str, Any]) -> ModelMatch | None:
    """Serve a config without architectures (a text part inside another model) by its model type."""
    return match_model_type(config, MODEL_TYPES)
