# SPDX-License-Identifier: Apache-2.0
"""Linear models that are reached by way of something else: partial least squares, RANSAC, one-class SGD."""

from __future__ import annotations

import numpy as np

from ...pickles.graph import Record
from ..walk import Expected
from .answers import dot_gamma, lead, threshold_rule
from .dense import linear_number_anywhere
from .derivation import Derivation, NotDerivedError
from .inexact import LEAST, error_of
from .likelihoods import doubles
from .linear import one_score, weights_and_intercept
from .reading import integer, record, unreadable
from .spread import as_bound
from .vocabulary import Answer, Spread, apply, constant, scalar, squeeze

__all__ = ["PARTIAL_LEAST_SQUARES", "expect_one_class_sgd", "expect_partial_least_squares", "expect_ransac"]

PARTIAL_LEAST_SQUARES = {
    f"sklearn.cross_decomposition._pls.{name}" for name in ("PLSRegression", "PLSCanonical", "CCA")
}
_PUBLIC_SINCE = (1, 3)
"""Before, ``coef_`` was a property of ``_coef_``."""
_SCALED_SINCE = (1, 5)
"""From here on ``coef_`` holds the division by ``_x_std``."""


def expect_partial_least_squares(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``_PLS.predict`` (cross_decomposition/_pls.py)."""
    since, width = derive.version(owner), integer(owner, "n_features_in_")
    weights, intercept = weights_and_intercept(owner, "coef_" if since >= _PUBLIC_SINCE else "_coef_")
    rows = apply("Sub", rows, constant(doubles(owner, "_x_mean", width)))
    if since < _SCALED_SINCE:
        scale = doubles(owner, "_x_std", width)
        if not bool((scale > 0.0).all()):
            raise unreadable(owner, "_x_std", "positive numbers")
        rows = apply("Div", rows, constant(scale))
    return linear_number_anywhere(rows, one_score(owner, weights), intercept)


def expect_ransac(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """RANSACRegressor answers as the regressor that it refitted on the inliers."""
    answer = derive.answer(record(owner, "estimator_"), rows)
    if answer.index is not None or answer.detects:
        raise NotDerivedError("labels in place of numbers")
    return answer


def expect_one_class_sgd(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``X @ coef_ - offset_``; inliers are 1, where it is not below 0 (linear_model/_stochastic_gradient.py)."""
    weights, offset = weights_and_intercept(owner, intercept_name="offset_")
    weights = one_score(owner, weights)
    if error_of(rows) is None:
        raw = apply("Add", apply("MatMul", rows, constant(weights.T)), constant(-offset))
        magnitude = apply("MatMul", apply("Abs", rows), constant(np.abs(weights.T)))
        size = squeeze(apply("Add", magnitude, constant(np.abs(offset))))
        bound = apply("Add", apply("Mul", size, scalar(2 * dot_gamma(weights.shape[1]))), scalar(LEAST))
        error: Spread = apply("Unsqueeze", bound, constant([1], np.int64))
    else:
        answer = linear_number_anywhere(rows, weights, -offset)
        if answer.scores is None:
            raise NotDerivedError("a regressor without a number")
        raw, error = answer.scores, answer.score_error
        bound = as_bound(error, raw)
    return Answer(
        labels=(-1, 1),
        index=threshold_rule(raw, "GreaterOrEqual", 0.0),
        scores=raw,
        margin=lead(raw, 1),
        bound=bound,
        score_error=error,
        decides=True,
        detects=True,
    )
