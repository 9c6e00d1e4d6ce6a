# SPDX-License-Identifier: Apache-2.0
"""LightGBM's scikit-learn estimators, read from the model text inside the pickled booster."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedModelError
from ..pickles.graph import DictNode, Record, plain
from ..pickles.lightgbm_release import lightgbm_releases
from .attributes import class_labels, describe, unsupported, wrong
from .interface import Context, ReadPredictor
from .label_rules import DOUBLE_BAND, argmax_of_two, certified_argmax
from .lightgbm_text import LightgbmError, LightgbmText, LightgbmTree, parse_lightgbm
from .trees import checked_tree, constant_tree, several_outputs
from .types import Boosted, ClassLabel, LabelRule, Link, Tree

__all__ = ["ZERO_BELOW", "read_lightgbm"]

ZERO_BELOW = float(np.float32(1e-35))
"""kZeroThreshold, a float literal in LightGBM's include/LightGBM/meta.h; dense rows drop |x| up to it."""

_CATEGORICAL = 1
_DEFAULT_LEFT = 2
_MISSING_NONE, _MISSING_ZERO, _MISSING_NAN = 0, 1, 2
_FORMATS = ("v3", "v4")
_DECISION_FUNCTION_SINCE = (4, 7)
_SINCE_THEN = "_fitted_with_feature_names"  # set by the constructor since 4.7
_PREDICT_PARAMETERS = ("pred_early_stop", "start_iteration_predict", "num_iteration_predict", "linear_tree")
_EXP_REGRESSIONS = ("poisson", "gamma", "tweedie")
_PLAIN_REGRESSIONS = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")


def read_lightgbm(record: Record, context: Context) -> ReadPredictor:
    """LGBMClassifier, LGBMRegressor, and a bare Booster: a regressor of what its predict returns.

    Raises:
        UnsupportedModelError: DP603 for objectives, linear trees and predict parameters that are not emitted,
            DP607 for a bare Booster of several classes, DP610 for a model text that cannot be read.
    """
    text = _handle(record)
    model = _parsed(record, text)
    kept, iterations = _used_trees(record, model)
    zero_columns, truncated = _special_columns(record, kept)
    classifier = record.name == "LGBMClassifier"
    classes = _classes(record) if classifier else None
    link, factor, rule = _decision(record, model, classes)
    width = model.trees_per_iteration
    trees = tuple(_tree(record, tree, model.features, zero_columns) for tree in kept)
    return ReadPredictor(
        task="classifier" if classifier else "regressor",
        classes=classes,
        n_features=model.features,
        root=Boosted(
            trees=trees,
            target=tuple(range(width)) * iterations,
            baseline=np.zeros(width),
            columns=model.features,
            link=link,
            rule=rule,
            zero_below=ZERO_BELOW,
            truncate=tuple(sorted(truncated)),
            average=iterations if model.average_output else None,
            factor=factor,
            zero_is_missing=tuple(sorted(zero_columns)),
        ),
        ceiling="proven" if link == "identity" else "certified",
        reason=(
            "The answer is a sum of leaves, added in the original's order"
            if link == "identity"
            else "LightGBM compares probabilities, which pass through exp; the sums before it are exact"
        ),
        allow_nan=True,
        allow_infinite=True,
        max_abs=None,
        family=record.name,
        decision_function=_has_decision_function(record, context, text, model) if classifier else False,
    )


def _has_decision_function(record: Record, context: Context, text: str, model: LightgbmText) -> bool | None:
    """Whether the classifier had a decision_function, which LightGBM 4.7 brought, where it was asked.

    What trained the trees wrote their text and what constructed the estimator wrote its state; the two must agree,
    and with the release that is known from elsewhere. An estimator that was fitted before the composition may have
    been fitted by an earlier release, so nothing but 4.7 or later is told then.
    """
    releases = lightgbm_releases(text) if model.version == "v4" else ("3.3",)
    stated = tuple(context.writer.get("lightgbm", "").split(" or "))
    if _release(stated[0]) is not None:
        releases = tuple(release for release in stated if not releases or release in releases)
    told = {(_release(release) or (0, 0)) >= _DECISION_FUNCTION_SINCE for release in releases}
    if told != {record.get(_SINCE_THEN) is not None} or (context.fitted_before and told != {True}):
        return None
    return True in told


def _release(text: str) -> tuple[int, int] | None:
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def _booster(record: Record) -> Record:
    booster = record if record.name == "Booster" else record.get("_Booster")
    if not isinstance(booster, Record) or booster.cls != "lightgbm.basic.Booster":
        raise wrong(record, "_Booster", booster, "a fitted booster")
    return booster


def _handle(record: Record) -> str:
    booster = _booster(record)
    handle = booster.get("_handle", booster.get("handle"))
    if not isinstance(handle, str):
        raise wrong(booster, "_handle", handle, "the model text")
    return handle


def _parsed(record: Record, text: str) -> LightgbmText:
    try:
        model = parse_lightgbm(text)
    except LightgbmError as error:
        raise UnsupportedModelError(
            "The LightGBM model text cannot be read",
            code="DP610",
            where=record.name,
            found=str(error),
            expected="a complete model of format v3 or v4, without linear leaves",
            next_step="Save the model again with a released LightGBM",
        ) from error
    if model.version not in _FORMATS:
        raise unsupported(
            record, "A LightGBM format that is not known", found=model.version, expected="v3 or v4"
        )
    return model


