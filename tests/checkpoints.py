"""Making small checkpoints with transformers, on this machine, without a download."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

SMALL = {
    "vocab_size": 199,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": None,  # so that no random answer ends early
    "pad_token_id": 0,
}

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|turn|>' + m['role'] + ': ' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant: ' }}{% endif %}"
)

TEXT = [
    "the quick brown fox jumps over the lazy dog",
    "how many plugins does it take to serve a llama?",
    "def resolve(group, id): return registry[group][id]",
    "naïve café, Москва, 東京, 🦙🦙🦙",
    "0123456789 + - * / = ( ) [ ] { }",
] * 8


def llama_config(**changes: Any) -> LlamaConfig:
    """A small Llama."""
    return LlamaConfig(**{**SMALL, **changes})


def mistral_config(**changes: Any) -> MistralConfig:
    """A small Mistral."""
    return MistralConfig(**{**SMALL, "num_key_value_heads": 2, "sliding_window": None, **changes})


def qwen2_config(**changes: Any) -> Qwen2Config:
    """A small Qwen2."""
    return Qwen2Config(**{**SMALL, "num_key_value_heads": 2, **changes})


def qwen3_config(**changes: Any) -> Qwen3Config:
    """A small Qwen3."""
    return Qwen3Config(**{**SMALL, "num_key_value_heads": 2, "head_dim": 24, **changes})


def bloom_config(heads: int = 4, head_dim: int = 16, **changes: Any) -> BloomConfig:
    """A small Bloom, with weights wide enough for attention to depend on what it looks at."""
    sizes = {
        "hidden_size": heads * head_dim,
        "n_head": heads,
        "n_layer": 2,
        "vocab_size": 199,
        "initializer_range": 0.15,
    }
    tokens = {name: SMALL[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return BloomConfig(**{**sizes, **tokens, **changes})


def random_model(config: Any, seed: int = 0) -> Any:
    """A model whose every parameter is random: norms of one and biases of zero would hide faults."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(0.2 * torch.randn_like(parameter))
            elif "norm" in name or "ln_f" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
    return model


def write_random(
    config: Any, directory: Path, dtype: torch.dtype = torch.float32, **options: Any
) -> Path:
    """Write a random model of `config` with `save_pretrained(**options)`."""
    random_model(config).to(dtype).save_pretrained(directory, **options)
    return directory


def reference(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The checkpoint as transformers reads it."""
    return AutoModelForCausalLM.from_pretrained(
        directory, local_files_only=True, dtype=dtype
    ).eval()


def random_ids(length: int, seed: int) -> list[int]:
    """A prompt of `length` tokens of the small models' vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, 199, (length,), generator=generator).tolist()


def reference_logits(model: Any, ids: list[int]) -> torch.Tensor:
    """What transformers computes for `ids`, ``[len(ids), vocab]``."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def reference_greedy(model: Any, ids: list[int], count: int) -> list[int]:
    """The `count` tokens with which transformers goes on."""
    answer = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)
    return answer[0, len(ids) :].tolist()


def rewrite_config(directory: Path, remove: Iterable[str] = (), **values: Any) -> None:
    """Take keys out of a checkpoint's config.json and set others."""
    file = directory / "config.json"
    config = json.loads(file.read_text())
    kept = {key: value for key, value in config.items() if key not in set(remove)}
    file.write_text(json.dumps({**kept, **values}))


def rewrite_tensors(
    directory: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]
) -> None:
    """Write the tensors that `edit` returns, or has left in what it was given."""
    file = directory / "model.safetensors"
    tensors = load_file(file)
    edited = edit(tensors)
    save_file(tensors if edited is None else edited, file, metadata={"format": "pt"})


def train_tokenizer() -> Any:
    """A byte-level BPE tokenizer with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<|turn|>", "<|end|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = CHAT_TEMPLATE
    return fast
