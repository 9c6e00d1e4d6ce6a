# SPDX-License-Identifier: Apache-2.0
"""Naive Bayes, quadratic discriminants, nearest centroids: a score for each class, and what its constants are off by.

scikit-learn takes logarithms and powers of fitted numbers anew at every predict, with the C library of its host. Each
is allowed `STEPS` of itself, sixteen times what libraries were measured to differ by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..pickles.graph import Record, Value, plain
from .attributes import (
    array_of,
    class_labels,
    float_array,
    integer,
    members,
    number,
    text,
    unsupported,
    wrong,
)
from .dense_types import Binarize, Categories
from .interface import Context, ReadPredictor
from .linear import MAX_MAGNITUDE
from .score_types import Centroids, ClassScores, FloatArray, Likelihood, Rotated, Spreads, Weighted
from .types import Apply, Chain, ClassLabel, Divide, Transform

__all__ = [
    "read_bernoulli_bayes",
    "read_categorical_bayes",
    "read_count_bayes",
    "read_gaussian_bayes",
    "read_nearest_centroid",
    "read_quadratic_discriminant",
]

STEPS = 2.0**-46
"""What a logarithm, an exponential or a power, and a few operations after it, may differ by, relatively."""

LEAST_SPREAD = 2.0**-100
"""Variances below this would divide numbers that have lost their last bits."""

_REASON = "The label is the largest of sums whose order is not defined; a margin certifies rows"


def _found(
    record: Record,
    n_features: int,
    scores: ClassScores,
    *,
    soft_max: bool = True,
    compared: bool = False,
    steps: tuple[Transform, ...] = (),
) -> ReadPredictor:
    model = Likelihood(scores, soft_max, compared)
    return ReadPredictor(
        task="classifier",
        classes=_classes(record),
        n_features=n_features,
        root=Chain(steps, model) if steps else model,
        ceiling="certified",
        reason=_REASON,
        allow_nan=False,
        allow_infinite=False,
        max_abs=MAX_MAGNITUDE,
        family=record.name,
        decision_function=compared,
    )


def _classes(record: Record) -> tuple[ClassLabel, ...]:
    classes = class_labels(record, "classes_", record.get("classes_"))
    if len(classes) < 2:
        raise unsupported(record, "A single class", found="1 class", expected="two or more")
    return classes


def _doubles(record: Record, name: str, shape: tuple[int | None, ...]) -> FloatArray:
    if array_of(record, name, record.get(name)).dtype != np.float64:
        raise unsupported(record, "A model fitted in another precision", found=name, expected="float64")
    return float_array(record, name, shape=shape)


def _logarithms(record: Record, name: str, values: FloatArray) -> FloatArray:
    if not bool((values > 0).all()):
        raise unsupported(record, "A class or value of probability 0", found=name, expected="numbers above 0")
    return np.array([math.log(value) for value in values.reshape(-1).tolist()]).reshape(values.shape)


def added(rows: FloatArray) -> FloatArray:
    """The sum of each row, rounded once: the same bits on every host."""
    return np.array([math.fsum(row) for row in rows.tolist()])


def _spread(record: Record, name: str, values: FloatArray) -> FloatArray:
    if not bool((values >= LEAST_SPREAD).all()):
        raise unsupported(record, "A variance of next to nothing", found=f"{name}: {values.min():g}")
    return values


def read_gaussian_bayes(record: Record, context: Context) -> ReadPredictor:
    """GaussianNB: ``log prior - Σ log(2π var)/2 - Σ (x - theta)²/var/2``.

    Raises:
        UnsupportedModelError: DP603 for float32, priors of 0 and variances of next to nothing.
    """
    n_features, count = integer(record, "n_features_in_", low=1), len(_classes(record))
    variances = _spread(record, "var_", _doubles(record, "var_", (count, n_features)))
    priors = _logarithms(record, "class_prior_", _doubles(record, "class_prior_", (count,)))
    widths = _logarithms(record, "var_", 2.0 * math.pi * variances)
    centres = _doubles(record, "theta_", (count, n_features))
    offset = np.array([log - 0.5 * math.fsum(row) for log, row in zip(priors, widths, strict=True)])
    off = STEPS * (np.abs(priors) + added(np.abs(widths)) + n_features)
    return _found(record, n_features, Spreads(centres, variances, offset, off))


def read_count_bayes(record: Record, context: Context) -> ReadPredictor:
    """MultinomialNB and ComplementNB: stored logarithms, and for MultinomialNB those of the priors."""
    n_features, count = integer(record, "n_features_in_", low=1), len(_classes(record))
    weights = np.ascontiguousarray(_doubles(record, "feature_log_prob_", (count, n_features)).T)
    offset = np.zeros(count)
    if record.name == "MultinomialNB":
        offset = _doubles(record, "class_log_prior_", (count,))
    return _found(record, n_features, Weighted(weights, offset, np.zeros_like(weights), np.zeros(count)))


def read_bernoulli_bayes(record: Record, context: Context) -> ReadPredictor:
    """BernoulliNB: ``x > binarize`` unless that is None, then ``x @ log(p / (1 - p)) + Σ log(1 - p) + log prior``.

    Raises:
        UnsupportedModelError: DP603 where a probability is so near to 1 that its complement has no bits left.
    """
    n_features, count = integer(record, "n_features_in_", low=1), len(_classes(record))
    logs = _doubles(record, "feature_log_prob_", (count, n_features))
    priors = _doubles(record, "class_log_prior_", (count,))
    shares = np.array([math.exp(min(log, 1.0)) for log in logs.reshape(-1).tolist()]).reshape(logs.shape)
    if not bool((1.0 - shares >= 2.0**-30).all()):
        raise unsupported(record, "A probability of next to 1", found=f"{shares.max():g}")
    others = _logarithms(record, "feature_log_prob_", 1.0 - shares)
    single = (STEPS * shares + 2.0**-50) / (1.0 - shares) + STEPS * np.abs(others)
    weights_off = single + 2.0**-50 * (np.abs(logs) + np.abs(others))
    offset = np.array([math.fsum([prior, *row]) for prior, row in zip(priors, others, strict=True)])
    size = added(np.abs(others)) + np.abs(priors)
    off = added(single) + (n_features + 8) * 2.0**-51 * size
    threshold = plain(record.get("binarize"))
    steps = () if threshold is None else (Binarize(number(record, "binarize")),)
    scores = Weighted(
        np.ascontiguousarray((logs - others).T), offset, np.ascontiguousarray(weights_off.T), off
    )
    return _found(record, n_features, scores, steps=steps)


def read_categorical_bayes(record: Record, context: Context) -> ReadPredictor:
    """CategoricalNB: rows are truncated to whole numbers, each of which names a stored logarithm of its column.

    The original raises on negative numbers and on numbers that are no category, so such rows are not certified.
    """
    n_features, count = integer(record, "n_features_in_", low=1), len(_classes(record))
    priors = _doubles(record, "class_log_prior_", (count,))
    tables = [
        _table(record, item, count)
        for item in members(record, "feature_log_prob_", record.get("feature_log_prob_"))
    ]
    if len(tables) != n_features:
        raise wrong(record, "feature_log_prob_", record.get("feature_log_prob_"), f"{n_features} tables")
    sizes = [table.shape[1] for table in tables]
    categories = Categories(
        width=n_features,
        column=np.repeat(np.arange(n_features), sizes),
        values=np.concatenate([np.arange(size, dtype=np.float64) for size in sizes]),
        strict=True,
        kept=tuple(range(sum(sizes))),
        codes=np.zeros(sum(sizes)),
        unknown=0.0,
    )
    weights = np.ascontiguousarray(np.concatenate(tables, axis=1).T)
    scores = Weighted(weights, priors, np.zeros_like(weights), np.zeros(count))
    return _found(record, n_features, scores, steps=(Apply("Truncate"), categories))


def _table(record: Record, item: Value, count: int) -> FloatArray:
    raw = array_of(record, "feature_log_prob_", item)
    if raw.dtype != np.float64 or raw.ndim != 2 or raw.shape[0] != count or not raw.shape[1]:
        raise wrong(record, "feature_log_prob_", item, f"a table of {count} rows")
    result = np.array(raw, dtype=np.float64, order="C")
    if not bool(np.isfinite(result).all()):
        raise unsupported(record, "A category of probability 0", found="feature_log_prob_")
    return result


def read_quadratic_discriminant(record: Record, context: Context) -> ReadPredictor:
    """QuadraticDiscriminantAnalysis: ``-(|(x - mean) @ (rotation · scaling^-½)|² + Σ log scaling)/2 + log prior``.

    Raises:
        UnsupportedModelError: DP603 for float32, priors of 0 and covariances that are not of full rank.
    """
    n_features, count = integer(record, "n_features_in_", low=1), len(_classes(record))
    means = _doubles(record, "means_", (count, n_features))
    priors = _logarithms(record, "priors_", _doubles(record, "priors_", (count,)))
    rotations = _matrices(record, "rotations_", 2)
    scalings = _matrices(record, "scalings_", 1)
    if len(rotations) != count or len(scalings) != count:
        raise wrong(record, "rotations_", record.get("rotations_"), f"{count} matrices")
    projections, offset, off = [], [], []
    for rotation, scaling, prior in zip(rotations, scalings, priors.tolist(), strict=True):
        if rotation.shape != (n_features, len(scaling)):
            raise wrong(record, "rotations_", record.get("rotations_"), f"{n_features} rows for each scaling")
        logs = _logarithms(record, "scalings_", _spread(record, "scalings_", scaling))
        projections.append(rotation / np.sqrt(scaling))
        offset.append(prior - 0.5 * math.fsum(logs))
        off.append(STEPS * (abs(prior) + math.fsum(np.abs(logs))))
    scores = Rotated(means, tuple(projections), np.array(offset), np.array(off))
    found = _found(record, n_features, scores, compared=True)
    return replace(found, max_abs=_finite_reach(record, means, projections))


def _finite_reach(record: Record, means: FloatArray, projections: Sequence[FloatArray]) -> float:
    """How large a row may be for its projections to be finite in any order: none may be infinity less infinity."""
    steepest = max(float(np.abs(matrix).sum(axis=0).max()) for matrix in projections)
    limit = MAX_MAGNITUDE / max(steepest, 1.0) / 2.0 - float(np.abs(means).max())
    if not limit > 0.0:
        raise unsupported(record, "A projection that overflows", found=f"{steepest:g}")
    return limit


def _matrices(record: Record, name: str, dimensions: int) -> list[FloatArray]:
    found = []
    for item in members(record, name, record.get(name)):
        raw = array_of(record, name, item)
        if raw.dtype != np.float64 or raw.ndim != dimensions or not raw.size:
            raise wrong(record, name, item, "float64 numbers")
        matrix = np.array(raw, dtype=np.float64, order="C")
        if not bool(np.isfinite(matrix).all()):
            raise wrong(record, name, item, "finite numbers")
        found.append(matrix)
    return found


_PRIORS_SINCE = (1, 6)


def read_nearest_centroid(record: Record, context: Context) -> ReadPredictor:
    """NearestCentroid, euclidean or manhattan; other priors than equal ones scale rows and centres first (since 1.6).

    Raises:
        UnsupportedModelError: DP603 for other metrics, and for unequal priors with manhattan distances.
    """
    version = context.version(record)
    n_features, count = integer(record, "n_features_in_", low=1), len(_classes(record))
    metric = text(record, "metric")
    if metric not in ("euclidean", "manhattan"):
        raise unsupported(record, "This metric is not emitted", found=metric, expected="euclidean, manhattan")
    centres = _doubles(record, "centroids_", (count, n_features))
    nothing = np.zeros(count)
    manhattan = metric == "manhattan"
    if version >= _PRIORS_SINCE:
        priors = _doubles(record, "class_prior_", (count,))
        if not bool(np.isclose(priors, 1 / count).all()):
            if manhattan:
                raise unsupported(record, "Unequal priors with manhattan distances", found="priors")
            scale = _doubles(record, "within_class_std_dev_", (n_features,))
            scale = np.where(scale != 0, scale, 1.0)
            offset = 2.0 * _logarithms(record, "class_prior_", priors)
            scores = Centroids(centres / scale, False, offset, STEPS * np.abs(offset))
            return _found(record, n_features, scores, soft_max=False, steps=(Divide(scale),))
    return _found(record, n_features, Centroids(centres, manhattan, nothing, nothing), soft_max=False)
