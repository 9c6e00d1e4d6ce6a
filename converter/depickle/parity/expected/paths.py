# SPDX-License-Identifier: Apache-2.0
"""Trees on columns that are not exact: where no threshold lies within the error, every path is the original's.

The original's number v is a double within e of ours, x. Rounding is monotone and leaves v as it is, so v lies
between fl(x - e) and fl(x + e). What an ensemble does to its input before it compares (float32, LightGBM's zeros) is
monotone too, and so is the comparison: if both ends compare alike with every threshold of the column, v does as x.

That is asked for all thresholds of a column at once: a balanced tree counts those that a value lies beyond, once for
the lower end with one sign and once for the upper end with the other. No count falls from the lower to the upper
end, so that the sum of all is 0 only where each pair is equal. The counts are whole numbers below 2^21, which float32
adds up exactly. An entry without a finite error certifies nothing, except NaN where it stands for a missing value,
which is NaN in the original too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..walk import Expected, ExpectedEnsemble, ExpectedTree
from .inexact import doubtful, error_of, missing_stays
from .not_derived import NotDerivedError
from .vocabulary import Answer, Spread, apply, as_double, columns, constant, scalar, squeeze

__all__ = ["exact_only", "hold_paths", "paths_kept"]

_MOST_SPLITS = 1 << 20
"""Counts of thresholds stay whole numbers of float32."""

FloatArray = npt.NDArray[np.float64]


def paths_kept(
    rows: Expected,
    found: Sequence[ExpectedTree],
    narrow: Callable[[Expected], Expected],
    dtype: str = "float64",
    whole: Sequence[int] = (),
) -> Expected | None:
    """Whether every tree takes the original's path, [N]; None where no tree compares a column that is not exact.

    Args:
        rows: what the ensemble is given.
        found: its trees, with the thresholds that its node compares; a column of `rows` for each feature.
        narrow: what is done to a column of numbers before it is compared.
        dtype: in what the node compares.
        whole: columns that are changed otherwise before they are compared, not monotonically.

    Raises:
        NotDerivedError: where a column that is not exact is asked for membership, or is one of `whole`.
    """
    errors = error_of(rows)
    if errors is None:
        return None
    compared = [(tree, np.flatnonzero(tree.left >= 0)) for tree in found]
    asked = {int(tree.feature[node]) for tree in found for node in tree.members}
    if any(doubtful(rows, column) for column in sorted(asked | set(whole))):
        raise NotDerivedError("sets or zeros of a column that is not exact")
    if sum(len(nodes) for _, nodes in compared) > _MOST_SPLITS:
        raise NotDerivedError("more thresholds than counts are exact for")
    by_column: dict[int, list[FloatArray]] = {}
    for tree, nodes in compared:
        numeric = nodes[~np.isin(nodes, list(tree.members))]
        for column in np.unique(tree.feature[numeric]).tolist():
            own = tree.threshold[numeric[tree.feature[numeric] == column]].astype(np.dtype(dtype))
            by_column.setdefault(column, []).append(own.astype(np.float64) + 0.0)
    open_columns = [column for column in sorted(by_column) if doubtful(rows, column)]
    if not open_columns:
        return None
    mode = next(tree.mode for tree, nodes in compared if nodes.size)
    counters: list[ExpectedTree] = []
    for place, column in enumerate(open_columns):
        thresholds = np.unique(np.concatenate(by_column[column]))
        if bool(np.isnan(thresholds).any()):
            raise NotDerivedError("a threshold that is not a number")
        for feature, sign in ((place, 1.0), (len(open_columns) + place, -1.0)):
            counters.append(_counter(thresholds, feature, sign, mode))
    return _alike(rows, errors, open_columns, counters, narrow, dtype)


def _alike(
    rows: Expected,
    errors: Expected,
    chosen: list[int],
    counters: list[ExpectedTree],
    narrow: Callable[[Expected], Expected],
    dtype: str,
) -> Expected:
    value, error = columns(rows, chosen), columns(errors, chosen)
    ends = narrow(apply("Concat", apply("Sub", value, error), apply("Add", value, error), axis=1))
    ensemble = ExpectedEnsemble(trees=counters, targets=1, dtype=dtype, beside=True)
    beyond = Expected("ai.onnx.ml:TreeEnsemble", (ends,), ensemble=ensemble)
    alike = squeeze(apply("Equal", beyond, scalar(0.0, dtype)))
    bounded = apply("Less", error, scalar(np.inf))
    if missing_stays(rows):
        bounded = apply("Or", bounded, apply("IsNaN", value))
    least = apply("ReduceMin", as_double(bounded), constant([1], np.int64), keepdims=0)
    return apply("And", alike, apply("Greater", least, scalar(0.0)))


def _counter(thresholds: FloatArray, feature: int, sign: float, mode: int) -> ExpectedTree:
    """How many of the ascending `thresholds` a value lies beyond, times `sign`, found by halving."""
    left: list[int] = []
    right: list[int] = []
    compared: list[float] = []
    weight: list[float] = []

    def grow(low: int, high: int) -> int:
        place = len(left)
        middle = (low + high) // 2
        leaf = low == high
        left.append(-1)
        right.append(-1)
        compared.append(0.0 if leaf else float(thresholds[middle]))
        weight.append((low if sign > 0 else 0.0 - low) if leaf else 0.0)
        if not leaf:
            left[place] = grow(low, middle)
            right[place] = grow(middle + 1, high)
        return place

    grow(0, len(thresholds))
    return ExpectedTree(
        feature=np.where(np.array(left) < 0, -1, feature),
        threshold=np.array(compared),
        left=np.array(left),
        right=np.array(right),
        missing_left=np.zeros(len(left), dtype=np.bool_),
        weight=np.array(weight, dtype=np.float64),
        target=0,
        mode=mode,
    )


def hold_paths(answer: Answer, flag: Expected | None) -> Answer:
    """`answer`, certain and bounded only where every path is the original's; it is bit-equal there if it says so."""
    if flag is None:
        return answer
    column = apply("Unsqueeze", flag, constant([1], np.int64))

    def held(error: Spread) -> Expected:
        return apply("Where", column, error if isinstance(error, Expected) else scalar(error), scalar(np.inf))

    exact = _nothing(answer.score_error) and (
        answer.probabilities is None or _nothing(answer.probability_error)
    )
    answer = replace(
        answer,
        score_error=held(answer.score_error),
        probability_error=held(answer.probability_error),
        paths=flag if exact else None,
    )
    if answer.index is None:
        return answer
    if answer.margin is None:
        margin = apply("Where", flag, scalar(1.0), scalar(0.0))
        return replace(answer, margin=margin, bound=apply("Mul", margin, scalar(0.0)))
    return replace(answer, margin=apply("Where", flag, answer.margin, scalar(0.0)))


def _nothing(error: Spread) -> bool:
    return not isinstance(error, Expected) and error == 0.0


def exact_only(rows: Expected) -> None:
    """Stop where `rows` are not bit-equal to the original's.

    Raises:
        NotDerivedError: for a quantity that no bound is known of.
    """
    if error_of(rows) is not None:
        raise NotDerivedError("a quantity of values that are not exact")
