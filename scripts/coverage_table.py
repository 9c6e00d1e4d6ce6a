# SPDX-License-Identifier: Apache-2.0
"""Write docs/coverage.md: what becomes of each estimator here, and what skl2onnx alone makes of it.

Usage: python scripts/coverage_table.py [--only WORD] [-o docs/coverage.md]

Each model is pickled and goes through the same code as `depickle migrate --accept sampled`: gate, typed model,
emitter or fallback, worker, proof, parity. That is done twice, in processes with different hash seeds, and the ONNX
and skops bytes of the two are compared. skl2onnx is asked for the same live model, as its documentation says
(float32 input, its own converters plus those of onnxmltools), and answers the same rows: 10,000 random ones and the
rows placed on the splits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from coverage_models import COLUMNS, Candidate, candidates, known_errors

from depickle.parity.sampled import SAMPLED_TOLERANCE

ROOT = Path(__file__).resolve().parent.parent
HASH_SEEDS = ("1", "4242")
OFF = 1e-5
"""A value further than this from the original's, relative to the largest, counts as another value."""
NO_TASK = {
    "clusterer": "it finds clusters; there is no label to trade on",
    "other": "it predicts nothing, or not from a row of numbers",
    "ranker": "it ranks rows against each other; a row alone has no answer",
}
FLOAT32_ROOM = 1e30


# ---- our side: one process per hash seed -------------------------------------------------------------------------


