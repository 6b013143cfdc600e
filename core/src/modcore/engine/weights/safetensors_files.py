"""The safetensors files of a checkpoint: which there are, and what their headers say.

The headers are read here rather than by the safetensors library because it keeps the last of two
equal names in silence. Tensor data is read from where the header says, into memory that the caller
keeps: a mapped file would count as memory, too, for as long as it is open.

Source: the safetensors format, https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch

from modcore.checkpoint import read_json_object
from modcore.errors import CheckpointError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100 * 1024 * 1024  # the format's own limit

#: The dtypes that weights are read from.
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a file, as its header declares it; `begin` is its first byte in the file."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int = 0


class SafetensorsFiles:
    """All tensors of a checkpoint directory; a context manager that keeps the files open.

    With `prefixes`, only those whose names begin with one of them, under the names that begin with
    what it stands for.
    """

    def __init__(self, directory: Path, prefixes: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.tensors: dict[str, TensorEntry] = {}
        self._open: dict[Path, BinaryIO] = {}
        for file in _files_of(directory):
            for entry in read_header(file):
                self._add(entry)
        _verify_index(directory, self.tensors)
        if prefixes is not None:
            self.tensors = dict(_renamed(self.tensors, prefixes))

    def _add(self, entry: TensorEntry) -> None:
        other = self.tensors.get(entry.name)
        if other is not None:
            raise CheckpointError(
                f"Tensor {entry.name} is in both {other.file} and {entry.file}; remove one of the two."
            )
        self.tensors[entry.name] = entry

    def read(
        self, name: str, slices: tuple[slice, ...], into: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The part `slices` of tensor `name`, in the file's dtype, one of `FLOATS`.

        It is read to `into`, and that is returned, when `into` is what the file holds: contiguous,
        of its dtype, whole rows. Else to memory of its own.
        """
        entry = self.tensors[name]
        rows, *rest = slices
        whole = all(cut == slice(0, size) for cut, size in zip(rest, entry.shape[1:], strict=True))
        dtype = FLOATS[entry.dtype]
        if into is None or not whole or into.dtype != dtype or not into.is_contiguous():
            into = torch.empty(rows.stop - rows.start, *entry.shape[1:], dtype=dtype)
        row_bytes = math.prod(entry.shape[1:]) * dtype.itemsize
        self._fill(entry, entry.begin + rows.start * row_bytes, into)
        return into if whole else into[(slice(None), *rest)]

    def _fill(self, entry: TensorEntry, begin: int, tensor: torch.Tensor) -> None:
        if not tensor.nbytes:
            return
        memory = (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())
        try:
            if entry.file not in self._open:
                self._open[entry.file] = entry.file.open("rb", buffering=0)
            stream = self._open[entry.file]
            stream.seek(begin)
            view, filled = memoryview(memory).cast("B"), 0
            while count := stream.readinto(view[filled:]):  # type: ignore[attr-defined]
                filled += count
        except OSError as error:
            raise _damaged(entry.file, str(error)) from error
        if filled < tensor.nbytes:
            raise _damaged(entry.file, f"it ends within tensor {entry.name}")

    def __enter__(self) -> SafetensorsFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._open.values():
            handle.close()
        self._open.clear()


def _renamed(
    tensors: Mapping[str, TensorEntry], prefixes: Mapping[str, str]
) -> Iterator[tuple[str, TensorEntry]]:
    for name, entry in tensors.items():
        # The longest first: one may be the beginning of another.
        for prefix in sorted(prefixes, key=len, reverse=True):
            if name.startswith(prefix):
                yield prefixes[prefix] + name.removeprefix(prefix), entry
                break


def _files_of(directory: Path) -> list[Path]:
    """The files with tensors, found as transformers finds them: one file, else an index."""
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    if (directory / INDEX).is_file():
        return [_shard(directory, name) for name in sorted(set(_weight_map(directory).values()))]
    pickled = sorted(
        file.name for file in directory.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".ckpt")
    )
    if pickled:
        raise CheckpointError(
            f"{directory} holds its weights as {pickled[0]}, a pickle, which can run code when it is "
            "read and is refused; convert it: load it with transformers and save_pretrained() it as safetensors."
        )
    raise CheckpointError(
        f"{directory} has neither {SINGLE} nor {INDEX}; fetch the weights, or save_pretrained() them again."
    )


