# SPDX-License-Identifier: Apache-2.0
"""GradientBoosting of scikit-learn: prior, stages and label rule of the version that wrote the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import logit

from ..pickles.graph import Array, Record, plain
from .attributes import class_labels, float_array, integer, number, records, text, unsupported, wrong
from .forests import FLOAT32_MAX
from .interface import Context, ReadPredictor
from .label_rules import argmax_of_two, certified_argmax
from .trees import scikit_tree
from .types import (
    Boosted,
    ClassLabel,
    Continued,
    FloatArray,
    Forest,
    LabelRule,
    Link,
    Start,
    Tree,
)

__all__ = ["read_gradient_boosting"]

_LOSS_OBJECTS_SINCE = (1, 4)  # before: ensemble/_gb_losses.py, labels from probabilities
_SMALL_EPS_SINCE = (1, 8)  # before: probabilities clipped at the float32 epsilon
_LOGISTIC = ("log_loss", "deviance")


def read_gradient_boosting(record: Record, context: Context) -> ReadPredictor:
    """GradientBoostingClassifier and GradientBoostingRegressor.

    Raises:
        UnsupportedModelError: DP603 for an `init` estimator whose answers are not exact, DP602 or DP605 for
            malformed state.
    """
    version = context.version(record)
    n_features = integer(record, "n_features_in_", low=1)
    classifier = record.name == "GradientBoostingClassifier"
    classes = class_labels(record, "classes_", record.get("classes_")) if classifier else None
    loss = text(record, "loss")
    grid, stage_count, width = _stages(record)
    expected = 1 if classes is None or len(classes) == 2 else len(classes)
    if width != expected:
        raise wrong(record, "estimators_", record.get("estimators_"), f"{expected} trees a stage")
    rate = number(record, "learning_rate")
    trees = []
    for estimator in grid:
        tree = scikit_tree(estimator, n_features=n_features, columns=1)
        trees.append(_scaled(tree, rate))
    link, factor, rule = _decision(record, version, loss, width, classifier=classifier)
    init = record.get("init_")
    if isinstance(init, Record) and init.name not in ("DummyClassifier", "DummyRegressor"):
        stages = Boosted(
            trees=tuple(trees),
            target=tuple(range(width)) * stage_count,
            baseline=np.zeros(width),
            columns=n_features,
            link=link,
            rule=rule,
            single=True,
            factor=factor,
        )
        return _continued(record, context, init, stages, classes)
    prior = _prior(record, version, loss, width, classifier=classifier)
    reason = "The label is a comparison of sums of leaves, added in the original's order"
    if rule is not None and plain(record.get("init_")) != "zero":
        rule = replace(rule, exact=False, band=prior_band(prior, trees), sums_exact=False)
        reason = (
            "The prior is a logarithm that numpy and scipy round differently by release; a margin covers it"
        )
    elif rule is not None and not rule.exact:
        reason = "This version compares probabilities, which pass through exp; a margin covers it"
    return ReadPredictor(
        task="classifier" if classifier else "regressor",
        classes=classes,
        n_features=n_features,
        root=Boosted(
            trees=tuple(trees),
            target=tuple(range(width)) * stage_count,
            baseline=prior,
            columns=n_features,
            link=link,
            rule=rule,
            single=True,
            factor=factor,
        ),
        ceiling="proven" if rule is None or rule.exact else "certified",
        reason=reason,
        allow_nan=False,
        allow_infinite=False,
        max_abs=FLOAT32_MAX,
        family=record.name,
        decision_function=classifier,
    )


_LARGEST_LOG = 37.0  # |log| of a probability of at least 2^-52, and of its odds
_EXACT_PARTS = (Forest, Boosted)


def _continued(
    record: Record,
    context: Context,
    init: Record,
    stages: Boosted,
    classes: tuple[ClassLabel, ...] | None,
) -> ReadPredictor:
    """Boosting from a fitted model; scikit-learn hands it the rows as float32."""
    version = context.version(record)
    part = context.predictor(init, context)
    width = len(stages.baseline)
    if part.n_features != stages.columns:
        raise wrong(record, "init_", init, f"a model of {stages.columns} columns")
    exact = part.exact_probabilities if classes else part.ceiling == "proven" and part.task == "regressor"
    if not exact or not isinstance(part.root, _EXACT_PARTS):
        raise unsupported(
            record,
            "The boosting starts from a model whose answers for float32 rows are not exact",
            found=f"init={init.cls}",
            expected="init=None, 'zero', a tree or a forest; for regressors boosting as well",
        )
    if classes and part.classes != tuple(range(len(classes))):
        raise wrong(record, "init_", init, "a classifier of the encoded classes")
    start: Start = "value"
    if classes and width == 1:
        start = "half_log_odds" if text(record, "loss") == "exponential" else "log_odds"
    elif classes:
        start = "log" if version < _LOSS_OBJECTS_SINCE else "centred_log"
    rule = stages.rule
    if rule is not None:
        bound = np.full(width, _LARGEST_LOG)
        band = prior_band(bound, stages.trees, more=width)
        rule = replace(rule, exact=False, band=band, sums_exact=False)
    root = Continued(part.root, start, _epsilon(version), replace(stages, rule=rule))
    return ReadPredictor(
        task="classifier" if classes else "regressor",
        classes=classes,
        n_features=stages.columns,
        root=root,
        ceiling="certified" if classes else "proven",
        reason=(
            "The sums start from logarithms of another model's probabilities; a margin covers them"
            if classes
            else "The sums start from exact answers and add leaves in the original's order"
        ),
        allow_nan=False,
        allow_infinite=False,
        max_abs=FLOAT32_MAX,
        family=f"{record.name}({part.family})",
        decision_function=classes is not None,
    )


def _epsilon(version: tuple[int, int]) -> float:
    return float(np.finfo(np.float64 if version >= _SMALL_EPS_SINCE else np.float32).eps)


def prior_band(prior: FloatArray, trees: Sequence[Tree], *, more: int = 0) -> float:
    """How far two sums of leaves may be apart that start at priors which differ in the last bits; a power of two.

    With T trees and every partial sum at most M, each sum errs by (T + 2) ulp of M and each prior by 4; a label
    compares two sums. `more` counts classes over whose logarithms a mean is taken.
    """
    largest = float(np.abs(prior).max()) + sum(
        float(np.abs(tree.value[tree.is_leaf]).max()) for tree in trees
    )
    return float(2.0 ** math.ceil(math.log2(8 * (len(trees) + more + 8) * 2.0**-53 * max(1.0, largest))))


def _stages(record: Record) -> tuple[list[Record], int, int]:
    value = record.get("estimators_")
    if not isinstance(value, Array) or value.objects is None or len(value.shape) != 2 or 0 in value.shape:
        raise wrong(record, "estimators_", value, "a grid of trees, stages by classes")
    grid = records(record, "estimators_", value)
    if len(grid) != value.shape[0] * value.shape[1]:
        raise wrong(record, "estimators_", value, "one tree in each place of the grid")
    return grid, value.shape[0], value.shape[1]


def _scaled(tree: Tree, rate: float) -> Tree:
    value = rate * tree.value
    value.flags.writeable = False
    return Tree(
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.left,
        right=tree.right,
        missing_left=tree.missing_left,
        value=value,
    )


def _decision(
    record: Record, version: tuple[int, int], loss: str, width: int, *, classifier: bool
) -> tuple[Link, float, LabelRule | None]:
    if not classifier:
        if loss not in ("squared_error", "absolute_error", "huber", "quantile"):
            raise unsupported(
                record, "The loss is not known", found=repr(loss), expected="a loss of its version"
            )
        return "identity", 1.0, None
    if loss == "exponential" and width == 1:
        return "logistic", 2.0, LabelRule("score_at_least", cut=0.0)
    if loss not in _LOGISTIC:
        raise unsupported(
            record, "The loss is not known", found=repr(loss), expected="log_loss or exponential"
        )
    old = version < _LOSS_OBJECTS_SINCE
    if width == 1:
        return "logistic", 1.0, argmax_of_two() if old else LabelRule("score_at_least", cut=0.0)
    rule = certified_argmax() if old else LabelRule("argmax_scores")
    return "softmax", 1.0, rule


def _prior(
    record: Record, version: tuple[int, int], loss: str, width: int, *, classifier: bool
) -> FloatArray:
    init = record.get("init_")
    if plain(init) == "zero":
        return np.zeros(width)
    if not isinstance(init, Record):
        raise wrong(record, "init_", init, "'zero' or a fitted constant")
    if classifier:
        if init.name != "DummyClassifier":
            raise _estimated(record, init)
        prior = _class_prior(init, max(width, 2))
        return _link(version, loss, width)(prior)
    if init.name != "DummyRegressor":
        raise _estimated(record, init)
    constant = float_array(init, "constant_", shape=(1, 1))
    return constant.reshape(1)


def _estimated(record: Record, init: Record) -> Exception:
    return unsupported(
        record,
        "The boosting starts from an estimator of its own",
        found=f"init={init.cls}",
        expected="init=None or init='zero'",
    )


def _class_prior(init: Record, classes: int) -> FloatArray:
    strategy = text(init, "strategy")
    if strategy == "prior":
        return float_array(init, "class_prior_", shape=(classes,))
    raise unsupported(init, "A dummy of this strategy is not a constant", found=strategy, expected="prior")


def _link(version: tuple[int, int], loss: str, width: int) -> Callable[[FloatArray], FloatArray]:
    """Probabilities to raw scores, with the operations of the writer's version, so that the bits agree."""
    eps = _epsilon(version)
    half = 0.5 if loss == "exponential" else 1.0

    def binary(prior: FloatArray) -> FloatArray:
        p = np.clip(prior[1:2], eps, 1 - eps, dtype=np.float64)
        if version < _LOSS_OBJECTS_SINCE:
            return np.asarray(half * np.log(p / (1 - p)), dtype=np.float64)
        return np.asarray(half * logit(p), dtype=np.float64)

    def several(prior: FloatArray) -> FloatArray:
        p = np.clip(prior.reshape(1, -1), eps, 1 - eps, dtype=np.float64)
        if version < _LOSS_OBJECTS_SINCE:
            return np.asarray(np.log(p).reshape(-1), dtype=np.float64)
        centre = np.exp(np.mean(np.log(p), axis=1))
        return np.asarray(np.log(p / centre[:, None]).reshape(-1), dtype=np.float64)

    return binary if width == 1 else several
