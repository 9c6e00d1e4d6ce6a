# SPDX-License-Identifier: Apache-2.0
"""Transformers with what is certain of their results: an error bound for each entry, and a flag for each row.

With u = 2⁻⁵³, a dot product of n terms is off by γₙ Σ|x·w| in any order of summation (Higham, section 3.1), in the
original and here, and passes on what its inputs are off by. Each later operation adds a rounding on both sides. All
constants are rounded up, so the arithmetic of the bound itself needs no bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from ..models.certainty import Doubt, doubt_after, keeps_missing, touched
from ..models.dense_types import Affine, Binarize, Categories, Digitize, Function, Normalize, Power
from ..models.types import (
    Apply,
    Branches,
    Clip,
    Divide,
    Encode,
    Impute,
    Multiply,
    Select,
    Shift,
    Subtract,
    Transform,
)
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma
from .links import join_columns, last_axis
from .powers import emit_normalized, emit_powers
from .preamble import emit_transforms
from .spread import CARRIED, FUNCTION_STEPS, LEAST, Spread

__all__ = [
    "ROUNDED",
    "Rows",
    "all_flags",
    "carried",
    "emit_affine",
    "emit_function",
    "emit_steps",
    "held_back",
]

ROUNDED = 2.0**-51
"""One rounding of y on each side, and |y| itself off by its error: at most 4u|y|."""

_EXACT_AT_ONE = ("log", "log2", "log10")
"""Logarithms of 1 are 0; exp, expm1, log1p and tanh are 1 or 0 at 0, in every library."""

_INVERSE_LOG = {"log2": 1.0 / math.log(2.0), "log10": 1.0 / math.log(10.0)}
_ELEMENTWISE = {Subtract: "Sub", Divide: "Div", Multiply: "Mul", Shift: "Add"}


@dataclass(frozen=True)
class Rows:
    """Columns under construction.

    Attributes:
        value: float64 [N, F].
        error: float64 [N, F], how far each entry may be from the original's; None where all are bit-equal.
        known: bool [N] each, whether the original answers the row; it does where all are set.
        doubt: which columns may differ; the error of the others is 0.
        missing: a NaN is a missing value, in the original as here; else it may be an overflow.
        compared: trees follow, so that entries on which a function is exact everywhere are worth telling apart.
    """

    value: str
    error: str | None = None
    known: tuple[str, ...] = ()
    doubt: Doubt = False
    missing: bool = True
    compared: bool = False

    def columns(self, graph: Graph, chosen: Sequence[int]) -> Rows:
        """The `chosen` columns alone."""
        return replace(
            self,
            value=_columns(graph, self.value, chosen),
            error=None if self.error is None else _columns(graph, self.error, chosen),
            doubt=touched(self.doubt, chosen),
        )


def emit_steps(graph: Graph, rows: Rows, steps: Sequence[Transform]) -> Rows:
    """`rows` after `steps`."""
    before = rows
    for step in steps:
        match step:
            case Affine():
                value, error = emit_affine(graph, rows, step)
                rows = replace(rows, value=value, error=error)
            case Function():
                rows = _function(graph, rows, step)
            case Normalize():
                value, off = emit_normalized(graph, rows.value, step)
                rows = replace(rows, value=value, error=off)
            case Power():
                value, off, known = emit_powers(graph, rows.value, step)
                rows = replace(rows, value=value, error=off, known=(*rows.known, all_flags(graph, known)))
            case Categories():
                rows = _categories(graph, rows, step)
            case Digitize():
                rows = replace(rows, value=_digits(graph, rows.value, step))
            case Binarize():
                above = graph.add("Greater", rows.value, graph.scalar(step.threshold))
                rows = replace(rows, value=graph.cast(above, "float64"))
            case Branches():
                rows = _branches(graph, rows, step)
            case _ if rows.error is None:
                rows = replace(rows, value=emit_transforms(graph, rows.value, (step,)))
            case _:
                rows = carried(graph, rows, rows.error, step)
        # an imputer asks in the middle of the steps
        rows = replace(rows, missing=rows.missing and keeps_missing((step,)))
    return replace(rows, doubt=doubt_after(steps, before.doubt))


def emit_affine(graph: Graph, rows: Rows, layer: Affine) -> tuple[str, str]:
    """``x @ W + b`` and how far each sum may be from the original's."""
    terms = len(layer.weights)
    weights = graph.constant(layer.weights, "float64")
    value = graph.add(
        "Add", graph.add("MatMul", rows.value, weights), graph.constant(layer.offset, "float64")
    )
    absolute = graph.constant(np.abs(layer.weights), "float64")
    size = graph.add(
        "Add",
        graph.add("MatMul", graph.add("Abs", rows.value), absolute),
        graph.constant(layer.size, "float64"),
    )
    error = graph.add("Mul", size, graph.scalar(2.0 * CARRIED * dot_product_gamma(terms)))
    if rows.error is not None:
        passed = graph.add("Mul", graph.add("MatMul", rows.error, absolute), graph.scalar(CARRIED))
        error = graph.add("Add", error, passed)
    return value, graph.add("Add", error, graph.scalar(LEAST))


