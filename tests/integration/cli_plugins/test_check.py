"""``list-plugins --check``, the only listing that imports: what is broken, why, and what helps."""

from __future__ import annotations

import re
from typing import Any

import pytest

from plugin_sites import CommandLine, Site

REMEDY = "try: pip install --upgrade --force-reinstall {0}, or pip uninstall {0}"
BROKEN = {
    "raises": ("raise RuntimeError('no\\nreally')", "fails with RuntimeError: no;"),
    "syntax": ("def broken(:", "fails with SyntaxError: invalid syntax (syntax_m.py, line 1);"),
    "exits": ("import sys; sys.exit(3)", "fails with SystemExit: 3;"),
    "kills": ("import os; os._exit(9)", "ends the process that imports it (exit code 9);"),
    "crashes": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "ends the process that imports it (exit code -9);",
    ),
    "sleeps": ("import time; time.sleep(600)", "does not finish its import within 3 s;"),
    "needs": ("import no_such_module", "fails with ModuleNotFoundError: No module named"),
    "lacks": ("", "fails with AttributeError: module 'lacks_m' has no attribute 'Thing';"),
    "abstract": (
        "import abc\nclass Base(abc.ABC):\n    @abc.abstractmethod\n    def b(self): ...\n"
        "    @abc.abstractmethod\n    def a(self): ...\nclass Thing(Base): ...",
        "fails with TypeError: the class does not define a, b;",
    ),
    "data": ("Thing = 5", "fails with TypeError: int object is not callable;"),
}
GOOD = {
    "good": "class Thing: ...",
    "prints": "import os; print('{not json'); os.write(1, b'{nor this'); Thing = print",
}


@pytest.fixture
def crowd(site: Site) -> None:
    for name, source in {**{name: source for name, (source, _) in BROKEN.items()}, **GOOD}.items():
        site.install(
            name,
            entry_points={"modcore.modules": {f"test.{name}": f"{name}_m:Thing"}},
            modules={f"{name}_m": source},
        )
    site.install("missing", entry_points={"modcore.modules": {"test.missing": "nowhere:Thing"}})


@pytest.fixture
def checked(crowd: None, modcore: CommandLine) -> dict[str, dict[str, Any]]:
    """The checked entries by distribution."""
    plugins = modcore.plugins("--check", MODCORE_PLUGIN_TIMEOUT="3")
    return {entry["dist"]: entry for entry in plugins}


def test_every_entry_that_cannot_be_used_is_broken_with_its_first_line_and_the_pip_line(
    checked: dict[str, dict[str, Any]],
) -> None:
    for name, (_, cause) in BROKEN.items():
        assert checked[name]["status"] == "broken", name
        assert f"test.{name} = {name}_m:Thing from {name} 1.0 {cause}" in checked[name]["error"]
        assert checked[name]["error"].endswith(REMEDY.format(name))
    assert "No module named 'nowhere'" in checked["missing"]["error"]
    assert {name for name, entry in checked.items() if entry["status"] == "ok"} == set(GOOD)


def test_a_broken_entry_makes_the_exit_code_1(site: Site, modcore: CommandLine) -> None:
    site.install("alpha", entry_points={"modcore.modules": {"a.b": "nowhere:Thing"}})

    assert modcore.run("list-plugins").returncode == 0
    done = modcore.run("list-plugins", "--check")

    assert done.returncode == 1
    assert re.search(
        r"^alpha a\.b: broken: plugin alpha 1\.0 is broken: ", done.stdout, re.MULTILINE
    )


def test_entries_that_work_make_the_exit_code_0_and_leave_stdout_clean(
    site: Site, modcore: CommandLine
) -> None:
    for name, source in GOOD.items():
        site.install(
            name,
            entry_points={"modcore.modules": {name: f"{name}_m:Thing"}},
            modules={f"{name}_m": source},
        )

    done = modcore.run("list-plugins", "--check", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert "not json" not in done.stdout
    assert {entry["status"] for entry in modcore.plugins("--check")} == {"ok"}


def test_what_is_blocked_incompatible_or_a_duplicate_is_not_imported(
    site: Site, modcore: CommandLine
) -> None:
    hooks = "raise AssertionError('imported')"
    site.install_hooks("denied", hooks)
    site.install_hooks("newer", hooks, requires=["modcore>=99"])
    for name in ("alpha", "beta"):
        site.install(name, entry_points={"modcore.modules": {"taken": "nowhere:Thing"}})

    plugins = modcore.plugins("--check", MODCORE_DISABLE_PLUGINS="denied")

    assert {entry["dist"]: entry["status"] for entry in plugins} == {
        "denied": "blocked",
        "newer": "incompatible",
        "alpha": "duplicate",
        "beta": "duplicate",
    }


def test_only_the_group_that_is_asked_for_is_checked(site: Site, modcore: CommandLine) -> None:
    site.install("alpha", entry_points={"modcore.modules": {"a": "nowhere:Thing"}})

    assert modcore.run("list-plugins", "--check", "--group", "weights").returncode == 0
    assert modcore.run("list-plugins", "--check", "--group", "modules").returncode == 1


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (
            "def modcore_mach_model(config): ...",
            "implements the unknown hook modcore_mach_model; did you mean modcore_match_model?",
        ),
        (
            "def modcore_match_model(confg): ...",
            "gives modcore_match_model the unknown argument confg; did you mean config?",
        ),
    ],
)
def test_a_hook_that_fits_no_spec_is_broken_with_the_suggestion(
    site: Site, modcore: CommandLine, source: str, fault: str
) -> None:
    site.install_hooks("alpha", f"from modcore.plugins import hookimpl\n@hookimpl\n{source}")

    (entry,) = modcore.plugins("--check")

    assert entry["status"] == "broken"
    assert entry["error"] == f"plugin alpha 1.0: alpha_hooks {fault} {REMEDY.format('alpha')}"


def test_a_module_with_good_hooks_is_ok(site: Site, modcore: CommandLine) -> None:
    source = "from modcore.plugins import hookimpl\n@hookimpl\ndef modcore_match_model(config): ..."
    site.install_hooks("alpha", source)

    assert [entry["status"] for entry in modcore.plugins("--check")] == ["ok"]


def test_what_metadata_already_tells_is_broken_and_counts_too(
    site: Site, modcore: CommandLine
) -> None:
    site.install("alpha", entry_points={"modcore.text_model": {"AlphaLM": "alpha:LM"}})

    done = modcore.run("list-plugins", "--check")

    assert done.returncode == 1
    assert "did you mean modcore.text_models?" in done.stdout
    assert "try: pip install --upgrade alpha" in done.stdout
