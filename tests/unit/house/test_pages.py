"""What the pages name is there: links, commands and their options, variables, metrics, Python names."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateways import KEY
from modcore.cli import COMMANDS, Parser
from modcore.engine.multimodal import MediaStats
from modcore.engine.stats import EngineStats
from modcore.gateway.directory import Directory
from modcore.gateway.memory import MemoryGateway
from modcore.plugins import GROUPS
from modcore.serve import metrics as server
from modcore.serve.front_door import metrics as front_door
from modcore.serve.front_door.load import Load
from modcore.serve.service.metrics import expose
from modcore.serve.service.state import ServiceState
from pages import PAGES, ROOT, commands, first_cells, name_of, section

COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text()
FRONT_DOOR = (ROOT / "docs" / "front-door.md").read_text()
ENGINE_OPTIONS = section(COMMAND_LINE, "### Options of the engine")
IMAGE_OPTIONS = section((ROOT / "docs" / "vision.md").read_text(), "## What is read")
#: What our own processes tell each other.
PRIVATE = {f"MODCORE_{name}" for name in ("INSTANCE", "LOG_FILE", "PARENT_PIPE", "PAYLOAD_PIPE")}
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


def variables_in(*places: Path) -> set[str]:
    files = [file for place in places for file in place.rglob("*.py")]
    return {name for file in files for name in re.findall(r"MODCORE_[A-Z_]+", file.read_text())}


def test_every_variable_of_the_core_is_in_the_table() -> None:
    table = first_cells(section(COMMAND_LINE, "## The environment"))
    told = {name for cell in table for name in re.findall(r"MODCORE_[A-Z_]+", cell)}
    assert told == variables_in(ROOT / "core" / "src") - PRIVATE


@pytest.mark.parametrize("plugin", sorted(ROOT.glob("plugins/*")), ids=lambda path: path.name)
def test_every_variable_of_a_plugin_is_on_its_page(plugin: Path) -> None:
    own = variables_in(plugin / "src") - variables_in(ROOT / "core" / "src")
    assert own <= set(re.findall(r"MODCORE_[A-Z_]+", (plugin / "README.md").read_text()))


@every_page
def test_variables_of_a_page_are_read(page: Path) -> None:
    read = variables_in(ROOT / "core" / "src", *ROOT.glob("plugins/*/src"))
    assert set(re.findall(r"MODCORE_[A-Z_]+", page.read_text())) <= read


def metrics_in(exposed: bytes) -> set[str]:
    """The names of what Prometheus reads, without what prometheus_client adds."""
    names = re.findall(r"^# TYPE (\S+)", exposed.decode(), re.M)
    return {name for name in names if not name.endswith("_created")}


def test_metrics_of_a_server_are_those_of_the_table() -> None:
    stats = EngineStats(0, 0, 1, 0, 0, 0, 0, 0, 0, 0, MediaStats(0, 0, 0, 0.0, 0, 0))
    exposed, _ = server.Metrics("model", lambda: stats).expose("")
    told = re.findall(r"`(\w+)`", "".join(first_cells(section(COMMAND_LINE, "### `/metrics`"))))
    assert {f"modcore:{name}" for name in told} == metrics_in(exposed)


@pytest.fixture
def directory() -> Iterator[Directory]:
    directory = Directory(MemoryGateway(), KEY)
    yield directory
    directory.close()


def test_metrics_of_the_front_door_are_those_of_the_table(directory: Directory) -> None:
    exposed, _ = front_door.Metrics(directory, Load(1)).expose("")
    table = first_cells(section(FRONT_DOOR, "## Metrics"))
    assert set(re.findall(r"`(modcore_\w+)", "".join(table))) == metrics_in(exposed)


def test_metrics_of_a_service_are_those_of_its_page() -> None:
    exposed, _ = expose(ServiceState(), "service", "")
    page = (ROOT / "docs" / "services.md").read_text()
    assert set(re.findall(r"`(modcore:\w+)`", page)) == metrics_in(exposed)


@every_page
def test_python_names_of_a_page_are_there(page: Path) -> None:
    for name in set(re.findall(r"`(modcore(?:\.\w+)+)[`(]", page.read_text())) - set(GROUPS):
        assert resolves(name), name


def resolves(name: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    found = importlib.import_module("modcore")
    for part in name.split(".")[1:]:
        if not hasattr(found, part):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except ModuleNotFoundError:
                return False
        found = getattr(found, part)
    return True


def test_files_that_the_map_walks_through_are_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    tree = [str(file.relative_to(ROOT)) for file in ROOT.glob("*/**/src/**/*.py")]
    for path, names in re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", text):
        files = [ROOT / file for file in tree if file.endswith(f"/{path}")]
        assert files, path
        name = names.rpartition(".")[2]
        assert any(re.search(rf"\b{name}\b", file.read_text()) for file in files), (path, name)
