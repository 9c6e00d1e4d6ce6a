# SPDX-License-Identifier: Apache-2.0
"""Feature selectors: which columns stay, by each class's own rule (sklearn.feature_selection)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record, plain
from ..walk import Expected
from .derivation import Derivation, Transformer
from .reading import array, integer, number, unreadable, vector
from .vocabulary import columns

__all__ = ["SELECTORS", "selected_columns"]

Mask = npt.NDArray[np.bool_]


def _variance(owner: Record, width: int) -> Mask:
    return np.asarray(vector(owner, "variances_", width) > number(owner, "threshold"))


def _supported(owner: Record, width: int) -> Mask:
    mask = array(owner, "support_")
    if mask.dtype != np.bool_ or mask.shape != (width,):
        raise unreadable(owner, "support_", f"{width} booleans")
    return np.array(mask, dtype=np.bool_)


def _below(owner: Record, width: int) -> Mask:
    share = width if owner.name == "SelectFwe" else 1
    return np.asarray(vector(owner, "pvalues_", width) < number(owner, "alpha") / share)


def _ranked(owner: Record, width: int) -> npt.NDArray[np.float64]:
    """The scores; one that is NaN ranks last."""
    scores = vector(owner, "scores_", width)
    return np.where(np.isnan(scores), -np.finfo(np.float64).max, scores)


def _best(owner: Record, width: int) -> Mask:
    if plain(owner.get("k")) == "all":
        return np.ones(width, dtype=np.bool_)
    order = sorted(
        range(width), key=_ranked(owner, width).__getitem__
    )  # stable: of equals, the later rank higher
    kept = set(order[width - min(integer(owner, "k"), width) :])
    return np.array([place in kept for place in range(width)])


def _upper(owner: Record, width: int) -> Mask:
    share = number(owner, "percentile")
    if share in (0, 100):
        return np.full(width, share == 100)
    scores = _ranked(owner, width)
    cut = np.percentile(scores, 100 - share)
    kept = np.array(scores > cut)
    ties = np.flatnonzero(scores == cut)
    room = math.floor(width * share / 100) - int(kept.sum())
    kept[ties[: max(room, 0)]] = True
    return kept


_UNIVARIATE = "sklearn.feature_selection._univariate_selection"
_MASKS: dict[str, Callable[[Record, int], Mask]] = {
    "sklearn.feature_selection._variance_threshold.VarianceThreshold": _variance,
    f"{_UNIVARIATE}.SelectKBest": _best,
    f"{_UNIVARIATE}.SelectPercentile": _upper,
    f"{_UNIVARIATE}.SelectFpr": _below,
    f"{_UNIVARIATE}.SelectFwe": _below,
    "sklearn.feature_selection._rfe.RFE": _supported,
    "sklearn.feature_selection._rfe.RFECV": _supported,
    "sklearn.feature_selection._sequential.SequentialFeatureSelector": _supported,
}


def selected_columns(owner: Record, width: int) -> list[int]:
    """The columns that a selector keeps, of `width`.

    Raises:
        ParityError: DP710 where it keeps none, or its attributes are not what its class documents.
    """
    chosen = [int(place) for place in np.flatnonzero(_MASKS[owner.cls](owner, width))]
    if not chosen:
        raise unreadable(owner, "support", "at least one column")
    return chosen


def _select(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    chosen = selected_columns(owner, width)
    return columns(rows, chosen), len(chosen)


SELECTORS: dict[str, Transformer] = dict.fromkeys(_MASKS, _select)
