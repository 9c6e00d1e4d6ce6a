# SPDX-License-Identifier: Apache-2.0
"""Support vectors, with a bound for each row on how far a sum of kernel values may be from libsvm's.

With u = 2⁻⁵³, a = |x|, r = the largest |s| and Euclidean norms throughout (Cauchy and Schwarz: Σ|x·s| ≤ a·r):

* x·s is off by at most γ a r on each side, in any order (Higham, section 3.1).
* rbf. libsvm (`Kernel::k_function`) adds squares of differences: off by γ(F+3) |x − s|². Here −g|x − s|² is one dot
  product of F + 2 terms, [x, |x|², 1] · [2g s, −g, −g|s|²], where |x|² is a sum of F squares itself: off by
  γ(2F+4) g (a + r)². Together δ ≤ 2γ(2F+8) g (a + r)². By the mean value theorem two exponentials whose arguments
  are δ apart differ by at most δ e^δ times either of them, and their own units in the last place add to δ. Both are
  within [0, 1], so that no row is ever further off than Σ|α|.
* poly. Off by d B^(d−1) times what the base is off by, where B = g a r + |coef0| bounds it, and by γ(d) B^d for the
  products.
* sigmoid. tanh is nowhere steeper than 1.
* A sum of S terms α K is off by γ(S+1) (Σ|α K| + |b|) on each side.

What inputs are off by, e, adds to a; it moves x·s by |e| r and |x − s|² by at most 2 |e| (a + r + |e|).
"""

from __future__ import annotations

import math

import numpy as np

from ..models.stored_types import SupportVectors
from .certain import Rows
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma
from .links import gap, last_axis
from .networks import ACTIVATION_STEPS
from .spread import CARRIED, FUNCTION_STEPS, LEAST

__all__ = ["emit_support_vectors"]

ROOM = 1.0 + 2.0**-40
"""What a constant that was added up from magnitudes is multiplied by: more than its own rounding."""

UNDERFLOW = 2.0**-940
"""For each unit of weight: kernel values below the normal numbers are off by less than a millionth of it.

It is a limit and not a summand: onnxruntime drops the addition of a number that is 0 in float32.
"""

TIE = 2.0**-14
"""What the place of a class takes from its votes: equal votes go to the first, and all sums stay exact."""

SQUASHED = 2.0**-48
"""For each class: the roundings of votes plus ``z / (3 (|z| + 1))``, on both sides, are a few units of 2⁻⁵³."""


def emit_support_vectors(graph: Graph, rows: Rows, model: SupportVectors) -> Heads:
    """`model` on `rows`, which may carry an error bound for each entry."""
    sums, error = _sums(graph, rows, model)
    axis = last_axis(graph)
    gamma = dot_product_gamma(len(model.vectors))
    if model.decision == "value":
        return Heads(None, None, sums, 1, score_error=error)
    if model.decision in ("inlier", "pair"):
        operator = "Greater" if model.decision == "inlier" else "GreaterOrEqual"
        above = graph.add(operator, graph.add("Squeeze", sums, axis), graph.scalar(0.0))
        return Heads(
            graph.cast(above, "int64"),
            None,
            sums,
            1,
            gap(graph, sums, 1),
            graph.add("Squeeze", error, axis),
            gamma,
            score_error=error,
            probability_error=math.inf,
        )
    return _several(graph, sums, graph.add("ReduceMax", error, axis, keepdims=1), model, gamma)


