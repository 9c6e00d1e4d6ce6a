# SPDX-License-Identifier: Apache-2.0
"""Encoders, bins, thresholds and functions of one value: comparisons, and results whose rows may not count."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, Record, Value, plain
from ..walk import Expected
from .derivation import Derivation, NotDerivedError, Transformer
from .inexact import LEAST, Conditional, error_of
from .reading import items, number, text, unreadable
from .vocabulary import apply, as_double, columns, constant, scalar

__all__ = ["ENCODERS", "STEPS", "exactly", "function_of_one_value", "require_doubles"]

FloatArray = npt.NDArray[np.float64]

STEPS = 2.0**-46
"""exp, log and tanh err by less than 2^-50 of their size, or of 1 where they pass 0, on each side."""


def exactly(rows: Expected) -> Expected:
    """`rows`, where they are bit-equal to the original's.

    Raises:
        NotDerivedError: comparisons, powers and products decide nothing on other columns.
    """
    if error_of(rows) is not None:
        raise NotDerivedError("a decision on values that are not exact")
    return rows


def _tables(owner: Record, name: str, width: int) -> list[FloatArray]:
    found = []
    for item in items(owner, name):
        if not isinstance(item, Array) or item.is_object or item.to_numpy().dtype.kind not in "fiu":
            raise NotDerivedError(f"{name} that are no numbers")
        found.append(np.array(item.to_numpy(), dtype=np.float64).reshape(-1))
    if len(found) != width:
        raise unreadable(owner, name, f"one table for each of {width} columns")
    return found


def _places(tables: Sequence[FloatArray]) -> list[int]:
    return [place for place, table in enumerate(tables) for _ in table]


def _hits(rows: Expected, tables: Sequence[FloatArray]) -> Expected:
    """1 where a column holds the category, one column for each category of each table."""
    spread = columns(rows, _places(tables))
    values = np.concatenate(tables)
    absent = np.isnan(values)
    same = apply("Equal", spread, constant(values))
    if absent.any():  # NaN equals nothing
        same = apply("Or", same, apply("And", apply("IsNaN", spread), constant(absent, np.bool_)))
    return as_double(same)


def _complete(hits: Expected, width: int) -> Expected:
    """Whether every column holds one of its categories; they are distinct, so each column counts once at most."""
    count = apply("ReduceSum", hits, constant([1], np.int64), keepdims=0)
    return apply("Equal", count, scalar(width))


def _ungrouped(owner: Record) -> None:
    if owner.get("min_frequency") is not None or owner.get("max_categories") is not None:
        raise NotDerivedError("groups of infrequent categories")


def require_doubles(owner: Record) -> None:
    """What follows computes in the type of its columns: float32 rounds, and the negative of a uint8 is none.

    Raises:
        NotDerivedError: for an encoder of another type.
    """
    if getattr(owner.get("dtype"), "path", None) not in ("numpy.float64", "builtins.float"):
        raise NotDerivedError("columns of another type")


def _one_hot(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``OneHotEncoder.transform``: no column is set for an unknown category, or the original raises."""
    _ungrouped(owner)
    require_doubles(owner)
    tables = _tables(owner, "categories_", width)
    found = _hits(exactly(rows), tables)
    strict = text(owner, "handle_unknown") == "error"
    flags = _complete(found, width) if strict else None
    gone = _dropped(owner, tables)
    kept = [place for place in range(sum(map(len, tables))) if place not in gone]
    if gone:
        found = columns(found, kept)
    if flags is not None:
        found = Conditional(found.operator, found.inputs, found.attributes, holds=flags)
    return found, len(kept)


def _dropped(owner: Record, tables: Sequence[FloatArray]) -> set[int]:
    name = "_drop_idx_after_grouping" if owner.get("_drop_idx_after_grouping") is not None else "drop_idx_"
    value: Value = owner.get(name)
    if value is None:
        return set()
    if isinstance(value, Array) and not value.is_object:
        chosen: list[object] = value.to_numpy().tolist()
    else:
        chosen = [plain(item) for item in items(owner, name)]
    if len(chosen) != len(tables):
        raise unreadable(owner, name, "a place for each column")
    starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])])
    found = set()
    for start, place in zip(starts.tolist(), chosen, strict=False):
        if isinstance(place, int):
            found.add(start + place)
    return found


