# SPDX-License-Identifier: Apache-2.0
"""Naive Bayes and quadratic discriminants: joint log likelihoods, each with how far the original's may be from it.

What the originals compute anew at every predict (logarithms, roots) is taken here from the fitted numbers; a constant
is allowed `STEPS` of each number that it is made of, on both sides together, which covers the pairwise sums of numpy
too. Sums over the columns of a row may be made in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, Record
from ..walk import Expected
from .answers import argmax, dot_gamma, lead, soft_max
from .derivation import Derivation, Family, NotDerivedError
from .inexact import CARRIED, LEAST, hold_back
from .reading import Labels, array, integer, items, labels, number, unreadable
from .spread import EXP_SPREAD, scaled
from .vocabulary import Answer, apply, as_double, columns, constant, scalar

__all__ = ["LIKELIHOODS", "decided", "doubles", "logarithms"]

FloatArray = npt.NDArray[np.float64]

STEPS = 2.0**-46
"""exp, log, pow and a root err by a few units of 2^-53, relatively, on each side."""
ROUNDED = 2.0**-50
"""A few roundings on each side."""
_LEAST_VARIANCE = 2.0**-100
"""Quotients and squares of smaller ones leave the normal numbers by more than `LEAST` covers."""
_LEAST_COMPLEMENT = 2.0**-30
"""What 1 - exp(x) has to be for its logarithm to keep any digits."""


def doubles(owner: Record, name: str, *shape: int | None) -> FloatArray:
    """A finite array in float64, in which everything is computed; None stands for any length."""
    found = array(owner, name)
    fits = found.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, found.shape, strict=False)
    )
    if found.dtype != np.float64 or not fits or not bool(np.isfinite(np.asarray(found, np.float64)).all()):
        raise unreadable(owner, name, f"finite float64 numbers of shape {shape}")
    return np.array(found, dtype=np.float64)


def logarithms(owner: Record, name: str, values: npt.ArrayLike) -> list[float]:
    """Logarithms of numbers that have to be positive."""
    found = np.asarray(values, dtype=np.float64).tolist()
    if not all(0.0 < value < math.inf for value in found):
        raise NotDerivedError(f"{name} of {owner.name} that are not positive")
    return [math.log(value) for value in found]


def decided(
    owner: Record,
    raw: Expected,
    error: Expected,
    *,
    scores: Expected | None = None,
    labels_only: bool = False,
    decides: bool | None = False,
) -> Answer:
    """The largest of the scores of K >= 2 classes, two of which are compared: both may be off."""
    known = _classes(owner)
    axis = constant([1], np.int64)
    bound = apply("Mul", apply("ReduceMax", error, axis, keepdims=0), scalar(2.0))
    spread = apply("Unsqueeze", bound, axis)
    return Answer(
        labels=known,
        index=argmax(raw),
        probabilities=None if labels_only else soft_max(raw, len(known)),
        scores=scores,
        margin=lead(raw, len(known)),
        bound=bound,
        score_error=spread,
        probability_error=scaled(spread, 4.0, EXP_SPREAD),
        decides=decides,
    )


def _classes(owner: Record) -> Labels:
    known = labels(owner)
    if len(known) < 2:
        raise unreadable(owner, "classes_", "two classes or more")
    return known


def _sums(rows: FloatArray) -> FloatArray:
    return np.array([math.fsum(row) for row in rows.tolist()])


# Scores that are products with stored numbers ----------------------------------------------------------------------


def _weighted(
    owner: Record,
    rows: Expected,
    weights: FloatArray,
    offset: FloatArray,
    weights_off: FloatArray | None = None,
    offset_off: FloatArray | float = 0.0,
) -> Answer:
    """``rows @ weights + offset``, where both may be off by as much as is stated."""
    raw = apply("Add", apply("MatMul", rows, constant(weights)), constant(offset))
    magnitude = apply("Abs", rows)
    size = apply("Add", apply("MatMul", magnitude, constant(np.abs(weights))), constant(np.abs(offset)))
    error = apply("Mul", size, scalar(2.0 * CARRIED * dot_gamma(len(weights))))
    if weights_off is not None:
        error = apply("Add", error, apply("MatMul", magnitude, constant(weights_off * CARRIED)))
    stated = np.zeros(len(offset)) + offset_off + LEAST
    return decided(owner, raw, apply("Add", error, constant(stated)))


def _multinomial(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``X @ feature_log_prob_.T + class_log_prior_``."""
    count, width = len(_classes(owner)), integer(owner, "n_features_in_")
    weights = doubles(owner, "feature_log_prob_", count, width)
    return _weighted(owner, rows, weights.T, doubles(owner, "class_log_prior_", count))


