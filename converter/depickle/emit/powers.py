# SPDX-License-Identifier: Apache-2.0
"""Norms and powers, with how far each entry may be from the original's.

**Norms.** A sum of n magnitudes or squares that are all positive is off by a factor of at most 1 + γₙ in any order of
summation (Higham, section 3.1); the root halves that, and it and the quotient add a rounding each. Both sides
together: 2γₙ of the result, the eight spare terms of `dot_product_gamma` covering the rest. Norms below ten epsilons
are replaced by 1 in the original: where the sum is as close to that as its error, the row has no bound. Neither has
it where squares might overflow. Squares that underflow belong to entries below 2⁻⁵¹⁰; the norm is at least 2⁻⁴⁹.

**Powers.** With a = x (Box-Cox) or 1 + |x| (Yeo-Johnson), w = |log a|, exponent k and P = a**k, the result is
(P - 1) / k. Releases compute P - 1 as ``power(a, k) - 1``, as ``expm1(k * log1p(x))`` or ``expm1(k * log(x))``; here
it is ``Exp(k * Log(a)) - 1``. With functions within 8u each and u for each operation, the logarithm is off by
2u + 8uw, its product by |k|(2u + 9uw), P by the factor of that and 8u, and the difference by 2u(P + 1) more: at most
10u(P + 1)(1 + |k|(1 + w)) on either side, 20u on both, divided by |k|. 2⁻⁴⁶ is 128u. scipy's form for products beyond
709.78 rounds a sum of that size, which |k|w covers. Where k is 0 as far as the original can tell, the logarithm alone
remains. At a = 1 every form gives 0 exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..models.dense_types import LARGEST_POWER, FloatArray, Normalize, Power
from .graph import Graph
from .linear import dot_product_gamma
from .links import last_axis
from .spread import FUNCTION_STEPS, LEAST

__all__ = ["emit_normalized", "emit_powers"]

LEAST_NORM = 10.0 * float(np.finfo(np.float64).eps)
"""``_handle_zeros_in_scale`` of scikit-learn divides by 1 below it."""

LARGEST_NORM = 2.0**500
"""Up to here no square overflows, nor does the sum of a million of them."""

EPSILON = float(np.finfo(np.float64).eps)
"""Yeo-Johnson takes the logarithm where |k| is below it, and for negative numbers where it is not above it."""

BOX_COX_ZERO = 1e-19
"""scipy's Box-Cox takes the logarithm where |k| is below it."""


def emit_normalized(graph: Graph, x: str, step: Normalize) -> tuple[str, str | None]:
    """`x` [N, F] by its norm, and how far each entry may be from the original's; None where it is exact."""
    axis = last_axis(graph)
    match step.norm:
        case "max":
            norm = graph.add("ReduceMax", graph.add("Abs", x), axis, keepdims=1)
        case "l1":
            norm = graph.add("ReduceSum", graph.add("Abs", x), axis, keepdims=1)
        case "l2":
            norm = graph.add("Sqrt", graph.add("ReduceSum", graph.add("Mul", x, x), axis, keepdims=1))
    least = graph.scalar(LEAST_NORM)
    small = graph.add("Less", norm, least)
    value = graph.add("Div", x, graph.add("Where", small, graph.scalar(1.0), norm))
    if step.exact:
        return value, None
    share = graph.scalar(2.0 * dot_product_gamma(step.columns))
    apart = graph.add(
        "Greater", graph.add("Abs", graph.add("Sub", norm, least)), graph.add("Mul", norm, share)
    )
    bounded = graph.add("And", apart, graph.add("Less", norm, graph.scalar(LARGEST_NORM)))
    size = graph.add("Where", small, graph.scalar(0.0), graph.add("Abs", value))
    error = graph.add("Add", graph.add("Mul", size, share), graph.scalar(LEAST))
    return value, graph.add("Where", bounded, error, graph.scalar(float("inf")))


def emit_powers(graph: Graph, x: str, step: Power) -> tuple[str, str, str]:
    """`x` [N, F] raised, how far each entry may be from the original's, and whether the original answers it."""
    one, zero = graph.scalar(1.0), graph.scalar(0.0)
    missing = graph.add("IsNaN", x)
    if not step.mirrored:
        value, error = _power(graph, x, step.exponents, np.abs(step.exponents) < BOX_COX_ZERO)
        inside = graph.add("And", graph.add("Greater", x, zero), _small(graph, value))
        exact = graph.add("Equal", x, one)
    else:
        base = graph.add("Add", one, graph.add("Abs", x))
        above, above_error = _power(graph, base, step.exponents, np.abs(step.exponents) < EPSILON)
        opposite = 2.0 - step.exponents
        below, below_error = _power(graph, base, opposite, np.abs(opposite) <= EPSILON)
        rising = graph.add("GreaterOrEqual", x, zero)
        value = graph.add("Where", rising, above, graph.add("Neg", below))
        error = graph.add("Where", rising, above_error, below_error)
        inside = _small(graph, value)
        exact = graph.add("Equal", x, zero)
    return value, graph.add("Where", exact, zero, error), graph.add("Or", inside, missing)


def _small(graph: Graph, value: str) -> str:
    return graph.add("Less", graph.add("Abs", value), graph.scalar(LARGEST_POWER))


def _power(graph: Graph, base: str, exponents: FloatArray, alone: npt.NDArray[np.bool_]) -> tuple[str, str]:
    """``(base**k - 1) / k`` of each column, or the logarithm `alone`; and its error."""
    finite = np.where(alone, 1.0, exponents)
    one = graph.scalar(1.0)
    k = graph.constant(finite, "float64")
    logarithm = graph.add("Log", base)
    power = graph.add("Exp", graph.add("Mul", logarithm, k))
    value = graph.add("Div", graph.add("Sub", power, one), k)
    length = graph.add("Add", graph.add("Abs", logarithm), one)
    steps = graph.add("Add", graph.add("Mul", length, graph.constant(np.abs(finite), "float64")), one)
    size = graph.add("Mul", graph.add("Add", power, one), steps)
    error = graph.add("Mul", size, graph.constant(FUNCTION_STEPS / np.abs(finite), "float64"))
    if alone.any():
        chosen = graph.constant(alone, "bool")
        value = graph.add("Where", chosen, logarithm, value)
        error = graph.add("Where", chosen, graph.add("Mul", length, graph.scalar(FUNCTION_STEPS)), error)
    return value, error
