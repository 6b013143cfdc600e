"""Linear weights: a matrix and its bias in the layout that is fastest to multiply with.

Each is a `LinearWeight`; which one a weight becomes is decided by `Kernels.pack_linear`.
"""

from modcore.engine.kernels.linear.base import LinearWeight, RowTable
from modcore.engine.kernels.linear.plain import PlainLinear

__all__ = ["LinearWeight", "PlainLinear", "RowTable"]
