# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours, certain where no stored row that rounding could let in or out changes the answer.

With a = |x|, r = the largest |s| and γₙ as in `depickle.emit.linear`:

* Squared Euclidean distances are one dot product of F + 2 terms here, off by γ(2F+4) (a + r)². The original's are off
  by as much (brute force), by γ(F+3) (a + r)² (KD tree), or by 8γ(F+8) (a + r)² where a ball tree leaves out a node
  because the distance to its centre less its radius, squared, is rounded up. Two distances are in the order of the
  original if they differ by more than twice both: 32γ(2F+8) (a + r)², and at least 2⁻⁹⁶⁰, for what squares lose below
  the normal numbers. The sums and maxima of differences of the other metrics are off by less, with the norm that
  belongs to the metric.
* A neighbour whose distance is that much smaller than the first one left out counts in the original, too. The others,
  u of k, are open: any stored rows may stand in their places.
* Distances for weights are taken again from differences, off by γ(F+3) of themselves on either side; those of
  Euclidean brute force may be off by 2γ(2F+8) (a + r)² in the original, down to 0 and below.
"""

from __future__ import annotations

import math

import numpy as np

from ..models.stored_types import Neighbours
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma
from .links import gap, last_axis
from .spread import CARRIED, EXP_SPREAD, LEAST

__all__ = ["emit_neighbours"]

ROOM = 1.0 + 2.0**-40
TIE = 2.0**-14
"""What the place of a class takes from its votes: equal votes go to the first, and all sums stay exact."""

APART = 32.0
"""Twice what two distances may be off by, here and in any algorithm of the original, in units of γ (a + r)²."""

TINY = 2.0**-900
"""Squares below this are not relative to what they are squares of."""

LARGEST = 2.0**960
"""Squares of rows whose doubt is smaller are finite, and so are their sums."""

MAX_ELEMENTS = 1 << 24
"""Of one tensor in a batch, 128 MiB."""


def emit_neighbours(graph: Graph, x: str, model: Neighbours) -> Heads:
    """`model` on `x` [N, F] of float64."""
    stored, columns = model.rows.shape
    count = model.count
    distances, doubt = _distances(graph, x, model)
    taken = min(count + 1, stored)
    values, places = graph.add_pair(
        "TopK", distances, graph.constant(np.array([taken]), "int64"), axis=1, largest=0, sorted=1
    )
    first = graph.constant(np.arange(count), "int64")
    near, index = (graph.add("Gather", each, first, axis=1) for each in (values, places))
    if taken > count:
        after = graph.add("Gather", values, graph.constant(np.array([count]), "int64"), axis=1)
        inside = graph.add("Less", graph.add("Add", near, doubt), after)
        # Once for the order, once more for what either distance is off by.
        beyond = graph.add("Sub", graph.add("Sub", after, doubt), doubt)
    else:  # all rows are neighbours, unless distances overflow: the original then takes the first row k times
        finite = graph.add("Add", graph.add("Mul", near, graph.scalar(0.0)), doubt)
        inside = graph.add("Less", finite, graph.scalar(LARGEST))
        beyond = doubt
    axis = last_axis(graph)
    certain = graph.add("ReduceSum", graph.cast(inside, "float64"), axis, keepdims=1)
    unsure = graph.add("Sub", graph.scalar(float(count)), certain)
    batch = max(1, MAX_ELEMENTS // max(stored, count * max(columns, model.classes)))
    answers = graph.add("Gather", graph.constant(model.answers, "float64"), index, axis=0)
    gamma = APART * dot_product_gamma(2 * columns)
    if not model.by_distance:
        share = graph.add("Div", unsure, graph.scalar(float(count)))
        if model.classes == 0:
            total = graph.add("ReduceSum", answers, axis, keepdims=1)
            return _mean(graph, graph.add("Div", total, graph.scalar(float(count))), share, model, batch)
        hits = graph.cast(_of_class(graph, answers, model.classes), "float64")
        votes = graph.add("ReduceSum", hits, axis, keepdims=0)
        kept = graph.add("Mul", hits, graph.add("Unsqueeze", graph.cast(inside, "float64"), _third(graph)))
        sure = graph.add("ReduceSum", kept, axis, keepdims=0)
        ranked = graph.add("Sub", sure, graph.constant(np.arange(model.classes) * TIE, "float64"))
        return Heads(
            graph.add("ArgMax", votes, axis=1, keepdims=0, select_last_index=0),
            graph.add("Div", votes, graph.scalar(float(count))),
            None,
            0,
            gap(graph, ranked, model.classes),
            graph.add("Squeeze", unsure, axis),
            gamma,
            probability_error=graph.add("Add", share, graph.scalar(EXP_SPREAD)),
            max_batch=batch,
        )
    weights, low, high = _weights(graph, x, index, doubt, model)
    slack = _open_weight(graph, unsure, beyond, model)
    zero = graph.scalar(0.0)
    low, high = (graph.add("Where", inside, each, zero) for each in (low, high))
    changed = graph.add("ReduceSum", graph.add("Sub", high, low), axis, keepdims=1)
    least = graph.add("ReduceSum", low, axis, keepdims=1)
    share = graph.add("Div", graph.add("Add", changed, slack), least)
    share = graph.add("Mul", share, graph.scalar(CARRIED))
    one = graph.scalar(1.0)
    share = graph.add("Where", graph.add("Less", share, one), share, one)
    whole = graph.add("ReduceSum", weights, axis, keepdims=1)
    if model.classes == 0:
        total = graph.add("ReduceSum", graph.add("Mul", answers, weights), axis, keepdims=1)
        return _mean(graph, graph.add("Div", total, whole), share, model, batch)
    hit = _of_class(graph, answers, model.classes)
    votes, lows, highs = (_added(graph, hit, each) for each in (weights, low, high))
    label = graph.add("ArgMax", votes, axis=1, keepdims=0, select_last_index=0)
    own = graph.add(
        "Equal", graph.add("Unsqueeze", label, axis), graph.constant(np.arange(model.classes), "int64")
    )
    rival = graph.add("ReduceMax", graph.add("Where", own, zero, highs), axis, keepdims=1)
    against = graph.add("Add", rival, slack)
    rounding = graph.scalar(8.0 * dot_product_gamma(count))
    bound = graph.add("Add", against, graph.add("Mul", against, rounding))
    return Heads(
        label,
        graph.add("Div", votes, whole),
        None,
        0,
        graph.add("ReduceSum", graph.add("Where", own, lows, zero), axis, keepdims=0),
        graph.add("Squeeze", bound, axis),
        gamma,
        probability_error=graph.add("Add", share, graph.scalar(EXP_SPREAD)),
        max_batch=batch,
    )


def _distances(graph: Graph, x: str, model: Neighbours) -> tuple[str, str]:
    """Distances [N, S] (squares, if Euclidean), and by how much two have to differ to be in order, [N, 1]."""
    axis = last_axis(graph)
    rows = model.rows
    if model.metric == "euclidean":
        squares = np.array([math.fsum((row * row).tolist()) for row in rows])
        square = graph.add("ReduceSum", graph.add("Mul", x, x), axis, keepdims=1)
        one = graph.add("Add", graph.add("Mul", square, graph.scalar(0.0)), graph.scalar(1.0))
        table = np.vstack([-2.0 * rows.T, np.ones((1, len(rows))), squares[np.newaxis]])
        wide = graph.add("Concat", x, square, one, axis=1)
        distances = graph.add("MatMul", wide, graph.constant(table, "float64"))
        largest = math.sqrt(float(squares.max())) * ROOM
        reach = graph.add("Add", graph.add("Sqrt", square), graph.scalar(largest))
        unit = APART * CARRIED * dot_product_gamma(2 * rows.shape[1])
        doubt = graph.add("Mul", graph.add("Mul", reach, reach), graph.scalar(unit))
        return distances, graph.add("Max", doubt, graph.scalar(LEAST))
    join = "Add" if model.metric == "manhattan" else "Max"
    distances = ""
    for column in range(rows.shape[1]):
        value = graph.add("Gather", x, graph.constant(np.array([column]), "int64"), axis=1)
        stored = graph.constant(rows[np.newaxis, :, column], "float64")
        apart = graph.add("Abs", graph.add("Sub", value, stored))
        distances = graph.add(join, distances, apart) if distances else apart
    reduced = "ReduceSum" if model.metric == "manhattan" else "ReduceMax"
    size = graph.add(reduced, graph.add("Abs", x), axis, keepdims=1)
    sizes = np.abs(rows)
    largest = float((sizes.sum(axis=1) if model.metric == "manhattan" else sizes.max(axis=1)).max()) * ROOM
    reach = graph.add("Add", size, graph.scalar(largest))
    unit = APART * CARRIED * dot_product_gamma(2 * rows.shape[1])
    return distances, graph.add("Mul", reach, graph.scalar(unit))


def _third(graph: Graph) -> str:
    return graph.constant(np.array([2]), "int64")


def _of_class(graph: Graph, answers: str, classes: int) -> str:
    """Whether each neighbour is of each class, bool [N, k, C]."""
    wide = graph.add("Unsqueeze", answers, _third(graph))
    return graph.add("Equal", wide, graph.constant(np.arange(classes), "float64"))


def _added(graph: Graph, hit: str, weights: str) -> str:
    """Weights of each class, [N, C]."""
    wide = graph.add("Unsqueeze", weights, _third(graph))
    return graph.add(
        "ReduceSum", graph.add("Where", hit, wide, graph.scalar(0.0)), last_axis(graph), keepdims=0
    )


def _weights(graph: Graph, x: str, index: str, doubt: str, model: Neighbours) -> tuple[str, str, str]:
    """Weights [N, k] of the neighbours, and the least and the most that each may have in the original."""
    axis, third = last_axis(graph), _third(graph)
    stored = graph.add("Gather", graph.constant(model.rows, "float64"), index, axis=0)
    apart = graph.add("Sub", graph.add("Unsqueeze", x, axis), stored)
    if model.metric == "euclidean":
        distance = graph.add("ReduceSum", graph.add("Mul", apart, apart), third, keepdims=0)
    else:
        reduced = "ReduceSum" if model.metric == "manhattan" else "ReduceMax"
        distance = graph.add(reduced, graph.add("Abs", apart), third, keepdims=0)
    one, zero = graph.scalar(1.0), graph.scalar(0.0)
    same = graph.cast(graph.add("Equal", distance, zero), "float64")
    met = graph.add("Greater", graph.add("ReduceMax", same, axis, keepdims=1), zero)
    weights = graph.add("Where", met, same, graph.add("Div", one, _root(graph, distance, model)))
    # Differences and not factors next to 1, which onnxruntime drops where they are 1 in float32.
    relative = graph.scalar(8.0 * dot_product_gamma(model.rows.shape[1]))
    if model.expanded:  # `doubt` is 16 times as much as the original's squares are off by
        step = graph.add("Add", graph.add("Mul", distance, relative), doubt)
        smaller = graph.add("Max", graph.add("Sub", distance, step), zero)
        low = graph.add("Div", one, _root(graph, graph.add("Add", distance, step), model))
        return weights, low, graph.add("Div", one, _root(graph, smaller, model))
    step = graph.add("Mul", weights, relative)
    high = graph.add("Add", weights, step)
    positive = graph.add("Greater", distance, zero)
    blurred = graph.add("And", graph.add("Less", distance, graph.scalar(TINY)), positive)
    return weights, graph.add("Sub", weights, step), graph.add("Where", blurred, graph.scalar(math.inf), high)


def _root(graph: Graph, distance: str, model: Neighbours) -> str:
    return graph.add("Sqrt", distance) if model.metric == "euclidean" else distance


def _open_weight(graph: Graph, unsure: str, beyond: str, model: Neighbours) -> str:
    """The most that open neighbours may weigh together, [N, 1]: none is nearer than `beyond`."""
    zero = graph.scalar(0.0)
    nearest = _root(graph, graph.add("Max", beyond, zero), model)
    most = graph.add("Mul", graph.add("Div", unsure, nearest), graph.scalar(CARRIED))
    return graph.add("Where", graph.add("Greater", unsure, zero), most, zero)


def _mean(graph: Graph, mean: str, share: str, model: Neighbours, batch: int) -> Heads:
    """A mean is off by its open share of the spread of all values, and by the rounding of its sums."""
    spread = float(model.answers.max() - model.answers.min()) * ROOM
    rounding = 8.0 * dot_product_gamma(model.count) * float(np.abs(model.answers).max())
    error = graph.add("Add", graph.add("Mul", share, graph.scalar(spread)), graph.scalar(rounding))
    # A mean that is no number, of distances that overflow, has no bound.
    error = graph.add("Add", error, graph.add("Mul", mean, graph.scalar(0.0)))
    return Heads(None, None, mean, 1, score_error=error, max_batch=batch)
