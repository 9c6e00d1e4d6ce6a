# SPDX-License-Identifier: Apache-2.0
"""Compositions: the members' answers combined by the operations of the original, in the order of the members.

Where a member's answer is not bit-equal, the label carries a margin: how far the deciding quantity is from a tie, and
how far the members' errors may move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..models.types import (
    Averaged,
    Calibrated,
    HardVote,
    Linear,
    Stacked,
    Thresholded,
)
from .certain import Rows
from .composing import Emit, batch_of, column_of, emit_member, largest_gamma, present, response_of, share
from .graph import Graph
from .interface import Heads
from .isotonic import emit_curve, share_error
from .linear import dot_product_gamma, emit_linear
from .links import gap, join_columns, label_index, last_axis, two_columns
from .paths import all_paths, hold_paths
from .spread import CARRIED, EXP_SPREAD, LEAST, ROUNDING, UNKNOWN, Spread, as_bound, total, widened
from .temperature import emit_tempered

__all__ = [
    "emit_averaged",
    "emit_calibrated",
    "emit_hard_vote",
    "emit_stacked",
    "emit_thresholded",
]


def emit_averaged(graph: Graph, rows: Rows, model: Averaged, emit: Emit) -> Heads:
    """Soft voting, bagging and means."""
    heads = [emit_member(graph, rows, member, emit) for member in model.members]
    weights = model.weights or (1.0,) * len(heads)
    sums: str | None = None
    answers: list[str] = []
    errors: list[Spread] = []
    for head, member, weight in zip(heads, model.members, weights, strict=True):
        answer = present(head.scores if model.rule is None else head.probabilities)
        if model.rule is not None:
            answer = _spread_out(graph, answer, member.places, model.outputs)
        if model.weights is not None:
            answer = graph.add("Mul", answer, graph.scalar(weight))
        sums = answer if sums is None else graph.add("Add", sums, answer)
        answers.append(answer)
        error = head.score_error if model.rule is None else head.probability_error
        errors.append(widened(graph, error, abs(weight / model.divisor)))
    mean = graph.add("Div", present(sums), graph.scalar(model.divisor))
    error = total(graph, errors)
    if model.rule is None:
        if isinstance(error, str):  # numbers that differ are rounded differently once more
            factor = 2.0 * dot_product_gamma(len(heads)) / abs(model.divisor)
            sizes = [graph.add("Abs", answer) for answer in answers]
            error = total(graph, [error, widened(graph, str(total(graph, sizes)), factor)])
            error = widened(graph, error, CARRIED, LEAST)
        return Heads(None, None, mean, 1, score_error=error, max_batch=batch_of(heads))
    index = label_index(graph, model.rule, scores=None, probabilities=mean)
    exact = Heads(index, mean, None, 0, max_batch=batch_of(heads))
    if model.rule.exact and error == 0.0:
        return exact
    paths = all_paths(graph, heads, [head.probability_error for head in heads])
    if paths is not None:
        return hold_paths(graph, exact, paths)
    error = widened(graph, error, 1.0, ROUNDING)
    margin = gap(graph, mean, model.outputs)
    bound = as_bound(graph, widened(graph, error, 2.0), margin)
    return Heads(
        index, mean, None, 0, margin, bound, ROUNDING, probability_error=error, max_batch=batch_of(heads)
    )


def _spread_out(graph: Graph, p: str, places: tuple[int, ...], outputs: int) -> str:
    """Columns of a member's classes at their places; 0 for classes that the member never saw."""
    if places == tuple(range(outputs)):
        return p
    zero = graph.add("Mul", column_of(graph, p, 0), graph.scalar(0.0))
    order = [places.index(place) if place in places else len(places) for place in range(outputs)]
    wide = graph.add("Concat", p, zero, axis=1)
    return graph.add("Gather", wide, graph.constant(np.array(order), "int64"), axis=1)


