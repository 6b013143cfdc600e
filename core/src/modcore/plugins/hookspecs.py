"""The contract between the core and its plugins: every hook, its types, and when it is called.

A plugin names a light module (one that does not import torch) in the entry-point group
``modcore`` and implements any of these functions in it::

    from modcore.plugins import ModelMatch, hookimpl


    @hookimpl
    def modcore_match_model(config):
        if config.get("model_type") == "my_llama":
            return ModelMatch(id="LlamaForCausalLM", reason="my_llama is a Llama")

Hooks serve load time and are never called while tokens are generated. The core's own behaviour is
the ``trylast`` implementation of the same specs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from modcore.plugins.records import BuildOptions, ModelMatch, Service, ServiceSpec

if TYPE_CHECKING:
    from modcore.plugins.commands import CommandTable

PROJECT = "modcore"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def modcore_match_model(config: Mapping[str, Any]) -> ModelMatch | None:
    """Say whether this plugin serves a checkpoint whose ``config.json`` is `config`.

    Called when no installed entry point bears the name of the checkpoint's architecture. All
    answers are collected: ``model_type`` ranks before ``predicate``, a tie is an error that names
    both packages. Return None when the config is not yours.
    """


@hookspec(firstresult=True)
def modcore_build_model(match: ModelMatch, options: BuildOptions) -> object | None:
    """Build the model that `match` names.

    Called once a checkpoint's model class is decided. The first answer that is not None is used;
    the core's own, called last, imports the class that `match` names and constructs it with
    `options`. What this hook raises reaches the caller.
    """


@hookspec(firstresult=True)
def modcore_deploy(spec: ServiceSpec, options: Mapping[str, Any]) -> Service | None:
    """Place a service and return it once it is ready.

    Called for each service to be started. The core's own implementation, called last, asks the
    launcher that `spec` names; `options` are the launcher's. What this hook raises reaches the
    caller.
    """


@hookspec
def modcore_register_commands(cli: CommandTable) -> None:
    """Add commands to the ``modcore`` command line: ``cli.add(Command(...))``.

    Called when a command is typed that the core does not have, so that a plugin never slows the
    core's own commands down. A name that is taken is an error.
    """


@hookspec
def modcore_model_built(match: ModelMatch, options: BuildOptions, model: object) -> None:
    """Called after a model has been built, before it is first used."""


@hookspec
def modcore_service_started(spec: ServiceSpec, service: Service) -> None:
    """Called after a service has become ready."""


@hookspec
def modcore_service_stopped(spec: ServiceSpec, exit_code: int) -> None:
    """Called after a service has ended."""
