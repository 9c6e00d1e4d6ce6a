# SPDX-License-Identifier: Apache-2.0
"""Rows on which both models answer, made from the original itself where the user has none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..pickles.graph import Record
from .compare import NamedRows
from .groups import TreeGroup, tree_groups
from .source import FloatArray, Preamble
from .splits import edges_of, rows_on_splits

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
    groups = tree_groups(estimator, features)
    center, spread = _scale_of(groups, features)
    random = center + spread * generator.standard_normal((RANDOM_ROWS, features))
    random[: RANDOM_ROWS // 10] = center + 30 * spread * generator.standard_normal(
        (RANDOM_ROWS // 10, features)
    )
    _draw_categories(groups, random, generator)
    limit = max_abs if max_abs is not None else np.finfo(np.float64).max / 4
    random = np.clip(random, -limit, limit)
    sets = [NamedRows("random", random)]
    on_splits = rows_on_splits(groups, random, max_abs=limit)
    if on_splits.rows.shape[0]:
        sets.append(NamedRows("splits", on_splits.rows))
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


UNKNOWN_SHARE = 0.05
"""Rows of the random set that hold another number than a category, in a column of categories."""


def _draw_categories(groups: tuple[TreeGroup, ...], rows: FloatArray, generator: np.random.Generator) -> None:
    """Put categories into the columns that are compared with sets of them."""
    for group in groups:
        for column, values in group.categories.items():
            at = np.flatnonzero(generator.random(len(rows)) >= UNKNOWN_SHARE)
            if group.preamble is not None:
                rows[at, group.preamble.source[column]] = generator.choice(values, at.size)


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


SCALE_SPLITS = 20_000
"""Splits from which centre and spread are taken; more would not move a percentile."""


def _scale_of(groups: tuple[TreeGroup, ...], features: int) -> tuple[FloatArray, FloatArray]:
    """Centre and spread per column, from the values at which the model flips; else from the scaler; else 0 and 1."""
    center, spread = np.zeros(features), np.ones(features)
    values: list[FloatArray] = []
    owners: list[npt.NDArray[np.int64]] = []
    for group in groups:
        if group.preamble is None:
            continue
        if not group.trees:
            _scale_of_scaler(group.preamble, center, spread)
            continue
        feature = np.concatenate([tree.feature[~tree.is_leaf] for tree in group.trees])
        threshold = np.concatenate([tree.threshold[~tree.is_leaf] for tree in group.trees])
        stride = max(1, -(-feature.size * len(groups) // SCALE_SPLITS))
        feature, threshold = feature[::stride].astype(np.int64), threshold[::stride]
        first = group.trees[0]
        edges = edges_of(group.preamble, feature, threshold, comparison=first.comparison, single=first.single)
        values.append(edges.below)
        owners.append(group.preamble.source[feature])
    if values:
        edge, owner = np.concatenate(values), np.concatenate(owners)
        for column in np.unique(owner[owner >= 0]):
            known = edge[(owner == column) & np.isfinite(edge)]
            if known.size:
                low, high = np.percentile(known, [5, 95])
                center[column] = (low + high) / 2
                spread[column] = max((high - low) / 2, abs(center[column]) * 1e-6, 1e-12)
    return center, spread


def _scale_of_scaler(preamble: Preamble, center: FloatArray, spread: FloatArray) -> None:
    """Centre and spread as the scaler in front of a model without trees has them."""
    for layer in preamble.layers:
        known = np.flatnonzero((preamble.source >= 0) & np.isfinite(layer.operand) & (layer.operand != 0))
        column, operand = preamble.source[known], layer.operand[known]
        if layer.operation == "subtract":
            center[column] = operand
        elif layer.operation in ("divide", "multiply"):
            spread[column] = np.abs(operand if layer.operation == "divide" else 1 / operand)
