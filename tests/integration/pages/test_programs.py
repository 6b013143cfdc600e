"""The Python programs of the pages run, and print what their comments say; a page that is added is among them.

Where a page names the address of a server, a real one of this test answers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkpoints import llama_config, train_tokenizer, write_random
from pages import PAGES, name_of, programs
from servers import serving
from vision_checkpoints import random_image, write_internvl

#: These have tests of their own, which know more of them.
ELSEWHERE = {"deploying.md", "flows.md", "gateways.md", "services.md", "writing-a-plugin.md"}
RUN_HERE = [page for page in PAGES if programs(page) and page.name not in ELSEWHERE]
ADDRESS = "http://127.0.0.1:8000"
_PROMISE = re.compile(r"^([\w.]+\(.*\)|[\w.]+)  # ('.*'|\[.*\])$", re.M)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the pages speak of."""
    directory = tmp_path_factory.mktemp("place")
    tokenizer = train_tokenizer()
    write_random(llama_config(vocab_size=len(tokenizer)), directory / "my-llama")
    tokenizer.save_pretrained(directory / "my-llama")
    write_internvl(directory / "InternVL3-1B-hf")
    random_image(60, 40).save(directory / "cat.png")
    (directory / "rows.jsonl").write_text(
        json.dumps({"prompt": "reverse apple", "response": "elppa"}) + "\n"
    )
    return directory


@pytest.fixture
def script(page: Path, place: Path) -> Iterator[str]:
    """The programs of `page` as one, with asserts of what its comments promise."""
    code = _PROMISE.sub(r"assert (\1) == \2", "\n".join(programs(page)))
    if ADDRESS not in code:
        yield code
        return
    model = re.findall(r'model="(.*?)"', code)[0]
    with serving(str(place / model)) as server:
        yield code.replace(ADDRESS, server.url)


@pytest.mark.parametrize("page", RUN_HERE, ids=name_of)
def test_programs_of_a_page_run(script: str, place: Path) -> None:
    (place / "program.py").write_text(script)  # a ServerModule wants what it runs to be in a file
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=place, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr


def test_promises_of_a_program_are_found() -> None:
    code = "shout(' hello ')  # ['HELLO', 5]\nm.eval_result  # ['a']\nrun()  # does things\n"
    assert _PROMISE.findall(code) == [
        ("shout(' hello ')", "['HELLO', 5]"),
        ("m.eval_result", "['a']"),
    ]
