"""What the tables of the pages list is what there is: variables, metrics, fields, packages, Python names."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateways import KEY
from modcore import SamplingParams, ServerModule
from modcore.engine.multimodal import MediaStats
from modcore.engine.stats import EngineStats
from modcore.gateway.directory import Directory
from modcore.gateway.memory import MemoryGateway
from modcore.plugins import GROUPS
from modcore.serve import metrics as server
from modcore.serve.conversation import ChatBody
from modcore.serve.front_door import metrics as front_door
from modcore.serve.front_door.load import Load
from modcore.serve.protocol import CompletionBody
from modcore.serve.service.metrics import expose
from modcore.serve.service.state import ServiceState
from modcore.vision.options import VisionOptions
from pages import PAGES, ROOT, first_cells, name_of, section

COMMAND_LINE = (ROOT / "docs" / "command-line.md").read_text()
CORE = ROOT / "core" / "src"
PLUGINS = sorted(ROOT.glob("plugins/*"))
#: What our own processes tell each other.
PRIVATE = {f"MODCORE_{name}" for name in ("INSTANCE", "LOG_FILE", "PARENT_PIPE", "PAYLOAD_PIPE")}
every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
every_plugin = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)


def variables_in(*places: Path) -> set[str]:
    files = [file for place in places for file in place.rglob("*.py")]
    return {name for file in files for name in re.findall(r"MODCORE_[A-Z_]+", file.read_text())}


def test_every_variable_of_the_core_is_in_the_table() -> None:
    table = first_cells(section(COMMAND_LINE, "## The environment"))
    told = {name for cell in table for name in re.findall(r"MODCORE_[A-Z_]+", cell)}
    assert told == variables_in(CORE) - PRIVATE


@every_plugin
def test_every_variable_of_a_plugin_is_on_its_page(plugin: Path) -> None:
    own = variables_in(plugin / "src") - variables_in(CORE)
    assert own <= set(re.findall(r"MODCORE_[A-Z_]+", (plugin / "README.md").read_text()))


@every_page
def test_variables_of_a_page_are_read(page: Path) -> None:
    read = variables_in(CORE, *ROOT.glob("plugins/*/src"))
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
    table = first_cells(section((ROOT / "docs" / "front-door.md").read_text(), "## Metrics"))
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
    sources = [CORE, *ROOT.glob("plugins/*/src")]
    tree = [str(file.relative_to(ROOT)) for source in sources for file in source.rglob("*.py")]
    for path, names in re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`", text):
        files = [ROOT / file for file in tree if file.endswith(f"/{path}")]
        assert files, path
        name = names.rpartition(".")[2]
        assert any(re.search(rf"\b{name}\b", file.read_text()) for file in files), (path, name)


def test_parameters_of_a_request_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "engine.md").read_text()
    [told] = re.findall(r"^`SamplingParams` .*?`(.*?)`", page, re.M | re.S)
    assert sorted(told.replace("\n", " ").split(", ")) == sorted(
        SamplingParams.__dataclass_fields__
    )


def test_fields_of_a_body_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "openai-api.md").read_text()
    told = set(re.findall(r"`(\w+)", section(page, "## Fields")))
    fields = {*CompletionBody.model_fields, *ChatBody.model_fields}
    assert fields - {"model", "prompt"} <= told


def test_arguments_of_a_server_module_are_those_of_its_page() -> None:
    page = (ROOT / "docs" / "services.md").read_text()
    told = re.findall(r"`(\w+)`", "".join(first_cells(page.partition("## ")[0])))
    arguments = set(inspect.signature(ServerModule).parameters)
    assert set(told) == arguments - {"m", "return_trace"}  # which is for subclasses


def test_groups_of_a_plugin_are_those_of_its_page() -> None:
    page = (ROOT / "docs" / "writing-a-plugin.md").read_text()
    told = re.findall(r"`(\S+)`", " ".join(first_cells(page.partition("## ")[0])))
    assert tuple(told) == GROUPS


@every_plugin
def test_models_of_a_plugin_are_in_the_readme_and_on_its_page(plugin: Path) -> None:
    project = tomllib.loads((plugin / "pyproject.toml").read_text())["project"]
    readme = (ROOT / "README.md").read_text()
    [row] = re.findall(rf"^\| \[`{project['name']}`\]\(plugins/{plugin.name}/.*$", readme, re.M)
    for group in ("modcore.text_models", "modcore.vision_models"):
        for name in project["entry-points"].get(group, {}):
            assert f"`{name}`" in row
            assert f"`{name}`" in (plugin / "README.md").read_text()


def test_extras_of_the_core_are_in_the_readme() -> None:
    project = tomllib.loads((ROOT / "core" / "pyproject.toml").read_text())["project"]
    told = re.findall(r"^\| `modcore\[(\w+)\]` \|", (ROOT / "README.md").read_text(), re.M)
    assert sorted(told) == sorted(project["optional-dependencies"])


def test_layers_of_the_map_are_those_that_are_kept() -> None:
    [told] = re.findall(r"^    (cli → .*)$", (ROOT / "ARCHITECTURE.md").read_text(), re.M)
    tooling = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = tooling["contracts"][0]["layers"]
    kept = " → ".join(each.replace("modcore.", "").replace(" : ", ", ") for each in layers)
    assert told == kept.removesuffix(", _version")


def test_defaults_for_images_are_those_of_the_table() -> None:
    page = (ROOT / "docs" / "vision.md").read_text()
    rows = re.findall(r"^\| `--([a-z-]+) \w+` \| (.*?) \|", section(page, "## What is read"), re.M)
    for option, told in rows:
        default = getattr(VisionOptions(), option.replace("-", "_"))
        if isinstance(default, int):
            assert told == f"{default:,}"
        else:
            assert not told[0].isdigit()
