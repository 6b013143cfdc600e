"""When to write a checkpoint: so often that breaking off costs at most a minute."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

AT_MOST = 60.0  # seconds of work that may be lost


class SaveEveryMinute(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Asks for a checkpoint when another step might make the work since the last one too much to lose.

    What is lost in the worst case: the work since the last checkpoint, a step, and the writing of the
    next one. Where writing takes long, at least as much time is spent on training.
    """

    def __init__(self) -> None:
        self._saved = self._step_began = time.monotonic()
        self._saving = 0.0  # seconds that the last checkpoint took
        self._asked: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The clock starts."""
        self._saved = self._step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Ask, when it is time."""
        now = time.monotonic()
        step, self._step_began = now - self._step_began, now
        if now - self._saved >= max(self._saving, AT_MOST - self._saving - step):
            control.should_save = True
            self._asked = now
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is written, at whoever's wish."""
        now = time.monotonic()
        if self._asked is not None:
            self._saving = now - self._asked
        self._asked = None
        self._saved = self._step_began = now
