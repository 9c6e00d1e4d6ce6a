# SPDX-License-Identifier: Apache-2.0
"""Isotonic calibration: ``numpy.interp`` between knots, with its own operations, and what it does to an error."""

from __future__ import annotations

import numpy as np

from ..models.score_types import Interpolated
from ..models.types import Curve
from .graph import Graph
from .links import last_axis
from .spread import UNKNOWN, Spread, widened

__all__ = ["INTERPOLATED", "emit_curve", "quotient_error", "share_error", "steepest"]

INTERPOLATED = 2.0**-48
"""Interpolation between values in [0, 1]: four roundings on each side, with or without fused multiply-add."""


def emit_curve(graph: Graph, response: str, curve: Curve | Interpolated) -> str:
    """``slope * (x - knot) + value`` at the last knot that x reaches; x is limited to the knots first. [N, 1]."""
    knots, values = curve.knots, curve.values
    limits = (graph.constant(np.array(knot), "float64") for knot in (knots[0], knots[-1]))
    x = graph.add("Clip", response, *limits)
    reached = graph.add("GreaterOrEqual", x, graph.constant(knots[1:], "float64"))
    place = graph.add("ReduceSum", graph.cast(reached, "float64"), last_axis(graph), keepdims=1)
    index = graph.cast(place, "int64")
    slopes = np.append(np.diff(values) / np.diff(knots), 0.0)
    slope, knot, value = (
        graph.add("Gather", graph.constant(table, "float64"), index, axis=0)
        for table in (slopes, knots, values)
    )
    return graph.add("Add", graph.add("Mul", slope, graph.add("Sub", x, knot)), value)


def steepest(curves: tuple[Curve, ...]) -> float:
    """The largest slope, rounded up."""
    slopes = [float(np.max(np.diff(curve.values) / np.diff(curve.knots))) for curve in curves]
    return max(slopes) * (1.0 + 2.0**-20)


def share_error(graph: Graph, error: Spread, curves: tuple[Curve, ...], columns: list[str]) -> Spread:
    """What the probabilities are off by: as each curve is, or for several classes as its quotient by the sum."""
    single = widened(graph, error, steepest(curves), INTERPOLATED)
    if len(curves) == 1:
        return single
    return quotient_error(graph, single, columns)


def quotient_error(graph: Graph, single: Spread, columns: list[str]) -> Spread:
    """What each column over the sum of all is off by, where each column is off by `single`."""
    total = columns[0]
    for column in columns[1:]:
        total = graph.add("Add", total, column)
    count = float(len(columns))
    off = widened(graph, single, 2.0 * (count + 2.0))
    above = off if isinstance(off, str) else graph.scalar(off)
    # (p + d) / (S + K d) differs from p / S by at most 2 (K + 1) d / S while S > 2 K d.
    return graph.add(
        "Where", graph.add("Greater", total, above), graph.add("Div", above, total), graph.scalar(UNKNOWN)
    )