def _sums(graph: Graph, rows: Rows, model: SupportVectors) -> tuple[str, str]:
    """The sums [N, P] and how far each may be from libsvm's, [N, P]."""
    axis = last_axis(graph)
    square = graph.add("ReduceSum", graph.add("Mul", rows.value, rows.value), axis, keepdims=1)
    size = graph.add("Sqrt", square)
    moved: str | None = None
    if rows.error is not None:
        squares = graph.add("Mul", rows.error, rows.error)
        moved = graph.add("Sqrt", graph.add("ReduceSum", squares, axis, keepdims=1))
        moved = graph.add("Mul", moved, graph.scalar(CARRIED))
        size = graph.add("Add", size, moved)
    norms = np.array([math.sqrt(math.fsum((row * row).tolist())) for row in model.vectors]) * ROOM
    rounding = 2.0 * CARRIED * dot_product_gamma(len(model.vectors))
    total = np.abs(model.weights).sum(axis=0) * ROOM
    values = _kernel(graph, rows.value, square, model)
    sums = graph.add("MatMul", values, graph.constant(model.weights, "float64"))
    sums = graph.add("Add", sums, graph.constant(model.offset, "float64"))
    if model.kernel == "rbf":
        factor = _rbf_factor(graph, size, moved, model, float(norms.max()), rounding)
        absolute = graph.constant(np.abs(model.weights), "float64")
        least = graph.constant(UNDERFLOW * np.maximum(total, 1.0), "float64")
        reached = graph.add("Max", graph.add("MatMul", values, absolute), least)
        most = graph.constant(2.0 * total, "float64")
        off = graph.add("Min", graph.add("Mul", reached, factor), most)
    else:
        if model.kernel == "linear":
            total = (np.abs(model.weights) * norms[:, np.newaxis]).sum(axis=0) * ROOM
        unit = _unit_error(graph, size, moved, model, float(norms.max()), rounding)
        off = graph.add("Mul", unit, graph.constant(total, "float64"))
    fixed = graph.constant(np.abs(model.offset) * rounding, "float64")
    error = graph.add("Add", graph.add("Max", off, graph.scalar(LEAST)), fixed)
    # A sum that overflows is no number to certify: 0 times it is NaN.
    return sums, graph.add("Add", error, graph.add("Mul", graph.add("Abs", sums), graph.scalar(0.0)))


def _kernel(graph: Graph, x: str, square: str, model: SupportVectors) -> str:
    """Kernel values [N, S]."""
    vectors = model.vectors
    if model.kernel == "linear":
        return graph.add("MatMul", x, graph.constant(np.ascontiguousarray(vectors.T), "float64"))
    if model.kernel == "rbf":
        squares = np.array([math.fsum((row * row).tolist()) for row in vectors])
        table = np.vstack(
            [
                (2.0 * model.gamma) * vectors.T,
                np.full((1, len(vectors)), -model.gamma),
                -(model.gamma * squares)[np.newaxis],
            ]
        )
        one = graph.add("Add", graph.add("Mul", square, graph.scalar(0.0)), graph.scalar(1.0))
        wide = graph.add("Concat", x, square, one, axis=1)
        exponent = graph.add("MatMul", wide, graph.constant(table, "float64"))
        return graph.add("Exp", graph.add("Min", exponent, graph.scalar(0.0)))
    scaled = graph.constant(np.ascontiguousarray((model.gamma * vectors).T), "float64")
    base = graph.add("Add", graph.add("MatMul", x, scaled), graph.scalar(model.coef0))
    return graph.add("Tanh", base) if model.kernel == "sigmoid" else _power(graph, base, model.degree)


def _power(graph: Graph, base: str, degree: int) -> str:
    """`base` to the power of `degree` >= 1 by repeated squaring, as libsvm's `powi`."""
    result: str | None = None
    while degree:
        if degree % 2:
            result = base if result is None else graph.add("Mul", result, base)
        degree //= 2
        if degree:
            base = graph.add("Mul", base, base)
    return result or base


