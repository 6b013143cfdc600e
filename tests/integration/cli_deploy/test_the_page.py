"""What docs/deploying.md says is so."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deployed import modcore_command, rows

PAGE = Path(__file__).parents[3] / "docs" / "deploying.md"


def test_the_program_of_the_page_is_deployed_and_called_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "app.py").write_text(app)
    state = tmp_path / "state"
    monkeypatch.setenv("MODCORE_STATE_DIR", str(state))
    words = ("deploy", "app.py:module", "--name", "greeter", "--detach")
    assert modcore_command(*words, cwd=tmp_path).returncode == 0
    try:
        [row] = rows(modcore_command("ps", "--json").stdout)
        program = client.replace("http://127.0.0.1:40213", row["url"])
        program = program.replace("~/.local/state/modcore", str(state))
        program = program.replace('greeter("you")', 'print(greeter("you"))')
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout == "Hello, you!\n", done.stderr
    finally:
        os.kill(row["pid"], signal.SIGTERM)
        assert modcore_command("stop", "greeter").returncode == 0
