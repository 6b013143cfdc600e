"""The two published layouts, as data: keys of the config, names of tensors, what is left out.

`HF` is what transformers writes (``internvl``), `REMOTE` what the models' own code wrote
(``internvl_chat``). They hold the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNames:
    """What the tensors of tower and projector are called, once the spelling's prefixes are gone.

    `layer` holds the number of the layer. Names without ``.weight`` or ``.bias`` at the end are those
    of modules. `qkv` are three projections, or one that is all of them.
    """

    class_embedding: str
    positions: str
    patches: str
    layer: str
    qkv: tuple[str, ...]
    q_norm: str
    k_norm: str
    attention_out: str
    norm_1: str
    norm_2: str
    scale_1: str
    scale_2: str
    projector_norm: str
    projector_1: str
    projector_2: str


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the names of a checkpoint's tensors begin, each with what the beginning stands for."""

    vision: Mapping[str, str]
    text: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One layout.

    `keys` are config keys that are not spelled as in the other one; `defaults` and `tower_defaults`
    what a file may leave out. `unused` are patterns of tensors that nothing is computed with.
    `qk_norm_eps` is the epsilon of the norms of q and k (None: that of the others).
    """

    text_config: str
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any]
    tower_defaults: Mapping[str, Any]
    names: TensorNames
    spellings: tuple[Spelling, ...]
    unused: tuple[str, ...] = ()
    qk_norm_eps: float | None = None

    def key(self, name: str) -> str:
        """How the layout spells the config key `name`."""
        return self.keys.get(name, name)


HF = Layout(
    text_config="text_config",
    defaults={
        "downsample_ratio": 0.5,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "image_token_id": 151667,
        "image_seq_length": 256,
        "tie_word_embeddings": True,
        "ps_version": "v2",
    },
    tower_defaults={
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": [448, 448],
        "patch_size": [14, 14],
        "num_channels": 3,
        "hidden_act": "gelu",
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "attention_bias": False,
        "use_qk_norm": False,
        "use_absolute_position_embeddings": True,
        "use_mean_pooling": True,
    },
    names=TensorNames(
        class_embedding="embeddings.cls_token",
        positions="embeddings.position_embeddings",
        patches="embeddings.patch_embeddings.projection",
        layer="encoder.layer.{}.",
        qkv=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        q_norm="attention.q_norm",
        k_norm="attention.k_norm",
        attention_out="attention.projection_layer",
        norm_1="layernorm_before",
        norm_2="layernorm_after",
        scale_1="lambda_1",
        scale_2="lambda_2",
        projector_norm="projector.layer_norm",
        projector_1="projector.linear_1",
        projector_2="projector.linear_2",
    ),
    spellings=(
        Spelling(  # as files are written
            vision={"vision_tower.": "", "multi_modal_projector.": "projector."},
            text={"language_model.model.": "model.", "language_model.lm_head.": "lm_head."},
        ),
        Spelling(  # as the modules are called
            vision={"model.vision_tower.": "", "model.multi_modal_projector.": "projector."},
            text={"model.language_model.": "model.", "lm_head.": "lm_head."},
        ),
    ),
    unused=(r"^embeddings\.mask_token$",),
    qk_norm_eps=1e-6,
)

REMOTE = Layout(
    text_config="llm_config",
    keys={
        "vision_feature_layer": "select_layer",
        "attention_bias": "qkv_bias",
        "use_qk_norm": "qk_normalization",
    },
    defaults={
        "downsample_ratio": 0.5,
        "projector_hidden_act": "gelu",
        "select_layer": -1,
        "vision_feature_select_strategy": "default",
        "ps_version": "v1",
        "force_image_size": None,
        "pad2square": False,
        "template": None,
        "dynamic_image_size": False,
        "use_thumbnail": False,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 6,
    },
    tower_defaults={
        "hidden_size": 3200,
        "num_hidden_layers": 48,
        "num_attention_heads": 25,
        "intermediate_size": 12800,
        "image_size": 224,
        "patch_size": 14,
        "num_channels": 3,
        "hidden_act": "gelu",
        "norm_type": "rms_norm",
        "layer_norm_eps": 1e-6,
        "qkv_bias": False,
        "qk_normalization": True,
        "use_absolute_position_embeddings": True,
        "use_mean_pooling": True,
    },
    names=TensorNames(
        class_embedding="embeddings.class_embedding",
        positions="embeddings.position_embedding",
        patches="embeddings.patch_embedding",
        layer="encoder.layers.{}.",
        qkv=("attn.qkv",),
        q_norm="attn.q_norm",
        k_norm="attn.k_norm",
        attention_out="attn.proj",
        norm_1="norm1",
        norm_2="norm2",
        scale_1="ls1",
        scale_2="ls2",
        projector_norm="projector.0",
        projector_1="projector.1",
        projector_2="projector.3",
    ),
    spellings=(
        Spelling(vision={"vision_model.": "", "mlp1.": "projector."}, text={"language_model.": ""}),
    ),
)
