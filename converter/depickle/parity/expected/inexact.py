# SPDX-License-Identifier: Apache-2.0
"""How far transformed columns may be from the original's, read off the expression itself, and which rows count.

A projection or a logarithm states its own error; every operation behind it is analysed here by what it is: a rounding
of at most 4u|y| on both sides together, times what it does to the error of its input (docs/proof.md). What no rule
covers is not derived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from ..walk import Expected
from .not_derived import NotDerivedError
from .vocabulary import Answer, Spread, apply, constant, scalar

__all__ = [
    "CARRIED",
    "LEAST",
    "Conditional",
    "Inexact",
    "Joined",
    "conditions",
    "doubtful",
    "error_of",
    "hold_back",
    "missing_stays",
]

CARRIED = 1.0 + 2.0**-20
"""Covers the rounding of the bound itself, for up to 2^30 terms."""

LEAST = 2.0**-960
"""Covers numbers too small for roundings to be relative."""

STEP = 2.0**-51


@dataclass(frozen=True, eq=False)
class Inexact(Expected):
    """A value that states its own error, [N, F].

    Attributes:
        error: of each entry; None where the value is bit-equal after all.
        mixes: whether its NaN may be an overflow of sums, and so may be a number in the original.
        settled: whether it is bit-equal even where what it is made of is not.
    """

    error: Expected | None = None
    mixes: bool = False
    settled: bool = False


@dataclass(frozen=True, eq=False)
class Conditional(Inexact):
    """A value that the original computes for rows with the flag `holds` only, [N]."""

    holds: Expected | None = None


@dataclass(frozen=True, eq=False)
class Joined(Inexact):
    """Columns side by side, with the number that each part has; some parts may be bit-equal."""

    widths: tuple[int, ...] = ()


def error_of(value: Expected) -> Expected | None:
    """The error of each entry of `value`; None where it is bit-equal to the original's.

    Raises:
        NotDerivedError: for an operation on inexact columns that no rule covers.
    """
    return _error(value, {})


def _error(value: Expected, known: dict[int, Expected | None]) -> Expected | None:
    if id(value) not in known:
        own = value.error if isinstance(value, Inexact) else None
        settled = isinstance(value, Inexact) and value.settled
        known[id(value)] = own if own is not None or settled else _passed_on(value, known)
    return known[id(value)]


def _passed_on(value: Expected, known: dict[int, Expected | None]) -> Expected | None:
    if value.operator == "Where" and value.inputs[0].operator == "IsNaN":
        # ``numpy.clip``: the condition is true where the value is NaN on both sides
        errors = [None, *(_error(part, known) for part in value.inputs[1:])]
    else:
        errors = [_error(part, known) for part in value.inputs]
    if all(error is None for error in errors):
        return None
    first = errors[0]
    match value.operator:
        case "Concat":
            parts = [
                apply("Mul", part, scalar(0.0)) if error is None else error
                for part, error in zip(value.inputs, errors, strict=True)
            ]
            return apply("Concat", *parts, axis=1)
        case "Gather" if first is not None and value.attributes == {"axis": 1}:
            return apply("Gather", first, value.inputs[1], axis=1)
        case "Abs" | "Neg" | "Clip" if first is not None:
            return first
        case "Where" if value.inputs[2].operator == "Clip" and value.inputs[0].inputs == value.inputs[1:2]:
            return errors[2]
        case "Where" if _fills(value) and errors[2] is not None:
            if not missing_stays(value.inputs[2]):
                return errors[2]
            return apply("Where", value.inputs[0], scalar(0.0), errors[2])
        case "Sub" | "Add" if first is not None and value.inputs[1].constant is not None:
            return _rounded(value, first, scalar(CARRIED))
        case "Mul" if first is not None and value.inputs[1].constant is not None:
            return _rounded(value, first, constant(np.abs(_numbers(value)) * CARRIED))
        case "Div" if first is not None and value.inputs[1].constant is not None:
            return _rounded(value, first, constant(CARRIED / np.abs(_numbers(value))))
    raise NotDerivedError(f"{value.operator} of values that are not exact")


def _fills(value: Expected) -> bool:
    """Whether a constant stands in for NaN, and nothing else is changed."""
    condition = value.inputs[0]
    return (
        condition.operator == "IsNaN"
        and condition.inputs == value.inputs[2:]
        and value.inputs[1].constant is not None
    )


def doubtful(value: Expected, column: int) -> bool:
    """Whether a column of `value` may differ from the original's.

    Raises:
        NotDerivedError: for an operation on inexact columns that no rule covers.
    """
    if error_of(value) is None:
        return False
    if isinstance(value, Joined):
        for part, width in zip(value.inputs, value.widths, strict=True):
            if column < width:
                return doubtful(part, column)
            column -= width
        raise NotDerivedError("a column beyond all parts")
    if isinstance(value, Inexact) and value.error is not None:
        return True
    if value.operator == "Gather":
        return doubtful(value.inputs[0], int(np.asarray(value.inputs[1].constant).reshape(-1)[column]))
    parts = value.inputs[1:] if value.operator == "Where" else value.inputs
    return any(doubtful(part, column) for part in parts if part.constant is None)


def missing_stays(value: Expected) -> bool:
    """Whether NaN in inexact columns is NaN in the original too: it came in, and arithmetic passed it on.

    Sums of products may overflow on one side only, and a constant of 0 or infinity, or a division by 0, turns a
    finite number on one side and another on the other side into NaN and no NaN.
    """
    seen: set[int] = set()
    stack = [value]
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Inexact) and part.mixes:
            return False
        if part.operator in _ARITHMETIC and part.inputs[1].constant is not None:
            operand = _numbers(part)
            if not bool(np.isfinite(operand).all()):
                return False
            zero = part.operator in ("Mul", "Div") and bool((operand == 0.0).any())
            if zero and (operand.size > 1 or error_of(part.inputs[0]) is not None):
                return False
        stack += part.inputs
    return True


_ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def _numbers(value: Expected) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(value.inputs[1].constant, dtype=np.float64)


def _rounded(value: Expected, error: Expected, factor: Expected) -> Expected:
    rounding = apply("Mul", apply("Abs", value), scalar(STEP))
    return apply("Add", apply("Add", apply("Mul", error, factor), rounding), scalar(LEAST))


def conditions(value: Expected) -> list[Expected]:
    """The flags of everything that `value` is made of, upstream first, each once."""
    found: dict[int, Expected] = {}
    seen: set[int] = set()

    def collect(part: Expected) -> None:
        if id(part) in seen:
            return
        seen.add(id(part))
        for upstream in part.inputs:
            collect(upstream)
        if isinstance(part, Conditional) and part.holds is not None:
            found.setdefault(id(part.holds), part.holds)

    collect(value)
    return list(found.values())


def hold_back(answer: Answer, flags: Sequence[Expected]) -> Answer:
    """`answer`, with nothing certain where a flag is not set.

    Raises:
        NotDerivedError: for a regressor, which has no way to say that the original raises.
    """
    if not flags:
        return answer
    if answer.index is None:
        raise NotDerivedError("numbers of rows on which the original may raise")
    known = reduce(lambda left, right: apply("And", left, right), flags)
    column = apply("Unsqueeze", known, constant([1], np.int64))
    never = scalar(np.inf)

    def unbounded(error: Spread) -> Expected:
        return apply("Where", column, error if isinstance(error, Expected) else scalar(error), never)

    if answer.margin is None or answer.bound is None:
        margin = apply("Where", known, scalar(1.0), scalar(0.0))
        bound = apply("Mul", margin, scalar(0.0))
    else:
        margin, bound = answer.margin, apply("Where", known, answer.bound, never)
    return replace(
        answer,
        margin=margin,
        bound=bound,
        score_error=unbounded(answer.score_error),
        probability_error=unbounded(answer.probability_error),
        paths=None,
    )
