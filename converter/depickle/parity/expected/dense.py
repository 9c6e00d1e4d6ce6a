# SPDX-License-Identifier: Apache-2.0
"""Projections, networks, discriminants, and linear models behind inexact columns: sums with a stated error.

A sum of n products is off by γ(n) Σ|x·w| in any order, on both sides; what its inputs are off by passes through |w|.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, Record, plain
from ..walk import Expected
from .answers import argmax, dot_gamma, lead, logistic, soft_max, threshold_rule, two_classes
from .derivation import Derivation, NotDerivedError, Transformer
from .inexact import CARRIED, LEAST, Inexact, error_of
from .linear import (
    LINEAR_REGRESSORS,
    expect_linear,
    linear_labels,
    linear_number,
    linear_parameters,
    linear_probabilities,
    linear_probability_error,
    one_score,
)
from .reading import array, flag, integer, items, labels, one_of, text, unreadable, vector
from .vocabulary import Answer, apply, constant, scalar, squeeze

__all__ = ["NETWORKS", "PROJECTIONS", "expect_linear_anywhere", "expect_network", "linear_number_anywhere"]

FloatArray = npt.NDArray[np.float64]
NETWORKS = {
    f"sklearn.neural_network._multilayer_perceptron.MLP{task}" for task in ("Classifier", "Regressor")
}

STEPS = 2.0**-46
"""exp and tanh in [-1, 1] err by less than 2^-49 on each side; scores further apart have distinct probabilities."""


def _layer(rows: Expected, weights: FloatArray, offset: FloatArray, size: FloatArray) -> Inexact:
    """``rows @ weights + offset``; `size` is what the original adds up, in magnitude, to get `offset`."""
    absolute = constant(np.abs(weights))
    total = apply("Add", apply("MatMul", apply("Abs", rows), absolute), constant(size))
    error = apply("Mul", total, scalar(2.0 * CARRIED * dot_gamma(len(weights))))
    carried = error_of(rows)
    if carried is not None:
        passed = apply("Mul", apply("MatMul", carried, absolute), scalar(CARRIED))
        error = apply("Add", error, passed)
    value = (apply("MatMul", rows, constant(weights)), constant(offset))
    return Inexact("Add", value, error=apply("Add", error, scalar(LEAST)), mixes=True)


def _sums(row: FloatArray, weights: FloatArray) -> FloatArray:
    """Correctly rounded sums of the products of `row` with each column."""
    return np.array(
        [math.fsum(x * w for x, w in zip(row, column, strict=True)) for column in weights.T.tolist()]
    )


def _components(owner: Record, width: int) -> FloatArray:
    found = array(owner, "components_")
    if found.dtype != np.float64 or found.ndim != 2 or found.shape[1] != width or not len(found):
        raise unreadable(owner, "components_", f"float64 rows of {width} numbers")
    return np.array(found.T, dtype=np.float64)


def _pca(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``_BasePCA.transform``: centred first before 1.5, afterwards since; one bound covers both."""
    weights = _components(owner, width)
    mean = np.zeros(width) if owner.get("mean_") is None else vector(owner, "mean_", width)
    found: Expected = _layer(rows, weights, -_sums(mean, weights), _sums(np.abs(mean), np.abs(weights)))
    if flag(owner, "whiten"):
        scale = np.sqrt(vector(owner, "explained_variance_", weights.shape[1]))
        if not bool((scale >= np.finfo(np.float64).eps).all()):
            raise NotDerivedError("whitening by next to nothing")
        found = apply("Div", found, constant(scale))
    return found, weights.shape[1]


