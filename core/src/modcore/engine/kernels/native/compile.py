"""Compiling `kernels.cpp` once for this machine, and keeping the result in the user's cache.

The file's name is a digest of all that it depends on, so a new version never meets an old library.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")
_FLAGS = [
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-fopenmp",
    "-fno-math-errno",
    "-fassociative-math",
    "-fno-signed-zeros",
    "-fno-trapping-math",
]
_SECONDS = 120


class CompilationFailed(Exception):
    """The kernels cannot be compiled here; the text says why."""


@functools.cache
def load_library() -> ctypes.CDLL:
    """The compiled kernels; raises CompilationFailed."""
    import torch  # noqa: F401  brings the OpenMP runtime that both then share

    try:
        compiler = _compiler()
        library = _cache_directory() / f"kernels-{_digest(compiler)}.so"
        if not library.exists():
            _compile(compiler, library)
        _verify_owner(library)
        return ctypes.CDLL(str(library))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise CompilationFailed(str(error)) from error


def _compiler() -> str:
    if platform.system() != "Linux":
        raise CompilationFailed(f"they are made for Linux, and this is {platform.system()}")
    for name in filter(None, (os.environ.get("CXX"), "g++", "clang++")):
        if found := shutil.which(name):
            return found
    raise CompilationFailed("there is no C++ compiler (g++ or clang++)")


def _digest(compiler: str) -> str:
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
    ).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    parts = (SOURCE.read_text(), version, " ".join(_FLAGS), platform.machine(), features)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    base = Path(home) if home else Path.home() / ".cache"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    _verify_owner(base)
    for directory in (base / "modcore", base / "modcore" / "kernels"):
        directory.mkdir(mode=0o700, exist_ok=True)
        _verify_owner(directory)
    return directory


def _verify_owner(path: Path) -> None:
    """Code is loaded only from where nobody else could have put it."""
    status = path.lstat()
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CompilationFailed(
            f"{path} can be written by others; make it yours alone (chmod go-w)"
        )


def _compile(compiler: str, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as directory:
        made = Path(directory) / library.name
        try:
            done = subprocess.run(
                [compiler, *_FLAGS, str(SOURCE), "-o", str(made)],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CompilationFailed(f"{compiler} took more than {_SECONDS} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise CompilationFailed(f"{compiler} failed: {lines[0]}")
        made.chmod(0o700)
        made.replace(library)  # at once, whoever else compiles the same
