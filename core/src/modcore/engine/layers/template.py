"""The layers that most families share: norm, attention, residual, norm, MLP, residual; in the end norm and head.

A family overrides the steps, not the order. The named points at which activations are read and
replaced: ``embed``; in each layer ``layers.{i}.``: ``in`` and ``out``, the residual stream; ``attn_in``
and ``mlp_in``, after the norm; ``q`` and ``k`` after the position encoding, ``v``; ``attn_out`` and
``mlp_out``, after the output projection and before the residual is added; ``final_norm``; ``logits``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch

from modcore.engine.config import TextConfig
from modcore.engine.kernels import Kernels
from modcore.engine.layers.base import PostLayerInfer, TransformerLayerInfer
from modcore.engine.state import InferStateInfo
from modcore.engine.weights import Shard


class TransformerLayerInferTpl(TransformerLayerInfer):
    """The template; T: new tokens of the batch, H: heads, K: KV heads, D: head_dim.

    scale:        what queries times keys are multiplied by.
    alibi_slopes: ``[H]`` float32 for a family whose heads attend less the further a token is.
    sliding_window: how many tokens a token sees, itself the last, or None.

    A family sets others in its constructor.
    """

    def __init__(self, config: TextConfig, kernels: Kernels, shard: Shard, layer_num: int) -> None:
        super().__init__(config, kernels, shard, layer_num)
        self.scale = config.head_dim**-0.5
        self.alibi_slopes: torch.Tensor | None = None
        self.sliding_window = config.sliding_window_of(layer_num)

    @abstractmethod
    def _att_norm(self, x: torch.Tensor, state: InferStateInfo, weight: Any) -> torch.Tensor:
        """The norm before attention, ``[T, hidden]``."""

    @abstractmethod
    def _get_qkv(
        self, x: torch.Tensor, state: InferStateInfo, weight: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries ``[T, H, D]``, keys and values ``[T, K, D]``; positions encoded."""

    @abstractmethod
    def _get_o(self, x: torch.Tensor, state: InferStateInfo, weight: Any) -> torch.Tensor:
        """The output projection, from ``[T, H, D]`` to ``[T, hidden]``."""

    @abstractmethod
    def _ffn_norm(self, x: torch.Tensor, state: InferStateInfo, weight: Any) -> torch.Tensor:
        """The norm before the MLP, ``[T, hidden]``."""

    @abstractmethod
    def _ffn(self, x: torch.Tensor, state: InferStateInfo, weight: Any) -> torch.Tensor:
        """The MLP, ``[T, hidden]``."""

    def _residual(self, x: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        """What attention and MLP are added to: the stream `x` itself, or a family's `normed` one."""
        return x

    def context_forward(
        self, inputs: torch.Tensor, infer_state: InferStateInfo, layer_weight: Any
    ) -> torch.Tensor:
        """Prefill; see `BaseLayerInfer`."""
        return self._forward(inputs, infer_state, layer_weight)

    def token_forward(
        self, inputs: torch.Tensor, infer_state: InferStateInfo, layer_weight: Any
    ) -> torch.Tensor:
        """Decode; see `BaseLayerInfer`."""
        return self._forward(inputs, infer_state, layer_weight)

    def _forward(self, x: torch.Tensor, state: InferStateInfo, weight: Any) -> torch.Tensor:
        x = self._point("in", x, state)
        normed = self._point("attn_in", self._att_norm(x, state, weight), state)
        attended = self._get_o(self._attention(normed, state, weight), state, weight)
        x = self._residual(x, normed) + self._point("attn_out", attended, state)
        normed = self._point("mlp_in", self._ffn_norm(x, state, weight), state)
        inner = self._point("mlp_out", self._ffn(normed, state, weight), state)
        x = self._residual(x, normed) + inner
        return self._point("out", x, state)

    def _attention(self, x: torch.Tensor, state: InferStateInfo, weight: Any) -> torch.Tensor:
        q, k, v = self._get_qkv(x, state, weight)
        q = self._point("q", q, state)
        self._post_cache_kv(self._point("k", k, state), self._point("v", v, state), state)
        decode = state.decode_size  # the leading tokens, one a request
        if decode == len(q):
            return self._token_attention_kernel(q, state)
        if decode == 0:
            return self._context_attention_kernel(q, state)
        return torch.cat(
            [
                self._token_attention_kernel(q[:decode], state),
                self._context_attention_kernel(q[decode:], state),
            ]
        )

    def _context_attention_kernel(self, q: torch.Tensor, state: InferStateInfo) -> torch.Tensor:
        """Attention of the tokens that are read, ``[T - decode, H, D]``."""
        return self._attend(self.kernels.context_attention, q, state)

    def _token_attention_kernel(self, q: torch.Tensor, state: InferStateInfo) -> torch.Tensor:
        """Attention of the decode part, ``[decode, H, D]``."""
        return self._attend(self.kernels.token_attention, q, state)

    def _attend(
        self, attention: Callable[..., torch.Tensor], q: torch.Tensor, state: InferStateInfo
    ) -> torch.Tensor:
        """What the kernel `attention` makes of this layer's keys and values for `q`."""
        memory = state.mem_manager
        keys, values = memory.keys[self.layer_num], memory.values[self.layer_num]
        return attention(q, keys, values, state, self.scale, self.sliding_window, self.alibi_slopes)

    def _post_cache_kv(self, k: torch.Tensor, v: torch.Tensor, state: InferStateInfo) -> None:
        """Write the new tokens' keys and values ``[T, K, D]`` to their rows."""
        memory = state.mem_manager
        self.kernels.store(memory.keys[self.layer_num], k, state.mem_index)
        self.kernels.store(memory.values[self.layer_num], v, state.mem_index)

    def _point(self, name: str, x: torch.Tensor, state: InferStateInfo) -> torch.Tensor:
        return state.point(f"layers.{self.layer_num}.{name}", x) if state.taps else x


class PostLayerInferTpl(PostLayerInfer):
    """The final norm and the head."""

    @abstractmethod
    def _final_norm(self, x: torch.Tensor, weight: Any) -> torch.Tensor:
        """The norm of the tokens whose logits are asked for, ``[logits, hidden]``."""

    def context_forward(
        self, inputs: torch.Tensor, infer_state: InferStateInfo, layer_weight: Any
    ) -> torch.Tensor:
        """See `PostLayerInfer`; the head is ``layer_weight.lm_head``."""
        normed = self._final_norm(inputs[infer_state.logit_index], layer_weight)
        normed = infer_state.point("final_norm", normed)
        logits = layer_weight.lm_head(normed).float()
        return infer_state.point("logits", logits)

    token_forward = context_forward
