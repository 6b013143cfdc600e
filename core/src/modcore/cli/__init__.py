"""The command line: one small file for each command, loaded when the command is typed.

Exit codes: 0 done, 1 it could not be done, 2 an option is wrong, 130 interrupted. Tracebacks are
shown with ``modcore --debug COMMAND`` only.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from modcore._version import VERSION
from modcore.errors import InvalidRequest, ModcoreError

if TYPE_CHECKING:
    from modcore.plugins.commands import Command

#: The core's commands and their summaries; each is ``COMMAND`` in ``modcore/cli/<name>.py``.
COMMANDS = {
    "bench": "Measure throughput and latencies of a checkpoint or a server.",
    "demo": "Train, serve, ask and score a small Llama, all on this machine.",
    "deploy": "Deploy a module, a flow or a callable as a service.",
    "explain": "Say which plugin serves a checkpoint, and why.",
    "gateway": "One HTTP address in front of every registered service.",
    "generate": "Complete one prompt with a checkpoint.",
    "list-plugins": "List what is installed, without importing it.",
    "logs": "Show what a service has printed.",
    "ps": "List the services that run.",
    "serve": "Serve a checkpoint over HTTP, with the OpenAI API.",
    "stop": "End a service.",
}


class Parser(argparse.ArgumentParser):
    """argparse, with Rich help that is loaded when help is asked for."""

    def __init__(self, **options: object) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)  # type: ignore[arg-type]
        self.words: Sequence[str] = ()  # what is parsed, for the suggestion when that fails

    def format_help(self) -> str:
        """The help, coloured where the terminal is."""
        from rich_argparse import RawDescriptionRichHelpFormatter

        self.formatter_class = RawDescriptionRichHelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the words, and end with exit code 2."""
        self.exit(2, f"error: {message}{self._suggestion()}\nSee: {self.prog} --help\n")

    def _suggestion(self) -> str:
        if "--debug" in self.words:
            return "; --debug goes before the command"
        for word in self.words:
            option = word.partition("=")[0]
            if option.startswith("--") and option not in self._option_string_actions:
                import difflib

                close = difflib.get_close_matches(option, self._option_string_actions, 1)
                return f"; did you mean {close[0]} by {option}?" if close else ""
        return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the process's); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rather that than a crash on a letter
    debug = "--debug" in words[:1]
    try:
        code = _exit_code(words[1:] if debug else words, debug)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has gone: end quietly, and keep the interpreter from flushing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _exit_code(words: list[str], debug: bool) -> int:
    try:
        return _run(words)
    except SystemExit as stop:
        return _exit_code_of(stop)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            raise
        if debug:
            import traceback

            traceback.print_exception(error)
        print(_sentence(error), file=sys.stderr)
        return error.exit_code if isinstance(error, ModcoreError) else 1


def _reader_has_gone() -> bool:
    """Whether the broken pipe is our own output's, which nobody reads any more."""
    import select

    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _exit_code_of(stop: SystemExit) -> int:
    """The exit code that ``sys.exit`` asks for, with its message printed if it has one."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _sentence(error: Exception) -> str:
    if isinstance(error, InvalidRequest) and error.param:
        return f"error: --{error.param.replace('_', '-')}: {error}"
    if isinstance(error, ModcoreError):
        return f"error: {error}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"error: the output cannot be written: {error.strerror}."
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return (
        f"internal error: {type(error).__name__}: {error}{notes}\n"
        "This is a fault of modcore or of a plugin; `modcore --debug COMMAND ...` shows where."
    )


def _run(words: list[str]) -> int:
    if "MODCORE_PARENT_PIPE" in os.environ:  # a launcher has started this process
        from modcore.deploy.parent import end_with_parent

        end_with_parent()
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview().format_help(), end="")
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"modcore {VERSION}")
        return 0
    if words[0].startswith("-"):
        overview = _overview()
        overview.words = words[:1]
        overview.error(f"unknown option {words[0]}")
    command = _find(words[0])
    parser = Parser(prog=f"modcore {command.name}", description=command.summary)
    command.add_arguments(parser)
    parser.words = words[1:]
    return command.run(parser.parse_args(parser.words))


def _overview() -> Parser:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = Parser(
        prog="modcore",
        usage="modcore [--debug] COMMAND [OPTIONS]",
        description=f"Turn a model checkpoint into a served model, with plugins.\n\nCommands:\n{lines}",
        epilog="`modcore COMMAND --help` explains a command.\nInstalled plugins may add commands of their own.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks (before COMMAND)")
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    return parser


#: Commands that our own processes start; people do not see them.
_INTERNAL = frozenset({"serve-module", "supervise"})


def _find(name: str) -> Command:
    if name in COMMANDS or name in _INTERNAL:
        module = importlib.import_module(f"modcore.cli.{name.replace('-', '_')}")
        found: Command = module.COMMAND
        return found
    from modcore.plugins.commands import CommandTable
    from modcore.plugins.manager import plugin_manager

    table = CommandTable(_INTERNAL.union(COMMANDS))
    plugin_manager().register_commands(table)
    command = table.get(name)
    if command is None:
        _refuse(name, [*COMMANDS, *table])
    return command


def _refuse(name: str, names: list[str]) -> NoReturn:
    import difflib

    close = difflib.get_close_matches(name, names, 1)
    _overview().error(
        f"unknown command {name!r}"
        + (f"; did you mean {close[0]!r}?" if close else f"; commands: {', '.join(names)}")
    )
