# SPDX-License-Identifier: Apache-2.0
"""Trees, checked: a `Tree` that leaves this module has one root, one parent a node, and only finite answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedModelError
from ..pickles.graph import Record
from .attributes import array_of, table_of, wrong
from .types import FloatArray, Tree

__all__ = ["MAX_DEPTH", "checked_tree", "constant_tree", "revalued", "scikit_tree"]

_Scalar = TypeVar("_Scalar", bound=np.generic)

MAX_DEPTH = 500  # levels; onnxruntime crashes at some 10,000 in an 8 MB stack, the ONNX gate refuses past 500


def checked_tree(
    owner: str,
    *,
    feature: npt.ArrayLike,
    threshold: npt.ArrayLike,
    left: npt.ArrayLike,
    right: npt.ArrayLike,
    missing_left: npt.ArrayLike,
    value: npt.ArrayLike,
    n_features: int,
    members: Mapping[int, tuple[int, ...]] | None = None,
) -> Tree:
    """A tree whose shape was verified.

    Raises:
        UnsupportedModelError: DP605 where the nodes are no tree, name columns that do not exist, compare with
            NaN or answer something that is not finite; DP606 where it is deeper than `MAX_DEPTH`.
    """
    tree = Tree(
        feature=_frozen(feature, np.int64),
        threshold=_frozen(threshold, np.float64),
        left=_frozen(left, np.int64),
        right=_frozen(right, np.int64),
        missing_left=_frozen(missing_left, np.bool_),
        value=_frozen(value, np.float64),
        members=dict(members or {}),
    )
    count = len(tree.left)
    same = {len(part) for part in (tree.feature, tree.threshold, tree.right, tree.missing_left, tree.value)}
    if count == 0 or same != {count} or tree.value.ndim != 2:
        raise _broken(owner, "node arrays of different lengths")
    inner = ~tree.is_leaf
    _check_shape(owner, tree, inner)
    features = tree.feature[inner]
    if features.size and (int(features.min()) < 0 or int(features.max()) >= n_features):
        raise _broken(owner, f"a split on a column outside 0…{n_features - 1}")
    numeric = inner.copy()
    numeric[list(tree.members)] = False
    if bool(np.isnan(tree.threshold[numeric]).any()):
        raise _broken(owner, "a split at NaN")
    if not bool(np.isfinite(tree.value[tree.is_leaf]).all()):
        raise _broken(owner, "a leaf that is not finite")
    return tree


def _check_shape(owner: str, tree: Tree, inner: npt.NDArray[np.bool_]) -> None:
    count = len(tree.left)
    children = np.concatenate([tree.left[inner], tree.right[inner]])
    if children.size and (int(children.min()) < 1 or int(children.max()) >= count):
        raise _broken(owner, "a child outside the tree")
    if len(np.unique(children)) != len(children):
        raise _broken(owner, "a node with two parents")
    if bool((tree.right[~inner] >= 0).any()):
        raise _broken(owner, "a leaf with a child")
    frontier = np.zeros(1, dtype=np.int64)
    reached = 0
    for _ in range(MAX_DEPTH + 1):
        reached += len(frontier)
        frontier = frontier[inner[frontier]]
        if not len(frontier):
            break
        frontier = np.concatenate([tree.left[frontier], tree.right[frontier]])
    else:
        raise UnsupportedModelError(
            "A tree is too deep",
            code="DP606",
            where=owner,
            found=f"more than {MAX_DEPTH} levels",
            expected=f"at most {MAX_DEPTH}",
            next_step="Fit with max_depth set",
        )
    if reached != count:
        raise _broken(owner, "nodes that cannot be reached from the root")


def constant_tree(row: npt.ArrayLike) -> Tree:
    """A tree of one leaf."""
    return Tree(
        feature=_frozen([-1], np.int64),
        threshold=_frozen([np.nan], np.float64),
        left=_frozen([-1], np.int64),
        right=_frozen([-1], np.int64),
        missing_left=_frozen([False], np.bool_),
        value=_frozen(np.reshape(row, (1, -1)), np.float64),
    )


def revalued(tree: Tree, value: npt.ArrayLike, columns: Sequence[int] | None = None) -> Tree:
    """`tree`, which has no categorical splits, with other rows in its nodes.

    Args:
        tree: a checked tree.
        value: [nodes, K].
        columns: for each column that the tree knows, its number in the input; None where they are the same.
    """
    feature = tree.feature
    if columns is not None:
        feature = np.where(tree.is_leaf, -1, np.array(columns)[np.where(tree.is_leaf, 0, tree.feature)])
    return Tree(
        feature=_frozen(feature, np.int64),
        threshold=tree.threshold,
        left=tree.left,
        right=tree.right,
        missing_left=tree.missing_left,
        value=_frozen(value, np.float64),
    )


def scikit_tree(estimator: Record, *, n_features: int, columns: int | None) -> Tree:
    """The tree of a scikit-learn tree estimator, `value` as stored: [nodes, columns].

    Versions before 1.3 have no `missing_go_to_left`; there missing values are refused at predict anyway.

    Raises:
        UnsupportedModelError: DP602 where `tree_` is not a tree table, DP607 for several outputs, and those of
            `checked_tree`.
    """
    inner = estimator.get("tree_")
    if not isinstance(inner, Record) or inner.name != "Tree":
        raise wrong(estimator, "tree_", inner, "a fitted tree")
    nodes = table_of(inner, "nodes")
    names = set(nodes.dtype.names or ())
    if not {"left_child", "right_child", "feature", "threshold"} <= names:
        raise wrong(inner, "nodes", inner.get("nodes"), "the node table of a scikit-learn tree")
    values = array_of(inner, "values", inner.get("values"))
    if values.ndim != 3 or len(values) != len(nodes) or values.dtype != np.float64:
        raise wrong(inner, "values", inner.get("values"), "float64 values of shape (nodes, 1, columns)")
    if values.shape[1] != 1:
        raise several_outputs(estimator)
    if columns is not None and values.shape[2] < columns:
        raise wrong(inner, "values", inner.get("values"), f"at least {columns} columns")
    value: FloatArray = np.asarray(values[:, 0, :columns], dtype=np.float64)
    leaves = nodes["left_child"] < 0
    return checked_tree(
        estimator.name,
        feature=nodes["feature"],
        threshold=nodes["threshold"],
        left=np.where(leaves, -1, nodes["left_child"]),
        right=np.where(leaves, -1, nodes["right_child"]),
        missing_left=(
            nodes["missing_go_to_left"] != 0
            if "missing_go_to_left" in names
            else np.zeros(len(nodes), dtype=bool)
        ),
        value=value,
        n_features=n_features,
    )


def several_outputs(estimator: Record) -> UnsupportedModelError:
    """The error for a model with more than one output column (DP607)."""
    return UnsupportedModelError(
        "A model with several outputs has no single answer for a row",
        code="DP607",
        where=estimator.name,
        found="several outputs",
        expected="one target",
        next_step="Fit one model per target",
    )


def _frozen(values: npt.ArrayLike, dtype: type[_Scalar]) -> npt.NDArray[_Scalar]:
    result = np.array(values, dtype=dtype, order="C")
    result.flags.writeable = False
    return result


def _broken(owner: str, found: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "A tree of the model is malformed",
        code="DP605",
        where=owner,
        found=found,
        expected="a binary tree with finite leaves",
        next_step="The file is damaged or was tampered with; take it from its backup",
    )
