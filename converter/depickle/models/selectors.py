# SPDX-License-Identifier: Apache-2.0
"""Feature selectors of scikit-learn: which columns stay, by each class's own rule."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..pickles.graph import Array, Record, plain
from .attributes import (
    array_of,
    float_array,
    integer,
    number,
    records,
    table_of,
    text,
    unsupported,
    wrong,
)
from .interface import Context, ReadTransform
from .preprocessing import check_width
from .types import FloatArray, Select

__all__ = ["read_model_selector", "read_selector", "read_supported", "read_univariate_selector"]


def read_selector(record: Record, columns: int, context: Context) -> ReadTransform:
    """VarianceThreshold: the columns whose variance exceeds the threshold."""
    check_width(record, columns)
    variances = float_array(record, "variances_", shape=(columns,))
    threshold = number(record, "threshold")
    chosen = tuple(int(column) for column in np.flatnonzero(variances > threshold))
    return _selected(record, chosen, allow_nan=True)


_MODES = {
    "SelectKBest": ("k_best", "k"),
    "SelectPercentile": ("percentile", "percentile"),
    "SelectFpr": ("fpr", "alpha"),
    "SelectFdr": ("fdr", "alpha"),
    "SelectFwe": ("fwe", "alpha"),
}


def read_univariate_selector(record: Record, columns: int, context: Context) -> ReadTransform:
    """SelectKBest, SelectPercentile, SelectFpr, SelectFdr, SelectFwe and GenericUnivariateSelect, ties included."""
    check_width(record, columns)
    if record.name == "GenericUnivariateSelect":
        mode, parameter = text(record, "mode"), "param"
    else:
        mode, parameter = _MODES[record.name]
    name = "scores_" if mode in ("k_best", "percentile") else "pvalues_"
    values = float_array(record, name, shape=(columns,), finite=False)
    match mode:
        case "fpr":
            mask = values < number(record, parameter)
        case "fdr":
            mask = _false_discoveries(values, number(record, parameter))
        case "fwe":
            mask = values < number(record, parameter) / columns
        case "k_best":
            mask = _best(record, parameter, values)
        case "percentile":
            mask = _upper_percentile(values, number(record, parameter))
        case _:
            raise unsupported(record, "The mode of selection is not known", found=mode)
    return _selected(record, tuple(int(column) for column in np.flatnonzero(mask)), allow_nan=False)


def _false_discoveries(values: FloatArray, alpha: float) -> npt.NDArray[np.bool_]:
    """Benjamini and Hochberg's rule: up to the largest p-value below its own line."""
    ordered = np.sort(values)
    passed = ordered[ordered <= alpha / len(values) * np.arange(1, len(values) + 1)]
    return np.asarray(values <= passed.max()) if passed.size else np.zeros(len(values), dtype=bool)


def _best(record: Record, parameter: str, scores: FloatArray) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(scores), dtype=bool)
    if plain(record.get(parameter)) == "all":
        return ~mask
    k = integer(record, parameter)
    ranked = np.argsort(np.where(np.isnan(scores), np.finfo(np.float64).min, scores), kind="mergesort")
    mask[ranked[len(scores) - min(k, len(scores)) :]] = True
    return mask


def _upper_percentile(scores: FloatArray, percentile: float) -> npt.NDArray[np.bool_]:
    if percentile == 100:
        return np.ones(len(scores), dtype=bool)
    if percentile == 0:
        return np.zeros(len(scores), dtype=bool)
    cleaned = np.where(np.isnan(scores), np.finfo(np.float64).min, scores)
    threshold = np.percentile(cleaned, 100 - percentile)
    mask = np.asarray(cleaned > threshold)
    ties = np.flatnonzero(cleaned == threshold)
    room = int(len(cleaned) * percentile / 100) - int(mask.sum())
    mask[ties[: max(room, 0)]] = True
    return mask


def read_supported(record: Record, columns: int, context: Context) -> ReadTransform:
    """RFE, RFECV and SequentialFeatureSelector: the columns of `support_`."""
    check_width(record, columns)
    mask = array_of(record, "support_", record.get("support_"))
    if mask.dtype != np.bool_ or mask.shape != (columns,):
        raise wrong(record, "support_", record.get("support_"), f"{columns} booleans")
    return _selected(record, tuple(int(column) for column in np.flatnonzero(mask)), allow_nan=False)


def _selected(record: Record, chosen: tuple[int, ...], *, allow_nan: bool) -> ReadTransform:
    if not chosen:
        raise unsupported(record, "The selector keeps no column", found="0 columns", expected="at least one")
    return ReadTransform((Select(chosen),), len(chosen), allow_nan=allow_nan, family=record.name)


SURE = 2.0**-30
"""Importances closer than this to the threshold, relatively, might fall on its other side on another host."""


