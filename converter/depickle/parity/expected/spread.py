# SPDX-License-Identifier: Apache-2.0
"""Bounds on how far a quantity may be from the original's, carried along from operation to operation.

The constants are those of docs/proof.md; they only have to be large enough, and both sides state the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..walk import Expected
from .vocabulary import Spread, add_up, apply, scalar, squeeze

__all__ = [
    "EXP_SPREAD",
    "ROUNDING",
    "SINGLE_SPREAD",
    "UNKNOWN",
    "as_bound",
    "beside",
    "quotient_error",
    "scaled",
    "total",
]

EXP_SPREAD = 2.0**-46
"""Probabilities in double of bit-equal scores: exp errs by less than 3 ulp on each side, sum and quotient by 2."""

SINGLE_SPREAD = 2.0**-17
"""The same in float32."""

ROUNDING = 2.0**-44
"""What one more combination of inexact quantities no larger than 1 adds."""

UNKNOWN = math.inf
"""No bound is known, so nothing that depends on it is certified."""


def scaled(spread: Spread, factor: float, more: float = 0.0) -> Spread:
    """``factor * spread + more``."""
    if not isinstance(spread, Expected):
        return factor * spread + more if factor else more
    wider = spread if factor == 1.0 else apply("Mul", spread, scalar(factor))
    return wider if more == 0.0 else apply("Add", wider, scalar(more))


def total(spreads: Sequence[Spread]) -> Spread:
    """Their sum: those that depend on the row first, then the constants."""
    constants = sum(spread for spread in spreads if not isinstance(spread, Expected))
    varying = [spread for spread in spreads if isinstance(spread, Expected)]
    if not varying:
        return constants
    return add_up(varying) if constants == 0.0 else apply("Add", add_up(varying), scalar(constants))


def as_bound(spread: Spread, margin: Expected) -> Expected:
    """[N]; a margin that is not finite is never certified."""
    if isinstance(spread, Expected):
        return squeeze(spread)
    return apply("Add", apply("Mul", margin, scalar(0.0)), scalar(spread))


def quotient_error(single: Spread, sums: Expected, count: int) -> Expected:
    """How far the shares of `sums` may be off, each of `count` parts of which is off by `single`.

    (p + d) / (S - Kd) - p / S is at most (K + 1)d / (S - Kd), which is below 2(K + 2)d / S while S > 2(K + 2)d.
    Nearer to 0 nothing is known.
    """
    off = scaled(single, 2.0 * (count + 2.0))
    above = off if isinstance(off, Expected) else scalar(off)
    return apply("Where", apply("Greater", sums, above), apply("Div", above, sums), scalar(UNKNOWN))


def beside(value: Expected, spread: float) -> Expected:
    """`spread` for each row of `value` [N, 1]; not a number where that is none, so that it vouches for nothing."""
    return apply("Add", apply("Mul", value, scalar(0.0)), scalar(spread))
