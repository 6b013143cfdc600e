"""The plugin manager: a typed facade over pluggy, one method for each hook.

Ids are resolved lazily, one import for the one that is asked for. The modules with hooks are
imported when a hook is first called. A plugin that misbehaves costs one line on stderr, unless it
was asked for by id, or ``MODCORE_STRICT_PLUGINS=1`` is set: then it is an error.
"""

from __future__ import annotations

import difflib
import functools
import os
import sys
import threading
import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pluggy

from modcore.checkpoint import read_config
from modcore.errors import PluginError
from modcore.plugins import hookspecs
from modcore.plugins.commands import CommandTable
from modcore.plugins.discovery import GROUPS, HOOKS, TEXT_MODELS, VISION_MODELS, PluginEntry
from modcore.plugins.ids import InstalledEntry, package_hint, registry_of
from modcore.plugins.implementations import implementations, is_wrapper
from modcore.plugins.loading import (
    broken,
    first_line,
    import_timeout,
    isolated,
    isolated_wrapper,
    load_all_within,
    noted,
    remedy,
)
from modcore.plugins.records import BuildOptions, ModelMatch, Service, ServiceSpec
from modcore.plugins.verdicts import list_plugins
from modcore.registry import Registry

STRICT = "MODCORE_STRICT_PLUGINS"
DEFAULT_TIMEOUT = 3.0  # seconds that a module with hooks may take to import

#: Hooks whose answer somebody waits for: what they raise is not swallowed.
_ASKED_FOR = frozenset({"modcore_build_model", "modcore_deploy"})

_NO_OPTIONS: Mapping[str, Any] = types.MappingProxyType({})