def carried(graph: Graph, rows: Rows, error: str, step: Transform) -> Rows:
    """A step that keeps the bound of each column; the reader admits no other behind an inexact one."""
    value = emit_transforms(graph, rows.value, (step,))
    match step:
        case Select(columns=columns):
            return replace(rows, value=value, error=_columns(graph, error, columns))
        case Impute():
            return replace(rows, value=value, error=_imputed(graph, rows, error, value, step))
        case Encode(encoded=encoded, passed=passed):
            codes = _columns(graph, value, range(len(encoded)))
            exact = graph.add("Mul", codes, graph.scalar(0.0))
            parts = [exact, _columns(graph, error, passed)] if passed else [exact]
            return replace(rows, value=value, error=join_columns(graph, parts))
        case Clip() | Apply(function="Abs" | "Neg"):
            return replace(rows, value=value)
        case Subtract() | Shift():
            factor = graph.scalar(CARRIED)
        case Multiply(operand=operand):
            factor = graph.constant(np.abs(operand) * CARRIED, "float64")
        case Divide(operand=operand):
            factor = graph.constant(CARRIED / np.abs(operand), "float64")
        case _:
            raise TypeError(f"the reader admitted {type(step).__name__} behind values that are not exact")
    rounding = graph.add("Mul", graph.add("Abs", value), graph.scalar(ROUNDED))
    off = graph.add("Add", graph.add("Mul", error, factor), rounding)
    return replace(rows, value=value, error=graph.add("Add", off, graph.scalar(LEAST)))


def _imputed(graph: Graph, rows: Rows, error: str, value: str, step: Impute) -> str:
    """Statistics and indicators are exact; a NaN that may be an overflow keeps its error, which is not finite."""
    if len(step.kept) != len(step.statistics):
        error = _columns(graph, error, step.kept)
    if rows.missing:
        kept = (
            rows.value if len(step.kept) == len(step.statistics) else _columns(graph, rows.value, step.kept)
        )
        error = graph.add("Where", graph.add("IsNaN", kept), graph.scalar(0.0), error)
    if not step.indicators:
        return error
    flags = _columns(graph, value, range(len(step.kept), len(step.kept) + len(step.indicators)))
    return graph.add("Concat", error, graph.add("Mul", flags, graph.scalar(0.0)), axis=1)


def _columns(graph: Graph, values: str, columns: Sequence[int]) -> str:
    return graph.add("Gather", values, graph.constant(np.array(columns), "int64"), axis=1)


def _branches(graph: Graph, rows: Rows, step: Branches) -> Rows:
    parts = []
    for columns, inner in step.branches:
        parts.append(emit_steps(graph, replace(rows.columns(graph, columns), known=()), inner))
    value = join_columns(graph, [part.value for part in parts])
    error = None
    if any(part.error is not None for part in parts):
        # Exact columns: 0 · x would be NaN for an infinite x, which never reaches a row that is answered.
        errors = [part.error or graph.add("Mul", part.value, graph.scalar(0.0)) for part in parts]
        error = join_columns(graph, errors)
    known = rows.known + tuple(flag for part in parts for flag in part.known)
    return replace(rows, value=value, error=error, known=known)


def _function(graph: Graph, rows: Rows, step: Function) -> Rows:
    x = rows.value
    value, beside = emit_function(graph, x, step)
    zero = graph.scalar(0.0)
    error = None
    if not step.exact:
        size = graph.add("Add", graph.add("Abs", value), graph.scalar(beside))
        error = graph.add("Mul", size, graph.scalar(FUNCTION_STEPS))
        if rows.compared:  # LightGBM splits just beside 0, where columns often are
            point = graph.add("Equal", x, graph.scalar(1.0 if step.name in _EXACT_AT_ONE else 0.0))
            error = graph.add("Where", point, zero, error)
    finite = graph.add("Equal", graph.add("Mul", value, zero), zero)
    known = all_flags(graph, graph.add("Or", finite, graph.add("IsNaN", x)))
    return replace(rows, value=value, error=error, known=(*rows.known, known))


def emit_function(graph: Graph, x: str, step: Function) -> tuple[str, float]:
    """The function of each value, and what its absolute error is relative to where the result is near 0."""
    one = graph.scalar(1.0)
    beside = 1.0
    match step.name:
        case "sqrt":
            value = graph.add("Sqrt", x)
        case "reciprocal":
            value = graph.add("Div", one, x)
        case "exp":
            value, beside = graph.add("Exp", x), LEAST
        case "expm1":
            value, beside = graph.add("Sub", graph.add("Exp", x), one), 2.0
        case "log":
            value = graph.add("Log", x)
        case "log1p":
            value = graph.add("Log", graph.add("Add", one, x))
        case "log2" | "log10":
            value = graph.add("Mul", graph.add("Log", x), graph.scalar(_INVERSE_LOG[step.name]))
        case "tanh":
            value = graph.add("Tanh", x)
    return value, beside


