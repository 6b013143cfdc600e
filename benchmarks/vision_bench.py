"""Vision beside transformers in one run: features a second, memory, repeated images, text that runs beside images.

The tower is InternViT-300M's (1024 wide, tiles of 448 pixels in patches of 14) with fewer layers, and
random. Features are computed in turns within each round, and the best of the rounds counts: the machine has
other work. Memory is the peak of fresh processes that read the checkpoint and compute once. Other ratios are
medians of the rounds' ratios.

    python benchmarks/vision_bench.py [--layers 4] [--tiles 5] [--rounds 9] [--threads 2] [--work DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

TILE, PATCH, GOAL_SPEED, GOAL_MEMORY, GOAL_AGAIN, GOAL_STREAM = 448, 14, 1.2, 0.8, 0.05, 1.5
SPECIALS = ["<|pad|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for p in m['content'] %}{{ '<IMG_CONTEXT>\n' if p['type'] == 'image' else p['text'] }}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
)


@dataclass
class Row:
    """One line of the table."""

    what: str
    ours: str
    theirs: str
    ratio: float
    goal: str
    met: bool


def make_checkpoint(directory: Path, layers: int) -> Path:
    """A random model with a tower of `layers` layers and a Qwen2 of 60 million parameters; made once."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration, Qwen2Config

    if (directory / "config.json").is_file():
        return directory
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    text = Qwen2Config(
        vocab_size=2048, hidden_size=768, intermediate_size=2048, num_hidden_layers=8,
        num_attention_heads=12, num_key_value_heads=4, max_position_embeddings=32768,
        bos_token_id=None, eos_token_id=None, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    vision = {"image_size": TILE, "patch_size": PATCH, "num_hidden_layers": layers}
    config = InternVLConfig(
        vision_config={**vision, "attention_bias": True}, text_config=text, tie_word_embeddings=False,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=256,
    )  # fmt: skip
    model = InternVLForConditionalGeneration(config).to(torch.bfloat16)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    processor = {"size": {"height": TILE, "width": TILE}, "max_patches": 12, "resample": 3}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    return directory


def make_tokenizer() -> Any:
    """Bytes, and the tokens around images."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False, vocab_size=300
    )
    tokenizer.train_from_iterator(["a picture of noise"], trainer)
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "video_token": "<video>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=CHAT,
        extra_special_tokens={**names, "context_image_token": "<IMG_CONTEXT>"},
    )


def png(seed: int, width: int = 2 * TILE, height: int = TILE) -> bytes:
    """A noisy image, encoded; two tiles and a thumbnail as it is."""
    from PIL import Image

    generator = torch.Generator().manual_seed(seed)
    small = torch.randint(0, 256, (height // 8, width // 8, 3), generator=generator)
    image = Image.fromarray(small.to(torch.uint8).numpy()).resize((width, height))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def asked(image: bytes) -> list[dict[str, Any]]:
    """A question about `image`."""
    parts = [{"type": "image", "image": image}, {"type": "text", "text": "what is it?"}]
    return [{"role": "user", "content": parts}]


def load(name: str, directory: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """What computes features of tiles ``[tiles, 3, side, side]``: ``modcore`` or ``transformers``."""
    if name == "modcore":
        from modcore.vision import load_vl_model

        model = load_vl_model(directory)
        model.build_model()
        return lambda pixels: model.forward([pixels])[0]
    from transformers import InternVLForConditionalGeneration

    theirs = InternVLForConditionalGeneration.from_pretrained(
        directory, local_files_only=True, dtype=torch.bfloat16
    ).eval()

    def features(pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            seen = theirs.model.get_image_features(pixels.to(torch.bfloat16))
        found: torch.Tensor = seen.pooler_output
        return found.flatten(0, 1)

    return features


def timed(work: Callable[[], Any]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speed(directory: Path, tiles: int, rounds: int) -> Row:
    """Features a second, in turns."""
    ours, theirs = load("modcore", directory), load("transformers", directory)
    pixels = torch.randn(tiles, 3, TILE, TILE)
    difference = (ours(pixels) - theirs(pixels)).abs().max().item()
    print(f"features differ by {difference:.4f} at most", file=sys.stderr)
    pairs = []
    for turn in range(rounds):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        times = {each: timed(lambda each=each: each(pixels)) for each in (first, second)}
        pairs.append((times[ours], times[theirs]))
    count = tiles * 256
    best = [count / min(times) for times in zip(*pairs, strict=True)]
    ratio = best[0] / best[1]
    return Row(
        f"features a second, {tiles} tiles", f"{best[0]:.0f}", f"{best[1]:.0f}", ratio,
        f">= {GOAL_SPEED}", ratio >= GOAL_SPEED,
    )  # fmt: skip


def memory(directory: Path, tiles: int) -> Row:
    """Peak memory of fresh processes, in MB."""
    peaks = {}
    for name in ("modcore", "transformers"):
        command = [
            sys.executable,
            __file__,
            "--child",
            name,
            "--tiles",
            str(tiles),
            "--work",
            str(directory),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[name] = int(done.stdout.split()[-1])
    ours, theirs = peaks["modcore"], peaks["transformers"]
    ratio = ours / theirs
    return Row(
        f"peak memory, {tiles} tiles", f"{ours / 1024:.0f} MB", f"{theirs / 1024:.0f} MB", ratio,
        f"<= {GOAL_MEMORY}", ratio <= GOAL_MEMORY,
    )  # fmt: skip


def child(name: str, directory: Path, tiles: int) -> None:
    """Compute features once, and print the peak of the process in KB."""
    load(name, directory)(torch.randn(tiles, 3, TILE, TILE))
    # Not getrusage's figure, which begins with the parent's memory.
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(found[1] if found else 0)


def repeated(directory: Path, rounds: int) -> Row:
    """An image seen before beside one that is new: from messages to what the engine takes."""
    from modcore.vision import load_vl_model

    model = load_vl_model(directory)
    model.read(asked(png(1)), None)  # what is loaded and imported with the first
    first, again = [], []
    for seed in range(2, 2 + rounds):
        messages = asked(png(seed))
        first.append(timed(lambda messages=messages: model.read(messages, None)))
        again.append(timed(lambda messages=messages: model.read(messages, None)))
    model.close()
    ratio = median(b / a for a, b in zip(first, again, strict=True))
    return Row(
        "a repeated image (theirs: a new one)", f"{min(again) * 1e3:.2f} ms", f"{min(first) * 1e3:.0f} ms",
        ratio, f"<= {GOAL_AGAIN}", ratio <= GOAL_AGAIN,
    )  # fmt: skip


async def stream_gaps(engine: Any, tokens: int) -> list[float]:
    """Seconds between the tokens of an answer to a text."""
    from modcore.engine import SamplingParams

    params = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True, prefix_cache=False)
    answer = engine.stream(list(range(300, 428)), params)
    times = [time.perf_counter() async for _ in answer]
    return [b - a for a, b in itertools.pairwise(times)]


async def beside_images(engine: Any, tokens: int, seed: int) -> tuple[list[float], int]:
    """As `stream_gaps` while new images are read one behind the other; and how many were."""
    from modcore.engine import SamplingParams

    count, is_over = 0, False

    async def ask() -> None:
        nonlocal count
        while not is_over:
            async for _ in engine.stream(asked(png(seed + count)), SamplingParams(max_tokens=1)):
                pass
            count += 1

    asking = asyncio.create_task(ask())
    gaps = await stream_gaps(engine, tokens)
    is_over = True
    await asking
    return gaps, count


async def streams(directory: Path, rounds: int) -> Row:
    """The p50 between two tokens of a text, beside images and alone, in turns."""
    from modcore.engine.async_engine import AsyncEngine

    engine = AsyncEngine.from_pretrained(directory, kv_tokens=8192, max_batch=4)
    await beside_images(engine, 20, seed=10_000)
    ratios, alone, beside, images = [], [], [], 0
    for turn in range(rounds):
        quiet = median(await stream_gaps(engine, 200))
        gaps, count = await beside_images(engine, 200, seed=20_000 + 1000 * turn)
        alone.append(quiet)
        beside.append(median(gaps))
        images += count
        ratios.append(beside[-1] / quiet)
    engine.close()
    print(f"{images} images were read beside the text", file=sys.stderr)
    ratio = median(ratios)
    return Row(
        "p50 of a text beside images (theirs: alone)", f"{median(beside) * 1e3:.1f} ms",
        f"{median(alone) * 1e3:.1f} ms", ratio, f"<= {GOAL_STREAM}", ratio <= GOAL_STREAM,
    )  # fmt: skip


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=4, help="of the tower (default: 4 of 24)")
    parser.add_argument("--tiles", type=int, default=5, help="of an image (default: 5)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, help="of either side (default: one a core)")
    parser.add_argument("--work", type=Path, help="where the checkpoint is, or is made")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--child", choices=("modcore", "transformers"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parsed()
    if options.child:
        child(options.child, options.work, options.tiles)
        return
    if options.threads:
        torch.set_num_threads(options.threads)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with tempfile.TemporaryDirectory() as temporary:
        directory = make_checkpoint((options.work or Path(temporary)) / "vision", options.layers)
        rows = [
            memory(directory, options.tiles),
            speed(directory, 1, options.rounds),
            speed(directory, options.tiles, options.rounds),
            repeated(directory, options.rounds),
            asyncio.run(streams(directory, options.rounds)),
        ]
    print(f"{'':44}{'modcore':>12}{'theirs':>12}{'ratio':>8}{'goal':>9}  met")
    for row in rows:
        print(
            f"{row.what:44}{row.ours:>12}{row.theirs:>12}{row.ratio:8.3f}{row.goal:>9}  {'yes' if row.met else 'no'}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
