"""What each variant of the weights costs and gives: memory, perplexity, speed.

Perplexity is taken on a model that this script trains: a Llama of two million parameters on the
sources of this Python's standard library, the last tenth of them held back.
Speed is taken on `--checkpoint`, a directory, or else on a random Llama of 350 million parameters that is made once.
Variants take turns within each round, and the best of the rounds counts: the machine has other work.

    python benchmarks/weights_bench.py [--checkpoint DIR] [--work DIR] [--train-seconds 180] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from modcore.engine import Engine, SamplingParams

VARIANTS: tuple[str | None, ...] = (None, "int8", "int4")
WINDOW = 48  # few enough rows that the kernels multiply as they do when they decode
ROUNDS = 3


@dataclass
class Row:
    """One line of the table; ratios are to the plain weights."""

    model: str
    variant: str
    memory_mb: float
    memory_ratio: float
    perplexity: float | None
    perplexity_ratio: float | None
    decode_1: float
    decode_8: float
    decode_32: float
    prefill: float


def text(limit: int) -> str:
    """The standard library's sources, shuffled file by file with a fixed seed."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
    return "".join(files[i].read_text(errors="ignore") for i in order)[:limit]


def trained(directory: Path, seconds: float) -> tuple[Path, list[int]]:
    """A trained checkpoint (made unless it is there) and the ids of the text held back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    source = text(3_000_000)
    cut = len(source) * 9 // 10
    if not (directory / "config.json").is_file():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=1024, show_progress=False, initial_alphabet=alphabet
        )
        tokenizer.train_from_iterator([source[:cut]], trainer)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=1024, hidden_size=192, intermediate_size=512, num_hidden_layers=4,
            num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=1024,
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        learn(model, torch.tensor(fast(source[:cut])["input_ids"]), seconds)
        model.to(torch.bfloat16).save_pretrained(directory)
        fast.save_pretrained(directory)
    held_back = PreTrainedTokenizerFast.from_pretrained(directory)(source[cut:])["input_ids"]
    return directory, held_back


def learn(model: Any, ids: torch.Tensor, seconds: float) -> None:
    """Train for `seconds`; the rate rises, then falls to nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    # In a model this small threads gain little, and lose much when another program takes a core.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start, loss, steps = time.monotonic(), torch.zeros(()), 0
    while (done := (time.monotonic() - start) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (steps + 1) / 30) * (1 - done)
        starts = torch.randint(len(ids) - WINDOW, (8, 1))
        batch = ids[starts + torch.arange(WINDOW)]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        steps += 1
    torch.set_num_threads(threads)
    print(f"trained {steps} steps, loss {loss.item():.2f}", file=sys.stderr)


def random_model(directory: Path) -> Path:
    """A random Llama of 350 million parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    if not (directory / "config.json").is_file():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=24,
            num_attention_heads=16, num_key_value_heads=8, max_position_embeddings=8192,
        )  # fmt: skip
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    return directory


def perplexity(engine: Engine, ids: list[int], windows: int) -> float:
    """Of the first `windows` windows of the text held back."""
    loss = 0.0
    for start in range(0, windows * WINDOW, WINDOW):
        piece = ids[start : start + WINDOW]
        scores = engine.logits(piece)[:-1].double().log_softmax(-1)
        loss -= float(scores.gather(-1, torch.tensor(piece[1:])[:, None]).sum())
    return math.exp(loss / (windows * (WINDOW - 1)))


def decode(engine: Engine, batch: int, tokens: int) -> float:
    """Tokens a second in decode steps: what `tokens` more take than the first."""
    vocab = engine.model.vocab_size
    prompts = [[(7 * i + j) % (vocab - 5) + 3 for j in range(16)] for i in range(batch)]
    return batch * tokens / (seconds(engine, prompts, 1 + tokens) - seconds(engine, prompts, 1))


def seconds(engine: Engine, prompts: list[list[int]], tokens: int) -> float:
    """What greedy answers of `tokens` tokens take."""
    params = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True, prefix_cache=False)
    start = time.perf_counter()
    engine.generate(prompts, params)
    return time.perf_counter() - start


def prefill(engine: Engine, tokens: int) -> float:
    """Tokens a second of a prompt's pass."""
    ids = [i % (engine.model.vocab_size - 5) + 3 for i in range(tokens)]
    start = time.perf_counter()
    engine.generate([ids], SamplingParams(max_tokens=1, prefix_cache=False))
    return tokens / (time.perf_counter() - start)


def measure(directory: Path, held_back: list[int] | None, windows: int) -> Iterator[Row]:
    """A row for each variant of the checkpoint."""
    engines = {
        name: Engine.from_pretrained(directory, weights=name, kv_tokens=4096, max_batch=32)
        for name in VARIANTS
    }
    for engine in engines.values():
        pages = getattr(engine.model.kernels, "huge_pages", None)
        if pages:
            pages.wait()
    best: dict[tuple[str | None, str], float] = {}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            figures = {f"decode_{n}": decode(engine, n, 24) for n in (1, 8, 32)}
            figures["prefill"] = prefill(engine, 512)
            for what, value in figures.items():
                best[name, what] = max(best.get((name, what), 0.0), value)
    bytes_of = {name: engine.model.weight_bytes for name, engine in engines.items()}
    scores = (
        {name: perplexity(engine, held_back, windows) for name, engine in engines.items()}
        if held_back
        else {}
    )
    for name in VARIANTS:
        speeds = {
            what: best[name, what] for what in ("decode_1", "decode_8", "decode_32", "prefill")
        }
        yield Row(
            directory.name,
            name or "bf16",
            bytes_of[name] / 1e6,
            bytes_of[name] / bytes_of[None],
            scores.get(name),
            scores[name] / scores[None] if scores else None,
            **speeds,
        )


def show(rows: list[Row]) -> None:
    """The table, as Markdown."""
    print(
        "| model | weights | MB | ratio | perplexity | ratio | B=1 tok/s | B=8 | B=32 | prefill |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        score = f"{row.perplexity:.3f} | {row.perplexity_ratio:.4f}" if row.perplexity else " | "
        print(
            f"| {row.model} | {row.variant} | {row.memory_mb:.1f} | {row.memory_ratio:.3f} | {score} "
            f"| {row.decode_1:.1f} | {row.decode_8:.1f} | {row.decode_32:.1f} | {row.prefill:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="the model to measure speed on")
    parser.add_argument("--work", type=Path, default=Path("weights-bench"))
    parser.add_argument("--train-seconds", type=float, default=180.0)
    parser.add_argument("--windows", type=int, default=60, help="windows for the perplexity")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    small, held_back = trained(args.work / "trained", args.train_seconds)
    rows = list(measure(small, held_back, args.windows))
    rows += measure(args.checkpoint or random_model(args.work / "random-350m"), None, 0)
    show(rows)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
