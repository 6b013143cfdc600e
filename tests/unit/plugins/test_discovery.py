"""What is found of a distribution, from its metadata alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modcore.plugins import GROUPS, PluginEntry, list_plugins
from plugin_sites import Site

Listed = Callable[..., list[PluginEntry]]


def test_an_entry_of_every_group_when_listed_has_its_whole_provenance(
    site: Site, listed: Listed
) -> None:
    points = {
        group: {f"id{place}": f"alpha.part:Thing{place}"} for place, group in enumerate(GROUPS)
    }
    site.install("alpha", "2.3", entry_points=points)

    assert listed() == [
        PluginEntry("alpha", "2.3", group, f"id{place}", f"alpha.part:Thing{place}", "ok", None)
        for place, group in enumerate(GROUPS)
    ]


def test_a_distribution_without_entries_for_modcore_when_listed_is_left_out(
    site: Site, listed: Listed
) -> None:
    site.install("alpha", entry_points={"console_scripts": {"alpha": "alpha:main"}})
    site.install("beta")

    assert listed() == []


def test_listing_when_a_plugin_is_installed_imports_none_of_it(site: Site, listed: Listed) -> None:
    site.install_hooks("alpha", "raise AssertionError('imported')")

    assert [entry.status for entry in listed()] == ["ok"]
    assert "alpha_hooks" not in sys.modules


@pytest.mark.parametrize(
    "target", ["not-a-module:attr", "alpha:", "alpha:attr:attr", "alpha attr", "/alpha.py", ""]
)
def test_a_target_that_is_not_module_and_attribute_when_listed_is_broken(
    site: Site, listed: Listed, target: str
) -> None:
    site.install("alpha", entry_points={"modcore.modules": {"m": target, "n": "alpha:attr"}})

    broken, usable = listed()

    assert (broken.id, broken.target, broken.status) == ("m", target, "broken")
    assert broken.error is not None
    assert broken.error.startswith(
        f"modcore.modules: m = {target} from alpha 1.0 is not of the form"
    )
    assert broken.error.endswith("try: pip install --upgrade alpha")
    assert usable.status == "ok"


@pytest.mark.parametrize(
    "target", ["alpha.part", "alpha : attr", "alpha:a.b", "alpha:attr [extra]"]
)
def test_a_target_in_any_form_that_the_specification_knows_when_listed_is_ok(
    site: Site, listed: Listed, target: str
) -> None:
    site.install("alpha", entry_points={"modcore.modules": {"m": target}})

    assert [(entry.target, entry.status) for entry in listed()] == [(target, "ok")]


def test_an_unknown_group_when_listed_is_broken_with_the_near_one_suggested(
    site: Site, listed: Listed
) -> None:
    site.install("alpha", entry_points={"modcore.text_model": {"Alpha": "alpha:Model"}})

    (entry,) = listed()

    assert (entry.status, entry.group) == ("broken", "modcore.text_model")
    assert entry.error is not None
    assert "alpha 1.0 registers Alpha in the unknown group modcore.text_model" in entry.error
    assert "did you mean modcore.text_models?" in entry.error


def test_an_unknown_group_that_resembles_none_when_listed_names_them_all(
    site: Site, listed: Listed
) -> None:
    site.install("alpha", entry_points={"modcore.xyzzy": {"Alpha": "alpha:Model"}})

    (entry,) = listed()

    assert entry.error is not None
    assert all(group in entry.error for group in GROUPS)


def test_a_group_that_only_resembles_ours_when_listed_is_left_out(
    site: Site, listed: Listed
) -> None:
    site.install("alpha", entry_points={"modcores": {"a": "a:b"}, "modcore_extra.x": {"a": "a:b"}})

    assert listed() == []


@pytest.mark.parametrize(
    "text", ["[modcore.weights]\nthis line assigns nothing\n", b"[modcore]\nalpha = \xff\xfe\n"]
)
def test_an_entry_points_file_that_cannot_be_read_when_listed_is_broken_with_the_pip_line(
    site: Site, listed: Listed, text: str | bytes
) -> None:
    site.install("alpha", entry_points=text)
    site.install("beta", entry_points={"modcore.weights": {"b.x": "beta:X"}})

    broken, usable = listed()

    assert (broken.dist, broken.version, broken.status) == ("alpha", "1.0", "broken")
    assert broken.error is not None
    assert broken.error.startswith("entry_points.txt of alpha cannot be read (")
    assert "pip install --force-reinstall alpha" in broken.error
    assert (usable.dist, usable.status) == ("beta", "ok")


def test_an_unreadable_entry_points_file_of_somebody_else_when_listed_is_ignored(
    site: Site, listed: Listed
) -> None:
    site.install("alpha", entry_points=b"[console_scripts]\nalpha = \xff\xfe\n")

    assert listed() == []


def test_a_distribution_without_metadata_when_listed_is_broken_under_its_directorys_name(
    site: Site, listed: Listed
) -> None:
    site.install("alpha-one", metadata="", entry_points={"modcore.weights": {"a.x": "alpha:X"}})
    site.install("alpha-two", metadata="", entry_points={"modcore.weights": {"b.x": "alpha:X"}})

    found = [entry for entry in list_plugins({}) if entry.dist.startswith("alpha")]

    assert [(entry.dist, entry.id, entry.status) for entry in found] == [
        ("alpha-one", "a.x", "broken"),
        ("alpha-two", "b.x", "broken"),
    ]
    assert found[0].error is not None
    assert found[0].error.startswith("METADATA of alpha-one cannot be read (it is missing")


def test_metadata_in_another_encoding_when_listed_still_gives_name_and_version(
    site: Site, listed: Listed
) -> None:
    info = site.install("alpha", "3.1", entry_points={"modcore.weights": {"a.x": "alpha:X"}})
    (info / "METADATA").write_bytes(b"Name: alpha\nVersion: 3.1\nAuthor: Andr\xe9\n\nA text.\n")

    (entry,) = [entry for entry in list_plugins({}) if entry.dist == "alpha"]

    assert (entry.version, entry.status) == ("3.1", "ok")


def test_what_the_description_says_when_it_looks_like_a_header_is_not_read(
    site: Site, listed: Listed
) -> None:
    metadata = "Name: alpha\nVersion: 1.0\n\nVersion: 9\nRequires-Dist: modcore>=99\n"
    site.install("alpha", metadata=metadata, entry_points={"modcore.weights": {"a.x": "alpha:X"}})

    (entry,) = listed()

    assert (entry.version, entry.status) == ("1.0", "ok")


def test_an_older_version_further_down_the_path_when_listed_is_not_counted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: Listed
) -> None:
    older = Site(tmp_path / "older")
    older.install("alpha", "0.9", entry_points={"modcore.weights": {"a.x": "a:X", "a.y": "a:Y"}})
    monkeypatch.setattr(sys, "path", [*sys.path, str(older.path)])
    site.install("Alpha", "1.0", entry_points={"modcore.weights": {"a.x": "a:X"}})

    assert [(entry.version, entry.id, entry.status) for entry in listed()] == [("1.0", "a.x", "ok")]


def test_an_older_plugin_when_the_version_before_it_registers_nothing_is_not_counted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = Site(tmp_path / "older")
    older.install("alpha", "0.9", entry_points={"modcore.weights": {"a.x": "a:X"}})
    monkeypatch.setattr(sys, "path", [*sys.path, str(older.path)])
    site.install("alpha", "1.0")

    assert [entry for entry in list_plugins({}) if entry.dist == "alpha"] == []


def test_the_remains_of_an_uninstallation_when_the_plugin_is_installed_elsewhere_do_not_hide_it(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.path / "alpha-0.9.dist-info").mkdir()
    later = Site(tmp_path / "later")
    later.install("alpha", "1.0", entry_points={"modcore.weights": {"a.x": "a:X"}})
    monkeypatch.setattr(sys, "path", [*sys.path, str(later.path)])

    assert [entry.version for entry in list_plugins({}) if entry.dist == "alpha"] == ["1.0"]


def test_an_egg_whose_metadata_names_nothing_when_listed_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    egg = tmp_path / "odd.egg"
    (egg / "EGG-INFO").mkdir(parents=True)
    (egg / "EGG-INFO" / "entry_points.txt").write_text("[modcore.weights]\no.x = odd:X\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(egg)])

    (entry,) = [entry for entry in list_plugins({}) if entry.id == "o.x"]

    assert (entry.dist, entry.status) == ("unnamed", "broken")


def test_an_entry_points_file_that_the_system_refuses_when_listed_is_ignored(
    site: Site, listed: Listed
) -> None:
    info = site.install("alpha")
    (info / "entry_points.txt").symlink_to(info / "entry_points.txt")

    assert listed() == []
