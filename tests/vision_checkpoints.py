"""Making small InternVL checkpoints with transformers, on this machine, without a download."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
)

from checkpoints import TEXT, llama_config, qwen2_config, qwen3_config, rewrite_config

SPECIALS = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]

#: As the checkpoints that transformers converted have it.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TEXT_CONFIGS: dict[str, Callable[..., Any]] = {
    "llama": llama_config,
    "qwen2": qwen2_config,
    "qwen3": qwen3_config,
}


class ImagesOnlyProcessor(InternVLProcessor):
    """Without the video processor, which needs torchvision."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


def train_vision_tokenizer() -> Any:
    """A byte-level BPE tokenizer with a chat template and the tokens around images."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=SPECIALS,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=CHAT_TEMPLATE,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )


def vision_config(**changes: Any) -> InternVLVisionConfig:
    """A small tower: 28 pixels a tile, patches of 7."""
    sizes = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 80,
        "image_size": 28,
        "patch_size": 7,
        "attention_bias": True,
    }
    return InternVLVisionConfig(**{**sizes, **changes})


def randomise(model: Any, seed: int) -> None:
    """Make every parameter random: tokens, positions and biases of zero would hide faults."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            if "lambda" in name or ("norm" in name and name.endswith("weight")):
                parameter.copy_(1 + noise)
            elif name.endswith(("bias", "cls_token", "position_embeddings")):
                parameter.copy_(noise)
            elif parameter.dim() > 1:
                parameter.copy_(noise / 3 / (parameter.shape[-1] / 48) ** 0.5)


def internvl_config(
    tokenizer: Any,
    text: str = "qwen2",
    tile: int | None = None,
    text_changes: dict[str, Any] | None = None,
    model_changes: dict[str, Any] | None = None,
    **vision_changes: Any,
) -> InternVLConfig:
    """A small model; `tile` is the side of what the processor cuts, the tower's by default."""
    vision = vision_config(**vision_changes)
    ratio = (model_changes or {}).get("downsample_ratio", 0.5)
    side = (tile or vision.image_size[0]) // vision.patch_size[0]
    language = TEXT_CONFIGS[text](
        vocab_size=len(tokenizer), bos_token_id=None, pad_token_id=0, **(text_changes or {})
    )
    return InternVLConfig(
        vision_config=vision,
        text_config=language,
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=int(side * ratio) ** 2,
        **{"tie_word_embeddings": False, **(model_changes or {})},
    )


