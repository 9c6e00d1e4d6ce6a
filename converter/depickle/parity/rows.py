# SPDX-License-Identifier: Apache-2.0
"""Rows on which both models answer, made from the original itself where the user has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pickles.graph import Record
from .compare import NamedRows
from .source import FloatArray, Preamble, SourceTree, read_preamble, split_pipeline
from .splits import SplitRows, flip_points, rows_on_splits
from .trees import read_trees

__all__ = ["MadeRows", "make_rows"]

RANDOM_ROWS = 10_000
"""Rows of the random set; the measurements in docs/adr count flips per this many."""

MISSING_ROWS = 500
"""Rows of the set with missing values."""


@dataclass(frozen=True)
class MadeRows:
    """The sets of rows, and how many splits of the original they sit on."""

    sets: tuple[NamedRows, ...]
    splits: int
    splits_reached: int


def make_rows(
    estimator: Record, *, features: int, allow_nan: bool, max_abs: float | None, seed: int
) -> MadeRows:
    """Random rows around what the model compares with, rows on every split, missing values and corners.

    Args:
        estimator: the estimator of the inert graph.
        features: columns of a row.
        allow_nan: whether the original admits missing values.
        max_abs: largest |x| that the original admits, or None.
        seed: of the generator; written into the record by the caller.
    """
    generator = np.random.default_rng(seed)
    transformers, last = split_pipeline(estimator)
    preamble = read_preamble(transformers, features)
    trees = read_trees(last) or ()
    center, spread = _scale_of(preamble, trees, features)
    random = center + spread * generator.standard_normal((RANDOM_ROWS, features))
    random[: RANDOM_ROWS // 10] = center + 30 * spread * generator.standard_normal(
        (RANDOM_ROWS // 10, features)
    )
    limit = max_abs if max_abs is not None else np.finfo(np.float64).max / 4
    random = np.clip(random, -limit, limit)
    sets = [NamedRows("random", random)]
    on_splits = SplitRows(rows=np.empty((0, features)), splits=0, reached=0)
    if preamble is not None and trees:
        on_splits = rows_on_splits(trees, preamble, random)
        rows = on_splits.rows[(np.abs(on_splits.rows) <= limit).all(axis=1)]
        if rows.shape[0]:
            sets.append(NamedRows("splits", rows))
    if allow_nan:
        missing = random[:MISSING_ROWS].copy()
        missing[generator.random(missing.shape) < 0.3] = np.nan
        missing[:features] = random[:features][: missing.shape[0]]
        for column in range(min(features, missing.shape[0])):
            missing[column, column] = np.nan
        missing[-1] = np.nan
        sets.append(NamedRows("missing", missing))
    sets.append(NamedRows("corners", _corners(center, spread, limit)))
    return MadeRows(sets=tuple(sets), splits=on_splits.splits, splits_reached=on_splits.reached)


def _corners(center: FloatArray, spread: FloatArray, limit: float) -> FloatArray:
    """Zeros of both signs, the smallest numbers, far values and the ends of the admitted range."""
    features = center.shape[0]
    rows = [center, np.zeros(features), np.full(features, -0.0)]
    for value in (1e-35, -1e-35, 1.0000000180025095e-35, 5e-324, 1e-300, 1.0, -1.0, 1e6, -1e6, limit, -limit):
        rows.append(np.full(features, min(max(value, -limit), limit)))
    for column in range(features):
        for value in (
            0.0,
            float(center[column] + 1e3 * spread[column]),
            float(center[column] - 1e3 * spread[column]),
        ):
            row = center.copy()
            row[column] = min(max(value, -limit), limit)
            rows.append(row)
    return np.array(rows)


def _scale_of(
    preamble: Preamble | None, trees: tuple[SourceTree, ...], features: int
) -> tuple[FloatArray, FloatArray]:
    """Centre and spread per column, from the values at which the model flips; else from the scaler; else 0 and 1."""
    center, spread = np.zeros(features), np.ones(features)
    if preamble is None:
        return center, spread
    for step in preamble.steps:
        finite = np.isfinite(step.operand)
        if step.operation == "subtract":
            center = np.where(finite, step.operand, center)
        elif step.operation == "divide":
            spread = np.where(finite & (step.operand != 0), np.abs(step.operand), spread)
        elif step.operation == "multiply":
            with np.errstate(divide="ignore"):
                spread = np.where(finite & (step.operand != 0), np.abs(1 / step.operand), spread)
    if trees:
        feature = np.concatenate([tree.feature[~tree.is_leaf] for tree in trees])
        threshold = np.concatenate([tree.threshold[~tree.is_leaf] for tree in trees])
        flips = flip_points(
            preamble, feature, threshold, comparison=trees[0].comparison, single=trees[0].single
        )
        for column in np.unique(feature):
            known = flips[(feature == column) & np.isfinite(flips)]
            if known.size:
                low, high = np.percentile(known, [5, 95])
                center[column] = (low + high) / 2
                spread[column] = max((high - low) / 2, abs(center[column]) * 1e-6, 1e-12)
    return center, spread
