"""Modules: things that can be trained, deployed, called and evaluated, and that hold each other.

`base` is the class to inherit from; `lifecycle` walks a tree of modules; `evaluation` scores. Needs no
torch; knows nothing of engines or HTTP.
"""

from modcore.flow.tree import make_repr
from modcore.module.action import ActionModule
from modcore.module.base import ModuleBase
from modcore.module.evaluation import METRICS, EvalReport
from modcore.module.register import module_register
from modcore.module.server import ServerModule
from modcore.module.state import ModuleState
from modcore.module.url import UrlModule
from modcore.wire.errors import RemoteError

__all__ = [
    "METRICS",
    "ActionModule",
    "EvalReport",
    "ModuleBase",
    "ModuleState",
    "RemoteError",
    "ServerModule",
    "UrlModule",
    "make_repr",
    "module_register",
]
