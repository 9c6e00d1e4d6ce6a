# SPDX-License-Identifier: Apache-2.0
"""Raw scores to probabilities, one class at a time, with the operations of the original in their order."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from ..models.types import LabelRule, Link
from .graph import Element, Graph

__all__ = [
    "clipped",
    "distinct_gap",
    "gap",
    "join_columns",
    "label_index",
    "last_axis",
    "logistic",
    "probabilities",
    "soft_max",
    "two_columns",
]

_EXP_OVERFLOW = math.log(float(np.finfo(np.float64).max))


def last_axis(graph: Graph) -> str:
    """The constant [1], for operators that take axes as an input."""
    return graph.constant(np.array([1]), "int64")


def two_columns(graph: Graph, p: str, element: Element) -> str:
    """[1 - p, p]."""
    return graph.add("Concat", graph.add("Sub", graph.scalar(1.0, element), p), p, axis=1)


def join_columns(graph: Graph, columns: list[str]) -> str:
    """Columns [N, 1] side by side."""
    return columns[0] if len(columns) == 1 else graph.add("Concat", *columns, axis=1)


def logistic(graph: Graph, raw: str, factor: float, element: Element) -> str:
    """``1 / (1 + exp(-factor * raw))``."""
    scaled = raw if factor == 1.0 else graph.add("Mul", graph.scalar(factor, element), raw)
    one = graph.scalar(1.0, element)
    return graph.add("Div", one, graph.add("Add", one, graph.add("Exp", graph.add("Neg", scaled))))


def soft_max(graph: Graph, raw: str, width: int, element: Element) -> str:
    """``exp(raw - max) / sum``."""
    axis = last_axis(graph)
    centred = graph.add("Sub", raw, graph.add("ReduceMax", raw, axis, keepdims=1))
    return _over_sum(graph, graph.add("Exp", centred), width)


def _over_sum(graph: Graph, values: str, width: int) -> str:
    """Each row over its sum, added from the first class on."""
    total: str | None = None
    for column in range(width):
        part = graph.add("Gather", values, graph.constant(np.array([column]), "int64"), axis=1)
        total = part if total is None else graph.add("Add", total, part)
    return graph.add("Div", values, total or values)


def clipped(graph: Graph, raw: str) -> str:
    """``(clip(raw, -1, 1) + 1) / 2``."""
    limits = (graph.constant(np.array(limit), "float64") for limit in (-1.0, 1.0))
    above = graph.add("Add", graph.add("Clip", raw, *limits), graph.scalar(1.0))
    return graph.add("Div", above, graph.scalar(2.0))


def probabilities(
    graph: Graph,
    raw: str,
    link: Link,
    *,
    width: int,
    factor: float = 1.0,
    element: Element = "float64",
    mirrored: bool = False,
) -> str | None:
    """The probabilities [N, C] that belong to raw scores [N, width], or None where the link has none."""
    match link:
        case "logistic":
            return two_columns(graph, logistic(graph, raw, factor, element), element)
        case "softmax":
            if mirrored:
                raw = graph.add("Concat", graph.add("Neg", raw), raw, axis=1)
            return soft_max(graph, raw, 2 if mirrored else width, element)
        case "logistic_each":
            return logistic(graph, raw, factor, element)
        case "logistic_normalized" | "logistic_or_uniform":
            p = logistic(graph, raw, factor, element)
            # exp overflows to infinity in the original, so p is 0 and a row of zeros is 0/0 there; the kernel
            # saturates just below instead.
            gone = graph.add("Less", raw, graph.scalar(-_EXP_OVERFLOW, element))
            p = graph.add("Where", gone, graph.scalar(0.0, element), p)
            shares = _over_sum(graph, p, width)
            if link == "logistic_normalized":
                return shares
            empty = graph.add(
                "Equal", graph.add("ReduceMax", p, last_axis(graph), keepdims=1), graph.scalar(0.0)
            )
            return graph.add("Where", empty, graph.scalar(1.0 / width, element), shares)
        case "clipped":
            p = clipped(graph, raw)
            if width == 1:
                return two_columns(graph, p, "float64")
            empty = graph.add(
                "Equal", graph.add("ReduceMax", p, last_axis(graph), keepdims=1), graph.scalar(0.0)
            )
            return graph.add("Where", empty, graph.scalar(1.0 / width), _over_sum(graph, p, width))
        case "identity" | "none" | "exp" | "signed_square":
            return None
        case _:
            assert_never(link)


def label_index(
    graph: Graph,
    rule: LabelRule,
    *,
    scores: str | None,
    probabilities: str | None,
    element: Element = "float64",
) -> str:
    """The class index int64 [N] by the quantity that the original compares."""
    match rule.kind:
        case "argmax_probabilities":
            return graph.add("ArgMax", probabilities or "", axis=1, keepdims=0, select_last_index=0)
        case "argmax_scores":
            return graph.add("ArgMax", scores or "", axis=1, keepdims=0, select_last_index=0)
        case "score_at_least" | "score_above":
            operator = "GreaterOrEqual" if rule.kind == "score_at_least" else "Greater"
            column = graph.add("Squeeze", scores or "", last_axis(graph))
            return graph.cast(graph.add(operator, column, graph.scalar(rule.cut, element)), "int64")
        case _:
            assert_never(rule.kind)


def distinct_gap(graph: Graph, raw: str, width: int) -> str:
    """How far bit-exact raw scores are from changing the label through an inexact exp, [N].

    One column: the distance from 0; at 0 itself exp is exactly 1 everywhere, so the label is certain. Several: the
    distance of the largest from the nearest smaller one; equal scores have equal probabilities, and the first wins.
    """
    zero, certain = graph.scalar(0.0), graph.scalar(1.0)
    axis = last_axis(graph)
    away = (
        graph.add("Abs", raw)
        if width == 1
        else graph.add("Sub", graph.add("ReduceMax", raw, axis, keepdims=1), raw)
    )
    away = graph.add("Where", graph.add("Equal", away, zero), certain, away)
    return graph.add("Squeeze", away, axis) if width == 1 else graph.add("ReduceMin", away, axis, keepdims=0)


def gap(graph: Graph, values: str, width: int) -> str:
    """Largest minus second largest of each row, [N]; one column: its magnitude."""
    if width == 1:
        return graph.add("Squeeze", graph.add("Abs", values), last_axis(graph))
    top = graph.add(
        "TopK", values, graph.constant(np.array([2]), "int64"), outputs=2, axis=1, largest=1, sorted=1
    )
    first, second = (graph.add("Gather", top, graph.constant(np.array(i), "int64"), axis=1) for i in (0, 1))
    return graph.add("Sub", first, second)
