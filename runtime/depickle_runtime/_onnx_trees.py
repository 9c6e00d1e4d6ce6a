# SPDX-License-Identifier: Apache-2.0
"""Structural rules for tree ensembles, in both forms that onnxruntime runs.

Guarantees for every ensemble that passes: parallel lists have equal lengths, node ids are contiguous, every tree
is a tree (one root, one parent each, everything reachable, depth at most `MAX_DEPTH`), features exist in the input,
targets exist in the output, thresholds are not NaN, and finite weights sit on leaves only.

onnxruntime checks few of these: shared children, cycles, targets out of range and NaN thresholds were seen accepted
in silence, and chains deeper than about 10,000 crash the process. All passes are numpy's; a forest of a million
nodes takes tens of milliseconds.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._onnx_attributes import Attributes
from ._onnx_facts import TreeFacts
from ._onnx_lists import MODES
from .errors import OnnxRefusedError

__all__ = ["MAX_DEPTH", "MAX_TARGETS", "check_ensemble", "check_legacy_ensemble"]

MAX_DEPTH: Final = 500
"""Levels of one tree. onnxruntime recurses over them at load; 800 overflowed a stack of 512 KB."""

MAX_TARGETS: Final = 65_536
"""Outputs of one ensemble: classes, or trees where each tree's leaf number is its own target."""

_LEAF: Final = len(MODES) - 1
_Ints = npt.NDArray[np.int64]


def _refuse(code: str, found: str, expected: str, where: str) -> OnnxRefusedError:
    return OnnxRefusedError(
        "ONNX tree ensemble is not well-formed", code=code, found=found, expected=expected, where=where
    )


def _same_length(lists: dict[str, npt.NDArray[Any]], length: int, where: str) -> None:
    for name, values in lists.items():
        if len(values) != length:
            raise _refuse("DP350", f"{len(values)} {name}", f"{length}", where)


def _flags(values: _Ints, name: str, code: str, where: str) -> npt.NDArray[np.bool_]:
    if values.size and (values.min() < 0 or values.max() > 1):
        raise _refuse(code, f"{name} other than 0 and 1", "0 or 1", where)
    return np.asarray(values != 0)


def _in_range(values: npt.NDArray[Any], limit: int, code: str, what: str, where: str) -> None:
    if values.size and (int(values.min()) < 0 or int(values.max()) >= limit):
        raise _refuse(code, f"{what} {int(values.min())} to {int(values.max())}", f"0 to {limit - 1}", where)


def _not_nan(values: npt.NDArray[Any], where: str) -> None:
    if np.isnan(values).any():
        raise _refuse("DP358", "a threshold that is not a number", "numbers", where)


def _finite(values: npt.NDArray[Any], what: str, where: str) -> None:
    if not np.isfinite(values).all():
        raise _refuse("DP357", f"{what} that is not finite", "finite numbers", where)


def _depth(
    first: _Ints,
    second: _Ints,
    inner: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    roots: _Ints,
    where: str,
    limit: int = MAX_DEPTH,
) -> int:
    """Depth of a forest whose children are given by index; refuses all that is not a forest.

    Args:
        first: the one child of each node.
        second: the other child.
        inner: which of the children are nodes to descend to.
        roots: where the trees begin.
        where: for messages.
        limit: most steps from a root to a node.
    """
    count = len(first)
    parents = np.bincount(first[inner[0]], minlength=count) + np.bincount(second[inner[1]], minlength=count)
    parents[roots] += 1
    if (parents != 1).any():
        node = int(np.flatnonzero(parents != 1)[0])
        raise _refuse(
            "DP352",
            f"node {node} with {int(parents[node])} parents",
            "one parent each, none for roots",
            where,
        )
    level, seen, depth = roots, len(roots), 0
    while True:
        below = np.concatenate((first[level][inner[0][level]], second[level][inner[1][level]]))
        if not below.size:
            break
        depth += 1
        if depth > limit:
            raise _refuse("DP354", f"a tree deeper than {MAX_DEPTH}", f"at most {MAX_DEPTH}", where)
        seen += below.size
        level = below
    if seen != count:
        raise _refuse("DP353", f"{count - seen} nodes that no root reaches", "none", where)
    return depth