def _fast_ica(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``FastICA.transform``: 1.2 asks the attribute that its fit left, later releases the parameter."""
    name = "_whiten" if derive.version(owner) < (1, 3) else "whiten"
    choice = plain(owner.get(name))
    if not isinstance(choice, bool) and choice not in ("unit-variance", "arbitrary-variance"):
        raise unreadable(owner, name, "a way of whitening, or False")
    weights = _components(owner, width)
    if not choice:
        nothing = np.zeros(weights.shape[1])
        return _layer(rows, weights, nothing, nothing), weights.shape[1]
    mean = vector(owner, "mean_", width)
    offset, size = -_sums(mean, weights), _sums(np.abs(mean), np.abs(weights))
    return _layer(rows, weights, offset, size), weights.shape[1]


def _truncated_svd(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    weights = _components(owner, width)
    nothing = np.zeros(weights.shape[1])
    return _layer(rows, weights, nothing, nothing), weights.shape[1]


PROJECTIONS: dict[str, Transformer] = {
    "sklearn.decomposition._pca.PCA": _pca,
    "sklearn.decomposition._incremental_pca.IncrementalPCA": _pca,
    "sklearn.decomposition._truncated_svd.TruncatedSVD": _truncated_svd,
    "sklearn.neighbors._nca.NeighborhoodComponentsAnalysis": _truncated_svd,
    "sklearn.random_projection.GaussianRandomProjection": _truncated_svd,
    "sklearn.decomposition._fastica.FastICA": _fast_ica,
}


def expect_linear_anywhere(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """A linear model, on bit-equal columns or on others."""
    if error_of(rows) is None:
        return expect_linear(owner, rows, derive)
    weights, intercept = linear_parameters(owner)
    if owner.cls in LINEAR_REGRESSORS:
        return linear_number_anywhere(rows, one_score(owner, weights), intercept)
    raw = _layer(rows, np.array(weights.T), intercept, np.abs(intercept))
    p = linear_probabilities(owner, raw, len(weights), derive)
    return replace(_decided(owner, raw, len(weights), p), decides=True)


def linear_number_anywhere(rows: Expected, weights: FloatArray, intercept: FloatArray) -> Answer:
    """A regressor's ``rows @ weights.T + intercept``, on bit-equal columns or on others."""
    if error_of(rows) is None:
        return linear_number(rows, weights, intercept)
    raw = _layer(rows, np.array(weights.T), intercept, np.abs(intercept))
    return Answer(scores=raw, score_error=0.0 if raw.error is None else raw.error)


def expect_network(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``_forward_pass_fast`` (neural_network/_multilayer_perceptron.py), and the label binarizer after it."""
    matrices = [_part(owner, "coefs_", item) for item in items(owner, "coefs_")]
    offsets = [_part(owner, "intercepts_", item) for item in items(owner, "intercepts_")]
    width = integer(owner, "n_features_in_")
    if not matrices or len(matrices) != len(offsets):
        raise unreadable(owner, "coefs_", "a matrix and an offset for each layer")
    raw: Inexact | None = None
    for matrix, offset in zip(matrices, offsets, strict=True):
        if matrix.ndim != 2 or offset.ndim != 1 or matrix.shape != (width, len(offset)):
            raise unreadable(owner, "coefs_", "layers that fit one another")
        if raw is not None:
            rows = _activated(owner, raw)
        raw = _layer(rows, matrix, offset, np.abs(offset))
        width = len(offset)
    if raw is None or raw.error is None:
        raise unreadable(owner, "coefs_", "at least one layer")
    if owner.name == "MLPRegressor":
        if width != 1 or not one_of(owner, "out_activation_", "identity"):
            raise NotDerivedError("several outputs")
        return Answer(scores=raw, score_error=_stated(owner, raw))
    known = labels(owner)
    binary = len(known) == 2
    if width != (1 if binary else len(known)) or not one_of(
        owner, "out_activation_", "logistic" if binary else "softmax"
    ):
        raise NotDerivedError("several labels")
    p = two_classes(logistic(raw)) if binary else soft_max(raw, width)
    decided = _decided(owner, replace(raw, error=apply("Add", raw.error, scalar(STEPS))), width, p, raw)
    return replace(decided, scores=None)


def _stated(owner: Record, value: Inexact) -> Expected:
    if value.error is None:
        raise unreadable(owner, "coef_", "sums that state their error")
    return value.error


def _part(owner: Record, name: str, item: object) -> FloatArray:
    if not isinstance(item, Array) or item.is_object:
        raise unreadable(owner, name, "arrays of numbers")
    found = item.to_numpy()
    if found.dtype != np.float64:
        raise unreadable(owner, name, "float64")
    return np.array(found, dtype=np.float64)


def _activated(owner: Record, value: Inexact) -> Expected:
    """No activation is steeper than 1, so errors pass, and exp and tanh add theirs."""
    name = text(owner, "activation")
    if name == "identity" or value.error is None:
        return value
    if name == "relu":
        return Inexact("Max", (value, scalar(0.0)), error=value.error)
    error = apply("Add", value.error, scalar(STEPS))
    if name == "tanh":
        return Inexact("Tanh", (value,), error=error)
    if name == "logistic":
        quotient = logistic(value)
        return Inexact(quotient.operator, quotient.inputs, error=error)
    raise NotDerivedError(f"the activation {name}")


def _decided(
    owner: Record, bounded: Inexact, width: int, p: Expected | None, raw: Expected | None = None
) -> Answer:
    """The label of scores whose error `bounded` states."""
    known = linear_labels(owner)
    scores = bounded if raw is None else raw
    if width != (1 if len(known) == 2 else len(known)) or bounded.error is None:
        raise unreadable(owner, "classes_", "a score for each class")
    axis = constant([1], np.int64)
    if width == 1:
        bound = squeeze(bounded.error)
    else:
        bound = apply("Mul", apply("ReduceMax", bounded.error, axis, keepdims=0), scalar(2.0))
    spread = apply("Unsqueeze", bound, axis)
    return Answer(
        labels=known,
        index=threshold_rule(scores, "Greater", 0.0) if width == 1 else argmax(scores),
        probabilities=p,
        scores=scores,
        margin=lead(scores, width),
        bound=bound,
        score_error=spread,
        probability_error=linear_probability_error(owner, scores, width, spread),
    )
