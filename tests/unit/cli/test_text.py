"""Tables on a person's terminal."""

from __future__ import annotations

import pytest

from modcore.cli.text import fitted

ROWS = [("name", "pid", "url"), ("echo", "4711", "http://127.0.0.1:40213")]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (None, ["name", "pid", "url"]),
        (34, ["name", "pid", "url"]),
        (33, ["name", "url"]),
        (28, ["name", "url"]),
        (27, ["url"]),
        (1, ["url"]),
    ],
)
def test_narrow_terminal_does_without_the_columns_that_can_be_spared(
    width: int | None, shown: list[str]
) -> None:
    table = fitted(ROWS, ("pid", "name"), width)
    assert table.splitlines()[0].split() == shown
