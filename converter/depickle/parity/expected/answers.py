# SPDX-License-Identifier: Apache-2.0
"""From raw scores to labels, probabilities and margins: the last step of every classifier.

Where a library compares a probability, the raw score at which its answer changes is searched here, over the
floating-point numbers in their order, with the library's own formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ..walk import Expected
from .vocabulary import INT64, add_up, apply, cast, columns, constant, scalar, squeeze

__all__ = [
    "argmax",
    "distinct_lead",
    "dot_gamma",
    "even_chance",
    "even_chance_single",
    "lead",
    "logistic",
    "over_sum",
    "soft_max",
    "threshold_rule",
    "two_classes",
]

DOUBLE_STEPS = Fraction(1, 2**48)
"""Raw scores further apart than this give different probabilities: exp of it is 16 representable doubles below 1,
and exp, the sum and the quotient err by less than 2 each."""

SINGLE_STEPS = Fraction(1, 2**19)
"""The same in float32."""


def argmax(values: Expected) -> Expected:
    """Index of the largest, the first of equals."""
    return apply("ArgMax", values, axis=1, keepdims=0, select_last_index=0)


def threshold_rule(raw: Expected, operator: str, cut: float, dtype: str = "float64") -> Expected:
    """1 where the only score is on the far side of `cut`, else 0; `operator` is GreaterOrEqual or Greater."""
    return cast(apply(operator, squeeze(raw), scalar(cut, dtype)), INT64)


def logistic(raw: Expected, *, factor: float = 1.0, dtype: str = "float64") -> Expected:
    """1 / (1 + exp(-factor * raw))."""
    scaled = raw if factor == 1.0 else apply("Mul", scalar(factor, dtype), raw)
    one = scalar(1.0, dtype)
    return apply("Div", one, apply("Add", one, apply("Exp", apply("Neg", scaled))))


def two_classes(p: Expected, dtype: str = "float64") -> Expected:
    """[1 - p, p]."""
    return apply("Concat", apply("Sub", scalar(1.0, dtype), p), p, axis=1)


def over_sum(values: Expected, width: int) -> Expected:
    """Each row divided by its sum, which is added up from the first class on."""
    return apply("Div", values, add_up([columns(values, [place]) for place in range(width)]))


def soft_max(raw: Expected, width: int) -> Expected:
    """exp(raw - max) over its sum."""
    largest = apply("ReduceMax", raw, constant([1], np.int64), keepdims=1)
    return over_sum(apply("Exp", apply("Sub", raw, largest)), width)


def lead(values: Expected, width: int) -> Expected:
    """By how much the largest leads the second, [N]; of one score, its magnitude."""
    if width == 1:
        return squeeze(apply("Abs", values))
    top = apply("TopK", values, constant([2], np.int64), axis=1, largest=1, sorted=1)
    first, second = (apply("Gather", top, constant(place, np.int64), axis=1) for place in (0, 1))
    return apply("Sub", first, second)


def distinct_lead(values: Expected, width: int) -> Expected:
    """By how much the largest leads the next smaller one, [N]; of one score, its distance from 0. 1 where none is.

    For sums that are bit-equal in both models: equal scores have equal probabilities in any arithmetic, and exp(0)
    is 1 in all of them, so that a tie decides itself and only scores that differ by less than the band are open.
    """
    if width == 1:
        away = apply("Abs", values)
    else:
        away = apply("Sub", apply("ReduceMax", values, constant([1], np.int64), keepdims=1), values)
    away = apply("Where", apply("Equal", away, scalar(0.0)), scalar(1.0), away)
    return squeeze(away) if width == 1 else apply("ReduceMin", away, constant([1], np.int64), keepdims=0)


def dot_gamma(terms: int) -> float:
    """nu / (1 - nu) with u = 2^-53, exactly, rounded once (Higham, Accuracy and Stability, section 3.1).

    n is the number of products and 8 more: the intercept, the final addition, and the rounding of the bound itself.
    """
    share = Fraction(terms + 8, 2**53)
    return float(share / (1 - share))


def even_chance(factor: float) -> float:
    """The least raw score for which the larger of [1 - p, p] is p, in double."""

    def second_class(raw: float) -> bool:
        p = 1.0 / (1.0 + math.exp(-factor * raw))
        return p > 1.0 - p

    return _least(second_class, 1.0 / factor)


def even_chance_single() -> float:
    """The least float32 margin at which XGBoost's float32 sigmoid exceeds one half."""

    def second_class(margin: float) -> bool:
        # src/common/math.h: kEps keeps the denominator away from 0, and disappears in float32
        power = np.float32(math.exp(-margin))
        denominator = power + np.float32(1) + np.float32(1e-16)
        return bool(np.float32(1) / denominator > np.float32(0.5))

    return _least(second_class, 1.0, single=True)


def _least(holds: Callable[[float], bool], highest: float, *, single: bool = False) -> float:
    """The least positive number up to `highest` for which `holds`; positive floats order as their bits do."""
    real, whole = (np.float32, np.uint32) if single else (np.float64, np.uint64)
    below, above = 0, int(np.array(highest, dtype=real).view(whole))
    while above > below + 1:
        middle = below + (above - below) // 2
        if holds(float(np.array(middle, dtype=whole).view(real))):
            above = middle
        else:
            below = middle
    return float(np.array(above, dtype=whole).view(real))
