# SPDX-License-Identifier: Apache-2.0
"""Models that keep rows of their training data and compare new rows with them, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Decision", "Kernel", "Metric", "Neighbours", "SupportVectors"]

FloatArray: TypeAlias = npt.NDArray[np.float64]

Kernel: TypeAlias = Literal["linear", "poly", "rbf", "sigmoid"]

Metric: TypeAlias = Literal["euclidean", "manhattan", "chebyshev"]

Decision: TypeAlias = Literal[
    "value",  # a regressor: the sum is the answer
    "inlier",  # class 1 where the sum is > 0
    "pair",  # two classes: class 1 where the sum is >= 0
    "votes",  # of every pair, its first class where the sum is > 0; most votes win, the first of equals
    "confidences",  # argmax of votes plus the squashed sums of each class (break_ties)
]


@dataclass(frozen=True, eq=False)
class SupportVectors:
    """``sums = kernel(x, vectors) @ weights + offset``, one sum for each pair of classes, in any order.

    Attributes:
        vectors: [S, F].
        weights: [S, P].
        offset: [P].
        kernel: ``linear`` x·s; ``poly`` (gamma x·s + coef0) ** degree; ``rbf`` exp(-gamma |x - s|²); ``sigmoid``
            tanh(gamma x·s + coef0).
        gamma: factor of the kernel.
        coef0: what ``poly`` and ``sigmoid`` add.
        degree: of ``poly``.
        classes: number of classes, 0 for a regressor.
        decision: how the label comes out of the sums.
        one_against_rest: three classes or more: scores are votes plus squashed sums of each class, not the sums.
    """

    vectors: FloatArray
    weights: FloatArray
    offset: FloatArray
    kernel: Kernel
    gamma: float
    coef0: float
    degree: int
    classes: int
    decision: Decision
    one_against_rest: bool

    @property
    def pairs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First and second class of each pair, in the order of the sums."""
        first, second = np.triu_indices(self.classes, 1)
        return first.astype(np.int64), second.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The `count` stored rows that are nearest, and what they vote for or the mean of their values.

    Attributes:
        rows: [S, F].
        answers: [S], class indices or values.
        count: k, at most S.
        metric: how rows are apart.
        by_distance: a neighbour counts 1 / distance; where some are at distance 0, those count 1 and the others 0.
        expanded: the original takes squared distances as |x|² − 2 x·s + |s|² (Euclidean brute force), so that
            small ones are noise; else it adds up differences.
        classes: number of classes, 0 for a regressor.
    """

    rows: FloatArray
    answers: FloatArray
    count: int
    metric: Metric
    by_distance: bool
    expanded: bool
    classes: int
