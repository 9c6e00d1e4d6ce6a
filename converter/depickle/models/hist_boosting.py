# SPDX-License-Identifier: Apache-2.0
"""HistGradientBoosting of scikit-learn: double comparisons, sets of categories, a direction for missing values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..pickles.graph import Array, ListNode, Record, plain
from .attributes import array_of, class_labels, integer, members, records, table_of, text, unsupported, wrong
from .categories import left_categories, read_categories
from .interface import Context, ReadPredictor
from .label_rules import argmax_of_two, certified_argmax
from .trees import checked_tree
from .types import Boosted, Chain, FloatArray, LabelRule, Link, Tree

__all__ = ["read_hist_gradient_boosting"]

_RAW_LABELS_SINCE = (1, 5)  # before, the label was the argmax of the probabilities
_LOG_LINKS = ("poisson", "gamma")
_IDENTITY_LINKS = ("squared_error", "absolute_error", "quantile")


def read_hist_gradient_boosting(record: Record, context: Context) -> ReadPredictor:
    """HistGradientBoostingClassifier and HistGradientBoostingRegressor.

    Raises:
        UnsupportedModelError: DP603 for categories that are no numbers or were written before 1.4, DP602 or DP605
            for malformed state.
    """
    version = context.version(record)
    classifier = record.name == "HistGradientBoostingClassifier"
    classes = class_labels(record, "classes_", record.get("classes_")) if classifier else None
    n_features = integer(record, "n_features_in_", low=1)
    encode = read_categories(record, n_features)
    baseline = _baseline(record)
    width = len(baseline)
    expected = 1 if classes is None or len(classes) == 2 else len(classes)
    if width != expected:
        raise wrong(record, "_baseline_prediction", record.get("_baseline_prediction"), f"{expected} values")
    rounds = members(record, "_predictors", record.get("_predictors"))
    trees: list[Tree] = []
    for one in rounds:
        predictors = records(record, "_predictors", one) if isinstance(one, ListNode) else []
        if len(predictors) != width:
            raise wrong(record, "_predictors", one, f"{width} trees a round")
        categorical = len(encode.encoded) if encode else 0
        trees += [_tree(record, predictor, n_features, categorical) for predictor in predictors]
    link, rule = _decision(record, version, width, classifier=classifier)
    exact = rule is None or rule.exact
    root = Boosted(
        trees=tuple(trees),
        target=tuple(range(width)) * len(rounds),
        baseline=baseline,
        columns=n_features,
        link=link,
        rule=rule,
    )
    return ReadPredictor(
        task="classifier" if classifier else "regressor",
        classes=classes,
        n_features=n_features,
        root=root if encode is None else Chain((encode,), root),
        ceiling="certified" if not exact or link == "exp" else "proven",
        reason=(
            "The label is a comparison of sums of leaves, added in the original's order"
            if exact and link != "exp"
            else "The answer passes through exp; the sums before it are exact"
        ),
        allow_nan=True,
        allow_infinite=encode is None,
        max_abs=None,
        family=record.name,
        decision_function=classifier,
    )


def _baseline(record: Record) -> FloatArray:
    value = record.get("_baseline_prediction")
    if isinstance(value, Array):
        raw = array_of(record, "_baseline_prediction", value)
        if raw.dtype != np.float64 or raw.size == 0 or not bool(np.isfinite(raw).all()):
            raise wrong(record, "_baseline_prediction", value, "finite float64 values")
        result: FloatArray = np.array(raw, dtype=np.float64).reshape(-1)
        return result
    scalar = plain(value)
    if isinstance(scalar, bool) or not isinstance(scalar, int | float) or not np.isfinite(scalar):
        raise wrong(record, "_baseline_prediction", value, "a finite number")
    return np.array([float(scalar)])


def _tree(owner: Record, predictor: Record, n_features: int, categorical: int) -> Tree:
    nodes: npt.NDArray[np.void] = table_of(predictor, "nodes")
    names = set(nodes.dtype.names or ())
    needed = {"value", "feature_idx", "num_threshold", "missing_go_to_left", "left", "right", "is_leaf"}
    if not needed <= names:
        raise wrong(predictor, "nodes", predictor.get("nodes"), "the node table of a histogram tree")
    leaves = nodes["is_leaf"] != 0
    sets = left_categories(owner, predictor, nodes, categorical)
    threshold = nodes["num_threshold"].astype(np.float64)
    threshold[list(sets)] = np.nan
    return checked_tree(
        owner.name,
        feature=nodes["feature_idx"],
        threshold=threshold,
        left=np.where(leaves, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaves, -1, nodes["right"].astype(np.int64)),
        missing_left=nodes["missing_go_to_left"] != 0,
        value=nodes["value"].reshape(-1, 1),
        n_features=n_features,
        members=sets,
    )


def _decision(
    record: Record, version: tuple[int, int], width: int, *, classifier: bool
) -> tuple[Link, LabelRule | None]:
    loss = text(record, "loss")
    if not classifier:
        if loss in _IDENTITY_LINKS:
            return "identity", None
        if loss in _LOG_LINKS:
            return "exp", None
        raise unsupported(record, "The loss is not known", found=repr(loss), expected="a loss of its version")
    if loss not in ("log_loss", "auto", "binary_crossentropy", "categorical_crossentropy"):
        raise unsupported(record, "The loss is not known", found=repr(loss), expected="log_loss")
    old = version < _RAW_LABELS_SINCE
    if width == 1:
        return "logistic", argmax_of_two() if old else LabelRule("score_above", cut=0.0)
    return "softmax", (certified_argmax() if old else LabelRule("argmax_scores"))
