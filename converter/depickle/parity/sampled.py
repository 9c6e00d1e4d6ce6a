# SPDX-License-Identifier: Apache-2.0
"""Rows and tolerances for a model that can be compared on samples only.

Nobody knows where such a model decides, so the rows are spread around what it was trained on, as far as its graph
says: its own training rows or support vectors where it keeps them, else the means and spreads that it stores. Beside
10,000 random rows there are rows between two of those points, which is where a decision must lie, and corners.

The contract of the new model ends where its samples end: see `sampled_limit`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..pickles.graph import Array, DictNode, ListNode, Record, Value
from .compare import NamedRows

__all__ = [
    "SAMPLED_TOLERANCE",
    "Surroundings",
    "around_rows",
    "furthest",
    "read_surroundings",
    "sampled_rows",
]

RANDOM_ROWS = 10_000
BETWEEN_ROWS = 4_000
MISSING_ROWS = 500
MAX_POINTS = 2_000
"""Training rows that are taken out of a model which keeps them all."""
FAR = 1_000.0
"""How many spreads from the centre a corner lies; the contract ends there."""

UNKNOWN_REACH = 2.0**20
"""The largest |x| of a sampled row where nothing is known of the model: prices and rates, not volumes."""

SAMPLED_TOLERANCE = 1e-4
"""Largest difference of probabilities, and of values relative to the largest one of the set.

