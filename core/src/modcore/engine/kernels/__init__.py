"""Kernels: the operators of the layers, as plain functions over plain tensors.

`base` is the interface, `reference` implements all of it in PyTorch; `select_kernels` picks an
implementation for a device and dtype.
"""

from modcore.engine.kernels.base import Kernels, select_kernels

__all__ = ["Kernels", "select_kernels"]
