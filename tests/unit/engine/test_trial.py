"""Grammars are tried where they can be stopped: what passes, what does not, and who goes when."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from llguidance import LLMatcher

from grammars import EXPLOSIVE, EXPLOSIVE_REGEX, HONEST, UNSATISFIABLE
from modcore.engine.sampling import trial
from modcore.engine.sampling.suspicion import is_suspicious
from modcore.engine.sampling.trial import TrialLimits, Trials
from modcore.errors import EngineBusy, EngineClosed
from processes import children_of, is_running
from waiting import wait_until

THIRD = TrialLimits(cpu_seconds=TrialLimits().cpu_seconds / 3)
GENEROUS = TrialLimits(cpu_seconds=60.0, memory=64 << 20)


def grammar_of(schema: object) -> str:
    return LLMatcher.grammar_from_json_schema(json.dumps(schema))


GOOD = grammar_of(HONEST["price"])
ENDLESS = grammar_of(EXPLOSIVE["a large prime"])


@pytest.fixture(scope="module")
def trials() -> Iterator[Trials]:
    shared = Trials()
    yield shared
    shared.close()


def pid_of(trials: Trials) -> int:
    trials.start()
    assert trials._helper
    return trials._helper._process.pid


@pytest.mark.parametrize("name", HONEST)
def test_honest_schema_passes_with_a_third_of_the_time(name: str) -> None:
    trials = Trials(THIRD)
    try:
        assert trials.problem_of(grammar_of(HONEST[name])) == ""
    finally:
        trials.close()


@pytest.mark.parametrize("name", EXPLOSIVE)
def test_explosive_schema_is_stopped(trials: Trials, name: str) -> None:
    assert is_suspicious("json_schema", json.dumps(EXPLOSIVE[name]))
    assert "28 ms of processor time" in trials.problem_of(grammar_of(EXPLOSIVE[name]))


@pytest.mark.parametrize("name", EXPLOSIVE_REGEX)
def test_explosive_expression_is_stopped(trials: Trials, name: str) -> None:
    regex = EXPLOSIVE_REGEX[name]
    assert is_suspicious("regex", regex)
    assert "28 ms" in trials.problem_of(LLMatcher.grammar_from_regex(regex))


@pytest.mark.parametrize("name", UNSATISFIABLE)
def test_schema_that_nothing_follows_has_a_problem(trials: Trials, name: str) -> None:
    assert trials.problem_of(grammar_of(UNSATISFIABLE[name]))


def test_limit_that_is_met_a_few_bytes_ahead_is_a_problem(trials: Trials) -> None:
    problem = trials.problem_of(LLMatcher.grammar_from_regex("(a*b?)*" * 400))
    assert "too many expressions" in problem


def test_memory_is_bounded_too() -> None:
    trials = Trials(GENEROUS)
    try:
        problem = trials.problem_of(grammar_of(EXPLOSIVE["definitions that double"]))
        assert "64 MiB" in problem
        assert trials.problem_of(GOOD) == ""
    finally:
        trials.close()


def test_threads_get_the_answers_that_are_theirs(trials: Trials) -> None:
    unsatisfiable = grammar_of(UNSATISFIABLE["two types"])
    asked = [GOOD, ENDLESS, unsatisfiable] * 8
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(trials.problem_of, asked))
    assert answers == [trials.problem_of(each) for each in asked[:3]] * 8
    assert len(set(answers)) == 3


def test_without_fork_a_process_is_started_for_each(trials: Trials) -> None:
    assert trials.try_alone(GOOD) == ""
    assert "incompatible types" in trials.try_alone(grammar_of(UNSATISFIABLE["two types"]))
    assert "2 seconds" in trials.try_alone(grammar_of(EXPLOSIVE["500 patterns for keys"]))


def test_this_process_is_never_forked(trials: Trials) -> None:
    forks: list[int] = []
    os.register_at_fork(before=lambda: forks.append(1))
    assert trials.problem_of(GOOD) == ""
    fresh = Trials()
    assert fresh.problem_of(GOOD) == ""
    fresh.close()
    assert not forks


def test_helper_is_light_and_is_started_when_it_is_first_needed() -> None:
    trials = Trials()
    assert trials._helper is None
    assert trials.problem_of(GOOD) == ""
    maps = Path(f"/proc/{pid_of(trials)}/maps").read_text()
    assert "llguidance" in maps
    assert not [name for name in ("torch", "numpy", "tokenizers") if f"/{name}/" in maps]
    trials.close()


def test_helper_that_was_killed_is_replaced(trials: Trials) -> None:
    before = pid_of(trials)
    os.kill(before, signal.SIGKILL)
    assert trials.problem_of(GOOD) == ""
    assert pid_of(trials) != before
    assert not is_running(before)


def test_helper_that_is_killed_while_it_is_asked_is_replaced(trials: Trials) -> None:
    before = pid_of(trials)
    os.kill(before, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(trials.problem_of, GOOD)
        os.kill(before, signal.SIGKILL)
        assert asked.result(20) == ""


def test_machine_without_time_is_no_fault_of_the_grammar(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trials.problem_of(GOOD) == ""
    monkeypatch.setattr(trial, "_START_SECONDS", 0.1)
    helper = pid_of(trials)
    os.kill(helper, signal.SIGSTOP)
    try:
        with pytest.raises(EngineBusy, match="try again"):
            trials.problem_of(GOOD)
    finally:
        os.kill(helper, signal.SIGCONT)


def test_closing_ends_the_helper_and_tries_nothing_new() -> None:
    trials = Trials()
    helper = pid_of(trials)
    trials.close()
    trials.close()
    assert not is_running(helper)
    with pytest.raises(EngineClosed):
        trials.problem_of(GOOD)


def test_helper_ends_with_what_started_it() -> None:
    trials = Trials()
    helper = pid_of(trials)
    del trials
    gc.collect()
    wait_until(lambda: not is_running(helper))


PARENT = """
import sys, threading
from modcore.engine.sampling.trial import TrialLimits, Trials
trials = Trials(TrialLimits(cpu_seconds=1.0))
grammar = sys.stdin.readline()
threading.Thread(target=trials.problem_of, args=(grammar,), daemon=True).start()
while trials._helper is None:
    pass
print(trials._helper._process.pid, flush=True)
if sys.argv[1] == "leave":
    sys.exit()
threading.Event().wait()
"""


@pytest.mark.parametrize("how", ["kill", "leave"])
def test_no_process_outlives_this_one(how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        parent.stdin.write(ENDLESS + "\n")
        parent.stdin.close()
        helper = int(parent.stdout.readline())
        trying: list[int] = []
        if how == "kill":
            wait_until(lambda: bool(trying.extend(children_of(helper)) or trying))
            parent.kill()
        parent.wait(20)
    for pid in (helper, *trying):
        wait_until(lambda pid=pid: not is_running(pid))
