"""What the layers of one forward pass share: the batch's shape, its rows, its positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from modcore.engine.memory import MemoryManager

#: Reads, and may replace, the tensor at a named point.
Tap = Callable[[torch.Tensor], torch.Tensor]


@dataclass(slots=True)
class InferStateInfo:
    """One batch on its way through the model (seed: *adding a model*).

    The batch's tokens lie one behind the other, ``[total_token_num]``: all new tokens of the first
    request, then those of the second. A decode step has one new token a request.

    new_tokens:  how many new tokens each request has; 1 each in a decode step.
    b_seq_len:   ``[batch]`` tokens of each request, the new ones included.
    b_start_loc: ``[batch]`` where each request's new tokens begin.
    b_loc:       ``[batch, max_len_in_batch]`` the KV row of each token; entries at and beyond the
                 request's length are garbage, other requests' rows among them.
    mem_index:   ``[total_token_num]`` the KV rows of the new tokens.
    position_ids: ``[total_token_num]`` the position of each new token.
    taps:        named point -> what to do with the tensor there (the points are listed in `layers.template`).
    """

    is_prefill: bool
    batch_size: int
    total_token_num: int
    max_len_in_batch: int
    new_tokens: list[int]
    b_seq_len: torch.Tensor
    b_start_loc: torch.Tensor
    b_loc: torch.Tensor
    mem_index: torch.Tensor
    position_ids: torch.Tensor
    mem_manager: MemoryManager
    all_logits: bool = False
    taps: dict[str, Tap] = field(default_factory=dict)

    def init_some_extra_state(self, model: Any, input_ids: torch.Tensor) -> None:
        """Compute what a family's layers share beyond this; called once a forward pass.

        `model` is the model that runs; a family says in its override what it takes from it.
        """

    def last_token_index(self) -> torch.Tensor:
        """``[batch]``: where each request's last new token lies."""
        return self.b_start_loc + torch.tensor(self.new_tokens, device=self.b_start_loc.device) - 1

    def point(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Pass `tensor` through the tap at the named point; free when there is none."""
        if not self.taps:
            return tensor
        tap = self.taps.get(name)
        return tap(tensor) if tap else tensor
