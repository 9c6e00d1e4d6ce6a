# SPDX-License-Identifier: Apache-2.0
"""Node graphs of trees, all trees of a file in one pass: children, features, thresholds, reachability, depth.

Native code follows child indices and feature indices without looking. Here every tree is known to be a tree: each
node but the root is the child of exactly one node before it, so there are no cycles and nothing is unreachable.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..graph import Record
from .errors import StructureError

__all__ = ["MAX_TREE_DEPTH", "NodeGraph", "check_node_graphs"]

#: Levels of one tree; unlimited honest trees on a million rows stay under 100, and each level costs one pass.
MAX_TREE_DEPTH = 4096

Integers = npt.NDArray[np.int64]


class NodeGraph(NamedTuple):
    """The nodes of one tree as columns of equal length.

    Attributes:
        record: the tree, for reports.
        rule: the rule that a fault breaks.
        left: child index; read for inner nodes only.
        right: child index; read for inner nodes only.
        inner: True for nodes that split.
        feature: feature index; read for inner nodes only.
        threshold: read for inner nodes only.
        n_features: how many features a row has.
        max_depth: levels below the root that the tree claims, or None where it claims none.
    """

    record: Record
    rule: str
    left: npt.NDArray[np.generic]
    right: npt.NDArray[np.generic]
    inner: npt.NDArray[np.bool_]
    feature: npt.NDArray[np.generic]
    threshold: npt.NDArray[np.generic]
    n_features: int
    max_depth: int | None


def check_node_graphs(graphs: list[NodeGraph]) -> None:
    """Check every graph.

    Raises:
        StructureError: for the first tree that is none.
    """
    if not graphs:
        return
    for graph in graphs:
        integers = {column.dtype.kind for column in (graph.left, graph.right, graph.feature)}
        if not integers <= {"i", "u"} or graph.threshold.dtype.kind != "f":
            raise _fault(graph, "its columns have other types than the library's")
    sizes = np.array([len(graph.inner) for graph in graphs], np.int64)
    if not sizes.all():
        raise _fault(graphs[int(np.flatnonzero(sizes == 0)[0])], "it has no nodes")
    starts = np.cumsum(sizes) - sizes
    owner = np.repeat(np.arange(len(graphs)), sizes)
    inner = np.concatenate([graph.inner for graph in graphs])
    split = np.flatnonzero(inner)
    tree = owner[split]
    start = starts[tree]
    left = _column([graph.left for graph in graphs])[split]
    right = _column([graph.right for graph in graphs])[split]
    at = split - start
    size = sizes[tree]
    bad = (left <= at) | (right <= at) | (left >= size) | (right >= size)
    _raise_first(graphs, tree, at, bad, "a child lies outside the nodes or before its parent")
    feature = _column([graph.feature for graph in graphs])[split]
    limits = np.array([graph.n_features for graph in graphs], np.int64)[tree]
    _raise_first(
        graphs, tree, at, (feature < 0) | (feature >= limits), "a split uses a feature that no row has"
    )
    threshold = np.concatenate([graph.threshold for graph in graphs])[split]
    _raise_first(graphs, tree, at, np.isnan(threshold), "a threshold is NaN")
    left += start
    right += start
    parents = np.bincount(np.concatenate([left, right]), minlength=len(inner))
    parents[starts] += 1
    nodes = np.flatnonzero(parents != 1)
    if len(nodes):
        node = int(nodes[0])
        raise _fault(
            graphs[int(owner[node])],
            f"node {node - int(starts[owner[node]])} has {int(parents[node]) - (node in starts)} parents",
        )
    _check_depth(graphs, owner, starts, inner, left, right)


def _check_depth(
    graphs: list[NodeGraph],
    owner: Integers,
    starts: Integers,
    inner: npt.NDArray[np.bool_],
    left: Integers,
    right: Integers,
) -> None:
    # 32 bits hold every index here (a file has at most 2^30 bytes) and halve what each level has to touch.
    rank = np.cumsum(inner, dtype=np.int32)
    rank -= 1
    near, far = left.astype(np.int32), right.astype(np.int32)
    claimed = np.array(
        [MAX_TREE_DEPTH if graph.max_depth is None else graph.max_depth for graph in graphs], np.int64
    )
    at = rank[starts[inner[starts]]]
    shallowest = int(claimed.min())
    depth = 0
    while len(at):
        level = np.concatenate([near[at], far[at]])
        depth += 1
        if depth > shallowest:
            over = claimed[owner[level]] < depth
            if over.any():
                number = int(owner[level[np.flatnonzero(over)[0]]])
                raise _fault(graphs[number], f"it is deeper than the {claimed[number]} levels it may have")
        at = rank[level[inner[level]]]


def _column(columns: list[npt.NDArray[np.generic]]) -> Integers:
    """The columns joined as int64; unsigned values beyond it become negative, which no check admits."""
    return np.concatenate([column.astype(np.int64, copy=False) for column in columns])


def _raise_first(
    graphs: list[NodeGraph], tree: Integers, at: Integers, bad: npt.NDArray[np.bool_], message: str
) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise _fault(graphs[int(tree[first])], f"at node {int(at[first])}, {message}")


def _fault(graph: NodeGraph, message: str) -> StructureError:
    return StructureError(
        graph.rule, f"{graph.record.name}: {message}", offset=graph.record.offset, reached=graph.record.cls
    )