def _used_trees(record: Record, model: LightgbmText) -> tuple[tuple[LightgbmTree, ...], int]:
    """The trees that predict uses: up to the best iteration where early stopping left one."""
    other = record.get("_other_params")
    if isinstance(other, DictNode):
        for name in _PREDICT_PARAMETERS:
            if plain(other.get(name)) not in (None, False):
                raise unsupported(record, "A parameter that changes predict", found=name)
    best = plain(_booster(record).get("best_iteration"))
    total = len(model.trees) // model.trees_per_iteration
    if best is None or best == -1 or best == 0:
        iterations = total
    elif isinstance(best, int) and best > 0:
        iterations = min(best, total)
    else:
        raise wrong(record, "best_iteration", best, "a number of iterations")
    if iterations == 0:
        raise unsupported(record, "The model has no trees", found="0 iterations", expected="at least one")
    return model.trees[: iterations * model.trees_per_iteration], iterations


def _special_columns(record: Record, trees: tuple[LightgbmTree, ...]) -> tuple[set[int], set[int]]:
    """Columns in which zero is missing, and categorical columns; a column is one kind throughout."""
    zero: set[int] = set()
    plain_columns: set[int] = set()
    categorical: set[int] = set()
    for tree in trees:
        kinds = tree.decision_type >> 2 & 3
        is_category = (tree.decision_type & _CATEGORICAL) != 0
        categorical |= set(tree.split_feature[is_category].tolist())
        zero |= set(tree.split_feature[~is_category & (kinds == _MISSING_ZERO)].tolist())
        plain_columns |= set(tree.split_feature[~is_category & (kinds != _MISSING_ZERO)].tolist())
    if zero & plain_columns or categorical & (zero | plain_columns):
        raise unsupported(record, "A column is compared in two different ways", expected="one kind a column")
    return zero, categorical


def _tree(owner: Record, tree: LightgbmTree, features: int, zero_columns: set[int]) -> Tree:
    splits = len(tree.split_feature)
    if splits == 0:
        if not np.isfinite(tree.leaf_value).all():
            raise wrong(owner, "leaf_value", None, "finite numbers")
        return constant_tree([tree.leaf_value[0]])
    leaves = len(tree.leaf_value)
    left, right = (_child(part, splits) for part in (tree.left_child, tree.right_child))
    if bool((tree.decision_type & ~0b1111).any()) or bool((tree.decision_type >> 2 & 3 == 3).any()):
        raise unsupported(owner, "A decision type that is not known", found="other bits")
    kinds = tree.decision_type >> 2 & 3
    category = (tree.decision_type & _CATEGORICAL) != 0
    default_left = (tree.decision_type & _DEFAULT_LEFT) != 0
    missing_left = np.where(kinds == _MISSING_NONE, tree.threshold >= 0.0, default_left) & ~category
    members: dict[int, tuple[int, ...]] = {}
    for node in np.flatnonzero(category):
        place = int(tree.threshold[node])
        if not 0 <= place < len(tree.categories) or place != tree.threshold[node]:
            raise wrong(owner, "threshold", None, "a categorical split of the tree")
        members[int(node)] = tree.categories[place]
    pad = np.full(leaves, -1, dtype=np.int64)
    return checked_tree(
        owner.name,
        feature=np.concatenate([tree.split_feature, pad]),
        threshold=np.concatenate([np.where(category, np.nan, tree.threshold), np.full(leaves, np.nan)]),
        left=np.concatenate([left, pad]),
        right=np.concatenate([right, pad]),
        missing_left=np.concatenate([missing_left, np.zeros(leaves, dtype=bool)]),
        value=np.concatenate([np.zeros(splits), tree.leaf_value]).reshape(-1, 1),
        n_features=features,
        members=members,
    )


def _child(
    children: np.ndarray[tuple[int, ...], np.dtype[np.int64]], splits: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.where(children < 0, splits + ~children, children)


def _classes(record: Record) -> tuple[ClassLabel, ...]:
    encoder = record.get("_le")
    if not isinstance(encoder, Record):
        raise wrong(record, "_le", encoder, "a fitted label encoder")
    return class_labels(encoder, "classes_", encoder.get("classes_"))


def _decision(
    record: Record, model: LightgbmText, classes: tuple[ClassLabel, ...] | None
) -> tuple[Link, float, LabelRule | None]:
    name, *options = model.objective or ("",)
    values = dict(option.partition(":")[::2] for option in options)
    try:
        factor = float(values.get("sigmoid") or 1.0)
    except ValueError as error:
        raise wrong(
            record, "objective", describe(" ".join(model.objective)), "a number for sigmoid"
        ) from error
    width = model.trees_per_iteration
    if classes is None:
        if width == 1 and name in _PLAIN_REGRESSIONS:
            return ("signed_square" if "sqrt" in options else "identity"), 1.0, None
        if width == 1 and name in _EXP_REGRESSIONS:
            return "exp", 1.0, None
        if record.name == "Booster" and width == 1 and name == "binary" and factor > 0:
            return "logistic", factor, None
        if record.name == "Booster" and width > 1:
            raise several_outputs(record)
    elif width == 1 and len(classes) == 2 and name == "binary" and factor > 0:
        return "logistic", factor, argmax_of_two(factor)
    elif width == len(classes) > 2 and name == "multiclass":
        return "softmax", 1.0, certified_argmax()
    elif width == len(classes) > 2 and name == "multiclassova" and factor > 0:
        return "logistic_each", factor, LabelRule("argmax_probabilities", exact=False, band=DOUBLE_BAND)
    raise unsupported(
        record,
        "The LightGBM objective is not emitted",
        found=describe(" ".join(model.objective)),
        expected="binary, multiclass, multiclassova or a regression objective",
    )
