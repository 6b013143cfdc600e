"""The house is as it says it is: the map is the tree, imports point one way, pins are complete."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = sorted(path.parent for path in ROOT.glob("**/src/*/__init__.py"))
PROJECTS = [ROOT / "core", *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_architecture_names_every_module_and_no_other(package: Path) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text.partition(f"### {package.relative_to(ROOT)}\n")[2].partition("\n## ")[0]
    section = section.partition("\n### ")[0]
    listed = re.findall(r"^- `([^`]+\.py)`: \S", section, re.M)
    there = [str(file.relative_to(package)) for file in package.rglob("*.py")]
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_module_says_what_it_is(package: Path) -> None:
    for file in package.rglob("*.py"):
        assert file.read_text().startswith('"""'), file


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_every_distribution_is_complete(project: Path) -> None:
    metadata = tomllib.loads((project / "pyproject.toml").read_text())
    assert metadata["build-system"]["build-backend"] == "hatchling.build"
    assert metadata["project"]["requires-python"] == ">=3.11"
    assert metadata["project"]["license"] == "Apache-2.0"
    assert (project / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (project / "README.md").is_file()


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_every_dependency_is_pinned(project: Path) -> None:
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    extras = metadata.get("optional-dependencies", {}).values()
    wanted = [*metadata["dependencies"], *(each for extra in extras for each in extra)]
    pinned = {
        re.split(r"==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in wanted}
    assert {name for name in names if not name.startswith("modcore")} <= pinned


def test_readme_has_exactly_the_two_set_up_commands() -> None:
    commands = re.findall(r"^    (python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.M)
    head = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s"
    assert commands == [f"{head} demo", f"{head} tests"]
    assert f"\n{head} tests\n" in (ROOT / ".ci" / "run").read_text()


def test_example_runs(text_checkpoint: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "complete.py", text_checkpoint],
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert b"next token by hand" in done.stdout


def test_example_without_a_checkpoint_says_what_it_wants() -> None:
    example = ROOT / "examples" / "complete.py"
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"Usage: python {example} CHECKPOINT\n")
