"""Fabricating installed distributions, and interpreters that have nothing but the core.

What is written is what pip leaves behind: a ``.dist-info`` directory and modules beside it. The
command line is always run as a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
import venv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import importlib_metadata
from packaging.requirements import Requirement

EntryPoints = Mapping[str, Mapping[str, str]]

SWITCHES = (
    "MODCORE_PLUGINS",
    "MODCORE_DISABLE_PLUGINS",
    "MODCORE_STRICT_PLUGINS",
    "MODCORE_PLUGIN_TIMEOUT",
)


@dataclass(frozen=True)
class Site:
    """A directory for ``sys.path`` into which distributions are installed."""

    path: Path

    def install(
        self,
        name: str,
        version: str = "1.0",
        *,
        entry_points: EntryPoints | str | bytes | None = None,
        modules: Mapping[str, str] | None = None,
        requires: Iterable[str] = (),
        metadata: str | None = None,
    ) -> Path:
        """Install a distribution; returns its ``.dist-info``.

        `modules` maps a module's name to its source; `entry_points` and `metadata` may be given
        as the text of the file, `metadata` as "" for none.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        files = {f"{module}.py": textwrap.dedent(text) for module, text in (modules or {}).items()}
        for file, text in files.items():
            (self.path / file).write_text(text)
        if metadata is None:
            lines = [f"Requires-Dist: {requirement}\n" for requirement in requires]
            metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{''.join(lines)}\nA description.\n"
        if metadata:
            (info / "METADATA").write_text(metadata)
        if entry_points is not None:
            (info / "entry_points.txt").write_bytes(_as_bytes(entry_points))
        record = [*files, *(f"{info.name}/{file.name}" for file in info.iterdir())]
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in record))
        return info

    def install_hooks(self, name: str, source: str, version: str = "1.0", **options: Any) -> Path:
        """Install a distribution whose only entry point is a module with hooks."""
        module = name.replace("-", "_") + "_hooks"
        return self.install(
            name,
            version,
            entry_points={"modcore": {name: module}},
            modules={module: source},
            **options,
        )


def _as_bytes(entry_points: EntryPoints | str | bytes) -> bytes:
    if isinstance(entry_points, bytes):
        return entry_points
    if isinstance(entry_points, str):
        return entry_points.encode()
    sections = (
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in entry_points.items()
    )
    return "\n".join(sections).encode()


@dataclass(frozen=True)
class CommandLine:
    """``modcore`` as a process of its own: of the interpreter `python`, with `sites` on its path."""

    python: str
    sites: Sequence[Path] = ()
    environ: Mapping[str, str] = field(default_factory=dict)

    def environment(self, **environ: str) -> dict[str, str]:
        """The environment variables of a run."""
        inherited = {key: value for key, value in os.environ.items() if key not in SWITCHES}
        path = {"PYTHONPATH": os.pathsep.join(map(str, self.sites))}
        return {**inherited, **path, **self.environ, **environ}

    def run(self, *words: object, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run ``modcore WORDS...``, with what it prints as text."""
        return self.python_with("-m", "modcore", *words, **environ)

    def python_with(self, *words: object, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the interpreter itself."""
        return subprocess.run(
            [self.python, *map(str, words)],
            env=self.environment(**environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *words: object, **environ: str) -> Any:
        """What ``modcore WORDS... --json`` prints."""
        done = self.run(*words, "--json", **environ)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"not JSON: {done.stdout!r}; stderr: {done.stderr}") from None

    def plugins(self, *words: object, **environ: str) -> list[dict[str, Any]]:
        """The listed plugins without what the core itself registers."""
        listed = self.json("list-plugins", *words, **environ)["plugins"]
        return [entry for entry in listed if entry["dist"] != "modcore"]


def bare_interpreter(directory: Path, *dists: str) -> str:
    """A new virtual environment with `dists` and what they require, linked from this one.

    Extras are not required, so that nothing heavy comes along.
    """
    venv.create(directory, symlinks=True, with_pip=False)
    python = directory / "bin" / "python"
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    target = Path(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )
    for name in _with_requirements(dists):
        dist = importlib_metadata.distribution(name)
        tops = {file.parts[0] for file in dist.files or () if ".." not in file.parts}
        for top in tops - {"__pycache__"}:
            (target / top).symlink_to(Path(str(dist.locate_file(top))))
    return str(python)


def _with_requirements(dists: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(dists)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        requirements = map(Requirement, importlib_metadata.requires(name) or ())
        waiting += [
            requirement.name
            for requirement in requirements
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]
    return found
