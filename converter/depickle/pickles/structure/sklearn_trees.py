# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's trees and histogram boosting: sizes, features and node graphs that fit the estimator around them."""

from __future__ import annotations

import numpy as np

from ..graph import Array, ListNode, Record, Value
from .forests import MAX_TREE_DEPTH, NodeGraph
from .read import array, integer, optional_integer, refuse

__all__ = ["check_boosting", "check_forest", "tree_graph"]

_TREE_FIELDS = ("left_child", "right_child", "feature", "threshold", "impurity")
_PREDICTOR_FIELDS = (
    "value",
    "feature_idx",
    "num_threshold",
    "missing_go_to_left",
    "left",
    "right",
    "is_leaf",
)
_TREE = "sklearn.tree._tree.Tree"
_MAX_COUNT = 1 << 31
_MAX_FEATURES = 1 << 24


def tree_graph(record: Record) -> NodeGraph:
    """The node graph of ``sklearn.tree._tree.Tree``, with its values checked.

    Raises:
        StructureError: DP450.
    """
    rule = "DP450"
    if len(record.args) != 3:
        raise refuse(rule, record, "it is made of something else than three sizes")
    n_features = integer(rule, record, record.args[0], "the number of features", 1, _MAX_FEATURES)
    classes = array(rule, record, record.args[1], "the number of classes", kinds="i", dimensions=1)
    n_outputs = integer(rule, record, record.args[2], "the number of outputs", 1, 1 << 20)
    count = integer(rule, record, record.get("node_count"), "node_count", 1, _MAX_COUNT)
    depth = integer(rule, record, record.get("max_depth"), "max_depth", 0, MAX_TREE_DEPTH)
    nodes = array(rule, record, record.get("nodes"), "nodes", kinds="V", dimensions=1)
    values = array(rule, record, record.get("values"), "values", kinds="f", dimensions=3)
    names = nodes.dtype.names or ()
    if len(nodes) != count or any(name not in names for name in _TREE_FIELDS):
        raise refuse(rule, record, f"node_count is {count} and {len(nodes)} nodes are present")
    widest = int(classes.max()) if len(classes) else 0
    if len(classes) != n_outputs or widest < 1 or int(classes.min()) < 1:
        raise refuse(rule, record, "the numbers of classes do not match the outputs")
    if values.shape != (count, n_outputs, widest):
        raise refuse(rule, record, f"values has the shape {values.shape}, not {(count, n_outputs, widest)}")
    if not np.isfinite(values).all():
        raise refuse(rule, record, "a value is not finite")
    left, right = nodes["left_child"], nodes["right_child"]
    inner = left != -1
    if not np.array_equal(inner, right != -1):
        raise refuse(rule, record, "a node has one child")
    # scikit-learn 1.3.0 leaves the flag of a leaf, which nothing reads, as it found the memory
    if "missing_go_to_left" in names and (nodes["missing_go_to_left"][inner] > 1).any():
        raise refuse(rule, record, "a flag for missing values is neither 0 nor 1")
    feature, threshold = nodes["feature"][inner], nodes["threshold"][inner]
    return NodeGraph(record, rule, left[inner], right[inner], inner, feature, threshold, n_features, depth)


_UNCHECKED = frozenset(
    {
        "AdaBoost",
        "Bagging",
        "ExtraTrees",
        "GradientBoosting",
        "IsolationForest",
        "RandomForest",
        "RandomTreesEmbedding",
    }
)


def _members(value: Value) -> list[Value]:
    if isinstance(value, ListNode):
        return value.items
    if isinstance(value, Array) and value.objects is not None:
        return value.objects
    return []