def _rbf_factor(
    graph: Graph, size: str, moved: str | None, model: SupportVectors, largest: float, rounding: float
) -> str:
    """What a sum of |α K| is multiplied by, [N, 1]."""
    gamma = dot_product_gamma(2 * model.vectors.shape[1])
    reach = graph.add("Add", size, graph.scalar(largest))
    apart = graph.add(
        "Mul", graph.add("Mul", reach, reach), graph.scalar(2.0 * CARRIED * gamma * model.gamma)
    )
    if moved is not None:
        shift = graph.add("Mul", graph.add("Mul", reach, moved), graph.scalar(2.0 * CARRIED * model.gamma))
        apart = graph.add("Add", apart, shift)
    relative = graph.add("Add", apart, graph.scalar(FUNCTION_STEPS + rounding))
    relative = graph.add("Mul", relative, graph.scalar(CARRIED * CARRIED))
    return graph.add("Mul", graph.add("Exp", apart), relative)


def _unit_error(
    graph: Graph, size: str, moved: str | None, model: SupportVectors, largest: float, rounding: float
) -> str:
    """How far a term of weight 1 may be off, its share of the sum's rounding included, [N, 1]."""
    twice = 2.0 * dot_product_gamma(model.vectors.shape[1])
    if model.kernel == "linear":  # of weight 1 / |s|
        unit = graph.add("Mul", size, graph.scalar(CARRIED * (twice + rounding)))
        if moved is None:
            return unit
        return graph.add("Add", unit, graph.add("Mul", moved, graph.scalar(CARRIED)))
    reach = model.gamma * largest
    base = graph.add("Add", graph.add("Mul", size, graph.scalar(reach)), graph.scalar(abs(model.coef0)))
    if model.kernel == "sigmoid":
        unit = graph.add("Mul", base, graph.scalar(CARRIED * twice))
        if moved is not None:
            unit = graph.add("Add", unit, graph.add("Mul", moved, graph.scalar(CARRIED * reach)))
        return graph.add("Add", unit, graph.scalar(ACTIVATION_STEPS + rounding))
    steps = model.degree * twice + 2.0 * dot_product_gamma(model.degree) + rounding
    unit = graph.add("Mul", base, graph.scalar(CARRIED * steps))
    if moved is not None:
        shift = graph.add("Mul", moved, graph.scalar(CARRIED * model.degree * reach))
        unit = graph.add("Add", unit, shift)
    return unit if model.degree == 1 else graph.add("Mul", unit, _power(graph, base, model.degree - 1))


def _several(graph: Graph, sums: str, error: str, model: SupportVectors, gamma: float) -> Heads:
    """Three classes or more: votes of the pairs. `error` [N, 1] holds for every sum of the row.

    A label is certain where no open pair, one whose sum is within its error of 0, could make another class win:
    the least votes of the winner exceed the most of any other.
    """
    axis = last_axis(graph)
    zero = graph.scalar(0.0)
    first, second = model.pairs
    count, pairs = model.classes, len(first)
    firsts, seconds = np.zeros((pairs, count)), np.zeros((pairs, count))
    firsts[np.arange(pairs), first] = 1.0
    seconds[np.arange(pairs), second] = 1.0
    balance = graph.constant(firsts - seconds, "float64")
    won = graph.cast(graph.add("Greater", sums, zero), "float64")
    votes = graph.add(
        "Add", graph.add("MatMul", won, balance), graph.constant(seconds.sum(axis=0), "float64")
    )
    away = graph.add("Abs", sums)
    away = graph.add(
        "Add", away, graph.add("Mul", away, graph.scalar(0.0))
    )  # onnxruntime's maximum passes over NaN
    clear = graph.add("Greater", away, error)
    bound = graph.add("Squeeze", error, axis)
    if model.one_against_rest:
        scores, score_error = _confidences(graph, sums, away, error, balance, firsts, count)
    else:
        scores, score_error = sums, error
    if model.decision == "confidences":
        all_clear = graph.add("ReduceMin", graph.cast(clear, "float64"), axis, keepdims=0)
        margin = graph.add("Where", graph.add("Greater", all_clear, zero), gap(graph, scores, count), zero)
        index = graph.add("ArgMax", scores, axis=1, keepdims=0, select_last_index=0)
        bound = graph.add("Mul", graph.add("Squeeze", score_error, axis), graph.scalar(2.0))
    else:
        index = graph.add("ArgMax", votes, axis=1, keepdims=0, select_last_index=0)
        sure = _robust(graph, votes, won, clear, firsts, seconds)
        least = graph.add("Where", clear, away, graph.scalar(math.inf))
        margin = graph.add("Where", sure, graph.add("ReduceMin", least, axis, keepdims=0), zero)
    if model.one_against_rest:  # a vote that is open moves a score by 1
        all_clear = graph.add("ReduceMin", graph.cast(clear, "float64"), axis, keepdims=1)
        score_error = graph.add(
            "Where", graph.add("Greater", all_clear, zero), score_error, graph.scalar(math.inf)
        )
    return Heads(
        index,
        None,
        scores,
        count if model.one_against_rest else pairs,
        margin,
        bound,
        gamma,
        score_error=score_error,
        probability_error=math.inf,
    )


