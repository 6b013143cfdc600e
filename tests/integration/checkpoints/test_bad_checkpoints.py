"""What a checkpoint that is not what its config says gets: one sentence that names the culprit."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from checkpoints import llama_config
from modcore.engine import Engine
from modcore.errors import CheckpointError

Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def checkpoint(write_checkpoint: Callable[..., Path]) -> Path:
    """A good checkpoint that a test may spoil."""
    return write_checkpoint(llama_config())


@pytest.fixture
def sharded(write_checkpoint: Callable[..., Path]) -> Path:
    """A good sharded checkpoint that a test may spoil."""
    return write_checkpoint(llama_config(), max_shard_size="150KB")


def change(checkpoint: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(checkpoint / "model.safetensors")
    edit(tensors)
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})


def refusal(checkpoint: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Engine.from_pretrained(checkpoint)
    return str(caught.value)


def test_missing_tensor_is_named(checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: tensors.pop(Q))
    assert f"Tensor {Q} is missing" in refusal(checkpoint)


def test_misnamed_tensor_is_named_with_its_near_miss_on_both_sides(checkpoint: Path) -> None:
    wrong = Q.replace("q_proj", "q_prj")
    change(checkpoint, lambda tensors: tensors.update({wrong: tensors.pop(Q)}))
    message = refusal(checkpoint)
    assert f"Tensor {Q} is missing" in message and f"(near: {wrong})" in message
    assert f"Tensor {wrong}" in message and f"(near: {Q})" in message


def test_unexpected_tensor_is_named(checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: tensors.update({"extra.weight": torch.ones(3)}))
    message = refusal(checkpoint)
    assert "Tensor extra.weight" in message and "not expected" in message


def test_bias_that_the_config_does_not_announce_is_unexpected(checkpoint: Path) -> None:
    bias = Q.replace("weight", "bias")
    change(checkpoint, lambda tensors: tensors.update({bias: torch.ones(64)}))
    assert bias in refusal(checkpoint)


def test_wrong_shape_is_named_with_both_shapes(checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: tensors.update({Q: torch.ones(32, 64)}))
    message = refusal(checkpoint)
    assert Q in message and "[32, 64]" in message and "[64, 64]" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_that_is_not_finite_is_named(
    checkpoint: Path, value: float, dtype: torch.dtype
) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[Q] = tensors[Q].to(dtype)
        tensors[Q][3, 5] = value

    change(checkpoint, spoil)
    message = refusal(checkpoint)
    assert Q in message and "finite" in message


def test_large_finite_values_are_not_taken_for_infinite(checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: tensors.update({Q: torch.full((64, 64), 3e38)}))
    assert Engine.from_pretrained(checkpoint)


def test_integer_tensor_is_named_with_its_dtype(checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: tensors.update({Q: torch.ones(64, 64, dtype=torch.int32)}))
    message = refusal(checkpoint)
    assert Q in message and "I32" in message


def test_many_problems_are_counted_and_the_first_ones_listed(checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: [tensors.pop(name) for name in list(tensors)[:9]])
    message = refusal(checkpoint)
    assert "in 9 tensors" in message and "and 4 more" in message


def test_rotary_frequencies_of_old_llamas_are_ignored(checkpoint: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    change(checkpoint, lambda tensors: tensors.update({name: torch.ones(8)}))
    assert Engine.from_pretrained(checkpoint)


def raw_header(file: Path) -> tuple[bytes, bytes]:
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return content[8 : 8 + length], content[8 + length :]


def write_raw(file: Path, header: bytes, data: bytes) -> None:
    file.write_bytes(struct.pack("<Q", len(header)) + header + data)


def test_tensor_twice_in_one_header_is_named(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    header, data = raw_header(file)
    fields = json.dumps(json.loads(header)[Q])
    write_raw(file, header.replace(b"{", f'{{"{Q}":{fields},'.encode(), 1), data)
    message = refusal(checkpoint)
    assert f"Tensor {Q} is twice" in message and str(file) in message


def test_tensor_in_two_shards_is_named_with_both(sharded: Path) -> None:
    first, second, *_ = sorted(sharded.glob("*.safetensors"))
    tensors = load_file(second)
    name, tensor = next(iter(load_file(first).items()))
    save_file({**tensors, name: tensor}, second)
    message = refusal(sharded)
    assert name in message and first.name in message and second.name in message


def test_shard_that_the_index_names_and_is_not_there_is_named(sharded: Path) -> None:
    gone = sorted(sharded.glob("*.safetensors"))[1]
    gone.unlink()
    assert gone.name in refusal(sharded)


def test_index_that_leads_out_of_the_directory_is_refused(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    name = next(iter(content["weight_map"]))
    content["weight_map"][name] = "../../secret.safetensors"
    index.write_text(json.dumps(content))
    assert "../../secret.safetensors" in refusal(sharded)


def test_index_that_names_a_tensor_no_shard_holds_is_refused(sharded: Path) -> None:
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["ghost.weight"] = next(iter(content["weight_map"].values()))
    index.write_text(json.dumps(content))
    assert "ghost.weight" in refusal(sharded)


@pytest.mark.parametrize("kept", [0, 5, 8, 200, 5000, -1])
def test_truncated_file_is_named(checkpoint: Path, kept: int) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    message = refusal(checkpoint)
    assert str(file) in message and "damaged" in message


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b'"text"',
        b"{}",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [99999999999999999999], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_malformed_header_is_one_sentence_that_names_the_file(
    checkpoint: Path, header: bytes
) -> None:
    file = checkpoint / "model.safetensors"
    write_raw(file, header, b"\0\0\0\0")
    message = refusal(checkpoint)
    assert str(file) in message and "\n" not in message


def test_bytes_behind_the_tensors_are_refused(checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"\0" * 64)
    assert "foreign bytes" in refusal(checkpoint)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickled_weights_are_refused_without_being_read(checkpoint: Path, name: str) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / name).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    message = refusal(checkpoint)
    assert name in message and "pickle" in message


def test_checkpoint_without_weights_says_what_it_looked_for(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(checkpoint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "64"),
        ("hidden_size", -1),
        ("num_hidden_layers", 0),
        ("num_attention_heads", True),
        ("num_key_value_heads", 3),
        ("head_dim", 7),
        ("rms_norm_eps", "tiny"),
        ("vocab_size", None),
        ("hidden_act", "maxout"),
        ("tie_word_embeddings", "no"),
        ("rope_parameters", [1]),
        ("rope_parameters", []),
        ("rope_parameters", {"rope_type": "linear", "factor": 10**400}),
        (
            "rope_parameters",
            {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 0.5},
        ),
        ("rms_norm_eps", 10**400),
        ("rope_parameters", {"rope_type": "linear", "rope_theta": 1e4}),
        ("rope_parameters", {"rope_type": "linear", "factor": -2.0}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 0}),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}}),
        ("max_position_embeddings", 1.5),
        ("eos_token_id", "two"),
    ],
)
def test_config_key_of_a_wrong_type_or_range_is_named(
    checkpoint: Path, key: str, value: Any
) -> None:
    (checkpoint / "generation_config.json").unlink()
    file = checkpoint / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    message = refusal(checkpoint)
    assert str(file) in message
    assert key in message or "rope" in message


def test_config_without_a_needed_key_names_it(checkpoint: Path) -> None:
    file = checkpoint / "config.json"
    config = json.loads(file.read_text())
    del config["hidden_size"]
    file.write_text(json.dumps(config))
    assert "hidden_size is missing" in refusal(checkpoint)


def test_number_of_layers_beyond_reason_is_refused_at_once(checkpoint: Path) -> None:
    file = checkpoint / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    assert "num_hidden_layers is 1000000000" in refusal(checkpoint)


def test_config_with_more_layers_than_the_file_says_which_tensors_miss(checkpoint: Path) -> None:
    file = checkpoint / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "num_hidden_layers": 3}))
    assert "model.layers.2." in refusal(checkpoint)
