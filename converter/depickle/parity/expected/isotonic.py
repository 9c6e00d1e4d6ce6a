# SPDX-License-Identifier: Apache-2.0
"""Isotonic curves (isotonic.py), of calibrators and of regressors: values clipped, then ``numpy.interp``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record
from ..walk import Expected
from .derivation import Derivation
from .inexact import LEAST
from .not_derived import NotDerivedError
from .reading import array, number, one_of, unreadable, vector
from .spread import quotient_error, scaled
from .vocabulary import INT64, Answer, Spread, add_up, apply, as_double, cast, constant, scalar

__all__ = ["expect_isotonic", "interpolated", "isotonic_error"]

FloatArray = npt.NDArray[np.float64]
STEPS = 2.0**-48
"""Four roundings of values in [0, 1], on each side."""


def _thresholds(owner: Record) -> tuple[FloatArray, FloatArray]:
    raw = array(owner, "X_thresholds_")
    if raw.dtype != np.float64 or array(owner, "y_thresholds_").dtype != np.float64:
        raise NotDerivedError("thresholds of another precision")
    knots, values = vector(owner, "X_thresholds_", raw.size), vector(owner, "y_thresholds_", raw.size)
    if not one_of(owner, "out_of_bounds", "clip") or len(knots) < 2:
        raise NotDerivedError("another curve than a clipped one")
    if not bool((knots[1:] > knots[:-1]).all() and np.isfinite([*knots, *values]).all()):
        raise unreadable(owner, "X_thresholds_", "rising numbers, and finite values")
    return knots, values


def _probabilities(owner: Record) -> tuple[FloatArray, FloatArray]:
    knots, values = _thresholds(owner)
    if not bool((values[1:] >= values[:-1]).all()):
        raise unreadable(owner, "X_thresholds_", "a rising curve")
    if values.min() < 0.0 or values.max() > 1.0:
        raise unreadable(owner, "y_thresholds_", "probabilities")
    return knots, values


def _slopes(knots: FloatArray, values: FloatArray) -> list[float]:
    return [
        (after - value) / (end - start)
        for start, end, value, after in zip(knots[:-1], knots[1:], values[:-1], values[1:], strict=True)
    ]


def interpolated(owner: Record, response: Expected) -> Expected:
    """The probability that a calibrator makes of a response."""
    return _curve(*_probabilities(owner), response)


def _curve(knots: FloatArray, values: FloatArray, response: Expected) -> Expected:
    """``slope * (x - xp[j]) + fp[j]`` for the last j with ``xp[j] <= x``, as numpy computes it."""
    x = apply("Clip", response, constant(knots.min()), constant(knots.max()))
    count = as_double(apply("GreaterOrEqual", x, constant(knots[1:])))
    last = cast(apply("ReduceSum", count, constant([1], np.int64), keepdims=1), INT64)

    def at(table: npt.ArrayLike) -> Expected:
        return apply("Gather", constant(table), last, axis=0)

    run = apply("Sub", x, at(knots))
    return apply("Add", apply("Mul", at([*_slopes(knots, values), 0.0]), run), at(values))


def isotonic_error(error: Spread, curves: Sequence[Record], found: Sequence[Expected]) -> Spread:
    """The error of the response times the largest slope; shares of a sum S are off by the more the smaller S is."""
    largest = max(max(_slopes(*_probabilities(curve))) for curve in curves)
    if not math.isfinite(largest):
        raise NotDerivedError("a curve that is too steep")
    single = scaled(error, largest * (1.0 + 2.0**-20), STEPS)
    if len(curves) == 1:
        return single
    return quotient_error(single, add_up(found), len(curves))


def expect_isotonic(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``IsotonicRegression.predict``, of one column: clipped to ``X_min_`` and ``X_max_``, then interpolated.

    Both sides take the same slopes; a fused multiplication and the order of the last steps move the value by a few
    roundings of numbers no larger than twice the largest of the curve.
    """
    knots, values = _thresholds(owner)
    if number(owner, "X_min_") != knots[0] or number(owner, "X_max_") != knots[-1]:
        raise unreadable(owner, "X_min_", "the ends of the thresholds")
    value = _curve(knots, values, rows)
    off = scalar(STEPS * float(np.abs(values).max()) + LEAST)
    return Answer(scores=value, score_error=apply("Add", apply("Mul", value, scalar(0.0)), off))
