# SPDX-License-Identifier: Apache-2.0
"""From an estimator of the inert graph to the expressions of all its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...pickles.graph import Record
from ..source import split_pipeline
from ..walk import Expected
from .forests import expect_forest, expect_tree
from .gradient_boosting import expect_gradient_boosting
from .hist_boosting import expect_hist_boosting
from .lightgbm import expect_lightgbm, lightgbm_columns
from .linear import expect_logistic_regression
from .preprocessing import TRANSFORMERS
from .reading import Labels, Writer, integer, labels, record
from .vocabulary import ROWS, Answer, apply, constant
from .xgboost import expect_xgboost, xgboost_columns

__all__ = ["ExpectedModel", "expect_model"]

Family = Callable[[Record, Expected, Writer], Answer]


@dataclass(frozen=True, eq=False)
class ExpectedModel:
    """What the file must hold: the width of its input and the expression of each output, by its role."""

    columns: int
    outputs: dict[str, Expected]


def expect_model(estimator: Record, writer: Writer) -> ExpectedModel | None:
    """What the source calls for, or None where no derivation exists for its classes.

    Raises:
        ParityError: DP710 where a fitted attribute is not what its class documents.
    """
    transformers, last = split_pipeline(estimator)
    family = FAMILIES.get(last.cls)
    if family is None or any(step.cls not in TRANSFORMERS for step in transformers):
        return None
    width = columns = _columns(transformers[0] if transformers else last)
    rows = ROWS
    for step in transformers:
        rows, width = TRANSFORMERS[step.cls](step, rows, width)
    if width != _columns(last):
        return None
    answer = family(last, rows, writer)
    outputs = {
        "class_index": answer.index,
        "probabilities": answer.probabilities,
        "scores": answer.scores,
        "margin": answer.margin,
        "bound": answer.bound,
        "label": None if answer.index is None else _label(answer.index, _classes(last)),
    }
    return ExpectedModel(columns, {name: value for name, value in outputs.items() if value is not None})


def _columns(owner: Record) -> int:
    if owner.name.startswith("LGBM"):
        return lightgbm_columns(owner)
    if owner.name.startswith("XGB"):
        return xgboost_columns(owner)
    return integer(owner, "n_features_in_")


def _classes(owner: Record) -> Labels:
    if owner.name.startswith("LGBM"):
        return labels(record(owner, "_le"))
    if owner.name.startswith("XGB"):
        return tuple(range(integer(owner, "n_classes_")))
    return labels(owner)


def _label(index: Expected, classes: Labels) -> Expected:
    kind = {str: np.str_, float: np.float64}.get(type(classes[0]), np.int64)
    return apply("Gather", constant(classes, kind), index, axis=0)


FAMILIES: dict[str, Family] = {
    "sklearn.tree._classes.DecisionTreeClassifier": expect_tree,
    "sklearn.tree._classes.DecisionTreeRegressor": expect_tree,
    "sklearn.tree._classes.ExtraTreeClassifier": expect_tree,
    "sklearn.tree._classes.ExtraTreeRegressor": expect_tree,
    "sklearn.ensemble._forest.RandomForestClassifier": expect_forest,
    "sklearn.ensemble._forest.RandomForestRegressor": expect_forest,
    "sklearn.ensemble._forest.ExtraTreesClassifier": expect_forest,
    "sklearn.ensemble._forest.ExtraTreesRegressor": expect_forest,
    "sklearn.ensemble._gb.GradientBoostingClassifier": expect_gradient_boosting,
    "sklearn.ensemble._gb.GradientBoostingRegressor": expect_gradient_boosting,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier": (
        expect_hist_boosting
    ),
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor": (
        expect_hist_boosting
    ),
    "lightgbm.sklearn.LGBMClassifier": expect_lightgbm,
    "lightgbm.sklearn.LGBMRegressor": expect_lightgbm,
    "xgboost.sklearn.XGBClassifier": expect_xgboost,
    "xgboost.sklearn.XGBRegressor": expect_xgboost,
    "xgboost.sklearn.XGBRFClassifier": expect_xgboost,
    "xgboost.sklearn.XGBRFRegressor": expect_xgboost,
    "sklearn.linear_model._logistic.LogisticRegression": expect_logistic_regression,
    "sklearn.linear_model._logistic.LogisticRegressionCV": expect_logistic_regression,
}
