"""Kernels: the operators of the layers, as plain functions over plain tensors.

`base` is the interface, `reference` implements all of it in PyTorch; `select_kernels` picks an
implementation for a device and dtype. `linear` holds the layouts of linear weights.
"""

from modcore.engine.kernels.base import Kernels, select_kernels
from modcore.engine.kernels.linear import LinearWeight, RowTable

__all__ = ["Kernels", "LinearWeight", "RowTable", "select_kernels"]
