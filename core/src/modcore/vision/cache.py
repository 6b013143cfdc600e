"""Features of images that have been seen before: the least recently used are forgotten first."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch


class FeatureCache:
    """Features by what they show, `most_bytes` of them at most; safe from any thread."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes_held = 0
        self._held: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes) -> torch.Tensor | None:
        """The features under `key`, which are the most recently used then."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: bytes, features: torch.Tensor) -> None:
        """Keep `features`, unless they alone are more than there is room for."""
        with self._lock:
            self._drop(key)
            if features.nbytes > self.most_bytes:
                return
            while self.bytes_held + features.nbytes > self.most_bytes:
                self._drop(next(iter(self._held)))
            self._held[key] = features
            self.bytes_held += features.nbytes

    def _drop(self, key: bytes) -> None:
        former = self._held.pop(key, None)
        self.bytes_held -= 0 if former is None else former.nbytes
