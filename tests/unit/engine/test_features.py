"""Spans of features: where they land, chunk by chunk, and how the prefix cache tells them apart."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modcore.engine.features import Span, features_between, verify_spans
from modcore.errors import InvalidRequest, StepFailed


def span(start: int, stop: int, digest: bytes = b"12345678") -> Span:
    return Span(start, stop, torch.arange(start, stop).float()[:, None].expand(-1, 4), digest)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_any_chunks_place_every_feature_once_where_it_belongs(sizes: list[int]) -> None:
    length = sum(sizes)
    spans = [span(start, min(start + 3, length)) for start in range(0, length, 5)]
    placed, first = torch.full((length,), -1.0), 0
    for size in sizes:
        for place, rows in features_between(spans, first, first + size):
            placed[first + place : first + place + len(rows)] = rows[:, 0]
        first += size
    expected = torch.full((length,), -1.0)
    for each in spans:
        expected[each.start : each.stop] = torch.arange(each.start, each.stop).float()
    assert torch.equal(placed, expected)


def test_ids_of_the_cache_are_no_tokens_and_differ_by_place_and_content() -> None:
    one, same, other = span(3, 9), span(3, 9), span(3, 9, b"87654321")
    assert (one.cache_ids() < 0).all()
    assert len(set(one.cache_ids())) == 6
    assert (one.cache_ids() == same.cache_ids()).all()
    assert not set(one.cache_ids()) & set(other.cache_ids())
    assert (span(0, 4, b"\xff" * 8).cache_ids() < 0).all()


@pytest.mark.parametrize("spans", [[span(2, 6), span(5, 8)], [span(4, 12)], [span(5, 5)]])
def test_spans_that_overlap_or_leave_the_prompt_are_refused(spans: list[Span]) -> None:
    with pytest.raises(InvalidRequest, match="one behind the other"):
        verify_spans(spans, 10, 4)


def test_features_of_another_width_are_refused_with_the_numbers() -> None:
    with pytest.raises(StepFailed, match=r"\[4, 4\].*8 wide"):
        verify_spans([span(0, 4)], 10, 8)
