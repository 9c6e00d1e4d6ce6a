# SPDX-License-Identifier: Apache-2.0
"""Forests: each tree once, its leaf number as its own target; the class rows are gathered and added in tree order.

``TreeEnsemble`` gives, per tree, the number of the leaf reached (exact in the element type). ``Gather`` fetches that
leaf's row, ``CumSum`` adds the rows from the first tree on (its order is defined, that of ``ReduceSum`` is not), and
the last entry is divided by the number of trees: the operations of the original, in its order.
"""

from __future__ import annotations

import numpy as np

from ..models.types import Forest
from .ensembles import EnsembleTree, add_ensemble
from .graph import Graph
from .interface import Heads
from .links import label_index

__all__ = ["GATHER_BUDGET", "emit_forest", "emit_rows"]

GATHER_BUDGET = 32 * 1024 * 1024
"""Bytes that the gathered rows (rows × trees × classes × 8) of one run should not exceed; it fits common caches."""


def emit_forest(graph: Graph, x: str, model: Forest) -> Heads:
    """`model` on `x` [N, F] of float64."""
    total, batch = emit_rows(graph, x, model)
    if model.rule is None:
        return Heads(None, None, total, 1, max_batch=batch)
    index = label_index(graph, model.rule, scores=None, probabilities=total)
    return Heads(index, total, None, 0, max_batch=batch)


def emit_rows(graph: Graph, x: str, model: Forest) -> tuple[str, int]:
    """The rows of the leaves reached, added and divided, [N, outputs]; and the batch that fits `GATHER_BUDGET`."""
    if model.single:
        x = graph.cast(graph.cast(x, "float32"), "float64")
    rows = [tree.value[tree.is_leaf] for tree in model.trees]
    starts = np.cumsum([0, *(len(part) for part in rows)])
    numbered = [
        EnsembleTree(tree, np.arange(starts[place], starts[place + 1], dtype=np.float64), place)
        for place, tree in enumerate(model.trees)
    ]
    leaf = add_ensemble(graph, x, numbered, targets=len(numbered), element="float64")
    table = graph.constant(np.concatenate(rows), "float64")
    gathered = graph.add("Gather", table, graph.cast(leaf, "int64"), axis=0)
    if len(numbered) > 1:
        sums = graph.add("CumSum", gathered, graph.constant(np.array(1), "int64"))
        last = graph.constant(np.array(len(numbered) - 1), "int64")
        total = graph.add("Gather", sums, last, axis=1)
    else:
        total = graph.add("Squeeze", gathered, graph.constant(np.array([1]), "int64"))
    if model.divisor is not None:
        total = graph.add("Div", total, graph.scalar(float(model.divisor)))
    return total, max(1, GATHER_BUDGET // (8 * len(numbered) * model.outputs))
