"""The engine beside its peers: every engine on the same checkpoint, in one interleaved run.

    python benchmarks/engine_bench.py CHECKPOINT --work-dir DIR --peer transformers=PYTHON \
        --peer vllm=PYTHON --peer openvino-genai=PYTHON --peer ctranslate2=PYTHON --peer llama.cpp=PYTHON --llama-bin DIR

Without CHECKPOINT a random Llama of about 350 million parameters is made in the working directory. A peer whose
interpreter is not given is left out, with a word. Each engine is a process of its own that stays loaded; the rounds go round the
engines in turn, so that whatever else the machine does meets them all, and figures are medians of the rounds. Peers with
a format of their own need the checkpoint converted first (`engine/convert_*.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "engine"
RUNNERS = {
    "modcore": "run_modcore.py",
    "transformers": "run_transformers.py",
    "vllm": "run_vllm.py",
    "openvino-genai": "run_openvino_genai.py",
    "ctranslate2": "run_ctranslate2.py",
    "llama.cpp": "run_llama_cpp.py",
}


@dataclass(frozen=True, slots=True)
class Work:
    """A row of the table: what is asked of an engine, and which engines can do it, in which precision."""

    title: str
    ask: dict[str, Any]
    quants: dict[str, tuple[str, ...]]
    variants: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unit: str = "tok/s"


BF16 = {
    "modcore": ("bf16",),
    "transformers": ("bf16",),
    "vllm": ("bf16",),
    "openvino-genai": ("bf16",),
    "ctranslate2": ("fp32",),
    "llama.cpp": ("bf16",),
}
SMALL = {
    "modcore": ("bf16", "int8", "int4"),
    "openvino-genai": ("int8",),
    "ctranslate2": ("int8",),
    "llama.cpp": ("q8_0",),
}
MIXED = {"transformers": ("static8", "static32", "continuous"), "ctranslate2": ("static8",)}
WORKS = {
    "decode1": Work("decode, batch 1", {"work": "decode", "batch": 1, "output": 48}, BF16),
    "decode8": Work("decode, batch 8", {"work": "decode", "batch": 8, "output": 32}, BF16),
    "decode32": Work("decode, batch 32", {"work": "decode", "batch": 32, "output": 24}, BF16),
    "prefill": Work("prefill, 8 x 128", {"work": "prefill", "batch": 8}, BF16),
    "mixed": Work("mixed, 32 requests", {"work": "mixed"}, BF16, MIXED),
    "small1": Work("decode, batch 1", {"work": "decode", "batch": 1, "output": 48}, SMALL),
    "small8": Work("decode, batch 8", {"work": "decode", "batch": 8, "output": 32}, SMALL),
    "smallprefill": Work("prefill, 8 x 128", {"work": "prefill", "batch": 8}, SMALL),
    "prefix": Work(
        "first token, shared prefix",
        {"work": "prefix"},
        {"modcore": ("bf16",)},
        {"modcore": ("", "no-prefix-cache")},
        "s",
    ),
    "load": Work(
        "start to first token",
        {"work": "load"},
        {"modcore": ("bf16",), "transformers": ("bf16",), "vllm": ("bf16",)},
        unit="s",
    ),
}


class Peer:
    """A runner that stays loaded, asked line by line."""

    def __init__(self, name: str, python: str, checkpoint: Path, extra: Sequence[str]) -> None:
        self.name = name
        command = [python, str(HERE / RUNNERS[name]), str(checkpoint), *extra]
        self.command = command
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        self.process = subprocess.Popen(
            [*command, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def wait_until_ready(self) -> bool:
        """Whether it came up."""
        assert self.process.stdout
        return self.process.stdout.readline().strip() == "READY"

    def ask(self, work: dict[str, Any]) -> dict[str, Any]:
        """One result; ``{"error": ...}`` where there is none."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps(work) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError as error:
            return {"error": str(error)}
        return json.loads(line) if line else {"error": "the runner has ended"}

    def close(self) -> None:
        """End it."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def combinations(work: Work, name: str) -> Iterator[tuple[str, str]]:
    """The precisions and variants of `work` that the engine `name` is measured in."""
    for quant in work.quants.get(name, ()):
        for variant in work.variants.get(name, (DEFAULT_VARIANTS.get(name, ""),)):
            yield quant, variant


DEFAULT_VARIANTS = {"vllm": "eager"}
MEMORY = ("modcore", "vllm", "openvino-genai")  # whose memory the goals speak of


def label(name: str, quant: str, variant: str) -> str:
    """How a column is called."""
    shown = variant if variant not in ("", "eager") else ""
    return " ".join(part for part in (name, quant, shown) if part)


def run(peers: Sequence[Peer], works: Sequence[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Results by work and label: the figures of each round, and the largest memory seen."""
    results: dict[str, dict[str, Any]] = {key: {} for key in works}
    order = random.Random(
        0
    )  # who comes first may matter: the others' threads have just gone to sleep
    for turn in range(rounds):
        for key in works:
            work = WORKS[key]
            for peer in order.sample(peers, len(peers)):
                time.sleep(0.5)
                for quant, variant in combinations(work, peer.name):
                    if key == "load" and turn >= 3:
                        continue
                    ask = work.ask | {"quant": quant, "variant": variant, "seed": turn}
                    answer = peer.ask(ask)
                    name = label(peer.name, quant, variant)
                    cell = results[key].setdefault(name, {"figures": [], "p10": [], "rss_mb": 0})
                    if "error" in answer:
                        cell["error"] = answer["error"]
                        continue
                    cell["figures"] += answer["tok_per_s"] or answer["seconds"]
                    cell["p10"] += answer["tok_per_s_p10"]
                    cell["rss_mb"] = max(cell["rss_mb"], answer["peak_rss_mb"])
                    figure = cell["figures"][-1]
                    print(
                        f"  round {turn + 1} {work.title}: {name} {figure:.4g} {work.unit}",
                        file=sys.stderr,
                    )
    return results


