"""The Module seeds' sessions print what the seeds print."""

from __future__ import annotations

from transcripts_runner import TRANSCRIPTS, replay

SEED = (TRANSCRIPTS / "seed_000_module.txt").read_text(encoding="utf-8")


def test_the_sessions_of_the_module_seeds_print_what_they_print_there() -> None:
    assert replay(SEED) == SEED
