# SPDX-License-Identifier: Apache-2.0
"""Writes a model of every family with the libraries of the interpreter that runs it, each beside its training rows.

    <environment>/bin/python examples/version_estates/write_families.py .build/families/1.3.2

What the models answer is not recorded: they are asked later, on rows that are made out of the converted model.
``families.json`` lists them in order, and those that this release could not fit, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import warnings
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import estate_families  # noqa: E402  # after the thread counts are set
import numpy as np  # noqa: E402
import sklearn  # noqa: E402
import synthetic_bars as bars  # noqa: E402

ROWS = 250


def main() -> int:
    """Fit and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the models go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    major, minor = (int(part) for part in sklearn.__version__.split(".")[:2])
    listed: list[dict[str, str]] = []
    missing: dict[str, str] = {}
    for name, fit, rows in estate_families.made_families(*bars.features_and_labels(ROWS), (major, minor)):
        try:
            model = fit()
        except Exception as error:  # whatever an old release raises on its own platform is listed, not hidden
            missing[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        file = f"EURUSD_{len(listed):03d}.pkl"
        (folder / file).write_bytes(pickle.dumps(model, protocol=2 + len(listed) % 4))
        np.save(folder / f"{file}.npy", rows)
        listed.append({"name": name, "file": file})
    manifest = json.dumps(
        {"schema_version": 1, "scikit-learn": sklearn.__version__, "models": listed, "missing": missing},
        indent=1,
    )
    (folder / "families.json").write_text(manifest + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(listed)} models of scikit-learn {sklearn.__version__} in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
