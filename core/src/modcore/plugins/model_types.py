"""Serving configs that name no architecture, by their model type: what most families' hooks do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modcore.plugins.records import ModelMatch


def match_model_type(
    config: Mapping[str, Any], architectures: Mapping[str, str]
) -> ModelMatch | None:
    """The match of a `config` without architectures whose model type is a key of `architectures`.

    Such are the text parts inside other models; an architecture that is named decides by itself.
    """
    model_type = config.get("model_type")
    architecture = architectures.get(model_type) if isinstance(model_type, str) else None
    if architecture is None or config.get("architectures"):
        return None
    return ModelMatch(architecture, f"config.json names the model type {model_type}", "model_type")