def peak_memory(command: Sequence[str]) -> int | None:
    """The MB of a fresh process that serves the mixed workload once."""
    done = subprocess.run(
        [*command, "--work", "mixed"], capture_output=True, text=True, check=False, timeout=600
    )
    try:
        return int(json.loads(done.stdout.splitlines()[-1])["peak_rss_mb"])
    except (IndexError, KeyError, ValueError):
        return None


def printed(results: dict[str, dict[str, Any]], limits: dict[str, Any], parameters: float) -> str:
    """The tables as text: the median of each engine, the ratio of ours to it, and the fraction of the limit."""
    lines = [
        f"memory {limits['read_gb_s']:.1f} GB/s, matrix products {limits['gemm_gf_s']:.0f} GF/s",
    ]
    for key, cells in results.items():
        work = WORKS[key]
        lines += ["", f"{work.title} ({work.unit})"]
        ours = next((c for n, c in cells.items() if n == "modcore bf16"), None)
        for name, cell in cells.items():
            if not cell["figures"]:
                lines.append(f"  {name:28} {cell.get('error', 'no figure')[:60]}")
                continue
            median = statistics.median(cell["figures"])
            best = max(cell["figures"]) if work.unit == "tok/s" else min(cell["figures"])
            ratio = statistics.median(ours["figures"]) / median if ours and ours["figures"] else 0
            part = fraction(key, name, median, limits, parameters)
            lines.append(
                f"  {name:28} {median:9.4g}  best {best:9.4g}  ours / it {ratio:5.2f}  {part:>5}"
            )
    return "\n".join(lines)


def fraction(key: str, name: str, median: float, limits: dict[str, Any], parameters: float) -> str:
    """What part of the machine's limit a bfloat16 figure is: of the bandwidth at batch 1, of the products in prefill."""
    if "bf16" not in name:
        return ""
    if key == "decode1":
        return f"{2 * parameters * median / 1e9 / limits['read_gb_s']:.0%}"
    if key == "prefill":
        return f"{2 * parameters * median / 1e9 / limits['gemm_gf_s']:.0%}"
    return ""


