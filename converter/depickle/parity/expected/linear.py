# SPDX-License-Identifier: Apache-2.0
"""Linear models of scikit-learn, with the certificate |margin| > 2γ(Σ|w·z| + |b|) that each row is held to."""

from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, Record, plain
from ..walk import Expected
from .answers import argmax, dot_gamma, lead, logistic, over_sum, soft_max, threshold_rule, two_classes
from .derivation import Derivation, NotDerivedError
from .inexact import LEAST
from .reading import Labels, array, integer, labels, one_of, record, text, unreadable
from .spread import EXP_SPREAD, as_bound, quotient_error, scaled, total
from .vocabulary import Answer, Spread, add_up, apply, columns, constant, scalar, squeeze

__all__ = [
    "LINEAR",
    "LINEAR_CLASSIFIERS",
    "LINEAR_REGRESSORS",
    "LOGISTIC",
    "expect_linear",
    "expect_linear_model",
    "linear_labels",
    "linear_number",
    "linear_parameters",
    "linear_probabilities",
    "linear_probability_error",
    "one_score",
    "weights_and_intercept",
]

FloatArray = npt.NDArray[np.float64]

_UNIFORM_SINCE = (1, 9)
"""From here on equal shares where every one-vs-rest probability is 0."""

LOGISTIC = {f"sklearn.linear_model._logistic.LogisticRegression{kind}" for kind in ("", "CV")}
LINEAR_CLASSIFIERS = {
    "sklearn.linear_model._ridge.RidgeClassifier",
    "sklearn.linear_model._ridge.RidgeClassifierCV",
    "sklearn.linear_model._perceptron.Perceptron",
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier",
    "sklearn.linear_model._stochastic_gradient.SGDClassifier",
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
    "sklearn.svm._classes.LinearSVC",
}
LINEAR_REGRESSORS = {
    "sklearn.svm._classes.LinearSVR",
    "sklearn.linear_model._base.LinearRegression",
    "sklearn.linear_model._ridge.Ridge",
    "sklearn.linear_model._ridge.RidgeCV",
    "sklearn.linear_model._coordinate_descent.Lasso",
    "sklearn.linear_model._coordinate_descent.LassoCV",
    "sklearn.linear_model._coordinate_descent.ElasticNet",
    "sklearn.linear_model._coordinate_descent.ElasticNetCV",
    "sklearn.linear_model._huber.HuberRegressor",
    "sklearn.linear_model._bayes.BayesianRidge",
    "sklearn.linear_model._bayes.ARDRegression",
    *(
        f"sklearn.linear_model._coordinate_descent.MultiTask{kind}{search}"
        for kind in ("Lasso", "ElasticNet")
        for search in ("", "CV")
    ),
    *(f"sklearn.linear_model._least_angle.{kind}" for kind in ("Lars", "LarsCV")),
    *(f"sklearn.linear_model._least_angle.LassoLars{kind}" for kind in ("", "CV", "IC")),
    *(f"sklearn.linear_model._omp.OrthogonalMatchingPursuit{search}" for search in ("", "CV")),
    "sklearn.linear_model._passive_aggressive.PassiveAggressiveRegressor",
    "sklearn.linear_model._quantile.QuantileRegressor",
    "sklearn.linear_model._stochastic_gradient.SGDRegressor",
    "sklearn.linear_model._theil_sen.TheilSenRegressor",
}
LINEAR = LOGISTIC | LINEAR_CLASSIFIERS | LINEAR_REGRESSORS


