# SPDX-License-Identifier: Apache-2.0
"""NearestCentroid: the least distance, or since 1.6, where priors differ, the largest score of a discriminant.

Releases compute distances by different formulas (squares expanded or not, with a root or without); each of them is
within 4 gamma of |x|^2 + |c|^2 of the squared distance, and roots and cuts at 0 keep their order.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record
from ..walk import Expected
from .answers import dot_gamma
from .derivation import Derivation, NotDerivedError
from .inexact import CARRIED, LEAST
from .likelihoods import STEPS, decided, doubles, logarithms
from .reading import integer, labels, one_of
from .vocabulary import Answer, apply, constant, scalar

__all__ = ["expect_nearest_centroid"]

FloatArray = npt.NDArray[np.float64]

_PRIORS_SINCE = (1, 6)


def expect_nearest_centroid(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``predict`` (neighbors/_nearest_centroid.py); its scores and probabilities are not derived."""
    count, width = len(labels(owner)), integer(owner, "n_features_in_")
    centres = doubles(owner, "centroids_", count, width)
    priors = np.full(count, 1.0 / count)
    if derive.version(owner) >= _PRIORS_SINCE:
        priors = doubles(owner, "class_prior_", count)
    equal = bool(np.isclose(priors, 1 / count).all())
    if one_of(owner, "metric", "manhattan") and equal:
        return _manhattan(owner, rows, centres)
    if not one_of(owner, "metric", "euclidean"):
        raise NotDerivedError(
            "a metric without a bound, or a discriminant of another metric than the Euclidean"
        )
    if equal:
        return _euclidean(owner, rows, centres, np.zeros(count), np.zeros(count))
    spread = doubles(owner, "within_class_std_dev_", width)
    scale = np.where(spread != 0.0, spread, 1.0)
    added = 2.0 * np.array(logarithms(owner, "class_prior_", priors))
    rows = apply("Div", rows, constant(scale))
    return _euclidean(owner, rows, centres / scale, added, STEPS * np.abs(added))


def _euclidean(
    owner: Record, rows: Expected, centres: FloatArray, added: FloatArray, added_off: FloatArray
) -> Answer:
    """2 x.c - |c|^2 + added: the squared distance but for |x|^2, which is the same for all."""
    lengths = np.array([math.fsum(row) for row in (centres * centres).tolist()])
    raw = apply("Add", apply("MatMul", rows, constant(2.0 * centres.T)), constant(added - lengths))
    own = apply("ReduceSum", apply("Mul", rows, rows), constant([1], np.int64), keepdims=1)
    size = apply("Add", own, constant(lengths + np.abs(added)))
    error = apply("Mul", size, scalar(8.0 * CARRIED * dot_gamma(centres.shape[1])))
    error = apply("Add", error, constant(added_off + LEAST))
    return decided(owner, raw, error, labels_only=True, decides=None)


def _manhattan(owner: Record, rows: Expected, centres: FloatArray) -> Answer:
    axis = constant([1], np.int64)
    found = [
        apply("ReduceSum", apply("Abs", apply("Sub", rows, constant(centre))), axis, keepdims=1)
        for centre in centres
    ]
    distances = apply("Concat", *found, axis=1)
    error = apply("Mul", distances, scalar(2.0 * CARRIED * dot_gamma(centres.shape[1])))
    return decided(
        owner, apply("Neg", distances), apply("Add", error, scalar(LEAST)), labels_only=True, decides=None
    )
