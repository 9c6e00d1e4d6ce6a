# SPDX-License-Identifier: Apache-2.0
"""Rows divided by their norm, and columns raised to a power: what both may be off by, and which rows count.

A norm is a sum of n terms, and of the second kind its root: off by less than gamma(n + 8) of itself on each side, in
any order, with the division after it. Whether it is taken for 0 is open where it is within that of the limit.
Largest magnitudes are exact.

``a ** k`` is computed as a power, or as ``exp(k log a)``, or as ``expm1(k log1p(a - 1))``, by release and library.
With c = 2^-46, 128 units of rounding: the logarithm is off by less than c (1 + |log a|) where a itself was rounded,
the exponent by |k| times that, the power by itself times that; then 1 is taken off, and k divided by.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record
from ..walk import Expected
from .answers import dot_gamma
from .derivation import Derivation, Transformer
from .encoders import STEPS, exactly
from .inexact import LEAST, Conditional, Inexact
from .preprocessing import SCALERS
from .reading import array, flag, record, text, unreadable
from .vocabulary import apply, as_double, constant, scalar

__all__ = ["POWERS"]

FloatArray = npt.NDArray[np.float64]
_TINY_NORM = 10 * 2.0**-52
"""``_handle_zeros_in_scale``: a smaller norm counts as 0, and its row stays as it is."""
_LARGE_NORM = 2.0**500
"""Squares of what is smaller do not overflow."""
_LARGE_POWER = 2.0**100
"""Rows with a larger result are left open, far before the original raises on an infinite one."""
_SCALER = "sklearn.preprocessing._data.StandardScaler"


def _normalizer(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``normalize`` of rows (preprocessing/_data.py)."""
    rows = exactly(rows)
    kind, axis = text(owner, "norm"), constant([1], np.int64)
    if kind == "max":
        norm = apply("ReduceMax", apply("Abs", rows), axis, keepdims=1)
    elif kind == "l1":
        norm = apply("ReduceSum", apply("Abs", rows), axis, keepdims=1)
    elif kind == "l2":
        norm = apply("Sqrt", apply("ReduceSum", apply("Mul", rows, rows), axis, keepdims=1))
    else:
        raise unreadable(owner, "norm", "l1, l2 or max")
    least = scalar(_TINY_NORM)
    small = apply("Less", norm, least)
    inputs = rows, apply("Where", small, scalar(1.0), norm)
    if kind == "max":
        return Inexact("Div", inputs, mixes=True), width
    value = apply("Div", *inputs)
    share = scalar(2.0 * dot_gamma(width))
    apart = apply("Greater", apply("Abs", apply("Sub", norm, least)), apply("Mul", norm, share))
    known = apply("And", apart, apply("Less", norm, scalar(_LARGE_NORM)))
    size = apply("Where", small, scalar(0.0), apply("Abs", value))
    error = apply("Add", apply("Mul", size, share), scalar(LEAST))
    error = apply("Where", known, error, scalar(np.inf))
    return Inexact(value.operator, value.inputs, error=error, mixes=True), width


def _power(base: Expected, exponent: FloatArray, alone: npt.NDArray[np.bool_]) -> tuple[Expected, Expected]:
    """``(base ** k - 1) / k`` and its error; the logarithm of `base` in the columns where it stands `alone`."""
    one = scalar(1.0)
    k = np.where(alone, 1.0, exponent)
    log = apply("Log", base)
    power = apply("Exp", apply("Mul", log, constant(k)))
    value = apply("Div", apply("Sub", power, one), constant(k))
    length = apply("Add", apply("Abs", log), one)
    steps = apply("Add", apply("Mul", length, constant(np.abs(k))), one)
    size = apply("Mul", apply("Add", power, one), steps)
    error = apply("Mul", size, constant(STEPS / np.abs(k)))
    if alone.any():
        by_column = constant(alone, np.bool_)
        value = apply("Where", by_column, log, value)
        error = apply("Where", by_column, apply("Mul", length, scalar(STEPS)), error)
    return value, error


def _transformed(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``PowerTransformer.transform``: numpy's power before 1.9, scipy's expm1 since; Box-Cox is always scipy's."""
    rows, one, zero = exactly(rows), scalar(1.0), scalar(0.0)
    found = array(owner, "lambdas_")
    # the exponent of negative numbers is 2 less it, in its own type
    if found.dtype != np.float64 or found.shape != (width,) or not bool(np.isfinite(found).all()):
        raise unreadable(owner, "lambdas_", f"{width} finite float64 numbers")
    powers = np.array(found, dtype=np.float64)
    method = text(owner, "method")
    if method == "box-cox":
        value, error = _power(rows, powers, np.abs(powers) < 1e-19)
        inside = apply("And", apply("Greater", rows, zero), _moderate(value))
        exact = apply("Equal", rows, one)
    elif method == "yeo-johnson":
        base, rest = apply("Add", one, apply("Abs", rows)), 2.0 - powers
        above, above_error = _power(base, powers, np.abs(powers) < 2.0**-52)
        below, below_error = _power(base, rest, np.abs(rest) <= 2.0**-52)
        rising = apply("GreaterOrEqual", rows, zero)
        value = apply("Where", rising, above, apply("Neg", below))
        error = apply("Where", rising, above_error, below_error)
        inside, exact = _moderate(value), apply("Equal", rows, zero)
    else:
        raise unreadable(owner, "method", "box-cox or yeo-johnson")
    decent = as_double(apply("Or", inside, apply("IsNaN", rows)))
    least = apply("ReduceMin", decent, constant([1], np.int64), keepdims=0)
    raised: Expected = Conditional(
        value.operator,
        value.inputs,
        value.attributes,
        error=apply("Where", exact, zero, error),
        holds=apply("Greater", least, zero),
    )
    if not flag(owner, "standardize"):
        return raised, width
    scaler = record(owner, "_scaler")
    if scaler.cls != _SCALER:
        raise unreadable(owner, "_scaler", "a StandardScaler")
    return SCALERS[_SCALER](scaler, raised, width, derive)


def _moderate(value: Expected) -> Expected:
    return apply("Less", apply("Abs", value), scalar(_LARGE_POWER))


POWERS: dict[str, Transformer] = {
    "sklearn.preprocessing._data.Normalizer": _normalizer,
    "sklearn.preprocessing._data.PowerTransformer": _transformed,
}
