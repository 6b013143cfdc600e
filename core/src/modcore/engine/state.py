"""What the layers of one forward pass share: the batch's shape, its rows, its positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from modcore.engine.features import PlacedFeatures
from modcore.engine.memory import MemoryManager
from modcore.errors import InvalidRequest

#: Reads, and may replace, the tensor at a named point.
Tap = Callable[[torch.Tensor], torch.Tensor]


@dataclass(slots=True)
class InferStateInfo:
    """One batch on its way through the model (seed: *adding a model*).

    The batch's tokens lie one behind the other, ``[total_token_num]``: all new tokens of the first
    request, then those of the second. The requests that have one new token come first: they are the
    batch's decode part; the others read a prompt, or a chunk of it.

    decode_size: how many requests, and so how many leading tokens, are the decode part.
    new_tokens:  how many new tokens each request has; 1 each in the decode part.
    b_seq_len:   ``[batch]`` tokens of each request, the new ones included.
    b_start_loc: ``[batch]`` where each request's new tokens begin.
    b_loc:       ``[batch, max_len_in_batch]`` the KV row of each token; entries at and beyond the
                 request's length are garbage, other requests' rows among them.
    mem_index:   ``[total_token_num]`` the KV rows of the new tokens.
    position_ids: ``[total_token_num]`` the position of each new token.
    logit_index: ``[logits]`` the new tokens whose logits are asked for.
    features:    what stands in place of embeddings, at which of the new tokens.
    taps:        named point -> what to do with the tensor there (the points are listed in `layers.template`).
    """

    batch_size: int
    decode_size: int
    total_token_num: int
    max_len_in_batch: int
    new_tokens: list[int]
    b_seq_len: torch.Tensor
    b_start_loc: torch.Tensor
    b_loc: torch.Tensor
    mem_index: torch.Tensor
    position_ids: torch.Tensor
    logit_index: torch.Tensor
    mem_manager: MemoryManager
    features: list[PlacedFeatures] = field(default_factory=list)
    taps: dict[str, Tap] = field(default_factory=dict)

    @property
    def is_prefill(self) -> bool:
        """Whether any request reads more than one token."""
        return self.decode_size < self.batch_size

    def init_some_extra_state(self, model: Any, input_ids: torch.Tensor) -> None:
        """Compute what a family's layers share beyond this; called once a forward pass.

        `model` is the model that runs; a family says in its override what it takes from it.
        """

    def with_features(self, embedded: torch.Tensor) -> torch.Tensor:
        """`embedded` ``[total_token_num, hidden]``, with the features in their places."""
        for start, features in self.features:
            embedded[start : start + len(features)] = features.to(embedded.dtype)
        return embedded

    def point(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Pass `tensor` through the tap at the named point; free when there is none."""
        if not self.taps:
            return tensor
        tap = self.taps.get(name)
        if tap is None:
            return tensor
        replacement = tap(tensor)
        if replacement.shape != tensor.shape:
            raise InvalidRequest(
                f"The tap at {name!r} made {list(replacement.shape)} of {list(tensor.shape)}; "
                "it has to keep the shape.",
                param="taps",
            )
        return replacement.to(tensor.dtype).contiguous()  # the kernels take it as it lies
