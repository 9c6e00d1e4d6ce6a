# SPDX-License-Identifier: Apache-2.0
"""Rows on every split and one unit in the last place to each side.

For each split the input value at which the original's comparison flips is found by bisection over the ordered
integers of the doubles, so that scaler and cast in front of it are inverted exactly, not approximately. The other
columns are set such that the row walks to that node; whether it does is then found out by walking it, and only
splits at which two neighbouring doubles really went different ways are counted as reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .category_paths import CategoryPaths
from .groups import TreeGroup
from .source import UNKNOWN, FloatArray, IntArray, Preamble, SourceTree

__all__ = ["Edges", "SplitRows", "edges_of", "rows_on_splits"]

_LOWEST = np.int64(-0x7FEFFFFFFFFFFFFF)
"""The most negative finite double as an ordered integer."""
_HIGHEST = np.int64(0x7FEFFFFFFFFFFFFF)

MAX_SPLIT_ROWS = 24_000
"""Rows; larger models are sampled evenly over their splits, and the evidence says how many were reached."""

CHUNK = 4_000_000
"""Numbers in one block of bounds (32 MB); more splits are handled block by block."""


@dataclass(frozen=True)
class SplitRows:
    """Rows placed on splits, [N, F], with the count of splits in the model and of those reached."""

    rows: FloatArray
    splits: int
    reached: int


@dataclass(frozen=True, eq=False)
class Edges:
    """Where comparisons flip: `below` is the last double of the low side, NaN where no finite value flips it.

    `low_left` says whether the low side goes left; it does unless something in front of the split turns it round.
    """

    below: FloatArray
    low_left: npt.NDArray[np.bool_]

    @property
    def above(self) -> FloatArray:
        """The first double of the high side."""
        return np.nextafter(self.below, np.inf)


def _to_double(ordered: npt.NDArray[np.int64]) -> FloatArray:
    bits = np.where(ordered < 0, np.int64(-(2**63)) - ordered, ordered)
    return bits.view(np.float64)


def _goes_left(
    value: FloatArray, threshold: FloatArray, comparison: str, *, single: bool
) -> npt.NDArray[np.bool_]:
    with np.errstate(all="ignore"):
        if single:
            value = value.astype(np.float32).astype(np.float64)
        return value < threshold if comparison == "<" else value <= threshold


def edges_of(
    preamble: Preamble, feature: IntArray, threshold: FloatArray, *, comparison: str, single: bool
) -> Edges:
    """The edge of each split, found with the original's own arithmetic."""

    def left(ordered: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        value = preamble.forward(feature, _to_double(ordered))
        return _goes_left(value, threshold, comparison, single=single)

    low = np.full(feature.shape, _LOWEST)
    high = np.full(feature.shape, _HIGHEST)
    low_left = left(low)
    flips = (low_left != left(high)) & (preamble.source[feature] != UNKNOWN)
    for _ in range(64):  # the ordered integers span less than 2^64, so 64 halvings leave neighbours
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        same = left(middle) == low_left
        low = np.where(same, middle, low)
        high = np.where(same, high, middle)
    return Edges(np.where(flips, _to_double(low), np.nan), low_left)


class _Nodes:
    """The nodes of a group's trees in one numbering, with the way back to the root."""

    def __init__(self, trees: Sequence[SourceTree]) -> None:
        sizes = [len(tree.left) for tree in trees]
        start = np.cumsum([0, *sizes])
        offset = np.repeat(start[:-1], sizes)
        self.feature = np.concatenate([tree.feature for tree in trees]).astype(np.int64)
        self.threshold = np.concatenate([tree.threshold for tree in trees])
        self.leaf = np.concatenate([tree.is_leaf for tree in trees])
        self.left = np.concatenate([tree.left for tree in trees]) + offset
        self.right = np.concatenate([tree.right for tree in trees]) + offset
        self.zero_left = np.concatenate(
            [np.full(len(t.left), -1, np.int8) if t.zero_left is None else t.zero_left for t in trees]
        )
        self.root = offset
        self.sets = {
            int(start[number]) + node: members
            for number, tree in enumerate(trees)
            for node, members in tree.sets.items()
        }
        inner = np.flatnonzero(~self.leaf)
        self.inner = inner[self._reachable(start[:-1])[inner]]
        self.parent = np.full(len(self.left), -1, dtype=np.int64)
        self.parent[self.left[self.inner]] = self.inner
        self.parent[self.right[self.inner]] = self.inner

    def _reachable(self, roots: IntArray) -> npt.NDArray[np.bool_]:
        """Nodes that hang below a root; pruning leaves others behind in XGBoost's arrays."""
        seen = np.zeros(len(self.left), dtype=np.bool_)
        frontier = np.asarray(roots, dtype=np.int64)
        while frontier.size:
            seen[frontier] = True
            inner = frontier[~self.leaf[frontier]]
            children = np.concatenate([self.left[inner], self.right[inner]])
            frontier = children[~seen[children]]
        return seen


def rows_on_splits(
    groups: Sequence[TreeGroup], base: FloatArray, *, max_abs: float, limit: int = MAX_SPLIT_ROWS
) -> SplitRows:
    """Up to three rows for each split: on it, one ulp below, one ulp above.

    Args:
        groups: the trees of the original, with what stands in front of them.
        base: plausible rows, [M, F], from which the columns not on the path are taken in turn.
        max_abs: largest |x| that the original admits; rows beyond are left out.
        limit: most rows to make.
    """
    tables = [(_Nodes(group.trees), group) for group in groups if group.trees]
    splits = sum(len(nodes.inner) for nodes, _ in tables)
    stride = max(1, -(-3 * splits // limit))
    rows: list[FloatArray] = []
    reached = seen = 0
    for nodes, group in tables:
        first = -seen % stride
        chosen = nodes.inner[first::stride]
        seen += len(nodes.inner)
        if group.preamble is None or not chosen.size:
            continue
        paths = CategoryPaths(group.categories, nodes.feature, nodes.sets)
        step = max(1, CHUNK // (base.shape[1] + paths.width))
        for start in range(0, chosen.size, step):
            block = chosen[start : start + step]
            made, count = _placed(nodes, group, group.preamble, paths, block, base, max_abs)
            rows.append(made)
            reached += count
    stacked = np.concatenate(rows) if rows else np.empty((0, base.shape[1]))
    return SplitRows(rows=stacked, splits=splits, reached=reached)


def _placed(
    nodes: _Nodes,
    group: TreeGroup,
    preamble: Preamble,
    paths: CategoryPaths,
    chosen: IntArray,
    base: FloatArray,
    max_abs: float,
) -> tuple[FloatArray, int]:
    """The rows of some splits, and how many of these splits they reach."""
    edges = _edges_on_paths(nodes, group, preamble, chosen)
    low = np.full((chosen.size, base.shape[1]), -np.inf)
    high = np.full((chosen.size, base.shape[1]), np.inf)
    allowed = paths.everything(chosen.size)
    node = chosen
    while True:
        parent = nodes.parent[node]
        going = parent >= 0
        if not going.any():
            break
        at = np.flatnonzero(going & ~np.isnan(edges.below[parent]))
        up = parent[at]
        column = preamble.source[nodes.feature[up]]
        low_side = (nodes.left[up] == node[at]) == edges.low_left[up]
        below, above = edges.below[up], np.nextafter(edges.below[up], np.inf)
        high[at, column] = np.where(low_side, np.minimum(high[at, column], below), high[at, column])
        low[at, column] = np.where(low_side, low[at, column], np.maximum(low[at, column], above))
        paths.narrow(
            allowed,
            at=np.flatnonzero(going),
            nodes=parent[going],
            left=nodes.left[parent[going]] == node[going],
        )
        node = np.where(going, parent, node)
    edge = edges.below[chosen]
    by_set = paths.knows(chosen)
    usable = np.flatnonzero(
        (~np.isnan(edge) | by_set) & (low <= high).all(axis=1) & paths.possible(allowed, chosen.size)
    )
    place = np.arange(usable.size)
    column = preamble.source[nodes.feature[chosen[usable]]]
    template = np.clip(base[usable % base.shape[0]], low[usable], high[usable])
    for feature, values in paths.choose(allowed, usable).items():
        template[:, preamble.source[feature]] = values
    beside = np.nextafter(edge[usable], np.inf), np.nextafter(edge[usable], -np.inf)
    member, other = paths.sides(allowed, chosen, usable)
    found: list[FloatArray] = []
    arrived: list[npt.NDArray[np.bool_]] = []
    went_left: list[npt.NDArray[np.bool_]] = []
    for number, category in (
        (edge[usable], member),
        (beside[0], other),
        (beside[1], np.full(usable.size, np.nan)),
    ):
        made = template.copy()
        value = np.where(by_set[usable], category, number)
        made[place, column] = value
        inside = by_set[usable] | ((value >= low[usable, column]) & (value <= high[usable, column]))
        inside &= (np.abs(made) <= max_abs).all(axis=1)  # not so where there is no such category
        there, left = _walked(nodes, group.trees[0], preamble, paths, made, chosen[usable])
        arrived.append(inside & there)
        went_left.append(left)
        found.append(made[inside])
    reached = arrived[0] & arrived[1] & (went_left[0] != went_left[1])
    return np.concatenate(found), int(np.count_nonzero(reached))


def _edges_on_paths(nodes: _Nodes, group: TreeGroup, preamble: Preamble, chosen: IntArray) -> Edges:
    """The edges of the chosen splits and of every split above them; NaN elsewhere."""
    needed = np.zeros(len(nodes.left), dtype=np.bool_)
    node = chosen
    while node.size:
        needed[node] = True
        node = np.unique(nodes.parent[node])
        node = node[(node >= 0)]
        node = node[~needed[node]]
    at = np.flatnonzero(needed & ~np.isnan(nodes.threshold))
    order = np.lexsort((nodes.threshold[at], nodes.feature[at]))
    feature, threshold = nodes.feature[at][order], nodes.threshold[at][order]
    new = np.ones(at.size, dtype=np.bool_)
    new[1:] = (feature[1:] != feature[:-1]) | (threshold[1:] != threshold[:-1])
    back = np.empty(at.size, dtype=np.int64)
    back[order] = np.cumsum(new) - 1
    tree = group.trees[0]
    found = edges_of(preamble, feature[new], threshold[new], comparison=tree.comparison, single=tree.single)
    below = np.full(len(nodes.left), np.nan)
    low_left = np.zeros(len(nodes.left), dtype=np.bool_)
    below[at], low_left[at] = found.below[back], found.low_left[back]
    return Edges(below, low_left)


def _walked(
    nodes: _Nodes,
    tree: SourceTree,
    preamble: Preamble,
    paths: CategoryPaths,
    rows: FloatArray,
    target: IntArray,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which rows arrive at their target by the original's own comparisons, and which then go left."""
    node = nodes.root[target].copy()
    place = np.arange(len(rows))
    walking = node != target
    while walking.any():
        at = np.flatnonzero(walking)
        stuck = nodes.leaf[node[at]] | (np.isnan(nodes.threshold[node[at]]) & ~paths.knows(node[at]))
        stuck |= preamble.source[nodes.feature[node[at]]] == UNKNOWN
        walking[at[stuck]] = False
        at = at[~stuck]
        left = _branch(nodes, tree, preamble, paths, rows, place[at], node[at])
        node[at] = np.where(left, nodes.left[node[at]], nodes.right[node[at]])
        walking[at] = node[at] != target[at]
    return node == target, _branch(nodes, tree, preamble, paths, rows, place, target)


def _branch(
    nodes: _Nodes,
    tree: SourceTree,
    preamble: Preamble,
    paths: CategoryPaths,
    rows: FloatArray,
    place: IntArray,
    node: IntArray,
) -> npt.NDArray[np.bool_]:
    feature = nodes.feature[node]
    value = preamble.forward(feature, rows[place, preamble.source[feature]])
    left = _goes_left(value, nodes.threshold[node], tree.comparison, single=tree.single)
    missing = nodes.zero_left[node]
    left = np.where((value == 0.0) & (missing >= 0), missing == 1, left)
    by_set = np.flatnonzero(paths.knows(node))
    left[by_set] = paths.holds(node[by_set], value[by_set])
    return left
