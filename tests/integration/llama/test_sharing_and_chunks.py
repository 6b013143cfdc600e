"""Prefix cache, chunked prefill, pausing: none of them changes an answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import llama_config, random_ids
from modcore.engine import Engine, SamplingParams
from modcore.engine.scheduler import Chunks
from modcore.errors import StepFailed

GREEDY = SamplingParams(max_tokens=24, temperature=0.0, ignore_eos=True)


class Optimist:
    """Thinks that every answer is about to end, so that rows run out."""

    def remaining(self, written: int, limit: int) -> int:
        """See `LengthEstimator.remaining`."""
        return 1

    def observe(self, length: int) -> None:
        """See `LengthEstimator.observe`."""


@pytest.fixture(scope="module")
def checkpoint(text_checkpoint: Path) -> Path:
    return text_checkpoint


def alone(checkpoint: Path, prompts: list[list[int]], params: SamplingParams) -> list[list[int]]:
    engine = Engine.from_pretrained(checkpoint, dtype="float32", prefix_cache=False, max_batch=1)
    return [engine.generate([prompt], params)[0].token_ids for prompt in prompts]


def ids(count: int, seed: int) -> list[int]:
    return random_ids(count, seed=seed)


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(max_tokens=24, seed=5, ignore_eos=True)])
def test_shared_prefixes_change_no_answer(checkpoint: Path, params: SamplingParams) -> None:
    prefix = ids(60, 1)
    prompts = [[*prefix, *ids(1 + place, place)] for place in range(6)] + [prefix, prefix]
    expected = alone(checkpoint, prompts, params)
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    for _ in range(2):
        assert [each.token_ids for each in engine.generate(prompts, params)] == expected
    assert engine.stats().prefix_hit_tokens_total > 8 * 60
    assert engine.stats().kv_tokens_used == 0


def test_shared_prefix_is_counted_in_the_usage_and_computed_once(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    prompt = ids(100, 2)
    assert engine.generate([prompt], GREEDY)[0].usage.cached_tokens == 0
    assert engine.generate([prompt], GREEDY)[0].usage.cached_tokens == 99


def test_request_that_opts_out_shares_nothing(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    prompt = ids(50, 3)
    private = SamplingParams(max_tokens=4, temperature=0.0, prefix_cache=False)
    engine.generate([prompt], private)
    assert engine.stats().kv_tokens_cached == 0
    engine.generate([prompt], GREEDY)
    assert engine.generate([prompt], private)[0].usage.cached_tokens == 0


@pytest.mark.parametrize("chunks", [Chunks(1, 1), Chunks(3, 7), Chunks(16, 64)])
def test_chunks_change_no_answer(checkpoint: Path, chunks: Chunks) -> None:
    prompts = [ids(1 + 13 * place, place) for place in range(6)]
    expected = alone(checkpoint, prompts, GREEDY)
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    engine.scheduler.chunks = chunks
    assert [each.token_ids for each in engine.generate(prompts, GREEDY)] == expected


def test_answers_that_are_paused_are_the_same_as_alone(checkpoint: Path) -> None:
    prompts = [ids(10, place) for place in range(6)]
    each = [SamplingParams(max_tokens=30, seed=place, ignore_eos=True) for place in range(6)]
    expected = [alone(checkpoint, [p], s)[0] for p, s in zip(prompts, each, strict=True)]
    engine = Engine.from_pretrained(checkpoint, dtype="float32", kv_tokens=80, lengths=Optimist())
    assert [got.token_ids for got in engine.generate(prompts, each)] == expected
    assert engine.stats().preemptions_total > 0
    assert engine.stats().kv_tokens_used == 0


def test_prompt_that_is_paused_keeps_its_log_probabilities(checkpoint: Path) -> None:
    prompts = [ids(30, place) for place in range(3)]
    params = SamplingParams(max_tokens=30, temperature=0.0, prompt_logprobs=1, ignore_eos=True)
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    expected = [each.prompt_logprobs for each in engine.generate(prompts, params)]
    short = Engine.from_pretrained(checkpoint, dtype="float32", kv_tokens=70, lengths=Optimist())
    short.scheduler.chunks = Chunks(4, 9)
    got = [each.prompt_logprobs for each in short.generate(prompts, params)]
    assert short.stats().preemptions_total > 0
    for ours, theirs in zip(got, expected, strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours[0] is None
        assert len(ours) == 30
        pairs = zip(ours[1:], theirs[1:], strict=True)
        assert all(a and b and abs(a.logprob - b.logprob) < 1e-4 for a, b in pairs)


def test_prompt_log_probabilities_are_the_logits_softmax(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    prompt = ids(40, 9)
    params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=2)
    got = engine.generate([prompt], params)[0].prompt_logprobs
    table = engine.logits(prompt).log_softmax(-1)
    assert got is not None
    for place, record in enumerate(got[1:], 1):
        assert record is not None
        assert record.token_id == prompt[place]
        assert record.logprob == pytest.approx(float(table[place - 1, prompt[place]]), abs=1e-4)
        assert record.top[0][1] == pytest.approx(float(table[place - 1].max()), abs=1e-4)


def test_dynamic_positions_share_nothing_and_read_at_once(
    write_checkpoint: Callable[..., Path],
) -> None:
    config = llama_config(
        max_position_embeddings=32,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    )
    engine = Engine.from_pretrained(write_checkpoint(config), dtype="float32")
    engine.scheduler.chunks = Chunks(4, 4)
    prompt = ids(20, 1)
    assert engine.scheduler.cache is None
    job = engine.prepare(prompt, GREEDY)
    engine.submit(job)
    engine.step()
    assert job.requests[0].written == 1
    engine.abort(job)


def test_prompt_that_was_not_finite_is_shared_with_nobody(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    forward = engine.model.forward
    monkeypatch.setattr(
        engine.model, "forward", lambda *a: torch.full_like(forward(*a), float("nan"))
    )
    with pytest.raises(StepFailed, match="not finite"):
        engine.generate([ids(20, 1)], GREEDY)
    assert engine.stats().kv_tokens_cached == 0
    assert engine.stats().kv_tokens_used == 0


def test_several_answers_read_their_prompt_once(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    params = SamplingParams(max_tokens=12, n=4, seed=1, ignore_eos=True)
    result = engine.generate([ids(50, 4)], params)[0]
    assert [choice.index for choice in result.choices] == [0, 1, 2, 3]
    assert len({tuple(choice.token_ids) for choice in result.choices}) == 4
    assert result.usage.prompt_tokens == 50
    assert result.usage.completion_tokens == 48
    assert engine.stats().prefix_hit_tokens_total == 3 * 49
    # The first draws what it would draw alone.
    single = SamplingParams(max_tokens=12, seed=1, ignore_eos=True)
    assert engine.generate([ids(50, 4)], single)[0].token_ids == result.choices[0].token_ids


def test_best_of_shows_the_likeliest(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    many = SamplingParams(max_tokens=8, n=5, seed=3, logprobs=0, ignore_eos=True)
    best = SamplingParams(max_tokens=8, n=2, best_of=5, seed=3, logprobs=0, ignore_eos=True)

    def likelihood(choice: Any) -> float:
        return sum(record.logprob for record in choice.logprobs)

    all_five = engine.generate([ids(10, 1)], many)[0].choices
    ranked = sorted(all_five, key=likelihood, reverse=True)
    shown = engine.generate([ids(10, 1)], best)[0]
    assert [c.token_ids for c in shown.choices] == [c.token_ids for c in ranked[:2]]
    assert shown.usage.completion_tokens == 40


def test_streamed_choices_are_the_unstreamed_ones(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    params = SamplingParams(max_tokens=12, n=3, seed=1)
    whole = engine.generate(["the"], params)[0]
    pieces = list(engine.stream("the", params))
    for choice in whole.choices:
        own = [piece for piece in pieces if piece.index == choice.index]
        assert "".join(piece.text for piece in own) == choice.text
        assert own[-1].finish_reason == choice.finish_reason
    assert [piece.usage is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_stop_strings_count_behind_min_tokens(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    free = engine.generate(["the"], SamplingParams(max_tokens=20, seed=2, ignore_eos=True))[0]
    stop = free.text[2]
    early = SamplingParams(max_tokens=20, seed=2, stop=stop, ignore_eos=True)
    late = SamplingParams(max_tokens=20, seed=2, stop=stop, min_tokens=20, ignore_eos=True)
    assert engine.generate(["the"], early)[0].finish_reason == "stop"
    assert engine.generate(["the"], late)[0].usage.completion_tokens == 20


def test_stop_string_that_begins_within_min_tokens_ends_the_answer_behind_them(
    checkpoint: Path,
) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    params = {"max_tokens": 20, "temperature": 0.0, "ignore_eos": True}
    free = engine.generate(["the quick"], SamplingParams(**params))[0]
    before, after = (engine.tokenizer.decode(free.token_ids[:count]) for count in (8, 9))
    stop = after[len(before) - 1 :]
    assert free.text.index(stop) == len(before) - 1
    got = engine.generate(["the quick"], SamplingParams(**params, stop=stop, min_tokens=8))[0]
    assert (got.text, got.finish_reason) == (before[:-1], "stop")
    assert got.usage.completion_tokens == 9


def test_regex_and_schema_shape_the_text(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    result = engine.generate(["the"], SamplingParams(max_tokens=40, regex="[a-c]{3}[0-9]{2}"))[0]
    assert len(result.text) == 5
    assert result.finish_reason == "stop"


def test_prompt_of_one_token_has_the_log_probability_of_none(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    params = SamplingParams(max_tokens=1, prompt_logprobs=2)
    assert engine.generate([[5]], params)[0].prompt_logprobs == [None]


@pytest.mark.parametrize("options", [{"n": 4}, {"best_of": 3}, {"stop": "e", "n": 2}, {}])
def test_stats_count_the_tokens_that_the_usage_tells(
    checkpoint: Path, options: dict[str, Any]
) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    params = SamplingParams(max_tokens=30, seed=1, ignore_eos=True, **options)
    usages = [each.usage for each in engine.generate(["the quick", "fox"], params)]
    stats = engine.stats()
    assert stats.prompt_tokens_total == sum(usage.prompt_tokens for usage in usages)
    assert stats.generation_tokens_total == sum(usage.completion_tokens for usage in usages)


def test_workload_of_shared_and_random_prompts_leaves_nothing_behind(checkpoint: Path) -> None:
    rng = random.Random(0)
    engine = Engine.from_pretrained(
        checkpoint, dtype="float32", kv_tokens=300, max_batch=8, lengths=Optimist()
    )
    engine.scheduler.chunks = Chunks(8, 32)
    jobs = []
    for place in range(120):
        prompt = ids(rng.choice([5, 20, 40]), rng.randrange(3)) + ids(rng.randint(1, 30), place)
        params = SamplingParams(
            max_tokens=rng.randint(1, 40),
            n=rng.choice([1, 1, 3]),
            temperature=rng.choice([0.0, 1.0]),
            prefix_cache=rng.random() < 0.8,
        )
        jobs.append(engine.prepare(prompt, params, priority=rng.choice([0, 0, 1])))
        engine.submit(jobs[-1])
    steps = 0
    while not all(job.is_done for job in jobs):
        engine.step()
        steps += 1
        if rng.random() < 0.2:
            engine.abort(rng.choice(jobs))
        assert steps < 20_000
    assert engine.stats().kv_tokens_used == 0
    assert engine.stats().running == engine.stats().waiting == 0
    engine.close()
    assert engine.scheduler.memory.free_tokens == 300


def test_closed_engine_takes_nothing_more(checkpoint: Path) -> None:
    from modcore.errors import EngineClosed

    with Engine.from_pretrained(checkpoint) as engine:
        stream = engine.stream("the", GREEDY)
        next(stream)
    with pytest.raises(EngineClosed):
        list(stream)
    with pytest.raises(EngineClosed):
        engine.generate(["the"], GREEDY)


def test_tap_that_changes_the_shape_is_refused(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint)
    from modcore.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="keep the shape"):
        engine.logits([1, 2, 3], {"layers.0.k": lambda x: x[:1]})


@pytest.mark.parametrize(
    "point", ["embed", "layers.0.attn_in", "layers.0.q", "layers.0.k", "logits"]
)
def test_tap_may_answer_in_another_dtype(checkpoint: Path, point: str) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="bfloat16")
    plain = engine.logits([1, 2, 3])
    same = engine.logits([1, 2, 3], {point: lambda x: x.float().clone()})
    assert torch.equal(same, plain)


def test_interrupt_within_a_step_ends_its_requests_and_leaves_the_engine_whole(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32")
    expected = engine.generate(["the"], GREEDY)[0].token_ids
    jobs = [engine.prepare("the", GREEDY), engine.prepare("fox", GREEDY)]
    for job in jobs:
        engine.submit(job)
    engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(engine.model, "forward", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    engine.step()
    assert all(job.error for job in jobs)
    assert engine.stats().kv_tokens_used == 0
    assert engine.generate(["the"], GREEDY)[0].token_ids == expected


def test_choices_that_share_nothing_do_not_wait_for_each_other(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32", prefix_cache=False)
    job = engine.prepare(ids(40, 1), SamplingParams(n=3, max_tokens=8))
    engine.submit(job)
    engine.step()
    assert engine.stats().running == 3
    engine.abort(job)


def test_tokens_without_text_stream_one_by_one(write_checkpoint: Callable[..., Path]) -> None:
    engine = Engine.from_pretrained(write_checkpoint(llama_config()), dtype="float32")
    assert len(list(engine.stream([1, 2, 3], GREEDY))) == 24


def test_prefix_metrics_count_each_request_once(checkpoint: Path) -> None:
    engine = Engine.from_pretrained(checkpoint, dtype="float32", kv_tokens=120)
    engine.generate([ids(50, place) for place in range(8)], GREEDY)
    assert engine.stats().prefix_query_tokens_total == 400


def test_dynamic_positions_give_the_log_probabilities_of_the_whole_prompt(
    write_checkpoint: Callable[..., Path],
) -> None:
    config = llama_config(
        max_position_embeddings=32,
        rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    )
    engine = Engine.from_pretrained(write_checkpoint(config), dtype="float32")
    engine.scheduler.chunks = Chunks(8, 8)
    prompt = ids(30, 1)
    params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
    got = engine.generate([prompt], params)[0].prompt_logprobs
    table = engine.logits(prompt).log_softmax(-1)
    assert got is not None
    for place, record in enumerate(got[1:], 1):
        assert record is not None
        assert record.logprob == pytest.approx(float(table[place - 1, prompt[place]]), abs=1e-4)
