# SPDX-License-Identifier: Apache-2.0
"""Rows on every split and one unit in the last place to each side.

For each split the input value at which the original's comparison flips is found by bisection over the ordered
integers of the doubles, so that scaler and cast in front of it are inverted exactly, not approximately. The other
columns are set such that the row really walks to that node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .source import FloatArray, Preamble, SourceTree

__all__ = ["SplitRows", "flip_points", "rows_on_splits"]

_LOWEST = np.int64(-0x7FEFFFFFFFFFFFFF)
"""The most negative finite double as an ordered integer."""
_HIGHEST = np.int64(0x7FEFFFFFFFFFFFFF)

MAX_SPLIT_ROWS = 24_000
"""Rows; larger models are sampled evenly over their splits, and the evidence says how many were reached."""


@dataclass(frozen=True)
class SplitRows:
    """Rows placed on splits, [N, F], with the count of splits in the model and of those reached."""

    rows: FloatArray
    splits: int
    reached: int


def _to_double(ordered: npt.NDArray[np.int64]) -> FloatArray:
    bits = np.where(ordered < 0, np.int64(-(2**63)) - ordered, ordered)
    return bits.view(np.float64)


def flip_points(
    preamble: Preamble,
    feature: npt.NDArray[np.int64],
    threshold: FloatArray,
    *,
    comparison: str,
    single: bool,
) -> FloatArray:
    """The largest input value that still goes left at each split; NaN where no finite value flips it."""

    def goes_left(ordered: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        value = preamble.forward(feature, _to_double(ordered))
        with np.errstate(all="ignore"):
            if single:
                value = value.astype(np.float32).astype(np.float64)
            return value < threshold if comparison == "<" else value <= threshold

    low = np.full(feature.shape, _LOWEST)
    high = np.full(feature.shape, _HIGHEST)
    flips = goes_left(low) & ~goes_left(high)
    for _ in range(65):  # the ordered integers span less than 2^64, so 65 halvings leave neighbours
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        left = goes_left(middle)
        low = np.where(left, middle, low)
        high = np.where(left, high, middle)
    return np.where(flips, _to_double(low), np.nan)


def rows_on_splits(
    trees: Sequence[SourceTree], preamble: Preamble, base: FloatArray, *, limit: int = MAX_SPLIT_ROWS
) -> SplitRows:
    """Three rows for each split: on it, one ulp below, one ulp above.

    Args:
        trees: the trees of the original.
        preamble: what stands in front of them.
        base: plausible rows, [M, F], from which the columns not on the path are taken in turn.
        limit: most rows to make.

    Returns:
        The rows with the counts of the evidence. A split is reached if its path admits any finite input.
    """
    splits = int(sum(int((~tree.is_leaf).sum()) for tree in trees))
    keep = max(1, -(-3 * splits // limit))
    rows: list[FloatArray] = []
    reached = 0
    seen = 0
    for tree in trees:
        inner = np.flatnonzero(~tree.is_leaf)
        if inner.size == 0:
            continue
        flips = np.full(tree.feature.shape, np.nan)
        flips[inner] = flip_points(
            preamble,
            tree.feature[inner],
            tree.threshold[inner],
            comparison=tree.comparison,
            single=tree.single,
        )
        stack: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
        while stack:
            node, bounds = stack.pop()
            if tree.is_leaf[node]:
                continue
            column = int(tree.feature[node])
            flip = float(flips[node])
            low, high = bounds.get(column, (-np.inf, np.inf))
            if not np.isnan(flip):
                above = float(np.nextafter(flip, np.inf))
                wanted = [
                    value
                    for value in (flip, above, float(np.nextafter(flip, -np.inf)))
                    if low <= value <= high
                ]
                if wanted and seen % keep == 0:
                    reached += 1
                    for value in wanted:
                        row = base[(seen + len(rows)) % base.shape[0]].copy()
                        for other, (least, most) in bounds.items():
                            row[other] = min(max(row[other], least), most)
                        row[column] = value
                        rows.append(row)
                seen += 1
                left_bounds = (low, min(high, flip))
                right_bounds = (max(low, above), high)
            else:
                left_bounds = right_bounds = (low, high)
            for child, child_bounds in ((tree.left[node], left_bounds), (tree.right[node], right_bounds)):
                if child_bounds[0] <= child_bounds[1]:
                    stack.append((int(child), {**bounds, column: child_bounds}))
    stacked = np.array(rows) if rows else np.empty((0, preamble.features))
    return SplitRows(rows=stacked, splits=splits, reached=reached)
