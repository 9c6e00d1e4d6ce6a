# SPDX-License-Identifier: Apache-2.0
"""Constant answers, curves, and functions of a regressor's number, with how far each may be from the original's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..models.dense_types import Function
from ..models.score_types import Constant, Interpolated
from ..models.types import Apply, Multiply, Predictor, Shift, Transform, Transformed
from .certain import ROUNDED, Rows, carried, emit_function
from .graph import Graph
from .interface import Heads
from .isotonic import INTERPOLATED, emit_curve
from .links import last_axis
from .preamble import emit_transforms
from .spread import CARRIED, FUNCTION_STEPS, LEAST

__all__ = ["emit_constant", "emit_interpolated", "emit_transformed"]

WIDEST = 2.0**1022
"""Results and bounds up to this: their sum, rounded on either side, is a finite number."""

VANISHED = -750.0
"""e to this is less than half of the smallest number there is."""


def emit_constant(graph: Graph, x: str, model: Constant) -> Heads:
    """The same for every row, whatever it holds: ``x < x`` is false of NaN and of infinity too."""
    first = graph.add("Gather", x, graph.constant(np.array([0]), "int64"), axis=1)
    nothing = graph.add("Less", first, first)
    zero = graph.cast(nothing, "float64")
    if model.index is None:
        return Heads(None, None, graph.add("Add", zero, graph.scalar(model.value)), 1)
    place = graph.add("Squeeze", graph.cast(nothing, "int64"), last_axis(graph))
    index = graph.add("Add", place, graph.scalar(model.index, "int64"))
    return Heads(index, graph.add("Add", zero, graph.constant(np.array(model.shares), "float64")), None, 0)


def emit_interpolated(graph: Graph, x: str, model: Interpolated) -> Heads:
    """The curve at the only column.

    Between two knots a slope, a difference, their product (at most the step between two values, so 2M with M the
    largest value) and a sum are rounded: with or without fused operations at most 7uM on each side; 2^-48 is 32u.
    """
    value = emit_curve(graph, x, model)
    size = float(np.max(np.abs(model.values)))
    error = graph.add(
        "Add", graph.add("Mul", value, graph.scalar(0.0)), graph.scalar(INTERPOLATED * size + LEAST)
    )
    return Heads(None, None, value, 1, score_error=error)


def emit_transformed(
    graph: Graph, rows: Rows, model: Transformed, emit: Callable[[Graph, Rows, Predictor], Heads]
) -> Heads:
    """`model.steps` after the regressor's number."""
    heads = emit(graph, rows, model.predictor)
    if heads.scores is None or (not isinstance(heads.score_error, str) and heads.score_error != 0.0):
        raise TypeError("the reader admitted a member without a number that is exact or bounded")
    number = Rows(heads.scores, heads.score_error if isinstance(heads.score_error, str) else None)
    number = _after(graph, number, model.steps)
    return replace(heads, scores=number.value, score_error=0.0 if number.error is None else number.error)


def _after(graph: Graph, rows: Rows, steps: Sequence[Transform]) -> Rows:
    for step in steps:
        match step:
            case Function():
                rows = _function(graph, rows, step)
            case Multiply() | Shift() | Apply(function="Square") if rows.error is None:
                rows = Rows(emit_transforms(graph, rows.value, (step,)))
            case Multiply() | Shift() if rows.error is not None:
                rows = carried(graph, rows, rows.error, step)
            case Apply(function="Square") if rows.error is not None:
                rows = _square(graph, rows.value, rows.error)
            case _:
                raise TypeError(f"the reader admitted {type(step).__name__} after a number")
    return rows


def _function(graph: Graph, rows: Rows, step: Function) -> Rows:
    """exp or expm1: e^(x + d) is off by less than 2|d| e^x while |d| <= 1, beside the errors of the function itself.

    Where x + |d| lies below `VANISHED`, e^x is nothing on both sides, however large d.
    """
    value, beside = emit_function(graph, rows.value, step)
    size = graph.add("Add", graph.add("Abs", value), graph.scalar(beside))
    share = graph.scalar(FUNCTION_STEPS)
    if rows.error is None:
        error = graph.add("Mul", size, share)
        return Rows(value, _if_finite(graph, value, graph.add("Add", error, graph.scalar(LEAST))))
    gone = graph.add("Less", graph.add("Add", rows.value, rows.error), graph.scalar(VANISHED))
    moved = graph.add("Where", gone, graph.scalar(0.0), rows.error)
    share = graph.add("Add", graph.add("Mul", moved, graph.scalar(2.0 * CARRIED)), share)
    error = graph.add("Add", graph.add("Mul", size, share), graph.scalar(LEAST))
    near = graph.add("LessOrEqual", moved, graph.scalar(1.0))
    error = graph.add("Where", near, error, graph.scalar(float("inf")))
    return Rows(value, _if_finite(graph, value, error))


def _square(graph: Graph, x: str, error: str) -> Rows:
    """(x + d)² is off by |d| (2|x| + |d|), and each side rounds once."""
    value = graph.add("Mul", x, x)
    reach = graph.add("Add", graph.add("Mul", graph.add("Abs", x), graph.scalar(2.0)), error)
    moved = graph.add("Mul", graph.add("Mul", error, reach), graph.scalar(CARRIED))
    rounding = graph.add("Mul", value, graph.scalar(ROUNDED))
    off = graph.add("Add", graph.add("Add", moved, rounding), graph.scalar(LEAST))
    return Rows(value, _if_finite(graph, value, off))


def _if_finite(graph: Graph, value: str, error: str) -> str:
    """`error`, or infinite where the original's number might be."""
    limit = graph.scalar(WIDEST)
    inside = graph.add(
        "And",
        graph.add("LessOrEqual", graph.add("Abs", value), limit),
        graph.add("LessOrEqual", error, limit),
    )
    return graph.add("Where", inside, error, graph.scalar(float("inf")))
