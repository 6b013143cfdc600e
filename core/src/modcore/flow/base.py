"""What all flows share: items with names, the two forms of a call, the tree, the walk."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from modcore.flow.calls import Call, Function, Script, adrive, drive, is_flow, needs_loop, unbound
from modcore.flow.errors import InvalidFlow, NotCallable
from modcore.flow.mermaid import Drawing, Ends
from modcore.flow.tree import describe, drawn_once, label, make_repr
from modcore.flow.values import arguments, package


class Flow:
    """Items put together: callable like a function, awaitable through `acall`.

    An item is any callable: a function, a coroutine function, a Module, another flow. It gets a name
    by keyword, or by assignment (``p.parse = parse``), which also replaces an item.
    `post_action` is called with the result after the last item; what it returns is dropped.
    """

    _type: ClassVar[str] = "Flow"

    def __init__(
        self, *items: Any, post_action: Callable[..., Any] | None = None, **named: Function
    ) -> None:
        self._names: list[str | None] = []
        self._numbers: dict[str, int] = {}  # of the items with names
        self._functions: tuple[Function, ...] = ()
        self._coroutine_facts: tuple[bool, tuple[Flow, ...]] | None = None
        self._post_action = None
        if post_action is not None:
            self._post_action = self._checked(post_action, "post_action")
        for item in items[0] if len(items) == 1 and isinstance(items[0], (list, tuple)) else items:
            self._add(None, item)
        for name, item in named.items():
            self._add(name, item)

    # -- items ------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._add(name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # no item, and while unpickling there are no names to look at
            raise AttributeError(f"{self._kind} has no attribute {name!r}", name=name, obj=self)
        if name in self._numbers:
            return self._functions[self._numbers[name]]
        own = [each for each in dir(type(self)) if not each.startswith("_")]
        near = difflib.get_close_matches(name, own, 1)
        hint = f"; did you mean .{near[0]}?" if near else ""
        raise AttributeError(f"{self._no_item(name)}{hint}", name=name, obj=self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._check()

    def _check(self) -> None:
        """Raise InvalidFlow if what was put together cannot work; at the end of a with block."""

    def _add(self, name: str | None, item: Any) -> None:
        """Put `item` last, or in the place of the one with this name."""
        self._check_name(name)
        self._checked(item, "an item")
        functions = list(self._functions)
        if name is not None and name in self._numbers:
            functions[self._numbers[name]] = item
        else:
            if name is not None:
                self._numbers[name] = len(functions)
            self._names.append(name)
            functions.append(item)
        self._functions = tuple(functions)
        self._coroutine_facts = None

    def _check_name(self, name: str | None) -> None:
        if name is None:
            return
        if name == "post_action" or hasattr(type(self), name) or name.startswith("_"):
            raise InvalidFlow(
                f"{self._kind} cannot have an item named {name!r}: the name has a meaning of its own"
            )

    def _checked(self, item: Any, role: str) -> Any:
        """`item`, if it can be called and does not lead back here."""
        function = unbound(item)
        if function is None and item is not None:
            raise NotCallable(
                f"{item!r} is {role} of {self._kind} but has no function: write function | {item!r}"
            )
        if not callable(function):
            raise NotCallable(
                f"{role} of {self._kind} must be callable, and {item!r} of type "
                f"{type(item).__name__} is not"
            )
        if is_flow(function) and any(each is self for each in _flows_in(function)):
            raise InvalidFlow(f"{self._kind} cannot contain itself, directly or through {role}")
        return item

    def _no_item(self, name: str) -> str:
        names = [each for each in self._names if each]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{self._kind} has no item {name!r} (it has: {', '.join(names) or 'none'}){hint}"

    @property
    def _kind(self) -> str:
        return type(self).__name__

    def _label(self, number: int) -> str:
        return self._names[number] or label(self._functions[number])

    def _children(self) -> Iterable[Function]:
        """All that a call may call: the items, and what decides between them."""
        return self._functions

    def _needs_loop(self) -> bool:
        """Whether there is a coroutine function anywhere in it."""
        if self._coroutine_facts is None:
            children = [unbound(child) for child in self._children()]
            flows = tuple(child for child in children if is_flow(child))
            leaf = any(needs_loop(child) for child in children if not is_flow(child))
            self._coroutine_facts = leaf, flows
        leaf, flows = self._coroutine_facts
        return leaf or any(flow._needs_loop() for flow in flows)

    # -- calls ------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result for these arguments; an error keeps its type and is told where it was."""
        result = self._run(_spread(args), kwargs)
        if self._post_action is not None:
            drive(self._kind, self._afterwards(result))
        return result

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """The async form of a call: awaits Modules and coroutine functions."""
        result = await self._arun(_spread(args), kwargs)
        if self._post_action is not None:
            await adrive(self._kind, self._afterwards(result))
        return result

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return drive(self._kind, self._script(args, kwargs))

    async def _arun(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return await adrive(self._kind, self._script(args, kwargs))

    def _script(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Script:
        """What a call does, where that is one thing after the other."""
        raise NotImplementedError

    def _afterwards(self, result: Any) -> Script:
        action = self._post_action
        yield Call(action, arguments(result), f"post action {label(action)!r}")  # type: ignore[arg-type]

    # -- putting together ---------------------------------------------------------------------

    def __or__(self, other: Any) -> Any:
        from modcore.flow.pipeline import compose  # a pipeline is a Flow itself

        return compose(self, other)

    def __ror__(self, other: Any) -> Any:
        from modcore.flow.pipeline import compose

        return compose(other, self)

    # -- looking at it ------------------------------------------------------------------------

    def for_each(self, filter: Callable[[Any], Any], action: Callable[[Any], Any]) -> None:
        """Call `action` on everything in here for which `filter` is true, depth first.

        A nested flow comes before what is in it, conditions before the items that they choose
        between. Of a bound function it is the function that is looked at.
        """
        for child in self._children():
            function = unbound(child)
            if filter(function):
                action(function)
            if is_flow(function):
                function.for_each(filter, action)

    def to_mermaid(self) -> str:
        """The flow as a Mermaid flowchart."""
        drawing = Drawing()
        drawing.connect(self._draw(drawing, [(drawing.node("input", "([", "])"), "")]), "output")
        return str(drawing)

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        """Draw what hangs on `ends`; the new open ends."""
        raise NotImplementedError

    def _draw_item(self, drawing: Drawing, number: int, ends: Ends) -> Ends:
        return drawing.item(self._functions[number], self._label(number), ends)

    @drawn_once
    def __repr__(self) -> str:
        return make_repr(
            "Flow", self._shown_type(), attrs=self._shown(), subs=map(describe, self._shown_items())
        )

    def _shown_type(self) -> str:
        return str(type(self).__dict__.get("_type", type(self).__name__))

    def _shown(self) -> dict[str, Any]:
        return {"items": [name for name in self._names if name]}

    def _shown_items(self) -> list[Function]:
        return [unbound(function) for function in self._functions]


def _spread(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return args[0] if len(args) == 1 and type(args[0]) is package else args


def _flows_in(flow: Flow, seen: set[int] | None = None) -> Iterator[Flow]:
    """`flow` and the flows in it, each once."""
    seen = set() if seen is None else seen
    if id(flow) in seen:
        return
    seen.add(id(flow))
    yield flow
    for child in map(unbound, flow._children()):
        if is_flow(child):
            yield from _flows_in(child, seen)
