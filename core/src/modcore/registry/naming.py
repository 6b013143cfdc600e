"""What may be registered, and under which names."""

from __future__ import annotations

from collections.abc import Sequence

from modcore.registry.entry import is_target


def names_for(name: object, thing: object) -> list[str]:
    """The names to register `thing` under: those given, or its own."""
    return checked_names(name) or [_name_of(thing)]


def checked_names(name: object) -> list[str]:
    """The names given, none for None; raises TypeError for what is no name."""
    if name is None:
        return []
    names = [name] if isinstance(name, str) else name
    if (
        isinstance(names, Sequence)
        and names
        and all(isinstance(each, str) and each for each in names)
    ):
        return list(names)
    raise TypeError(f"name is {name!r}; it has to be a string, or a list of strings.")


def check_thing(thing: object) -> None:
    """Raise TypeError unless `thing` can be called, or leads to what can."""
    if isinstance(thing, str):
        if not is_target(thing):
            raise TypeError(f"{thing!r} cannot be registered: a string has to be 'module:attr'.")
    elif not callable(thing):
        raise TypeError(f"{thing!r} cannot be registered: it cannot be called.")


def _name_of(thing: object) -> str:
    if isinstance(thing, str):
        return thing.rpartition(":")[2].rpartition(".")[2]
    name = getattr(thing, "__name__", "<lambda>")
    if name == "<lambda>":
        raise TypeError(f"{thing!r} has no name of its own; give it one: register_module(name=...)")
    return str(name)
