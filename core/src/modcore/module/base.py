"""ModuleBase: the class to inherit from (seeds: *Top-Level Core Concept: Module*).

A subclass implements any of `forward`, `_get_train_tasks` and `_get_deploy_tasks`. A call costs a
few attribute look-ups; hooks, a cache or a stream sink are paid for where they are used.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import CoroutineType
from typing import Any, ClassVar, Self

from modcore.flow.batch import run_beside
from modcore.flow.calls import run
from modcore.flow.tree import drawn_once, make_repr
from modcore.module import lifecycle
from modcore.module.caching import Cache
from modcore.module.evaluation import EvalReport, EvalSet
from modcore.module.extras import CallExtras
from modcore.module.state import STEPS, ModuleState, Step
from modcore.module.streams import StreamSink, shown_to
from modcore.module.submodules import children_first, modules_in


class ModuleBase:
    """A module: trained, deployed, called, evaluated.

    `name` is shown in trees and paths. `return_trace` is kept for subclasses that ask for it.
    """

    #: Whether its training shows progress of its own, with which ours would collide.
    shows_progress: ClassVar[bool] = False
    #: Whether it deploys what it holds in another process, so that this one does not.
    deploys_elsewhere: ClassVar[bool] = False
    #: How the type is called in a tree, when not by the class's name.
    repr_type: ClassVar[str | None] = None

    # Defaults on the class: a subclass that does not call our constructor is a module all the same.
    name: str | None = None
    return_trace: bool = False
    eval_result: list[Any] | None = None
    eval_report: EvalReport | None = None
    _extras: CallExtras | None = None
    _evalset: EvalSet | None = None
    _skipped: frozenset[Step] = frozenset()

    def __init__(self, *, name: str | None = None, return_trace: bool = False) -> None:
        self.name = name
        self.return_trace = return_trace

    # What a subclass implements

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call does; may be a coroutine function or return a generator."""
        raise TypeError(
            f"{type(self).__name__} cannot be called: it has no forward(); implement it."
        )

    def _get_train_tasks(self) -> Callable[[], Any] | None:
        """What training does: a flow or callable without arguments, or None."""
        return None

    def _get_deploy_tasks(self) -> Callable[[], Any] | None:
        """What deploying does: a flow or callable without arguments, or None."""
        return None

    def _address(self, path: str) -> tuple[str, str] | None:
        """The gateway and the name under which others find this module while it is deployed, if they do.

        Asked before anything is deployed; `path` is its way from the root, for a name of its own.
        """
        return None

    def setup(self) -> None:
        """Load what is heavy: called once in the process that serves the module, before it is ready."""

    def stop(self) -> None:
        """Take down what is deployed here and below; harmless when nothing is.

        A subclass that starts something stops it here, and then calls this. What cannot be stopped holds
        up nothing else; its error is raised at the end.
        """
        if self.state.deploy == "done":
            self.state.deploy = "stopped"
        lifecycle.stop_below(self)

    def wait(self) -> None:
        """Wait until what is deployed here and below has ended by itself."""
        lifecycle.wait_below(self)

    # Calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`; hooks, cache and stream sink take part if there are any.

        A coroutine is run to its end, as in flows: to await it instead, use `acall`.
        """
        if self._extras is None:
            result = self.forward(*args, **kwargs)
            return run(result) if type(result) is CoroutineType else result
        return self._extras.call(self, args, kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """As a call, for asyncio: a `forward` that blocks runs in a thread, which a cancelled call interrupts."""
        if inspect.iscoroutinefunction(self.forward):
            if self._extras is None:
                return await self.forward(*args, **kwargs)
            return await self._extras.acall(self, args, kwargs)
        result = await run_beside(lambda: self._called(args, kwargs))
        return await result if inspect.isawaitable(result) else result

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return self(*args, **kwargs)
        except StopIteration as error:  # which no future can carry
            raise RuntimeError(f"{type(self).__name__} raised StopIteration") from error

    def register_hook(
        self,
        *,
        before: Callable[..., None] | None = None,
        after: Callable[..., None] | None = None,
        on_error: Callable[..., None] | None = None,
    ) -> Callable[[], None]:
        """Call `before(module, args, kwargs)`, `after(module, result)`, `on_error(module, error)`.

        A call that returns a generator is over when that is: `after` then gets the list of its pieces,
        and `on_error` what it raised, GeneratorExit where the caller has stopped early. Returns a
        function that takes the hooks out again. A hook that raises ends the call.
        """
        return self._own_extras().add(before, after, on_error)

    def use_cache(self, use: bool = True, *, size: int = 1024) -> Self:
        """Keep the last `size` results by arguments; with False, forget them. Returns the module."""
        self._own_extras().cache = Cache(size) if use else None
        return self

    def stream_output(
        self, sink: Callable[[Any], None] = print, *, prefix: Any = None, suffix: Any = None
    ) -> AbstractContextManager[None]:
        """Inside the ``with`` block, `sink` gets each piece of a generator that a call returns.

        `prefix` and `suffix`, if given, go to the sink before the first and after the last piece. Calls
        in other threads and tasks are not shown, but for those that the block itself begins.
        """
        if not callable(sink):
            raise TypeError(f"sink is {sink!r}; it has to be a function.")
        self._own_extras()
        return shown_to(StreamSink(sink, prefix, suffix), self)

    def _own_extras(self) -> CallExtras:
        if self._extras is None:
            self._extras = CallExtras()
        return self._extras

    # Submodules

    def named_submodules(self) -> list[tuple[str, ModuleBase]]:
        """The modules that this one holds, each once, with the way to it."""
        return list(modules_in(vars(self)))

    @property
    def submodules(self) -> list[ModuleBase]:
        """The modules that this one holds, as they are now."""
        return [module for _, module in self.named_submodules()]

    def for_each(
        self, filter: Callable[[ModuleBase], bool], action: Callable[[ModuleBase], Any]
    ) -> None:
        """Call `action` for each module of the tree that `filter` accepts, children first."""
        for _, module in children_first(self):
            if filter(module):
                action(module)

    # The lifecycle

    @property
    def state(self) -> ModuleState:
        """What happened last."""
        state: ModuleState = vars(self).setdefault("_state", ModuleState())
        return state

    def skip(self, *steps: Step) -> Self:
        """Leave these steps (``train``, ``deploy``, ``eval``) out from now on; returns the module.

        Calls add up: ``skip("train")`` and then ``skip("eval")`` leaves both out. ``skip()`` takes all
        of it back.
        """
        unknown = [step for step in steps if step not in STEPS]
        if unknown:
            raise ValueError(f"there is no step {unknown[0]!r}; the steps are {', '.join(STEPS)}.")
        self._skipped = self._skipped.union(steps) if steps else frozenset()
        return self

    def update(
        self, recursive: bool = True, *, timeout: float | None = None, train_jobs: int = 1
    ) -> Self:
        """Train all modules of the tree, then deploy all, then evaluate all; children first.

        `recursive=False` leaves the submodules alone; `timeout` is in seconds, for the whole call;
        `train_jobs` of them that do not hold each other are trained together. A failure keeps its
        type and gets a note with the module's path; what this call had deployed is stopped, and the
        next call begins anew. Raises ModuleCycle when a module holds itself, and TimeoutError.
        """
        lifecycle.run(self, STEPS, recursive=recursive, timeout=timeout, train_jobs=train_jobs)
        return self

    def start(self, recursive: bool = True, *, timeout: float | None = None) -> Self:
        """Deploy all modules of the tree, children first; failures are as in `update`."""
        lifecycle.run(self, ("deploy",), recursive=recursive, timeout=timeout)
        return self

    def restart(self, recursive: bool = True, *, timeout: float | None = None) -> Self:
        """Stop, then start."""
        self.stop()
        return self.start(recursive, timeout=timeout)

    def eval(self, recursive: bool = True, *, timeout: float | None = None) -> Self:
        """Evaluate all modules of the tree that have an evaluation set."""
        lifecycle.run(self, ("eval",), recursive=recursive, timeout=timeout)
        return self

    async def aupdate(self, recursive: bool = True, **options: Any) -> Self:
        """`update`, for asyncio; when it is cancelled, what runs is interrupted, and all is undone.

        A task that blocks outside of Python code cannot be interrupted, here or by `timeout`: it is left
        behind in its thread, where it ends as soon as it comes back to Python.
        """
        return await self._arun(STEPS, recursive, options)

    async def astart(self, recursive: bool = True, **options: Any) -> Self:
        """`start`, for asyncio; ends like `aupdate`."""
        return await self._arun(("deploy",), recursive, options)

    async def astop(self) -> None:
        """`stop`, for asyncio."""
        await asyncio.to_thread(self.stop)

    async def aeval(self, recursive: bool = True, **options: Any) -> Self:
        """`eval`, for asyncio; ends like `aupdate`."""
        return await self._arun(("eval",), recursive, options)

    async def _arun(self, steps: Sequence[Step], recursive: bool, options: dict[str, Any]) -> Self:
        cancelled = threading.Event()

        def run() -> BaseException | None:
            try:
                lifecycle.run(self, steps, recursive=recursive, cancelled=cancelled, **options)
            except BaseException as error:
                return error  # asyncio would raise a copy of a TimeoutError, without its notes
            return None

        work = asyncio.ensure_future(asyncio.to_thread(run))
        try:
            failure = await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait({work})  # until all is undone
            raise
        if failure is not None:
            raise failure
        return self

    # Evaluation

    def evalset(
        self,
        rows: Sequence[Any] | str,
        load_f: Callable[[str], Sequence[Any]] | None = None,
        *,
        metrics: Sequence[str] = (),
    ) -> None:
        """Set the evaluation set: rows, or the path of a ``.json``, ``.jsonl`` or text file.

        `load_f` reads the file in another way. A row is what `forward` takes; a dict is its keyword
        arguments, or ``{"input": ...}``, and may carry the ``"expected"`` answer. `metrics` are names
        in the registry METRICS. Raises FileNotFoundError for a path that leads nowhere, ValueError
        for a metric that needs expected answers when a row has none.
        """
        self._evalset = EvalSet(rows, load_f, metrics)

    def _evaluate(self) -> None:
        """Run the evaluation set through this module, in order."""
        if self._evalset is not None:
            self.eval_result = self._evalset.answers(self)
            self.eval_report = self._evalset.report(self, self.eval_result)

    def __getstate__(self) -> dict[str, Any]:
        # What happened here is not what happened there.
        # And a copy first: it may be on its way to several processes while one of them comes up.
        return {name: value for name, value in vars(self).copy().items() if name != "_state"}

    # Showing

    @drawn_once
    def __repr__(self) -> str:
        return make_repr(
            "Module",
            self.repr_type or type(self),
            name=self.name,
            subs=[repr(module) for module in self.submodules],
        )
