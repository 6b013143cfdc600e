"""The hooks of modcore-internvl: configs that name only their model type. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modcore.plugins import ModelMatch, hookimpl

MODEL_TYPES = {
    "internvl": "InternVLForConditionalGeneration",
    "internvl_chat": "InternVLChatModel",
}


@hookimpl
def modcore_match_model(config: Mapping[str, Any]) -> ModelMatch | None:
    """Serve a config without architectures by its model type."""
    model_type = config.get("model_type")
    architecture = MODEL_TYPES.get(model_type) if isinstance(model_type, str) else None
    if architecture is None or config.get("architectures"):
        return None
    return ModelMatch(architecture, f"config.json names the model type {model_type}", "model_type")
