# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of `depickle.models` and `depickle.emit`: convert a live estimator, compare it on hard rows."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from depickle.emit import EmittedModel, emit_onnx
from depickle.models import TypedModel, read_model
from depickle.models.types import Chain, Divide, Impute, Multiply, Select, Shift, Subtract, Transform
from depickle.pickles import open_package, vet
from depickle_runtime.onnx_gate import check_onnx

Rows = npt.NDArray[np.float64]

LABELS: dict[str, tuple[Any, ...]] = {
    "binary": (0, 1),
    "signs": (-1, 0, 1),
    "words": ("BUY", "SELL", "WAIT"),
    "two words": ("no", "yes"),
}


@dataclass(frozen=True)
class Converted:
    """A live estimator beside what was made of its pickle."""

    live: Any
    typed: TypedModel
    emitted: EmittedModel
    session: onnxruntime.InferenceSession

    def answers(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """Every output of the ONNX model, by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(None, {"X": rows}), strict=True))


@dataclass(frozen=True)
class Outcome:
    """What a comparison found."""

    rows: int
    splits: int
    flips: int
    certified: float
    raw_ulp: int | None
    probability_error: float | None


def read(live: Any, protocol: int = 5, **versions: str) -> TypedModel:
    """The typed model of the pickle of `live`, through the gate; `versions` are known from elsewhere."""
    vetted = vet(pickle.dumps(live, protocol=protocol))
    return read_model(open_package(vetted).estimator, writer={**vetted.writer, **versions})


def convert(live: Any, protocol: int = 5, **versions: str) -> Converted:
    """`live` pickled, vetted, read, emitted, accepted by onnx.checker and by our gate, and opened."""
    typed = read(live, protocol, **versions)
    emitted = emit_onnx(typed)
    onnx.checker.check_model(onnx.load_from_string(emitted.onnx), full_check=True)
    check_onnx(emitted.onnx)
    return Converted(live, typed, emitted, opened(emitted.onnx))


def opened(onnx_bytes: bytes) -> onnxruntime.InferenceSession:
    """A session as the runtime makes them: one thread, and the file as it is, without rewriting it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])