def read_model_selector(record: Record, columns: int, context: Context) -> ReadTransform:
    """SelectFromModel: the columns whose importance to its estimator reaches the threshold.

    The importances are computed anew at every transform, so one next to the threshold (or to that of the last column
    kept) is refused: hosts round differently there.

    Raises:
        UnsupportedModelError: DP603 for estimators other than linear models, trees and forests of scikit-learn, for
            importances taken by name or function, and for ties.
    """
    inner = record.get("estimator_", record.get("estimator"))
    if not isinstance(inner, Record):
        raise wrong(record, "estimator_", inner, "a fitted estimator")
    check_width(inner, columns)
    if plain(record.get("importance_getter", "auto")) != "auto":
        raise unsupported(record, "Importances taken by name or function", found="importance_getter")
    scores = _importances(record, inner, columns)
    threshold = _threshold(record, inner, scores)
    kept = np.ones(columns, dtype=bool)
    if record.get("max_features") is not None:
        count = integer(
            record, "max_features_" if record.get("max_features_") is not None else "max_features"
        )
        order = np.argsort(-scores, kind="mergesort")
        kept[order[count:]] = False
        if 0 < count < columns:
            last, first = float(scores[order[count - 1]]), float(scores[order[count]])
            _apart(record, np.array([first]), last, exact=last == first == 0.0)
    if np.isfinite(threshold):
        _apart(record, scores, threshold, exact=_is_stored(record, inner))
    chosen = np.flatnonzero(kept & ~(scores < threshold))
    return _selected(record, tuple(int(column) for column in chosen), allow_nan=False)


def _apart(record: Record, scores: FloatArray, limit: float, *, exact: bool) -> None:
    if not exact and bool((np.abs(scores - limit) <= SURE * max(abs(limit), float(np.max(scores)))).any()):
        raise unsupported(record, "An importance next to the limit of what is selected", found=repr(limit))


def _is_stored(record: Record, inner: Record) -> bool:
    """Whether importances are stored numbers and the threshold is one too: nothing is rounded on the way."""
    coefficients = inner.get("coef_")
    return (
        isinstance(coefficients, Array)
        and len(coefficients.shape) == 1
        and isinstance(plain(record.get("threshold")), int | float)
    )


_PLAIN_TREES = ("sklearn.tree._classes.", "sklearn.ensemble._forest.")


def _importances(record: Record, inner: Record, columns: int) -> FloatArray:
    coefficients = inner.get("coef_")
    if isinstance(coefficients, Array):
        if len(coefficients.shape) == 1:
            return np.abs(float_array(inner, "coef_", shape=(columns,)))
        table = float_array(inner, "coef_", shape=(None, columns))
        order = number(record, "norm_order", 1.0)
        return np.asarray(np.linalg.norm(table, axis=0, ord=order), dtype=np.float64)
    if inner.cls.startswith(_PLAIN_TREES[0]):
        return _tree_importances(inner, columns)
    if inner.cls.startswith(_PLAIN_TREES[1]):
        trees = records(inner, "estimators_", inner.get("estimators_"))
        found = [_tree_importances(tree, columns) for tree in trees if len(_nodes(tree)) > 1]
        if not found:
            return np.zeros(columns)
        mean = np.mean(np.array(found), axis=0)
        return np.asarray(mean / np.sum(mean))
    raise unsupported(
        record, "Importances of this estimator", found=inner.cls, expected="a linear model, tree or forest"
    )


def _nodes(tree: Record) -> npt.NDArray[np.void]:
    inner = tree.get("tree_")
    if not isinstance(inner, Record):
        raise wrong(tree, "tree_", inner, "a fitted tree")
    return table_of(inner, "nodes")


def _tree_importances(tree: Record, columns: int) -> FloatArray:
    nodes = _nodes(tree)
    weight = np.asarray(nodes["weighted_n_node_samples"], dtype=np.float64)
    lost = weight * np.asarray(nodes["impurity"], dtype=np.float64)
    result = np.zeros(columns)
    for place in np.flatnonzero(nodes["left_child"] != -1):
        node = nodes[place]
        left, right, column = int(node["left_child"]), int(node["right_child"]), int(node["feature"])
        if not (0 <= left < len(nodes) and 0 <= right < len(nodes) and 0 <= column < columns):
            raise wrong(tree, "tree_", tree.get("tree_"), "children and columns that exist")
        result[column] += lost[place] - lost[left] - lost[right]
    if not weight[0] > 0:
        raise wrong(tree, "tree_", tree.get("tree_"), "a root that saw samples")
    result /= weight[0]
    total = np.sum(result)
    return np.asarray(result / total if total > 0 else result)


def _threshold(record: Record, inner: Record, scores: FloatArray) -> float:
    """`_calculate_threshold` of feature_selection/_from_model.py."""
    value = plain(record.get("threshold"))
    if value is None:
        value = 1e-5 if _has_lasso_penalty(record, inner) else "mean"
    if isinstance(value, str):
        scale, _, reference = value.rpartition("*")
        middle = {"mean": float(np.mean(scores)), "median": float(np.median(scores))}.get(reference.strip())
        if middle is None:
            raise wrong(record, "threshold", value, "a number, or a multiple of mean or median")
        return (float(scale) if scale else 1.0) * middle
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise wrong(record, "threshold", value, "a number, or a multiple of mean or median")
    return float(value)


def _has_lasso_penalty(record: Record, inner: Record) -> bool:
    """Whether the estimator's penalty makes 1e-5 the threshold; releases differ about mixed penalties of weight 1."""
    if plain(inner.get("penalty")) == "l1" or "Lasso" in inner.name:
        return True
    mixed = ("l1_ratio", "l1_ratio_")
    if inner.name.startswith(("ElasticNet", "LogisticRegression")):
        for name in mixed:
            value = inner.get(name)
            known = plain(value)
            if isinstance(value, Array) or (isinstance(known, int | float) and known > 0.999):
                raise unsupported(record, "A penalty of which releases derive other thresholds", found=name)
    return False
