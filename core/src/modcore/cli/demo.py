"""``modcore demo``: a small Llama from a text to a served answer, on this machine alone."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modcore.checkpoint import read_config
from modcore.errors import InvalidRequest, MissingExtra, ModelNotServed
from modcore.plugins import ServiceSpec, plugin_manager
from modcore.plugins.commands import Command
from modcore.plugins.matching import explain

if TYPE_CHECKING:
    from modcore.demo.training import Progress

PROMPT = "Tyger Tyger, burning bright,\n"
ANSWER_TOKENS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="keep the checkpoint in this new directory (default: it is removed)",
    )


def run(args: argparse.Namespace) -> int:
    """Train, explain, serve, ask, score, stop."""
    _verify_installed()
    # Ended from outside, it still stops its server and removes its directory.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with _directory(args.output) as directory:
        _train(directory)
        _show_plugins()
        _show_match(directory)
        _serve_and_ask(directory)
        if args.output:
            print(f"checkpoint: {directory} (try: modcore serve {directory})")
    return 0


def _verify_installed() -> None:
    """Learn what is missing before the training, not after it."""
    explanation = explain({"architectures": ["LlamaForCausalLM"]}, plugin_manager())
    if explanation.chosen is None:
        raise ModelNotServed(f"The demo trains a Llama. {explanation.hint}")
    for name, extra in (
        ("torch", "engine"),
        ("transformers", "engine"),
        ("fastapi", "serve"),
        ("uvicorn", "serve"),
    ):
        if not _is_installed(name):
            raise MissingExtra(
                f"The demo needs {name}, which is not installed; try: pip install 'modcore[{extra}]'"
            )


def _is_installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


@contextmanager
def _directory(output: str | None) -> Iterator[Path]:
    if output is None:
        with tempfile.TemporaryDirectory(prefix="modcore-demo-") as temporary:
            yield Path(temporary) / "small-llama"
        return
    directory = Path(output).expanduser()
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise InvalidRequest(f"{directory} exists; name a new directory.", param="output") from None
    except OSError as error:
        raise InvalidRequest(
            f"{directory} cannot be made: {error.strerror}.", param="output"
        ) from error
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _train(directory: Path) -> None:
    print(
        "train: a small Llama learns three poems by heart (Blake, Carroll, Shakespeare)", flush=True
    )
    # Its progress bars and notes would stand between ours.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from modcore.demo import poems
    from modcore.demo.training import train

    with _progress() as progress:
        training = train(poems(), directory, progress)
    print(
        f"trained: {training.parameters / 1e6:.1f} million parameters, {training.steps} steps, "
        f"loss {training.loss:.2f}, {training.seconds:.0f} s"
    )
    files = ", ".join(sorted(file.name for file in directory.iterdir()))
    print(f"saved: {directory.name}/ ({files})", flush=True)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on a terminal, a line every few seconds elsewhere."""
    if sys.stdout.isatty():
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("  {task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            yield lambda step, loss, done: bar.update(
                task, completed=done, description=f"step {step}, loss {loss:.2f}"
            )
        return
    next_line = time.monotonic() + 2

    def print_line(step: int, loss: float, done: float) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + 5
            print(f"  step {step}, loss {loss:.2f} ({done:.0%})", flush=True)

    yield print_line


def _show_plugins() -> None:
    entries = plugin_manager().entries
    print("plugins:", ", ".join(sorted({e.provenance for e in entries if e.dist != "modcore"})))


def _show_match(directory: Path) -> None:
    chosen = explain(read_config(directory), plugin_manager()).chosen
    assert chosen is not None
    print(f"match: {chosen.id} from {chosen.dist} {chosen.version} ({chosen.reason})", flush=True)


def _serve_and_ask(directory: Path) -> None:
    print("serve: starting a server in a process of its own", flush=True)
    spec = ServiceSpec(name="demo", command=("serve", str(directory), "--port", "0"))
    service = plugin_manager().deploy(spec)
    try:
        print(f"url: {service.url}")
        _ask(service.url)
        _score(service.url)
    finally:
        exit_code = service.stop()
        plugin_manager().service_stopped(spec, exit_code)
    print(f"stopped: the server ended with exit code {exit_code}")


def _ask(url: str) -> None:
    from modcore.demo.client import stream

    print(f"prompt: {PROMPT.strip()}")
    print("answer: ", end="", flush=True)
    for text in stream(url, PROMPT, ANSWER_TOKENS):
        print(text.replace("\n", "\n        "), end="", flush=True)
    print(" ...", flush=True)


def _score(url: str) -> None:
    from modcore.demo import questions
    from modcore.demo.client import complete

    asked = questions()
    answers = complete(url, [prompt for prompt, _ in asked], max_tokens=40)
    right = sum(answer == expected for answer, (_, expected) in zip(answers, asked, strict=True))
    print(
        f"score: {right} of {len(asked)} lines continued word for word ({right / len(asked):.0%})",
        flush=True,
    )


COMMAND = Command(
    "demo", "Train, serve, ask and score a small Llama, all on this machine.", add_arguments, run
)
