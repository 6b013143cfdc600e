"""Branches in other processes: what can go there, and what comes back."""

from __future__ import annotations

import functools
import math
import operator
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modcore.flow import FlowError, InvalidFlow, _0, barrier, bind, parallel, pipeline, warp
from waiting import wait_until

SOURCE = str(Path(__file__).parents[3] / "core" / "src")


def test_branches_run_elsewhere_and_results_keep_their_order() -> None:
    assert warp(math.factorial, _concurrent="process")(*range(20)) == tuple(
        map(math.factorial, range(20))
    )
    elsewhere = parallel(pipeline(os.getpid), _concurrent="process")()
    assert elsewhere != (os.getpid(),)


async def test_async_form_gives_the_same() -> None:
    assert await parallel(abs, str, _concurrent="process").acall(-3) == (3, "-3")
    assert await parallel(_concurrent="process").acall(-3) == ()


def test_flow_may_be_a_branch_and_a_reference_is_filled_in_before_it_leaves() -> None:
    with pipeline() as p:
        p.a = abs
        p.b = parallel(pipeline(abs, str), bind(operator.sub, _0, p.input), _concurrent="process")
    assert p(-3) == ("3", 6)


def test_function_that_does_not_pickle_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidFlow, match=r"parallel, branch '<lambda>': cannot go to another"):
        parallel(lambda x: x, _concurrent="process")(1)
    with pytest.raises(InvalidFlow, match="do not pickle"):
        parallel(abs, _concurrent="process")(lambda: 1)


def test_error_keeps_its_type_and_is_told_where_it_was() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline(
            parallel(
                a=abs, b=pipeline(functools.partial(operator.truediv, 1)), _concurrent="process"
            )
        )(0)
    assert caught.value.__notes__ == [
        "pipeline → step 1 'parallel' → branch 'b' → step 1 'truediv'"
    ]


def test_several_failures_are_a_group() -> None:
    fail = functools.partial(operator.truediv, 1)
    with pytest.raises((ExceptionGroup, ZeroDivisionError)):
        parallel(fail, fail, _concurrent="process")(0)


def test_result_that_does_not_pickle_is_an_error() -> None:
    with pytest.raises(FlowError, match="result of type generator cannot come back"):
        parallel(operator.methodcaller("__iter__"), _concurrent="process")(Endless())


class Endless:
    def __iter__(self) -> object:
        return (number for number in range(3))


def test_barrier_says_that_there_is_nobody() -> None:
    with pytest.raises((FlowError, ExceptionGroup)):
        parallel(barrier, barrier, _concurrent="process")(1)


def test_process_that_dies_is_an_error_and_the_next_call_works() -> None:
    with pytest.raises((FlowError, ExceptionGroup)) as caught:
        parallel(os._exit, _concurrent="process")(3)
    assert "ended without a word" in str(caught.value)
    assert parallel(abs, _concurrent="process")(-1) == (1,)


def test_processes_end_with_their_parent_even_if_it_is_killed() -> None:
    program = (
        "import multiprocessing, time\n"
        "from modcore.flow import parallel\n"
        "parallel(abs, abs, _concurrent='process')(-1)\n"
        "print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    ) as parent:
        assert parent.stdout is not None
        children = list(map(int, parent.stdout.readline().split()))
        assert children
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not any(map(alive, children)))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
