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
Indices = npt.NDArray[np.int32]


class NodeGraph(NamedTuple):
    """The nodes of one tree: which of them split, and one column entry for each that does.

    The columns are cut out where the nodes are read, while they are in the processor's cache: 64-byte nodes make
    every later pass over one column a pass over all of them.

    Attributes:
        record: the tree, for reports.
        rule: the rule that a fault breaks.
        left: child index of each inner node.
        right: child index of each inner node.
        inner: True for nodes that split.
        feature: feature index of each inner node.
        threshold: of each inner node.
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
    inner = np.concatenate([graph.inner for graph in graphs])
    split = np.flatnonzero(inner).astype(np.int32)
    each = np.array([np.count_nonzero(graph.inner) for graph in graphs], np.int64)
    left, right = (_children(graphs, side, int(sizes.max())) for side in ("left", "right"))
    # 32 bits hold every index from here on (a file has at most 2^30 bytes) and halve what each step touches.
    start = np.repeat(starts.astype(np.int32), each)
    left += start
    right += start
    end = np.repeat((starts + sizes).astype(np.int32), each)
    bad = (np.minimum(left, right) <= split) | (np.maximum(left, right) >= end)
    if bad.any():
        raise _fault_at(graphs, starts, split, bad, "a child lies outside the nodes or before its parent")
    feature = np.concatenate([graph.feature for graph in graphs])
    limits = np.array([graph.n_features for graph in graphs], np.int64)
    if len(feature) and (int(feature.min()) < 0 or int(feature.max()) >= int(limits.min())):
        bad = (feature < 0) | (feature >= np.repeat(limits, each))
        if bad.any():
            raise _fault_at(graphs, starts, split, bad, "a split uses a feature that no row has")
    bad = np.isnan(np.concatenate([graph.threshold for graph in graphs]))
    if bad.any():
        raise _fault_at(graphs, starts, split, bad, "a threshold is NaN")
    parents = np.bincount(left, minlength=len(inner)) + np.bincount(right, minlength=len(inner))
    parents[starts] += 1
    if int(parents.min()) < 1 or int(parents.max()) > 1:
        node = int(np.flatnonzero(parents != 1)[0])
        tree = int(np.searchsorted(starts, node, side="right")) - 1
        count = int(parents[node]) - int(starts[tree] == node)
        raise _fault(graphs[tree], f"node {node - int(starts[tree])} has {count} parents")
    _check_depth(graphs, starts, inner, left, right)


def _check_depth(
    graphs: list[NodeGraph],
    starts: Integers,
    inner: npt.NDArray[np.bool_],
    left: Indices,
    right: Indices,
) -> None:
    rank = np.cumsum(inner, dtype=np.int32)
    rank -= 1
    claimed = np.array(
        [MAX_TREE_DEPTH if graph.max_depth is None else graph.max_depth for graph in graphs], np.int64
    )
    at = rank[starts[inner[starts]]]
    shallowest = int(claimed.min())
    depth = 0
    while len(at):
        level = np.concatenate([left[at], right[at]])
        depth += 1
        if depth > shallowest:
            owner = np.searchsorted(starts, level, side="right") - 1
            over = claimed[owner] < depth
            if over.any():
                number = int(owner[np.flatnonzero(over)[0]])
                raise _fault(graphs[number], f"it is deeper than the {claimed[number]} levels it may have")
        at = rank[level[inner[level]]]


def _children(graphs: list[NodeGraph], side: str, largest: int) -> Indices:
    """One side of every split in 32 bits, once the values are known to fit; 0 (refused later) where none could."""
    columns = [getattr(graph, side) for graph in graphs]
    joined = np.concatenate(columns)
    if len(joined) and (int(joined.min()) < 0 or int(joined.max()) > largest):
        joined = np.where((joined < 0) | (joined > largest), 0, joined)
    return joined.astype(np.int32)


def _fault_at(
    graphs: list[NodeGraph], starts: Integers, split: Indices, bad: npt.NDArray[np.bool_], message: str
) -> StructureError:
    node = int(split[np.flatnonzero(bad)[0]])
    tree = int(np.searchsorted(starts, node, side="right")) - 1
    return _fault(graphs[tree], f"at node {node - int(starts[tree])}, {message}")


def _fault(graph: NodeGraph, message: str) -> StructureError:
    return StructureError(
        graph.rule, f"{graph.record.name}: {message}", offset=graph.record.offset, reached=graph.record.cls
    )
