# SPDX-License-Identifier: Apache-2.0
"""Every family, label kind and scaler: no flipped label, bit-equal raw scores, probabilities within a few ulp."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier

from .emit_checks import LABELS, compare, convert, make_data

TREES: dict[str, Callable[[], Any]] = {
    "random forest": lambda: RandomForestClassifier(12, max_depth=6, random_state=0, n_jobs=1),
    "even forest, many ties": lambda: RandomForestClassifier(4, max_depth=3, random_state=0, n_jobs=1),
    "extra trees": lambda: ExtraTreesClassifier(8, max_depth=6, random_state=0, n_jobs=1),
    "decision tree": lambda: DecisionTreeClassifier(random_state=0),
    "extra tree": lambda: ExtraTreeClassifier(random_state=0),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=10, random_state=0),
    "subsampled boosting": lambda: GradientBoostingClassifier(n_estimators=8, subsample=0.7, random_state=0),
    "boosting from zero": lambda: GradientBoostingClassifier(n_estimators=8, init="zero", random_state=0),
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_iter=10, random_state=0),
    "lightgbm": lambda: LGBMClassifier(n_estimators=10, verbose=-1, n_jobs=1, random_state=0),
    "lightgbm forest": lambda: LGBMClassifier(
        boosting_type="rf",
        n_estimators=8,
        subsample=0.7,
        subsample_freq=1,
        verbose=-1,
        n_jobs=1,
        random_state=0,
    ),
    "lightgbm dart": lambda: LGBMClassifier(
        boosting_type="dart", n_estimators=8, verbose=-1, n_jobs=1, random_state=0
    ),
    "lightgbm goss": lambda: LGBMClassifier(
        data_sample_strategy="goss", n_estimators=8, verbose=-1, n_jobs=1, random_state=0
    ),
    "lightgbm zero as missing": lambda: LGBMClassifier(
        zero_as_missing=True, n_estimators=8, verbose=-1, n_jobs=1, random_state=0
    ),
    "xgboost": lambda: XGBClassifier(n_estimators=10, n_jobs=1, random_state=0),
    "xgboost forest": lambda: XGBRFClassifier(n_estimators=8, n_jobs=1, random_state=0),
}

SCALERS: dict[str, Callable[[], list[Any]]] = {
    "robust": lambda: [RobustScaler()],
    "median and standard": lambda: [SimpleImputer(strategy="median"), StandardScaler()],
    "indicator and min-max": lambda: [SimpleImputer(add_indicator=True), MinMaxScaler(clip=True)],
    "constant and max-abs": lambda: [SimpleImputer(strategy="constant", fill_value=-1.5), MaxAbsScaler()],
    "none": list,
}

NO_MISSING = ("gradient boosting", "subsampled boosting", "boosting from zero")
INTEGERS_ONLY = ("xgboost", "xgboost forest")


@pytest.mark.parametrize("scaler", ["robust", "median and standard", "none"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("family", TREES)
def test_trees_answer_bit_for_bit(family: str, labels: str, scaler: str) -> None:
    names = tuple(range(len(LABELS[labels]))) if family in INTEGERS_ONLY else LABELS[labels]
    missing = scaler != "robust" and not (scaler == "none" and family in NO_MISSING)
    X, y = make_data(names, missing=missing)
    live = make_pipeline(*SCALERS[scaler](), TREES[family]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live.fit(X, y)
    converted = convert(live)
    outcome = compare(converted, X)
    assert outcome.flips == 0
    assert outcome.raw_ulp in (0, None)
    assert outcome.probability_error is not None
    assert outcome.probability_error <= (4e-7 if family in INTEGERS_ONLY else 2e-15)
    assert outcome.certified > 0.999
    assert outcome.splits > 0
    assert converted.typed.facts.allow_nan or not missing


@pytest.mark.parametrize("scaler", ["indicator and min-max", "constant and max-abs"])
@pytest.mark.parametrize("family", ["random forest", "gradient boosting", "lightgbm", "xgboost"])
def test_other_scalers_keep_every_bit(family: str, scaler: str) -> None:
    X, y = make_data((0, 1, 2), missing=True)
    live = make_pipeline(*SCALERS[scaler](), TREES[family]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live.fit(X, y)
    outcome = compare(convert(live), X)
    assert outcome.flips == 0
    assert outcome.raw_ulp in (0, None)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize(
    "family",
    [
        LogisticRegression(max_iter=500),
        LogisticRegression(max_iter=500, solver="newton-cholesky"),
        SGDClassifier(loss="log_loss", random_state=0),
        SGDClassifier(loss="hinge", random_state=0),
        RidgeClassifier(),
        LinearSVC(random_state=0),
    ],
    ids=lambda family: f"{type(family).__name__} {getattr(family, 'loss', getattr(family, 'solver', ''))}",
)
def test_no_certified_row_of_a_linear_model_flips(family: Any, labels: str) -> None:
    X, y = make_data(LABELS[labels])
    live = make_pipeline(StandardScaler(), family).fit(X, y)
    converted = convert(live)
    outcome = compare(converted, X)
    assert converted.typed.ceiling == "certified"
    assert converted.emitted.gamma is not None
    assert outcome.flips == 0
    assert outcome.certified > 0.99
    if outcome.probability_error is not None:
        assert outcome.probability_error < 1e-14


@pytest.mark.parametrize(
    "family",
    [
        RandomForestRegressor(8, max_depth=6, random_state=0),
        ExtraTreesRegressor(8, max_depth=6, random_state=0),
        DecisionTreeRegressor(random_state=0),
        GradientBoostingRegressor(n_estimators=10, random_state=0),
        GradientBoostingRegressor(n_estimators=10, loss="huber", random_state=0),
        HistGradientBoostingRegressor(max_iter=10, random_state=0),
        LGBMRegressor(n_estimators=10, verbose=-1, n_jobs=1, random_state=0),
        XGBRegressor(n_estimators=10, n_jobs=1, random_state=0),
    ],
    ids=lambda family: f"{type(family).__name__} {getattr(family, 'loss', '')}",
)
def test_tree_regressors_answer_bit_for_bit(family: Any) -> None:
    X, y = make_data(())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live = make_pipeline(RobustScaler(), family).fit(X, y)
    converted = convert(live)
    assert converted.typed.task == "regressor"
    assert converted.typed.ceiling == "proven"
    assert compare(converted, X).raw_ulp == 0


def test_a_linear_regressor_is_close_and_says_that_it_is_certified_only() -> None:
    X, y = make_data(())
    converted = convert(LinearRegression().fit(X, y))
    assert converted.typed.ceiling == "certified"
    got = converted.answers(X)["scores"][:, 0]
    assert np.allclose(got, converted.live.predict(X), rtol=1e-12, atol=1e-12)


def test_a_row_alone_answers_as_in_a_batch() -> None:
    X, y = make_data((-1, 0, 1))
    converted = convert(make_pipeline(RobustScaler(), TREES["gradient boosting"]()).fit(X, y))
    batch = converted.answers(X)
    for place in range(0, len(X), 10):
        alone = converted.answers(X[place : place + 1])
        assert alone["class_index"][0] == batch["class_index"][place]
        assert (alone["scores"][0] == batch["scores"][place]).all()


def test_early_stopping_uses_the_best_iteration_only() -> None:
    X, y = make_data((0, 1), rows=600)
    live = XGBClassifier(n_estimators=80, n_jobs=1, early_stopping_rounds=3, learning_rate=0.9)
    live.fit(X[:300], y[:300], eval_set=[(X[300:], y[300:])], verbose=False)
    assert live.best_iteration + 1 < live.get_booster().num_boosted_rounds()
    outcome = compare(convert(live), X)
    assert (outcome.flips, outcome.raw_ulp) == (0, 0)
