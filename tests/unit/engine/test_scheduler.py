"""The scheduler: who runs, who waits, who is paused; over thousands of random workloads."""

from __future__ import annotations

import random

import pytest

from modcore.engine.admission import PastFuture, peak_tokens
from modcore.engine.request import Request
from modcore.engine.scheduler import MAX_OVERTAKEN, Chunks
from workloads import World, next_token, random_request, scripted


def alone(request: Request) -> list[int]:
    """What `request` would write if nothing else ran."""
    tokens = request.tokens[: request.prompt_length]
    while len(tokens) < len(request.tokens):
        tokens.append(next_token(tokens))
    return tokens


@pytest.mark.parametrize("seed", range(40))
def test_random_workloads_end_with_the_answers_they_have_alone(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(50):
        world = World(
            tokens=rng.randint(30, 300),
            lines=rng.randint(1, 8),
            has_cache=rng.random() < 0.8,
            lengths=PastFuture(rng.randrange(9), warm_up=2) if rng.random() < 0.5 else None,
            chunks=Chunks(rng.randint(1, 16), rng.randint(16, 64)),
        )
        requests = [random_request(rng, world.tokens) for _ in range(rng.randint(1, 25))]
        pending = list(requests)
        aborted: set[Request] = set()
        while pending or world.scheduler.has_work:
            while pending and rng.random() < 0.6:
                world.add(pending.pop())
            world.step()
            if rng.random() < 0.1:
                victims = [r for r in requests if r not in pending and not r.is_done]
                if victims:
                    victim = rng.choice(victims)
                    victim.was_stopped = True
                    world.scheduler.finish(victim)
                    aborted.add(victim)
                    world.verify()
            assert world.steps < 20_000
        assert world.scheduler.holdings.tokens_in_use == 0
        assert len(world.finished) + len(aborted) == len(requests)
        for request in world.finished:
            assert request.tokens == alone(request)
        world.scheduler.holdings.clear()
        assert world.memory.free_tokens == world.tokens
        assert world.scheduler.table.free_lines == world.lines


def test_same_workload_is_scheduled_the_same_way_twice() -> None:
    def order() -> list[tuple[int, int]]:
        rng = random.Random(7)
        world = World(tokens=120, lengths=PastFuture(seed=3, warm_up=2))
        world.add(*(random_request(rng, 120) for _ in range(40)))
        world.run()
        return [(request.arrival, request.written) for request in world.finished]

    assert order() == order()


def test_admission_when_lengths_are_known_never_pauses() -> None:
    rng = random.Random(1)
    world = World(tokens=200)
    world.add(*(random_request(rng, 200) for _ in range(200)))
    world.run()
    assert world.scheduler.preemptions == 0


def test_long_prompt_is_read_in_chunks_while_others_write() -> None:
    world = World(tokens=400, chunks=Chunks(busy=8, idle=32))
    short = scripted([1, 2], 40)
    world.add(short)
    world.step()
    long = scripted(range(200), 3)
    world.add(long)
    world.step()
    assert long.rows_filled == 7
    assert short.written == 2
    world.run()
    assert len(world.finished) == 2


def test_request_that_cannot_be_cut_is_read_at_once() -> None:
    world = World(tokens=400, chunks=Chunks(busy=8, idle=32))
    whole = scripted(range(200), 3, reads_at_once=True)
    world.add(whole)
    world.step()
    assert whole.written == 1


def test_shared_prefix_is_read_once() -> None:
    world = World(tokens=1000, lines=32, chunks=Chunks(idle=200))
    prefix = list(range(100))
    world.add(scripted([*prefix, 1], 1))
    world.run()
    assert world.scheduler.cache
    followers = [scripted([*prefix, 2, place], 5) for place in range(20)]
    world.add(*followers)
    world.step()
    assert all(request.rows_filled >= 100 for request in followers)
    assert world.scheduler.cache.hit_tokens == 20 * 100
    # All of them together hold the prefix once.
    assert world.scheduler.holdings.tokens_in_use < 100 + 20 * 8


def test_followers_wait_until_their_leader_has_read_the_prompt() -> None:
    world = World(tokens=1000, chunks=Chunks(busy=8, idle=16))
    leader = scripted(range(40), 5)
    followers = [scripted(range(40), 5, leader=leader) for _ in range(3)]
    world.add(leader, *followers)
    world.step()
    assert world.scheduler.running == [leader]
    world.run()
    assert all(follower.cached_tokens == 39 for follower in followers)


def test_smaller_requests_pass_a_large_one_a_bounded_number_of_times() -> None:
    world = World(tokens=100, lines=8)
    world.add(scripted([1] * 10, 60, uses_prefix_cache=False))
    large = scripted([2] * 50, 50, uses_prefix_cache=False)
    world.step()
    world.add(large)
    passed = 0
    while large.line < 0:
        if len(world.scheduler.waiting) < 8:
            world.add(scripted([3], 2, uses_prefix_cache=False))
        world.step()
        passed = len(world.finished)
        assert world.steps < 2000
    assert 0 < passed <= MAX_OVERTAKEN + 2


def test_urgent_requests_start_first_and_the_others_are_not_forgotten() -> None:
    world = World(tokens=100, lines=1)
    world.add(scripted([1], 3))
    world.step()
    late = scripted([2], 3, priority=5)
    world.add(late)
    for _ in range(3 * MAX_OVERTAKEN):
        world.add(scripted([3], 1, priority=0))
    world.run()
    place = world.finished.index(late)
    assert MAX_OVERTAKEN <= place <= MAX_OVERTAKEN + 2


def test_shortage_pauses_the_last_and_its_answer_stays_the_same() -> None:
    class Optimist:
        def remaining(self, written: int, limit: int) -> int:
            return 0

        def observe(self, length: int) -> None:
            pass

    world = World(tokens=60, lengths=Optimist())
    requests = [scripted([place] * 5, 40) for place in range(4)]
    world.add(*requests)
    world.run()
    assert world.scheduler.preemptions > 0
    assert world.finished[0] is requests[0]
    assert all(request.tokens == alone(request) for request in requests)


def test_peak_is_the_most_that_a_step_by_step_count_finds() -> None:
    rng = random.Random(0)
    for _ in range(300):
        pairs = [(rng.randint(0, 30), rng.randint(0, 30)) for _ in range(rng.randint(1, 8))]
        most = max(
            sum(held + step for held, rest in pairs if rest >= step)
            for step in range(max(rest for _, rest in pairs) + 1)
        )
        assert peak_tokens(pairs) == most


def test_learned_lengths_use_the_memory_better_than_full_ones() -> None:
    """Answers of 10 to 60 tokens that were all allowed 300 (arXiv 2507.10150)."""

    def steps(lengths: PastFuture | None) -> tuple[int, int]:
        rng = random.Random(5)
        world = World(
            tokens=1500, lines=64, lengths=lengths, has_cache=False, chunks=Chunks(128, 256)
        )
        for _ in range(150):
            prompt = [rng.randrange(50) for _ in range(rng.randint(5, 40))]
            world.add(scripted(prompt, rng.randint(10, 60), 300))
        world.run()
        return world.steps, world.scheduler.preemptions

    full, _ = steps(None)
    learned, pauses = steps(PastFuture(seed=0))
    assert learned < 0.5 * full
    assert pauses < 100
