# SPDX-License-Identifier: Apache-2.0
"""Feature selectors: which columns stay, by each class's own rule (sklearn.feature_selection)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record, plain
from ..walk import Expected
from .derivation import Derivation, NotDerivedError, Transformer
from .importances import importance_threshold, importances
from .reading import array, integer, number, record, text, unreadable, vector
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


def _false_positives(owner: Record, width: int, parameter: str = "alpha") -> Mask:
    return np.asarray(vector(owner, "pvalues_", width) < number(owner, parameter))


def _any_error(owner: Record, width: int, parameter: str = "alpha") -> Mask:
    return np.asarray(vector(owner, "pvalues_", width) < number(owner, parameter) / width)


def _false_discoveries(owner: Record, width: int, parameter: str = "alpha") -> Mask:
    """Every p-value up to the largest that its rank allows (Benjamini and Hochberg)."""
    values = vector(owner, "pvalues_", width)
    step = number(owner, parameter) / width
    allowed = [value for rank, value in enumerate(np.sort(values), start=1) if value <= step * rank]
    return np.array([value <= max(allowed, default=-math.inf) for value in values], dtype=np.bool_)


def _ranked(owner: Record, width: int) -> npt.NDArray[np.float64]:
    """The scores; one that is NaN ranks last."""
    scores = vector(owner, "scores_", width)
    return np.where(np.isnan(scores), -np.finfo(np.float64).max, scores)


def _best(owner: Record, width: int, parameter: str = "k") -> Mask:
    if plain(owner.get(parameter)) == "all":
        return np.ones(width, dtype=np.bool_)
    order = sorted(
        range(width), key=_ranked(owner, width).__getitem__
    )  # stable: of equals, the later rank higher
    kept = set(order[width - min(integer(owner, parameter), width) :])
    return np.array([place in kept for place in range(width)])


def _upper(owner: Record, width: int, parameter: str = "percentile") -> Mask:
    share = number(owner, parameter)
    if share in (0, 100):
        return np.full(width, share == 100)
    scores = _ranked(owner, width)
    cut = np.percentile(scores, 100 - share)
    kept = np.array(scores > cut)
    ties = np.flatnonzero(scores == cut)
    room = math.floor(width * share / 100) - int(kept.sum())
    kept[ties[: max(room, 0)]] = True
    return kept


def _by_mode(owner: Record, width: int) -> Mask:
    """GenericUnivariateSelect makes one of the others of `mode` and hands it `param`."""
    by_name = {
        "percentile": _upper,
        "k_best": _best,
        "fpr": _false_positives,
        "fdr": _false_discoveries,
        "fwe": _any_error,
    }
    chosen = by_name.get(text(owner, "mode"))
    if chosen is None:
        raise unreadable(owner, "mode", "one of " + ", ".join(by_name))
    return chosen(owner, width, "param")


def _important(owner: Record, width: int) -> Mask:
    """SelectFromModel: ``scores < threshold`` is dropped, after all but the `max_features` largest."""
    fitted = record(owner, "estimator" if owner.get("estimator_") is None else "estimator_")
    if plain(owner.get("importance_getter", "auto")) != "auto":
        raise NotDerivedError("importances taken by name or function")
    scores = importances(fitted, width, plain(owner.get("norm_order", 1)))
    mask = np.ones(width, dtype=np.bool_)
    if owner.get("max_features") is not None:
        most = integer(owner, "max_features" if owner.get("max_features_") is None else "max_features_")
        first = sorted(range(width), key=lambda place: -scores[place])[:most]  # stable, as a merge sort
        mask = np.array([place in first for place in range(width)])
    return np.asarray(mask & ~(scores < importance_threshold(owner, fitted, scores)))


_UNIVARIATE = "sklearn.feature_selection._univariate_selection"
_MASKS: dict[str, Callable[[Record, int], Mask]] = {
    "sklearn.feature_selection._variance_threshold.VarianceThreshold": _variance,
    f"{_UNIVARIATE}.SelectKBest": _best,
    f"{_UNIVARIATE}.SelectPercentile": _upper,
    f"{_UNIVARIATE}.SelectFpr": _false_positives,
    f"{_UNIVARIATE}.SelectFdr": _false_discoveries,
    f"{_UNIVARIATE}.SelectFwe": _any_error,
    f"{_UNIVARIATE}.GenericUnivariateSelect": _by_mode,
    "sklearn.feature_selection._from_model.SelectFromModel": _important,
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
