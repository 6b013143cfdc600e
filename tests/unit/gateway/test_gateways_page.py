"""docs/gateways.md: its program runs, and what it says of variables is what the code reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "gateways.md").read_text()


def test_the_program_of_the_page_runs(state: Path) -> None:
    program = re.findall(r"```python\n(.*?)```", PAGE, re.S)[-1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "http://127.0.0.1:8001\n"), done.stderr


def test_the_page_names_every_variable_that_the_room_reads() -> None:
    room = ROOT / "core" / "src" / "modcore" / "gateway"
    code = "".join(file.read_text() for file in room.glob("*.py"))
    read = set(re.findall(r'^[A-Z_]+ = "(MODCORE_[A-Z_]+)"', code, re.M))
    assert read | {"MODCORE_STATE_DIR"} == set(re.findall(r"^\| `(MODCORE_\w+)` \|", PAGE, re.M))