def emit_hard_vote(graph: Graph, rows: Rows, model: HardVote, emit: Emit) -> Heads:
    """Votes counted per class in the order of the members."""
    heads = [emit_member(graph, rows, member, emit) for member in model.members]
    weights = model.weights or (1.0,) * len(heads)
    axis = last_axis(graph)
    votes: str | None = None
    for head, member, weight in zip(heads, model.members, weights, strict=True):
        table = graph.constant(np.array(member.places), "int64")
        index = graph.add("Unsqueeze", graph.add("Gather", table, present(head.class_index), axis=0), axis)
        hit = graph.add("Equal", index, graph.constant(np.arange(model.outputs), "int64"))
        vote = graph.add("Where", hit, graph.scalar(weight), graph.scalar(0.0))
        votes = vote if votes is None else graph.add("Add", votes, vote)
    index = graph.add("ArgMax", present(votes), axis=1, keepdims=0, select_last_index=0)
    doubtful = [head for head in heads if head.margin is not None]
    if not doubtful:
        return Heads(index, None, None, 0, max_batch=batch_of(heads))
    # Certain where every member is: the least of (margin - bound) exceeds 0. onnxruntime's minimum may pass over NaN.
    slack = []
    for head in doubtful:
        pair = present(head.margin), present(head.bound)
        certain = graph.add("Where", graph.add("Greater", *pair), graph.add("Sub", *pair), graph.scalar(0.0))
        slack.append(graph.add("Unsqueeze", certain, axis))
    margin = graph.add("ReduceMin", join_columns(graph, slack), axis, keepdims=0)
    return Heads(
        index,
        None,
        None,
        0,
        margin,
        as_bound(graph, 0.0, margin),
        largest_gamma(heads),
        max_batch=batch_of(heads),
    )


_ABOVE_ONE = 1.0 + 1e-5  # calibration.py: probabilities that minimally exceed 1 become 1


def emit_calibrated(graph: Graph, rows: Rows, model: Calibrated, emit: Emit) -> Heads:
    """Platt scaling, isotonic calibration or a temperature, of one member."""
    head = emit_member(graph, rows, model.member, emit)
    answers, error = response_of(graph, head, model.response)
    one = graph.scalar(1.0)
    if model.temperature is not None:
        p, off = emit_tempered(graph, answers, error, model, model.temperature)
        return Heads(None, _at_most_one(graph, p), None, 0, probability_error=off, max_batch=head.max_batch)
    columns: dict[int, str] = {}
    spread: Spread
    for source, place in enumerate(model.places):
        # A binary member has one score, or the probability of its second class.
        column = 1 if model.outputs == 2 and model.response == "probabilities" else source
        response = column_of(graph, answers, column)
        if model.curves:
            columns[place] = emit_curve(graph, response, model.curves[source])
            continue
        slope, offset = (graph.scalar(part[source]) for part in (model.slopes, model.offsets))
        power = graph.add("Add", graph.add("Mul", slope, response), offset)
        columns[place] = graph.add("Div", one, graph.add("Add", one, graph.add("Exp", power)))
    if model.curves:
        ordered = [columns[1]] if model.outputs == 2 else [columns[place] for place in range(model.outputs)]
        spread = share_error(graph, error, model.curves, ordered)
    else:
        spread = widened(graph, error, 4.0 * max(abs(slope) for slope in model.slopes), EXP_SPREAD)
    if model.outputs == 2:
        p = two_columns(graph, columns[1], "float64")
    else:
        p = share(graph, [columns[place] for place in range(model.outputs)], uniform=True)
    return Heads(None, _at_most_one(graph, p), None, 0, probability_error=spread, max_batch=head.max_batch)


def _at_most_one(graph: Graph, p: str) -> str:
    one = graph.scalar(1.0)
    over = graph.add(
        "And", graph.add("Greater", p, one), graph.add("LessOrEqual", p, graph.scalar(_ABOVE_ONE))
    )
    return graph.add("Where", over, one, p)


