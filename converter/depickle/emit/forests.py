# SPDX-License-Identifier: Apache-2.0
"""Forests: each tree once, its leaf number as its own target; the class rows are gathered and added in tree order.

``TreeEnsemble`` gives, per tree, the number of the row that the leaf reached answers with. scikit-learn compares
float32(x) with a double t; for a float32 value v, v <= t says the same as v <= the largest float32 number not above
t. So the node works on float32 alone, with thresholds rounded down, as long as the numbers are exact there too.
``Gather`` fetches each leaf's row, ``CumSum`` adds the rows from the first tree on (its order is defined, that of
``ReduceSum`` is not), and the last entry is divided by the number of trees: the operations of the original, in its
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..models.types import FloatArray, Forest, Tree
from .ensembles import EnsembleTree, add_ensemble
from .graph import Element, Graph
from .interface import Heads
from .links import label_index

__all__ = [
    "GATHER_BUDGET",
    "compared_trees",
    "emit_forest",
    "emit_leaf_rows",
    "emit_leaves",
    "emit_rows",
    "rounded",
]

GATHER_BUDGET = 32 * 1024 * 1024
"""Bytes that the gathered rows (rows × trees × classes × 8) of one run should not exceed; it fits common caches."""

EXACT_SINGLE = 2**24
"""Whole numbers up to here are exact in float32; a forest with more leaves is compared in double."""


def emit_forest(graph: Graph, x: str, model: Forest) -> Heads:
    """`model` on `x` [N, F] of float64."""
    total, batch = emit_rows(graph, x, model)
    if model.rule is None:
        return Heads(None, None, total, 1, max_batch=batch)
    index = label_index(graph, model.rule, scores=None, probabilities=total)
    return Heads(index, total, None, 0, max_batch=batch)


def emit_rows(graph: Graph, x: str, model: Forest) -> tuple[str, int]:
    """The rows of the leaves reached, added and divided, [N, outputs]; and the batch that fits `GATHER_BUDGET`."""
    gathered, batch = emit_leaf_rows(graph, x, model)
    count = len(model.trees)
    if count > 1:
        sums = graph.add("CumSum", gathered, graph.constant(np.array(1), "int64"))
        last = graph.constant(np.array(count - 1), "int64")
        total = graph.add("Gather", sums, last, axis=1)
    else:
        total = graph.add("Squeeze", gathered, graph.constant(np.array([1]), "int64"))
    if model.divisor is not None:
        total = graph.add("Div", total, graph.scalar(float(model.divisor)))
    return total, batch


def emit_leaf_rows(graph: Graph, x: str, model: Forest) -> tuple[str, int]:
    """The row of the leaf reached in each tree, [N, trees, outputs]; and the batch that fits `GATHER_BUDGET`."""
    rows = [tree.value[tree.is_leaf] for tree in model.trees]
    starts = np.cumsum([0, *(len(part) for part in rows)])
    trees, element = compared_trees(model)
    x = rounded(graph, x, model, element)
    distinct, number = _distinct(np.concatenate(rows))
    numbered = [
        EnsembleTree(tree, number[starts[place] : starts[place + 1]].astype(np.float64), place)
        for place, tree in enumerate(trees)
    ]
    leaf = add_ensemble(graph, x, numbered, targets=len(numbered), element=element)
    table = graph.constant(distinct, "float64")
    gathered = graph.add("Gather", table, graph.cast(leaf, "int64"), axis=0)
    return gathered, max(1, GATHER_BUDGET // (8 * len(numbered) * model.outputs))


def _distinct(rows: FloatArray) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """The different rows in the order in which they first come, and the place of each row among them.

    By their bits, so that 0.0 and -0.0 are two. Leaves share most of their rows, and a small table stays in a cache.
    """
    bits = np.ascontiguousarray(rows).view(np.int64)
    _, first, place = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rows[first[order]], rank[place.reshape(-1)]


def rounded(graph: Graph, x: str, model: Forest, element: Element) -> str:
    """`x` as the trees of `model` compare it, in the type that they compare in."""
    if not model.single:
        return x
    x = graph.cast(x, "float32")
    return graph.cast(x, "float64") if element == "float64" else x


def emit_leaves(graph: Graph, x: str, trees: Sequence[Tree]) -> str:
    """1 in the column of each leaf reached, 0 in the others, [N, leaves] of float64; both are exact in float32."""
    start = 0
    placed = []
    for tree in trees:
        count = int(np.count_nonzero(tree.is_leaf))
        single = replace(tree, threshold=_rounded_down(tree))
        placed.append(EnsembleTree(single, np.ones(count), np.arange(start, start + count)))
        start += count
    reached = add_ensemble(graph, graph.cast(x, "float32"), placed, targets=start, element="float32")
    return graph.cast(reached, "float64")


def compared_trees(model: Forest) -> tuple[tuple[Tree, ...], Element]:
    """The trees with thresholds rounded down to float32 where that decides the same, and the type to compare in."""
    leaves = sum(int(np.count_nonzero(tree.is_leaf)) for tree in model.trees)
    if not model.single or leaves > EXACT_SINGLE:
        return model.trees, "float64"
    return tuple(replace(tree, threshold=_rounded_down(tree)) for tree in model.trees), "float32"


def _rounded_down(tree: Tree) -> FloatArray:
    """For each inner node the largest float32 number, infinities included, that is not above its threshold."""
    exact = np.where(tree.is_leaf, 0.0, tree.threshold)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
        below = np.nextafter(near, np.float32(-np.inf))
    result: FloatArray = np.where(near.astype(np.float64) > exact, below, near).astype(np.float64)
    return result