def _confidences(
    graph: Graph,
    sums: str,
    away: str,
    error: str,
    balance: str,
    firsts: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    count: int,
) -> tuple[str, str]:
    """`_ovr_decision_function` of scikit-learn, and how far it is off where no vote is open."""
    axis = last_axis(graph)
    one = graph.scalar(1.0)
    lost = graph.cast(graph.add("Less", sums, graph.scalar(0.0)), "float64")
    votes = graph.add(
        "Sub", graph.constant(firsts.sum(axis=0), "float64"), graph.add("MatMul", lost, balance)
    )
    together = graph.add("MatMul", sums, balance)
    scale = graph.add("Mul", graph.scalar(3.0), graph.add("Add", graph.add("Abs", together), one))
    scores = graph.add("Add", votes, graph.add("Div", together, scale))
    largest = graph.add("ReduceMax", away, axis, keepdims=1)
    rounding = 2.0 * CARRIED * dot_product_gamma(count)
    each = graph.add("Add", error, graph.add("Mul", largest, graph.scalar(rounding)))
    off = graph.add("Mul", each, graph.scalar(CARRIED * (count - 1)))
    # z / (3 (|z| + 1)) is nowhere steeper than 1 / (|z| + 1)² between what the two sides squash.
    nearest = graph.add("Max", graph.add("Sub", graph.add("Abs", together), off), graph.scalar(0.0))
    nearest = graph.add("Add", nearest, one)
    squashed = graph.add("Div", off, graph.add("Mul", nearest, nearest))
    squashed = graph.add("ReduceMax", squashed, axis, keepdims=1)
    return scores, graph.add("Add", squashed, graph.scalar(SQUASHED * count))


def _robust(
    graph: Graph,
    votes: str,
    won: str,
    clear: str,
    firsts: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    seconds: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> str:
    """Whether the winner stays whatever becomes of the pairs that are not clear, bool [N].

    The class with the largest least number of votes is the only one whose most votes reach that number.
    """
    axis = last_axis(graph)
    first, second = graph.constant(firsts, "float64"), graph.constant(seconds, "float64")
    unsure = graph.cast(graph.add("Not", clear), "float64")
    here = graph.add("Mul", unsure, won)
    there = graph.add("Sub", unsure, here)

    def counted(ahead: str, behind: str) -> str:
        return graph.add("Add", graph.add("MatMul", ahead, first), graph.add("MatMul", behind, second))

    places = graph.constant(np.arange(firsts.shape[1]) * TIE, "float64")
    ranked = graph.add("Sub", votes, places)
    least = graph.add("Sub", ranked, counted(here, there))
    most = graph.add("Add", ranked, counted(there, here))
    floor = graph.add("ReduceMax", least, axis, keepdims=1)
    reach = graph.cast(graph.add("GreaterOrEqual", most, floor), "float64")
    return graph.add("Less", graph.add("ReduceSum", reach, axis, keepdims=0), graph.scalar(1.5))
