# SPDX-License-Identifier: Apache-2.0
"""Trees behind columns that are not exact: a row is certified where no threshold lies within the error of a column.

Say a column is x here and v in the original, both doubles, with |x - v| <= e. Then fl(x - e) <= v <= fl(x + e), as
rounding to nearest is monotone and leaves v itself alone. What the trees do to a value first (rounding to float32,
LightGBM's zeros) is monotone too, and so is the comparison with a threshold. So where fl(x - e) and fl(x + e) compare
alike with every threshold of the column, x and v take the same branch at each of its nodes, and the ensemble reaches
the same leaves from both.

All thresholds of a column are compared at once, by the trees' own kernel in their own element type: a balanced tree
over the sorted thresholds counts those that a value lies beyond. The counts of the lower ends minus those of the
upper ends add up to 0 only if they are equal column by column, because no count falls from the lower to the upper
end; whole numbers of this size are added exactly in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from ..models.certainty import Doubt, is_doubtful, touched
from ..models.types import Boosted, FloatArray, Forest, Tree
from .boosted import narrowed
from .certain import Rows, all_flags
from .ensembles import EnsembleTree, add_ensemble
from .forests import compared_trees, rounded
from .graph import Element, Graph
from .interface import Heads
from .links import last_axis
from .spread import Spread

__all__ = ["Cuts", "all_paths", "boosted_cuts", "certain_paths", "forest_cuts", "hold_paths"]


@dataclass(frozen=True, eq=False)
class Cuts:
    """What an ensemble compares its columns with.

    Attributes:
        columns: those that are compared, ascending.
        thresholds: of each of them, ascending and distinct.
        element: type that the trees compare in.
        comparison: ``<=`` or ``<``.
        narrow: what the trees do to a value before they compare it: monotone, whatever the column.
    """

    columns: tuple[int, ...]
    thresholds: tuple[FloatArray, ...]
    element: Element
    comparison: str
    narrow: Callable[[Graph, str], str]


def forest_cuts(model: Forest, doubt: Doubt) -> Cuts:
    """The thresholds of `model` in the columns that `doubt` names, rounded down to float32 as in the forest."""
    trees, element = compared_trees(model)
    return _cuts(trees, doubt, element, "<=", lambda graph, x: rounded(graph, x, model, element))


def boosted_cuts(model: Boosted, doubt: Doubt) -> Cuts:
    """The thresholds of `model` in the columns that `doubt` names; sets of categories stand on other columns."""
    return _cuts(
        model.trees, doubt, model.precision, model.comparison, lambda graph, x: narrowed(graph, x, model)
    )


def _cuts(
    trees: Sequence[Tree],
    doubt: Doubt,
    element: Element,
    comparison: str,
    narrow: Callable[[Graph, str], str],
) -> Cuts:
    features = [np.zeros(0, dtype=np.int64)]
    thresholds = [np.zeros(0)]
    for tree in trees:
        numeric = ~tree.is_leaf
        numeric[list(tree.members)] = False
        features.append(tree.feature[numeric])
        thresholds.append(tree.threshold[numeric])
    feature, threshold = np.concatenate(features), np.concatenate(thresholds)
    columns = tuple(
        int(column) for column in np.unique(feature) if is_doubtful(touched(doubt, [int(column)]))
    )
    return Cuts(
        columns,
        tuple(np.unique(threshold[feature == column] + 0.0) for column in columns),  # + 0.0: one zero
        element,
        comparison,
        narrow,
    )


def certain_paths(graph: Graph, rows: Rows, cuts: Cuts) -> str | None:
    """Whether every tree takes the original's path, bool [N]; None where no doubtful column is compared."""
    if rows.error is None or not cuts.columns:
        return None
    chosen = graph.constant(np.array(cuts.columns), "int64")
    x = graph.add("Gather", rows.value, chosen, axis=1)
    error = graph.add("Gather", rows.error, chosen, axis=1)
    ends = graph.add("Concat", graph.add("Sub", x, error), graph.add("Add", x, error), axis=1)
    counters = []
    for place, thresholds in enumerate(cuts.thresholds):
        counter = _counter(thresholds, place)
        counters.append(EnsembleTree(counter, counter.value[counter.is_leaf, 0], 0))
        upper = replace(counter, feature=np.where(counter.is_leaf, -1, place + len(cuts.columns)))
        counters.append(EnsembleTree(upper, 0.0 - counter.value[counter.is_leaf, 0], 0))
    between = add_ensemble(
        graph, cuts.narrow(graph, ends), counters, targets=1, element=cuts.element, comparison=cuts.comparison
    )
    apart = graph.add("Equal", between, graph.scalar(0.0, cuts.element))
    alike = graph.add("Squeeze", apart, last_axis(graph))
    bounded = graph.add("Less", error, graph.scalar(float("inf")))
    if rows.missing:
        bounded = graph.add("Or", bounded, graph.add("IsNaN", x))
    return graph.add("And", alike, all_flags(graph, bounded))


def hold_paths(graph: Graph, heads: Heads, certain: str | None) -> Heads:
    """`heads` of bit-exact trees, certain of nothing in rows where `certain` is not set."""
    if certain is None:
        return heads
    column = graph.add("Unsqueeze", certain, last_axis(graph))
    never = graph.scalar(float("inf"))

    def open_ended(error: Spread) -> str:
        return graph.add("Where", column, error if isinstance(error, str) else graph.scalar(error), never)

    bit_equal = heads.score_error == 0.0 and (heads.probabilities is None or heads.probability_error == 0.0)
    held = replace(
        heads,
        paths=certain if bit_equal else None,
        score_error=open_ended(heads.score_error),
        probability_error=open_ended(heads.probability_error),
    )
    if heads.class_index is None:
        return held
    zero = graph.scalar(0.0)
    if heads.margin is None or heads.bound is None:
        margin = graph.add("Where", certain, graph.scalar(1.0), zero)
        return replace(held, margin=margin, bound=graph.add("Mul", margin, zero), gamma=heads.gamma or 0.0)
    return replace(held, margin=graph.add("Where", certain, heads.margin, zero))


def all_paths(graph: Graph, heads: Sequence[Heads], errors: Sequence[Spread]) -> str | None:
    """Where all of `heads` are bit-equal, [N]; None where some of them have errors of another kind."""
    flags = [head.paths for head in heads if head.paths is not None]
    exact = all(head.paths is not None or error == 0.0 for head, error in zip(heads, errors, strict=True))
    return reduce(lambda left, right: graph.add("And", left, right), flags) if flags and exact else None


def _counter(thresholds: FloatArray, column: int) -> Tree:
    """A balanced tree whose leaf says how many of `thresholds` a value of `column` lies beyond; nodes in preorder."""
    feature: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[float] = []

    def grow(low: int, high: int) -> int:
        node = len(feature)
        inner = low < high
        middle = (low + high) // 2
        feature.append(column if inner else -1)
        threshold.append(float(thresholds[middle]) if inner else float("nan"))
        value.append(0.0 if inner else float(low))
        left.append(-1)
        right.append(-1)
        if inner:
            left[node] = grow(low, middle)
            right[node] = grow(middle + 1, high)
        return node

    grow(0, len(thresholds))
    return Tree(
        feature=np.array(feature, dtype=np.int64),
        threshold=np.array(threshold),
        left=np.array(left, dtype=np.int64),
        right=np.array(right, dtype=np.int64),
        missing_left=np.zeros(len(feature), dtype=np.bool_),
        value=np.array(value)[:, np.newaxis],
    )