def expect_linear(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """A linear classifier or regressor on rows that are bit-equal."""
    return expect_linear_model(owner, rows, derive, 0.0)


def expect_linear_model(owner: Record, rows: Expected, derive: Derivation, input_error: Spread) -> Answer:
    """A linear model whose inputs may each be off by `input_error`.

    Raises:
        NotDerivedError: where `owner` is no linear model.
    """
    weights, intercept = linear_parameters(owner)
    width = len(weights)
    if owner.cls in LINEAR_REGRESSORS:
        return linear_number(rows, one_score(owner, weights), intercept, input_error)
    raw = apply("Add", apply("MatMul", rows, constant(weights.T)), constant(intercept))
    known = linear_labels(owner)
    if width != (1 if len(known) == 2 else len(known)):
        raise unreadable(owner, "coef_", "a row for each class")
    index = threshold_rule(raw, "Greater", 0.0) if width == 1 else argmax(raw)
    absolute = apply("MatMul", apply("Abs", rows), constant(np.abs(weights.T)))
    size = apply("Add", absolute, constant(np.abs(intercept)))
    axis = constant([1], np.int64)
    largest = squeeze(size) if width == 1 else apply("ReduceMax", size, axis, keepdims=0)
    # The original and the new model may each be off by γ times the size, and two scores are compared if K > 1.
    bound = apply("Mul", largest, scalar((2 if width == 1 else 4) * dot_gamma(weights.shape[1])))
    bound = apply("Add", bound, scalar(LEAST))  # products below the normal numbers do not round relatively
    error: Spread = apply("Unsqueeze", bound, axis)
    if isinstance(input_error, Expected) or input_error != 0.0:
        reach = _reach(weights)
        error = total([error, scaled(input_error, reach)])
        bound = as_bound(error, bound)
    return Answer(
        labels=known,
        index=index,
        probabilities=linear_probabilities(owner, raw, width, derive),
        scores=raw,
        margin=lead(raw, width),
        bound=bound,
        score_error=error,
        probability_error=linear_probability_error(owner, raw, width, error),
        decides=True,
    )


def linear_number(
    rows: Expected, weights: FloatArray, intercept: FloatArray, input_error: Spread = 0.0
) -> Answer:
    """A regressor's ``rows @ weights.T + intercept`` for weights [1, F]."""
    raw = apply("Add", apply("MatMul", rows, constant(weights.T)), constant(intercept))
    return Answer(scores=raw, score_error=_distance(rows, weights, intercept, input_error))


def _reach(weights: FloatArray) -> float:
    """How far inputs that are off by 1 move the difference of two scores; a sum that no order of terms changes."""
    return 2.0 * max(math.fsum(row) for row in np.abs(weights).tolist()) * (1.0 + 2.0**-40)


def _distance(rows: Expected, weights: FloatArray, intercept: FloatArray, input_error: Spread) -> Spread:
    """How far a regressor's number may be from the original's, both sides together, [N, 1]."""
    size = apply(
        "Add", apply("MatMul", apply("Abs", rows), constant(np.abs(weights.T))), constant(np.abs(intercept))
    )
    one_column = apply("Mul", squeeze(size), scalar(2 * dot_gamma(weights.shape[1])))
    error: Spread = apply("Unsqueeze", one_column, constant([1], np.int64))
    if isinstance(input_error, Expected) or input_error != 0.0:
        reach = _reach(weights)
        error = total([error, scaled(input_error, reach)])
    return scaled(error, 1.0, LEAST)


def linear_parameters(owner: Record) -> tuple[FloatArray, FloatArray]:
    """``coef_`` as [K, F] and ``intercept_`` as [K].

    Raises:
        NotDerivedError: where `owner` is no linear model.
    """
    if owner.cls not in LOGISTIC | LINEAR_CLASSIFIERS | LINEAR_REGRESSORS:
        raise NotDerivedError(owner.cls)
    return weights_and_intercept(owner)


def weights_and_intercept(
    owner: Record, weights_name: str = "coef_", intercept_name: str = "intercept_"
) -> tuple[FloatArray, FloatArray]:
    """Weights as [K, F] and what is added as [K], of any class that holds them so."""
    coefficients = array(owner, weights_name)
    columns = integer(owner, "n_features_in_")
    if (
        coefficients.dtype != np.float64
        or coefficients.ndim not in (1, 2)
        or coefficients.shape[-1] != columns
        or not coefficients.size
    ):
        raise unreadable(owner, weights_name, f"float64 rows of {columns} numbers")
    weights = np.array(coefficients, dtype=np.float64).reshape(-1, columns)
    value = owner.get(intercept_name)
    if isinstance(value, Array):
        found = array(owner, intercept_name)
        if found.dtype.kind not in "fiu" or found.dtype.itemsize > 8:
            raise unreadable(owner, intercept_name, "numbers")
        intercept = np.asarray(found, dtype=np.float64).reshape(-1)
    elif isinstance(plain(value), int | float):
        intercept = np.array([plain(value)], dtype=np.float64)
    else:
        raise unreadable(owner, intercept_name, "numbers")
    if intercept.size not in (1, len(weights)):
        raise unreadable(owner, intercept_name, f"a number for each row of {weights_name}")
    return weights, np.repeat(intercept, len(weights)) if intercept.size < len(weights) else intercept


def one_score(owner: Record, weights: FloatArray) -> FloatArray:
    """`weights`, which are those of one target.

    Raises:
        ParityError: DP710 where they are of several.
    """
    if len(weights) != 1:
        raise unreadable(owner, "coef_", "one target")
    return weights


def linear_labels(owner: Record) -> Labels:
    """``classes_``; before 1.9 RidgeClassifier had them in its label binarizer only."""
    if owner.get("classes_") is None and owner.name.startswith("RidgeClassifier"):
        return labels(record(owner, "_label_binarizer"))
    return labels(owner)


def linear_probabilities(owner: Record, raw: Expected, width: int, derive: Derivation) -> Expected | None:
    """What ``predict_proba`` makes of the scores, or None where the class has none."""
    binary = width == 1
    if owner.name == "LinearDiscriminantAnalysis":
        return two_classes(logistic(raw)) if binary else soft_max(raw, width)
    if owner.cls in LOGISTIC:
        separate = _is_separate(owner, binary, derive.version(owner))
    elif owner.name == "SGDClassifier" and one_of(owner, "loss", "log_loss", "log"):
        separate = True
    elif owner.name == "SGDClassifier" and one_of(owner, "loss", "modified_huber"):
        p = _limited(raw)
        return two_classes(p) if binary else _or_uniform(p, over_sum(p, width), width)
    else:
        return None
    if separate:
        return two_classes(logistic(raw)) if binary else _one_vs_rest(raw, width, derive.version(owner))
    return soft_max(apply("Concat", apply("Neg", raw), raw, axis=1), 2) if binary else soft_max(raw, width)


def _is_separate(owner: Record, binary: bool, since: tuple[int, int]) -> bool:
    """Whether ``predict_proba`` takes one class at a time (linear_model/_logistic.py of each version)."""
    choice = plain(owner.get("multi_class"))
    if since >= (1, 8) and choice in (None, "deprecated"):
        return binary
    choice = "auto" if choice is None else text(owner, "multi_class")
    alone = ("liblinear",) if since >= (1, 6) else ("liblinear", "newton-cholesky")
    automatic = choice in ("auto", "deprecated") and (binary or text(owner, "solver") in alone)
    return choice in ("ovr", "warn") or automatic


def _one_vs_rest(raw: Expected, width: int, since: tuple[int, int]) -> Expected:
    """``_predict_proba_lr``: the logistic of each score, 0 where exp overflows, over their sum."""
    gone = apply("Less", raw, scalar(-math.log(sys.float_info.max)))
    p = apply("Where", gone, scalar(0.0), logistic(raw))
    shares = over_sum(p, width)
    if since < _UNIFORM_SINCE:
        return shares
    return _or_uniform(p, shares, width)


def _or_uniform(p: Expected, shares: Expected, width: int) -> Expected:
    """The shares; equal ones where every probability is 0."""
    largest = apply("ReduceMax", p, constant([1], np.int64), keepdims=1)
    return apply("Where", apply("Equal", largest, scalar(0.0)), scalar(1.0 / width), shares)


def _limited(raw: Expected) -> Expected:
    """``(clip(score, -1, 1) + 1) / 2``, what loss="modified_huber" makes of each score."""
    limited = apply("Clip", raw, constant(-1.0), constant(1.0))
    return apply("Div", apply("Add", limited, scalar(1.0)), scalar(2.0))


def linear_probability_error(owner: Record, raw: Expected, width: int, error: Spread) -> Spread:
    """How far probabilities may be off, from how far the scores are.

    Logistic and soft-max are nowhere steeper than 1. Of clipped scores each half is off by less than the scores are,
    and shares of their sum by the more the smaller it is.
    """
    if owner.name != "SGDClassifier" or width == 1 or not one_of(owner, "loss", "modified_huber"):
        return scaled(error, 4.0, EXP_SPREAD)
    p = _limited(raw)
    sums = add_up([columns(p, [place]) for place in range(width)])
    return quotient_error(scaled(error, 1.0, EXP_SPREAD * width), sums, width)
