"""Perplexity: how surprised a model is by the expected answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from modcore.errors import InvalidRequest
from modcore.training.dataset import Example

if TYPE_CHECKING:
    from modcore.training.encoding import Encoded
    from modcore.training.module import TrainableModule


def perplexity(module: TrainableModule, rows: Iterable[Mapping[str, Any]]) -> float:
    """The exponential of the mean negative log-likelihood of the expected answers' tokens, their end included.

    A row is an evaluation set's, ``{"input": ..., "expected": ...}`` with a text or messages as input
    (or as ``"prompt"``), or a trainset's. 1 is perfect; the size of the vocabulary is guessing.

    Raises InvalidRequest for a row without an expected answer and when there are no rows, ServiceError
    when the module is not deployed.
    """
    if not hasattr(module, "deployed"):
        raise InvalidRequest(
            f"{type(module).__name__} is no TrainableModule, and only those have a perplexity; leave it out.",
            param="metrics",
        )
    deployed = module.deployed
    loss, tokens = 0.0, 0
    for number, row in enumerate(rows, 1):
        encoded = deployed.encoder.encode(example_of(row, f"row {number}"))
        loss += _negative_log_likelihood(deployed.engine.logits(encoded.input_ids), encoded)
        tokens += len(encoded.input_ids) - encoded.start
    if not tokens:
        raise InvalidRequest("There is no row to take the perplexity of.", param="evalset")
    try:
        return math.exp(loss / tokens)
    except OverflowError:
        return math.inf


perplexity.of_module = True  # type: ignore[attr-defined]  # it needs the rows, not the answers


def example_of(row: Mapping[str, Any], place: str) -> Example:
    """The example in a row of an evaluation set or of a trainset."""
    if not isinstance(row, Mapping) or "expected" not in row:
        return Example.from_row(row, place)
    question = row.get("input", row.get("prompt"))
    if isinstance(question, (list, tuple)):
        answer = {"role": "assistant", "content": row["expected"]}
        return Example.from_row({"messages": [*question, answer]}, place)
    return Example.from_row({"prompt": question, "response": row["expected"]}, place)


def _negative_log_likelihood(logits: Any, encoded: Encoded) -> float:
    """The sum over the response's tokens, in nats; `logits` are ``[len, vocab]``."""
    scores = logits[encoded.start - 1 : -1].double().log_softmax(dim=-1)
    wanted = scores.new_tensor(encoded.input_ids[encoded.start :]).long()
    return -float(scores.gather(-1, wanted[:, None]).sum())