def check_forest(record: Record) -> None:
    """A tree estimator or an ensemble: every tree inside takes as many features as the estimator checks for.

    The ensembles of `_UNCHECKED` look at the width of a row once and hand it to their trees as it is. All others
    (voting, stacking, chains …) ask their members' public methods, and each member checks for itself.

    Raises:
        StructureError: DP451.
    """
    rule = "DP451"
    tree = record.get("tree_")
    features = optional_integer(rule, record, "n_features_in_", 1, _MAX_FEATURES)
    if features is None:
        features = optional_integer(rule, record, "n_features_", 1, _MAX_FEATURES)
    if isinstance(tree, Record) and tree.cls == _TREE:
        if features is None or not tree.args or tree.args[0] != features:
            raise refuse(rule, record, "its tree takes another number of features than it checks for")
        outputs = optional_integer(rule, record, "n_outputs_", 1, 1 << 20)
        if outputs is not None and (len(tree.args) < 3 or tree.args[2] != outputs):
            raise refuse(rule, record, "its tree has another number of outputs")
    if record.name.removesuffix("Classifier").removesuffix("Regressor") not in _UNCHECKED:
        return
    subsets = record.get("estimators_features_")
    for index, member in enumerate(_members(record.get("estimators_"))):
        if not isinstance(member, Record):
            continue
        inside = member.get("tree_")
        if not isinstance(inside, Record) or inside.cls != _TREE or not inside.args:
            continue
        width = features
        if isinstance(subsets, ListNode) and index < len(subsets):
            subset = subsets[index]
            width = subset.shape[0] if isinstance(subset, Array) and len(subset.shape) == 1 else features
            if isinstance(subset, Array) and subset.dtype.descr[1] in "iu" and features is not None:
                places = array(rule, record, subset, "a subset of the features", kinds="iu", dimensions=1)
                if len(places) and not 0 <= int(places.min()) <= int(places.max()) < features:
                    raise refuse(rule, record, f"tree {index} takes features that no row has")
        if width is None or inside.args[0] != width:
            raise refuse(
                rule, record, f"tree {index} takes another number of features than the ensemble checks for"
            )


def check_boosting(record: Record) -> list[NodeGraph]:
    """The node graphs of a HistGradientBoosting estimator.

    Raises:
        StructureError: DP452.
    """
    rule = "DP452"
    features = optional_integer(rule, record, "n_features_in_", 1, _MAX_FEATURES)
    predictors = record.get("_predictors")
    if predictors is None:
        return []
    if features is None or not isinstance(predictors, ListNode):
        raise refuse(rule, record, "its predictors or its number of features are missing")
    per_iteration = optional_integer(rule, record, "n_trees_per_iteration_", 1, 1 << 16)
    graphs: list[NodeGraph] = []
    for row in predictors:
        if not isinstance(row, ListNode) or len(row) != per_iteration:
            raise refuse(rule, record, f"an iteration does not hold {per_iteration} trees")
        for predictor in row:
            if not isinstance(predictor, Record):
                raise refuse(rule, record, "a predictor is not an object")
            graphs.append(_predictor_graph(predictor, features))
    return graphs


def _predictor_graph(record: Record, features: int) -> NodeGraph:
    rule = "DP452"
    nodes = array(rule, record, record.get("nodes"), "nodes", kinds="V", dimensions=1)
    names = nodes.dtype.names or ()
    if not len(nodes) or any(name not in names for name in _PREDICTOR_FIELDS):
        raise refuse(rule, record, "its nodes lack fields")
    if not np.isfinite(nodes["value"]).all():
        raise refuse(rule, record, "a value is not finite")
    for flag in ("is_leaf", "missing_go_to_left", "is_categorical"):
        if flag in names and int(nodes[flag].max()) > 1:
            raise refuse(rule, record, f"{flag} is neither 0 nor 1")
    inner = nodes["is_leaf"] == 0
    if "is_categorical" in names:
        categorical = inner & (nodes["is_categorical"] == 1)
        if categorical.any():
            for name in ("raw_left_cat_bitsets", "binned_left_cat_bitsets"):
                bitsets = array(rule, record, record.get(name), name, kinds="u", dimensions=2)
                if bitsets.shape[1] != 8 or int(nodes["bitset_idx"][categorical].max()) >= bitsets.shape[0]:
                    raise refuse(rule, record, f"a split uses a category set outside {name}")
    left, right = nodes["left"][inner], nodes["right"][inner]
    feature, threshold = nodes["feature_idx"][inner], nodes["num_threshold"][inner]
    return NodeGraph(record, rule, left, right, inner, feature, threshold, features, None)
