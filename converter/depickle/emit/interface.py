# SPDX-License-Identifier: Apache-2.0
"""What an emitter of a family hands to whatever encloses it: names of tensors, and what is certain about them."""

from __future__ import annotations

from dataclasses import dataclass

from .spread import Spread

__all__ = ["Heads"]


@dataclass(frozen=True)
class Heads:
    """Tensors of one emitted predictor.

    Attributes:
        class_index: int64 [N], or None for a regressor.
        probabilities: float64 [N, C], or None.
        scores: float64 [N, 1] or [N, K], or None.
        scores_width: K.
        margin: float64 [N], or None where the label is exact.
        bound: float64 [N]; the label is certified where margin > bound.
        gamma: the constant of the bound: γₙ of a dot product, or the fixed band of an exp.
        score_error: how far `scores` may be from the original's.
        probability_error: the same of `probabilities`.
        paths: bool [N], where the path through every tree is the original's, if that alone decides whether answers
            are bit-equal; then they are where it is set, and the errors are 0 or infinite.
        max_batch: rows after which intermediate tensors grow past what a run should hold, or None.
    """

    class_index: str | None
    probabilities: str | None
    scores: str | None
    scores_width: int
    margin: str | None = None
    bound: str | None = None
    gamma: float | None = None
    score_error: Spread = 0.0
    probability_error: Spread = 0.0
    max_batch: int | None = None
    paths: str | None = None