def convert_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Convert every pickle in `folder` as a migration would; what became of each, by file name."""
    from depickle.migrate import Converter
    from depickle.planning import MigrationOptions
    from depickle.sources import read_source
    from depickle_runtime.errors import SecurityError

    every = frozenset(("proven", "certified", "sampled"))
    options = MigrationOptions(
        created=datetime(2026, 1, 1, tzinfo=UTC),
        symbol="DEMO",
        accept=frozenset(("sampled",)),
        admitted=every,
        label_map={"-1": "sell", "0": "wait", "1": "buy", "2": "buy"},
    )
    found: dict[str, dict[str, Any]] = {}
    with Converter(options) as converter:
        for path in sorted(folder.glob("*.pkl")):
            try:
                made = converter.convert(read_source(path))
            except SecurityError as error:
                found[path.stem] = {"code": error.code, "reason": error.message, "found": error.found}
                continue
            found[path.stem] = {
                "tier": made.record.tier,
                "derived": made.record.derived,
                "flips": made.label_flips,
                "ulp": max((rows.max_ulp_scores or 0) for rows in made.record.parity.rows),
                "rows": {rows.name: rows.rows for rows in made.record.parity.rows},
                "onnx": hashlib.sha256(made.onnx).hexdigest(),
                "skops": hashlib.sha256(made.skops).hexdigest(),
            }
    return found


# ---- skl2onnx's side ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Theirs:
    """What skl2onnx made of a model."""

    state: str
    random: str = ""
    splits: str = ""
    wrong: bool = False


def register_boosters() -> None:
    """Tell skl2onnx of LightGBM and XGBoost, as its documentation does, and let protobuf 7 take its booleans."""
    import lightgbm
    import skl2onnx.common.tree_ensemble as ensembles
    import xgboost
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes as classifier_shapes,
    )
    from skl2onnx.common.shape_calculator import (
        calculate_linear_regressor_output_shapes as regressor_shapes,
    )

    add_node = ensembles.add_node

    def add(*arguments: Any, nodes_missing_value_tracks_true: Any = 0, **more: Any) -> None:
        add_node(*arguments, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **more)

    ensembles.add_node = add
    zipmap = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    kinds = [
        (lightgbm.LGBMClassifier, "LightGbmLGBMClassifier", classifier_shapes, convert_lightgbm, zipmap),
        (
            lightgbm.LGBMRegressor,
            "LightGbmLGBMRegressor",
            regressor_shapes,
            convert_lightgbm,
            {"split": None},
        ),
        (xgboost.XGBClassifier, "XGBoostXGBClassifier", classifier_shapes, convert_xgboost, zipmap),
        (xgboost.XGBRFClassifier, "XGBoostXGBRFClassifier", classifier_shapes, convert_xgboost, zipmap),
        (xgboost.XGBRegressor, "XGBoostXGBRegressor", regressor_shapes, convert_xgboost, None),
        (xgboost.XGBRFRegressor, "XGBoostXGBRFRegressor", regressor_shapes, convert_xgboost, None),
    ]
    for cls, alias, shapes, convert, options in kinds:
        update_registered_converter(cls, alias, shapes, convert, options=options)


def _rows(candidate: Candidate, data: bytes) -> dict[str, npt.NDArray[np.float64]]:
    """The random and the split rows of a model, from its inert graph."""
    from depickle.parity.rows import make_rows
    from depickle.parity.sampled import Surroundings, read_surroundings, sampled_rows
    from depickle.pickles import open_package, vet
    from depickle_runtime.errors import SecurityError

    columns = COLUMNS
    try:
        estimator = open_package(vet(data)).estimator
        made = make_rows(estimator, features=columns, allow_nan=False, max_abs=FLOAT32_ROOM, seed=5)
        sets = {rows.name: rows.values for rows in made.sets}
        if "splits" in sets:
            return sets
        around = read_surroundings(estimator, features=columns)
    except SecurityError:
        around = Surroundings(np.zeros(columns), np.ones(columns), np.empty((0, columns)), known=False)
    return {rows.name: rows.values for rows in sampled_rows(around, allow_nan=False, seed=5)}


def ask_skl2onnx(candidate: Candidate, data: bytes) -> Theirs:
    """Convert with skl2onnx alone and count the rows that it answers differently."""
    import onnxruntime
    from skl2onnx import to_onnx

    sample = np.zeros((1, COLUMNS), dtype=np.float32)
    opsets = {"": 18, "ai.onnx.ml": 3}
    converted: Any = None
    for options in ({"zipmap": False}, {}):
        try:
            converted = to_onnx(candidate.model, sample, target_opset=opsets, options=options or None)
            break
        except Exception as error:  # skl2onnx raises what it likes; the table says that it did
            failure = "no converter" if "shape calculator" in str(error) else f"raises {type(error).__name__}"
    if converted is None:
        return Theirs(failure)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            converted.SerializeToString(), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # likewise of onnxruntime
        return Theirs(f"does not load ({type(error).__name__})")
    counts: dict[str, str] = {}
    wrong = False
    for name, rows in _rows(candidate, data).items():
        if name not in ("random", "splits"):
            continue
        rows = rows[(np.abs(rows) < FLOAT32_ROOM).all(axis=1)]
        try:
            original = np.asarray(candidate.model.predict(rows))
            given = session.run(None, {session.get_inputs()[0].name: rows.astype(np.float32)})[0]
        except Exception as error:
            return Theirs(f"does not run ({type(error).__name__})")
        given = np.asarray(given).reshape(-1)
        if given.size != original.size:
            return Theirs("answers another shape")
        if candidate.kind == "regressor":
            scale = max(float(np.abs(original).max()), 1e-300)
            differs = ~(np.abs(original.reshape(-1) - given) <= OFF * scale)
        else:
            differs = original.reshape(-1) != given
        counts[name] = f"{int(differs.sum())}" if name == "random" else f"{int(differs.sum())} of {len(rows)}"
        wrong = wrong or bool(differs.any())
    return Theirs("converts", counts.get("random", ""), counts.get("splits", ""), wrong)


# ---- the document ------------------------------------------------------------------------------------------------


def _reason(row: dict[str, Any]) -> str:
    found = row.get("found", "").replace("sklearn.", "").replace("|", "\\|")
    return f"{row['code']} {row['reason']}" + (f": {found[:110]}" if found else "")


def _line(
    candidate: Candidate, ours: dict[str, Any] | None, again: dict[str, Any] | None, theirs: Theirs
) -> str:
    if ours is None:
        why = NO_TASK.get(candidate.kind, "no table of numbers suits it")
        return f"| {candidate.name} | refused | {why} | – | | | |"
    if "tier" not in ours:
        cells = ["refused", _reason(ours), "–"]
    else:
        total = sum(ours["rows"].values())
        splits = ours["rows"].get("splits")
        agreed = f"{ours['flips']} flips"
        if candidate.kind == "regressor":
            agreed = f"within {ours['ulp']} units in the last place"
            if ours["derived"] == "worker":
                agreed = f"within {SAMPLED_TOLERANCE:g} of the largest value"
        detail = f"{agreed} on {total} rows" + (f", {splits} of them on splits" if splits else "")
        if ours["derived"] == "worker":
            detail = "fallback; " + detail
        same = again is not None and all(ours[key] == again.get(key) for key in ("onnx", "skops"))
        cells = [ours["tier"], detail, "yes" if same else "**no**"]
    theirs_cells = [theirs.state, theirs.random, theirs.splits]
    return "| " + " | ".join([candidate.name, *cells, *theirs_cells]) + " |"


HEADINGS = (
    "estimator",
    "tier",
    "evidence or reason",
    "same bytes twice",
    "skl2onnx alone",
    "of 10,000 random rows differ",
    "on splits differ",
)
HEAD = f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}"


def _tally(rows: list[tuple[Candidate, dict[str, Any] | None, dict[str, Any] | None, Theirs]]) -> str:
    count = dict.fromkeys(("proven", "certified", "sampled", "refused"), 0)
    unequal = 0
    for _, ours, again, _ in rows:
        count["refused" if ours is None or "tier" not in ours else ours["tier"]] += 1
        if ours is not None and "tier" in ours:
            unequal += any(ours[key] != (again or {}).get(key) for key in ("onnx", "skops"))
    theirs = [entry[3] for entry in rows]
    converts = sum(item.state == "converts" for item in theirs)
    silent = sum(item.wrong for item in theirs)
    ours_text = ", ".join(f"{number} {tier}" for tier, number in count.items())
    return (
        f"{len(rows)} models: {ours_text}. Of those converted, {unequal} gave other bytes in the second run. "
        f"skl2onnx converts and runs {converts} of them; {silent} of these answer some row differently."
    )


def render(
    main_rows: list[tuple[Candidate, dict[str, Any] | None, dict[str, Any] | None, Theirs]],
    known_rows: list[tuple[Candidate, dict[str, Any] | None, dict[str, Any] | None, Theirs]],
) -> str:
    """The document."""
    libraries = ("scikit-learn", "lightgbm", "xgboost", "skl2onnx", "onnxmltools", "onnxruntime", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return "\n".join(
        [
            "<!-- SPDX-License-Identifier: Apache-2.0 -->",
            "# Coverage",
            "",
            "What becomes of every estimator of scikit-learn, LightGBM and XGBoost. Written by",
            "`python scripts/coverage_table.py`; do not edit.",
            "",
            f"Measured with {versions}.",
            "",
            "* **proven**: decided by + − × ÷ and comparison, and walked node by node. **certified**: a margin says",
            "  which labels are safe; flips are counted among those. **sampled**: neither; published only with",
            "  `--accept sampled`; *fallback* means that skl2onnx converted it in the confined worker.",
            "* Rows: random around what the model was trained on or compares with, on every split and one unit in",
            "  the last place to each side, missing values where admitted, corners.",
            "* *Same bytes twice*: ONNX and skops of two runs in processes with different hash seeds.",
            "* skl2onnx alone: float32 input, as its documentation shows. For regressors a row differs where the",
            f"  value is off by more than {OFF:g} of the largest. Its numpy booleans were made numbers, else it",
            "  converts no HistGradientBoosting under protobuf 7.",
            "* Transformers stand in front of a logistic regression.",
            "",
            "## Known silent errors of skl2onnx",
            "",
            _tally(known_rows),
            "",
            HEAD,
            *(_line(*row) for row in known_rows),
            "",
            "## Every estimator",
            "",
            _tally(main_rows),
            "",
            HEAD,
            *(_line(*row) for row in main_rows),
            "",
        ]
    )


def main() -> int:
    """Fit, convert twice, ask skl2onnx, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only models whose name contains this")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "coverage.md")
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.convert is not None:
        json.dump(convert_all(arguments.convert), sys.stdout)
        return 0
    tables = [
        [c for c in rows if arguments.only in c.name] for rows in (list(candidates()), list(known_errors()))
    ]
    with tempfile.TemporaryDirectory(prefix="depickle-coverage-") as name:
        folder = Path(name)
        pickled: dict[int, tuple[str, bytes]] = {}
        for number, candidate in enumerate([*tables[0], *tables[1]]):
            if candidate.model is not None:
                data = pickle.dumps(candidate.model)
                pickled[id(candidate)] = (f"DEMO_{number:04d}", data)
                (folder / f"DEMO_{number:04d}.pkl").write_bytes(data)
        print(f"{len(pickled)} models; converting them twice", file=sys.stderr)
        runs = [
            subprocess.Popen(
                [sys.executable, __file__, "--convert", str(folder)],
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            )
            for seed in HASH_SEEDS
        ]
        register_boosters()
        theirs = {}
        for candidate in (*tables[0], *tables[1]):
            if id(candidate) in pickled:
                theirs[id(candidate)] = ask_skl2onnx(candidate, pickled[id(candidate)][1])
        print("skl2onnx is done", file=sys.stderr)
        first, second = (json.loads(run.communicate()[0] or b"{}") for run in runs)
        if any(run.returncode for run in runs):
            print("a converting process failed", file=sys.stderr)
            return 1
    rows = []
    for table in tables:
        rows.append([])
        for candidate in table:
            stem = pickled.get(id(candidate), ("", b""))[0]
            outcome = theirs.get(id(candidate), Theirs(""))
            rows[-1].append((candidate, first.get(stem), second.get(stem), outcome))
    arguments.output.write_text(render(*rows), encoding="utf-8")
    print(_tally(rows[0]), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
