"""From a checkpoint directory and options to a model: asks the plugins who serves it."""

from __future__ import annotations

from modcore.checkpoint import read_config
from modcore.engine.model import TpPartBaseModel
from modcore.errors import InvalidRequest, ModelNotServed, PluginError
from modcore.plugins import BuildOptions, plugin_manager
from modcore.plugins.matching import explain

DTYPES = ("auto", "float32", "bfloat16")


def build_model(options: BuildOptions) -> TpPartBaseModel:
    """The text model for ``options.path``.

    Raises CheckpointError when the checkpoint cannot be used, ModelNotServed when no installed
    plugin serves it, PluginError when the plugin is broken, InvalidRequest for a wrong option.
    """
    _verify(options)
    manager = plugin_manager()
    explanation = explain(read_config(options.path), manager)
    if explanation.chosen is None:
        raise ModelNotServed(f"{options.path} cannot be served. {explanation.hint}")
    model = manager.build_model(explanation.chosen, options)
    if not isinstance(model, TpPartBaseModel):
        chosen = explanation.chosen
        raise PluginError(
            f"{chosen.dist} {chosen.version} built a {type(model).__name__} for {chosen.id}, "
            "which is not a text model of the engine; update the package."
        )
    return model


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
