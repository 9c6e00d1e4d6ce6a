# SPDX-License-Identifier: Apache-2.0
"""Transformers in front of a model: each keeps every bit, alone and inside unions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import (
    RFE,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from depickle.errors import UnsupportedModelError

from .emit_checks import compare, convert, make_data, read
from .proof_kit import subject_of

TRANSFORMERS: dict[str, Callable[[], Any]] = {
    "column transformer": lambda: make_column_transformer(
        (StandardScaler(), [0, 1]), (RobustScaler(), [5, 3]), ("drop", [4]), remainder="passthrough"
    ),
    "column transformer that drops the rest": lambda: ColumnTransformer(
        [("a", make_pipeline(MinMaxScaler(), MaxAbsScaler()), slice(0, 3)), ("b", "passthrough", [5])]
    ),
    "feature union": lambda: FeatureUnion(
        [("a", StandardScaler()), ("b", SelectKBest(k=2)), ("c", "passthrough")]
    ),
    "nested pipeline": lambda: make_pipeline(make_pipeline(RobustScaler(), "passthrough"), StandardScaler()),
    "k best": lambda: SelectKBest(k=3),
    "all best": lambda: SelectKBest(k="all"),
    "percentile": lambda: SelectPercentile(percentile=60),
    "false positive rate": lambda: SelectFpr(alpha=0.9),
    "family-wise error": lambda: SelectFwe(alpha=0.9),
    "false discovery rate": lambda: SelectFdr(alpha=0.9),
    **{
        f"generic, {mode}": lambda mode=mode, param=param: GenericUnivariateSelect(mode=mode, param=param)
        for mode, param in (("percentile", 40), ("k_best", 2), ("fpr", 0.9), ("fdr", 0.9), ("fwe", 0.9))
    },
    "linear importances": lambda: SelectFromModel(Ridge()),
    "sparse coefficients": lambda: SelectFromModel(Lasso(0.01)),
    "importances of a tree": lambda: SelectFromModel(DecisionTreeClassifier(max_depth=4, random_state=0)),
    "importances of a forest": lambda: SelectFromModel(
        RandomForestClassifier(6, random_state=0), threshold="0.7*median"
    ),
    "two most important": lambda: SelectFromModel(
        RandomForestClassifier(6, random_state=0), max_features=2, threshold=-np.inf
    ),
    "variance": lambda: VarianceThreshold(1e-4),
    "recursive elimination": lambda: RFE(DecisionTreeClassifier(random_state=0), n_features_to_select=3),
    "polynomial": lambda: PolynomialFeatures(2),
    "cubic without bias": lambda: PolynomialFeatures(3, include_bias=False),
    "interactions": lambda: PolynomialFeatures((2, 3), interaction_only=True),
    "absolute values": lambda: FunctionTransformer(np.abs),
    "squares": lambda: FunctionTransformer(np.square),
    "scaler without centre": lambda: StandardScaler(with_mean=False),
    "scaler without scale": lambda: RobustScaler(with_scaling=False),
}


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_transformers_keep_every_bit(case: str) -> None:
    X, y = make_data((-1, 0, 1))
    X[:, 5] -= 2
    live = make_pipeline(
        TRANSFORMERS[case](), GradientBoostingClassifier(n_estimators=6, random_state=0)
    ).fit(X, y)
    outcome = compare(convert(live), X)
    assert (outcome.flips, outcome.raw_ulp) == (0, 0)


SELECTORS = [case for case in TRANSFORMERS if "importan" in case or "generic" in case or "discovery" in case]


@pytest.mark.parametrize("case", [*SELECTORS, "sparse coefficients"])
def test_selections_are_derived_a_second_time(case: str) -> None:
    X, y = make_data((-1, 0, 1))
    live = make_pipeline(TRANSFORMERS[case](), DecisionTreeClassifier(max_depth=3, random_state=0)).fit(X, y)
    subject = subject_of(case, live, X)
    assert live[0].get_support(indices=True).tolist() == list(subject.typed.root.steps[0].columns)  # type: ignore[union-attr]  # a chain
    assert subject.prove() is not None


def test_an_importance_on_the_threshold_is_refused() -> None:
    X, y = make_data(())
    live = make_pipeline(SelectFromModel(Ridge()), Ridge()).fit(X, y)
    live[0].estimator_.coef_[:] = [1.0, 2.0, 3.0, 3.0, 2.0, 1.0]
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP603"


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(strategy="mean"),
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="median", add_indicator=True),
        SimpleImputer(strategy="constant", fill_value=0.25),
        SimpleImputer(missing_values=0.0),
    ],
    ids=lambda imputer: f"{imputer.strategy} {imputer.missing_values} {imputer.add_indicator}",
)
def test_imputers_keep_every_bit(imputer: Any) -> None:
    X, y = make_data((0, 1), missing=bool(np.isnan(imputer.missing_values)))
    live = make_pipeline(imputer, StandardScaler(), HistGradientBoostingClassifier(max_iter=5)).fit(X, y)
    converted = convert(live)
    assert converted.typed.facts.allow_nan == bool(np.isnan(imputer.missing_values))
    outcome = compare(converted, X)
    assert (outcome.flips, outcome.raw_ulp) == (0, 0)


def test_an_imputer_drops_columns_that_were_never_present() -> None:
    X, y = make_data((0, 1), missing=True)
    X[:, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live = make_pipeline(SimpleImputer(), HistGradientBoostingClassifier(max_iter=5)).fit(X, y)
    outcome = compare(convert(live), X)
    assert (outcome.flips, outcome.raw_ulp) == (0, 0)


def test_a_regressor_behind_a_column_transformer_is_bit_equal() -> None:
    X, y = make_data(())
    live = make_pipeline(TRANSFORMERS["column transformer"](), ExtraTreesRegressor(4, max_depth=5)).fit(X, y)
    assert compare(convert(live), X).raw_ulp == 0


def test_a_linear_model_behind_a_polynomial_is_certified() -> None:
    X, y = make_data((0, 1))
    live = make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=2000)).fit(X, y)
    outcome = compare(convert(live), X)
    assert outcome.flips == 0
    assert outcome.certified > 0.99


@pytest.mark.parametrize("front", ["column by column", "in one", "nested"])
def test_no_transformer_hands_infinity_to_one_that_refuses_it(front: str) -> None:
    X, y = make_data((0, 1))
    scalers = {
        "column by column": make_column_transformer((StandardScaler(), list(range(6)))),
        "in one": make_pipeline(StandardScaler()),
        "nested": make_pipeline(StandardScaler(), StandardScaler(with_std=False)),
    }
    light = LGBMClassifier(n_estimators=3, num_leaves=4, n_jobs=1, verbose=-1)
    live = make_pipeline(scalers[front], StandardScaler(), light).fit(X, y)
    limit = read(live).facts.max_abs
    assert limit is not None
    rows = np.full((1, 6), limit)
    assert (live.predict(rows) == convert(live).answers(rows)["label"]).all()
    with pytest.raises(ValueError, match="infinity"), np.errstate(over="ignore"):
        live.predict(np.full((1, 6), np.finfo(np.float64).max))
    # LightGBM itself takes what one scaler makes infinite
    assert read(make_pipeline(StandardScaler(), light).fit(X, y)).facts.max_abs is None


def test_functions_that_may_leave_the_float32_range_are_refused_in_front_of_trees_that_round_to_it() -> None:
    X, y = make_data((0, 1))
    live = make_pipeline(FunctionTransformer(np.exp), DecisionTreeClassifier()).fit(np.abs(X) % 8, y)
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP603"


def test_weights_of_a_union_are_refused() -> None:
    X, y = make_data((0, 1))
    union = FeatureUnion([("a", StandardScaler())], transformer_weights={"a": 2.0})
    with pytest.raises(UnsupportedModelError) as refusal:
        read(make_pipeline(union, DecisionTreeClassifier()).fit(X, y))
    assert refusal.value.code == "DP603"
