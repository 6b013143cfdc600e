"""Scores of a TrainableModule, perplexity among them."""

from __future__ import annotations

from pathlib import Path

import modcore


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
    served = modcore.ServerModule(trainable, "poet").start()
    try:
        assert served("the quick", max_tokens=4) == trainable("the quick", max_tokens=4)
    finally:
        served.stop()
