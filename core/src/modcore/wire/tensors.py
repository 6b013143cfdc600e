"""NumPy arrays and torch tensors as safetensors bytes.

Their values, shape and dtype travel: an array arrives in C order, a tensor on the CPU, without the graph that made
it. NumPy and torch are imported only when such a value comes in.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from modcore.errors import named_kind
from modcore.wire.refusals import CannotTravel, Malformed

ARRAY, SCALAR, TENSOR = 20, 21, 22
#: Which library reads each code.
CODES = {ARRAY: "numpy", SCALAR: "numpy", TENSOR: "torch"}

#: safetensors' names of the types that NumPy has, and NumPy's.
_NUMPY = {
    "BOOL": "bool",
    "C64": "complex64",
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
#: Those of torch.
_TORCH = _NUMPY | {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def packed(value: Any) -> tuple[int, bytes] | None:
    """The code and the safetensors bytes of an array or tensor, None for anything else."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _packed_array(numpy, value)
    if torch is not None and isinstance(value, torch.Tensor):
        return _packed_tensor(torch, value)
    return None


def unpack(code: int, data: bytes) -> Any:
    """The array or tensor in `data`; raises Malformed."""
    dtype, shape, content = _only_one(data)
    try:
        if code == TENSOR:
            return _tensor(dtype, shape, content)
        array = _array(dtype, shape, content)
        return array if code == ARRAY else array[()]
    except ModuleNotFoundError as error:
        raise Malformed(f"it holds a value of {error.name}, which is not installed here") from None
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise Malformed(f"a tensor cannot be read: {error}") from None


def _packed_array(numpy: Any, value: Any) -> tuple[int, bytes]:
    kind, dtype = type(value), value.dtype
    is_scalar = isinstance(value, numpy.generic)
    if not is_scalar and kind is not numpy.ndarray:
        raise CannotTravel(
            f"{named_kind(kind)} would arrive as an array; make it one with numpy.asarray"
        )
    if not dtype.isnative or dtype.name not in _NUMPY.values() or dtype.metadata:
        raise CannotTravel(
            f"arrays of dtype {dtype} have no form on the wire; convert it with .astype to one of {', '.join(_NUMPY.values())}"
        )
    from safetensors.numpy import save

    # A copy where needed: safetensors writes memory as it lies.
    return (SCALAR if is_scalar else ARRAY), save({"": numpy.array(value, order="C", ndmin=0)})


def _packed_tensor(torch: Any, value: Any) -> tuple[int, bytes]:
    if type(value) is not torch.Tensor:
        raise CannotTravel(f"{named_kind(type(value))} would arrive as a tensor; send its .data")
    dtype = str(value.dtype).removeprefix("torch.")
    if value.layout is not torch.strided or value.is_meta or dtype not in _TORCH.values():
        raise CannotTravel(
            f"a {dtype} tensor on {value.device} with {value.layout} has no form on the wire; make it dense, or convert it"
        )
    from safetensors.torch import save

    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return TENSOR, save({"": plain})


def _only_one(data: bytes) -> tuple[str, list[int], bytearray]:
    try:
        safetensors: Any = importlib.import_module("safetensors")
    except ModuleNotFoundError:
        raise Malformed("it holds a tensor, and safetensors is not installed here") from None
    try:
        [(_, content)] = safetensors.deserialize(data)
    except (safetensors.SafetensorError, ValueError) as error:
        raise Malformed(f"a tensor cannot be read: {error}") from None
    return str(content["dtype"]), list(content["shape"]), content["data"]


def _array(dtype: str, shape: list[int], content: bytearray) -> Any:
    import numpy

    if dtype not in _NUMPY:
        raise ValueError(f"NumPy has no {dtype}")
    if not content:  # NumPy takes an empty buffer for one that cannot be written
        return numpy.empty(shape, dtype=_NUMPY[dtype])
    return numpy.frombuffer(content, dtype=_NUMPY[dtype]).reshape(shape)


def _tensor(dtype: str, shape: list[int], content: bytearray) -> Any:
    import torch

    if dtype not in _TORCH:
        raise ValueError(f"torch has no {dtype}")
    kind = getattr(torch, _TORCH[dtype])
    if not content:  # which torch.frombuffer refuses
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(content, dtype=kind).reshape(shape)
