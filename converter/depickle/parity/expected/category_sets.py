# SPDX-License-Identifier: Apache-2.0
"""Category sets: one more column for each distinct set, holding 0 for members, 1 for other numbers, NaN for NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..walk import Expected, ExpectedTree
from .vocabulary import INT64, apply, cast, column, constant, scalar

__all__ = ["with_category_columns"]


def with_category_columns(
    rows: Expected, found: Sequence[ExpectedTree], width: int, dtype: str = "float64"
) -> tuple[Expected, list[ExpectedTree]]:
    """The rows with the looked-up columns, and the trees whose sets became comparisons with one half.

    Columns are ordered by the categorical column, then by the first tree and node that asks for the set.
    """
    order: dict[int, list[frozenset[float]]] = {}
    for tree in found:
        for node in sorted(tree.members):
            known = order.setdefault(int(tree.feature[node]), [])
            if tree.members[node] not in known:
                known.append(tree.members[node])
    if not order:
        return rows, list(found)
    joined, places = [rows], {}
    for feature, sets in sorted(order.items()):
        for members in sets:
            places[feature, members] = width
            width += 1
        joined.append(_table(column(rows, feature), sets, dtype))
    return apply("Concat", *joined, axis=1), [_compared(tree, places) for tree in found]


def _table(value: Expected, sets: Sequence[frozenset[float]], dtype: str) -> Expected:
    top = int(max((max(members) for members in sets if members), default=0))
    numbers = [[0.0 if number in members else 1.0 for members in sets] for number in range(top + 1)]
    content = [*numbers, [1.0] * len(sets), [np.nan] * len(sets)]
    within = apply(
        "And",
        apply("GreaterOrEqual", value, scalar(0.0, dtype)),
        apply("LessOrEqual", value, scalar(top, dtype)),
    )
    place = apply("Where", within, value, scalar(top + 1, dtype))
    place = apply("Where", apply("IsNaN", value), scalar(top + 2, dtype), place)
    return apply("Gather", constant(content, dtype), cast(place, INT64), axis=0)


def _compared(tree: ExpectedTree, places: dict[tuple[int, frozenset[float]], int]) -> ExpectedTree:
    feature: npt.NDArray[np.int64] = np.array(tree.feature)
    threshold = np.array(tree.threshold)
    for node, members in tree.members.items():
        feature[node] = places[int(tree.feature[node]), members]
        threshold[node] = 0.5
    return replace(tree, feature=feature, threshold=threshold, members={})
