# SPDX-License-Identifier: Apache-2.0
"""Parts whose answers carry an error bound, and encoders whose original refuses what it never saw, as frozen values.

Behind `Affine` and an inexact `Function` a value differs from the original's by a bound that is computed beside it,
entry by entry. `Categories` with `strict` and every `Function` also say whether the original answers a row at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Activation",
    "Affine",
    "Binarize",
    "Categories",
    "Digitize",
    "Function",
    "FunctionName",
    "Network",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]

FunctionName: TypeAlias = Literal[
    "sqrt", "reciprocal", "exp", "expm1", "log", "log1p", "log2", "log10", "tanh"
]
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
class Network:
    """A multi-layer perceptron: affine layers with `activation` between them; the last one's sums are the scores.

    Two classes: 1 where the logistic of the only score exceeds one half; more: argmax of the soft-max. `classes` is 0
    for a regressor.
    """

    layers: tuple[Affine, ...]
    activation: Activation
    classes: int
