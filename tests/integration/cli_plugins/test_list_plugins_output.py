"""What ``modcore list-plugins`` prints: JSON, columns, a table, requirements."""

from __future__ import annotations

import os
import pty
import re
import subprocess

import pytest

from modcore._version import VERSION
from modcore.plugins import GROUPS
from plugin_sites import CommandLine, Site

ENTRY_POINTS = {group: {f"id.{place}": f"alpha:T{place}"} for place, group in enumerate(GROUPS)}
CORES_OWN = [
    {
        "dist": "modcore",
        "version": VERSION,
        "group": group,
        "id": name,
        "target": target,
        "status": "ok",
        "error": None,
    }
    for group, name, target in (
        ("modcore.gateways", "memory", "modcore.gateway.memory:MemoryGateway"),
        ("modcore.gateways", "sqlite", "modcore.gateway.sqlite:SqliteGateway"),
        ("modcore.launchers", "local", "modcore.deploy.local:LocalLauncher"),
    )
]


def test_json_when_a_plugin_fills_every_group_has_exactly_the_documented_shape(
    site: Site, modcore: CommandLine
) -> None:
    site.install("alpha", "2.3", entry_points=ENTRY_POINTS)

    done = modcore.json("list-plugins")

    alphas = [
        {
            "dist": "alpha",
            "version": "2.3",
            "group": group,
            "id": f"id.{place}",
            "target": f"alpha:T{place}",
            "status": "ok",
            "error": None,
        }
        for place, group in enumerate(GROUPS)
    ]
    assert done["core"] == {"version": VERSION}
    assert set(done) == {"core", "plugins"}
    assert [entry for entry in done["plugins"] if entry["dist"] == "alpha"] == alphas
    assert [entry for entry in done["plugins"] if entry["dist"] == "modcore"] == CORES_OWN
    assert {tuple(entry) for entry in done["plugins"]} == {tuple(CORES_OWN[0])}
    assert len(done["plugins"]) == len(GROUPS) + len(CORES_OWN)


def test_json_when_nothing_but_the_core_is_installed_lists_the_cores_own(
    modcore: CommandLine,
) -> None:
    assert modcore.json("list-plugins") == {"core": {"version": VERSION}, "plugins": CORES_OWN}


def test_json_when_entries_have_every_status_gives_each_its_reason(
    site: Site, modcore: CommandLine
) -> None:
    for name in ("alpha", "beta"):
        site.install(name, entry_points={"modcore.weights": {"taken.x": f"{name}:X"}})
    site.install("gamma", requires=["modcore>=99"], entry_points={"modcore.modules": {"g": "g:G"}})
    site.install("delta", entry_points={"modcore.modules": {"d": "d:D"}})
    site.install("epsilon", entry_points={"modcore.modules": {"e": "not a target!"}})
    site.install("zeta", entry_points={"modcore.modules": {"z": "z:Z"}})

    plugins = modcore.plugins(MODCORE_DISABLE_PLUGINS="delta")

    assert {entry["dist"]: entry["status"] for entry in plugins} == {
        "alpha": "duplicate",
        "beta": "duplicate",
        "gamma": "incompatible",
        "delta": "blocked",
        "epsilon": "broken",
        "zeta": "ok",
    }
    assert all((entry["error"] is None) == (entry["status"] == "ok") for entry in plugins)


@pytest.mark.parametrize("spelling", ["modcore.text_models", "text_models"])
def test_a_group_when_asked_for_by_either_name_is_all_that_is_listed(
    site: Site, modcore: CommandLine, spelling: str
) -> None:
    site.install("alpha", entry_points=ENTRY_POINTS)

    assert [entry["id"] for entry in modcore.plugins("--group", spelling)] == ["id.1"]


def test_the_group_of_hooks_when_asked_for_leaves_the_other_groups_out(
    site: Site, modcore: CommandLine
) -> None:
    site.install("alpha", entry_points=ENTRY_POINTS)

    assert [entry["id"] for entry in modcore.plugins("--group", "modcore")] == ["id.0"]


