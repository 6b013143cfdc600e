"""What happened to a module last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: A step of the lifecycle, in the order in which `update` takes them.
Step = Literal["train", "deploy", "eval"]

STEPS: tuple[Step, ...] = ("train", "deploy", "eval")

#: ``never``: not tried since the module was made. ``none``: tried, and there was nothing to do.
#: ``restarting``: done, and what was deployed has died since and comes up again.
Outcome = (
    Literal["never", "none", "running", "done", "restarting", "failed", "interrupted"]
    | Literal["stopped", "skipped"]
)


@dataclass(slots=True)
class ModuleState:
    """The outcome of each step, and the error of the last one that failed."""

    train: Outcome = "never"
    deploy: Outcome = "never"
    eval: Outcome = "never"
    error: BaseException | None = None

    def record(self, step: Step, outcome: Outcome, error: BaseException | None = None) -> None:
        """Note what became of `step`."""
        setattr(self, step, outcome)
        self.error = error
