"""The hooks of modcore-bloom: configs that name only their model type. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modcore.plugins import ModelMatch, hookimpl, match_model_type


@hookimpl
def modcore_match_model(config: Mapping[str, Any]) -> ModelMatch | None:
    """Serve a config without architectures by its model type."""
    return match_model_type(config, {"bloom": "BloomForCausalLM"})
