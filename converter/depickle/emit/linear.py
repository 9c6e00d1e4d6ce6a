# SPDX-License-Identifier: Apache-2.0
"""Linear models, with a certificate per row: margin > 2γₙ(Σ|w·z| + |b|) certifies its label, or bounds its number."""

from __future__ import annotations

import math

import numpy as np

from ..models.types import Linear, Link
from .graph import Graph
from .interface import Heads
from .isotonic import quotient_error
from .links import clipped, gap, label_index, last_axis, probabilities
from .spread import EXP_SPREAD, LEAST, Spread, as_bound, total, widened

__all__ = ["dot_product_gamma", "emit_linear", "link_error"]

_UNIT = 2.0**-53  # unit roundoff of float64


def dot_product_gamma(terms: int) -> float:
    """γₙ = nu / (1 − nu) for n = `terms` products, their sum, the intercept and the rounding of the bound itself.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; holds for every order of summation and with
    fused multiply-add.
    """
    n = terms + 8
    return n * _UNIT / (1.0 - n * _UNIT)


def emit_linear(graph: Graph, x: str, model: Linear, input_error: Spread = 0.0) -> Heads:
    """`model` on `x` [N, F] of float64, each entry of which may be off by `input_error`."""
    width, terms = model.coefficients.shape
    weights = np.ascontiguousarray(model.coefficients.T)
    intercept = graph.constant(model.intercept, "float64")
    raw = graph.add("Add", graph.add("MatMul", x, graph.constant(weights, "float64")), intercept)
    gamma = dot_product_gamma(terms)
    magnitude = graph.add(
        "Add",
        graph.add("MatMul", graph.add("Abs", x), graph.constant(np.abs(weights), "float64")),
        graph.constant(np.abs(model.intercept), "float64"),
    )
    largest = (
        graph.add("Squeeze", magnitude, last_axis(graph))
        if width == 1
        else graph.add("ReduceMax", magnitude, last_axis(graph), keepdims=0)
    )
    # One score is off by gamma times its magnitude, in the original and here; several classes compare two scores.
    bound = graph.add("Mul", largest, graph.scalar((2.0 if width == 1 else 4.0) * gamma))
    if model.rule is not None:  # products below the normal numbers do not round relatively
        bound = graph.add("Add", bound, graph.scalar(LEAST))
    error: Spread = graph.add("Unsqueeze", bound, last_axis(graph))
    if input_error != 0.0:
        # correctly rounded sums: the proof must come to the same bits
        reach = 2.0 * max(math.fsum(column) for column in np.abs(weights.T).tolist()) * (1.0 + 2.0**-40)
        error = total(graph, [error, widened(graph, input_error, reach)])
        bound = as_bound(graph, error, bound)
    if model.rule is None:
        return Heads(None, None, raw, 1, score_error=widened(graph, error, 1.0, LEAST))
    p = probabilities(graph, raw, model.link, width=width, mirrored=model.mirrored)
    index = label_index(graph, model.rule, scores=raw, probabilities=p)
    return Heads(
        index,
        p,
        raw,
        width,
        gap(graph, raw, width),
        bound,
        gamma,
        score_error=error,
        probability_error=link_error(graph, error, model.link, raw, width),
    )


def link_error(graph: Graph, error: Spread, link: Link, raw: str, width: int) -> Spread:
    """How far the probabilities may be off where the scores are off by `error`, [N, 1].

    Logistic and soft-max are nowhere steeper than 1. Shares of clipped scores are steep where their sum is small, and
    jump where it is 0; the constant covers the roundings of p and, after the division, of the sum of all classes.
    """
    if link != "clipped" or width == 1:
        return widened(graph, error, 4.0, EXP_SPREAD)
    p = clipped(graph, raw)
    columns = [
        graph.add("Gather", p, graph.constant(np.array([column]), "int64"), axis=1) for column in range(width)
    ]
    return quotient_error(graph, widened(graph, error, 1.0, EXP_SPREAD * width), columns)
