# SPDX-License-Identifier: Apache-2.0
"""Where a binary label flips, found by bisection over the floating-point numbers themselves.

Boosting libraries compare a probability, not the raw sum: LightGBM takes the larger of [1 − p, p], XGBoost asks
whether p > 0.5 in float32. As p grows with the raw sum, each is one threshold on the raw sum. It is found here with
the arithmetic of the original, and it lies within a few 1e-16 (1e-7 for XGBoost) of zero.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from .types import LabelRule

__all__ = [
    "DOUBLE_BAND",
    "SINGLE_BAND",
    "argmax_of_two",
    "certified_argmax",
    "exp_float32",
    "single_above_half",
]

DOUBLE_BAND = 2.0**-48
"""Raw scores further apart than this have distinct probabilities: 1 − exp(−gap) is 32 ulp, exp errs by < 4."""

SINGLE_BAND = 2.0**-19
"""The same in float32."""


def argmax_of_two(factor: float = 1.0) -> LabelRule:
    """The rule ``argmax([1 - p, p])`` with ``p = 1 / (1 + exp(-factor * raw))`` in double."""

    def positive(raw: float) -> bool:
        p = 1.0 / (1.0 + math.exp(-factor * raw))
        return p > 1.0 - p

    return LabelRule(
        "score_at_least",
        cut=_first_double(positive, 0.0, 1.0 / factor),
        exact=False,
        band=DOUBLE_BAND / min(factor, 1.0),
    )


def single_above_half() -> LabelRule:
    """The rule ``p > 0.5`` with XGBoost's float32 sigmoid: ``1 / (exp(-raw) + 1 + 1e-16)``."""

    def positive(raw: float) -> bool:
        denominator = np.float32(exp_float32(-raw) + np.float32(1.0)) + np.float32(1e-16)
        return bool(np.float32(1.0) / denominator > np.float32(0.5))

    return LabelRule("score_at_least", cut=_first_single(positive, 0.0, 1.0), exact=False, band=SINGLE_BAND)


def certified_argmax(*, single: bool = False) -> LabelRule:
    """Largest raw score, where the original takes the largest probability (soft-max or logistic of it)."""
    return LabelRule("argmax_scores", exact=False, band=SINGLE_BAND if single else DOUBLE_BAND)


def exp_float32(x: float) -> np.float32:
    """exp of a small float32, rounded once from double: what glibc's expf gives but for exact half-way cases."""
    return np.float32(math.exp(float(np.float32(x))))


def _first_double(positive: Callable[[float], bool], low: float, high: float) -> float:
    """The least double above `low` (where the rule says no) at which it says yes."""
    no, yes = _bits64(low), _bits64(high)
    while yes - no > 1:
        middle = (no + yes) // 2
        if positive(_double(middle)):
            yes = middle
        else:
            no = middle
    return _double(yes)


def _first_single(positive: Callable[[float], bool], low: float, high: float) -> float:
    no, yes = _bits32(low), _bits32(high)
    while yes - no > 1:
        middle = (no + yes) // 2
        if positive(_single(middle)):
            yes = middle
        else:
            no = middle
    return _single(yes)


def _bits64(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _double(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def _bits32(value: float) -> int:
    return int(struct.unpack("<i", struct.pack("<f", value))[0])


def _single(bits: int) -> float:
    return float(struct.unpack("<f", struct.pack("<i", bits))[0])
