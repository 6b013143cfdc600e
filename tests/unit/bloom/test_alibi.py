"""The slopes, for powers of two of heads and for the numbers between them."""

from __future__ import annotations

import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from modcore_bloom.alibi import alibi_slopes


@pytest.mark.parametrize("heads", [*range(1, 41), 63, 64, 65, 112, 127, 128])
def test_slopes_are_transformers_for_any_number_of_heads(heads: int) -> None:
    # What transformers adds to the key at position 1.
    expected = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(alibi_slopes(heads), expected, atol=0, rtol=1e-6)


def test_slopes_are_the_paper_s() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(16).tolist()[1::2] == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(3).tolist() == [2.0**-4, 2.0**-8, 2.0**-2]
