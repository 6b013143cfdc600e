"""The hooks of modcore-bloom: configs that name only their model type. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modcore.plugins import ModelMatch, hookimpl


@hookimpl
def modcore_match_model(config: Mapping[str, Any]) -> ModelMatch | None:
    """Serve a config without architectures by its model type."""
    if config.get("model_type") != "bloom" or config.get("architectures"):
        return None
    return ModelMatch("BloomForCausalLM", "config.json names the model type bloom", "model_type")