class PluginManager:
    """Resolves ids and calls hooks.

    `entries` are the installed plugins with their verdicts (by default what `list_plugins` finds
    at first use); `environ` is where the switches are read.
    """

    def __init__(
        self,
        entries: list[PluginEntry] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._given = entries
        self._registries: dict[str, Registry] = {}
        self._lock = threading.RLock()
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._pluggy.register(_CoreHooks(self), "modcore")

    # Entries and ids

    @functools.cached_property
    def entries(self) -> list[PluginEntry]:
        """Every entry of every installed plugin, with its verdict."""
        return list_plugins(self._environ) if self._given is None else self._given

    def registry(self, group: str) -> Registry:
        """The ids of `group`, as a registry like any other; nothing is imported to fill it.

        Raises PluginError for what is no group.
        """
        if group not in GROUPS:
            close = difflib.get_close_matches(str(group), GROUPS, 1)
            hint = (
                f"did you mean {close[0]!r}?" if close else f"the groups are {', '.join(GROUPS)}."
            )
            raise PluginError(f"there is no entry-point group {group!r}; {hint}")
        with self._lock:
            if group not in self._registries:
                self._registries[group] = registry_of(self.entries, group)
            return self._registries[group]

    @property
    def models(self) -> list[PluginEntry]:
        """The model classes there are: of installed packages, and those registered in this process."""
        groups = (TEXT_MODELS, VISION_MODELS)
        own = {
            (group, name): PluginEntry(entry.source, "(this process)", group, name, entry.label)
            for group in groups
            for name, entry in self.registry(group).entries.items()
            if not isinstance(entry, InstalledEntry)
        }
        installed = [entry for entry in self.entries if entry.group in groups]
        return [each for each in installed if (each.group, each.id) not in own] + [*own.values()]

    def resolve(self, group: str, id: str) -> Any:
        """The object registered as `id` in `group`; it is imported now and kept.

        Raises PluginError when the id is unknown, blocked, incompatible, claimed twice or broken.
        """
        found = self.registry(group).get(id)
        if found is None:
            raise PluginError(self._unknown_id(group, id))
        return found

    def _unknown_id(self, group: str, id: str) -> str:
        known = sorted(self.registry(group))
        close = difflib.get_close_matches(id, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}."
        package = package_hint(id, known) if group == TEXT_MODELS else None
        return f"no installed plugin registers {id!r} in {group}; {package or hint}"

    # Hooks, one method each

    def match_model(self, config: Mapping[str, Any]) -> list[ModelMatch]:
        """What the plugins say to `config`, with provenance; see ``modcore_match_model``."""
        answers = self._hook().modcore_match_model(config=config)
        return [
            replace(match, dist=entry.dist, version=entry.version, group=entry.group)
            for match in answers
            for entry in self._models(match.id)
        ]

    def build_model(self, match: ModelMatch, options: BuildOptions) -> object:
        """Build the model that `match` names; see ``modcore_build_model``."""
        model = cast(object, self._hook().modcore_build_model(match=match, options=options))
        self.model_built(match, options, model)
        return model

    def model_built(self, match: ModelMatch, options: BuildOptions, model: object) -> None:
        """Tell the plugins that a model has been built; see ``modcore_model_built``."""
        self._hook().modcore_model_built(match=match, options=options, model=model)

    def deploy(self, spec: ServiceSpec, options: Mapping[str, Any] = _NO_OPTIONS) -> Service:
        """Start a service; see ``modcore_deploy``."""
        service = cast(Service, self._hook().modcore_deploy(spec=spec, options=options))
        try:
            self.service_started(spec, service)
        except BaseException:
            service.stop()  # nobody else will get hold of it
            raise
        return service

    def service_started(self, spec: ServiceSpec, service: Service) -> None:
        """Tell the plugins that a service is ready; see ``modcore_service_started``."""
        self._hook().modcore_service_started(spec=spec, service=service)

    def service_stopped(self, spec: ServiceSpec, exit_code: int) -> None:
        """Tell the plugins that a service has ended; see ``modcore_service_stopped``."""
        self._hook().modcore_service_stopped(spec=spec, exit_code=exit_code)

    def register_commands(self, cli: CommandTable) -> None:
        """Let the plugins add their commands; see ``modcore_register_commands``."""
        self._hook().modcore_register_commands(cli=cli)

    # Loading the modules with hooks

    @functools.cached_property
    def _waiting(self) -> list[tuple[PluginEntry, Any]]:
        """The entries with hooks that are not registered yet, each with its object or its error."""
        entries = [
            entry for entry in self.entries if entry.group == HOOKS and entry.status != "blocked"
        ]
        usable = [entry for entry in entries if entry.status == "ok"]
        seconds = import_timeout(self._environ, DEFAULT_TIMEOUT)
        loaded = dict(zip(usable, load_all_within(usable, seconds), strict=True))
        # One line for an id that is taken twice, not one for each claimant.
        shown = {entry.error or (entry.dist, entry.id): entry for entry in entries}.values()
        return [(entry, loaded.get(entry, _left_out(entry))) for entry in shown]

    def _hook(self) -> pluggy.HookRelay:
        with self._lock:
            while self._waiting:
                self._register(*self._waiting[0])
                self._waiting.pop(0)
        return self._pluggy.hook

    def _register(self, entry: PluginEntry, plugin: Any) -> None:
        try:
            if isinstance(plugin, PluginError):
                raise plugin
            self.register_hooks(entry, plugin)
        except PluginError as error:
            if self._strict:
                raise  # and stays waiting: the next call must not pass without it
            self._complain(str(error))

    def register_hooks(self, entry: PluginEntry, plugin: object) -> None:
        """Register the hooks that `plugin` implements, without those that fit no spec.

        Each of the latter is a complaint.
        """
        try:
            hooks, faults = implementations(plugin)
            if faults:
                self._complain(
                    f"plugin {entry.provenance}: {entry.target} {' and '.join(faults)} {remedy(entry, None)}"
                )
            guarded = {name: self._guarded(entry, name, hook) for name, hook in hooks.items()}
            self._pluggy.register(types.SimpleNamespace(**guarded), f"{entry.dist}:{entry.id}")
        except PluginError:
            raise
        except Exception as error:  # an object that looks like a plugin may do anything
            raise broken(entry, error) from error

    def _guarded(self, entry: PluginEntry, name: str, function: Any) -> Any:
        """`function`, kept from harming a command that did not ask for it."""

        def report(error: BaseException) -> None:
            sentence = f"plugin {entry.provenance}: {name} fails with {first_line(error)}"
            self._complain(sentence, error)

        if name in _ASKED_FOR:
            return noted(function, f"raised by {name} of {entry.describe()}")
        if is_wrapper(function):
            return isolated_wrapper(function, report)
        if name == "modcore_match_model":
            function = self._checked(function)
        return isolated(function, report)

    def _checked(self, match_model: Any) -> Any:
        """`match_model`, raising unless it answers None or a match that can be used."""

        @functools.wraps(match_model)
        def call(*args: Any) -> ModelMatch | None:
            answer = match_model(*args)
            if answer is None:
                return None
            if not isinstance(answer, ModelMatch):
                raise TypeError(f"it answers {answer!r}, which is not a ModelMatch")
            if not self._models(answer.id):
                raise LookupError(f"it answers {answer.id!r}, which no usable plugin registers")
            return answer

        return call

    def _models(self, id: str) -> list[PluginEntry]:
        """The usable entries of model classes called `id`."""
        return [
            entry for entry in self.models if entry.id == id and entry.status in ("ok", "duplicate")
        ]

    @property
    def _strict(self) -> bool:
        return self._environ.get(STRICT, "") not in ("", "0")

    def _complain(self, sentence: str, cause: BaseException | None = None) -> None:
        if self._strict:
            raise PluginError(sentence) from cause
        print(f"modcore: {sentence}", file=sys.stderr)


def _left_out(entry: PluginEntry) -> PluginError:
    return PluginError(f"plugin {entry.provenance} is left out: {entry.error}")


class _CoreHooks:
    """The core's own implementation of the specs, called after every plugin's."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager

    @hookspecs.hookimpl(trylast=True)
    def modcore_build_model(self, match: ModelMatch, options: BuildOptions) -> object:
        model_class = self._manager.resolve(match.group, match.id)
        if match.group == VISION_MODELS:
            config = read_config(options.path)
            return model_class(options.path, config, **{"dtype": options.dtype, **options.vision})
        return model_class(options)

    @hookspecs.hookimpl(trylast=True)
    def modcore_deploy(self, spec: ServiceSpec, options: Mapping[str, Any]) -> Service:
        launcher = self._manager.resolve("modcore.launchers", spec.launcher)(**options)
        return cast(Service, launcher.launch(spec))


@functools.cache
def plugin_manager() -> PluginManager:
    """The manager of this process, over everything that is installed."""
    return PluginManager()
