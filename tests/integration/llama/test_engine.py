"""The engine as a library user meets it."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from checkpoints import llama_config, reference
from modcore.engine import Engine, SamplingParams
from modcore.errors import (
    CheckpointError,
    EngineClosed,
    InvalidRequest,
    ModcoreError,
    ModelNotServed,
)

GREEDY = SamplingParams(max_tokens=24, temperature=0.0)


@pytest.fixture(scope="module")
def engine(text_checkpoint: Path) -> Engine:
    return Engine.from_pretrained(text_checkpoint, dtype="float32")


def test_text_is_the_decoded_tokens(engine: Engine) -> None:
    for result in engine.generate(["the quick", "how many 🦙"], GREEDY):
        assert result.text == engine.tokenizer.decode(result.token_ids)
        assert result.usage.completion_tokens == len(result.token_ids)


def test_streamed_pieces_joined_are_the_unstreamed_answer(engine: Engine) -> None:
    for params in (GREEDY, SamplingParams(max_tokens=40, seed=3)):
        whole = engine.generate("naïve café", params)[0]
        pieces = list(engine.stream("naïve café", params))
        assert "".join(piece.text for piece in pieces) == whole.text
        assert [token for piece in pieces for token in piece.token_ids] == whole.token_ids
        assert pieces[-1].finish_reason == whole.finish_reason
        assert pieces[-1].usage is not None
        assert pieces[-1].usage.total_tokens == whole.usage.total_tokens
        assert all(piece.finish_reason is None for piece in pieces[:-1])


def test_stop_string_ends_the_answer_and_is_not_part_of_it(engine: Engine) -> None:
    text = engine.generate("the quick", GREEDY)[0].text
    stop = text[len(text) // 2 :][:3]
    result = engine.generate(
        "the quick", SamplingParams(max_tokens=24, temperature=0.0, stop=stop)
    )[0]
    assert result.text == text.partition(stop)[0]
    assert result.finish_reason == "stop"
    params = SamplingParams(max_tokens=24, temperature=0.0, stop=[stop])
    assert "".join(piece.text for piece in engine.stream("the quick", params)) == result.text


def test_end_token_ends_the_answer_as_in_transformers(
    write_checkpoint: Callable[..., Path],
) -> None:
    free = write_checkpoint(llama_config())
    ids = [5, 9, 23]
    tokens = Engine.from_pretrained(free).generate([ids], GREEDY)[0].token_ids
    end = tokens[7]
    directory = write_checkpoint(llama_config(eos_token_id=[end, 198]))
    result = Engine.from_pretrained(directory).generate([ids], GREEDY)[0]
    model = reference(directory)
    answer = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)
    assert result.token_ids == answer[0, 3:].tolist()
    assert result.finish_reason == "stop"
    assert result.token_ids[-1] == end


def test_same_seed_gives_the_same_answer_alone_and_in_a_batch(engine: Engine) -> None:
    seeded = SamplingParams(max_tokens=20, seed=42, temperature=0.9, top_p=0.9)
    alone = engine.generate("how many", seeded)[0]
    crowd = [SamplingParams(max_tokens=9), seeded, SamplingParams(max_tokens=30, seed=1)]
    assert engine.generate(["the", "how many", "fox"], crowd)[1].token_ids == alone.token_ids


def test_chat_messages_are_rendered_with_the_template(engine: Engine) -> None:
    ids = engine.encode([{"role": "user", "content": "hello"}])
    assert engine.encode("<|turn|>user: hello<|end|>\n<|turn|>assistant: ") == ids
    assert len(engine.generate([{"role": "user", "content": "hello"}], GREEDY)) == 1


def test_answer_ends_with_the_context(engine: Engine) -> None:
    ids = [7] * (engine.max_length - 5)
    result = engine.generate([ids], SamplingParams(max_tokens=100, temperature=0.0))[0]
    assert len(result.token_ids) == 5
    assert result.finish_reason == "length"


def test_max_tokens_none_goes_on_until_the_context_ends(engine: Engine) -> None:
    ids = [7] * (engine.max_length - 9)
    assert (
        len(engine.generate([ids], SamplingParams(max_tokens=None, temperature=0.0))[0].token_ids)
        == 9
    )


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "empty"),
        ([], "empty"),
        ([1] * 600, "600 tokens"),
        ([1] * 512, "512 tokens"),
        ([1, 10**6], "1000000"),
        ([-1], "-1"),
        ([1.5], "1.5"),
    ],
)
def test_prompt_that_cannot_be_answered_is_refused(engine: Engine, prompt: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        engine.generate([prompt], GREEDY)
    assert caught.value.param == "prompt"


def test_one_bad_prompt_of_a_batch_leaves_nothing_running(engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        engine.generate(["fine", ""], GREEDY)
    assert not engine.scheduler.has_work


@pytest.mark.parametrize("option", [{"dtype": "float8"}, {"kv_tokens": 0}, {"max_batch": -1}])
def test_wrong_option_is_refused_by_name(text_checkpoint: Path, option: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Engine.from_pretrained(text_checkpoint, **option)
    assert caught.value.param == next(iter(option))


def test_more_requests_than_fit_take_turns_and_answer_as_alone(text_checkpoint: Path) -> None:
    small = Engine.from_pretrained(text_checkpoint, kv_tokens=80, max_batch=3)
    prompts = [[10 + i] * (5 + 3 * i) for i in range(10)]
    together = small.generate(prompts, GREEDY)
    for prompt, result in zip(prompts, together, strict=True):
        assert small.generate([prompt], GREEDY)[0].token_ids == result.token_ids
    assert small.scheduler.holdings.tokens_in_use == 0


def test_prompt_longer_than_the_kv_cache_is_refused_with_the_numbers(text_checkpoint: Path) -> None:
    small = Engine.from_pretrained(text_checkpoint, kv_tokens=20)
    with pytest.raises(InvalidRequest, match=r"30 tokens.*KV cache of 20"):
        small.generate([[5] * 30], GREEDY)


def test_leaving_a_stream_early_frees_its_rows(engine: Engine) -> None:
    stream = engine.stream("the quick", SamplingParams(max_tokens=200, temperature=0.0))
    next(stream)
    assert engine.scheduler.has_work
    stream.close()
    assert not engine.scheduler.has_work
    assert engine.scheduler.holdings.tokens_in_use == 0


def test_two_streams_read_in_turn_answer_as_alone(engine: Engine) -> None:
    alone = [engine.generate(prompt, GREEDY)[0].text for prompt in ("the", "def")]
    first, second = engine.stream("the", GREEDY), engine.stream("def", GREEDY)
    texts = ["", ""]
    for pieces in itertools.zip_longest(first, second):
        for number, piece in enumerate(pieces):
            texts[number] += piece.text if piece else ""
    assert texts == alone


def test_threads_share_an_engine(engine: Engine) -> None:
    prompts = ["the", "def", "how many", "fox"]
    expected = [engine.generate(prompt, GREEDY)[0].text for prompt in prompts]
    answers: dict[str, str] = {}

    def ask(prompt: str) -> None:
        answers[prompt] = engine.generate(prompt, GREEDY)[0].text

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answers[prompt] for prompt in prompts] == expected


def test_step_that_fails_ends_its_requests_and_the_engine_goes_on(
    text_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.from_pretrained(text_checkpoint)
    stream = engine.stream("the quick", GREEDY)
    next(stream)
    with monkeypatch.context() as patch:
        patch.setattr(engine.model, "forward", lambda *_: 1 / 0)
        with pytest.raises(ModcoreError, match="ZeroDivisionError"):
            list(stream)
    assert engine.scheduler.holdings.tokens_in_use == 0
    assert engine.generate("the quick", GREEDY)[0].text


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(), SamplingParams(top_p=0.5)], ids=str)
def test_values_that_are_not_finite_end_their_request_alone(
    text_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, params: SamplingParams
) -> None:
    engine = Engine.from_pretrained(text_checkpoint)
    forward = engine.model.forward

    def spoiled(ids: torch.Tensor, state: Any) -> torch.Tensor:
        logits = forward(ids, state).clone()
        logits[0] = float("nan")
        return logits

    monkeypatch.setattr(engine.model, "forward", spoiled)
    first, second = (engine.prepare(prompt, params) for prompt in ("the", "fox"))
    for job in (first, second):
        engine.submit(job)
    engine.step()
    assert first.error and "not finite" in str(first.error)
    assert not second.error and second.requests[0].written == 1


def test_token_that_cannot_be_decoded_ends_its_request_alone(text_checkpoint: Path) -> None:
    engine = Engine.from_pretrained(text_checkpoint)
    first, second = (engine.prepare(prompt, GREEDY) for prompt in ("the", "fox"))
    transcript = first._transcripts[first.requests[0]]
    transcript._detokenizer.push = lambda token: 1 / 0  # type: ignore[union-attr,method-assign]
    for job in (first, second):
        engine.submit(job)
    engine.step()
    assert "ZeroDivisionError" in str(first.error)
    assert not second.error


def test_stream_that_is_never_read_asks_for_nothing(engine: Engine) -> None:
    engine.stream("the", GREEDY)
    assert not engine.scheduler.has_work


def test_answer_that_another_thread_aborts_ends_as_it_is(text_checkpoint: Path) -> None:
    engine = Engine.from_pretrained(text_checkpoint)
    stream = engine.stream("the", SamplingParams(max_tokens=400, temperature=0.0))
    next(stream)
    engine.abort(next(iter(engine.stepper.jobs.values())))
    assert list(stream)[-1].finish_reason == "abort"


def test_text_that_is_not_unicode_is_refused(engine: Engine) -> None:
    for prompt in ("a\ud800", [{"role": "user", "content": "a\ud800"}]):
        with pytest.raises(InvalidRequest, match="half a character"):
            engine.generate(prompt, GREEDY)


def test_ids_of_other_libraries_are_taken(engine: Engine) -> None:
    expected = engine.logits([5, 9])
    for ids in (torch.tensor([5, 9]), numpy.array([5, 9]), (5, 9)):
        assert torch.equal(engine.logits(ids), expected)


@pytest.mark.parametrize(
    "ids",
    [numpy.array([5, 6, 7]), torch.tensor([5, 6, 7]), list(torch.tensor([5, 6, 7]))],
    ids=["array", "tensor", "scalars"],
)
def test_an_array_of_ids_is_one_prompt_and_an_element_of_several(engine: Engine, ids: Any) -> None:
    expected = engine.generate([5, 6, 7], GREEDY)[0].token_ids
    assert [each.token_ids for each in engine.generate(ids, GREEDY)] == [expected]
    assert [each.token_ids for each in engine.generate([ids, ids], GREEDY)] == [expected] * 2


@pytest.mark.parametrize("prompt", [None, 5, b"text", {"role": "user"}, [{5, 6}], iter([[5]])])
def test_what_is_no_prompt_is_refused_by_its_kind(engine: Engine, prompt: Any) -> None:
    with pytest.raises(InvalidRequest, match="list of token ids or a list of messages, not"):
        engine.generate(prompt, GREEDY)


@pytest.mark.parametrize("params", [{"max_tokens": 3}, 3, SamplingParams, [3]])
def test_params_of_another_kind_are_refused(engine: Engine, params: Any) -> None:
    with pytest.raises(InvalidRequest, match="give SamplingParams"):
        engine.generate("the", params)


def test_min_tokens_that_cannot_be_reached_are_refused_with_the_numbers(engine: Engine) -> None:
    room = engine.max_length - 3
    with pytest.raises(InvalidRequest, match=f"leaves room for {room}") as caught:
        engine.generate([5, 6, 7], SamplingParams(max_tokens=None, min_tokens=room + 1))
    assert caught.value.param == "min_tokens"


def test_tap_at_no_point_is_refused_with_the_near_one(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match=r"did you mean 'layers\.0\.attn_out'"):
        engine.logits([5], taps={"layers.0.attnout": torch.zeros_like})


def test_checkpoint_without_a_tokenizer_takes_ids(write_checkpoint: Callable[..., Path]) -> None:
    engine = Engine.from_pretrained(write_checkpoint(llama_config()))
    assert engine.generate([[3, 4]], GREEDY)[0].text == ""
    with pytest.raises(InvalidRequest, match="no tokenizer"):
        engine.generate(["text"], GREEDY)


def test_tokenizer_that_cannot_be_read_is_named(write_checkpoint: Callable[..., Path]) -> None:
    directory = write_checkpoint(llama_config())
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="tokenizer in"):
        Engine.from_pretrained(directory).generate(["text"], GREEDY)


def test_code_in_the_checkpoint_directory_is_not_run(
    text_checkpoint: Path, write_checkpoint: Callable[..., Path]
) -> None:
    directory = write_checkpoint(llama_config(vocab_size=400))
    (directory / "tokenizer.json").write_bytes((text_checkpoint / "tokenizer.json").read_bytes())
    mark = directory / "ran"
    (directory / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Tok: pass\n")
    auto_map = {"AutoTokenizer": ["evil.Tok", "evil.Tok"], "AutoModelForCausalLM": "evil.Tok"}
    for name in ("config.json", "tokenizer_config.json"):
        file = directory / name
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**content, "auto_map": auto_map}))
    with contextlib.suppress(ModcoreError):  # refusing is as good as ignoring
        Engine.from_pretrained(directory).generate(["the"], GREEDY)
    assert not mark.exists()


def test_architecture_that_nobody_serves_says_what_to_do(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(llama_config())
    file = directory / "config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "architectures": ["FooForCausalLM"]})
    )
    with pytest.raises(ModelNotServed, match="FooForCausalLM"):
        Engine.from_pretrained(directory)


def test_named_points_carry_what_transformers_computes_there(
    write_checkpoint: Callable[..., Path],
) -> None:
    directory = write_checkpoint(llama_config(num_key_value_heads=2))
    engine, model = Engine.from_pretrained(directory), reference(directory)
    ids = [3, 14, 15, 92, 6]
    seen: dict[str, torch.Tensor] = {}
    names = ["embed", "final_norm", "logits"]
    for layer in range(2):
        for point in ("in", "attn_in", "q", "k", "v", "attn_out", "mlp_in", "mlp_out", "out"):
            names.append(f"layers.{layer}.{point}")

    def keep(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def tap(tensor: torch.Tensor) -> torch.Tensor:
            seen[name] = tensor.clone()
            return tensor

        return tap

    engine.logits(ids, taps={name: keep(name) for name in names})
    expected = transformers_points(model, ids)
    assert set(seen) == set(names)
    for name, tensor in expected.items():
        torch.testing.assert_close(seen[name], tensor, atol=1e-5, rtol=0, msg=name)


def transformers_points(model: Any, ids: list[int]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    inner = model.model

    def keep(module: Any, name: str) -> None:
        module.register_forward_hook(
            lambda _, __, out: found.update({name: (out[0] if isinstance(out, tuple) else out)[0]})
        )

    keep(inner.embed_tokens, "embed")
    keep(inner.norm, "final_norm")
    for number, layer in enumerate(inner.layers):
        keep(layer.input_layernorm, f"layers.{number}.attn_in")
        keep(layer.self_attn, f"layers.{number}.attn_out")
        keep(layer.post_attention_layernorm, f"layers.{number}.mlp_in")
        keep(layer.mlp, f"layers.{number}.mlp_out")
        keep(layer, f"layers.{number}.out")
    with torch.no_grad():
        out = model(torch.tensor([ids]), use_cache=True)
    for number, layer in enumerate(out.past_key_values.layers):
        found[f"layers.{number}.k"] = layer.keys[0].transpose(0, 1)
        found[f"layers.{number}.v"] = layer.values[0].transpose(0, 1)
    found["layers.0.in"] = found["embed"]
    found["layers.1.in"] = found["layers.0.out"]
    found["logits"] = out.logits[0]
    return found


def test_tap_that_replaces_an_activation_changes_the_logits(engine: Engine) -> None:
    ids = engine.encode("the quick")
    plain = engine.logits(ids)
    silenced = engine.logits(ids, taps={"layers.0.mlp_out": torch.zeros_like})
    assert not torch.allclose(plain, silenced)
    assert torch.equal(engine.logits(ids), plain)


def test_answers_follow_a_schema_beside_others_that_are_free(text_checkpoint: Path) -> None:
    engine = Engine.from_pretrained(text_checkpoint)
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [1, 22]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    bound = SamplingParams(json_schema=schema, max_tokens=200, seed=1)
    free = SamplingParams(max_tokens=12, temperature=0.0)
    answers = engine.generate(["the quick", "brown", "fox"], [bound, free, bound])
    for answer in (answers[0], answers[2]):
        assert json.loads(answer.text)["a"] in (1, 22)
        assert answer.finish_reason == "stop"
    assert answers[1].token_ids == engine.generate("brown", free)[0].token_ids


def test_expression_that_does_not_compile_is_refused_before_anything_runs(
    text_checkpoint: Path,
) -> None:
    engine = Engine.from_pretrained(text_checkpoint)
    with pytest.raises(InvalidRequest, match="regex cannot be compiled"):
        engine.generate("the", SamplingParams(regex="[ab"))


def test_closing_ends_the_process_that_tries_schemas(text_checkpoint: Path) -> None:
    with Engine.from_pretrained(text_checkpoint) as engine:
        engine.generate("the", GREEDY)
        assert engine.preparer._trials._helper is None  # nobody has needed it
        params = SamplingParams(json_schema={"type": "number", "multipleOf": 0.01}, max_tokens=2)
        engine.generate("the", params)
        helper = engine.preparer._trials._helper
        assert helper is not None
        assert helper.is_alive
    assert not helper.is_alive
    with pytest.raises(EngineClosed):
        engine.prepare("the", SamplingParams(regex="a{3}"))
