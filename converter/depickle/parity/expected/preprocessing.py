# SPDX-License-Identifier: Apache-2.0
"""Scalers and imputers: the operations of ``transform``, one operator for each, with its own constants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...pickles.graph import Record, plain
from ..walk import Expected
from .derivation import Derivation, Transformer
from .inexact import Inexact, Joined, error_of
from .not_derived import NotDerivedError
from .reading import array, flag, one_of, pair, record, unreadable, vector
from .vocabulary import apply, as_double, columns, constant, scalar

__all__ = ["SCALERS"]


def _shift_and_scale(
    owner: Record, rows: Expected, width: int, shift: str | None, scale: str | None
) -> tuple[Expected, int]:
    if shift is not None:
        rows = apply("Sub", rows, constant(vector(owner, shift, width)))
    if scale is not None:
        rows = apply("Div", rows, constant(vector(owner, scale, width)))
    return rows, width


def _standard(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    shift = "mean_" if flag(owner, "with_mean") else None
    return _shift_and_scale(owner, rows, width, shift, "scale_" if flag(owner, "with_std") else None)


def _robust(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    shift = "center_" if flag(owner, "with_centering") else None
    return _shift_and_scale(owner, rows, width, shift, "scale_" if flag(owner, "with_scaling") else None)


def _min_max(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    rows = apply("Mul", rows, constant(vector(owner, "scale_", width)))
    rows = apply("Add", rows, constant(vector(owner, "min_", width)))
    if flag(owner, "clip", default=False):
        rows = _clipped(rows, *pair(owner, "feature_range"))
    return rows, width


def _max_abs(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    rows, width = _shift_and_scale(owner, rows, width, None, "scale_")
    return (_clipped(rows, -1.0, 1.0) if flag(owner, "clip", default=False) else rows), width


def _clipped(rows: Expected, low: float, high: float) -> Expected:
    """``numpy.clip``, which leaves NaN alone."""
    return apply("Where", apply("IsNaN", rows), rows, apply("Clip", rows, constant(low), constant(high)))


def _imputer(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    statistics = vector(owner, "statistics_", width)
    gone = np.isnan(statistics)  # a column without any value is dropped
    if bool(gone.any()) and (
        flag(owner, "keep_empty_features", default=False) or one_of(owner, "strategy", "constant")
    ):
        raise unreadable(owner, "statistics_", "a statistic for every column")
    marker = plain(owner.get("missing_values"))
    if isinstance(marker, bool) or not isinstance(marker, int | float):
        raise unreadable(owner, "missing_values", "NaN or a number")

    if not math.isnan(marker) and error_of(rows) is not None:
        raise NotDerivedError("a number that stands for a missing value in columns that are not exact")

    def missing(value: Expected) -> Expected:
        if math.isnan(marker):
            return apply("IsNaN", value)
        return apply("Equal", value, scalar(float(marker)))

    present = np.flatnonzero(~gone).tolist()
    kept = columns(rows, present) if gone.any() else rows
    filled = apply("Where", missing(kept), constant(statistics[~gone]), kept)
    if not flag(owner, "add_indicator", default=False):
        return filled, len(present)
    chosen = [int(place) for place in array(record(owner, "indicator_"), "features_").tolist()]
    if not chosen:
        return filled, len(present)
    shown = as_double(missing(columns(rows, chosen)))
    indicators = Inexact(shown.operator, shown.inputs, shown.attributes, settled=True)
    widths = len(present), len(chosen)
    joined = Joined("Concat", (filled, indicators), {"axis": 1}, widths=widths)
    error = error_of(filled)
    if error is None:
        return joined, sum(widths)
    flags = columns(joined, range(len(present), sum(widths)))
    error = apply("Concat", error, apply("Mul", flags, scalar(0.0)), axis=1)
    return replace(joined, error=error), sum(widths)


SCALERS: dict[str, Transformer] = {
    "sklearn.preprocessing._data.StandardScaler": _standard,
    "sklearn.preprocessing._data.RobustScaler": _robust,
    "sklearn.preprocessing._data.MinMaxScaler": _min_max,
    "sklearn.preprocessing._data.MaxAbsScaler": _max_abs,
    "sklearn.impute._base.SimpleImputer": _imputer,
}
