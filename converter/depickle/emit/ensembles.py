# SPDX-License-Identifier: Apache-2.0
"""Trees as one `TreeEnsemble` node (ai.onnx.ml 5): splits and leaves with their bits, trees in source order.

Every tree starts at an inner node. A tree of one leaf becomes a split whose two leaves are equal, because that node
type cannot say "leaf" at the root without two references to one leaf, which the ONNX gate refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..models.types import Tree
from .graph import Element, Graph

__all__ = ["EnsembleTree", "add_ensemble", "constant_ensemble_tree"]

_SUM = 1
_NO_TRANSFORM = 0
_LESS_OR_EQUAL, _LESS, _MEMBER = 0, 1, 6
_MODES = {"<=": _LESS_OR_EQUAL, "<": _LESS}


@dataclass(frozen=True, eq=False)
class EnsembleTree:
    """A tree with, for each of its leaves in node order, the weight it adds and the target it adds it to.

    `target` is one number for all leaves, or one for each.
    """

    tree: Tree
    weight: npt.NDArray[np.float64]
    target: int | npt.NDArray[np.int64]


@dataclass(eq=False)
class _Columns:
    feature: list[npt.NDArray[np.int64]]
    split: list[npt.NDArray[np.float64]]
    mode: list[npt.NDArray[np.uint8]]
    missing_true: list[npt.NDArray[np.int64]]
    true_id: list[npt.NDArray[np.int64]]
    true_leaf: list[npt.NDArray[np.int64]]
    false_id: list[npt.NDArray[np.int64]]
    false_leaf: list[npt.NDArray[np.int64]]


def constant_ensemble_tree(tree: Tree, value: float, target: int) -> EnsembleTree:
    """`tree`, which is one leaf, adding `value`."""
    return EnsembleTree(tree, np.array([value]), target)


def add_ensemble(
    graph: Graph,
    x: str,
    trees: Sequence[EnsembleTree],
    *,
    targets: int,
    element: Element,
    comparison: str = "<=",
) -> str:
    """The sums of leaves [N, targets] in the element type of `x`; each column adds its trees in order, from 0."""
    columns = _Columns([], [], [], [], [], [], [], [])
    roots: list[int] = []
    weights: list[npt.NDArray[np.float64]] = []
    leaf_targets: list[npt.NDArray[np.int64]] = []
    membership: list[float] = []
    nodes = leaves = 0
    for item in trees:
        roots.append(nodes)
        if len(item.tree.left) == 1:
            _append_constant(columns, nodes, leaves)
            weight = np.repeat(item.weight, 2)
            nodes += 1
        else:
            nodes += _append_tree(columns, item.tree, nodes, leaves, _MODES[comparison], membership)
            weight = item.weight
        weights.append(weight)
        leaf_targets.append(np.full(len(weight), item.target, dtype=np.int64))
        leaves += len(weight)
    optional = {"membership_values": graph.tensor(membership, element)} if membership else {}
    return graph.add(
        "TreeEnsemble",
        x,
        domain="ai.onnx.ml",
        aggregate_function=_SUM,
        post_transform=_NO_TRANSFORM,
        n_targets=targets,
        tree_roots=roots,
        nodes_featureids=_ints(columns.feature),
        nodes_splits=graph.tensor(np.concatenate(columns.split), element),
        nodes_modes=graph.tensor(np.concatenate(columns.mode), "uint8"),
        nodes_missing_value_tracks_true=_ints(columns.missing_true),
        nodes_truenodeids=_ints(columns.true_id),
        nodes_trueleafs=_ints(columns.true_leaf),
        nodes_falsenodeids=_ints(columns.false_id),
        nodes_falseleafs=_ints(columns.false_leaf),
        leaf_targetids=_ints(leaf_targets),
        leaf_weights=graph.tensor(np.concatenate(weights), element),
        **optional,
    )


def _ints(parts: Sequence[npt.NDArray[np.int64]]) -> list[int]:
    values: list[int] = np.concatenate(parts).tolist()
    return values


def _append_constant(columns: _Columns, nodes: int, leaves: int) -> None:
    zero = np.zeros(1, dtype=np.int64)
    one = np.ones(1, dtype=np.int64)
    columns.feature.append(zero)
    columns.split.append(np.zeros(1))
    columns.mode.append(np.zeros(1, dtype=np.uint8))
    columns.missing_true.append(zero)
    columns.true_id.append(zero + leaves)
    columns.true_leaf.append(one)
    columns.false_id.append(zero + leaves + 1)
    columns.false_leaf.append(one)


def _append_tree(
    columns: _Columns, tree: Tree, nodes: int, leaves: int, mode: int, membership: list[float]
) -> int:
    """Append the inner nodes of `tree`; inner nodes and leaves are each numbered in source order."""
    leaf = tree.is_leaf
    inner = np.flatnonzero(~leaf)
    number = np.where(leaf, np.cumsum(leaf) - 1 + leaves, np.cumsum(~leaf) - 1 + nodes)
    modes = np.full(len(inner), mode, dtype=np.uint8)
    splits = tree.threshold[inner].copy()
    if tree.members:
        for place, node in enumerate(inner.tolist()):
            if node in tree.members:
                modes[place] = _MEMBER
                splits[place] = 0.0
                membership += [*(float(value) for value in tree.members[node]), float("nan")]
    columns.feature.append(tree.feature[inner])
    columns.split.append(splits)
    columns.mode.append(modes)
    columns.missing_true.append(tree.missing_left[inner].astype(np.int64))
    for children, ids, flags in (
        (tree.left[inner], columns.true_id, columns.true_leaf),
        (tree.right[inner], columns.false_id, columns.false_leaf),
    ):
        ids.append(number[children])
        flags.append(leaf[children].astype(np.int64))
    return len(inner)
