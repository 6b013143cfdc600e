"""The plugin manager: a typed facade over pluggy, one method for each hook.

Ids are resolved lazily, one import for the one that is asked for. The modules with hooks are
imported when a hook is first called. A plugin that misbehaves costs one line on stderr, unless it
was asked for by id, or ``MODCORE_STRICT_PLUGINS=1`` is set: then it is an error.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pluggy

from modcore.errors import PluginError
from modcore.plugins import hookspecs
from modcore.plugins.commands import CommandTable
from modcore.plugins.discovery import HOOKS, TEXT_MODELS, VISION_MODELS, PluginEntry
from modcore.plugins.loading import broken, first_line, isolated, load, load_within
from modcore.plugins.records import BuildOptions, ModelMatch, Service, ServiceSpec
from modcore.plugins.verdicts import claimed_twice, list_plugins

STRICT = "MODCORE_STRICT_PLUGINS"
TIMEOUT = "MODCORE_PLUGIN_TIMEOUT"
DEFAULT_TIMEOUT = 5.0  # seconds that a module with hooks may take to import

#: Hooks whose answer somebody waits for: what they raise is not swallowed.
_ASKED_FOR = frozenset({"modcore_build_model", "modcore_deploy"})


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
        self._resolved: dict[tuple[str, str], Any] = {}
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._pluggy.register(_CoreHooks(self), "modcore")
        self._hooks_loaded = False

    # Entries and ids

    @functools.cached_property
    def entries(self) -> list[PluginEntry]:
        """Every entry of every installed plugin, with its verdict."""
        return list_plugins(self._environ) if self._given is None else self._given

    def claims(self, group: str, id: str) -> list[PluginEntry]:
        """The entries called `id` in `group`, whatever their status."""
        return [entry for entry in self.entries if (entry.group, entry.id) == (group, id)]

    def resolve(self, group: str, id: str) -> Any:
        """The object registered as `id` in `group`; it is imported now and kept.

        Raises PluginError when the id is unknown, blocked, incompatible, claimed twice or broken.
        """
        key = (group, id)
        if key not in self._resolved:
            self._resolved[key] = load(self.usable_entry(group, id))
        return self._resolved[key]

    def usable_entry(self, group: str, id: str) -> PluginEntry:
        """The one entry that `id` stands for; raises PluginError as `resolve` does."""
        claims = self.claims(group, id)
        usable = [entry for entry in claims if entry.status in ("ok", "duplicate")]
        if len(usable) == 1:
            return usable[0]
        if usable:
            raise PluginError(claimed_twice(usable))
        if claims:
            raise PluginError(f"{claims[0].describe()} cannot be used: {claims[0].error}")
        raise PluginError(self._unknown_id(group, id))

    def _unknown_id(self, group: str, id: str) -> str:
        known = sorted({entry.id for entry in self.entries if entry.group == group})
        close = difflib.get_close_matches(id, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}."
        return f"no installed plugin registers {id!r} in {group}; {hint}"

    # Hooks, one method each

    def match_model(self, config: Mapping[str, Any]) -> list[ModelMatch]:
        """What the plugins say to `config`, with provenance; see ``modcore_match_model``."""
        answers = self._hook().modcore_match_model(config=config)
        return [match for answer in answers for match in self._with_provenance(answer)]

    def build_model(self, match: ModelMatch, options: BuildOptions) -> object:
        """Build the model that `match` names; see ``modcore_build_model``."""
        model = cast(object, self._hook().modcore_build_model(match=match, options=options))
        self._hook().modcore_model_built(match=match, options=options, model=model)
        return model

    def deploy(self, spec: ServiceSpec, options: Mapping[str, Any] | None = None) -> Service:
        """Start a service; see ``modcore_deploy``."""
        service = self._hook().modcore_deploy(spec=spec, options=options or {})
        self._hook().modcore_service_started(spec=spec, service=service)
        return cast(Service, service)

    def service_stopped(self, spec: ServiceSpec, exit_code: int) -> None:
        """Tell the plugins that a service has ended; see ``modcore_service_stopped``."""
        self._hook().modcore_service_stopped(spec=spec, exit_code=exit_code)

    def register_commands(self, cli: CommandTable) -> None:
        """Let the plugins add their commands; see ``modcore_register_commands``."""
        self._hook().modcore_register_commands(cli=cli)

    # Loading the modules with hooks

    def _hook(self) -> pluggy.HookRelay:
        if not self._hooks_loaded:
            self._hooks_loaded = True
            for entry in self.entries:
                if entry.group == HOOKS:
                    self._load_hooks(entry)
        return self._pluggy.hook

    def _load_hooks(self, entry: PluginEntry) -> None:
        if entry.status == "blocked":
            return
        try:
            if entry.status != "ok":
                raise PluginError(f"plugin {entry.provenance} is left out: {entry.error}")
            for complaint in self.register_hooks(entry, load_within(entry, self._timeout())):
                self._complain(complaint)
        except PluginError as error:
            self._complain(str(error), error)

    def register_hooks(self, entry: PluginEntry, plugin: object) -> list[str]:
        """Register the hooks that `plugin` implements.

        Returns a sentence for each function that implements no known hook; those are left out.
        Raises PluginError when a hook has an argument that its spec does not know.
        """
        hooks, complaints = self._implementations(entry, plugin)
        try:
            self._pluggy.register(types.SimpleNamespace(**hooks), f"{entry.dist}:{entry.id}")
        except (pluggy.PluginValidationError, ValueError) as error:
            raise broken(entry, error) from error
        return complaints

    def _implementations(
        self, entry: PluginEntry, plugin: object
    ) -> tuple[dict[str, Any], list[str]]:
        specs = [name for name in vars(hookspecs) if name.startswith("modcore_")]
        hooks: dict[str, Any] = {}
        complaints = []
        for name, function in _marked_functions(plugin):
            options = getattr(function, f"{hookspecs.PROJECT}_impl")
            if name in specs:
                hooks[name] = self._guarded(entry, name, function)
            elif not options.get("optionalhook"):
                close = difflib.get_close_matches(name, specs, 1)
                hint = f"did you mean {close[0]}?" if close else f"hooks: {', '.join(specs)}."
                complaints.append(
                    f"plugin {entry.provenance} implements the unknown hook {name}; {hint}"
                )
        return hooks, complaints

    def _guarded(self, entry: PluginEntry, name: str, function: Any) -> Any:
        # A wrapper is a generator: what it raises comes out of pluggy's own call, not of this one.
        if name in _ASKED_FOR or inspect.isgeneratorfunction(function):
            return function
        return isolated(
            function,
            lambda error: self._complain(
                f"plugin {entry.provenance}: {name} fails with {first_line(error)}", error
            ),
        )

    def _with_provenance(self, match: object) -> Iterator[ModelMatch]:
        if not isinstance(match, ModelMatch):
            self._complain(f"a plugin's modcore_match_model answered {match!r}, not a ModelMatch")
            return
        claims = [
            entry
            for group in (TEXT_MODELS, VISION_MODELS)
            for entry in self.claims(group, match.id)
            if entry.status in ("ok", "duplicate")
        ]
        if not claims:
            self._complain(f"a plugin matched {match.id!r}, which no usable plugin registers")
        for entry in claims:
            yield replace(match, dist=entry.dist, version=entry.version, group=entry.group)

    def _timeout(self) -> float:
        text = self._environ.get(TIMEOUT, "")
        try:
            seconds = float(text) if text else DEFAULT_TIMEOUT
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < 1e6:
            raise PluginError(
                f"{TIMEOUT}={text!r} is not a number of seconds; correct or unset it."
            )
        return seconds

    def _complain(self, sentence: str, cause: BaseException | None = None) -> None:
        if self._environ.get(STRICT) == "1":
            raise PluginError(sentence) from cause
        print(f"modcore: {sentence}", file=sys.stderr)


class _CoreHooks:
    """The core's own implementation of the specs, called after every plugin's."""

    def __init__(self, manager: PluginManager) -> None:
        self._manager = manager

    @hookspecs.hookimpl(trylast=True)
    def modcore_build_model(self, match: ModelMatch, options: BuildOptions) -> object:
        return self._manager.resolve(match.group, match.id)(options)

    @hookspecs.hookimpl(trylast=True)
    def modcore_deploy(self, spec: ServiceSpec, options: Mapping[str, Any]) -> Service:
        launcher = self._manager.resolve("modcore.launchers", spec.launcher)(**options)
        return cast(Service, launcher.launch(spec))


def _marked_functions(plugin: object) -> list[tuple[str, Any]]:
    """The functions of a plugin that carry the `hookimpl` mark."""
    mark = f"{hookspecs.PROJECT}_impl"
    return [
        (name, value)
        for name in dir(plugin)
        if callable(value := getattr(plugin, name, None)) and hasattr(value, mark)
    ]


@functools.cache
def plugin_manager() -> PluginManager:
    """The manager of this process, over everything that is installed."""
    return PluginManager()
