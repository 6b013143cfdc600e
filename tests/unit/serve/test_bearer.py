"""Which tokens open."""

from __future__ import annotations

import pytest

from modcore.serve.bearer import Bearer


@pytest.mark.parametrize("given", [b"Bearer key", b"bearer key", b"BEARER  key ", b"Bearer other"])
def test_each_of_its_tokens_opens_however_the_scheme_is_written(given: bytes) -> None:
    assert Bearer("key", "other").opens(given)


@pytest.mark.parametrize(
    "given", [b"", b"key", b"Basic key", b"Bearer", b"Bearer ", b"Bearer ke", b"Bearer keykey"]
)
def test_nothing_else_opens(given: bytes) -> None:
    assert not Bearer("key").opens(given)


@pytest.mark.parametrize("given", [b"", b"Bearer", b"Bearer ", b"bearer  "])
def test_an_empty_token_opens_nothing(given: bytes) -> None:
    assert not Bearer("").opens(given)
    assert not Bearer().opens(given)
