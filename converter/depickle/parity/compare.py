# SPDX-License-Identifier: Apache-2.0
"""Compares the answers of two models on the same rows: labels one by one, numbers in units in the last place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depickle_runtime.record import RowSet

__all__ = ["NamedRows", "Outcome", "compare_answers", "max_ulp", "ulp_distance"]


DOUBLES_PER_SINGLE = 2**29
"""Doubles from one float32 to the next: 52 − 23 bits of mantissa."""


@dataclass(frozen=True)
class NamedRows:
    """A set of rows, [N, F], with the name that the record gives it."""

    name: str
    values: npt.NDArray[np.float64]

    @property
    def digest(self) -> str:
        """SHA-256 of the rows as little-endian float64, row-major."""
        return hashlib.sha256(np.ascontiguousarray(self.values, dtype="<f8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How two models answered on one set of rows."""

    rows: RowSet
    first_flip: int | None
    """Index of the first row whose label differs, or None."""


def ulp_distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Distance of two arrays of doubles, counted in representable doubles; equal NaNs are at distance 0.

    Formula: map each double to an integer that orders as the doubles do (two's complement of the magnitude for
    negative numbers), and subtract. See Dawson, "Comparing floating point numbers", 2012. +0 and -0 are 0 apart.
    """
    x = _ordered(a)
    y = _ordered(b)
    larger = np.maximum(x, y).astype(np.int64)
    smaller = np.minimum(x, y).astype(np.int64)
    distance = larger.view(np.uint64) - smaller.view(np.uint64)
    both_nan = np.isnan(a) & np.isnan(b)
    one_nan = np.isnan(a) ^ np.isnan(b)
    distance[both_nan] = 0
    distance[one_nan] = np.iinfo(np.uint64).max
    return distance


def _ordered(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    return np.where(bits < 0, np.int64(-(2**63)) - bits, bits)


def max_ulp(a: npt.NDArray[np.float64] | None, b: npt.NDArray[np.float64] | None) -> int | None:
    """Largest distance, counted in the precision that the original answered in.

    XGBoost answers in float32, handed over as float64; doubles that are all float32 numbers came from there.
    """
    if a is None or b is None:
        return None
    b = b.reshape(a.shape)
    with np.errstate(over="ignore"):
        single = a.astype(np.float32).astype(np.float64)
    if np.array_equal(a, single, equal_nan=True):
        with np.errstate(over="ignore"):
            b = b.astype(np.float32).astype(np.float64)
        return int(ulp_distance(a, b).max(initial=0)) // DOUBLES_PER_SINGLE
    return int(ulp_distance(a, b).max(initial=0))


def compare_answers(
    rows: NamedRows,
    *,
    reference_labels: npt.NDArray[np.generic] | None,
    labels: npt.NDArray[np.generic] | None,
    certified: npt.NDArray[np.bool_] | None = None,
    reference_probabilities: npt.NDArray[np.float64] | None,
    probabilities: npt.NDArray[np.float64] | None,
    reference_scores: npt.NDArray[np.float64] | None,
    scores: npt.NDArray[np.float64] | None,
) -> Outcome:
    """Count label flips and the largest distances.

    Args:
        rows: the rows both models answered.
        reference_labels: labels of the original, [N], or None for a regressor.
        labels: labels of the new model, [N].
        certified: rows whose label the new model vouches for, [N]; None for all. A flip outside does not count,
            because the runtime abstains there.
        reference_probabilities: [N, C] of the original, or None.
        probabilities: [N, C] of the new model, or None.
        reference_scores: raw scores of the original, or None.
        scores: raw scores of the new model, or None.
    """
    flips = 0
    first: int | None = None
    if reference_labels is not None and labels is not None:
        differs = np.asarray(reference_labels != labels, dtype=bool)
        if differs.shape != (rows.values.shape[0],):
            differs = np.ones(rows.values.shape[0], dtype=bool)
        if certified is not None:
            differs = differs & certified
        flips = int(differs.sum())
        first = int(np.argmax(differs)) if flips else None
    return Outcome(
        rows=RowSet(
            name=rows.name,
            rows=int(rows.values.shape[0]),
            label_flips=flips,
            max_ulp_probabilities=max_ulp(reference_probabilities, probabilities),
            max_ulp_scores=max_ulp(reference_scores, scores),
            digest=rows.digest,
        ),
        first_flip=first,
    )
