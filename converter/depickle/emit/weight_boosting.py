# SPDX-License-Identifier: Apache-2.0
"""AdaBoost: votes added in the order of the members, and weighted medians with a bound where their order is open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from ..models.types import Forest, LabelRule, Median, TreeVotes, Votes
from .certain import Rows
from .composing import Emit, batch_of, column_of, emit_member, largest_gamma, present
from .forests import emit_leaf_rows, emit_rows
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma
from .links import gap, join_columns, label_index, last_axis, probabilities
from .spread import CARRIED, EXP_SPREAD, LEAST, UNKNOWN, Spread, as_bound, total, widened

__all__ = ["emit_median", "emit_tree_votes", "emit_votes"]


def emit_tree_votes(graph: Graph, x: str, model: TreeVotes) -> Heads:
    """AdaBoost over trees."""
    rows, batch = emit_rows(graph, x, model.forest)
    index, p, raw, width = _decided(graph, rows, model.forest.outputs, model.rule)
    if model.rule.exact:
        return Heads(index, p, raw, width, probability_error=EXP_SPREAD, max_batch=batch)
    margin = gap(graph, raw, width)
    band = model.rule.band
    return Heads(
        index,
        p,
        raw,
        width,
        margin,
        as_bound(graph, band, margin),
        band,
        score_error=band,
        probability_error=band + EXP_SPREAD,
        max_batch=batch,
    )


def _decided(graph: Graph, rows: str, columns: int, rule: LabelRule) -> tuple[str, str | None, str, int]:
    """Class index, probabilities, raw scores and their number, from divided votes [N, columns]."""
    if columns == 2:
        second, first = (column_of(graph, rows, place) for place in (1, 0))
        raw = graph.add("Sub", second, first)
        both = graph.add("Concat", graph.add("Neg", raw), raw, axis=1)
        scaled = graph.add("Div", both, graph.scalar(2.0))
    else:
        raw = rows
        scaled = graph.add("Div", rows, graph.scalar(float(columns - 1)))
    p = probabilities(graph, scaled, "softmax", width=columns)
    index = label_index(graph, rule, scores=raw, probabilities=p)
    return index, p, raw, 1 if columns == 2 else columns


def emit_votes(graph: Graph, rows: Rows, model: Votes, emit: Emit) -> Heads:
    """AdaBoost over classifiers of any kind; certain where the label of every member is."""
    heads = [emit_member(graph, rows, member, emit) for member in model.members]
    axis = last_axis(graph)
    classes = graph.constant(np.arange(model.outputs), "int64")
    sums: str | None = None
    for head, (own, other) in zip(heads, model.votes, strict=True):
        hit = graph.add("Equal", graph.add("Unsqueeze", present(head.class_index), axis), classes)
        vote = graph.add("Where", hit, graph.scalar(own), graph.scalar(other))
        sums = vote if sums is None else graph.add("Add", sums, vote)
    shares = graph.add("Div", present(sums), graph.scalar(model.divisor))
    index, p, raw, width = _decided(graph, shares, model.outputs, model.rule)
    batch = batch_of(heads)
    # Greater is false for a margin that is not a number, which a least of differences need not notice.
    certain = [
        graph.add("Greater", present(head.margin), present(head.bound))
        for head in heads
        if head.margin is not None
    ]
    if not certain:
        return Heads(index, p, raw, width, probability_error=EXP_SPREAD, max_batch=batch)
    known = reduce(lambda left, right: graph.add("And", left, right), certain)
    column = graph.add("Unsqueeze", known, axis)
    margin = graph.add("Where", known, graph.scalar(1.0), graph.scalar(0.0))

    def unless(error: float) -> Spread:
        return graph.add("Where", column, graph.scalar(error), graph.scalar(UNKNOWN))

    return Heads(
        index,
        p,
        raw,
        width,
        margin,
        graph.add("Mul", margin, graph.scalar(0.0)),
        largest_gamma(heads),
        score_error=unless(0.0),
        probability_error=unless(EXP_SPREAD),
        max_batch=batch,
    )


def emit_median(graph: Graph, rows: Rows, model: Median, emit: Emit) -> Heads:
    """The weighted median of regressors."""
    count = len(model.weights)
    error: Spread = 0.0
    batch: int | None
    if isinstance(model.answers, Forest):
        gathered, batch = emit_leaf_rows(graph, rows.value, model.answers)
        answers = graph.add("Squeeze", gathered, graph.constant(np.array([2]), "int64"))
    else:
        heads = [emit_member(graph, rows, member, emit) for member in model.answers]
        answers = join_columns(graph, [present(head.scores) for head in heads])
        error, batch = _largest(graph, [head.score_error for head in heads]), batch_of(heads)
    number = graph.constant(np.array([count]), "int64")
    ordered, places = graph.add_all("TopK", answers, number, outputs=2, axis=1, largest=0, sorted=1)
    weights = graph.add("Gather", graph.constant(model.weights, "float64"), places, axis=0)
    running = graph.add("CumSum", weights, graph.constant(np.array(1), "int64"))
    half = graph.add("Mul", column_of(graph, running, count - 1), graph.scalar(0.5))
    value = _first(graph, ordered, running, half)
    if not model.ties and error == 0.0:
        return Heads(None, None, value, 1, max_batch=batch)
    apart = _apart(graph, ordered, running, model)
    if error == 0.0:
        error = widened(
            graph, graph.add("Where", _tied(graph, ordered, count), apart, graph.scalar(0.0)), CARRIED
        )
    else:  # also where it is infinite: which member is chosen is then open too, however near each of them is
        error = widened(graph, total(graph, [apart, error]), CARRIED, LEAST)
    return Heads(None, None, value, 1, score_error=error, max_batch=batch)


def _first(graph: Graph, ordered: str, running: str, least: str) -> str:
    """The first of the `ordered` answers [N, M] at which the `running` weights reach `least`, [N, 1]."""
    reached = graph.cast(graph.add("GreaterOrEqual", running, least), "float64")
    place = graph.add("ArgMax", reached, axis=1, keepdims=1, select_last_index=0)
    return graph.add("GatherElements", ordered, place, axis=1)


def _apart(graph: Graph, ordered: str, running: str, model: Median) -> str:
    """How far apart the answers are that some order of additions could choose, [N, 1]."""
    weight = math.fsum(model.weights)
    slack = 4.0 * dot_product_gamma(len(model.weights)) * weight
    high, low = (
        _first(graph, ordered, running, graph.scalar(0.5 * weight + shift)) for shift in (slack, -slack)
    )
    return graph.add("Sub", high, low)


def _tied(graph: Graph, ordered: str, count: int) -> str:
    """Whether two answers of a row are equal, [N, 1]."""
    left, right = (
        graph.add("Gather", ordered, graph.constant(np.arange(start, start + count - 1), "int64"), axis=1)
        for start in (0, 1)
    )
    equal = graph.cast(graph.add("Equal", left, right), "float64")
    return graph.add(
        "Greater", graph.add("ReduceMax", equal, last_axis(graph), keepdims=1), graph.scalar(0.0)
    )


def _largest(graph: Graph, errors: Sequence[Spread]) -> Spread:
    constant = max((error for error in errors if not isinstance(error, str)), default=0.0)
    tensors = [error for error in errors if isinstance(error, str)]
    if not tensors or constant == UNKNOWN:
        return constant
    parts = tensors if constant == 0.0 else [*tensors, graph.scalar(constant)]
    return parts[0] if len(parts) == 1 else graph.add("Max", *parts)
