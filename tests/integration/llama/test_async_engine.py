"""The engine behind asyncio: many tasks, aborts, shutting down."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grammars import EXPLOSIVE
from modcore.engine import Answer, AsyncEngine, Engine, SamplingParams
from modcore.errors import EngineBusy, EngineClosed, InvalidRequest
from waiting import await_until

GREEDY = SamplingParams(max_tokens=16, temperature=0.0)
LONG = SamplingParams(max_tokens=400, temperature=0.0)


@pytest.fixture
async def running(text_checkpoint: Path) -> AsyncIterator[AsyncEngine]:
    engine = AsyncEngine(Engine.from_pretrained(text_checkpoint))
    yield engine
    await asyncio.to_thread(engine.close)


async def read(answer: Answer) -> str:
    async with answer:
        return "".join([piece.text async for piece in answer])


async def until_idle(engine: AsyncEngine) -> None:
    scheduler = engine.engine.scheduler
    await await_until(lambda: not (scheduler.has_work or scheduler.holdings.tokens_in_use))


async def test_many_tasks_get_the_answers_they_would_get_alone(running: AsyncEngine) -> None:
    prompts = ["the", "def", "fox", "how many", "naïve"]
    alone = [await read(await running.submit(prompt, GREEDY)) for prompt in prompts]
    answers = [await running.submit(prompt, GREEDY) for prompt in prompts]
    assert await asyncio.gather(*map(read, answers)) == alone
    await until_idle(running)


async def test_bad_prompt_is_refused_at_once(running: AsyncEngine) -> None:
    with pytest.raises(InvalidRequest):
        await running.submit("", GREEDY)


async def test_closing_an_answer_frees_its_request(running: AsyncEngine) -> None:
    async with await running.submit("the", LONG) as answer:
        await anext(answer)
    await until_idle(running)


async def test_answer_that_is_closed_before_it_is_read_frees_its_request(
    running: AsyncEngine,
) -> None:
    (await running.submit("the", LONG)).close()
    await until_idle(running)


async def test_answer_that_nobody_holds_frees_its_request(running: AsyncEngine) -> None:
    await running.submit("the", LONG)
    gc.collect()
    await until_idle(running)


async def test_cancelled_task_frees_its_request(running: AsyncEngine) -> None:
    task = asyncio.create_task(read(await running.submit("the", LONG)))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until_idle(running)


async def test_shutting_down_ends_running_answers_with_an_error(text_checkpoint: Path) -> None:
    engine = AsyncEngine(Engine.from_pretrained(text_checkpoint))
    answer = await engine.submit("the", LONG)
    await asyncio.to_thread(engine.close)
    with pytest.raises(EngineClosed, match="shut down"):
        await read(answer)
    with pytest.raises(EngineClosed):
        await engine.submit("the", GREEDY)


async def test_closing_an_answer_wakes_whoever_reads_it(running: AsyncEngine) -> None:
    answer = await running.submit("the", LONG)
    reader = asyncio.create_task(read(answer))
    await asyncio.sleep(0.05)
    answer.close()
    async with asyncio.timeout(10):
        await reader
    await until_idle(running)


async def test_callers_in_other_threads_and_tasks_get_what_is_theirs(running: AsyncEngine) -> None:
    expected = running.engine.generate("the", GREEDY)[0].text
    asked = [await running.submit("the", GREEDY) for _ in range(6)]
    async with asyncio.timeout(60):
        together = await asyncio.gather(
            *map(read, asked),
            *(asyncio.to_thread(running.engine.generate, "the", GREEDY) for _ in range(3)),
        )
    assert together[:6] == [expected] * 6
    assert [answer[0].text for answer in together[6:]] == [expected] * 3


async def test_more_than_may_wait_are_refused(text_checkpoint: Path) -> None:
    engine = AsyncEngine(Engine.from_pretrained(text_checkpoint, max_batch=1), max_waiting=2)
    held = [await engine.submit("the", LONG)]
    with pytest.raises(EngineBusy, match="2 requests"):
        for _ in range(5):
            held.append(await engine.submit("the", LONG))
    await asyncio.to_thread(engine.close)


async def test_engine_that_fails_ends_all_answers_and_says_so(
    running: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await running.submit("the", LONG)
    assert running.is_alive
    monkeypatch.setattr(running.engine.scheduler, "plan", lambda: 1 / 0)
    with pytest.raises(EngineClosed, match="ZeroDivisionError"):
        await read(answer)
    with pytest.raises(EngineClosed, match="ZeroDivisionError"):
        await running.submit("the", GREEDY)
    assert not running.is_alive


async def test_streams_piece_by_piece_and_may_be_aborted_by_id(running: AsyncEngine) -> None:
    seen = []
    async for piece in running.stream("the", LONG, request_id="mine"):
        seen.append(piece)
        if len(seen) == 2:
            running.abort("mine")
    assert seen[-1].finish_reason == "abort"
    await until_idle(running)


async def test_answer_that_has_ended_does_not_end_a_later_one_of_its_id(
    running: AsyncEngine,
) -> None:
    first = await running.submit("the", GREEDY, request_id="a")
    await read(first)
    await await_until(lambda: "a" not in running._jobs)
    second = await running.submit("the", GREEDY, request_id="a")
    first.close()
    pieces = [piece async for piece in second]
    assert pieces[-1].finish_reason == "length"


async def test_same_id_twice_at_once_is_refused(running: AsyncEngine) -> None:
    async with await running.submit("the", LONG, request_id="a"):
        with pytest.raises(InvalidRequest, match="an id of its own"):
            await running.submit("the", LONG, request_id="a")


async def test_choices_count_as_those_who_wait(text_checkpoint: Path) -> None:
    engine = AsyncEngine(Engine.from_pretrained(text_checkpoint), max_waiting=4)
    with pytest.raises(EngineBusy):
        await engine.submit("the", SamplingParams(n=5))
    await asyncio.to_thread(engine.close)


async def test_caller_whose_mailbox_breaks_harms_nobody_else(running: AsyncEngine) -> None:
    broken = await running.submit("the", LONG)
    broken.job.deliver = lambda _: 1 / 0
    assert await read(await running.submit("the", GREEDY))
    assert running.is_alive
    await until_idle(running)


async def test_text_thread_that_dies_ends_all_answers_and_says_so(
    running: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await running.submit("the", LONG)
    monkeypatch.setattr(running, "_forget_finished", lambda: 1 / 0)
    with pytest.raises(EngineClosed, match="ZeroDivisionError"):
        await read(answer)
    assert not running.is_alive


async def test_one_refused_prompt_refuses_them_all(running: AsyncEngine) -> None:
    with pytest.raises(InvalidRequest):
        await running.submit_all(["the", ""], GREEDY)
    assert not running.engine.scheduler.has_work


async def test_abort_while_the_prompt_is_tokenized_is_not_lost(running: AsyncEngine) -> None:
    task = asyncio.create_task(running.submit("the", LONG, request_id="early"))
    await asyncio.sleep(0)
    running.abort("early")
    pieces = [piece async for piece in await task]
    assert pieces[-1].finish_reason == "abort"
    await until_idle(running)


async def test_text_that_no_context_can_hold_is_refused_before_it_is_tokenized(
    running: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.engine.tokenizer, "_plain", None)
    monkeypatch.setattr(type(running.engine.tokenizer), "fast", None)
    running.engine.tokenizer.longest_token = 20
    with pytest.raises(InvalidRequest, match="3000000 characters"):
        await running.submit("ab " * 1_000_000, GREEDY)


def endless(number: int) -> SamplingParams:
    """A schema that takes as long to refuse as any."""
    schema = {**EXPLOSIVE["a large prime"], "description": str(number)}
    return SamplingParams(json_schema=schema)


async def test_endless_schemas_hold_up_nobody_else(running: AsyncEngine) -> None:
    known = SamplingParams(regex="[ab]{3}", max_tokens=4)
    await read(await running.submit("the", known))
    refused = [asyncio.create_task(running.submit("the", endless(i))) for i in range(40)]
    await asyncio.sleep(0)
    assert await read(await running.submit("the", GREEDY))
    assert len(await read(await running.submit("the", known))) == 3
    assert sum(task.done() for task in refused) < len(refused)
    outcomes = await asyncio.gather(*refused, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {InvalidRequest}


async def test_requests_in_preparation_count_as_those_who_wait(text_checkpoint: Path) -> None:
    engine = AsyncEngine(Engine.from_pretrained(text_checkpoint), max_waiting=4)
    many = [asyncio.create_task(engine.submit("the", endless(i))) for i in range(9)]
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InvalidRequest] * 4 + [EngineBusy] * 5
    await read(await engine.submit("the", GREEDY))
    await asyncio.to_thread(engine.close)


async def test_shutting_down_does_not_wait_for_what_is_to_be_compiled(
    text_checkpoint: Path,
) -> None:
    engine = AsyncEngine(Engine.from_pretrained(text_checkpoint))
    many = [asyncio.create_task(engine.submit("the", endless(i))) for i in range(200)]
    await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(engine.close)
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    assert set(kinds) == {InvalidRequest, EngineClosed}
    assert kinds.count(EngineClosed) > 100


async def test_closing_ends_the_process_that_tries_schemas(text_checkpoint: Path) -> None:
    engine = AsyncEngine.from_pretrained(text_checkpoint)
    with pytest.raises(InvalidRequest):
        await engine.submit("the", endless(0))
    helper = engine.engine.preparer._trials._helper
    assert helper is not None
    assert helper.is_alive
    await asyncio.to_thread(engine.close)
    assert not helper.is_alive
