"""Evaluation sets, answers and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import modcore
from modcore.module import METRICS
from modcore.registry import RegistryMiss


class Upper(modcore.ModuleBase):
    def forward(self, text: str, mark: str = "") -> str:
        return text.upper() + mark


def evaluated(rows: Any, **options: Any) -> Upper:
    module = Upper()
    module.evalset(rows, **options)
    return module.eval()


def test_answers_are_in_the_order_of_the_rows() -> None:
    assert evaluated(["a", "b"]).eval_result == ["A", "B"]


def test_coroutines_are_awaited_and_pieces_gathered() -> None:
    class Later(modcore.ModuleBase):
        async def forward(self, x: int) -> int:
            return x + 1

    class Pieces(modcore.ModuleBase):
        def forward(self, x: int) -> Any:
            yield from range(x)

    for module, answers in ((Later(), [2, 3]), (Pieces(), [[0], [0, 1]])):
        module.evalset([1, 2])
        assert module.eval().eval_result == answers


def test_dict_rows_are_keyword_arguments_or_an_input() -> None:
    rows = [{"text": "a", "mark": "!"}, {"input": "b"}, {"input": "c", "expected": "C"}]
    assert evaluated(rows).eval_result == ["A!", "B", "C"]


def test_scores_are_averages_and_print_as_a_table() -> None:
    rows = [{"input": "a", "expected": "A"}, {"input": "b", "expected": "x"}]
    module = evaluated(rows, metrics=["exact_match", "contains"])
    assert module.eval_report is not None
    assert module.eval_report.scores == {"exact_match": 0.5, "contains": 0.5}
    assert str(module.eval_report).splitlines()[0].startswith("metric")
    assert "0.500" in str(module.eval_report)
    assert "(2 rows)" in str(module.eval_report)
    assert "(1 row)" in str(evaluated(rows[:1], metrics=["exact_match"]).eval_report)


def test_metric_needs_expected_answers() -> None:
    with pytest.raises(ValueError, match="row 2 has no 'expected'"):
        evaluated([{"input": "a", "expected": "A"}, "b"], metrics=["exact_match"])


def test_unknown_metric_is_refused_with_the_near_one() -> None:
    with pytest.raises(RegistryMiss, match="exact_match"):
        evaluated(["a"], metrics=["exact_mach"])


def test_metrics_can_be_added() -> None:
    with METRICS.overlay():
        METRICS.register_module("length", module=lambda answer, expected: float(len(answer)))
        module = evaluated([{"input": "abc", "expected": ""}], metrics=["length"])
    assert module.eval_report and module.eval_report.scores == {"length": 3.0}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", '["a", {"input": "b"}]'),
        ("rows.jsonl", '"a"\n\n{"input": "b"}\n'),
        ("rows.txt", "a\nb\n"),
    ],
)
def test_rows_are_read_from_a_file(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert evaluated(str(tmp_path / name)).eval_result == ["A", "B"]


def test_file_is_read_by_a_function_of_the_caller(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text(json.dumps({"questions": ["a"]}))
    module = evaluated(
        str(tmp_path / "rows"), load_f=lambda path: json.loads(Path(path).read_text())["questions"]
    )
    assert module.eval_result == ["A"]


def test_path_that_leads_nowhere_is_an_error_and_not_characters() -> None:
    with pytest.raises(FileNotFoundError, match="no/such"):
        evaluated("no/such/file.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b"{}", "a.json.*list of rows"),
        ("a.jsonl", b'"a"\n\n\nb\n', "line 4"),
        ("a.json", b"[1,", "a.json is not JSON"),
        ("a.json", b"\xff", "a.json is not UTF-8"),
        ("a.txt", b"a\n\xff", "a.txt is not UTF-8"),
    ],
)
def test_file_that_holds_something_else_is_named(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        evaluated(str(tmp_path / name))


@pytest.mark.parametrize("rows", [None, 5, b"rows", {"a": 1}])
def test_what_is_no_list_of_rows_is_refused(rows: Any) -> None:
    with pytest.raises(TypeError, match="an evaluation set is a list of rows, or a path"):
        evaluated(rows)


@pytest.mark.parametrize("metrics", [None, 5])
def test_what_is_no_list_of_metrics_is_refused(metrics: Any) -> None:
    with pytest.raises(TypeError, match="metrics is"):
        evaluated(["a"], metrics=metrics)


@pytest.mark.parametrize("path", ["x" * 100_000, "a\0b"])
def test_text_that_can_be_no_path_is_not_repeated_in_full(path: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        evaluated(path)
    assert len(str(caught.value)) < 500


def test_no_rows_have_no_score() -> None:
    assert "exact_match  n/a" in str(evaluated([], metrics=["exact_match"]).eval_report)
