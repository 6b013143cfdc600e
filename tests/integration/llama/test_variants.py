"""Parts of a model replaced by their registered ids, and what the quantised ones come to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from checkpoints import llama_config, reference
from modcore.engine import Engine, SamplingParams
from modcore.errors import InvalidRequest
from modcore_llama.variants import Int4TransformerLayerWeight, Int8TransformerLayerWeight
from plugin_sites import CommandLine, Site

WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4}
IDS = list(range(1, 60))


@pytest.fixture(scope="module")
def wide(write_checkpoint: Callable[..., Path]) -> Path:
    """A model whose weights have room for every layout."""
    return write_checkpoint(llama_config(**WIDE), dtype=torch.bfloat16)


def distance(engine: Engine, directory: Path) -> float:
    """Between the engine's logits and transformers' in float32, in relation to them."""
    with torch.inference_mode():
        expected = reference(directory)(torch.tensor([IDS])).logits[0]
    return float((engine.logits(IDS) - expected).norm() / expected.norm())


@pytest.mark.parametrize(("weights", "most"), [(None, 0.02), ("int8", 0.04), ("int4", 0.2)])
def test_logits_of_a_variant_are_close_to_float(
    wide: Path, weights: str | None, most: float
) -> None:
    assert distance(Engine.from_pretrained(wide, weights=weights), wide) < most


@pytest.mark.parametrize(("weights", "most"), [("int8", 0.65), ("int4", 0.45)])
@pytest.mark.parametrize("tied", [False, True])
def test_memory_of_a_variant(
    write_checkpoint: Callable[..., Path], weights: str, most: float, tied: bool
) -> None:
    config = llama_config(**WIDE, vocab_size=256, tie_word_embeddings=tied)
    directory = write_checkpoint(config, dtype=torch.bfloat16)
    exact = Engine.from_pretrained(directory).model
    model = Engine.from_pretrained(directory, weights=weights).model
    assert model.weight_bytes < most * exact.weight_bytes


def test_a_tied_head_of_8_bits_is_also_the_embedding(write_checkpoint: Callable[..., Path]) -> None:
    config = llama_config(**WIDE, tie_word_embeddings=True)
    directory = write_checkpoint(config, dtype=torch.bfloat16)
    engine = Engine.from_pretrained(directory, weights="int8")
    assert engine.model.pre_post_weight.embedding is engine.model.pre_post_weight.lm_head  # type: ignore[attr-defined]
    assert distance(engine, directory) < 0.05


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_variant_answers_the_same_alone_and_in_a_batch(wide: Path, weights: str) -> None:
    engine = Engine.from_pretrained(wide, dtype="float32", weights=weights)
    params = SamplingParams(max_tokens=8, temperature=0.0)
    prompts = [[3, 4, 5], [9, 8, 7, 6], [11]]
    alone = [engine.generate([prompt], params)[0].token_ids for prompt in prompts]
    assert [answer.token_ids for answer in engine.generate(prompts, params)] == alone


def test_the_classes_are_those_that_are_registered(wide: Path) -> None:
    for weights, expected in (
        ("int8", Int8TransformerLayerWeight),
        ("int4", Int4TransformerLayerWeight),
    ):
        model = Engine.from_pretrained(wide, weights=weights).model
        assert {type(weight) for weight in model.trans_layers_weight} == {expected}


def test_a_variant_that_nobody_offers_is_refused_with_those_there_are(wide: Path) -> None:
    with pytest.raises(
        InvalidRequest, match=r"did you mean 'int8'\? there are: int4 \(modcore-ll"
    ) as caught:
        Engine.from_pretrained(wide, weights="imt8")
    assert caught.value.param == "weights"
    with pytest.raises(InvalidRequest, match="it has no variants"):
        Engine.from_pretrained(wide, layers="fast")


MINE = """
import torch
from modcore_llama.weights import LlamaTransformerLayerWeight
from modcore_llama.layers import LlamaPostLayerInfer

class Halved:
    def __init__(self, weight):
        self.weight, self.shape, self.nbytes = weight, tuple(weight.shape), weight.nbytes
    def __call__(self, x):
        return x @ (self.weight / 2).t()

class Mine(LlamaTransformerLayerWeight):
    def make_linear(self, spec, weight, bias, kernels, *, shared):
        print("mine:", spec.attribute) if self.layer_num == 0 else None
        return Halved(weight)

class Loud(LlamaPostLayerInfer):
    def context_forward(self, inputs, infer_state, layer_weight):
        print("loud")
        return super().context_forward(inputs, infer_state, layer_weight)
    token_forward = context_forward
"""


@pytest.fixture
def stranger(tmp_path: Path) -> CommandLine:
    """The command line with a package of somebody else's, which has parts for Llama."""
    site = Site(tmp_path / "site")
    site.install(
        "llama-mine",
        "3.1",
        entry_points={
            "modcore.weights": {
                "llama.transformer.mine": "mine:Mine",
                "llama.pre_post.odd": "mine:Halved",
            },
            "modcore.infer_layers": {"llama.post.loud": "mine:Loud"},
        },
        modules={"mine": MINE},
    )
    return CommandLine(sys.executable, [site.path])


def test_a_part_of_another_package_is_used(stranger: CommandLine, text_checkpoint: Path) -> None:
    words = ["generate", text_checkpoint, "--prompt", "the", "--max-tokens", 2, "--json"]
    done = stranger.run(*words, "--weights", "mine", "--layers", "loud")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:6] == [
        "mine: qkv", "mine: o", "mine: gate_up", "mine: down", "loud", "loud",
    ]  # fmt: skip


def test_a_part_that_is_no_such_part_is_an_error(
    stranger: CommandLine, text_checkpoint: Path
) -> None:
    done = stranger.run("generate", text_checkpoint, "--prompt", "x", "--weights", "odd")
    assert done.returncode == 1
    assert "llama.pre_post.odd" in done.stderr
    assert "no subclass of PreAndPostLayerWeight" in done.stderr


def test_explain_shows_the_variants_and_whose_they_are(
    stranger: CommandLine, text_checkpoint: Path
) -> None:
    text = stranger.run("explain", text_checkpoint).stdout
    assert (
        "variant: --weights int8 from modcore-llama 0.1.0 (llama.pre_post.int8, llama.transformer.int8)"
        in text
    )
    assert "variant: --weights mine from llama-mine 3.1 (llama.transformer.mine)" in text
    assert "variant: --layers loud from llama-mine 3.1 (llama.post.loud)" in text
    listed = stranger.json("explain", text_checkpoint)["variants"]
    entry = {
        "group": "modcore.weights",
        "id": "llama.transformer.mine",
        "dist": "llama-mine",
        "version": "3.1",
    }
    assert entry in listed


def test_an_unknown_variant_on_the_command_line_exits_with_2(
    stranger: CommandLine, text_checkpoint: Path
) -> None:
    done = stranger.run("generate", text_checkpoint, "--prompt", "x", "--weights", "int3")
    assert done.returncode == 2
    assert "error: --weights: no installed package offers weights 'int3' for llama" in done.stderr


def test_int8_on_the_command_line(stranger: CommandLine, text_checkpoint: Path) -> None:
    words = ["generate", text_checkpoint, "--prompt", "the", "--max-tokens", 3, "--json"]
    done = stranger.run(*words, "--weights", "int8")
    assert len(json.loads(done.stdout)["token_ids"]) <= 3
