"""What a person sees while a step takes long: a line that lives, on a terminal only."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

PATIENCE = 1.0  # seconds before anything is shown


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show `what` with the time that it takes, once it takes longer than a second."""
    if not sys.stderr.isatty() or threading.current_thread() is not threading.main_thread():
        yield
        return
    shown: list[Any] = [nullcontext()]
    timer = threading.Timer(PATIENCE, lambda: shown.insert(0, _show(what)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        shown[0].__exit__(None, None, None)


def _show(what: str) -> Any:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    live = Progress(*columns, console=Console(stderr=True), transient=True)
    live.add_task(what)
    return live.__enter__()
