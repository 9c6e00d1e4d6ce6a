# SPDX-License-Identifier: Apache-2.0
"""Boosting that goes on from another model: each row's own start, then its leaves, added in tree order by `CumSum`.

One `TreeEnsemble` node can start its sums at constants only. Here it gives leaf numbers, as for forests; the start
and the leaves of one score stand side by side, and the last running sum is the score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..models.types import Continued, Forest, Predictor
from .boosted import emit_decision
from .forests import emit_leaf_rows
from .graph import Graph
from .interface import Heads
from .links import join_columns

__all__ = ["emit_continued"]


def emit_continued(
    graph: Graph, x: str, model: Continued, emit: Callable[[Graph, str, Predictor], Heads]
) -> Heads:
    """`model` on `x` [N, F] of float64."""
    single = graph.cast(graph.cast(x, "float32"), "float64")
    head = emit(graph, single, model.init)
    width = len(model.stages.baseline)
    start = _start(graph, head, model, width)
    forest = Forest(model.stages.trees, 1, None, None)
    gathered, batch = emit_leaf_rows(graph, single, forest)
    leaves = graph.add("Squeeze", gathered, graph.constant(np.array([2]), "int64"))
    sums = []
    for column in range(width):
        own = [place for place, target in enumerate(model.stages.target) if target == column]
        parts = [start, leaves] if width == 1 else [_take(graph, start, [column]), _take(graph, leaves, own)]
        running = graph.add(
            "CumSum", graph.add("Concat", *parts, axis=1), graph.constant(np.array(1), "int64")
        )
        sums.append(_take(graph, running, [len(own)]))
    heads = emit_decision(graph, join_columns(graph, sums), model.stages)
    batches = [size for size in (batch, head.max_batch) if size is not None]
    return Heads(
        heads.class_index,
        heads.probabilities,
        heads.scores,
        heads.scores_width,
        heads.margin,
        heads.bound,
        heads.gamma,
        heads.score_error,
        heads.probability_error,
        min(batches),
    )


def _take(graph: Graph, values: str, columns: list[int]) -> str:
    return graph.add("Gather", values, graph.constant(np.array(columns), "int64"), axis=1)


def _start(graph: Graph, head: Heads, model: Continued, width: int) -> str:
    """[N, width]."""
    if model.start == "value":
        if head.scores is None:
            raise TypeError("the reader admitted an init without a value")
        return head.scores
    if head.probabilities is None:
        raise TypeError("the reader admitted an init without probabilities")
    limits = (graph.constant(np.array(bound), "float64") for bound in (model.eps, 1.0 - model.eps))
    if model.start in ("log_odds", "half_log_odds"):
        p = graph.add("Clip", _take(graph, head.probabilities, [1]), *limits)
        odds = graph.add("Log", graph.add("Div", p, graph.add("Sub", graph.scalar(1.0), p)))
        return odds if model.start == "log_odds" else graph.add("Mul", graph.scalar(0.5), odds)
    logs = graph.add("Log", graph.add("Clip", head.probabilities, *limits))
    if model.start == "log":
        return logs
    total = _take(graph, logs, [0])
    for column in range(1, width):
        total = graph.add("Add", total, _take(graph, logs, [column]))
    return graph.add("Sub", logs, graph.add("Div", total, graph.scalar(float(width))))