def emit_thresholded(graph: Graph, rows: Rows, model: Thresholded, emit: Emit) -> Heads:
    """A cut on one member's response."""
    head = emit_member(graph, rows, model.member, emit)
    answers, error = response_of(graph, head, model.response)
    if model.response == "probabilities":
        value = column_of(graph, answers, model.positive)
    else:
        value = answers if model.positive == 1 else graph.add("Neg", answers)
    cut = graph.scalar(model.cut)
    squeezed = graph.add("Squeeze", value, last_axis(graph))
    reached = graph.cast(graph.add("GreaterOrEqual", squeezed, cut), "int64")
    table = graph.constant(np.array([1 - model.positive, model.positive]), "int64")
    index = graph.add("Gather", table, reached, axis=0)
    margin = bound = gamma = None
    paths = all_paths(graph, [head], [error])
    if paths is not None:
        exact = replace(
            head, class_index=index, margin=None, bound=None, score_error=0.0, probability_error=0.0
        )
        return hold_paths(graph, exact, paths)
    if error != 0.0:
        margin = graph.add("Abs", graph.add("Sub", squeezed, cut))
        bound = as_bound(graph, widened(graph, error, 1.0, ROUNDING), margin)
        gamma = head.gamma or ROUNDING
    return Heads(
        index,
        head.probabilities,
        head.scores,
        head.scores_width,
        margin,
        bound,
        gamma,
        head.score_error,
        head.probability_error,
        head.max_batch,
    )


def emit_stacked(graph: Graph, rows: Rows, model: Stacked, emit: Emit) -> Heads:
    """Members side by side in front of a final estimator."""
    heads = [emit_member(graph, rows, member, emit) for member in model.members]
    columns: list[str] = []
    errors: list[Spread] = []
    tables = model.labels or (None,) * len(heads)
    for head, response, table in zip(heads, model.responses, tables, strict=True):
        if table is not None:
            answers, error = _labels(graph, head, table)
        else:
            answers, error = response_of(graph, head, response)
            if response == "probabilities" and model.drop_first:
                answers = column_of(graph, answers, 1)
        columns.append(answers)
        errors.append(error)
    if model.passthrough:
        columns.append(rows.value)
    joined = join_columns(graph, columns)
    if rows.error is None and isinstance(model.final, Linear):
        return emit_linear(graph, joined, model.final, total(graph, errors))
    if rows.error is None and all(error == 0.0 for error in errors):
        return emit(graph, Rows(joined), model.final)
    return emit(graph, _answers_as_rows(graph, rows, joined, columns, errors), model.final)


def _answers_as_rows(
    graph: Graph, rows: Rows, joined: str, columns: Sequence[str], errors: Sequence[Spread]
) -> Rows:
    """Members' answers, each entry with the error of its member; the input beside them keeps its own."""
    spread = []
    for values, error in zip(columns, errors, strict=False):
        nothing = graph.add("Mul", values, graph.scalar(0.0))
        offset = error if isinstance(error, str) else graph.scalar(error)
        spread.append(graph.add("Add", nothing, offset))
    if len(columns) > len(errors):
        spread.append(rows.error or graph.add("Mul", rows.value, graph.scalar(0.0)))
    return Rows(joined, join_columns(graph, spread), doubt=True, missing=False)


def _labels(graph: Graph, head: Heads, table: tuple[float, ...]) -> tuple[str, Spread]:
    """A member's label as a number, [N, 1]; where the label is not certain, nothing that follows is."""
    axis = last_axis(graph)
    labels = graph.add("Gather", graph.constant(table, "float64"), present(head.class_index), axis=0)
    column = graph.add("Unsqueeze", labels, axis)
    if head.margin is None or head.bound is None:
        return column, 0.0
    certain = graph.add("Unsqueeze", graph.add("Greater", head.margin, head.bound), axis)
    return column, graph.add("Where", certain, graph.scalar(0.0), graph.scalar(UNKNOWN))
