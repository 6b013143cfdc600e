"""What people write behind ``modcore deploy``, and what it leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from modcore.deploy.entry_point import EntryPoint
from modcore.errors import InvalidRequest, ServiceError
from plugin_sites import Site


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "a colon"),
        ("app.py", "a colon"),
        (":module", "a colon"),
        ("app.py:", "no Python name"),
        ("app.py:a b", "no Python name"),
        ("app.py:a()", "no Python name"),
        ("app.py:__import__('os')", "no Python name"),
        ("a-b:module", "neither"),
        ("..pkg:module", "neither"),
        ("a\0.py:module", "a colon"),
    ],
)
def test_what_says_nothing_is_refused_with_what_is_wrong(text: str, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault) as caught:
        EntryPoint.parse(text)
    assert "write app.py:module or package.part:module" in str(caught.value)
    assert caught.value.param is None  # ENTRY is an argument: no option is wrong


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("app.py:module", "app"),
        ("some/where/poet.py:app", "poet"),
        ("app.py:greeter", "greeter"),
        ("package.part:module", "part"),
        ("package.part:Poet.make", "make"),
        ("app.py:_private", "private"),
    ],
)
def test_service_is_named_after_what_is_served(text: str, name: str) -> None:
    assert EntryPoint.parse(text).service_name == name


def test_file_is_known_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entry = EntryPoint.parse("app.py:module")
    assert str(entry) == f"{tmp_path / 'app.py'}:module"
    with pytest.raises(InvalidRequest, match="is not there"):
        entry.verify()
    (tmp_path / "app.py").mkdir()
    with pytest.raises(InvalidRequest, match="is no file"):
        entry.verify()


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.syspath_prepend(str(site.path))  # and what is added to it is forgotten


def written(site: Site, text: str, name: str = "their_app.py") -> str:
    (site.path / name).write_text(text)
    return str(site.path / name)


def test_file_imports_what_lies_beside_it(site: Site) -> None:
    written(site, "answer = 42\n", "beside.py")
    file = written(site, "from beside import answer\nclass A:\n    b = answer\n")
    assert EntryPoint.parse(f"{file}:answer").load() == 42
    assert EntryPoint.parse(f"{file}:A.b").load() == 42


def test_file_may_be_called_like_a_module_of_python(site: Site) -> None:
    file = written(site, "import json\nvalue = json.dumps([1])\n", "queue.py")
    assert EntryPoint.parse(f"{file}:value").load() == "[1]"


def test_module_in_a_package_is_found(site: Site) -> None:
    (site.path / "their_package").mkdir()
    written(site, "", "their_package/__init__.py")
    written(site, "value = 1\n", "their_package/part.py")
    assert EntryPoint.parse("their_package.part:value").load() == 1
    with pytest.raises(ServiceError, match=r"No module named 'their_package\.prt'"):
        EntryPoint.parse("their_package.prt:value").load()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*their_app.py, line 1\)"),
        ("x = (", r"SyntaxError: .*their_app.py, line 1"),
        ("raise SystemExit(7)", r"SystemExit: 7"),
        ("import nowhere_at_all", r"No module named 'nowhere_at_all'"),
        ("def f():\n    raise KeyError('k')\nf()", r"KeyError: 'k' \(.*their_app.py, line 2\)"),
        ("\0", r"null bytes"),
    ],
)
def test_code_that_fails_is_told_with_its_cause_and_place(
    site: Site, text: str, cause: str
) -> None:
    file = written(site, text)
    with pytest.raises(ServiceError, match=cause):
        EntryPoint.parse(f"{file}:module").load()


def test_name_that_is_not_there_gets_the_near_ones(site: Site) -> None:
    file = written(site, "greeter = 1\n")
    with pytest.raises(ServiceError, match="no 'greter'; did you mean 'greeter'"):
        EntryPoint.parse(f"{file}:greter").load()
    with pytest.raises(ServiceError, match="no 'zzz'; it has greeter"):
        EntryPoint.parse(f"{file}:zzz").load()
