# SPDX-License-Identifier: Apache-2.0
"""Measures what happens to an estate that is loaded as it is under the libraries of this interpreter.

    python examples/version_estates/load_naively.py .build/estates/1.3.2

This unpickles: use it on estates that `write_estate` made, and on nothing else. Each model is loaded in a process
of its own, since a tree of another version can crash the one that asks it. Prints one JSON object: how many models
fail to load, fail to answer, answer wrongly (and by how much), or answer as recorded.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import joblib  # noqa: E402  # after the thread counts are set
import numpy as np  # noqa: E402

KEYS = ("pipeline", "model", "estimator", "classifier")
SECONDS = 120


def load(path: Path) -> Any:
    """The model of a file, loaded as a trading system would."""
    if path.suffix == ".joblib":
        value = joblib.load(path)
    else:
        data = path.read_bytes()
        value = pickle.load(io.BytesIO(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data))
    return next((value[key] for key in KEYS if key in value), None) if isinstance(value, dict) else value


def judge(path: Path) -> dict[str, Any]:
    """Load one model, ask it the recorded rows, and compare."""
    recorded = np.load(f"{path}.npz")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = load(path)
        except Exception as error:  # whatever an old pickle raises is the measurement
            return {"outcome": "does not load", "error": f"{type(error).__name__}: {str(error)[:120]}"}
        warned = any("version" in str(warning.message) for warning in said)
    outcome: dict[str, Any] = {"outcome": "same answers", "warned": warned}
    for method in sorted(set(recorded.files) - {"rows"}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                now = np.asarray(getattr(model, method)(recorded["rows"]))
        except Exception as error:
            return {
                "outcome": "does not answer",
                "error": f"{method}: {type(error).__name__}: {str(error)[:120]}",
            }
        then = recorded[method]
        if now.shape != then.shape or (now.dtype.kind in "UO" and not np.array_equal(now, then)):
            outcome["outcome"] = "wrong answers"
        elif now.dtype.kind not in "UO" and not np.array_equal(now, then, equal_nan=now.dtype.kind == "f"):
            off = float(np.nanmax(np.abs(now.astype(float) - then.astype(float))))
            outcome[f"{method} off by"] = off
            flipped = method == "predict" and now.dtype.kind in "iu"
            worse = (
                "wrong answers"
                if flipped or not np.allclose(now, then, rtol=1e-9, atol=1e-12)
                else "last digits"
            )
            if outcome["outcome"] != "wrong answers":
                outcome["outcome"] = worse
    return outcome


def main() -> int:
    """Judge every model of an estate and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("estate", type=Path, help="a folder that write_estate made")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(judge(arguments.estate / arguments.one)))
        return 0
    manifest = json.loads((arguments.estate / "estate.json").read_text(encoding="utf-8"))
    results = {}
    for row in manifest["models"]:
        done = subprocess.run(
            [sys.executable, __file__, str(arguments.estate), "--one", row["file"]],
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        crashed = {"outcome": "crashes", "error": f"exit {done.returncode}"}
        results[row["name"]] = json.loads(done.stdout) if done.returncode == 0 else crashed
    counts: dict[str, int] = {}
    for result in results.values():
        counts[result["outcome"]] = counts.get(result["outcome"], 0) + 1
    print(json.dumps({"written by": manifest["versions"], "counts": counts, "models": results}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
