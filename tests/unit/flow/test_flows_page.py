"""The examples of docs/flows.md print what the page says."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "flows.md"


def test_examples_of_the_page() -> None:
    text = PAGE.read_text().replace("```python\n", "").replace("```\n", "\n")
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    told: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(page, out=told.append)
    assert tried > 40
    assert not failed, "".join(told)
