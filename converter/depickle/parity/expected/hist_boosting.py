# SPDX-License-Identifier: Apache-2.0
"""HistGradientBoosting of scikit-learn (_hist_gradient_boosting/gradient_boosting.py, _predictor.pyx)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, ListNode, Record, plain
from ..walk import MODE_LESS_OR_EQUAL, Expected, ExpectedTree
from .answers import (
    DOUBLE_STEPS,
    argmax,
    distinct_lead,
    even_chance,
    logistic,
    soft_max,
    threshold_rule,
    two_classes,
)
from .categories import encoded_rows, sets_of
from .category_sets import with_category_columns
from .derivation import Derivation
from .node_tables import constant_tree
from .paths import exact_only, hold_paths, paths_kept
from .reading import integer, items, labels, one_of, table, unreadable
from .spread import EXP_SPREAD, UNKNOWN, as_bound
from .vocabulary import Answer, apply, trees

__all__ = ["expect_hist_boosting"]

_RAW_LABELS_SINCE = (1, 5)
"""From here on ``predict`` compares raw scores; before, probabilities."""
_FIELDS = ("value", "feature_idx", "num_threshold", "missing_go_to_left", "left", "right", "is_leaf")


def expect_hist_boosting(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """HistGradientBoostingClassifier and HistGradientBoostingRegressor."""
    rows, sets = encoded_rows(owner, rows)
    classifier = owner.name == "HistGradientBoostingClassifier"
    baseline = _baseline(owner)
    width = len(baseline)
    if width != (len(labels(owner)) if classifier and len(labels(owner)) > 2 else 1):
        raise unreadable(owner, "_baseline_prediction", "one number for each raw score")
    found = [constant_tree(float(value), place) for place, value in enumerate(baseline)]
    for one in items(owner, "_predictors"):
        if not isinstance(one, ListNode) or len(one) != width:
            raise unreadable(owner, "_predictors", f"{width} trees a round")
        for target, predictor in enumerate(one):
            if not isinstance(predictor, Record):
                raise unreadable(owner, "_predictors", "trees")
            found.append(_tree(predictor, target, sets))
    kept = paths_kept(rows, found, lambda ends: ends)
    rows, found = with_category_columns(rows, found, integer(owner, "n_features_in_"))
    raw = trees(rows, found, targets=width)
    if not classifier:
        if one_of(owner, "loss", "poisson", "gamma"):
            exact_only(rows)
            return Answer(scores=apply("Exp", raw), score_error=UNKNOWN)
        return hold_paths(Answer(scores=raw), kept)
    p = two_classes(logistic(raw)) if width == 1 else soft_max(raw, width)
    known = labels(owner)
    if derive.version(owner) >= _RAW_LABELS_SINCE:
        index = threshold_rule(raw, "Greater", 0.0) if width == 1 else argmax(raw)
        return hold_paths(Answer(known, index, p, raw, probability_error=EXP_SPREAD, decides=True), kept)
    index = threshold_rule(raw, "GreaterOrEqual", even_chance(1.0)) if width == 1 else argmax(raw)
    margin = distinct_lead(raw, width)
    bound = as_bound(float(DOUBLE_STEPS), margin)
    answer = Answer(known, index, p, raw, margin, bound, probability_error=EXP_SPREAD, decides=True)
    return hold_paths(answer, kept)


def _baseline(owner: Record) -> npt.NDArray[np.float64]:
    value = plain(owner.get("_baseline_prediction"))
    if isinstance(value, Array) and not value.is_object:
        return np.array(value.to_numpy(), dtype=np.float64).reshape(-1)
    if isinstance(value, float):
        return np.array([value])
    raise unreadable(owner, "_baseline_prediction", "numbers")


def _tree(predictor: Record, target: int, sets: int) -> ExpectedTree:
    nodes = table(predictor, "nodes", _FIELDS)
    leaf = nodes["is_leaf"] != 0
    return ExpectedTree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        missing_left=nodes["missing_go_to_left"] != 0,
        weight=nodes["value"].astype(np.float64),
        target=target,
        mode=MODE_LESS_OR_EQUAL,
        members=sets_of(predictor, nodes, sets),
    )
