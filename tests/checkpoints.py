"""Making small checkpoints with transformers, on this machine, without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
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


def random_model(config: Any, seed: int = 0) -> Any:
    """A model whose every parameter is random: norms of one and biases of zero would hide faults."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.copy_(0.2 * torch.randn_like(parameter))
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
