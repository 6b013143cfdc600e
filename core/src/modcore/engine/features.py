"""Spans of a prompt at which features (of an image, say) stand in place of embeddings.

The engine knows neither what they show nor what computed them: it puts them where they belong, chunk by
chunk, and keeps prompts apart in the prefix cache that differ in nothing but what their spans show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from modcore.errors import InvalidRequest, StepFailed

_RANGE = 1 << 62  # ids of what is no token: below zero, and far apart for different digests


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Features ``[stop - start, hidden]`` at the tokens from `start` to before `stop` of a prompt.

    `digest` (8 bytes or more) tells what they show from everything else: equal digests share keys
    and values.
    """

    start: int
    stop: int
    features: torch.Tensor
    digest: bytes

    def cache_ids(self) -> npt.NDArray[np.int64]:
        """What the prefix cache knows its tokens by, ``[stop - start]``, all below zero."""
        first = int.from_bytes(self.digest[:8], "little") % _RANGE
        places = (first + np.arange(self.stop - self.start, dtype=np.uint64)) % np.uint64(_RANGE)
        return -1 - places.astype(np.int64)


class PlacedFeatures(NamedTuple):
    """`features` ``[count, hidden]``, for the tokens of a batch from `start` on."""

    start: int
    features: torch.Tensor


def features_between(spans: Iterable[Span], first: int, end: int) -> Iterator[PlacedFeatures]:
    """What of `spans` lies at the tokens from `first` to before `end`; places count from `first`."""
    for span in spans:
        start, stop = max(span.start, first), min(span.stop, end)
        if start < stop:
            yield PlacedFeatures(
                start - first, span.features[start - span.start : stop - span.start]
            )


def verify_spans(spans: Sequence[Span], length: int, hidden: int) -> None:
    """Raise InvalidRequest unless `spans` lie one behind the other in `length` tokens, StepFailed unless they fit `hidden`."""
    end = 0
    for span in spans:
        if not end <= span.start < span.stop <= length:
            raise InvalidRequest(
                f"Features are declared for the tokens {span.start} to {span.stop} of a prompt of {length}; "
                "spans have to lie in it, one behind the other.",
                param="messages",
            )
        if list(span.features.shape) != [span.stop - span.start, hidden]:
            raise StepFailed(
                f"Features of shape {list(span.features.shape)} are declared for {span.stop - span.start} tokens "
                f"of a model {hidden} wide; update the package that made them, or check that its weights belong "
                "to this text model."
            )
        end = span.stop
