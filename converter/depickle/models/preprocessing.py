# SPDX-License-Identifier: Apache-2.0
"""Scalers and imputers of scikit-learn, as the elementwise operations that `transform` performs."""

from __future__ import annotations

import math

import numpy as np

from ..pickles.graph import GlobalRef, Record, TupleNode, Value, plain
from .attributes import array_of, boolean, float_array, integer, text, unsupported, wrong
from .interface import Context, ReadTransform
from .types import Clip, Divide, FloatArray, Impute, Multiply, Shift, Subtract, Transform

__all__ = [
    "check_width",
    "read_imputer",
    "read_max_abs_scaler",
    "read_min_max_scaler",
    "read_robust_scaler",
    "read_standard_scaler",
]


def check_width(record: Record, columns: int) -> None:
    """Refuse a transformer that was fitted on another number of columns (DP602)."""
    if integer(record, "n_features_in_", low=1) != columns:
        raise wrong(record, "n_features_in_", record.get("n_features_in_"), f"{columns} columns")


def _operand(record: Record, name: str, columns: int, *, divisor: bool = False) -> FloatArray:
    operand = float_array(record, name, shape=(columns,))
    if divisor and bool((operand == 0).any()):
        raise wrong(record, name, record.get(name), "divisors other than 0")
    return operand


def read_standard_scaler(record: Record, columns: int, context: Context) -> ReadTransform:
    """StandardScaler: ``x - mean_`` then ``/ scale_``."""
    check_width(record, columns)
    steps: list[Transform] = []
    if boolean(record, "with_mean"):
        steps.append(Subtract(_operand(record, "mean_", columns)))
    if boolean(record, "with_std"):
        steps.append(Divide(_operand(record, "scale_", columns, divisor=True)))
    return ReadTransform(tuple(steps), columns, allow_nan=True, family=record.name)


def read_robust_scaler(record: Record, columns: int, context: Context) -> ReadTransform:
    """RobustScaler: ``x - center_`` then ``/ scale_``."""
    check_width(record, columns)
    steps: list[Transform] = []
    if boolean(record, "with_centering"):
        steps.append(Subtract(_operand(record, "center_", columns)))
    if boolean(record, "with_scaling"):
        steps.append(Divide(_operand(record, "scale_", columns, divisor=True)))
    return ReadTransform(tuple(steps), columns, allow_nan=True, family=record.name)


def read_min_max_scaler(record: Record, columns: int, context: Context) -> ReadTransform:
    """MinMaxScaler: ``x * scale_`` then ``+ min_``, then the clip where it was asked for."""
    check_width(record, columns)
    steps: list[Transform] = [
        Multiply(_operand(record, "scale_", columns)),
        Shift(_operand(record, "min_", columns)),
    ]
    if boolean(record, "clip", default=False):
        bounds = record.get("feature_range")
        if not isinstance(bounds, TupleNode) or len(bounds) != 2:
            raise wrong(record, "feature_range", bounds, "a pair of numbers")
        low, high = (plain(item) for item in bounds)
        if not isinstance(low, int | float) or not isinstance(high, int | float) or not low < high:
            raise wrong(record, "feature_range", bounds, "an increasing pair of numbers")
        steps.append(Clip(float(low), float(high)))
    return ReadTransform(tuple(steps), columns, allow_nan=True, family=record.name)


def read_max_abs_scaler(record: Record, columns: int, context: Context) -> ReadTransform:
    """MaxAbsScaler: ``x / scale_``, then the clip where it was asked for."""
    check_width(record, columns)
    steps: list[Transform] = [Divide(_operand(record, "scale_", columns, divisor=True))]
    if boolean(record, "clip", default=False):
        steps.append(Clip(-1.0, 1.0))
    return ReadTransform(tuple(steps), columns, allow_nan=True, family=record.name)


def read_imputer(record: Record, columns: int, context: Context) -> ReadTransform:
    """SimpleImputer of any numeric strategy, with or without indicator columns.

    Raises:
        UnsupportedModelError: DP603 for missing values that are neither NaN nor a number.
    """
    check_width(record, columns)
    missing = _missing_value(record)
    statistics = float_array(record, "statistics_", shape=(columns,), finite=False)
    if bool(np.isinf(statistics).any()):
        raise wrong(record, "statistics_", record.get("statistics_"), "finite statistics")
    empty = np.isnan(statistics)
    keep_empty = boolean(record, "keep_empty_features", default=False)
    constant = text(record, "strategy") == "constant"
    if bool(empty.any()) and (keep_empty or constant):
        raise wrong(record, "statistics_", record.get("statistics_"), "a statistic for every column")
    kept = tuple(int(column) for column in np.flatnonzero(~empty))
    if not kept:
        raise unsupported(record, "The imputer drops every column", found="statistics_ all NaN")
    indicators: tuple[int, ...] = ()
    if boolean(record, "add_indicator", default=False):
        indicators = _indicator_columns(record, columns)
    elif record.get("indicator_") is not None:
        raise wrong(record, "indicator_", record.get("indicator_"), "None without add_indicator")
    step = Impute(statistics=statistics, missing=missing, kept=kept, indicators=indicators)
    return ReadTransform(
        (step,),
        len(kept) + len(indicators),
        allow_nan=math.isnan(missing),
        family=record.name,
        removes_nan=True,
    )


def _missing_value(record: Record) -> float:
    value: Value = plain(record.get("missing_values"))
    if isinstance(value, GlobalRef) or value is None or isinstance(value, bool):
        raise unsupported(
            record, "Missing values of this kind are not emitted", found=repr(value), expected="NaN"
        )
    if isinstance(value, int | float):
        return float(value)
    raise unsupported(
        record, "Missing values of this kind are not emitted", found=repr(value), expected="NaN"
    )


def _indicator_columns(record: Record, columns: int) -> tuple[int, ...]:
    indicator = record.get("indicator_")
    if not isinstance(indicator, Record):
        raise wrong(record, "indicator_", indicator, "a fitted MissingIndicator")
    raw = array_of(indicator, "features_", indicator.get("features_"))
    if raw.dtype.kind not in "iu" or raw.ndim != 1:
        raise wrong(indicator, "features_", indicator.get("features_"), "column numbers")
    chosen = tuple(int(column) for column in raw)
    if any(not 0 <= column < columns for column in chosen) or len(set(chosen)) != len(chosen):
        raise wrong(indicator, "features_", indicator.get("features_"), "distinct columns of the input")
    return chosen
