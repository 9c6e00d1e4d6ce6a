# SPDX-License-Identifier: Apache-2.0
"""Predictors that compare one score for each class, or give a constant or a curve, as frozen values.

Where the original computes constants anew at every predict (logarithms of priors, powers of variances), a value
beside the constant says how far what is computed here may be from what it computes there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # this type is part of that module's union
    from .types import Predictor, Transform

__all__ = [
    "Centroids",
    "ClassScores",
    "Constant",
    "Curve",
    "FloatArray",
    "Interpolated",
    "Likelihood",
    "Rotated",
    "Spreads",
    "Transformed",
    "Weighted",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Constant:
    """The same answer to every row: class `index` with `shares` as probabilities, or the number `value`."""

    index: int | None
    shares: tuple[float, ...]
    value: float


@dataclass(frozen=True, eq=False)
class Curve:
    """A rising line through `values` at `knots`, constant beyond the first and the last."""

    knots: FloatArray
    values: FloatArray


@dataclass(frozen=True, eq=False)
class Interpolated:
    """A regressor of one column: ``numpy.interp`` of the row, limited to the knots first."""

    knots: FloatArray
    values: FloatArray


@dataclass(frozen=True, eq=False)
class Weighted:
    """``x @ weights + offset``; `weights_off` and `offset_off` bound what the constants differ by."""

    weights: FloatArray
    """[F, K]."""
    offset: FloatArray
    weights_off: FloatArray
    offset_off: FloatArray


@dataclass(frozen=True, eq=False)
class Spreads:
    """``offset_k - Σ (x - centre_k)² / variance_k / 2``, each [K, F]."""

    centres: FloatArray
    variances: FloatArray
    offset: FloatArray
    offset_off: FloatArray


@dataclass(frozen=True, eq=False)
class Rotated:
    """``offset_k - |(x - centre_k) @ projection_k|² / 2``; the projections are off by up to 2⁻⁴⁶ of each entry."""

    centres: FloatArray
    projections: tuple[FloatArray, ...]
    """[F, R] each."""
    offset: FloatArray
    offset_off: FloatArray


@dataclass(frozen=True, eq=False)
class Centroids:
    """Nearest centre: ``offset_k + 2 x·centre_k - |centre_k|²``; where `manhattan`, ``-Σ |x - centre_k|``."""

    centres: FloatArray
    """[K, F]."""
    manhattan: bool
    offset: FloatArray
    offset_off: FloatArray


ClassScores: TypeAlias = Union[Weighted, Spreads, Rotated, Centroids]  # noqa: UP007


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The class of the largest score, the first of equals; no score is exact, so rows carry a margin.

    Attributes:
        scores: how they are computed.
        soft_max: probabilities are the soft-max of the scores; else there are none.
        compared: the original has a decision_function: of two classes the second score less the first.
    """

    scores: ClassScores
    soft_max: bool
    compared: bool


@dataclass(frozen=True, eq=False)
class Transformed:
    """A regressor's number after `steps`, elementwise ones that keep its bound."""

    predictor: Predictor
    steps: tuple[Transform, ...]
