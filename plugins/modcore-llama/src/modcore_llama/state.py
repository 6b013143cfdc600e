"""What Llama's layers share within one pass: the rotation of each new token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch

from modcore.engine.model import TpPartBaseModel
from modcore.engine.rope import inverse_frequencies
from modcore.engine.state import InferStateInfo

if TYPE_CHECKING:
    from modcore_llama.model import LlamaModel


@dataclass(slots=True)
class LlamaInferStateInfo(InferStateInfo):
    """Adds cos and sin, ``[T, head_dim / 2]`` float32."""

    cos: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    sin: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def init_some_extra_state(self, model: TpPartBaseModel, input_ids: torch.Tensor) -> None:
        """See `InferStateInfo.init_some_extra_state`."""
        llama = cast("LlamaModel", model)
        frequencies = llama.inv_freq
        if llama.config.rope.is_dynamic:
            # Each request is rotated for its own length, [batch, D / 2], whatever stands beside it.
            by_request, _ = inverse_frequencies(
                llama.config.rope, llama.config.head_dim, self.b_seq_len
            )
            counts = torch.tensor(self.new_tokens)
            frequencies = by_request.repeat_interleave(counts, dim=0)
        angles = self.position_ids[:, None].float() * frequencies
        self.cos = angles.cos() * llama.rope_attention_factor
        self.sin = angles.sin() * llama.rope_attention_factor
