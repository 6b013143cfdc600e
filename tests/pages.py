"""The manual: its pages, their blocks of code, and what they say of the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "core" / "README.md",
    *sorted(ROOT.glob("plugins/*/README.md")),
]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}.*\n|\n)+)")
_COMMAND = re.compile(r"^(?:\w+=)?(?:\S+=\S* )*(?:\S*/)?modcore ((?:--debug )?[a-z-]+(?: .*)?)$")


def name_of(page: Path) -> str:
    """The page's path in the repository, to name a test by."""
    return str(page.relative_to(ROOT))


def programs(page: Path) -> list[str]:
    """The Python programs of a page."""
    return [code for language, code in _BLOCK.findall(page.read_text()) if language == "python"]


def commands(page: Path) -> list[list[str]]:
    """The words of each ``modcore ...`` that a block of the page types."""
    text = page.read_text()
    blocks = [code for language, code in _BLOCK.findall(text) if not language]
    blocks += _INDENTED.findall(_BLOCK.sub("", text))
    lines = (line.strip() for block in blocks for line in block.splitlines())
    found = (_COMMAND.match(line) for line in lines)
    return [_words(match[1]) for match in found if match]


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return words[:-1] if words[-1] == "&" else words


def section(text: str, heading: str) -> str:
    """What stands under the first heading that begins with `heading`, up to the next like it."""
    level = len(heading.partition(" ")[0])
    found = re.search(rf"^{re.escape(heading)}.*?(?=^##{{1,{level - 1}}} |\Z)", text, re.M | re.S)
    assert found, f"no heading begins with {heading!r}"
    return found[0]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the tables in `text`."""
    return re.findall(r"^\| ?(.*?) ?\|", text, re.M)
