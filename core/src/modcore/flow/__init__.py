"""Flows: callables put together, which are callables again.

What each kind does is in the module that has its name (`pipeline`, `loop`, `graph`; `parallel` has
diverter and warp, `switch` has ifs, `binding` has bind). Nothing here knows a Module: one is a
callable with an ``acall`` like any other.
"""

from modcore.flow.barrier import barrier
from modcore.flow.base import Flow
from modcore.flow.binding import bind
from modcore.flow.errors import (
    BarrierBroken,
    FlowError,
    InvalidFlow,
    NoMatch,
    NotCallable,
    NotRunning,
)
from modcore.flow.graph import graph
from modcore.flow.loop import loop
from modcore.flow.parallel import diverter, parallel, warp
from modcore.flow.pipeline import pipeline
from modcore.flow.references import _0, _1, _2, _3, _4, _5, _6, _7, _8, _9
from modcore.flow.switch import ifs, switch
from modcore.flow.tree import make_repr
from modcore.flow.values import package

__all__ = [
    "BarrierBroken",
    "Flow",
    "FlowError",
    "InvalidFlow",
    "NoMatch",
    "NotCallable",
    "NotRunning",
    "_0",
    "_1",
    "_2",
    "_3",
    "_4",
    "_5",
    "_6",
    "_7",
    "_8",
    "_9",
    "barrier",
    "bind",
    "diverter",
    "graph",
    "ifs",
    "loop",
    "make_repr",
    "package",
    "parallel",
    "pipeline",
    "switch",
    "warp",
]
