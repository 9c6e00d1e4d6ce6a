# SPDX-License-Identifier: Apache-2.0
"""What SelectFromModel compares: the importance of each column to its estimator, and the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, Record, plain
from .derivation import NotDerivedError
from .reading import array, record, records, unreadable

__all__ = ["importance_threshold", "importances"]

Scores = npt.NDArray[np.float64]


def importances(fitted: Record, width: int, order: object) -> Scores:
    """``coef_``, or the impurity that a tree's or a forest's splits take away.

    Raises:
        NotDerivedError: for other estimators.
    """
    if isinstance(fitted.get("coef_"), Array):
        table = np.asarray(array(fitted, "coef_"), dtype=np.float64)
        if table.shape[-1:] != (width,) or table.ndim > 2:
            raise unreadable(fitted, "coef_", f"coefficients of {width} columns")
        if table.ndim == 1:
            return np.abs(table)
        if not isinstance(order, int | float):
            raise unreadable(fitted, "norm_order", "a number")
        return np.asarray(np.linalg.norm(table, axis=0, ord=order), dtype=np.float64)
    if fitted.module == "sklearn.tree._classes":
        return _of_tree(_nodes(fitted), width)
    if fitted.module == "sklearn.ensemble._forest":
        grown = [nodes for tree in records(fitted, "estimators_") if len(nodes := _nodes(tree)) > 1]
        if not grown:
            return np.zeros(width)
        mean = np.mean([_of_tree(nodes, width) for nodes in grown], axis=0)
        return np.asarray(mean / np.sum(mean))
    raise NotDerivedError(f"importances of {fitted.cls}")


def _nodes(tree: Record) -> npt.NDArray[Any]:
    return array(record(tree, "tree_"), "nodes")


def _of_tree(nodes: npt.NDArray[Any], width: int) -> Scores:
    """`Tree.compute_feature_importances`."""
    impure = nodes["weighted_n_node_samples"] * nodes["impurity"]
    found = np.zeros(width)
    for place, node in enumerate(nodes):
        if node["left_child"] >= 0:
            below = impure[node["left_child"]], impure[node["right_child"]]
            found[node["feature"]] += impure[place] - below[0] - below[1]
    found = found / nodes["weighted_n_node_samples"][0]
    whole = np.sum(found)
    return np.asarray(found / whole if whole > 0 else found)


def importance_threshold(owner: Record, fitted: Record, scores: Scores) -> float:
    """``threshold`` as a number: given, or a multiple of the mean or the median of the importances."""
    given = plain(owner.get("threshold"))
    if given is None:
        given = 1e-5 if plain(fitted.get("penalty")) == "l1" or "Lasso" in fitted.name else "mean"
    if isinstance(given, str):
        parts = [part.strip() for part in given.split("*")]
        middles = {"mean": float(np.mean(scores)), "median": float(np.median(scores))}
        middle = middles.get(parts[-1])
        if middle is None or len(parts) > 2:
            raise unreadable(owner, "threshold", "a multiple of mean or median")
        return middle * (float(parts[0]) if len(parts) == 2 else 1.0)
    if not isinstance(given, int | float):
        raise unreadable(owner, "threshold", "a number")
    return float(given)
