# SPDX-License-Identifier: Apache-2.0
"""XGBoost, from the document inside its booster (src/gbm/gbtree.cc, src/objective/*, src/predictor/*)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record, plain
from ..boosters import Json, xgboost_category_sets, xgboost_model
from ..walk import MODE_LESS, Expected, ExpectedTree
from .answers import (
    SINGLE_STEPS,
    argmax,
    distinct_lead,
    even_chance_single,
    lead,
    logistic,
    soft_max,
    threshold_rule,
    two_classes,
)
from .category_sets import with_category_columns
from .node_tables import constant_tree
from .not_derived import NotDerivedError
from .paths import exact_only, hold_paths, paths_kept
from .reading import integer, unreadable
from .spread import SINGLE_SPREAD, UNKNOWN, as_bound, beside
from .vocabulary import Answer, apply, as_double, as_single, columns, constant, scalar, trees

if TYPE_CHECKING:
    from .derivation import Derivation

__all__ = ["expect_xgboost", "xgboost_columns"]

_IDENTITY = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
_LOG = ("count:poisson", "reg:gamma", "reg:tweedie")


def xgboost_columns(owner: Record) -> int:
    """Number of columns that the booster was trained on."""
    return _whole(_object(xgboost_model(owner), "learner_model_param"), "num_feature")


def expect_xgboost(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """XGBClassifier, XGBRegressor, their random forests, and a Booster by itself."""
    learner = xgboost_model(owner)
    marker = plain(owner.get("missing"))
    if marker is not None and not (isinstance(marker, float) and math.isnan(marker)):
        raise unreadable(owner, "missing", "NaN")
    objective = _object(learner, "objective").get("name")
    classes = integer(owner, "n_classes_") if owner.name.endswith("Classifier") else 1
    width = 1 if classes <= 2 else classes
    booster = _object(learner, "gradient_booster")
    if owner.name == "Booster" and booster.get("name") != "gbtree":
        raise NotDerivedError("DMatrix.predict of dart and gblinear")
    kept: Expected | None = None
    start = _margins(learner, str(objective), width)
    found = [constant_tree(float(value), place) for place, value in enumerate(start)]
    if booster.get("name") == "dart":
        inner = _trees(owner, learner, _object(_object(booster, "gbtree"), "model"), width)
        found += _dropped(owner, inner, _numbers(booster, "weight_drop"), start)
    elif booster.get("name") == "gbtree":
        found += _trees(owner, learner, _object(booster, "model"), width)
    elif booster.get("name") != "gblinear":
        raise unreadable(owner, "gradient_booster", "gbtree, dart or gblinear")
    if booster.get("name") == "gblinear":
        exact_only(rows)
        raw = _products(rows, _numbers(_object(booster, "model"), "weights"), start)
    else:
        kept = paths_kept(rows, found, as_single, "float32")
        seen, found = _looked_up(rows, found, xgboost_columns(owner))
        raw = trees(seen, found, targets=width, dtype="float32")
    wide = as_double(raw)
    if not owner.name.endswith("Classifier"):
        if objective in _LOG:
            exact_only(rows)
            return Answer(scores=as_double(apply("Exp", raw)), score_error=UNKNOWN, single=True)
        if objective in _IDENTITY:
            return hold_paths(Answer(scores=wide, single=True), kept)
        if objective == "binary:logistic" and owner.name == "Booster":
            exact_only(rows)
            p = as_double(logistic(raw, dtype="float32"))
            band = _start_band(float(start[0]), found[width:]) if start[0] != 0.0 else 0.0
            return Answer(scores=p, score_error=beside(p, band + SINGLE_SPREAD))
    elif objective == "binary:logistic" and classes == 2:
        index = threshold_rule(raw, "GreaterOrEqual", even_chance_single(), "float32")
        p = as_double(two_classes(logistic(raw, dtype="float32"), "float32"))
        band = None
        if start[0] != 0.0:
            # The base score passed through a logarithm, which C libraries round apart: no sum is surely bit-equal.
            if booster.get("name") == "gblinear":
                raise unreadable("XGBoost model", "base_score", "0.5 in a linear booster")
            band = _start_band(float(start[0]), found[width:])
        return hold_paths(_answer(wide, index, p, width, band), kept)
    elif objective in ("multi:softprob", "multi:softmax") and width > 2:
        return hold_paths(_answer(wide, argmax(raw), as_double(soft_max(raw, width)), width), kept)
    raise unreadable(owner, "objective", "an objective whose answer is known")


def _start_band(start: float, found: Sequence[ExpectedTree]) -> float:
    """How far two float32 sums may part that start from logarithms of two C libraries; u = 2^-24.

    The start errs by 4 units in the last place, 8u of it, on each side. The k-th addition errs by u of its result,
    which no row brings above the start and the largest leaves of the first k trees. A leaf of dart, which adds the
    start and takes it off again, errs by 2u of both. 64u part two values of exp; products of errors are below 2^-10.
    """
    peaks = [float(np.abs(tree.weight[tree.left < 0]).max()) for tree in found]
    highest, total = abs(start), 16.0 * abs(start)
    for peak in peaks:
        highest += peak
        total += 2.0 * highest + 4.0 * (abs(start) + peak)
    return 2.0**-24 * total * (1.0 + 2.0**-10) + 2.0**-18


def _answer(raw: Expected, index: Expected, p: Expected, width: int, band: float | None = None) -> Answer:
    known = tuple(range(max(width, 2)))
    if band is not None:
        margin = lead(raw, width)
        return Answer(known, index, p, raw, margin, as_bound(band, margin), band, band + SINGLE_SPREAD)
    margin = distinct_lead(raw, width)
    bound = as_bound(float(SINGLE_STEPS), margin)
    return Answer(known, index, p, raw, margin, bound, probability_error=SINGLE_SPREAD)


def _object(parent: Mapping[str, Json], name: str) -> dict[str, Json]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise unreadable("XGBoost model", name, "an object")
    return value


def _whole(parent: Mapping[str, Json], name: str) -> int:
    value = parent.get(name)
    if not isinstance(value, str) or not value.isdigit():
        raise unreadable("XGBoost model", name, "a number")
    return int(value)


def _numbers(parent: Mapping[str, Json], name: str) -> npt.NDArray[np.float64]:
    value = parent.get(name)
    if not isinstance(value, list | np.ndarray):
        raise unreadable("XGBoost model", name, "numbers")
    try:
        return np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise unreadable("XGBoost model", name, "numbers") from error


def _margins(learner: Mapping[str, Json], objective: str, width: int) -> list[np.float32]:
    """``ProbToMargin`` of the base score, in float32 (src/objective/regression_loss.h)."""
    text = _object(learner, "learner_model_param").get("base_score")
    try:
        scores = [np.float32(part) for part in str(text).strip("[]").split(",")]
    except ValueError as error:
        raise unreadable("XGBoost model", "base_score", "numbers") from error
    if len(scores) == 1:
        scores *= width
    if len(scores) != width or not all(np.isfinite(scores)):
        raise unreadable("XGBoost model", "base_score", "one number for each raw score")
    if objective == "binary:logistic":
        if not all(0 < score < 1 for score in scores):
            raise unreadable("XGBoost model", "base_score", "a probability")
        return [np.float32(-math.log(float(np.float32(1) / score - np.float32(1)))) for score in scores]
    if objective in _LOG:
        if not all(score > 0 for score in scores):
            raise unreadable("XGBoost model", "base_score", "a positive number")
        return [np.float32(math.log(float(score))) for score in scores]
    return scores


def _trees(
    owner: Record, learner: Mapping[str, Json], model: Mapping[str, Json], width: int
) -> list[ExpectedTree]:
    entries = model.get("trees")
    targets = _numbers(model, "tree_info").astype(np.int64)
    if not isinstance(entries, list) or len(entries) != len(targets):
        raise unreadable("XGBoost model", "trees", "as many as tree_info")
    if bool(((targets < 0) | (targets >= width)).any()):
        raise unreadable("XGBoost model", "tree_info", f"0 to {width - 1}")
    used = _used(owner, learner, model, len(entries), width)
    return [_tree(entry, int(target)) for entry, target in zip(entries[:used], targets[:used], strict=True)]


def _looked_up(rows: Expected, found: list[ExpectedTree], width: int) -> tuple[Expected, list[ExpectedTree]]:
    """``common::AsCat`` cuts a category that is not negative to a whole number; a negative one is in no set."""
    single = as_single(rows)
    chosen = sorted({int(tree.feature[node]) for tree in found for node in tree.members})
    if not chosen:
        return single, found
    mask = constant(np.isin(np.arange(width), chosen), np.bool_)
    return with_category_columns(
        apply("Where", mask, apply("Floor", single), single), found, width, "float32"
    )


def _products(rows: Expected, table: npt.NDArray[np.float64], start: list[np.float32]) -> Expected:
    """``GBLinear::Pred``: bias and base score, then each column that is present times its weight, in order."""
    width = len(start)
    if len(set(start)) != 1 or table.size % width or table.size < 2 * width:
        raise unreadable("XGBoost model", "weights", "weights for each column and one base score")
    weights = table.astype(np.float32).reshape(-1, width)
    single = as_single(rows)
    zero = scalar(0.0, np.float32)
    present = apply("Where", apply("IsNaN", single), zero, single)
    nothing = apply("Mul", columns(present, [0]), zero)
    sums = []
    for place in range(width):
        begin = np.float32(weights[-1, place] + start[place])
        parts = apply("Mul", present, constant(weights[:-1, place], np.float32))
        first = apply("Add", nothing, scalar(float(begin), np.float32))
        running = apply("CumSum", apply("Concat", first, parts, axis=1), constant(1, np.int64))
        sums.append(columns(running, [len(weights) - 1]))
    return sums[0] if width == 1 else apply("Concat", *sums, axis=1)


def _dropped(
    owner: Record, inner: list[ExpectedTree], weights: npt.NDArray[np.float64], start: list[np.float32]
) -> list[ExpectedTree]:
    """``Dart::InplacePredict``: a tree asked alone answers from the base score on, which is taken off again."""
    if owner.get("predictor") not in (None, "auto") or len(weights) < len(inner):
        raise unreadable(owner, "weight_drop", "a weight for each tree, and the library's own predictor")
    found = []
    for place, tree in enumerate(inner):
        base = start[tree.target]
        alone = np.add(base, tree.weight, dtype=np.float32)
        leaf = np.multiply(np.subtract(alone, base, dtype=np.float32), np.float32(weights[place]))
        found.append(replace(tree, weight=leaf.astype(np.float64)))
    return found


def _used(
    owner: Record, learner: Mapping[str, Json], model: Mapping[str, Json], total: int, width: int
) -> int:
    """The scikit-learn interface predicts with the rounds up to the best one, where early stopping recorded it.

    ``Booster.predict`` (core.py) has ``iteration_range=(0, 0)``, which is all of them.
    """
    if owner.name == "Booster":
        return total
    attributes = learner.get("attributes")
    best = attributes.get("best_iteration") if isinstance(attributes, dict) else None
    if best is None:
        return total
    if not isinstance(best, str) or not best.isdigit():
        raise unreadable("XGBoost model", "best_iteration", "a number")
    if "iteration_indptr" in model:
        ends = _numbers(model, "iteration_indptr").astype(np.int64)
        used = int(ends[int(best) + 1]) if int(best) + 1 < len(ends) else -1
    else:
        used = (int(best) + 1) * width * _whole(_object(model, "gbtree_model_param"), "num_parallel_tree")
    if not 0 <= used <= total:
        raise unreadable("XGBoost model", "best_iteration", "a round of the model")
    return used


def _tree(entry: Json, target: int) -> ExpectedTree:
    if not isinstance(entry, dict):
        raise unreadable("XGBoost model", "trees", "objects")
    if _object(entry, "tree_param").get("size_leaf_vector") not in ("0", "1", None):
        raise unreadable("XGBoost model", "size_leaf_vector", "scalar leaves")
    condition = _numbers(entry, "split_conditions")  # of a leaf, its value
    left, right = (_numbers(entry, f"{side}_children").astype(np.int64) for side in ("left", "right"))
    default = _numbers(entry, "default_left") != 0
    members = {}
    if "split_type" in entry and bool(_numbers(entry, "split_type").any()):
        members = xgboost_category_sets(entry)
        if sorted(members) != np.flatnonzero(_numbers(entry, "split_type")).tolist():
            raise unreadable("XGBoost model", "categories_nodes", "the categorical splits")
        chosen = sorted(members)
        # common::Decision answers "left" for what is not in the set; the walk wants its members on the left
        left[chosen], right[chosen] = right[chosen], left[chosen]
        default[chosen] = ~default[chosen]
    return ExpectedTree(
        feature=_numbers(entry, "split_indices").astype(np.int64),
        threshold=condition,
        left=left,
        right=right,
        missing_left=default,
        members=members,
        weight=condition,
        target=target,
        mode=MODE_LESS,
    )