def make_data(
    labels: Sequence[Any], *, missing: bool = False, rows: int = 300, seed: int = 7
) -> tuple[Rows, Any]:
    """Columns of several scales, one coarse and one of small integers; labels that depend on them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 6)) * np.array([1.0, 100.0, 1e-3, 5.0, 1.0, 1.0])
    X[:, 4] = np.round(X[:, 4], 1)
    X[:, 5] = rng.integers(0, 5, rows)
    signal = X[:, 0] + X[:, 1] / 100 + X[:, 2] * X[:, 3] * 200 + rng.normal(size=rows) * 0.3
    if len(labels):
        edges = np.quantile(signal, np.arange(1, len(labels)) / len(labels))
        y = np.array(labels)[np.digitize(signal, edges)]
    else:
        y = signal
    if missing:
        X[rng.random(X.shape) < 0.05] = np.nan
    return X, y


def _forward(steps: Sequence[Transform], column: int, x: Rows) -> Rows | None:
    with np.errstate(all="ignore"):
        for step in steps:
            match step:
                case Subtract(operand=operand):
                    x = x - operand[column]
                case Divide(operand=operand):
                    x = x / operand[column]
                case Multiply(operand=operand):
                    x = x * operand[column]
                case Shift(operand=operand):
                    x = x + operand[column]
                case Impute(kept=kept, indicators=()) if len(kept) > column and kept[column] == column:
                    pass
                case Select(columns=columns) if len(columns) > column and columns[column] == column:
                    pass
                case _:
                    return None
    return x


def _ordered(values: Rows) -> npt.NDArray[np.int64]:
    bits = values.view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def _doubles(ordered: npt.NDArray[np.int64]) -> Rows:
    return np.where(ordered < 0, np.int64(-(2**63)) - ordered, ordered).view(np.float64)


def split_rows(typed: TypedModel, base: Rows, *, limit: int = 60) -> tuple[Rows, int]:
    """Rows whose one value sits where a comparison flips, and one and two ulp to each side; and how many splits."""
    steps = typed.root.steps if isinstance(typed.root, Chain) else ()
    rng = np.random.default_rng(3)
    made: list[Rows] = []
    reached = 0
    for column, cuts in typed.split_thresholds().items():
        cuts = cuts if len(cuts) <= limit else rng.choice(cuts, limit, replace=False)
        for rounded in (False, True):
            low = np.full(len(cuts), _ordered(np.array([-1e30]))[0])
            high = np.full(len(cuts), _ordered(np.array([1e30]))[0])
            for _ in range(64):
                middle = low // 2 + high // 2 + (low & high & 1)
                image = _forward(steps, column, _doubles(middle))
                if image is None:
                    break
                image = image.astype(np.float32).astype(np.float64) if rounded else image
                above = image > cuts
                high = np.where(above, middle, high)
                low = np.where(above, low, middle)
            if image is None:
                continue
            reached += 0 if rounded else len(cuts)
            for shift in (-2, -1, 0, 1, 2):
                rows = base[rng.integers(0, len(base), len(cuts))].copy()
                rows[:, column] = _doubles(high + shift)
                made.append(rows)
    return (np.vstack(made) if made else base[:0]), reached


def random_rows(base: Rows, count: int = 1500) -> Rows:
    """Rows around the training data, some far outside it, with zeros and tiny values; NaN where the data has them."""
    rng = np.random.default_rng(11)
    empty = np.isnan(base).all(axis=0)
    base = np.where(empty, 1.0, base)
    rows = rng.normal(size=(count, base.shape[1])) * np.nanstd(base, axis=0) * 1.5 + np.nanmean(base, axis=0)
    rows[rng.random(rows.shape) < 0.03] = 0.0
    rows[rng.random(rows.shape) < 0.01] = -0.0
    rows[rng.random(rows.shape) < 0.01] = 1e-36
    rows[rng.random(rows.shape) < 0.01] *= 1e6
    rows[:, empty] = np.nan
    if np.isnan(base).any():
        rows[rng.random(rows.shape) < 0.05] = np.nan
    return rows


def ulps(left: npt.ArrayLike, right: npt.ArrayLike) -> int:
    """Largest distance in units of the last place of float64; 0 means bit-equal but for the sign of zero."""
    a, b = (np.ascontiguousarray(np.asarray(side, dtype=np.float64)) for side in (left, right))
    assert a.shape == b.shape
    return int(np.abs(_ordered(a) - _ordered(b)).max(initial=0))


def live_raw(live: Any, rows: Rows) -> npt.NDArray[Any] | None:
    """The raw scores of the original, [N, K], where it has any."""
    last = live[-1] if hasattr(live, "steps") else live
    name = type(last).__name__
    if name == "LGBMClassifier":
        raw = live.predict(rows, raw_score=True)
        if last.boosting_type == "rf":  # LightGBM averages after raw_score, before it decides
            raw = raw / last.booster_.current_iteration()
    elif name == "XGBClassifier":
        raw = live.predict(rows, output_margin=True)
    elif hasattr(live, "decision_function"):
        raw = live.decision_function(rows)
    else:
        return None
    return np.asarray(raw).reshape(len(rows), -1)


def compare(converted: Converted, base: Rows, *, limit: int = 60) -> Outcome:
    """Both models on random rows, rows on the splits, and the training rows."""
    hard, splits = split_rows(converted.typed, base, limit=limit)
    rows = np.vstack([base, random_rows(base), hard])
    if not converted.typed.facts.allow_nan:
        rows = rows[~np.isnan(rows).any(axis=1)]
    live, answers = converted.live, converted.answers(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = live.predict(rows)
        raw = live_raw(live, rows)
        expected_p = live.predict_proba(rows) if "probabilities" in answers else None
    if converted.typed.task == "regressor":
        distance = ulps(expected, answers["scores"][:, 0])
        return Outcome(len(rows), splits, 0, 1.0, distance, None)
    labels = answers["label"]
    flipped = expected.astype(str) != labels.astype(str)
    assert (np.array(converted.typed.classes)[answers["class_index"]].astype(str) == labels.astype(str)).all()
    certain = answers["margin"] > answers["bound"] if "margin" in answers else np.ones(len(rows), dtype=bool)
    return Outcome(
        rows=len(rows),
        splits=splits,
        flips=int(flipped.sum()),
        certified=float(certain.mean()),
        raw_ulp=ulps(raw, answers["scores"]) if raw is not None and "scores" in answers else None,
        probability_error=(
            _distance(expected_p, answers["probabilities"]) if expected_p is not None else None
        ),
    )


def _distance(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Largest difference; where the original itself answers NaN (0/0), so must we."""
    assert (np.isnan(left) == np.isnan(right)).all()
    return float(np.nanmax(np.abs(left - right)))