def _ordinal(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``OrdinalEncoder.transform``: the number of the category; NaN and the unknown have numbers of their own."""
    _ungrouped(owner)
    tables = _tables(owner, "categories_", width)
    require_doubles(owner)
    rows = exactly(rows)
    hits = _hits(rows, tables)
    missing = _code(owner, "encoded_missing_value", math.nan)
    codes = np.zeros((sum(map(len, tables)), width))
    member = np.zeros_like(codes)
    nan_columns = np.zeros(width, dtype=np.bool_)
    row = 0
    for place, table in enumerate(tables):
        for code, value in enumerate(table.tolist()):
            codes[row, place] = missing if math.isnan(value) else code
            nan_columns[place] |= math.isnan(value)
            member[row, place] = 1.0
            row += 1
    found = apply("MatMul", hits, constant(np.nan_to_num(codes, nan=0.0)))
    if math.isnan(missing) and nan_columns.any():
        gone = apply("And", apply("IsNaN", rows), constant(nan_columns, np.bool_))
        found = apply("Where", gone, scalar(math.nan), found)
    if text(owner, "handle_unknown") == "error":
        return Conditional(
            found.operator, found.inputs, found.attributes, holds=_complete(hits, width)
        ), width
    one = apply("Greater", apply("MatMul", hits, constant(member)), scalar(0.0))
    return apply("Where", one, found, scalar(_code(owner, "unknown_value"))), width


def _code(owner: Record, name: str, otherwise: float | None = None) -> float:
    """A number, or NaN."""
    value = plain(owner.get(name, otherwise))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise unreadable(owner, name, "a number or NaN")
    return float(value)


def _bins(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``KBinsDiscretizer.transform`` since 1.3: ``searchsorted(inner edges, x, side="right")``."""
    if derive.version(owner) < (1, 3):
        raise NotDerivedError("bins with a tolerance")
    if owner.get("dtype") is not None:  # rows are cast to it before they are compared
        require_doubles(owner)
    tables = [edges[1:-1] for edges in _tables(owner, "bin_edges_", width)]
    reached = apply(
        "GreaterOrEqual", columns(exactly(rows), _places(tables)), constant(np.concatenate(tables))
    )
    member = np.array([[float(place == other) for other in range(width)] for place in _places(tables)])
    codes = apply("MatMul", as_double(reached), constant(member))
    if text(owner, "encode") == "ordinal":
        return codes, width
    bins = [(place, number) for place, table in enumerate(tables) for number in range(len(table) + 1)]
    repeated = columns(codes, [place for place, _ in bins])
    return as_double(apply("Equal", repeated, constant([float(number) for _, number in bins]))), len(bins)


def _binarizer(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    return as_double(apply("Greater", exactly(rows), scalar(number(owner, "threshold")))), width


def function_of_one_value(name: str, rows: Expected, *, compared: bool) -> Expected:
    """A numpy function that is not finite everywhere, with its error and the flag of the rows where it is finite.

    Args:
        name: of the function in numpy.
        rows: its argument.
        compared: whether trees follow, which have splits where it is 0 or 1; in its fixed point no library errs.

    Raises:
        NotDerivedError: for a function without a bound.
    """
    one, rows = scalar(1.0), exactly(rows)
    found = {
        "sqrt": (apply("Sqrt", rows), None),
        "reciprocal": (apply("Div", one, rows), None),
        "exp": (apply("Exp", rows), LEAST),
        "expm1": (apply("Sub", apply("Exp", rows), one), 2.0),
        "log": (apply("Log", rows), 1.0),
        "log1p": (apply("Log", apply("Add", one, rows)), 1.0),
        "log2": (apply("Mul", apply("Log", rows), scalar(1 / math.log(2))), 1.0),
        "log10": (apply("Mul", apply("Log", rows), scalar(1 / math.log(10))), 1.0),
        "tanh": (apply("Tanh", rows), 1.0),
    }.get(name)
    if found is None:
        raise NotDerivedError(f"the function {name}")
    value, beside = found
    error = None
    if beside is not None:
        error = apply("Mul", apply("Add", apply("Abs", value), scalar(beside)), scalar(STEPS))
        if compared:
            at = apply("Equal", rows, one if name in ("log", "log2", "log10") else scalar(0.0))
            error = apply("Where", at, scalar(0.0), error)
    finite = apply("Equal", apply("Mul", value, scalar(0.0)), scalar(0.0))
    decent = as_double(apply("Or", finite, apply("IsNaN", rows)))
    least = apply("ReduceMin", decent, constant([1], np.int64), keepdims=0)
    holds = apply("Greater", least, scalar(0.0))
    return Conditional(value.operator, value.inputs, value.attributes, error=error, holds=holds)


ENCODERS: dict[str, Transformer] = {
    "sklearn.preprocessing._encoders.OneHotEncoder": _one_hot,
    "sklearn.preprocessing._encoders.OrdinalEncoder": _ordinal,
    "sklearn.preprocessing._discretization.KBinsDiscretizer": _bins,
    "sklearn.preprocessing._data.Binarizer": _binarizer,
}
