# SPDX-License-Identifier: Apache-2.0
"""A score for each class with its error bound, and the label that is certain where two bounds cannot close the gap.

With u = 2⁻⁵³ and γ of `dot_product_gamma` (F + 8 roundings), both sides together:

* a dot product: 2γ(Σ|w·x| + |b|), plus what the constants are off by, times |x|;
* a sum of F squares over variances, each of four roundings: 2γ of itself, for no term is negative;
* a rotated difference y is off by e = (2γ + 2⁻⁴⁶) Σ|x - m||A|, and y² by e(2|y| + e);
* a squared distance, computed as Σ(x - c)², as |x|² - 2x·c + |c|² or without |x|², with or without a root that is
  squared again: no term of any of these exceeds twice |x|² + |c|², so each side is off by at most 4γ(|x|² + |c|²); a
  term that all classes share moves no label.
"""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from ..models.score_types import Centroids, ClassScores, FloatArray, Likelihood, Rotated, Spreads, Weighted
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma
from .links import gap, join_columns, last_axis, probabilities
from .spread import CARRIED, EXP_SPREAD, LEAST, widened

__all__ = ["emit_likelihood"]

POWER_STEPS = 2.0**-46
"""Entries of a rotation over the root of a variance: sixteen times what powers and roots differ by."""


def emit_likelihood(graph: Graph, x: str, model: Likelihood) -> Heads:
    """`model` on `x` [N, F] of float64, bit-equal to what the original sees."""
    scores = model.scores
    raw, error = _scores(graph, x, scores)
    width, terms = len(scores.offset), _terms(scores)
    axis = last_axis(graph)
    index = graph.add("ArgMax", raw, axis=1, keepdims=0, select_last_index=0)
    bound = graph.add("Mul", graph.add("ReduceMax", error, axis, keepdims=0), graph.scalar(2.0))
    spread = graph.add("Unsqueeze", bound, axis)
    p = probabilities(graph, raw, "softmax", width=width) if model.soft_max else None
    shown, columns = raw, width
    if width == 2:
        second, first = (graph.add("Gather", raw, _place(graph, column), axis=1) for column in (1, 0))
        shown, columns = graph.add("Sub", second, first), 1
    return Heads(
        index,
        p,
        shown if model.compared else None,
        columns if model.compared else 0,
        gap(graph, raw, width),
        bound,
        dot_product_gamma(terms),
        score_error=spread,
        probability_error=widened(graph, spread, 4.0, EXP_SPREAD),
    )


def _place(graph: Graph, column: int) -> str:
    return graph.constant(np.array([column]), "int64")


def _terms(scores: ClassScores) -> int:
    return len(scores.weights) if isinstance(scores, Weighted) else scores.centres.shape[1]


def _scores(graph: Graph, x: str, scores: ClassScores) -> tuple[str, str]:
    match scores:
        case Weighted():
            return _weighted(graph, x, scores)
        case Spreads():
            sums = [_variance(graph, x, scores, place) for place in range(len(scores.offset))]
            return _beside(graph, scores, sums, [])
        case Rotated():
            parts = [_rotation(graph, x, scores, place) for place in range(len(scores.offset))]
            return _beside(graph, scores, [part[0] for part in parts], [part[1] for part in parts])
        case Centroids(manhattan=True):
            return _blocks(graph, x, scores)
        case Centroids():
            return _distances(graph, x, scores)
        case _:
            assert_never(scores)


def _weighted(graph: Graph, x: str, scores: Weighted) -> tuple[str, str]:
    offset = graph.constant(scores.offset, "float64")
    raw = graph.add("Add", graph.add("MatMul", x, graph.constant(scores.weights, "float64")), offset)
    absolute = graph.add("Abs", x)
    size = graph.add("MatMul", absolute, graph.constant(np.abs(scores.weights), "float64"))
    size = graph.add("Add", size, graph.constant(np.abs(scores.offset), "float64"))
    error = graph.add("Mul", size, _twice_gamma(graph, len(scores.weights)))
    if scores.weights_off.any():
        doubt = graph.add("MatMul", absolute, graph.constant(scores.weights_off * CARRIED, "float64"))
        error = graph.add("Add", error, doubt)
    return raw, graph.add("Add", error, graph.constant(scores.offset_off + LEAST, "float64"))