Kernels that compute in float32 stay below 1e-6; a power transform in float32 in front of a model reached 2e-5.
"""

_POINTS = ("_fit_X", "X_fit_", "X_train_", "support_vectors_", "theta_", "means_", "quantiles_")
_CENTERS = ("mean_", "center_", "xbar_", "_x_mean", "X_offset_", "statistics_", "data_min_", "data_max_")
_SPREADS = ("scale_", "data_range_", "_x_std")
_VARIANCES = ("var_", "variances_")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Surroundings:
    """Where a model was trained, as far as its graph says.

    Attributes:
        center: per column.
        spread: per column, above 0.
        points: rows out of the model, [K, F]; K may be 0.
        known: whether anything was found.
    """

    center: FloatArray
    spread: FloatArray
    points: FloatArray
    known: bool

    @property
    def limit(self) -> float:
        """The largest |x| of any row that is sampled, rounded up to a power of two."""
        if not self.known:
            return UNKNOWN_REACH
        reach = float(np.max(np.abs(self.center) + FAR * self.spread))
        return float(2.0 ** np.ceil(np.log2(reach)))


def read_surroundings(estimator: Record, *, features: int) -> Surroundings:
    """Centre, spread and points out of whatever sees the rows first.

    Args:
        estimator: the estimator of the inert graph.
        features: columns of a row.
    """
    first = _first(estimator)
    points = [rows for name in _POINTS for rows in _rows(first, name, features)]
    centers = [row for name in _CENTERS for row in _rows(first, name, features)]
    spreads = [np.abs(row) for name in _SPREADS for row in _rows(first, name, features)]
    spreads += [np.sqrt(np.abs(row)) for name in _VARIANCES for row in _rows(first, name, features)]
    stacked = np.vstack(points)[:: max(1, -(-sum(map(len, points)) // MAX_POINTS))] if points else None
    known = [block for block in (stacked, *centers) if block is not None]
    center = np.vstack(known).mean(axis=0) if known else np.zeros(features)
    spread = np.ones(features)
    candidates = [block.mean(axis=0) for block in spreads]
    if stacked is not None and len(stacked) > 1:
        candidates.append(stacked.std(axis=0))
    if candidates:
        spread = np.max(candidates, axis=0)
    spread = np.where(spread > 0, spread, np.maximum(np.abs(center), 1.0) * 1e-3)
    return Surroundings(
        center=center,
        spread=spread,
        points=np.empty((0, features)) if stacked is None else stacked,
        known=bool(known or candidates),
    )


def around_rows(rows: FloatArray) -> Surroundings:
    """Where the user's own rows lie; they know better than the model's graph."""
    clean = rows[(np.abs(rows) < 1e100).all(axis=1)]
    points = clean[:: max(1, -(-len(clean) // MAX_POINTS))]
    if not len(points):
        columns = rows.shape[1]
        return Surroundings(np.zeros(columns), np.ones(columns), np.empty((0, columns)), known=False)
    center, reach = clean.mean(axis=0), np.abs(clean).max(axis=0)
    spread = np.maximum(clean.std(axis=0), np.maximum(reach, 1.0) * 1e-3)
    return Surroundings(center=center, spread=spread, points=points, known=True)


def sampled_rows(around: Surroundings, *, allow_nan: bool, seed: int) -> tuple[NamedRows, ...]:
    """The sets of rows on which both models answer; nothing in them knows of a split.

    Args:
        around: where the model was trained.
        allow_nan: whether missing values are admitted.
        seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    features = around.center.shape[0]

    def spread_out(rows: int, factor: float) -> FloatArray:
        drawn: FloatArray = around.center + factor * around.spread * generator.standard_normal(
            (rows, features)
        )
        return drawn

    limit = around.limit
    most, few = RANDOM_ROWS * 8 // 10, RANDOM_ROWS // 10
    random = np.vstack([spread_out(most, 1.0), spread_out(few, 3.0), spread_out(few, 30.0)])
    if not around.known:  # every magnitude as likely as any other
        magnitude = 10 ** generator.uniform(-3, np.log10(limit), (most // 2, 1))
        random[: most // 2] = magnitude * generator.standard_normal((most // 2, features))
    random = np.clip(random, -limit, limit)
    ends = around.points if len(around.points) > 1 else random[:most]
    one, other = (ends[generator.integers(0, len(ends), BETWEEN_ROWS)] for _ in range(2))
    share = generator.random((BETWEEN_ROWS, 1))
    sets = [NamedRows("random", random), NamedRows("between", share * one + (1 - share) * other)]
    if len(around.points):
        sets.append(NamedRows("stored", around.points))
    if allow_nan:
        missing = random[:MISSING_ROWS].copy()
        missing[generator.random(missing.shape) < 0.3] = np.nan
        sets.append(NamedRows("missing", missing))
    sets.append(NamedRows("corners", _corners(around, limit)))
    return tuple(sets)


def furthest(reference: npt.NDArray[np.generic] | None, new: npt.NDArray[np.generic] | None) -> float:
    """Largest |difference|, relative to the largest |reference| or to 1; 0.0 where there is nothing to compare.

    Infinite where the two differ in shape, or one is not a number and the other is.
    """
    if reference is None or new is None:
        return 0.0
    a = np.asarray(reference, dtype=np.float64)
    if a.size != np.size(new):
        return float("inf")
    b = np.asarray(new, dtype=np.float64).reshape(a.shape)
    with np.errstate(all="ignore"):
        distance = np.abs(a - b)
        distance[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        worst = float(distance.max(initial=0.0))
        scale = float(np.abs(a[np.isfinite(a)]).max(initial=1.0))
    return worst / scale if np.isfinite(worst) else float("inf")


def _corners(around: Surroundings, limit: float) -> FloatArray:
    features = around.center.shape[0]
    rows = [around.center, np.zeros(features), np.full(features, -0.0)]
    rows += [np.full(features, value) for value in (1e-35, -1e-35, 5e-324, 1e-3, -1e-3, limit, -limit)]
    for column in range(features):
        for factor in (-FAR, -30.0, 30.0, FAR):
            row = around.center.copy()
            row[column] = np.clip(row[column] + factor * around.spread[column], -limit, limit)
            rows.append(row)
        row = around.center.copy()
        row[column] = 0.0
        rows.append(row)
    clipped: FloatArray = np.clip(np.array(rows), -limit, limit)
    return clipped


def _first(record: Record) -> Record:
    """What a row meets first: through searches and pipelines, and into an ensemble's first member."""
    for _ in range(16):
        inner: Value = record.get("best_estimator_")
        steps = record.get("steps")
        if record.name == "Pipeline" and isinstance(steps, ListNode) and len(steps):
            pair = steps[0]
            inner = pair[1] if isinstance(pair, ListNode) and len(pair) == 2 else None
        for name in ("estimators_", "estimator_"):
            found = record.get(name) if not isinstance(inner, Record) else inner
            if isinstance(found, ListNode) and len(found):
                found = found[0]
            if isinstance(found, Record):
                inner = found
        if not isinstance(inner, Record):
            return record
        record = inner
    return record


def _rows(record: Record, name: str, features: int) -> list[FloatArray]:
    """A stored attribute as finite rows of the input's width; empty where it is none."""
    value = record.get(name)
    if isinstance(value, DictNode) or not isinstance(value, Array) or value.is_object:
        return []
    try:
        raw = value.to_numpy()
    except (TypeError, ValueError):
        return []
    if raw.dtype.kind not in "fiu" or raw.ndim not in (1, 2) or raw.shape[-1] != features or not raw.size:
        return []
    rows = np.array(raw, dtype=np.float64).reshape(-1, features)
    rows = rows[(np.abs(rows) < 1e100).all(axis=1)]  # false for NaN as well
    return [rows] if len(rows) else []
