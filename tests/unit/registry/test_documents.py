"""What the seed and the manual show is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modcore.registry import Registry, RegistryMiss
from transcripts_runner import TRANSCRIPTS, replay, sessions_of, statements

SEED = (TRANSCRIPTS / "seed_002_registry.txt").read_text(encoding="utf-8")
MANUAL = Path(__file__).parents[3] / "docs" / "registry.md"


def test_the_example_of_the_seed_when_run_prints_what_the_seed_prints() -> None:
    assert replay(SEED) == SEED


def test_the_location_of_the_seed_when_a_lookup_misses_is_named() -> None:
    names: dict[str, Registry] = {"__name__": "__main__"}  # type: ignore[dict-item]
    replay(SEED, names)

    with pytest.raises(RegistryMiss) as caught:
        names["ACTIVATION"].build({"type": "Relu"})

    assert str(caught.value) == (
        "'Relu' is not registered in modcore::activation. Did you mean 'ReLU'? "
        "modcore::activation looks in modcore.models.activations, which cannot be imported "
        "(ModuleNotFoundError: No module named 'modcore.models')."
    )


def test_the_loop_of_the_seed_over_module_dict_finds_the_model_that_matches() -> None:
    vision_models = Registry("vision_model", scope="vl")

    @vision_models.register_module()
    class Other:
        match = classmethod(lambda cls, config: config["arch"] == "OtherModel")

    @vision_models.register_module()
    class InternVLVisionModel:
        match = classmethod(lambda cls, config: config["arch"] == "InternVLChatModel")

    found = [
        name
        for name, module in vision_models.module_dict.items()
        if module.match({"arch": "InternVLChatModel"})
    ]

    assert found == ["InternVLVisionModel"]


def test_the_manual_when_run_prints_what_it_shows() -> None:
    session = sessions_of(MANUAL.read_text(encoding="utf-8"))

    assert replay(session) == session


def test_a_session_when_something_prints_otherwise_than_written_reads_otherwise() -> None:
    right = ">>> for i in range(2):\n...     print(i)\n...\n0\n1\n>>> 'a'\n'a'\n>>> None\n>>> # c\n"

    assert replay(right) == right
    assert replay(right.replace("\n1\n", "\n2\n")) == right
    assert replay(right.replace("'a'\n>>> None", "'a' \n>>> None")) == right


def test_a_session_when_something_raises_shows_the_error_and_goes_on() -> None:
    session = ">>> 1 / 0\nTraceback (most recent call last):\n    ...\nZeroDivisionError: division by zero\n>>> 2\n2\n"

    assert replay(session) == session
    assert [re.sub(r"^>>> ", "", typed) for [typed] in statements(session)] == ["1 / 0", "2"]
