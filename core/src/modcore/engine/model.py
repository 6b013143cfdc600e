"""The model class: weights, infer layers and infer state, put together step by step.

Names and steps are the seed's (*adding a model*): a family sets the classes of its parts and
overrides the steps that differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch

from modcore.checkpoint import checkpoint_directory, read_config
from modcore.engine.config import TextConfig
from modcore.engine.config_reader import ConfigReader
from modcore.engine.kernels import select_kernels
from modcore.engine.layers import PostLayerInfer, PreLayerInfer, TransformerLayerInfer
from modcore.engine.memory import MemoryManager
from modcore.engine.sizing import kv_tokens_for
from modcore.engine.state import InferStateInfo
from modcore.engine.weights import PreAndPostLayerWeight, Shard, TransformerLayerWeight
from modcore.engine.weights.loader import load_weights, resolve_dtype
from modcore.engine.weights.safetensors_files import SafetensorsFiles
from modcore.errors import CheckpointError, InvalidRequest, PluginError
from modcore.plugins.manager import plugin_manager
from modcore.plugins.records import BuildOptions
from modcore.plugins.variants import resolve_variant

#: Option -> part -> the attribute that holds its class, and what that has to be.
_PARTS: Mapping[str, Mapping[str, tuple[str, type]]] = {
    "weights": {
        "pre_post": ("pre_and_post_weight_class", PreAndPostLayerWeight),
        "transformer": ("transformer_weight_class", TransformerLayerWeight),
    },
    "layers": {
        "pre": ("pre_layer_infer_class", PreLayerInfer),
        "transformer": ("transformer_layer_infer_class", TransformerLayerInfer),
        "post": ("post_layer_infer_class", PostLayerInfer),
    },
}


class TpPartBaseModel:
    """The base of every text model.

    Raises CheckpointError when the checkpoint at ``options.path`` is not what its config says.
    """

    #: The first word of the ids of its parts, ``<family>.<part>.<variant>``; "" when it has no variants.
    family: ClassVar[str] = ""
    config_class: ClassVar[type[TextConfig]] = TextConfig
    #: What `config.json` may leave out, as the family's transformers config fills it in.
    config_defaults: ClassVar[Mapping[str, Any]] = {}
    #: Whether a token's key depends on nothing but the tokens up to it. Where it does not, prompts are
    #: read at once and shared with nobody.
    keys_are_reusable: bool = True
    #: Patterns of tensor names that a checkpoint may hold without being used.
    ignored_tensors: ClassVar[tuple[str, ...]] = ()

    pre_and_post_weight_class: ClassVar[type[PreAndPostLayerWeight]]
    transformer_weight_class: ClassVar[type[TransformerLayerWeight]]
    pre_layer_infer_class: ClassVar[type[PreLayerInfer]]
    transformer_layer_infer_class: ClassVar[type[TransformerLayerInfer]]
    post_layer_infer_class: ClassVar[type[PostLayerInfer]]
    infer_state_class: ClassVar[type[InferStateInfo]] = InferStateInfo

    def __init__(
        self,
        options: BuildOptions,
    ) -> None:
        self.options = options
        self.shard = Shard()  # this rank's part, where weights, heads and rows are shared
        self.weight_dir = checkpoint_directory(options.path)
        self.device = torch.device("cpu")
        self._init_parts()
        self._init_config()
        self._verify_must()
        self._verify_params()
        self._init_weights()
        self._init_mem_manager()
        self._init_infer_layer()
        self._init_some_value()
        self._init_custom()

    # The steps

    @final
    def _init_parts(self) -> None:
        """Take the classes of the variants that are asked for; the others stay this class's own."""
        for option, classes in _PARTS.items():
            variant = getattr(self.options, option)
            if variant is None:
                continue
            found = resolve_variant(plugin_manager(), option, self.family, variant, classes)
            for part, replacement in found.items():
                attribute, base = classes[part]
                if not isinstance(replacement, type) or not issubclass(replacement, base):
                    raise PluginError(
                        f"{self.family}.{part}.{variant} is {replacement!r}, which is no subclass of "
                        f"{base.__name__}; update the package that registers it, or leave {option} out."
                    )
                setattr(self, attribute, replacement)

    def _init_config(self) -> None:
        """Read ``config.json`` into `config_class`."""
        source = str(self.weight_dir / "config.json")
        part = self.options.part
        raw = part.config if part else read_config(self.weight_dir)
        self.config = self.config_class.read(ConfigReader(raw, source, self.config_defaults))

    @final
    def _verify_must(self) -> None:
        """What holds for every model: the ranks share the heads evenly."""
        self.shard.span(self.config.num_attention_heads, "The attention (num_attention_heads)")
        self.shard.span(self.config.num_key_value_heads, "The attention (num_key_value_heads)")
        self.context_length = self._context_length()

    def _verify_params(self) -> None:
        """What a family demands beyond that."""

    def _inspect_files(self, files: SafetensorsFiles) -> None:
        """What only the files tell, such as how their tensors are spelled; before weights are declared."""

    def _init_weights(self) -> None:
        """Load and account for all weights."""
        layers = range(self.config.num_hidden_layers)
        part = self.options.part
        with SafetensorsFiles(self.weight_dir, part.prefixes if part else None) as files:
            if len(layers) > len(files.tensors):  # before a mistyped number fills the memory
                raise CheckpointError(
                    f"{self.weight_dir / 'config.json'}: num_hidden_layers is {len(layers)}, but the "
                    f"files hold {len(files.tensors)} tensors; check that they belong together."
                )
            self._inspect_files(files)
            self.pre_post_weight = self.pre_and_post_weight_class(self.config)
            self.trans_layers_weight = [
                self.transformer_weight_class(self.config, i) for i in layers
            ]
            weights = [self.pre_post_weight, *self.trans_layers_weight]
            self.dtype = resolve_dtype(files, weights, self.options.dtype)
            self.kernels = select_kernels(self.device, self.dtype)
            load_weights(files, weights, self.dtype, self.kernels, self.ignored_tensors, self.shard)

            self.weight_bytes = sum(weight.nbytes for weight in weights)

    def _init_mem_manager(self) -> None:
        """Set the KV cache up."""
        shape = (
            self.config.num_hidden_layers,
            self.config.num_key_value_heads // self.shard.world_size,
            self.config.head_dim,
        )
        tokens = kv_tokens_for(
            self.options.kv_tokens,
            self.context_length,
            self.options.max_batch,
            shape,
            self.dtype,
        )
        self.mem_manager = MemoryManager(tokens, *shape, self.dtype, self.device)

    def _init_infer_layer(self) -> None:
        """Construct the infer layers."""
        kernels = self.kernels
        layers = range(self.config.num_hidden_layers)
        self.pre_infer = self.pre_layer_infer_class(self.config, kernels, self.shard)
        self.layers_infer = [
            self.transformer_layer_infer_class(self.config, kernels, self.shard, i) for i in layers
        ]
        self.post_infer = self.post_layer_infer_class(self.config, kernels, self.shard)

    def _init_some_value(self) -> None:
        """Values that the engine asks for."""
        self.vocab_size = self.config.vocab_size

    def _init_custom(self) -> None:
        """What only this family needs, such as rotary frequencies."""

    def _context_length(self) -> int:
        """The context that is asked for, else the config's.

        Raises InvalidRequest when more is asked for than the positions of the model can tell apart.
        """
        asked, declared = self.options.context_length, self.config.context_length
        if asked is not None and asked > declared and self.config.context_is_fixed:
            raise InvalidRequest(
                f"{asked} tokens are more than the {declared} that {self.weight_dir / 'config.json'} "
                f"is made for; ask for at most {declared}.",
                param="context_length",
            )
        return asked or declared

    def points(self) -> tuple[str, ...]:
        """The named points at which activations can be read and replaced."""
        inside = ("in", "attn_in", "q", "k", "v", "attn_out", "mlp_in", "mlp_out", "out")
        layers = range(self.config.num_hidden_layers)
        return (
            "embed",
            *(f"layers.{i}.{name}" for i in layers for name in inside),
            "final_norm",
            "logits",
        )

    # Running

    @torch.inference_mode()
    def forward(self, input_ids: torch.Tensor, state: InferStateInfo) -> torch.Tensor:
        """One pass over the batch's new tokens `input_ids` ``[T]``.

        Returns float32 logits ``[logits, vocab]`` of the tokens that the state asks for.
        """
        state.init_some_extra_state(self, input_ids)
        if state.is_prefill:
            return self._context_forward(input_ids, state)
        return self._token_forward(input_ids, state)

    @final
    def _context_forward(self, input_ids: torch.Tensor, state: InferStateInfo) -> torch.Tensor:
        x = self.pre_infer.context_forward(input_ids, state, self.pre_post_weight)
        x = state.point("embed", state.with_features(x))
        for layer, weight in zip(self.layers_infer, self.trans_layers_weight, strict=True):
            x = layer.context_forward(x, state, weight)
        return self.post_infer.context_forward(x, state, self.pre_post_weight)

    @final
    def _token_forward(self, input_ids: torch.Tensor, state: InferStateInfo) -> torch.Tensor:
        x = self.pre_infer.token_forward(input_ids, state, self.pre_post_weight)
        x = state.point("embed", state.with_features(x))
        for layer, weight in zip(self.layers_infer, self.trans_layers_weight, strict=True):
            x = layer.token_forward(x, state, weight)
        return self.post_infer.token_forward(x, state, self.pre_post_weight)