def _twice_gamma(graph: Graph, terms: int) -> str:
    return graph.scalar(2.0 * CARRIED * dot_product_gamma(terms))


def _beside(graph: Graph, scores: Spreads | Rotated, sums: list[str], moved: list[str]) -> tuple[str, str]:
    """The classes side by side: ``offset - sum / 2``, and what each is off by; `moved`, what the sums are."""
    half = graph.scalar(0.5)
    halves = graph.add("Mul", join_columns(graph, sums), half)
    raw = graph.add("Sub", graph.constant(scores.offset, "float64"), halves)
    size = graph.add("Add", halves, graph.constant(np.abs(scores.offset), "float64"))
    error = graph.add("Mul", size, _twice_gamma(graph, scores.centres.shape[1]))
    if moved:
        error = graph.add("Add", error, graph.add("Mul", join_columns(graph, moved), half))
    return raw, graph.add("Add", error, graph.constant(scores.offset_off + LEAST, "float64"))


def _centred(graph: Graph, x: str, centres: FloatArray, place: int) -> str:
    return graph.add("Sub", x, graph.constant(centres[place], "float64"))


def _variance(graph: Graph, x: str, scores: Spreads, place: int) -> str:
    away = _centred(graph, x, scores.centres, place)
    shares = graph.add(
        "Div", graph.add("Mul", away, away), graph.constant(scores.variances[place], "float64")
    )
    return graph.add("ReduceSum", shares, last_axis(graph), keepdims=1)


def _rotation(graph: Graph, x: str, scores: Rotated, place: int) -> tuple[str, str]:
    away = _centred(graph, x, scores.centres, place)
    projection = scores.projections[place]
    y = graph.add("MatMul", away, graph.constant(projection, "float64"))
    total = graph.add("ReduceSum", graph.add("Mul", y, y), last_axis(graph), keepdims=1)
    size = graph.add("MatMul", graph.add("Abs", away), graph.constant(np.abs(projection), "float64"))
    share = 2.0 * CARRIED * dot_product_gamma(len(projection)) + POWER_STEPS
    off = graph.add("Mul", size, graph.scalar(share))
    reach = graph.add("Add", graph.add("Mul", graph.add("Abs", y), graph.scalar(2.0)), off)
    moved = graph.add("ReduceSum", graph.add("Mul", off, reach), last_axis(graph), keepdims=1)
    return total, graph.add("Mul", moved, graph.scalar(CARRIED))


def _blocks(graph: Graph, x: str, scores: Centroids) -> tuple[str, str]:
    """Manhattan distances; `offset` is 0."""
    distances = join_columns(
        graph,
        [
            graph.add(
                "ReduceSum",
                graph.add("Abs", _centred(graph, x, scores.centres, place)),
                last_axis(graph),
                keepdims=1,
            )
            for place in range(len(scores.offset))
        ],
    )
    error = graph.add("Mul", distances, _twice_gamma(graph, scores.centres.shape[1]))
    return graph.add("Neg", distances), graph.add("Add", error, graph.scalar(LEAST))


def _distances(graph: Graph, x: str, scores: Centroids) -> tuple[str, str]:
    lengths = np.array([math.fsum(row) for row in (scores.centres * scores.centres).tolist()])
    weights = np.ascontiguousarray(2.0 * scores.centres.T)
    raw = graph.add("MatMul", x, graph.constant(weights, "float64"))
    raw = graph.add("Add", raw, graph.constant(scores.offset - lengths, "float64"))
    own = graph.add("ReduceSum", graph.add("Mul", x, x), last_axis(graph), keepdims=1)
    size = graph.add("Add", own, graph.constant(lengths + np.abs(scores.offset), "float64"))
    share = 8.0 * CARRIED * dot_product_gamma(scores.centres.shape[1])
    error = graph.add("Mul", size, graph.scalar(share))
    return raw, graph.add("Add", error, graph.constant(scores.offset_off + LEAST, "float64"))
