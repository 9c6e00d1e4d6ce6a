# SPDX-License-Identifier: Apache-2.0
"""Isotonic calibrators (isotonic.py): values clipped to the thresholds, then ``numpy.interp``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record
from ..walk import Expected
from .not_derived import NotDerivedError
from .reading import array, one_of, unreadable, vector
from .spread import quotient_error, scaled
from .vocabulary import INT64, Spread, add_up, apply, as_double, cast, constant

__all__ = ["interpolated", "isotonic_error"]

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
    if not bool((knots[1:] > knots[:-1]).all() and (values[1:] >= values[:-1]).all()):
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
    """``slope * (x - xp[j]) + fp[j]`` for the last j with ``xp[j] <= x``, as numpy computes it."""
    knots, values = _thresholds(owner)
    x = apply("Clip", response, constant(knots.min()), constant(knots.max()))
    count = as_double(apply("GreaterOrEqual", x, constant(knots[1:])))
    last = cast(apply("ReduceSum", count, constant([1], np.int64), keepdims=1), INT64)

    def at(table: npt.ArrayLike) -> Expected:
        return apply("Gather", constant(table), last, axis=0)

    run = apply("Sub", x, at(knots))
    return apply("Add", apply("Mul", at([*_slopes(knots, values), 0.0]), run), at(values))


def isotonic_error(error: Spread, curves: Sequence[Record], found: Sequence[Expected]) -> Spread:
    """The error of the response times the largest slope; shares of a sum S are off by the more the smaller S is."""
    largest = max(max(_slopes(*_thresholds(curve))) for curve in curves)
    if not math.isfinite(largest):
        raise NotDerivedError("a curve that is too steep")
    single = scaled(error, largest * (1.0 + 2.0**-20), STEPS)
    if len(curves) == 1:
        return single
    return quotient_error(single, add_up(found), len(curves))
