# SPDX-License-Identifier: Apache-2.0
"""Isolation forests: path lengths added in tree order, and their cut for the label, certified by a band."""

from __future__ import annotations

from ..models.types import Isolation, LabelRule
from .forests import emit_rows
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma
from .links import gap, label_index
from .spread import ROUNDING, as_bound

__all__ = ["emit_isolation"]


def emit_isolation(graph: Graph, x: str, model: Isolation) -> Heads:
    """`model` on `x` [N, F] of float64; class 1 is the inlier."""
    paths, batch = emit_rows(graph, x, model.forest)
    share = graph.add("Div", paths, graph.scalar(model.scale))
    power = graph.add("Pow", graph.scalar(2.0), graph.add("Neg", share))
    scores = graph.add("Sub", graph.add("Neg", power), graph.scalar(model.offset))
    index = label_index(graph, LabelRule("score_at_least", model.cut), scores=paths, probabilities=None)
    margin = gap(graph, graph.add("Sub", paths, graph.scalar(model.cut)), 1)
    # q 2⁻ᑫ ln 2 is at most 0.54, so an error of the share passes with about half of it.
    error = 2.0 * dot_product_gamma(len(model.forest.trees)) + ROUNDING
    return Heads(
        index,
        None,
        scores,
        1,
        margin,
        as_bound(graph, model.band, margin),
        model.band,
        score_error=error,
        max_batch=batch,
    )
