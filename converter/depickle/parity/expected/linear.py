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
from .reading import Writer, array, integer, labels, text, unreadable, version
from .vocabulary import Answer, apply, constant, scalar, squeeze

__all__ = ["expect_logistic_regression", "linear_answer"]

FloatArray = npt.NDArray[np.float64]


def expect_logistic_regression(owner: Record, rows: Expected, writer: Writer) -> Answer:
    """LogisticRegression and LogisticRegressionCV (linear_model/_logistic.py, ``predict_proba``)."""
    raw, width = _scores(owner, rows)
    binary = width == 1
    since = version(writer, "scikit-learn")
    choice = plain(owner.get("multi_class"))
    if since >= (1, 8) and choice in (None, "deprecated"):
        separate = binary
    else:
        choice = "auto" if choice is None else text(owner, "multi_class")
        alone = ("liblinear",) if since >= (1, 6) else ("liblinear", "newton-cholesky")
        automatic = choice in ("auto", "deprecated") and (binary or text(owner, "solver") in alone)
        separate = choice in ("ovr", "warn") or automatic
    if separate:
        p = two_classes(logistic(raw)) if binary else over_sum(_saturating(raw), width)
    else:
        p = soft_max(apply("Concat", apply("Neg", raw), raw, axis=1), 2) if binary else soft_max(raw, width)
    return linear_answer(owner, rows, raw, width, p)


def _saturating(raw: Expected) -> Expected:
    """The logistic of each score, 0 where exp overflows."""
    gone = apply("Less", raw, scalar(-math.log(sys.float_info.max)))
    return apply("Where", gone, scalar(0.0), logistic(raw))


def parameters(owner: Record) -> tuple[FloatArray, FloatArray]:
    """``coef_`` as [K, F] and ``intercept_`` as [K]."""
    coefficients = array(owner, "coef_")
    columns = integer(owner, "n_features_in_")
    if coefficients.dtype != np.float64 or coefficients.ndim > 2 or coefficients.size % columns:
        raise unreadable(owner, "coef_", "a float64 matrix")
    weights = np.array(coefficients, dtype=np.float64).reshape(-1, columns)
    value = owner.get("intercept_")
    if isinstance(value, Array):
        intercept = np.asarray(array(owner, "intercept_"), dtype=np.float64).reshape(-1)
    elif isinstance(plain(value), int | float):
        intercept = np.array([plain(value)], dtype=np.float64)
    else:
        raise unreadable(owner, "intercept_", "numbers")
    if intercept.size not in (1, len(weights)):
        raise unreadable(owner, "intercept_", "a number for each row of coef_")
    return weights, np.repeat(intercept, len(weights)) if intercept.size < len(weights) else intercept


def _scores(owner: Record, rows: Expected) -> tuple[Expected, int]:
    weights, intercept = parameters(owner)
    return apply("Add", apply("MatMul", rows, constant(weights.T)), constant(intercept)), len(weights)


def linear_answer(owner: Record, rows: Expected, raw: Expected, width: int, p: Expected | None) -> Answer:
    """Label, margin and bound of a linear classifier (linear_model/_base.py, ``predict``)."""
    classes = labels(owner)
    if width != (1 if len(classes) == 2 else len(classes)):
        raise unreadable(owner, "coef_", "a row for each class")
    weights, intercept = parameters(owner)
    index = threshold_rule(raw, "Greater", 0.0) if width == 1 else argmax(raw)
    absolute = apply("MatMul", apply("Abs", rows), constant(np.abs(weights.T)))
    size = apply("Add", absolute, constant(np.abs(intercept)))
    largest = squeeze(size) if width == 1 else apply("ReduceMax", size, constant([1], np.int64), keepdims=0)
    # The original and the new model may each be off by γ times the size, and two scores are compared if K > 1.
    slack = (2 if width == 1 else 4) * dot_gamma(weights.shape[1])
    bound = apply("Mul", largest, scalar(slack))
    return Answer(index=index, probabilities=p, scores=raw, margin=lead(raw, width), bound=bound)
