"""Requires-Dist is held against the installed core before a plugin is imported."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from modcore._version import VERSION
from modcore.plugins import PluginEntry
from modcore.plugins.compatibility import satisfied
from plugin_sites import Site

Listed = Callable[..., list[PluginEntry]]


@pytest.mark.parametrize(
    "requirement",
    [
        "modcore",
        "modcore>=0.1",
        "modcore >=0.1, <0.2",
        "modcore (>=0.1)",
        "Modcore>=0.1",
        "modcore==0.1.0",
        "modcore==0.1",
        "modcore==0.1.*",
        "modcore~=0.1.0",
        "modcore===0.1.0",
        "modcore!=0.2",
        "modcore>0.0.9",
        "modcore[engine]>=0.1,<0.2",
        "modcore[engine,serve]",
        "modcore @ https://example.org/modcore-9-py3-none-any.whl",
        'modcore>=9; python_version < "3"',
        'modcore[engine]>=9; extra == "full"',
        'modcore>=0.1; python_version >= "3"',
        "modcore>=0.1rc1",
    ],
)
def test_a_requirement_that_the_core_meets_is_satisfied(requirement: str) -> None:
    assert satisfied(requirement, "0.1.0")


@pytest.mark.parametrize(
    "requirement",
    [
        "modcore>=0.2",
        "modcore[engine]>=0.1,<0.1.0",
        "modcore (<0.1)",
        "modcore!=0.1",
        "modcore==0.2.*",
        "modcore~=0.2",
        "modcore>0.1",
        "modcore<0.1.0",
        'modcore>=9; python_version >= "3"',
        "modcore>=0.1.0.post1",
        "modcore>>0.1",
        'modcore>=0.1; nonsense == "1"',
    ],
)
def test_a_requirement_that_the_core_misses_or_nobody_understands_is_not_satisfied(
    requirement: str,
) -> None:
    assert not satisfied(requirement, "0.1.0")


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("modcore>=0.1", True),
        ("modcore<0.2", False),
        ("modcore<0.3", True),
        ("modcore>=0.2", False),
    ],
)
def test_a_prerelease_of_the_core_is_compared_as_pep_440_says(
    requirement: str, expected: bool
) -> None:
    assert satisfied(requirement, "0.2.0rc1") is expected


RELEASES = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(
    lambda parts: ".".join(map(str, parts))
)
CLAUSES = st.builds(str.__add__, st.sampled_from([">=", "<=", "==", "!=", ">", "<"]), RELEASES)


@given(st.lists(CLAUSES, min_size=1, max_size=3), RELEASES)
def test_plain_releases_are_compared_as_packaging_compares_them(
    clauses: list[str], version: str
) -> None:
    requirement = f"modcore{','.join(clauses)}"

    expected = Requirement(requirement).specifier.contains(version, prereleases=True)

    assert satisfied(requirement, version) is expected


def test_an_incompatible_plugin_when_listed_says_what_it_needs_and_what_is_there(
    site: Site, listed: Listed
) -> None:
    site.install(
        "alpha",
        "2.0",
        requires=["numpy", "modcore-llama>=99", "modcore[engine]>=7,<8"],
        entry_points={"modcore.weights": {"a.x": "alpha:X"}},
    )

    (entry,) = listed()

    assert entry.status == "incompatible"
    assert entry.error == (
        f"alpha 2.0 needs modcore[engine]>=7,<8, but modcore {VERSION} is installed; "
        "try: pip install --upgrade modcore alpha"
    )


def test_a_plugin_that_requires_another_plugin_when_listed_is_compatible(
    site: Site, listed: Listed
) -> None:
    site.install(
        "alpha",
        requires=["modcore-llama>=99", "modcore_x>=99", "modcore.y>=99", "modcoreful>=99"],
        entry_points={"modcore.weights": {"a.x": "alpha:X"}},
    )

    assert [entry.status for entry in listed()] == ["ok"]