def _weight_map(directory: Path) -> dict[str, str]:
    weight_map = read_json_object(directory / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(name, str) for name in weight_map.values()
    ):
        raise CheckpointError(
            f"{directory / INDEX} has no weight_map from tensor names to file names; fetch it again."
        )
    return weight_map


def _shard(directory: Path, name: str) -> Path:
    if not re.fullmatch(r"[\w.-]+\.safetensors", name):
        raise CheckpointError(
            f"{directory / INDEX} names {name!r}, which is not a safetensors file beside it; correct it."
        )
    if not (directory / name).is_file():
        raise CheckpointError(
            f"{directory / INDEX} names {name}, which is not there; fetch that file."
        )
    return directory / name


def _verify_index(directory: Path, tensors: dict[str, TensorEntry]) -> None:
    if (directory / SINGLE).is_file():
        return
    for name, file in _weight_map(directory).items():
        found = tensors.get(name)
        if found is None or found.file.name != file:
            where = f"it is in {found.file.name}" if found else "no file holds it"
            raise CheckpointError(
                f"{directory / INDEX} says that tensor {name} is in {file}, but {where}; fetch the files again."
            )


def read_header(file: Path) -> list[TensorEntry]:
    """The tensors that `file` declares; raises CheckpointError when the file cannot hold them."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise _damaged(file, f"its header would be {length} bytes long, the file has {size}")
        header = _parse(file, stream.read(length))
    entries = [
        _entry(file, 8 + length, name, fields) for name, fields in header if name != "__metadata__"
    ]
    _verify_layout(file, header, size - 8 - length)
    return entries


def _parse(file: Path, text: bytes) -> list[tuple[str, Any]]:
    """The header's name and value pairs, in order: a dict would hide a name that is there twice."""
    try:
        pairs = json.loads(text.decode("utf-8"), object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, too many digits, too deep
        raise _damaged(file, f"its header is not JSON ({error})") from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise _damaged(file, "its header is not a JSON object")
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise CheckpointError(
                f"Tensor {name} is twice in the header of {file}; write the file again."
            )
        seen.add(name)
    return [(name, dict(value) if _is_object(value) else value) for name, value in pairs]


def _is_object(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, tuple) for item in value)


def _entry(file: Path, data: int, name: str, fields: Any) -> TensorEntry:
    described = fields if isinstance(fields, dict) else {}
    shape = _naturals(described.get("shape"))
    offsets = _naturals(described.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2:
        raise _damaged(file, f"its header describes tensor {name} wrongly")
    dtype = str(described.get("dtype"))
    if dtype not in _ITEM_BYTES:
        raise CheckpointError(
            f"Tensor {name} in {file} has dtype {dtype}, which is not served; "
            "convert it to bfloat16 or float32."
        )
    held, needed = offsets[1] - offsets[0], math.prod(shape) * _ITEM_BYTES[dtype]
    if held != needed:
        raise _damaged(
            file, f"tensor {name} has {held} bytes where its shape and dtype need {needed}"
        )
    return TensorEntry(name, file, dtype, tuple(shape), data + offsets[0])


def _naturals(value: Any) -> list[int] | None:
    """`value` when it is a list of whole numbers that are not negative."""
    natural = isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value
    )
    return value if natural else None


def _verify_layout(file: Path, header: list[tuple[str, Any]], data_bytes: int) -> None:
    """Tensors lie one behind the other and fill the file: anything else is damage."""
    end = 0
    for start, stop, name in sorted(_spans(header)):
        if start != end:
            raise _damaged(
                file, f"tensor {name} begins at byte {start} of the data where {end} is expected"
            )
        end = stop
    if end != data_bytes:
        what = "truncated" if end > data_bytes else "followed by foreign bytes"
        raise _damaged(
            file, f"its tensors need {end} bytes and {data_bytes} are there, so it is {what}"
        )


def _spans(header: list[tuple[str, Any]]) -> Iterator[tuple[int, int, str]]:
    for name, fields in header:
        if name != "__metadata__":
            yield (*fields["data_offsets"], name)


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{os.fspath(file)} is damaged: {reason}; fetch it again.")
