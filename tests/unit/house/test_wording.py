"""How messages name things."""

from __future__ import annotations

import pytest

from modcore.errors import named_kind
from modcore.wire import CannotTravel, encode


@pytest.mark.parametrize(
    ("kind", "named"), [(int, "an int"), (str, "a str"), (OSError, "an OSError")]
)
def test_kind_has_its_article(kind: type, named: str) -> None:
    assert named_kind(kind) == named


def test_value_that_cannot_travel_is_named_with_its_article() -> None:
    with pytest.raises(CannotTravel, match="an object has no form on the wire"):
        encode({"value": object()})
