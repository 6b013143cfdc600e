"""Stand-ins for values that exist only during a call: `_0` … `_9`, and what a pipeline lends.

``reference["key"]`` and ``reference.attribute`` are new references to a part of the value.
"""

from __future__ import annotations

from typing import Any, NoReturn

from modcore.flow.errors import InvalidFlow, NotRunning
from modcore.flow.recording import Recording, recording_of
from modcore.flow.values import plain


class Reference:
    """A value of a call, with the keys and attributes that lead from it to the one meant."""

    __slots__ = ("_path",)
    __iter__ = None  # it has keys, but nothing to go through yet

    def __init__(self) -> None:
        self._path: tuple[tuple[bool, Any], ...] = ()

    def __getitem__(self, key: Any) -> Reference:
        return self._longer(True, key)

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("_"):
            raise AttributeError(f"a reference to a value of a call has no {name!r}")
        return self._longer(False, name)

    def __bool__(self) -> NoReturn:
        raise InvalidFlow(f"{self!r} has no value before the call: decide in an item")

    def _longer(self, is_key: bool, step: Any) -> Reference:
        longer = self._copy()
        longer._path = (*self._path, (is_key, step))
        return longer

    def _resolve(self, upstream: tuple[Any, ...]) -> Any:
        """The value in the running call, where `upstream` are the arguments that arrive."""
        value = self._value(upstream)
        for is_key, step in self._path:
            value = value[step] if is_key else getattr(value, step)
        return plain(value)

    def _copy(self) -> Reference:
        raise NotImplementedError

    def _value(self, upstream: tuple[Any, ...]) -> Any:
        raise NotImplementedError

    def _name(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        steps = (f"[{step!r}]" if is_key else f".{step}" for is_key, step in self._path)
        return self._name() + "".join(steps)


class Placeholder(Reference):
    """One of the arguments that arrive: `_0` is the first."""

    __slots__ = ("_index",)

    def __init__(self, index: int) -> None:
        super().__init__()
        self._index = index

    def _copy(self) -> Placeholder:
        return Placeholder(self._index)

    def _value(self, upstream: tuple[Any, ...]) -> Any:
        if self._index < len(upstream):
            return upstream[self._index]
        raise InvalidFlow(f"_{self._index} is bound, but {len(upstream)} argument(s) arrive")

    def _name(self) -> str:
        return f"_{self._index}"


class Loan(Reference):
    """What a pipeline lends of its running call: ``input``, ``kwargs``, or an item's output."""

    __slots__ = ("_flow", "_item", "_what")

    def __init__(self, flow: Any, what: str, item: int | None = None) -> None:
        super().__init__()
        self._flow, self._what, self._item = flow, what, item

    def _copy(self) -> Loan:
        return Loan(self._flow, self._what, self._item)

    def _value(self, upstream: tuple[Any, ...]) -> Any:
        call = recording_of(self._flow)
        if call is None:
            raise NotRunning(f"{self!r} is asked for outside a call of that {self._flow._kind}")
        if self._item is not None:
            return self._output(call, self._item)
        if self._what == "kwargs":
            return dict(call.kwargs)
        return call.args[0] if len(call.args) == 1 else tuple(call.args)

    def _output(self, call: Recording, item: int) -> Any:
        if item in call.outputs:
            return call.outputs[item]
        raise NotRunning(f"{self!r} is asked for before that item of this call has run")

    def _name(self) -> str:
        if self._item is None:
            return f"{self._flow._kind}.{self._what}"
        return f"{self._flow._kind}.output({self._flow._label(self._item)!r})"


_0, _1, _2, _3, _4, _5, _6, _7, _8, _9 = map(Placeholder, range(10))
