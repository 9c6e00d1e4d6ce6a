# SPDX-License-Identifier: Apache-2.0
"""Temperature scaling: the soft-max of the temperature times the logits, and what it does to an error."""

from __future__ import annotations

from ..models.types import Calibrated
from .composing import column_of
from .graph import Graph
from .links import last_axis, soft_max, two_columns
from .spread import CARRIED, EXP_SPREAD, UNKNOWN, Spread, widened

__all__ = ["emit_tempered"]

BESIDE_ZERO = 1e-12
"""``eps`` of ``_convert_to_logits``."""

ROUNDED = 2.0**-48
"""Of a logit: the product with the temperature and the difference from the largest, on both sides, 16 times over."""

LOGARITHM = 2.0**-46
"""Of a logarithm, and beside it of 1 where that is near 0: far more than numpy and onnxruntime err by."""

ALIKE = 2.0**-10
"""Scores nearer than this to probabilities may be taken for probabilities, which numpy.isclose does at 1e-5."""

CERTAIN = ALIKE / 16.0
"""What all K scores of a row together may be off by: what is taken for probabilities then seems near to some."""


def emit_tempered(
    graph: Graph, answers: str, error: Spread, model: Calibrated, temperature: float
) -> tuple[str, Spread]:
    """Probabilities [N, K] of a member's scores or probabilities, and how far they may be off.

    A change of the logits by at most d changes no soft-max by more than d.
    """
    if model.response == "scores":
        logits, off = answers, error
        if model.outputs == 2:
            logits = graph.add("Concat", graph.add("Neg", answers), answers, axis=1)
        else:
            off = _unlike_probabilities(graph, answers, error, CERTAIN / model.outputs)
    else:
        p = two_columns(graph, column_of(graph, answers, 1), "float64") if model.outputs == 2 else answers
        above = graph.add("Add", p, graph.scalar(BESIDE_ZERO))
        logits = graph.add("Log", above)
        off = _of_logarithms(graph, above, logits, error)
    scaled = graph.add("Mul", graph.scalar(temperature), logits)
    size = graph.add("ReduceMax", graph.add("Abs", scaled), last_axis(graph), keepdims=1)
    rounded = graph.add("Mul", size, graph.scalar(ROUNDED))
    carried = widened(graph, off, 2.0 * CARRIED * temperature, EXP_SPREAD)
    spread = graph.add("Add", rounded, carried if isinstance(carried, str) else graph.scalar(carried))
    return soft_max(graph, scaled, model.outputs, "float64"), spread


def _unlike_probabilities(graph: Graph, scores: str, error: Spread, limit: float) -> Spread:
    """`error`, and no bound where all scores are in [0, 1] and sum to 1 or so: alone, it is read otherwise.

    Nor is there one where `error` reaches `limit`, since a sum of K scores may be off by K times that.
    """
    if not isinstance(error, str) and not error < limit:
        return UNKNOWN
    axis = last_axis(graph)
    low, high = (graph.add(operator, scores, axis, keepdims=1) for operator in ("ReduceMin", "ReduceMax"))
    away = graph.add(
        "Abs", graph.add("Sub", graph.add("ReduceSum", scores, axis, keepdims=1), graph.scalar(1.0))
    )
    inside = graph.add(
        "And",
        graph.add("Greater", low, graph.scalar(-ALIKE)),
        graph.add("Less", high, graph.scalar(1.0 + ALIKE)),
    )
    alike = graph.add("And", inside, graph.add("Less", away, graph.scalar(ALIKE)))
    never = graph.scalar(UNKNOWN)
    value = error if isinstance(error, str) else graph.scalar(error)
    found = graph.add("Where", alike, never, value)
    if not isinstance(error, str):
        return found
    small = graph.add("Less", error, graph.scalar(limit))
    return graph.add("Where", small, found, never)


def _of_logarithms(graph: Graph, above: str, logits: str, error: Spread) -> str:
    """log(q) is off by at most 2 e / q where q is off by e < q / 2, and by its own rounding."""
    axis = last_axis(graph)
    size = graph.add("ReduceMax", graph.add("Abs", logits), axis, keepdims=1)
    own = graph.add("Mul", graph.add("Add", size, graph.scalar(1.0)), graph.scalar(LOGARITHM))
    if error == 0.0:
        return own
    least = graph.add("ReduceMin", above, axis, keepdims=1)
    twice = widened(graph, error, 2.0 * CARRIED)
    off = twice if isinstance(twice, str) else graph.scalar(twice)
    passed = graph.add(
        "Where", graph.add("Greater", least, off), graph.add("Div", off, least), graph.scalar(UNKNOWN)
    )
    return graph.add("Add", passed, own)
