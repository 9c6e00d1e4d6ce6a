# SPDX-License-Identifier: Apache-2.0
"""Proves that the hostile files bite: loads them as an unsuspecting user would, in a process to throw away.

``python -m examples.legacy_estate.detonate DIR`` prints ``file marker-touched`` per file with a payload and
removes the markers again. Only ever run it on an estate that this package wrote.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..trading_features import FEATURE_NAMES
from .build import FILES, MANIFEST
from .engineers import homes

__all__ = ["detonate"]


def detonate(folder: Path) -> dict[str, bool]:
    """Whether each hostile file with a payload left its marker after a plain load, and use where it takes that."""
    outcome: dict[str, bool] = {}
    for entry in json.loads((folder / MANIFEST).read_bytes())["files"]:
        if entry["kind"] != "hostile" or entry["marker"] is None:
            continue
        with (
            homes(),
            warnings.catch_warnings(),
            contextlib.suppress(Exception),
        ):  # hostile files may well fail
            warnings.simplefilter("ignore")
            loaded = _load(folder / FILES / entry["file"], entry["loader"])
            if entry["fires"] == "use":
                loaded["pipeline"].predict(np.zeros((1, len(FEATURE_NAMES))))
        marker = Path(entry["marker"])
        outcome[entry["file"]] = marker.exists()
        marker.unlink(missing_ok=True)
    return outcome


def _load(path: Path, loader: str) -> Any:
    if loader == "joblib":
        import joblib

        return joblib.load(path)
    return pickle.loads(path.read_bytes())


if __name__ == "__main__":
    for name, touched in detonate(Path(sys.argv[1])).items():
        print(name, touched)
