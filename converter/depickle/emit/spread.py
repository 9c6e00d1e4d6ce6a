# SPDX-License-Identifier: Apache-2.0
"""How far an emitted quantity may be from the original's: a constant, or a tensor [N, 1] where it depends on the row.

0.0 means bit-equal. The bounds are coarse on purpose (powers of two above a few units in the last place); they only
have to be right, since a label is certified where its margin exceeds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from .graph import Graph
from .links import last_axis

__all__ = [
    "CARRIED",
    "EXP_SPREAD",
    "FUNCTION_STEPS",
    "LEAST",
    "ROUNDING",
    "SINGLE_SPREAD",
    "UNKNOWN",
    "Spread",
    "as_bound",
    "total",
    "widened",
]

Spread: TypeAlias = float | str

EXP_SPREAD = 2.0**-46
"""Probabilities in double whose raw scores are exact: exp within 3 ulp on each side, a few additions, a division."""

SINGLE_SPREAD = 2.0**-17
"""The same in float32, averaged in float32 or in double."""

ROUNDING = 2.0**-44
"""Added where quantities of magnitude 1 that are not exact are combined once more."""

CARRIED = 1.0 + 2.0**-20
"""What a carried error is multiplied by: covers the roundings of up to 2³⁰ terms of the bound itself."""

LEAST = 2.0**-960
"""Covers results below the normal numbers, where roundings are not relative."""

FUNCTION_STEPS = 2.0**-46
"""exp, log and tanh of numpy and of onnxruntime err by less than 8 units in the last place each: 16 times that."""

UNKNOWN = float("inf")
"""No bound: nothing that depends on it is ever certified."""


def widened(graph: Graph, spread: Spread, factor: float, constant: float = 0.0) -> Spread:
    """``spread * factor + constant``."""
    if not isinstance(spread, str):
        return spread * factor + constant if factor else constant
    scaled = spread if factor == 1.0 else graph.add("Mul", spread, graph.scalar(factor))
    return scaled if constant == 0.0 else graph.add("Add", scaled, graph.scalar(constant))


def total(graph: Graph, spreads: Sequence[Spread]) -> Spread:
    """The sum."""
    constant = sum(spread for spread in spreads if not isinstance(spread, str))
    tensors = [spread for spread in spreads if isinstance(spread, str)]
    if not tensors:
        return constant
    result = tensors[0]
    for tensor in tensors[1:]:
        result = graph.add("Add", result, tensor)
    return result if constant == 0.0 else graph.add("Add", result, graph.scalar(constant))


def as_bound(graph: Graph, spread: Spread, margin: str) -> str:
    """`spread` as [N]; a margin that is not finite is never certified."""
    if isinstance(spread, str):
        return graph.add("Squeeze", spread, last_axis(graph))
    return graph.add("Add", graph.add("Mul", margin, graph.scalar(0.0)), graph.scalar(spread))
