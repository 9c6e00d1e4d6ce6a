# SPDX-License-Identifier: Apache-2.0
"""Writes one estate with the libraries of the interpreter that runs it, and records what its models answer.

    <environment>/bin/python examples/version_estates/write_estate.py .build/estates/1.3.2

Needs scikit-learn, numpy, joblib, LightGBM and XGBoost of that environment and nothing else of this project. Beside
every model stands ``<name>.npz`` with the rows and the recorded answers; ``estate.json`` lists them all. Estates
are never committed.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import pickle
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import estate_models  # noqa: E402  # after the thread counts are set
import joblib  # noqa: E402
import lightgbm  # noqa: E402
import numpy as np  # noqa: E402
import sklearn  # noqa: E402
import synthetic_bars as bars  # noqa: E402
import xgboost  # noqa: E402

METHODS = ("predict", "predict_proba", "decision_function")
KEYS = ("pipeline", "model", "estimator", "classifier")
SYMBOLS = ("EURUSD", "GBPUSD", "XAUUSD", "US30")


def package(model: Any, number: int) -> Any:
    """The model as a trading system saves it: mostly in a dictionary with facts about it, sometimes bare."""
    if number % 5 == 4:
        return model
    return {
        KEYS[number % len(KEYS)]: model,
        "symbol": SYMBOLS[number % len(SYMBOLS)],
        "training_date": datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc),  # noqa: UP017
        "feature_names": list(bars.FEATURES),
        "performance": {"accuracy": np.float64(0.58), "trades": 412},
    }


def write(value: Any, stem: Path, number: int) -> str:
    """Write `value` in one of the encodings that estates hold, in turn, and return the file's name."""
    encoding = number % 8
    if encoding < 5:
        path = stem.with_suffix(".pkl")
        path.write_bytes(pickle.dumps(value, protocol=(2, 3, 4, 5, pickle.DEFAULT_PROTOCOL)[encoding]))
    elif encoding == 5:
        path = stem.with_suffix(".joblib")
        joblib.dump(value, path)
    elif encoding == 6:
        path = stem.with_suffix(".joblib")
        joblib.dump(value, path, compress=("zlib", 3))
    else:
        path = stem.with_suffix(".pkl")
        path.write_bytes(gzip.compress(pickle.dumps(value, protocol=4), mtime=0))
    return path.name


def questions(rows: np.ndarray, takes_nan: bool) -> np.ndarray:
    """Rows that were not trained on: seen ones moved, far ones, and gaps where the model takes them."""
    rng = np.random.RandomState(11)
    asked = rows[::5] * (1 + 0.1 * rng.standard_normal(rows[::5].shape))
    far = 10 * rows.std(axis=0) * rng.standard_normal((20, rows.shape[1]))
    asked = np.vstack([asked, far, np.zeros((1, rows.shape[1]))])
    if takes_nan:
        asked[rng.rand(*asked.shape) < 0.05] = np.nan
    return asked


def answers(model: Any, asked: np.ndarray) -> dict[str, np.ndarray]:
    """What the model answers by every method that it has."""
    found = {"rows": asked}
    for method in METHODS:
        if hasattr(model, method):
            found[method] = np.asarray(getattr(model, method)(asked))
    return found


def main() -> int:
    """Train, write, and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the estate goes")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rows, labels, targets = bars.features_and_labels()
    listed = []
    warnings.simplefilter("ignore")
    for number, (name, model, takes_nan) in enumerate(estate_models.fitted(rows, labels, targets)):
        file = write(package(model, number), folder / f"{SYMBOLS[number % len(SYMBOLS)]}_{name}", number)
        recorded = answers(model, questions(rows, takes_nan))
        np.savez_compressed(folder / f"{file}.npz", **recorded)
        listed.append(
            {
                "name": name,
                "file": file,
                "answers": f"{file}.npz",
                "methods": sorted(set(recorded) - {"rows"}),
            }
        )
    versions = {
        "scikit-learn": sklearn.__version__, "numpy": np.__version__, "joblib": joblib.__version__,
        "lightgbm": lightgbm.__version__, "xgboost": xgboost.__version__, "python": platform.python_version(),
    }  # fmt: skip
    manifest = json.dumps({"schema_version": 1, "versions": versions, "models": listed}, indent=1)
    (folder / "estate.json").write_text(manifest + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(listed)} models of scikit-learn {sklearn.__version__} in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
