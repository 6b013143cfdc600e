"""What the pages type can be typed: their links, commands, options; the defaults that they tell are those."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

from modcore.cli import COMMANDS, Parser
from pages import PAGES, ROOT, commands, first_cells, name_of, section

COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text()
FRONT_DOOR = (ROOT / "docs" / "front-door.md").read_text()
ENGINE_OPTIONS = section(COMMAND_LINE, "### Options of the engine")
IMAGE_OPTIONS = section((ROOT / "docs" / "vision.md").read_text(), "## What is read")
every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
every_command = pytest.mark.parametrize("command", COMMANDS)


def parser_of(command: str) -> Parser:
    parser = Parser(prog=f"modcore {command}")
    module = importlib.import_module(f"modcore.cli.{command.replace('-', '_')}")
    module.COMMAND.add_arguments(parser)
    return parser


def options_of(command: str) -> list[argparse.Action]:
    return [action for action in parser_of(command)._actions if action.dest != "help"]


def section_of(command: str) -> str:
    """What the manual says of a command, with the tables that its section leads to."""
    own = section(COMMAND_LINE, f"## `modcore {command}")
    own = own.replace(ENGINE_OPTIONS, "")
    if "(#options-of-the-engine)" in own:
        own += ENGINE_OPTIONS + IMAGE_OPTIONS
    return own + (FRONT_DOOR if command == "gateway" else "")


def named_options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])-(?:-[a-z][a-z-]*|[a-z])(?![\w-])", text))


@every_page
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link


def anchors_of(page: Path) -> list[str]:
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]


@every_page
def test_sessions_of_nox_that_a_page_names_are_there(page: Path) -> None:
    there = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M)
    assert set(re.findall(r"nox -s (\w+)", page.read_text())) <= set(there)


@every_page
def test_commands_of_a_page_are_taken(page: Path) -> None:
    for command, *words in commands(page):
        parser_of(command).parse_args(words)


@every_page
def test_options_that_a_page_names_with_a_command_are_that_commands(page: Path) -> None:
    for command, words in re.findall(r"`[^`\n]*?modcore ([a-z-]+)( [^`\n]*)?`", page.read_text()):
        if command in COMMANDS:
            there = {name for action in options_of(command) for name in action.option_strings}
            assert named_options(words) <= there, words


@every_command
def test_options_of_a_command_are_those_of_its_section(command: str) -> None:
    text = section_of(command)
    told = {name for cell in first_cells(text) for name in named_options(cell)}
    told |= named_options(text.partition("\n")[0])
    for action in options_of(command):
        assert not action.option_strings or told & set(action.option_strings), action.dest
        told -= set(action.option_strings)
    assert not told


@every_command
def test_defaults_of_a_command_are_those_of_its_section_and_its_help(command: str) -> None:
    rows = [row for row in section_of(command).splitlines() if row.startswith("| `-")]
    for action in options_of(command):
        if default := shown_default(action):
            told = [row for row in rows if f"`{action.option_strings[-1]} " in row]
            for text in (*told, action.help or ""):
                assert re.search(rf"\b{re.escape(default)}\b", text), (default, text)


def shown_default(action: argparse.Action) -> str:
    """The number or word that an option with a value takes when it is not given, or nothing."""
    if action.nargs == 0 or action.default == argparse.SUPPRESS:
        return ""
    if isinstance(action.default, float):
        return f"{action.default:g}"
    return str(action.default) if isinstance(action.default, int | str) else ""