def _complement(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """Without the prior, which ``_joint_log_likelihood`` adds for a single class only."""
    count, width = len(_classes(owner)), integer(owner, "n_features_in_")
    return _weighted(owner, rows, doubles(owner, "feature_log_prob_", count, width).T, np.zeros(count))


def _bernoulli(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``X @ (flp - neg).T + (class_log_prior_ + neg.sum())`` with ``neg = log(1 - exp(flp))``.

    exp errs by STEPS of itself, which moves the logarithm by that over 1 - p; the logarithm errs by STEPS of itself.
    """
    count, width = len(_classes(owner)), integer(owner, "n_features_in_")
    if owner.get("binarize") is not None:
        rows = as_double(apply("Greater", rows, scalar(number(owner, "binarize"))))
    positive = doubles(owner, "feature_log_prob_", count, width)
    prior = doubles(owner, "class_log_prior_", count)
    p = np.array([[math.exp(min(value, 1.0)) for value in row] for row in positive.tolist()])
    if not bool((1.0 - p >= _LEAST_COMPLEMENT).all()):
        raise NotDerivedError("a probability next to 1")
    negative = np.array([[math.log(1.0 - share) for share in row] for row in p.tolist()])
    offset = np.array(
        [math.fsum([first, *row]) for first, row in zip(prior.tolist(), negative.tolist(), strict=True)]
    )
    off = (STEPS * p + ROUNDED) / (1.0 - p) + STEPS * np.abs(negative)
    weights_off = off + ROUNDED * (np.abs(positive) + np.abs(negative))
    added = (width + 8) * 2.0**-51 * (_sums(np.abs(negative)) + np.abs(prior))
    return _weighted(owner, rows, (positive - negative).T, offset, weights_off.T, _sums(off) + added)


def _categorical(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """The entry of each column's table at the row's category; rows are cast to whole numbers, toward zero.

    The original raises on a number that is no category, so that nothing is certain there.
    """
    count, width = len(_classes(owner)), integer(owner, "n_features_in_")
    tables = []
    for item in items(owner, "feature_log_prob_"):
        found = item.to_numpy() if isinstance(item, Array) and not item.is_object else np.zeros(0)
        if found.dtype != np.float64 or found.ndim != 2 or len(found) != count or not found.size:
            raise unreadable(owner, "feature_log_prob_", f"float64 tables of {count} rows")
        tables.append(np.array(found, dtype=np.float64))
    if len(tables) != width or not all(bool(np.isfinite(part).all()) for part in tables):
        raise unreadable(owner, "feature_log_prob_", f"a finite table for each of {width} columns")
    sizes = [part.shape[1] for part in tables]
    whole = apply("Where", apply("Less", rows, scalar(0.0)), apply("Ceil", rows), apply("Floor", rows))
    spread = columns(whole, np.repeat(np.arange(width), sizes).tolist())
    values = np.concatenate([np.arange(size, dtype=np.float64) for size in sizes])
    hits = as_double(apply("Equal", spread, constant(values)))
    known = apply("ReduceSum", hits, constant([1], np.int64), keepdims=0)
    prior = doubles(owner, "class_log_prior_", count)
    answer = _weighted(owner, hits, np.concatenate(tables, axis=1).T, prior)
    return hold_back(answer, [apply("Equal", known, scalar(width))])


# Scores that are sums of squares ------------------------------------------------------------------------------------


def _joined(parts: Sequence[Expected]) -> Expected:
    return apply("Concat", *parts, axis=1)


def _from_squares(
    squares: Sequence[Expected], offset: Sequence[float], terms: int, squares_off: Sequence[Expected] = ()
) -> tuple[Expected, Expected, Expected]:
    """``offset - squares / 2``, the magnitude of what is added, and the error but for the constants."""
    halves = apply("Mul", _joined(squares), scalar(0.5))
    raw = apply("Sub", constant(offset), halves)
    size = apply("Add", halves, constant(np.abs(offset)))
    error = apply("Mul", size, scalar(2.0 * CARRIED * dot_gamma(terms)))
    if squares_off:
        error = apply("Add", error, apply("Mul", _joined(squares_off), scalar(0.5)))
    return raw, size, error


def _total(values: Expected) -> Expected:
    return apply("ReduceSum", values, constant([1], np.int64), keepdims=1)


def _gaussian(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``log(prior) - sum(log(2 pi var)) / 2 - sum((X - theta)^2 / var) / 2``: each term is rounded four times."""
    count, width = len(_classes(owner)), integer(owner, "n_features_in_")
    centres, variances = doubles(owner, "theta_", count, width), doubles(owner, "var_", count, width)
    if not bool((variances >= _LEAST_VARIANCE).all()):
        raise NotDerivedError("variances next to nothing")
    prior = logarithms(owner, "class_prior_", doubles(owner, "class_prior_", count))
    logs = [logarithms(owner, "var_", row) for row in 2.0 * math.pi * variances]
    offset = [first - 0.5 * math.fsum(row) for first, row in zip(prior, logs, strict=True)]
    squares = []
    for centre, variance in zip(centres, variances, strict=True):
        away = apply("Sub", rows, constant(centre))
        squares.append(_total(apply("Div", apply("Mul", away, away), constant(variance))))
    raw, _, error = _from_squares(squares, offset, width)
    off = [
        STEPS * (abs(first) + math.fsum(map(abs, row)) + width)
        for first, row in zip(prior, logs, strict=True)
    ]
    return decided(owner, raw, apply("Add", error, constant(np.array(off) + LEAST)))


def _quadratic(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``-(|(X - mean) @ (R * S^-0.5)|^2 + sum(log S)) / 2 + log(prior)``.

    A product y that may be off by e has a square that may be off by e (2|y| + e).
    """
    known = _classes(owner)
    count, width = len(known), integer(owner, "n_features_in_")
    means, prior = doubles(owner, "means_", count, width), doubles(owner, "priors_", count)
    scalings, rotations = _parts(owner, "scalings_", count), _parts(owner, "rotations_", count)
    firsts = logarithms(owner, "priors_", prior)
    offset, constants_off = [], []
    squares, squares_off = [], []
    gamma = 2.0 * CARRIED * dot_gamma(width) + STEPS
    for mean, scaling, rotation, first in zip(means, scalings, rotations, firsts, strict=True):
        if rotation.shape != (width, scaling.size) or not 0 < scaling.size <= width:
            raise unreadable(owner, "rotations_", f"{width} rows, with a column for each scaling")
        if not bool((scaling >= _LEAST_VARIANCE).all()):
            raise NotDerivedError("scalings next to nothing")
        logs = logarithms(owner, "scalings_", scaling)
        offset.append(first - 0.5 * math.fsum(logs))
        constants_off.append(STEPS * (abs(first) + math.fsum(map(abs, logs))))
        weights = rotation / np.sqrt(scaling)
        away = apply("Sub", rows, constant(mean))
        y = apply("MatMul", away, constant(weights))
        squares.append(_total(apply("Mul", y, y)))
        size = apply("MatMul", apply("Abs", away), constant(np.abs(weights)))
        off = apply("Mul", size, scalar(gamma))
        reach = apply("Add", apply("Mul", apply("Abs", y), scalar(2.0)), off)
        squares_off.append(apply("Mul", _total(apply("Mul", off, reach)), scalar(CARRIED)))
    raw, _, error = _from_squares(squares, offset, width, squares_off)
    error = apply("Add", error, constant(np.array(constants_off) + LEAST))
    scores = apply("Sub", columns(raw, [1]), columns(raw, [0])) if count == 2 else raw
    return decided(owner, raw, error, scores=scores, decides=True)


def _parts(owner: Record, name: str, count: int) -> list[FloatArray]:
    """A float64 array for each class."""
    found = []
    for item in items(owner, name):
        part = item.to_numpy() if isinstance(item, Array) and not item.is_object else np.zeros(0)
        if part.dtype != np.float64 or not part.size or not bool(np.isfinite(part).all()):
            raise unreadable(owner, name, "finite float64 arrays")
        found.append(np.array(part, dtype=np.float64))
    if len(found) != count or any(part.ndim != (1 if name == "scalings_" else 2) for part in found):
        raise unreadable(owner, name, f"an array for each of {count} classes")
    return found


LIKELIHOODS: dict[str, Family] = {
    "sklearn.naive_bayes.GaussianNB": _gaussian,
    "sklearn.naive_bayes.MultinomialNB": _multinomial,
    "sklearn.naive_bayes.ComplementNB": _complement,
    "sklearn.naive_bayes.BernoulliNB": _bernoulli,
    "sklearn.naive_bayes.CategoricalNB": _categorical,
    "sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis": _quadratic,
}