def check_ensemble(attributes: Attributes, columns: int, where: str) -> tuple[int, TreeFacts]:
    """Check a TreeEnsemble of ai.onnx.ml 5.

    Args:
        attributes: the node's attributes.
        columns: columns of its input.
        where: for messages.

    Returns:
        Its number of targets and its size.

    Raises:
        OnnxRefusedError: DP350-DP360.
    """
    true, false = attributes.ints("nodes_truenodeids"), attributes.ints("nodes_falsenodeids")
    features, splits = attributes.ints("nodes_featureids"), attributes.tensor("nodes_splits")
    modes, roots = attributes.tensor("nodes_modes"), attributes.ints("tree_roots")
    targets, weights = attributes.ints("leaf_targetids"), attributes.tensor("leaf_weights")
    true_leaf = _flags(attributes.ints("nodes_trueleafs"), "nodes_trueleafs", "DP351", where)
    false_leaf = _flags(attributes.ints("nodes_falseleafs"), "nodes_falseleafs", "DP351", where)
    missing = _flags(
        attributes.ints("nodes_missing_value_tracks_true"), "missing value directions", "DP359", where
    )
    hitrates = attributes.tensor("nodes_hitrates")
    count, leaves = len(true), len(targets)
    if count == 0 or leaves == 0 or len(roots) == 0:
        raise _refuse("DP350", "no nodes, leaves or roots", "at least one of each", where)
    parallel: dict[str, npt.NDArray[Any]] = {
        "nodes_falsenodeids": false,
        "nodes_featureids": features,
        "nodes_splits": splits,
        "nodes_modes": modes,
        "nodes_trueleafs": true_leaf,
        "nodes_falseleafs": false_leaf,
    }
    if missing.size:
        parallel["nodes_missing_value_tracks_true"] = missing
    if hitrates.size:
        parallel["nodes_hitrates"] = hitrates
    _same_length(parallel, count, where)
    _same_length({"leaf_weights": weights}, leaves, where)
    if splits.dtype != weights.dtype or splits.dtype.kind != "f":
        raise _refuse("DP350", f"splits {splits.dtype}, weights {weights.dtype}", "one floating type", where)
    if modes.dtype != np.uint8 or int(modes.max()) >= _LEAF:
        raise _refuse("DP359", "a node mode outside the comparisons", "BRANCH_LEQ to BRANCH_NEQ", where)
    wanted = attributes.integer("n_targets", 0)
    if not 1 <= wanted <= MAX_TARGETS:
        raise _refuse("DP356", f"{wanted} targets", f"1 to {MAX_TARGETS}", where)
    if (
        not 0 <= attributes.integer("aggregate_function", 1) <= 3
        or not 0 <= attributes.integer("post_transform", 0) <= 4
    ):
        raise _refuse("DP359", "an unknown aggregate_function or post_transform", "a known one", where)
    _in_range(roots, count, "DP351", "tree roots", where)
    for children, leaf in ((true, true_leaf), (false, false_leaf)):
        _in_range(children[~leaf], count, "DP351", "child nodes", where)
        _in_range(children[leaf], leaves, "DP351", "child leaves", where)
    _in_range(features, columns, "DP355", "features", where)
    _in_range(targets, wanted, "DP356", "targets", where)
    _not_nan(splits, where)
    _finite(weights, "a leaf weight", where)
    # A tree that is one leaf is written as a node whose two branches are that leaf.
    both = true_leaf & false_leaf & (true == false)
    used = np.bincount(true[true_leaf], minlength=leaves) + np.bincount(
        false[false_leaf & ~both], minlength=leaves
    )
    if (used != 1).any():
        leaf_id = int(np.flatnonzero(used != 1)[0])
        raise _refuse("DP352", f"leaf {leaf_id} with {int(used[leaf_id])} parents", "one parent each", where)
    if (np.diff(np.sort(roots)) == 0).any():
        raise _refuse("DP352", "a root used twice", "each once", where)
    depth = _depth(true, false, (~true_leaf, ~false_leaf), roots, where, MAX_DEPTH - 1) + 1
    return wanted, TreeFacts(1, len(roots), count + leaves, depth)


def _modes(attributes: Attributes, where: str) -> npt.NDArray[np.uint8]:
    value = attributes.strings_or_modes("nodes_modes")
    if isinstance(value, np.ndarray):
        return value
    known = {name: index for index, name in enumerate(MODES)}
    try:
        return np.array([known[name] for name in value], dtype=np.uint8)
    except KeyError as error:
        raise _refuse("DP359", f"node mode {error.args[0]!r:.40}", "a comparison or LEAF", where) from None


