# SPDX-License-Identifier: Apache-2.0
"""Category sets of trees as columns of their own: 0 where the number is in the set, 1 where it is not, NaN for NaN.

`TreeEnsemble` has a mode for sets, but its kernel cuts what it compares to a whole number, and the ONNX gate refuses
it. One `Gather` a column looks the number up in a table with a row for each category and a column for each distinct
set; the trees then ask whether that column is at most one half, and missing values keep their direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..models.types import Tree
from .graph import Element, Graph

__all__ = ["add_category_columns"]

_HALF = 0.5


def add_category_columns(
    graph: Graph, x: str, trees: Sequence[Tree], columns: int, element: Element
) -> tuple[str, tuple[Tree, ...]]:
    """`x` with a column for each distinct set behind its `columns` columns, and the trees that ask these columns."""
    found: dict[int, dict[tuple[int, ...], int]] = {}
    for tree in trees:
        for node in sorted(tree.members):
            sets = found.setdefault(int(tree.feature[node]), {})
            sets.setdefault(tree.members[node], len(sets))
    if not found:
        return x, tuple(trees)
    parts, start = [x], {}
    width = columns
    for column in sorted(found):
        start[column] = width
        width += len(found[column])
        parts.append(_looked_up(graph, x, column, list(found[column]), element))
    return graph.add("Concat", *parts, axis=1), tuple(_asking(tree, found, start) for tree in trees)


def _looked_up(graph: Graph, x: str, column: int, sets: list[tuple[int, ...]], element: Element) -> str:
    """[N, sets] for one column; behind the categories come a row for other numbers, and one for NaN."""
    largest = max((max(members) for members in sets if members), default=0)
    table = np.ones((largest + 3, len(sets)))
    for place, members in enumerate(sets):
        table[list(members), place] = 0.0
    table[-1] = np.nan
    value = graph.add("Gather", x, graph.constant(np.array(column), "int64"), axis=1)
    known = graph.add(
        "And",
        graph.add("GreaterOrEqual", value, graph.scalar(0.0, element)),
        graph.add("LessOrEqual", value, graph.scalar(float(largest), element)),
    )
    row = graph.add("Where", known, value, graph.scalar(float(largest + 1), element))
    row = graph.add("Where", graph.add("IsNaN", value), graph.scalar(float(largest + 2), element), row)
    return graph.add("Gather", graph.constant(table, element), graph.cast(row, "int64"), axis=0)


def _asking(tree: Tree, found: dict[int, dict[tuple[int, ...], int]], start: dict[int, int]) -> Tree:
    if not tree.members:
        return tree
    feature, threshold = tree.feature.copy(), tree.threshold.copy()
    for node, members in tree.members.items():
        column = int(tree.feature[node])
        feature[node] = start[column] + found[column][members]
        threshold[node] = _HALF
    return replace(tree, feature=feature, threshold=threshold, members={})
