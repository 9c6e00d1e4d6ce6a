# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's node tables as trees of the walk."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record
from ..walk import MODE_LESS_OR_EQUAL, ExpectedTree
from .reading import array, record, table, unreadable

__all__ = ["LeafRows", "constant_tree", "leaf_rows", "leaves_of", "numbered_tree", "weighted_tree"]

LeafRows = npt.NDArray[np.float64]
_FIELDS = ("left_child", "right_child", "feature", "threshold")


def _nodes(estimator: Record) -> npt.NDArray[np.void]:
    return table(record(estimator, "tree_"), "nodes", _FIELDS)


def leaves_of(estimator: Record) -> npt.NDArray[np.bool_]:
    """Which nodes are leaves."""
    return np.asarray(_nodes(estimator)["left_child"] < 0)


def leaf_rows(estimator: Record, width: int) -> LeafRows:
    """What ``tree_.values`` holds for each leaf in node order, [leaves, width]."""
    values = array(record(estimator, "tree_"), "values")
    nodes = _nodes(estimator)
    if values.dtype != np.float64 or values.ndim != 3 or values.shape[1] != 1 or len(values) != len(nodes):
        raise unreadable(estimator, "tree_.values", "a float64 table of one output")
    if values.shape[2] < width:
        raise unreadable(estimator, "tree_.values", f"{width} columns")
    return np.array(values[nodes["left_child"] < 0, 0, :width], dtype=np.float64)


def _tree(estimator: Record, leaves: npt.NDArray[np.float64], target: int) -> ExpectedTree:
    nodes = _nodes(estimator)
    leaf = nodes["left_child"] < 0
    weight = np.zeros(len(nodes))
    weight[leaf] = leaves
    names = nodes.dtype.names or ()
    return ExpectedTree(
        feature=nodes["feature"].astype(np.int64),
        threshold=nodes["threshold"].astype(np.float64),
        left=np.where(leaf, -1, nodes["left_child"]).astype(np.int64),
        right=np.where(leaf, -1, nodes["right_child"]).astype(np.int64),
        # Before 1.3 no node says where a missing value goes, because none is admitted; the file then says "right".
        missing_left=(
            nodes["missing_go_to_left"] != 0
            if "missing_go_to_left" in names
            else np.zeros(len(nodes), np.bool_)
        ),
        weight=weight,
        target=target,
        mode=MODE_LESS_OR_EQUAL,
    )


def numbered_tree(estimator: Record, first: int, target: int) -> ExpectedTree:
    """The tree, each leaf answering with its number; its leaves are numbered from `first` in node order."""
    leaves = int(np.count_nonzero(leaves_of(estimator)))
    return _tree(estimator, np.arange(first, first + leaves, dtype=np.float64), target)


def weighted_tree(estimator: Record, rate: float, target: int) -> ExpectedTree:
    """The tree, each leaf adding ``rate * value`` rounded once, as ``predict_stages`` does."""
    return _tree(estimator, rate * leaf_rows(estimator, 1)[:, 0], target)


def constant_tree(value: float, target: int) -> ExpectedTree:
    """One leaf: where a sum starts."""
    none = np.array([-1], dtype=np.int64)
    return ExpectedTree(
        feature=none,
        threshold=np.zeros(1),
        left=none,
        right=none,
        missing_left=np.zeros(1, dtype=np.bool_),
        weight=np.array([value]),
        target=target,
        mode=MODE_LESS_OR_EQUAL,
    )
