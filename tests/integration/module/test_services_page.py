"""docs/services.md: its programs run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "services.md"


def test_programs_of_the_page_run(tmp_path: Path) -> None:
    parts = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    used = "assert outer.start()('a') == 'A!!'\nouter.stop()\n"
    shown = "".join(parts).replace('loud("you")', 'print(loud("you"))')
    done = subprocess.run(
        [sys.executable, "-c", shown + used], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "YOU!\n"), done.stderr
