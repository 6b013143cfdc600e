"""Which tokens a sequence holds, and how often: what its penalties are computed from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class TokenCounts:
    """The distinct tokens of a sequence, each with how often it was generated.

    Kept as it grows, at a constant cost a token: nothing has the size of the vocabulary or is built
    again from the text. Tokens of `prompt_ids` count 0 times.
    """

    def __init__(self, prompt_ids: Sequence[int] = ()) -> None:
        known = np.unique(np.asarray(prompt_ids, dtype=np.int64))
        self._ids = known
        self._counts = np.zeros(len(known), dtype=np.float32)
        self._size = len(known)
        self._slots = {token: slot for slot, token in enumerate(known.tolist())}

    @property
    def ids(self) -> NDArray[np.int64]:
        """The distinct tokens, ``[distinct]``."""
        return self._ids[: self._size]

    @property
    def counts(self) -> NDArray[np.float32]:
        """How often each was generated, ``[distinct]``."""
        return self._counts[: self._size]

    def add(self, token: int) -> None:
        """Count a generated token."""
        slot = self._slots.get(token)
        if slot is None:
            slot = self._slots[token] = self._size
            if slot == len(self._ids):
                self._grow()
            self._ids[slot] = token
            self._size += 1
        self._counts[slot] += 1

    def _grow(self) -> None:
        more = max(16, len(self._ids))
        self._ids = np.concatenate([self._ids, np.zeros(more, dtype=np.int64)])
        self._counts = np.concatenate([self._counts, np.zeros(more, dtype=np.float32)])
