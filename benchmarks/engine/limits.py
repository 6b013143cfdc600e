"""What the machine can do: the memory bandwidth that a decode step streams at, and the rate of a matrix product.

Bandwidth is the fastest of three ways to read memory that no cache holds: products with packed float32 and
bfloat16 matrices, and a plain loop in C. Prints one JSON line: ``{"read_gb_s", "gemm_gf_s", "ways"}``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

LOOP = r"""
#include <stdint.h>
#include <stddef.h>
uint64_t read_all(const uint64_t* p, size_t n, int threads) {
    uint64_t sum = 0;
    #pragma omp parallel for reduction(+:sum) num_threads(threads)
    for (size_t i = 0; i < n; i++) sum += p[i];
    return sum;
}
"""
MATRICES, ROWS, COLUMNS = 24, 5632, 1024


def best(work: Callable[[], object], repeat: int) -> float:
    """The shortest of `repeat` runs, in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def packed_read(dtype_name: str, repeat: int) -> float:
    """GB/s at which products of one row with many matrices read them."""
    import torch

    from modcore.engine.kernels.huge_pages import use_huge_pages
    from modcore.engine.kernels.linear.packed import PackedLinear

    dtype = getattr(torch, dtype_name)
    weights = [PackedLinear(torch.rand(ROWS, COLUMNS).to(dtype)) for _ in range(MATRICES)]
    for weight in weights:
        for place in weight.ranges():
            use_huge_pages(*place)
    x = torch.rand(1, COLUMNS).to(dtype)
    with torch.inference_mode():
        seconds = best(lambda: [weight(x) for weight in weights], repeat)
    return MATRICES * ROWS * COLUMNS * dtype.itemsize / seconds / 1e9


def loop_read(threads: int, repeat: int) -> float | None:
    """GB/s of a compiled loop; None without a compiler."""
    import torch

    from modcore.engine.kernels.huge_pages import use_huge_pages

    with tempfile.TemporaryDirectory() as directory:
        source, library = Path(directory) / "read.c", Path(directory) / "read.so"
        source.write_text(LOOP)
        try:
            subprocess.run(
                [
                    "gcc",
                    "-O3",
                    "-march=native",
                    "-fopenmp",
                    "-shared",
                    "-fPIC",
                    source,
                    "-o",
                    library,
                ],
                check=True,
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        read_all = ctypes.CDLL(str(library)).read_all
    read_all.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    data = torch.ones(32 * 1024 * 1024, dtype=torch.int64)
    use_huge_pages(data.data_ptr(), data.nbytes)
    seconds = best(lambda: read_all(data.data_ptr(), data.numel(), threads), repeat)
    return data.nbytes / seconds / 1e9


def gemm_rate(repeat: int) -> float:
    """GF/s of a packed bfloat16 matrix times 512 rows."""
    import torch

    from modcore.engine.kernels.linear.packed import PackedLinear

    weight = PackedLinear(torch.rand(ROWS, COLUMNS).bfloat16())
    x = torch.rand(512, COLUMNS).bfloat16()
    with torch.inference_mode():
        return 2 * 512 * ROWS * COLUMNS / best(lambda: weight(x), repeat) / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=15)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    ways = {
        "packed bfloat16": packed_read("bfloat16", arguments.repeat),
        "packed float32": packed_read("float32", arguments.repeat),
        "loop": loop_read(arguments.threads, arguments.repeat),
    }
    known = [rate for rate in ways.values() if rate is not None]
    print(
        json.dumps(
            {"read_gb_s": max(known), "gemm_gf_s": gemm_rate(arguments.repeat), "ways": ways}
        )
    )


if __name__ == "__main__":
    main()
