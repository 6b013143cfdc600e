"""When a request did what."""

from __future__ import annotations

from pathlib import Path

from modcore.engine import Engine, SamplingParams


def test_moments_of_a_job_are_in_order_and_span_all_its_choices(text_checkpoint: Path) -> None:
    with Engine.from_pretrained(text_checkpoint) as engine:
        job = engine.prepare("the quick", SamplingParams(max_tokens=4, n=3, ignore_eos=True))
        assert job.moments.started is None and job.moments.last_token is None
        engine.submit(job)
        while not job.is_done:
            engine.step()
    moments = job.moments
    assert moments.started and moments.first_token and moments.last_token
    assert moments.arrived < moments.started < moments.first_token < moments.last_token
    assert moments.last_token == max(request.moments.last_token or 0 for request in job.requests)


def test_paused_request_keeps_the_moment_it_started(text_checkpoint: Path) -> None:
    prompts = [[5 + place] * 40 for place in range(3)]
    params = SamplingParams(max_tokens=60, temperature=0.0, ignore_eos=True)
    with Engine.from_pretrained(text_checkpoint, kv_tokens=220, prefix_cache=False) as engine:
        jobs = [engine.prepare(prompt, params) for prompt in prompts]
        for job in jobs:
            engine.submit(job)
        starts: dict[int, float] = {}
        while not all(job.is_done for job in jobs):
            engine.step()
            for place, job in enumerate(jobs):
                if job.moments.started is not None:
                    assert starts.setdefault(place, job.moments.started) == job.moments.started
        assert len(starts) == 3
