"""Groups of modules by name: functions become modules, packages add theirs by entry points.

``module_register.new_group("mymodules")`` makes a group, ``@module_register("mymodules")`` puts a
function or a Module class into it, and ``modcore.mymodules.m()`` makes a module of it (seeds: *Using
the Built-in Registry*). Entry points ``<group>.<name>`` in ``modcore.modules`` fill the same groups.
"""

from __future__ import annotations

import difflib
import inspect
import keyword
import pkgutil
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from modcore.errors import ModcoreError, PluginError
from modcore.module.base import ModuleBase
from modcore.plugins.discovery import MODULES
from modcore.registry import Registry, RegistryMiss

if TYPE_CHECKING:
    from modcore.plugins.ids import InstalledEntry

T = TypeVar("T", bound=Callable[..., Any])


class BrokenModule(PluginError, AttributeError):
    """A module of a group that cannot be imported or used; `hasattr` says that it is not there."""


class ModuleGroup:
    """The modules of one group, as attributes: ``group.name(...)`` makes one."""

    def __init__(self, name: str, register: ModuleRegister) -> None:
        self._name = name
        self._register = register
        self._registry = Registry(name, scope=name)
        self._faults: dict[str, str] = {}  # what packages bring that cannot be used, and why

    def _add(self, entry: InstalledEntry) -> None:
        """Take what packages bring; what cannot be used takes nobody's name."""
        if entry.fault:
            self._faults[entry.name] = entry.fault
        else:
            self._registry.add(entry)

    def __getattr__(self, name: str) -> Callable[..., ModuleBase]:
        if name not in self._registry:
            self._register.read_entry_points()
        try:
            found = self._registry.get(name)
        except (PluginError, RegistryMiss) as error:
            raise BrokenModule(str(error)) from error
        if found is None:
            raise AttributeError(self._miss(name), name=name, obj=self)
        if not callable(found):  # only packages bring what nobody has looked at
            brought = self._registry.entries[name].describe()
            raise BrokenModule(f"{brought} is {found!r}, which cannot be called; report it there.")
        return (
            found if inspect.isclass(found) and issubclass(found, ModuleBase) else _module_of(found)
        )

    def __dir__(self) -> list[str]:
        return sorted(self._registry)

    def __repr__(self) -> str:
        return f"<ModuleGroup {self._name}: {', '.join(dir(self)) or 'empty'}>"

    def _miss(self, name: str) -> str:
        known = dir(self)
        close = difflib.get_close_matches(name, [*known, *self._faults], 1)
        hint = f"there are {', '.join(known) or 'none'}."
        if close:
            fault = self._fault(close[0])
            hint = f"did you mean {close[0]!r}?{f' It cannot be used: {fault}' if fault else ''}"
        hint = self._faults.get(name, hint)
        return f"there is no module {name!r} in the group {self._name!r}; {hint}"

    def _fault(self, name: str) -> str | None:
        """Why a module cannot be used, as far as that is known: nothing is imported for it."""
        entry = self._registry.entries.get(name)
        if entry is None:
            return self._faults.get(name)
        return str(entry.error) if entry.error is not None else None


class ModuleRegister:
    """Makes groups and puts things into them."""

    def __init__(self) -> None:
        self._groups: dict[str, ModuleGroup] = {}
        self._has_plugins = False
        self._lock = threading.Lock()

    def new_group(self, name: str) -> None:
        """Make a group; harmless when it exists. Raises ValueError for what is no name."""
        if not _can_name_a_group(name):
            raise ValueError(
                f"{name!r} cannot name a group; it has to be a Python name that modcore has not taken."
            )
        self._groups.setdefault(name, ModuleGroup(name, self))

    def __call__(self, group: str, name: str | None = None) -> Callable[[T], T]:
        """Put a function or a Module class into `group`, under `name` or its own.

        A decorator, which returns what it decorates unchanged.
        """
        registry = self.group(group)._registry

        def register(decorated: T) -> T:
            registry.register_module(name, module=decorated)
            return decorated

        return register

    def group(self, name: str) -> ModuleGroup:
        """The group called `name`; raises ModcoreError, with the near ones, when there is none."""
        found = self.find(name)
        if found is None:
            close = self.near(name)
            hint = f"did you mean {close[0]!r}?" if close else f"make it: new_group({name!r})."
            raise ModcoreError(f"there is no group of modules {name!r}; {hint}")
        return found

    def near(self, name: str) -> list[str]:
        """The groups with a name like this, the nearest first."""
        return difflib.get_close_matches(name, self._groups, 3)

    def find(self, name: str) -> ModuleGroup | None:
        """The group called `name`, or None; packages are looked at when no other has that name."""
        if name not in self._groups:
            self.read_entry_points()
        return self._groups.get(name)

    def read_entry_points(self) -> None:
        """Put what packages register into the groups; done once, when something is not found."""
        from modcore.plugins.ids import InstalledEntry, by_id
        from modcore.plugins.verdicts import list_plugins

        with self._lock:
            if self._has_plugins:
                return
            for key, claims in by_id(list_plugins(), MODULES).items():
                group, dot, name = key.partition(".")
                if dot and _can_name_a_group(group):
                    self._groups.setdefault(group, ModuleGroup(group, self))
                    self._groups[group]._add(InstalledEntry(name, claims))
            self._has_plugins = True


def _can_name_a_group(name: object) -> bool:
    """Whether ``modcore.<name>`` can be written, and means nothing yet; the package is above us."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        return False
    package = sys.modules["modcore"]
    rooms = (room.name for room in pkgutil.iter_modules(package.__path__))
    return not name.startswith("_") and name not in package.__all__ and name not in rooms


def _module_of(function: Callable[..., Any]) -> Callable[..., ModuleBase]:
    """A maker of modules whose `forward` is `function`."""

    def make(*, name: str | None = None) -> ModuleBase:
        return FunctionModule(function, name=name)

    make.__doc__ = function.__doc__
    return make


class FunctionModule(ModuleBase):
    """A registered function as a module."""

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        super().__init__(name=name or getattr(function, "__name__", None))
        self.repr_type = "Function"  # type: ignore[misc]  # one class for all functions
        self.forward = function  # type: ignore[method-assign]


module_register = ModuleRegister()