def test_an_unknown_group_is_one_sentence_with_the_groups_and_exit_code_2(
    modcore: CommandLine,
) -> None:
    done = modcore.run("list-plugins", "--group", "models")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: --group: there is no group 'models'; the groups are {', '.join(GROUPS)}.\n"
    )


def test_requirements_are_one_pinned_line_for_each_package(
    site: Site, modcore: CommandLine
) -> None:
    site.install("beta", "0.2.0rc1", entry_points=ENTRY_POINTS)
    site.install("alpha", "1.5", entry_points={"modcore.weights": {"a.x": "alpha:X"}})

    done = modcore.run("list-plugins", "--requirements")

    assert (done.returncode, done.stdout) == (0, "alpha==1.5\nbeta==0.2.0rc1\n")


def test_requirements_and_json_together_are_refused(modcore: CommandLine) -> None:
    done = modcore.run("list-plugins", "--requirements", "--json")

    assert done.returncode == 2
    assert "not allowed with argument" in done.stderr


def test_output_to_a_pipe_is_aligned_columns_and_a_line_for_each_error(
    site: Site, modcore: CommandLine
) -> None:
    site.install("alpha", "2.3", entry_points={"modcore.weights": {"a.x": "alpha:X"}})
    site.install("beta", entry_points={"modcore.modules": {"b": "not a target!"}})

    done = modcore.run("list-plugins")

    assert (done.returncode, done.stderr) == (0, "")
    title, header, *rows, error = done.stdout.splitlines()
    assert title == f"modcore {VERSION}"
    assert header.split() == ["package", "version", "group", "id", "target", "status"]
    assert [row.split()[0] for row in rows] == ["alpha", *["modcore"] * 3, "beta"]
    assert {row.index("modcore.") for row in rows if "alpha" in row or "beta" in row} == {
        header.index("group")
    }
    assert error.startswith("beta b: broken: modcore.modules: b = not a target! from beta 1.0")


def test_output_to_a_terminal_is_a_table(site: Site, modcore: CommandLine) -> None:
    site.install("alpha", "2.3", entry_points={"modcore.weights": {"a.x": "alpha:X"}})

    shown = output_on_a_terminal(modcore, "list-plugins")

    assert "─" in shown
    assert "\x1b[32mok" in shown
    assert "alpha" in shown
    assert "modcore.weights" in shown


def test_narrow_terminal_shows_ids_whole(site: Site, modcore: CommandLine) -> None:
    name = "InternVLForConditionalGeneration"
    site.install("modcore-redis-gateway", entry_points={"modcore.vision_models": {name: "a:X"}})

    shown = re.sub(
        r"\x1b\[[\d;]*m|\r", "", output_on_a_terminal(modcore, "list-plugins", columns=80)
    )

    assert re.search(rf"^modcore-redis-gateway +vision_models +{name} +ok *$", shown, re.M)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_group_without_entries_says_what_to_install(modcore: CommandLine) -> None:
    done = modcore.run("list-plugins", "--group", "text_models")

    assert done.returncode == 0
    assert done.stdout == f"modcore {VERSION}\nNo plugins. Try: pip install modcore-llama\n"


def output_on_a_terminal(modcore: CommandLine, *words: str, columns: int = 120) -> str:
    """What the command shows on a terminal that is `columns` wide."""
    controller, terminal = pty.openpty()
    environment = modcore.environment(TERM="xterm-256color", COLUMNS=str(columns), LINES="40")
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [modcore.python, "-m", "modcore", *words], env=environment, stdout=terminal
    )
    os.close(terminal)
    shown = b""
    while chunk := read(controller):
        shown += chunk
    assert process.wait() == 0
    os.close(controller)
    return shown.decode()


def read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # the other side has closed
        return b""
