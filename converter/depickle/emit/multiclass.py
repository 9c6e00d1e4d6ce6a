# SPDX-License-Identifier: Apache-2.0
"""One-vs-rest and one-vs-one: binary members whose responses, and whose answers, decide between the classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import combinations

from ..models.types import OneVsOne, OneVsRest
from .certain import Rows
from .composing import Emit, batch_of, column_of, emit_member, present, response_of, share
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma
from .links import gap, join_columns, last_axis, two_columns
from .spread import CARRIED, ROUNDING, UNKNOWN, Spread, as_bound, total, widened

__all__ = ["emit_one_vs_one", "emit_one_vs_rest"]


def emit_one_vs_rest(graph: Graph, rows: Rows, model: OneVsRest, emit: Emit) -> Heads:
    """One binary member a class, or a single one of two classes."""
    heads = [emit_member(graph, rows, member, emit) for member in model.members]
    values, errors = _responses(graph, heads, model)
    scores = join_columns(graph, values)
    error = total(graph, errors)
    if model.cut is None:
        index = graph.add("ArgMax", scores, axis=1, keepdims=0, select_last_index=int(model.last))
    else:
        index = _above(graph, scores, model.cut)
    p = None
    if model.has_probabilities:
        positives = [column_of(graph, present(head.probabilities), 1) for head in heads]
        if model.cut is not None:
            both = two_columns(graph, positives[0], "float64")
            positives = [column_of(graph, both, place) for place in (0, 1)]
        p = share(graph, positives, uniform=False)
    margin = bound = gamma = None
    if error != 0.0:
        margin = _distance(graph, scores, model.cut, len(values))
        bound = as_bound(graph, widened(graph, error, 1.0, ROUNDING), margin)
        gamma = max((head.gamma for head in heads if head.gamma is not None), default=ROUNDING)
    shares: Spread = UNKNOWN
    if model.cut is not None:
        shares = widened(graph, heads[0].probability_error, 4.0, ROUNDING)
    return Heads(
        index,
        p,
        scores,
        len(values),
        margin,
        bound,
        gamma,
        error,
        shares if p else 0.0,
        batch_of(heads),
    )


def _responses(
    graph: Graph, heads: Sequence[Heads], model: OneVsRest | OneVsOne
) -> tuple[list[str], list[Spread]]:
    """What each member responds, [N, 1] each, and how far that may be off."""
    values: list[str] = []
    errors: list[Spread] = []
    for head, response in zip(heads, model.responses, strict=True):
        answers, error = response_of(graph, head, response)
        values.append(answers if response == "scores" else column_of(graph, answers, 1))
        errors.append(error)
    return values, errors


def _above(graph: Graph, scores: str, cut: float) -> str:
    squeezed = graph.add("Squeeze", scores, last_axis(graph))
    return graph.cast(graph.add("Greater", squeezed, graph.scalar(cut)), "int64")


def _distance(graph: Graph, scores: str, cut: float | None, width: int) -> str:
    """From the cut of two classes, or of the largest score from the next, [N]."""
    if cut is None:
        return gap(graph, scores, width)
    squeezed = graph.add("Squeeze", scores, last_axis(graph))
    return graph.add("Abs", graph.add("Sub", squeezed, graph.scalar(cut)))


def emit_one_vs_one(graph: Graph, rows: Rows, model: OneVsOne, emit: Emit) -> Heads:
    """``_ovr_decision_function``: votes, and confidences within a third of a vote.

    Where every member's label is certain the votes are exact. The confidences of a class are off by what the members'
    are, and by the roundings of their sum on both sides; s / (3 (|s| + 1)) is nowhere steeper than a third, and the
    constant covers its rounding and that of up to K votes.
    """
    heads = [emit_member(graph, rows, member, emit) for member in model.members]
    values, errors = _responses(graph, heads, model)
    axis = last_axis(graph)
    one = graph.scalar(1.0)
    votes: dict[int, str] = {}
    sums: dict[int, str] = {}

    def add(found: dict[int, str], place: int, value: str) -> None:
        found[place] = graph.add("Add", found[place], value) if place in found else value

    for (first, second), head, value in zip(
        combinations(range(model.outputs), 2), heads, values, strict=True
    ):
        vote = graph.cast(graph.add("Unsqueeze", present(head.class_index), axis), "float64")
        add(votes, first, graph.add("Sub", one, vote))
        add(votes, second, vote)
        add(sums, first, graph.add("Neg", value))
        add(sums, second, value)
    places = range(model.outputs) if model.outputs > 2 else (1,)
    confidence = join_columns(graph, [sums[place] for place in places])
    size = graph.add("Mul", graph.scalar(3.0), graph.add("Add", graph.add("Abs", confidence), one))
    counted = join_columns(graph, [votes[place] for place in places])
    scores = graph.add("Add", counted, graph.add("Div", confidence, size))
    width = len(places)
    index = (
        graph.add("ArgMax", scores, axis=1, keepdims=0, select_last_index=0)
        if width > 1
        else _above(graph, scores, model.cut)
    )
    plain = Heads(index, None, scores, width, max_batch=batch_of(heads))
    error = _score_error(graph, values, total(graph, errors), model.outputs)
    flags = [
        graph.add("Greater", head.margin, head.bound)
        for head in heads
        if head.margin is not None and head.bound is not None
    ]
    if not flags and error == 0.0:
        return plain
    gamma = max((head.gamma for head in heads if head.gamma is not None), default=ROUNDING)
    return _certified(graph, plain, flags, error, None if width > 1 else model.cut, gamma)


def _score_error(graph: Graph, values: Sequence[str], error: Spread, classes: int) -> Spread:
    """How far a score may be from the original's where the votes are exact."""
    if error == 0.0:
        return 0.0
    sizes = reduce(
        lambda left, right: graph.add("Add", left, right), [graph.add("Abs", value) for value in values]
    )
    rounded = widened(graph, sizes, 2.0 * dot_product_gamma(len(values)))
    return widened(graph, total(graph, [error, rounded]), CARRIED / 3.0, ROUNDING * classes)


def _certified(
    graph: Graph, plain: Heads, flags: Sequence[str], error: Spread, cut: float | None, gamma: float
) -> Heads:
    never = graph.scalar(UNKNOWN)
    scores = present(plain.scores)
    if (
        error == 0.0
    ):  # the scores are bit-equal where every member's label is certain, and so is a tie of them
        known = reduce(lambda left, right: graph.add("And", left, right), flags)
        margin = graph.add("Where", known, graph.scalar(1.0), graph.scalar(0.0))
        bound = graph.add("Mul", margin, graph.scalar(0.0))
        column = graph.add("Unsqueeze", known, last_axis(graph))
        spread: Spread = graph.add("Where", column, graph.scalar(0.0), never)
    else:
        margin = _distance(graph, scores, cut, plain.scores_width)
        bound = as_bound(graph, widened(graph, error, 2.0 if cut is None else 1.0), margin)
        spread = error
        if flags:
            known = reduce(lambda left, right: graph.add("And", left, right), flags)
            bound = graph.add("Where", known, bound, never)
            column = graph.add("Unsqueeze", known, last_axis(graph))
            value = error if isinstance(error, str) else graph.scalar(error)
            spread = graph.add("Where", column, value, never)
    return Heads(
        plain.class_index,
        None,
        scores,
        plain.scores_width,
        margin,
        bound,
        gamma,
        score_error=spread,
        max_batch=plain.max_batch,
    )
