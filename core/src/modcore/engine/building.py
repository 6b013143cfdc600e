"""From a checkpoint directory and options to a model: asks the plugins who serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modcore.checkpoint import read_config
from modcore.engine.model import TpPartBaseModel
from modcore.engine.multimodal import MultimodalModel
from modcore.errors import InvalidRequest, ModelNotServed, PluginError
from modcore.plugins import BuildOptions, ModelMatch, plugin_manager
from modcore.plugins.discovery import VISION_MODELS
from modcore.plugins.matching import explain
from modcore.plugins.records import DTYPES


def build_model(options: BuildOptions) -> tuple[TpPartBaseModel, MultimodalModel | None]:
    """The text model for ``options.path``, and the model around it when it reads more than text.

    Raises CheckpointError when the checkpoint cannot be used, ModelNotServed when no installed
    plugin serves it, PluginError when the plugin is broken, InvalidRequest for a wrong option.
    """
    _verify(options)
    chosen = _chosen(read_config(options.path), f"{options.path} cannot be served.")
    if options.vision and chosen.group != VISION_MODELS:
        name = next(iter(options.vision))
        raise InvalidRequest(
            f"{options.path} takes text only, and {name} is an option for models that read images; leave it out.",
            param=name,
        )
    built = plugin_manager().build_model(chosen, options)
    if isinstance(built, TpPartBaseModel):
        return built, None
    if not isinstance(built, MultimodalModel):
        raise _no_model(chosen, built)
    return build_language_model(built, options), built


def build_language_model(around: MultimodalModel, options: BuildOptions) -> TpPartBaseModel:
    """The text model inside the checkpoint of `around`; raises what `build_model` raises."""
    _verify(options)
    part = around.language_part()
    inner = _chosen(part.config, f"The text model of {options.path} cannot be served.")
    text_model = plugin_manager().build_model(inner, replace(options, part=part))
    if not isinstance(text_model, TpPartBaseModel):
        raise _no_model(inner, text_model)
    return text_model


def _chosen(config: Mapping[str, Any], otherwise: str) -> ModelMatch:
    explanation = explain(config, plugin_manager())
    if explanation.chosen is None:
        raise ModelNotServed(f"{otherwise} {explanation.hint}")
    return explanation.chosen


def _no_model(match: ModelMatch, built: object) -> PluginError:
    return PluginError(
        f"{match.dist} {match.version} built a {type(built).__name__} for {match.id}, "
        "which is not a model of the engine; update the package."
    )


#: Requests that may be answered together; each needs a line of row numbers.
MOST_BATCH = 4096


def _verify(options: BuildOptions) -> None:
    if options.dtype not in DTYPES:
        raise InvalidRequest(
            f"dtype is {options.dtype!r}; it has to be one of {', '.join(DTYPES)}.", param="dtype"
        )
    for name in ("kv_tokens", "max_batch", "context_length"):
        value = getattr(options, name)
        if value is not None and (type(value) is not int or value < 1):
            raise InvalidRequest(
                f"{name} is {value!r}; it has to be a whole number of at least 1.", param=name
            )
    if options.max_batch > MOST_BATCH:
        raise InvalidRequest(
            f"max_batch is {options.max_batch}; {MOST_BATCH} is the most.", param="max_batch"
        )
