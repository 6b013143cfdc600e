"""Scores of a TrainableModule, perplexity among them."""

from __future__ import annotations

from pathlib import Path

import pytest

import modcore
from modcore.errors import ServiceError


def test_perplexity_stands_beside_the_other_metrics(text_checkpoint: Path) -> None:
    module = modcore.TrainableModule(text_checkpoint)
    rows = [{"input": "the quick", "expected": " brown fox"}]
    module.evalset(rows, metrics=["exact_match", "contains", "perplexity"])
    report = module.update().eval_report
    assert report is not None
    assert set(report.scores) == {"exact_match", "contains", "perplexity"}
    assert report.scores["perplexity"] > 1
    assert "perplexity" in str(report)
    module.stop()


def test_trainable_module_is_served_from_a_process_of_its_own(text_checkpoint: Path) -> None:
    trainable = modcore.TrainableModule(text_checkpoint)
    trainable.evalset([{"prompt": "the quick", "max_tokens": 4}])
    served = modcore.ServerModule(trainable, "poet")
    try:
        assert served.update()("the quick", max_tokens=4) == trainable.eval_result[0]
        assert trainable._deployed is None
        with pytest.raises(ServiceError, match="is not deployed"):
            trainable("the quick")
    finally:
        served.stop()