def read_parameters(checkpoint: Path) -> float:
    """Parameters that a decoded token reads: all but the embedding."""
    config = json.loads((checkpoint / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    heads = 2 * config["num_attention_heads"] + 2 * config["num_key_value_heads"]
    layer = hidden * head_dim * heads + 3 * hidden * inner
    return float(config["num_hidden_layers"] * layer + config["vocab_size"] * hidden)


def child(script: str, *arguments: str) -> dict[str, Any]:
    """What a script of ours prints as JSON."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def draw(results: dict[str, Any], anatomy: dict[str, Any], file: Path) -> None:
    """The picture: medians by engine, and what a token costs behind a longer context."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    keys = [
        key for key in ("decode1", "decode8", "decode32", "prefill", "mixed") if results.get(key)
    ]
    figure, axes = pyplot.subplots(1, len(keys) + 1, figsize=(3.4 * (len(keys) + 1), 4.2))
    for axis, key in zip(axes, keys, strict=False):
        cells = {n: c for n, c in results[key].items() if c["figures"]}
        names = sorted(cells, key=lambda n: statistics.median(cells[n]["figures"]))
        medians = [statistics.median(cells[name]["figures"]) for name in names]
        colours = ["#0072B2" if name.startswith("modcore") else "#BBBBBB" for name in names]
        bars = axis.barh([name.replace(" bf16", "") for name in names], medians, color=colours)
        axis.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
        axis.set_title(WORKS[key].title, fontsize=10)
        axis.set_xlabel("tokens / s")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    lengths, costs = zip(*anatomy["context"], strict=True)
    axes[-1].plot(lengths, costs, marker="o", color="#0072B2")
    axes[-1].set_title("a decoded token, by context", fontsize=10)
    axes[-1].set_xlabel("tokens of context")
    axes[-1].set_ylabel("ms")
    axes[-1].set_ylim(bottom=0)
    axes[-1].spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        "bfloat16, two cores, medians of rounds in turn (CTranslate2: float32)", fontsize=10
    )
    figure.tight_layout()
    figure.savefig(file, dpi=110, bbox_inches="tight")


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--work-dir", type=Path, default=Path("engine-bench"))
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--llama-bin", type=Path, help="the folder of llama.cpp's programs")
    parser.add_argument("--works", nargs="*", choices=WORKS, default=list(WORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.checkpoint or arguments.work_dir / "mid"
    if not checkpoint.exists():
        make = [sys.executable, str(HERE / "make_checkpoints.py"), str(arguments.work_dir)]
        text = str(HERE.parent.parent / "docs")
        subprocess.run([*make, "--text", text, "--only", "mid"], check=True)

    pythons = {"modcore": sys.executable} | dict(each.split("=", 1) for each in arguments.peer)
    peers = []
    for name in RUNNERS:
        if name not in pythons:
            print(f"{name} is left out: give it with --peer {name}=PYTHON", file=sys.stderr)
            continue
        extra = ["--threads", str(arguments.threads)]
        if name == "llama.cpp":
            extra += ["--bin", str(arguments.llama_bin)]
        peer = Peer(name, pythons[name], checkpoint, extra)
        if peer.wait_until_ready():
            peers.append(peer)
        else:
            print(f"{name} is left out: its runner did not come up", file=sys.stderr)
            peer.close()
    try:
        results = run(peers, arguments.works, arguments.rounds)
    finally:
        for peer in peers:
            peer.close()
    threads = ("--threads", str(arguments.threads))
    limits = child("limits.py", *threads)
    memory = {peer.name: peak_memory(peer.command) for peer in peers if peer.name in MEMORY}
    anatomy = child("anatomy.py", str(checkpoint), *threads)
    text = printed(results, limits, read_parameters(checkpoint))
    text += "\n\npeak memory of a fresh process, mixed workload (MB)\n"
    text += "\n".join(f"  {name:28} {megabytes}" for name, megabytes in memory.items())
    share = anatomy["share"]["share"]
    text += f"\n\nscheduling and sampling of a step, batch 32: {share:.1%}"
    print(text)
    everything = {"results": results, "limits": limits, "anatomy": anatomy, "memory": memory}
    (arguments.work_dir / "engine_bench.json").write_text(json.dumps(everything, indent=1))
    (arguments.work_dir / "engine_bench.txt").write_text(text + "\n")
    draw(results, anatomy, arguments.work_dir / "engine_bench.png")


if __name__ == "__main__":
    main()