def write_internvl(
    directory: Path,
    *,
    text: str = "qwen2",
    seed: int = 0,
    tile: int | None = None,
    dtype: torch.dtype = torch.float32,
    processor: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a random model with its processor, as transformers does; `changes` as `internvl_config`."""
    tokenizer = train_vision_tokenizer()
    config = internvl_config(tokenizer, text, tile, **changes)
    model = InternVLForConditionalGeneration(config).eval()
    randomise(model, seed)
    model.generation_config.eos_token_id = None  # so that no random answer ends early
    model.to(dtype).save_pretrained(directory)
    write_processor(directory, tokenizer, config, tile, **(processor or {}))
    return directory


def write_processor(
    directory: Path, tokenizer: Any, config: InternVLConfig, tile: int | None, **changes: Any
) -> None:
    """Write the processor as an InternVLProcessor: for a class of ours, it would not be read again."""
    side = tile or config.vision_config.image_size[0]
    images = GotOcr2ImageProcessorPil(
        **{
            "size": {"height": side, "width": side},
            "crop_to_patches": True,
            "max_patches": 12,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            **changes,
        }
    )
    ImagesOnlyProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        image_seq_length=config.image_seq_length,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(directory)
    for name in ("processor_config.json", "tokenizer_config.json"):
        file = directory / name
        values = json.loads(file.read_text())
        if "processor_class" in values:
            file.write_text(json.dumps({**values, "processor_class": "InternVLProcessor"}))


def hf_processor(directory: Path) -> Any:
    """The checkpoint's processor as transformers reads it."""
    return ImagesOnlyProcessor.from_pretrained(directory, local_files_only=True)


def hf_model(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The checkpoint as transformers reads it."""
    return InternVLForConditionalGeneration.from_pretrained(
        directory, local_files_only=True, dtype=dtype
    ).eval()


def hf_inputs(processor: Any, messages: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """What transformers makes of `messages` whose image parts hold PIL images."""
    parts = [p for m in messages if isinstance(m["content"], list) for p in m["content"]]
    images = [part["image"] for part in parts if part["type"] == "image"]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=images or None, text=prompt, return_tensors="pt")
    return {
        name: inputs[name]
        for name in ("input_ids", "attention_mask", "pixel_values")
        if name in inputs
    }


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB image of soft noise."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def user_message(text: str, *images: Image.Image) -> dict[str, Any]:
    """Images first, then text."""
    shown = [{"type": "image", "image": image} for image in images]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


_MODULE_NAMES = (  # on disk, and as transformers calls its modules
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^(vision_tower|multi_modal_projector)\.", r"model.\1."),
)

_REMOTE_NAMES = (
    (r"^vision_tower\.embeddings\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^vision_tower\.embeddings\.position_embeddings$", "vision_model.embeddings.position_embedding"),
    (r"^vision_tower\.embeddings\.patch_embeddings\.projection\.", "vision_model.embeddings.patch_embedding."),
    (r"^vision_tower\.encoder\.layer\.", "vision_model.encoder.layers."),
    (r"\.attention\.projection_layer\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.lambda_(\d)$", r".ls\1"),
    (r"^multi_modal_projector\.layer_norm\.", "mlp1.0."),
    (r"^multi_modal_projector\.linear_1\.", "mlp1.1."),
    (r"^multi_modal_projector\.linear_2\.", "mlp1.3."),
)  # fmt: skip


def _renamed(
    tensors: dict[str, torch.Tensor], rules: tuple[tuple[str, str], ...]
) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def rename_as_modules(directory: Path) -> None:
    """Write the tensors under the names of transformers' modules."""
    file = directory / "model.safetensors"
    save_file(_renamed(load_file(file), _MODULE_NAMES), file, metadata={"format": "pt"})


def rewrite_as_remote(directory: Path, template: str | None = None, **values: Any) -> None:
    """Turn a checkpoint that transformers wrote into one of the remote-code layout.

    With `template`, the chat template goes, and that name stands in config.json.
    """
    file = directory / "model.safetensors"
    save_file(_fused(_renamed(load_file(file), _REMOTE_NAMES)), file, metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    _write_remote_config(directory, config, template, values)
    images = json.loads((directory / "processor_config.json").read_text())["image_processor"]
    (directory / "processor_config.json").unlink()
    kept = {name: images[name] for name in ("image_mean", "image_std")}
    (directory / "preprocessor_config.json").write_text(json.dumps(kept))
    if template is not None:
        (directory / "chat_template.jinja").unlink()


def _fused(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    fused = {
        name: value
        for name, value in tensors.items()
        if not re.search(r"\.attn\.[qkv]_proj\.", name)
    }
    for name in tensors:
        if ".attn.q_proj." in name:
            parts = [tensors[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
            fused[name.replace("q_proj", "qkv")] = torch.cat(parts)
    return fused


def _write_remote_config(
    directory: Path, config: dict[str, Any], template: str | None, values: dict[str, Any]
) -> None:
    vision, text = config["vision_config"], config["text_config"]
    names = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    rewrite_config(
        directory,
        remove=set(config),
        model_type="internvl_chat",
        architectures=["InternVLChatModel"],
        auto_map={
            "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
            "AutoModel": "modeling_internvl_chat.InternVLChatModel",
        },
        vision_config={
            "model_type": "intern_vit_6b",
            "image_size": vision["image_size"][0],
            "patch_size": vision["patch_size"][0],
            "qkv_bias": vision["attention_bias"],
            "qk_normalization": vision["use_qk_norm"],
            **{
                name: vision[name]
                for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                             "norm_type", "layer_norm_eps", "hidden_act", "num_channels")
            },
        },
        llm_config={**text, "architectures": [names[text["model_type"]]]},
        select_layer=config["vision_feature_layer"],
        downsample_ratio=config["downsample_ratio"],
        **{
            "ps_version": "v2",
            "template": template or "internvl2_5",
            "dynamic_image_size": True,
            "use_thumbnail": True,
            "min_dynamic_patch": 1,
            "max_dynamic_patch": 12,
            **values,
        },
    )  # fmt: skip
