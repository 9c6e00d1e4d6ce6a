# SPDX-License-Identifier: Apache-2.0
"""What transformers do to columns, as frozen values: each class is one operation of the original, bit for bit.

Operations whose results nobody defines to the last bit, or that refuse rows, are in `depickle.models.dense_types`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from .dense_types import Affine, Binarize, Categories, Digitize, Function, Leaves, Normalize, Power

__all__ = [
    "Apply",
    "Branches",
    "Clip",
    "Divide",
    "Elementwise",
    "Encode",
    "Impute",
    "Multiply",
    "Products",
    "Select",
    "Shift",
    "Subtract",
    "Transform",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Subtract:
    """``x - operand`` per column."""

    operand: FloatArray


@dataclass(frozen=True, eq=False)
class Divide:
    """``x / operand`` per column."""

    operand: FloatArray


@dataclass(frozen=True, eq=False)
class Multiply:
    """``x * operand`` per column."""

    operand: FloatArray


@dataclass(frozen=True, eq=False)
class Shift:
    """``x + operand`` per column."""

    operand: FloatArray


@dataclass(frozen=True)
class Clip:
    """Every column limited to [low, high]; NaN stays NaN."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Impute:
    """Missing values of the kept columns replaced by their statistic; then the indicator columns, if any.

    `missing` is the value that counts as missing; NaN means NaN.
    """

    statistics: FloatArray
    """One per input column."""
    missing: float
    kept: tuple[int, ...]
    indicators: tuple[int, ...] = ()


@dataclass(frozen=True)
class Select:
    """The given columns, in the given order."""

    columns: tuple[int, ...]


@dataclass(frozen=True)
class Apply:
    """A function of each value alone that IEEE arithmetic defines to the last bit."""

    function: Literal["Abs", "Neg", "Square", "Sign", "Floor", "Ceil", "Round", "Truncate"]


@dataclass(frozen=True)
class Products:
    """Products of columns: each term is ``x[a] * (x[b] * (x[c] * …))``, an empty one is 1."""

    terms: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Branches:
    """Several chains of transformers beside each other: each on its own columns, their outputs joined in order."""

    branches: tuple[tuple[tuple[int, ...], tuple[Transform, ...]], ...]


@dataclass(frozen=True, eq=False)
class Encode:
    """Categories as their numbers, then other columns as they are.

    A value that equals the k-th category of its column becomes k; any other value, and a missing one, becomes NaN.
    """

    encoded: tuple[tuple[int, FloatArray], ...]
    """Columns with their categories, increasing."""
    passed: tuple[int, ...]


Elementwise: TypeAlias = Union[Subtract, Divide, Multiply, Shift, Clip, Apply]  # noqa: UP007
Conditional: TypeAlias = Union[  # noqa: UP007
    Affine, Function, Normalize, Power, Categories, Digitize, Binarize
]
Transform: TypeAlias = Union[  # noqa: UP007
    Elementwise, Impute, Select, Products, Branches, Encode, Leaves, Conditional
]
