"""The registry itself: registering, finding, building.

One rule of resolution, with the same answer from every node of a tree of registries:

1. A name is looked for in the registry that is asked, then in its parent, and so on to the root.
   Where a registry has locations, they are imported before its parent is asked.
2. A key with a dot may begin with a scope (``det.RetinaNet``), or with a path of scopes: the rest is
   looked for, by rule 1, in the registry of that scope, wherever in the tree it is. When nothing is
   found there, the whole key is a name that has a dot in it.

Nothing else is ever imported because a key names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from modcore.errors import PluginError
from modcore.registry.build import add_note, build_from_cfg
from modcore.registry.entry import Entry
from modcore.registry.errors import BrokenEntry, RegistryConflict, RegistryMiss
from modcore.registry.locations import Locations
from modcore.registry.miss import explain_absent, explain_broken, explain_conflict, explain_miss
from modcore.registry.naming import check_thing, checked_names, names_for
from modcore.registry.scope import DefaultScope, current_scope
from modcore.registry.table import ModuleDict, render
from modcore.registry.tree import Node

T = TypeVar("T")
C = TypeVar("C", bound=Callable[..., Any])
Names = str | Sequence[str] | None
Claims = tuple[Entry, ...]


class Registry(Node):
    """Names and what they stand for, in a scope.

    `scope` is the package of the caller unless given; `parent` is asked for what is not found here;
    `build_func(cfg, *args, registry=self, **kwargs)` builds (default: the parent's, else
    `build_from_cfg`); `locations` are modules that register things when they are imported, which
    happens when a key is first not found without them.
    """

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Registry | None = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
    ) -> None:
        super().__init__(name, parent, scope)
        if build_func is not None and not callable(build_func):
            raise TypeError(f"build_func is {build_func!r}; it has to be callable.")
        inherited = parent.build_func if parent is not None else build_from_cfg
        self.build_func: Callable[..., Any] = build_func or inherited
        #: Asked for one more sentence when a key is not found, such as which package brings it.
        self.hint: Callable[[str], str | None] = lambda _: None
        #: Whether dots in keys are part of names, so that nobody means a scope by them.
        self.keys_are_flat = False
        self._locations = Locations(locations)
        self._claims: dict[str, Claims] = {}
        self._cache: dict[str, Any] = {}  # what `get` found
        self._known: dict[str | None, dict[str, Any]] = {}  # what `lookup` found, by default scope
        if parent is not None:
            parent._add_child(self)
            self._forget()

    # What is in it

    @property
    def module_dict(self) -> Mapping[str, Any]:
        """Names and objects of this registry alone; lazy ones are imported as they are read."""
        return ModuleDict(self)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Names and entries of this registry alone; reading them imports nothing."""
        return {name: claims[0] for name, claims in self.claims.items()}

    @property
    def claims(self) -> Mapping[str, Claims]:
        """As `entries`, with all that claim a name: more than one is a conflict."""
        return self._claims.copy()

    @property
    def location_errors(self) -> Mapping[str, BaseException]:
        """The locations that could not be imported, and why."""
        return self._locations.errors.copy()

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[str]:
        return iter(self.claims)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and bool(self._find(key))

    def __repr__(self) -> str:
        return render(self)

    # Registering

    @overload
    def register_module(self, name: C) -> C: ...
    @overload
    def register_module(self, name: Names = None, force: bool = False) -> Callable[[C], C]: ...
    @overload
    def register_module(self, name: Names = None, force: bool = False, *, module: T) -> T: ...
    @overload
    def register_module(self, name: Names, force: bool, module: T) -> T: ...
    def register_module(self, name: Any = None, force: bool = False, module: Any = None) -> Any:
        """Register a class, a function, or a lazy ``module:attr`` string.

        As a decorator (``@R.register_module()``, ``@R.register_module(name=...)``, or without
        parentheses), or as a call with `module`. `name` may be several names, registered at once:
        all or, when one is no name, none. Returns the module unchanged.

        Registering the same thing again, or its definition run again, is harmless. Registering
        another thing under a taken name is recorded, and an error (`RegistryConflict`, which names
        both) when that name is used; with `force` it replaces the former. Raises TypeError for what
        is no name or cannot be called.
        """
        if not isinstance(force, bool):
            raise TypeError(f"force is {force!r}; it has to be True or False.")
        if module is None and callable(name):
            name, module = None, name  # the decorator without parentheses
        checked_names(name)  # a decorator complains before what it decorates is defined

        def register(thing: Any) -> Any:
            check_thing(thing)
            self.add(*(Entry(each, thing) for each in names_for(name, thing)), force=force)
            return thing

        return register if module is None else register(module)

    def add(self, *entries: Entry, force: bool = False) -> None:
        """Register entries made elsewhere, such as from a plugin's entry points, all at once."""
        with self._lock:
            changed: dict[str, Claims] = {}
            for entry in entries:
                former = changed.get(entry.name, () if force else self._claims.get(entry.name, ()))
                changed[entry.name] = _claim(former, entry)
            self._claims.update(changed)
            self._forget()

    def unregister(self, name: str) -> None:
        """Take a name out; raises RegistryMiss when it is not registered here."""
        with self._lock:
            self._own_claims(name)
            del self._claims[name]
            self._forget()

    @contextmanager
    def overlay(self) -> Iterator[Registry]:
        """Undo, after the ``with`` block, what is changed inside it, here and in registries below.

        For tests, as it holds in all threads. Locations are imported before it begins: a module
        registers only once.
        """
        for node in self.tree():
            node.import_from_location()
        with self._lock:
            before = [(node, node._claims.copy(), node._children.copy()) for node in self.tree()]
        try:
            yield self
        finally:
            with self._lock:
                for node, claims, children in before:
                    node._claims, node._children = claims, children
                self._forget()

    def import_from_location(self) -> None:
        """Import the locations now, those that failed before too; `location_errors` has the rest."""
        self._locations.import_all()

    def _forget(self) -> None:
        # New dicts: a search under way puts what it finds into the old ones, which nobody reads.
        for node in self.root.tree():
            node._cache, node._known = {}, {}

    # Finding

    def get(self, key: str) -> Any:
        """The object that `key` stands for, or None; the default scope plays no part.

        Raises RegistryConflict when the name is claimed twice, BrokenEntry when it stands for
        something that cannot be imported.
        """
        try:
            return self._cache[key]
        except (KeyError, TypeError):
            pass  # and go on out here, where what is raised has no KeyError of ours in its chain
        return self._resolve(key)

    def lookup(self, key: str) -> Any:
        """As `get`, from the registry of the default scope if there is one.

        Raises RegistryMiss, with the whole explanation, when nothing is found.
        """
        scope, known = current_scope(), self._known
        if key in known.get(scope, ()):
            return known[scope][key]
        start = self if scope is None else self.switch(scope)
        found = start.get(key)
        if found is None:
            raise RegistryMiss(explain_miss(start, key))
        known.setdefault(scope, {})[key] = found
        return found

    def own(self, name: str) -> Any:
        """The object registered here, and not in a parent, under `name`, as `module_dict` has it.

        Raises RegistryMiss when there is none.
        """
        return self._object(name, self._own_claims(name))

    def _own_claims(self, name: str) -> Claims:
        if name not in self._claims:
            raise RegistryMiss(explain_absent(self, name))
        return self._claims[name]

    def explain(self, key: str) -> list[str]:
        """Each step of the search for `key`, as sentences."""
        steps = []
        for node, name in self._steps(key):
            claims = node._local(name)
            found = " and ".join(entry.describe() for entry in claims) or "not registered"
            steps.append(f"{name!r} in {node.path}: {found}")
            if claims:
                return steps
        return [*steps, explain_miss(self, key)]

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Let `scope` be the default inside the ``with`` block; yields its registry.

        Without `scope` it is the default scope that holds already, and without that this registry.
        Raises RegistryMiss for a scope that is not in this tree.
        """
        with DefaultScope.overwrite_default_scope(scope):
            current = current_scope()
            yield self if current is None else self.switch(current)

    def _steps(self, key: str) -> Iterator[tuple[Registry, str]]:
        for start, name in self.readings(key):
            for node in start.line():
                yield node, name

    def _find(self, key: str) -> Claims:
        found = (node._local(name) for node, name in self._steps(key))
        return next(filter(None, found), ())

    def _local(self, name: str) -> Claims:
        if name not in self._claims:
            self._locations.import_new()
        return self._claims.get(name, ())

    def _resolve(self, key: str) -> Any:
        cache = self._cache
        claims = self._find(key)
        if not claims:
            return None
        found = cache[key] = self._object(key, claims)
        return found

    def _object(self, key: str, claims: Claims) -> Any:
        entry, *others = claims
        if not all(other.is_same_as(entry) for other in others):
            raise RegistryConflict(explain_conflict(self, key, claims))
        try:
            return entry.resolve()
        except PluginError:  # says itself whose it is and what to do
            raise
        except (Exception, SystemExit) as error:
            raise BrokenEntry(explain_broken(self, key, entry)) from error

    # Building

    def build(self, cfg: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Build what ``cfg["type"]`` names with the rest of `cfg` as arguments.

        `args` and `kwargs` go to the build function, as do all its errors: see `build_from_cfg`.
        """
        if args or kwargs or self.build_func is not build_from_cfg:
            return self.build_func(cfg, *args, **kwargs, registry=self)
        # What has been built before is a dict hit.
        kind = None
        try:
            arguments = {**cfg}
            kind = self._known[current_scope()][arguments.pop("type")]
        except (KeyError, TypeError):
            pass  # as in `get`
        if kind is None or "_scope_" in arguments:
            return build_from_cfg(cfg, self)
        try:
            return kind(**arguments)
        except Exception as error:
            add_note(error, kind, self)
            raise


def _claim(former: Claims, entry: Entry) -> Claims:
    """`former` with `entry`, which replaces the one that it is the same as."""
    if any(entry.is_same_as(each) for each in former):
        return tuple(entry if entry.is_same_as(each) else each for each in former)
    return (*former, entry)
