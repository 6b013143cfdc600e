"""Distribution names are compared as PEP 503 says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from modcore.plugins.discovery import canonical


@pytest.mark.parametrize(
    "name", ["Modcore_Llama", "modcore.llama", "MODCORE--llama", "modcore-_.llama"]
)
def test_a_name_in_any_spelling_is_one_name(name: str) -> None:
    assert canonical(name) == "modcore-llama"


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,12}[A-Za-z0-9])?", fullmatch=True))
def test_a_name_is_canonical_as_packaging_makes_it(name: str) -> None:
    assert canonical(name) == canonicalize_name(name)
