"""From a checkpoint directory to its vision model: every registered class is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

from modcore.checkpoint import checkpoint_directory, read_config
from modcore.engine import Engine
from modcore.errors import InvalidRequest, ModcoreError, ModelNotServed, PluginError
from modcore.plugins import plugin_manager
from modcore.plugins.matching import explain
from modcore.vision.base import VisionModel
from modcore.vision.options import VisionOptions, verify_name
from modcore.vision.registry import VISION_MODELS


def load_vl_model(path: str | Path, with_llm: bool = False, **options: Any) -> VisionModel:
    """The vision model for the checkpoint directory `path`, with its preprocessor.

    The weights of its vision part are loaded when `forward` is first called. With `with_llm` its
    language model runs on ``model.engine``. `options` are those of VisionOptions and, `with_llm`, of
    `Engine.from_pretrained`.

    Raises ModelNotServed when no registered class matches its config, or several do; CheckpointError
    when it cannot be used; PluginError for a class that is no VisionModel; InvalidRequest for a wrong option.
    """
    directory = checkpoint_directory(path)
    config = read_config(directory)
    name = _only_match(directory, config)
    _verify_options(options, with_llm=with_llm)
    engines = _ENGINE_OPTIONS if with_llm else frozenset()
    own = {key: value for key, value in options.items() if key not in engines - _VISION_OPTIONS}
    model = VISION_MODELS.lookup(name)(directory, config, **own)
    if not isinstance(model, VisionModel):
        raise PluginError(
            f"{_describe(name)} makes a {type(model).__name__}, which is no modcore.vision.VisionModel; "
            "derive the class from it."
        )
    if with_llm:
        others = {key: value for key, value in options.items() if key in engines}
        model.engine = Engine.around(model, directory, **others)
    model.build_preprocessor()
    return model


_VISION_OPTIONS = frozenset(field.name for field in fields(VisionOptions))
_ENGINE_OPTIONS = frozenset(signature(Engine.from_pretrained).parameters) - {"path", "vision"}


def _verify_options(options: Mapping[str, Any], *, with_llm: bool) -> None:
    """Raise InvalidRequest for an option of the engine that is not asked for, or of nobody."""
    for name in options:
        if name in _ENGINE_OPTIONS - _VISION_OPTIONS and not with_llm:
            raise InvalidRequest(
                f"{name} is an option of the engine, which runs the language model; load it with with_llm=True.",
                param=name,
            )
        verify_name(name, _VISION_OPTIONS | _ENGINE_OPTIONS if with_llm else _VISION_OPTIONS)


def _only_match(directory: Path, config: Mapping[str, Any]) -> str:
    """The name of the class that matches; what could not be asked is told when none does."""
    matches: list[str] = []
    silent: list[str] = []
    for name in VISION_MODELS.entries:
        try:
            if VISION_MODELS.lookup(name).match(config):
                matches.append(name)
        except Exception as error:  # a plugin that is broken must not keep others from serving
            silent.append(f"{_describe(name)} could not be asked: {error}")
    if len(matches) > 1:
        claims = " and ".join(_describe(name) for name in matches)
        raise ModelNotServed(
            f"More than one vision model matches {directory}: {claims}. Uninstall or deny "
            "(MODCORE_DISABLE_PLUGINS) the package that is not meant, or unregister the class."
        )
    if not matches:
        raise ModelNotServed(" ".join([_no_match(directory, config), *silent]))
    return matches[0]


def _describe(name: str) -> str:
    return f"{name}, {VISION_MODELS.entries[name].describe()}"


def _no_match(directory: Path, config: Mapping[str, Any]) -> str:
    try:
        explanation = explain(config, plugin_manager())
    except ModcoreError as error:
        return f"No vision model matches {directory}. {error}"
    if explanation.chosen is not None and explanation.chosen.group != VISION_MODELS.name:
        chosen = explanation.chosen
        return (
            f"No vision model matches {directory}: {chosen.id} of {chosen.dist} serves it, a text model; "
            "use Engine.from_pretrained."
        )
    known = ", ".join(sorted(VISION_MODELS.entries)) or "none"
    return f"No vision model matches {directory} (registered: {known}). {explanation.hint or ''}"
