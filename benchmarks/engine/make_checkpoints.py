"""Make the random Llama checkpoints that the benchmarks run on: `small` (32.0M parameters) and `mid` (348.7M).

Both are bfloat16, untied, drawn with seed 0, and come with a byte-level BPE tokenizer trained on the text files named
on the command line and padded to the model's vocabulary, so that every engine can load them.

usage: make_checkpoints.py OUT_DIR --text FILE_OR_DIR [--only small|mid]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>"]
SHAPES: dict[str, dict[str, int]] = {
    "small": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 8192,
    },
    "mid": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
    },
}


def text_lines(root: Path, limit: int = 8_000_000) -> Iterator[str]:
    """Yield the files' text in lines, at most `limit` characters of it."""
    files = (
        [root]
        if root.is_file()
        else sorted(p for p in root.rglob("*") if p.suffix in {".py", ".md", ".txt", ".rst"})
    )
    for file in files:
        for line in file.read_text(encoding="utf-8", errors="ignore").splitlines():
            limit -= len(line)
            if limit < 0:
                return
            yield line


def train_tokenizer(root: Path, vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of exactly `vocabulary` entries; what training leaves free is filled with `<extra_i>`."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIALS,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(text_lines(root), trainer)
    tokenizer.add_tokens([f"<extra_{i}>" for i in range(vocabulary - tokenizer.get_vocab_size())])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=8192,
        padding_side="left",
    )


def make(out: Path, shape: dict[str, int], text: Path, seed: int = 0) -> int:
    """Write one checkpoint to `out` and return its number of parameters."""
    tokenizer = train_tokenizer(text, shape["vocab_size"])
    assert len(tokenizer) == shape["vocab_size"]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    torch.manual_seed(seed)
    config = LlamaConfig(
        **shape, **ids, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=False
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model.num_parameters()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SHAPES))
    arguments = parser.parse_args()
    for name, shape in SHAPES.items():
        if arguments.only in (None, name):
            print(name, make(arguments.out / name, shape, arguments.text), "parameters")