def all_flags(graph: Graph, flags: str) -> str:
    """Whether all flags of a row are set, [N]."""
    least = graph.add("ReduceMin", graph.cast(flags, "float64"), last_axis(graph), keepdims=0)
    return graph.add("Greater", least, graph.scalar(0.0))


def _categories(graph: Graph, rows: Rows, step: Categories) -> Rows:
    x = rows.value
    absent = np.isnan(step.values)
    spread = graph.add("Gather", x, graph.constant(step.column, "int64"), axis=1)
    hit = graph.add("Equal", spread, graph.constant(step.values, "float64"))
    if absent.any():  # NaN equals nothing
        missing = graph.add("And", graph.add("IsNaN", spread), graph.constant(absent, "bool"))
        hit = graph.add("Or", hit, missing)
    hits = graph.cast(hit, "float64")
    known = rows.known
    if step.strict:
        count = graph.add("ReduceSum", hits, last_axis(graph), keepdims=0)  # categories are distinct
        known = (*known, graph.add("Equal", count, graph.scalar(float(step.width))))
    if step.kept is not None:
        whole = len(step.kept) == len(step.values)
        value = hits if whole else _columns(graph, hits, step.kept)
    else:
        value = _codes(graph, x, hits, absent, step)
    return replace(rows, value=value, error=None, known=known)


def _codes(
    graph: Graph, x: str, hits: str, absent: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], step: Categories
) -> str:
    """One product of each sum is the code and the others are 0, so the sum is exact."""
    place = np.zeros((len(step.values), step.width))
    place[np.arange(len(step.values)), step.column] = 1.0
    finite = np.where(np.isnan(step.codes), 0.0, step.codes)
    codes = graph.add(
        "MatMul", hits, graph.constant(np.where(place == 1.0, finite[:, np.newaxis], 0.0), "float64")
    )
    if np.isnan(step.codes).any():
        gone = np.zeros(step.width, dtype=bool)
        gone[step.column[absent]] = True
        missing = graph.add("And", graph.add("IsNaN", x), graph.constant(gone, "bool"))
        codes = graph.add("Where", missing, graph.scalar(float("nan")), codes)
    if step.strict:
        return codes
    found = graph.add(
        "Greater", graph.add("MatMul", hits, graph.constant(place, "float64")), graph.scalar(0.0)
    )
    return graph.add("Where", found, codes, graph.scalar(step.unknown))


def _digits(graph: Graph, x: str, step: Digitize) -> str:
    width = len(step.bins)
    spread = graph.add("Gather", x, graph.constant(step.column, "int64"), axis=1)
    reached = graph.cast(
        graph.add("GreaterOrEqual", spread, graph.constant(step.edges, "float64")), "float64"
    )
    place = np.zeros((len(step.edges), width))
    place[np.arange(len(step.edges)), step.column] = 1.0
    codes = graph.add("MatMul", reached, graph.constant(place, "float64"))
    if not step.one_hot:
        return codes
    column = np.repeat(np.arange(width), step.bins)
    number = np.concatenate([np.arange(count) for count in step.bins])
    repeated = graph.add("Gather", codes, graph.constant(column, "int64"), axis=1)
    return graph.cast(graph.add("Equal", repeated, graph.constant(number, "float64")), "float64")


def held_back(graph: Graph, heads: Heads, flags: Sequence[str]) -> Heads:
    """`heads`, certain of nothing where one of `flags` is not set; the error of a number is infinite there."""
    if not flags:
        return heads
    known = reduce(lambda left, right: graph.add("And", left, right), flags)
    column = graph.add("Unsqueeze", known, last_axis(graph))
    never = graph.scalar(float("inf"))

    def open_ended(error: Spread) -> Spread:
        return graph.add("Where", column, error if isinstance(error, str) else graph.scalar(error), never)

    heads = replace(heads, paths=None)
    if heads.class_index is None:
        return replace(heads, score_error=open_ended(heads.score_error))
    if heads.margin is None or heads.bound is None:
        margin = graph.add("Where", known, graph.scalar(1.0), graph.scalar(0.0))
        bound = graph.add("Mul", margin, graph.scalar(0.0))
    else:
        margin, bound = heads.margin, graph.add("Where", known, heads.bound, never)
    return replace(
        heads,
        margin=margin,
        bound=bound,
        gamma=heads.gamma or 0.0,
        score_error=open_ended(heads.score_error),
        probability_error=open_ended(heads.probability_error),
    )
