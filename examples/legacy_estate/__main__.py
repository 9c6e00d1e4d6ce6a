# SPDX-License-Identifier: Apache-2.0
"""``python -m examples.legacy_estate --out DIR [--quick]``: writes the estate, one line per file."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

# Before any library starts its threads: the bytes of a model must not depend on the number of cores.
os.environ["OMP_NUM_THREADS"] = "1"

from .build import build_estate


def main() -> int:
    """Builds what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m examples.legacy_estate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="an empty or absent folder")
    parser.add_argument("--quick", action="store_true", help="four honest models instead of all")
    arguments = parser.parse_args()
    started = time.monotonic()
    manifest = build_estate(arguments.out, quick=arguments.quick, say=print)
    print(f"{manifest} after {time.monotonic() - started:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
