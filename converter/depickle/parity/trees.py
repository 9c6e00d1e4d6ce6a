# SPDX-License-Identifier: Apache-2.0
"""The trees of every family, read from the inert graph into one form, independently of `depickle.models`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt

from ..errors import ParityError
from ..pickles.graph import Array, ListNode, Record
from .boosters import lightgbm_trees, xgboost_trees
from .expected.categories import sets_of
from .expected.isolation import column_subsets
from .source import SourceTree, members

__all__ = ["read_trees"]


def read_trees(estimator: Record) -> tuple[SourceTree, ...] | None:
    """Every tree of a tree-based estimator in source order, or None where it is none that is known here.

    Raises:
        ParityError: DP710 where its fitted attributes are not what its class documents.
    """
    read = _BARE.get(estimator.cls) or _FAMILIES.get(
        estimator.name.removesuffix("Classifier").removesuffix("Regressor")
    )
    return None if read is None else tuple(read(estimator))


def _sklearn_tree(record: Record) -> SourceTree:
    state = record.get("tree_")
    nodes = state.get("nodes") if isinstance(state, Record) else None
    if not isinstance(nodes, Array) or nodes.is_object:
        raise _unreadable(f"{record.name}.tree_.nodes")
    table = cast("npt.NDArray[np.void]", nodes.to_numpy())
    left = np.asarray(table["left_child"], dtype=np.int64)
    return SourceTree(
        feature=np.asarray(table["feature"], dtype=np.int64),
        threshold=np.asarray(table["threshold"], dtype=np.float64),
        left=left,
        right=np.asarray(table["right_child"], dtype=np.int64),
        is_leaf=left < 0,
        comparison="<=",
        single=True,
    )


def _forest(estimator: Record) -> list[SourceTree]:
    return [_sklearn_tree(member) for member in members(estimator.get("estimators_"))]


def _isolation_forest(estimator: Record) -> list[SourceTree]:
    """The splits name columns of the input, also where each tree was given some of them."""
    trees, subsets = _forest(estimator), column_subsets(estimator)
    if subsets is None:
        return trees
    return [
        replace(tree, feature=np.where(tree.is_leaf, -1, columns[np.where(tree.is_leaf, 0, tree.feature)]))
        for tree, columns in zip(trees, subsets, strict=True)
    ]


def _single(estimator: Record) -> list[SourceTree]:
    return [_sklearn_tree(estimator)]


def _histogram(estimator: Record) -> list[SourceTree]:
    rounds = estimator.get("_predictors")
    if not isinstance(rounds, ListNode):
        raise _unreadable(f"{estimator.name}._predictors")
    trees = []
    for one_round in rounds:
        for predictor in members(one_round):
            nodes = predictor.get("nodes")
            if not isinstance(nodes, Array) or nodes.is_object:
                raise _unreadable(f"{estimator.name}._predictors.nodes")
            table = cast("npt.NDArray[np.void]", nodes.to_numpy())
            categorical = (
                np.asarray(table["is_categorical"], dtype=np.bool_)
                if "is_categorical" in (table.dtype.names or ())
                else np.zeros(table.shape, dtype=np.bool_)
            )
            threshold = np.asarray(table["num_threshold"], dtype=np.float64)
            trees.append(
                SourceTree(
                    feature=np.asarray(table["feature_idx"], dtype=np.int64),
                    threshold=np.where(categorical, np.nan, threshold),
                    left=np.asarray(table["left"], dtype=np.int64),
                    right=np.asarray(table["right"], dtype=np.int64),
                    is_leaf=np.asarray(table["is_leaf"], dtype=np.bool_),
                    comparison="<=",
                    single=False,
                    sets=sets_of(predictor, table, int(table["feature_idx"].max(initial=0)) + 1),
                )
            )
    return trees


_FAMILIES: dict[str, Callable[[Record], list[SourceTree]]] = {
    "DecisionTree": _single,
    "ExtraTree": _single,
    "RandomForest": _forest,
    "ExtraTrees": _forest,
    "GradientBoosting": _forest,
    "IsolationForest": _isolation_forest,
    "RandomTreesEmbedding": _forest,
    "HistGradientBoosting": _histogram,
    "LGBM": lightgbm_trees,
    "XGB": xgboost_trees,
    "XGBRF": xgboost_trees,
}


_BARE = {"lightgbm.basic.Booster": lightgbm_trees, "xgboost.core.Booster": xgboost_trees}


def _unreadable(where: str) -> ParityError:
    return ParityError(
        "The original cannot be read for the proof",
        code="DP710",
        where=where,
        found="something else than the class documents",
        expected="the fitted attributes of the class",
        next_step="depickle inspect FILE",
    )
