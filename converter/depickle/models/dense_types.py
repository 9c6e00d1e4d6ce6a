# SPDX-License-Identifier: Apache-2.0
"""Parts whose answers carry an error bound, and encoders whose original refuses what it never saw, as frozen values.

Behind `Affine` and an inexact `Function` a value differs from the original's by a bound that is computed beside it,
entry by entry. `Categories` with `strict` and every `Function` also say whether the original answers a row at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # that module's unions are made of these types
    from .types import Tree

__all__ = [
    "LARGEST_POWER",
    "Activation",
    "Affine",
    "Binarize",
    "Categories",
    "Digitize",
    "Function",
    "FunctionName",
    "Leaves",
    "Network",
    "Norm",
    "Normalize",
    "Power",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]

FunctionName: TypeAlias = Literal[
    "sqrt", "reciprocal", "exp", "expm1", "log", "log1p", "log2", "log10", "tanh"
]
Norm: TypeAlias = Literal["l1", "l2", "max"]
Activation: TypeAlias = Literal["identity", "relu", "logistic", "tanh"]


@dataclass(frozen=True, eq=False)
class Affine:
    """``x @ weights + offset``, in any order of summation; `size` bounds what the original adds up to `offset`."""

    weights: FloatArray
    """[F, K]."""
    offset: FloatArray
    size: FloatArray


@dataclass(frozen=True)
class Function:
    """A numpy function of each value; rows where it is not finite are not certified, as originals refuse them."""

    name: FunctionName

    @property
    def exact(self) -> bool:
        """IEEE arithmetic defines it to the last bit."""
        return self.name in ("sqrt", "reciprocal")


@dataclass(frozen=True)
class Normalize:
    """Each row divided by its norm, or by 1 where that is below ten epsilons."""

    norm: Norm
    columns: int

    @property
    def exact(self) -> bool:
        """The largest magnitude is exact; sums are not."""
        return self.norm == "max"


LARGEST_POWER = 2.0**100
"""Rows with a larger result of a power are not certified: some originals raise past the float32 range."""


@dataclass(frozen=True, eq=False)
class Power:
    """Box-Cox, or where `mirrored` Yeo-Johnson, of each column; rows past `LARGEST_POWER` are not certified.

    Box-Cox: ``(x**k - 1) / k``, or the logarithm where k is 0 as far as the original can tell. Yeo-Johnson: the same
    of 1 + x for x >= 0, and of 1 - x with 2 - k, negated, below 0.
    """

    exponents: FloatArray
    mirrored: bool


@dataclass(frozen=True, eq=False)
class Categories:
    """Categories of each column, side by side in `values`; NaN is a category of its own.

    Attributes:
        width: number of input columns.
        column: input column of each value, ascending.
        values: the categories.
        strict: the original raises where a value is none of its column's categories.
        kept: one-hot output: which of `values` have an output column; None for ordinal output.
        codes: ordinal output: what each value becomes.
        unknown: ordinal output: what any other value becomes (unless `strict`).
    """

    width: int
    column: npt.NDArray[np.int64]
    values: FloatArray
    strict: bool
    kept: tuple[int, ...] | None
    codes: FloatArray
    unknown: float


@dataclass(frozen=True, eq=False)
class Digitize:
    """The number of `edges` of its column that a value reaches; one-hot over `bins` where `one_hot`."""

    column: npt.NDArray[np.int64]
    edges: FloatArray
    bins: tuple[int, ...]
    one_hot: bool


@dataclass(frozen=True)
class Binarize:
    """1 where a value exceeds `threshold`, else 0."""

    threshold: float


@dataclass(frozen=True, eq=False)
class Leaves:
    """A column for each leaf, tree after tree in node order: 1 where the row, rounded to float32, ends, else 0."""

    trees: tuple[Tree, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """A multi-layer perceptron: affine layers with `activation` between them; the last one's sums are the scores.

    Two classes: 1 where the logistic of the only score exceeds one half; more: argmax of the soft-max. `classes` is 0
    for a regressor.
    """

    layers: tuple[Affine, ...]
    activation: Activation
    classes: int
