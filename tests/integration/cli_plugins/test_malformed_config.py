"""A config.json that cannot be used is one sentence that names the file and the mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_sites import CommandLine

Checkpoint = Callable[..., Path]


def error_of(modcore: CommandLine, path: Path) -> str:
    """The one sentence on stderr; the exit code is 1 and nothing else is printed."""
    done = modcore.run("explain", path, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("raw", "mistake"),
    [
        (b'{\n  "architectures": ["A"],\n  "x": }\n', "is not valid JSON (line 3, column 8:"),
        (b"", "is not valid JSON (line 1, column 1:"),
        (b'{"a": 1', "is not valid JSON (line 1,"),
        (b'["LlamaForCausalLM"]', "holds a JSON list where an object is expected"),
        (b'"LlamaForCausalLM"', "holds a JSON str where an object is expected"),
        (b"null", "holds a JSON NoneType where an object is expected"),
        (b'{"a": "\xff\xfe"}', "is not UTF-8 text"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_file_that_is_no_json_object_is_named_with_its_mistake(
    modcore: CommandLine, checkpoint: Checkpoint, raw: bytes, mistake: str
) -> None:
    directory = checkpoint(raw)

    assert f"{directory / 'config.json'} {mistake}" in error_of(modcore, directory)


@pytest.mark.parametrize("value", [{"a": 1}, 5, False, [1], ["A", None]])
def test_architectures_of_a_wrong_type_are_shown(
    modcore: CommandLine, checkpoint: Checkpoint, value: object
) -> None:
    error = error_of(modcore, checkpoint(architectures=value))

    assert f"config.json: architectures is {value!r} where a list of names is expected" in error


def test_a_directory_without_config_json_says_what_to_name(
    modcore: CommandLine, tmp_path: Path
) -> None:
    assert f"{tmp_path} has no config.json" in error_of(modcore, tmp_path)


def test_a_file_where_a_directory_is_expected_says_so(
    modcore: CommandLine, checkpoint: Checkpoint
) -> None:
    file = checkpoint(architectures=["A"]) / "config.json"

    assert f"{file} is a file; name the checkpoint directory" in error_of(modcore, file)


def test_a_directory_that_does_not_exist_says_that_nothing_is_downloaded(
    modcore: CommandLine, tmp_path: Path
) -> None:
    error = error_of(modcore, tmp_path / "nowhere")

    assert f"There is no checkpoint directory {tmp_path / 'nowhere'}" in error
    assert "downloads nothing" in error
