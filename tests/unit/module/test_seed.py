"""The Module seeds' sessions print what the seeds print.

Where the two differ, both read as the later one says: `update()` returns the module, trees show.
"""

from __future__ import annotations

import pytest

from transcripts_runner import TRANSCRIPTS, replay


@pytest.mark.parametrize("name", ["seed_000_module.txt", "seed_001_module.txt"])
def test_the_session_of_a_module_seed_prints_what_it_prints_there(name: str) -> None:
    seed = (TRANSCRIPTS / name).read_text(encoding="utf-8")
    assert replay(seed) == seed
