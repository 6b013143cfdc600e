"""Kernels in C++ for the CPU, compiled for this processor when an engine first needs them.

Without a compiler (or with ``MODCORE_KERNELS=reference``) the reference kernels run instead.
"""
