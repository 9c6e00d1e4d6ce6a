# SPDX-License-Identifier: Apache-2.0
"""Expressions of ONNX operators, as short as the formulas they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..lift import Attribute
from ..walk import Expected, ExpectedEnsemble, ExpectedTree
from .reading import Labels

__all__ = [
    "ROWS",
    "Answer",
    "Spread",
    "add_up",
    "apply",
    "as_double",
    "as_single",
    "cast",
    "column",
    "columns",
    "constant",
    "scalar",
    "squeeze",
    "trees",
]

FLOAT, INT64, DOUBLE = 1, 7, 11
"""Element types of ONNX (TensorProto.DataType)."""

ROWS = Expected("input")
"""The one input, [N, F]."""


Spread = float | Expected
"""How far a quantity may be from the original's: a number (0.0: bit-equal), or [N, 1] where it depends on the row."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The expressions of a predictor's outputs; None where it has no such output.

    Attributes:
        labels: what the indices stand for; None for a regressor.
        score_error: how far `scores` may be from the original's.
        probability_error: the same of `probabilities`.
        decides: whether the original has a decision_function; None where the file does not tell.
        single: whether a regressor's numbers are float32 in the original, so that it adds them in float32.
        detects: whether it is an outlier detector, whose -1 and 1 no composition combines.
        withheld: whether the original has probabilities that are not derived, so that compositions may ask for them.
        paths: where every tree behind inexact columns takes the original's path, [N], if all is bit-equal there.
    """

    labels: Labels | None = None
    index: Expected | None = None
    probabilities: Expected | None = None
    scores: Expected | None = None
    margin: Expected | None = None
    bound: Expected | None = None
    score_error: Spread = 0.0
    probability_error: Spread = 0.0
    decides: bool | None = False
    single: bool = False
    detects: bool = False
    withheld: bool = False
    paths: Expected | None = None


def apply(operator: str, *inputs: Expected, **attributes: Attribute) -> Expected:
    """`operator` applied to `inputs`."""
    return Expected(operator, inputs, attributes)


def constant(value: npt.ArrayLike, dtype: npt.DTypeLike = np.float64) -> Expected:
    """A constant tensor."""
    return Expected("constant", constant=np.asarray(value, dtype=dtype))


def scalar(value: float, dtype: npt.DTypeLike = np.float64) -> Expected:
    """One number, which broadcasts."""
    return constant([value], dtype)


def cast(value: Expected, element: int) -> Expected:
    """`value` in another element type."""
    return apply("Cast", value, to=element)


def as_single(rows: Expected) -> Expected:
    """Rounded to float32."""
    return cast(rows, FLOAT)


def as_double(value: Expected) -> Expected:
    """Widened to float64."""
    return cast(value, DOUBLE)


def columns(value: Expected, chosen: Sequence[int]) -> Expected:
    """The given columns."""
    return apply("Gather", value, constant(list(chosen), np.int64), axis=1)


def column(value: Expected, place: int) -> Expected:
    """One column, [N]."""
    return apply("Gather", value, constant(place, np.int64), axis=1)


def squeeze(value: Expected) -> Expected:
    """[N, 1] as [N]."""
    return apply("Squeeze", value, constant([1], np.int64))


def trees(rows: Expected, found: Sequence[ExpectedTree], *, targets: int, dtype: str = "float64") -> Expected:
    """The sums of the leaves that `rows` reach, [N, targets]."""
    ensemble = ExpectedEnsemble(trees=found, targets=targets, dtype=dtype)
    return Expected("ai.onnx.ml:TreeEnsemble", (rows,), ensemble=ensemble)


def add_up(parts: Sequence[Expected]) -> Expected:
    """The sum of `parts`, from the first on."""
    total = parts[0]
    for part in parts[1:]:
        total = apply("Add", total, part)
    return total
