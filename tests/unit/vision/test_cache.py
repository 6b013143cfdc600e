"""The cache of features: bounded in bytes, and the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict

import torch
from hypothesis import given
from hypothesis import strategies as st

from modcore.vision.cache import FeatureCache

ROOM = 64
OPERATIONS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 20)), max_size=60)


@given(OPERATIONS)
def test_it_holds_what_a_bounded_list_in_order_of_use_holds(
    operations: list[tuple[bool, int, int]],
) -> None:
    cache = FeatureCache(ROOM)
    expected: OrderedDict[bytes, int] = OrderedDict()
    for is_put, number, size in operations:
        key = bytes([number])
        if is_put:
            cache.put(key, torch.zeros(size, dtype=torch.float32))
            expected.pop(key, None)
            if 4 * size <= ROOM:
                expected[key] = 4 * size
            while sum(expected.values()) > ROOM:
                expected.popitem(last=False)
        else:
            found = cache.get(key)
            assert (found is None) == (key not in expected)
            assert found is None or found.nbytes == expected[key]
            if key in expected:
                expected.move_to_end(key)
        assert cache.bytes_held == sum(expected.values()) <= ROOM
        assert len(cache) == len(expected)


def test_without_room_nothing_is_kept() -> None:
    cache = FeatureCache(0)
    cache.put(b"a", torch.zeros(1))
    assert cache.get(b"a") is None