def check_legacy_ensemble(
    attributes: Attributes, prefix: str, targets: int, columns: int, where: str
) -> TreeFacts:
    """Check a TreeEnsembleClassifier or TreeEnsembleRegressor.

    Args:
        attributes: the node's attributes.
        prefix: ``class`` or ``target``: how its weight lists are called.
        targets: number of classes or targets.
        columns: columns of its input.
        where: for messages.

    Returns:
        Its size.

    Raises:
        OnnxRefusedError: DP350-DP360.
    """
    tree_ids, node_ids = attributes.ints("nodes_treeids"), attributes.ints("nodes_nodeids")
    true, false = attributes.ints("nodes_truenodeids"), attributes.ints("nodes_falsenodeids")
    features, modes = attributes.ints("nodes_featureids"), _modes(attributes, where)
    values = attributes.floats_or_tensor("nodes_values")
    missing = _flags(
        attributes.ints("nodes_missing_value_tracks_true"), "missing value directions", "DP359", where
    )
    hitrates = attributes.floats_or_tensor("nodes_hitrates")
    base = attributes.floats_or_tensor("base_values")
    count = len(node_ids)
    if count == 0:
        raise _refuse("DP350", "no nodes", "at least one", where)
    if not 1 <= targets <= MAX_TARGETS:
        raise _refuse("DP356", f"{targets} targets", f"1 to {MAX_TARGETS}", where)
    parallel: dict[str, npt.NDArray[Any]] = {
        "nodes_treeids": tree_ids,
        "nodes_truenodeids": true,
        "nodes_falsenodeids": false,
        "nodes_featureids": features,
        "nodes_modes": modes,
        "nodes_values": values,
    }
    if missing.size:
        parallel["nodes_missing_value_tracks_true"] = missing
    if hitrates.size:
        parallel["nodes_hitrates"] = hitrates
    _same_length(parallel, count, where)
    steps = np.diff(tree_ids)
    if tree_ids[0] != 0 or (steps.size and (steps.min() < 0 or steps.max() > 1)):
        raise _refuse("DP351", "tree ids with gaps or out of order", "0, 1, 2, ... in order", where)
    starts = np.concatenate(([0], np.flatnonzero(steps) + 1)).astype(np.int64)
    sizes = np.diff(np.concatenate((starts, [count])))
    offset, size = starts[tree_ids], sizes[tree_ids]
    if (node_ids != np.arange(count) - offset).any():
        raise _refuse("DP351", "node ids with gaps or out of order", "0, 1, 2, ... within each tree", where)
    branch = modes != _LEAF
    for children in (true, false):
        if ((children < 0) | (children >= size)).any():
            raise _refuse("DP351", "a child outside its tree", "a node id of the same tree", where)
    _in_range(features, columns, "DP355", "features", where)
    _not_nan(values, where)
    _finite(base, "a base value", where)
    if base.size not in (0, 1, targets):
        raise _refuse("DP350", f"{base.size} base values", f"none or {targets}", where)
    depth = _depth(true + offset, false + offset, (branch, branch), starts, where)
    owner_tree, owner_node = attributes.ints(f"{prefix}_treeids"), attributes.ints(f"{prefix}_nodeids")
    ids, weights = attributes.ints(f"{prefix}_ids"), attributes.floats_or_tensor(f"{prefix}_weights")
    lists = {f"{prefix}_nodeids": owner_node, f"{prefix}_ids": ids, f"{prefix}_weights": weights}
    _same_length(lists, len(owner_tree), where)
    if not len(ids):
        raise _refuse("DP350", "no leaf weights", "at least one", where)
    _in_range(owner_tree, len(starts), "DP351", "weights of trees", where)
    if ((owner_node < 0) | (owner_node >= sizes[owner_tree])).any():
        raise _refuse("DP351", "a weight of a node outside its tree", "a node id of that tree", where)
    if branch[starts[owner_tree] + owner_node].any():
        raise _refuse("DP360", "a weight on a node that is no leaf", "weights on leaves only", where)
    _in_range(ids, targets, "DP356", "targets", where)
    _finite(weights, "a leaf weight", where)
    return TreeFacts(1, len(starts), count, depth)
