"""graph: named items, and edges that say whose output goes to whom."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modcore.flow.base import Flow
from modcore.flow.branches import in_tasks
from modcore.flow.calls import Call, Function, needs_loop, prefers_loop, run
from modcore.flow.errors import InvalidFlow
from modcore.flow.mermaid import Drawing, Ends
from modcore.flow.tree import label
from modcore.flow.values import arguments, one_value

START, END = "__start__", "__end__"


@dataclass(slots=True, frozen=True)
class Edge:
    """From the output of one node to the arguments of another; `formatter` changes it on the way."""

    source: str
    target: str
    formatter: Function | None

    @property
    def part(self) -> str:
        """What the place of an error calls it."""
        return f"edge from {self.source!r} to {self.target!r}"


class graph(Flow):  # noqa: N801 - the seeds' name
    """``graph(a=f, b=g)`` with `add_edge`: every node runs as soon as all that it needs is there.

    Nodes that do not need each other run at the same time, in threads or as tasks. A node gets one
    argument for each edge that leads to it, in the order in which the edges were added (a package
    is several). ``__start__`` is the input, ``__end__`` the result; keyword arguments go to every
    node that an edge from ``__start__`` leads to.
    """

    _type = "Graph"

    def __init__(
        self, *items: Any, post_action: Callable[..., Any] | None = None, **named: Function
    ) -> None:
        self._edges: list[Edge] = []
        self._into: dict[str, list[Edge]] = {}  # by target, in the order in which they were added
        self._out_of: dict[str, list[Edge]] = {}
        self._is_checked = False
        super().__init__(*items, post_action=post_action, **named)

    def add_edge(self, source: Any, target: Any, formatter: Function | None = None) -> None:
        """Send what `source` makes to `target`; nodes are given by name, or one by one in a list."""
        if isinstance(source, (list, tuple)):
            for each in source:
                self.add_edge(each, target, formatter)
            return
        if isinstance(target, (list, tuple)):
            for each in target:
                self.add_edge(source, each, formatter)
            return
        edge = Edge(self._node(source), self._node(target), formatter)
        if formatter is not None:
            self._checked(formatter, f"the formatter of the {edge.part}")
        self._check_edge(edge)
        self._edges.append(edge)
        self._into.setdefault(edge.target, []).append(edge)
        self._out_of.setdefault(edge.source, []).append(edge)
        self._is_checked = False
        self._coroutine_facts = None

    def _node(self, node: Any) -> str:
        if isinstance(node, str):
            if node not in (START, END) and node not in self._numbers:
                raise InvalidFlow(f"no edge: {self._no_item(node)}")
            return node
        for name, function in zip(self._names, self._functions, strict=True):
            if function is node and name:
                return name
        raise InvalidFlow(f"no edge: {node!r} is no node of this graph")

    def _check_edge(self, edge: Edge) -> None:
        if edge.source == END or edge.target == START:
            raise InvalidFlow(f"no {edge.part}: nothing leaves {END} and nothing enters {START}")
        if self._leads(edge.target, edge.source):
            circle = " → ".join([edge.source, *self._way(edge.target, edge.source)])
            raise InvalidFlow(f"no {edge.part}: it would close the cycle {circle}")

    def _leads(self, source: str, target: str) -> bool:
        """Whether there is a way from `source` to `target`, looked for from both ends at once.

        The nearer dead end decides: a graph that is written from its start or its end takes a step a
        node.
        """
        if source == target:
            return True
        ahead, behind = self._reached(source, forward=True), self._reached(target, forward=False)
        for here, there in zip(ahead, behind, strict=False):
            if here == target or there == source:
                return True
        return False

    def _reached(self, start: str, *, forward: bool) -> Iterator[str]:
        """The nodes that edges lead to from `start`, or from which they lead there."""
        edges = self._out_of if forward else self._into
        seen, queue = {start}, deque([start])
        while queue:
            for edge in edges.get(queue.popleft(), ()):
                node = edge.target if forward else edge.source
                if node not in seen:
                    seen.add(node)
                    queue.append(node)
                    yield node

    def _way(self, source: str, target: str) -> list[str]:
        """The nodes on a way from `source` to `target`, both included; there has to be one."""
        came_from: dict[str, str] = {source: ""}
        queue = deque([source])
        while target not in came_from:
            here = queue.popleft()
            for edge in self._out_of.get(here, ()):
                if edge.target not in came_from:
                    came_from[edge.target] = here
                    queue.append(edge.target)
        way = [target]
        while came_from[way[-1]]:
            way.append(came_from[way[-1]])
        return way[::-1]

    def _add(self, name: str | None, item: Any) -> None:
        if name is None:
            raise InvalidFlow(f"the nodes of a graph have names: graph(name={label(item)})")
        super()._add(name, item)
        self._is_checked = False

    def _check(self) -> None:
        """Every node is reached from the start and leads to the end."""
        names = [name for name in self._names if name]
        reached = set(self._reached(START, forward=True))
        if unreached := [name for name in names if name not in reached]:
            raise InvalidFlow(
                f"no way leads from {START} to {_list(unreached)}: add_edge is missing"
            )
        alive = set(self._reached(END, forward=False))
        if dead := [name for name in names if name not in alive]:
            raise InvalidFlow(f"no way leads from {_list(dead)} to {END}: add_edge is missing")
        if END not in self._into:
            raise InvalidFlow(f"no edge leads to {END}: the graph would have no result")
        self._is_checked = True

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return run(self._evaluate(args, kwargs, needs_loop))

    async def _arun(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return await self._evaluate(args, kwargs, prefers_loop)

    async def _evaluate(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], on_loop: Callable[[Any], bool]
    ) -> Any:
        if not self._is_checked:
            self._check()
        return await _Evaluation(self, args, kwargs, on_loop).run()

    def _children(self) -> list[Function]:
        formatters = [edge.formatter for edge in self._edges if edge.formatter is not None]
        return [*self._functions, *formatters]

    def _draw(self, drawing: Drawing, ends: Ends) -> Ends:
        drawn: dict[str, Ends] = {START: ends}
        for name in self._in_order():
            drawn[name] = self._draw_item(drawing, self._numbers[name], self._ends(drawn, name))
        return self._ends(drawn, END)

    def _ends(self, drawn: Mapping[str, Ends], node: str) -> Ends:
        return [
            (end, label(edge.formatter) if edge.formatter else words)
            for edge in self._into.get(node, ())
            for end, words in drawn.get(edge.source, ())
        ]

    def _in_order(self) -> list[str]:
        """The nodes, each after those that it needs; what needs nothing else in the order given."""
        waits = self._waits()
        del waits[END]
        order = [name for name, sources in waits.items() if not sources - {START}]
        for name in order:  # grows while we go
            for edge in self._out_of.get(name, ()):
                sources = waits.get(edge.target, set())
                if name in sources:
                    sources.remove(name)
                    if not sources - {START}:
                        order.append(edge.target)
        return order

    def _waits(self) -> dict[str, set[str]]:
        """What each node, and the end, waits for."""
        names = [*(name for name in self._names if name), END]
        return {name: {edge.source for edge in self._into.get(name, ())} for name in names}


class _Evaluation:
    """One call of a graph: what has been made, what runs, what is still to be begun."""

    def __init__(
        self,
        flow: graph,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        on_loop: Callable[[Any], bool],
    ) -> None:
        self._flow, self._kwargs, self._on_loop = flow, kwargs, on_loop
        self._functions = dict(zip(flow._names, flow._functions, strict=True))
        self._made: dict[str, Any] = {START: one_value(args)}
        self._running: dict[asyncio.Task[Any], str] = {}
        self._ended: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
        self._failures: dict[str, BaseException] = {}
        self._waits = flow._waits()

    async def run(self) -> Any:
        """What arrives at the end; raises what failed when nothing runs any more."""
        try:
            for name in [name for name, sources in self._waits.items() if not sources]:
                self._begin(name)
            self._go_on(START)
            while self._running:
                task = await self._ended.get()
                self._take(self._running.pop(task), task)
        except BaseException:  # this call is cancelled, or a node was: so are all
            self._cancel(lambda _: True)
            while self._running:
                with contextlib.suppress(asyncio.CancelledError):
                    self._running.pop(await self._ended.get())
            raise
        if self._failures:
            raise self._error()
        return one_value(await self._arguments(END))

    def _go_on(self, made: str) -> None:
        """Begin every node that waited for what `made` has made, and for nothing else any more."""
        for edge in self._flow._out_of.get(made, ()):
            sources = self._waits[edge.target]
            if made in sources:
                sources.remove(made)
                if not sources:
                    self._begin(edge.target)

    def _begin(self, name: str) -> None:
        if name != END:
            task = asyncio.ensure_future(self._node(name))
            self._running[task] = name
            task.add_done_callback(self._ended.put_nowait)

    def _take(self, name: str, task: asyncio.Task[Any]) -> None:
        if task.cancelled() and self._failures:
            return
        try:
            self._made[name] = task.result()
        except Exception as error:
            self._failures[name] = error
            # A thread cannot be cancelled: those nodes are waited for.
            self._cancel(lambda node: self._on_loop(self._functions[node]))
        if not self._failures:
            self._go_on(name)

    def _cancel(self, chosen: Callable[[str], bool]) -> None:
        for task, name in self._running.items():
            if chosen(name):
                task.cancel()

    async def _node(self, name: str) -> Any:
        into = self._flow._into.get(name, [])
        kwargs = self._kwargs if any(edge.source == START for edge in into) else {}
        call = Call(self._functions[name], await self._arguments(name), f"node {name!r}", kwargs)
        [result] = await in_tasks(self._flow._kind, [call], self._on_loop, meet=False)
        return result

    async def _arguments(self, node: str) -> tuple[Any, ...]:
        """What the edges bring to `node`."""
        found: list[Any] = []
        for edge in self._flow._into.get(node, ()):
            value = self._made[edge.source]
            if edge.formatter is not None:
                value = await self._formatted(edge, edge.formatter, value)
            found.extend(arguments(value))
        return tuple(found)

    async def _formatted(self, edge: Edge, formatter: Function, value: Any) -> Any:
        call = Call(formatter, arguments(value), edge.part)
        try:
            return await call.arun()
        except Exception as error:
            call.failed(error, self._flow._kind)
            raise

    def _error(self) -> BaseException:
        errors = [error for error in self._failures.values() if isinstance(error, Exception)]
        if len(errors) == 1:
            return errors[0]
        return ExceptionGroup(f"{len(errors)} nodes of {self._flow._kind} failed", errors)


def _list(names: list[str]) -> str:
    return ", ".join(map(repr, names))
