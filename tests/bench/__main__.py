# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: ratios against the alternatives, printed; seconds are never asserted."""

from __future__ import annotations

import os
import platform

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one row is not worth a thread pool, for either side

from .converting import bench_conversion
from .loading import bench_large_loads
from .predicting import bench_load, bench_predict
from .scanners import bench_forest, bench_scan_speed, bench_scanners
from .scanning import bench_scan
from .store import BenchStore


def main() -> int:
    """Runs all benchmarks."""
    print(f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores; medians")
    bench_scan()
    bench_scan_speed()
    bench_forest()
    store = BenchStore()
    bench_predict(store)
    bench_load(store)
    bench_large_loads()
    bench_conversion()
    bench_scanners()  # last, since other people's scanners take minutes
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
