"""What Llama's layers share within one pass: the rotation of each new token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch

from modcore.engine.rope import inverse_frequencies
from modcore.engine.state import InferStateInfo
from modcore_llama.config import LlamaConfig


class RotaryModel(Protocol):
    """What the rotation takes from the model; `inv_freq` is ``[head_dim / 2]``."""

    config: LlamaConfig
    inv_freq: torch.Tensor
    rope_attention_factor: float


@dataclass(slots=True)
class LlamaInferStateInfo(InferStateInfo):
    """Adds cos and sin, ``[T, head_dim / 2]`` float32."""

    cos: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    sin: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def init_some_extra_state(self, model: RotaryModel, input_ids: torch.Tensor) -> None:
        """See `InferStateInfo.init_some_extra_state`."""
        frequencies = model.inv_freq
        rope = model.config.rope
        if rope.is_dynamic:
            # Each request is rotated for its own length, [batch, D / 2], whatever stands beside it.
            by_request, _ = inverse_frequencies(rope, model.config.head_dim, self.b_seq_len)
            counts = torch.tensor(self.new_tokens)
            frequencies = by_request.repeat_interleave(counts, dim=0)
        angles = self.position_ids[:, None].float() * frequencies
        self.cos = angles.cos() * model.rope_attention_factor
        self.sin = angles.sin() * model.rope_attention_factor
