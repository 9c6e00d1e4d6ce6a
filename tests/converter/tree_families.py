# SPDX-License-Identifier: Apache-2.0
"""Every family of trees that is converted, with every scaler and imputer: what the parity table is made of.

Models are fitted on hourly EURUSD bars. Families with categories see two more columns, the hour and the weekday,
which scalers leave alone. `fitted` gives the pipeline as a user would have pickled it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor

from examples.bars import load_bars
from examples.trading_features import feature_matrix

Rows = npt.NDArray[np.float64]

AHEAD = 6
"""Bars after which the return is measured that labels and targets are made of."""
TRAINED = 1500
"""Rows that are fitted on; the bars after them are new to the model."""
MISSING_SHARE = 0.02


@dataclass(frozen=True)
class Family:
    """One family and what it needs.

    Attributes:
        make: the unfitted estimator; `columns` are the numbers of the categorical ones among its input.
        numbered: its classes have to be 0, 1, 2.
        missing: it takes missing values without an imputer in front.
        categories: it is given the hour and the weekday as categories.
        stops: it is fitted with rows of its own to stop early on.
        fronts: what it is put behind; None is everything but what serves models of another kind.
        labels: the kinds of label that it takes; None is every kind.
    """

    make: Callable[[list[int]], Any]
    numbered: bool = False
    missing: bool = True
    categories: bool = False
    stops: bool = False
    fronts: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None


def _light(kind: type[Any] = LGBMClassifier, **options: Any) -> Any:
    return kind(**{"n_estimators": 8, "verbose": -1, "n_jobs": 1, "random_state": 0, **options})


def _extreme(kind: type[Any] = XGBClassifier, **options: Any) -> Any:
    return kind(**{"n_estimators": 8, "n_jobs": 1, "random_state": 0, "max_depth": 5, **options})


_FEW = ("RobustScaler", "median, StandardScaler")
"""In front of models of the size that is traded with."""
_BAGGED = {"boosting_type": "rf", "subsample": 0.7, "subsample_freq": 1}

CLASSIFIERS: dict[str, Family] = {
    "DecisionTree": Family(lambda _: DecisionTreeClassifier(max_depth=9, random_state=0)),
    "ExtraTree": Family(lambda _: ExtraTreeClassifier(max_depth=9, random_state=0)),
    "RandomForest": Family(lambda _: RandomForestClassifier(12, max_depth=6, random_state=0, n_jobs=1)),
    "RandomForest, four trees that tie": Family(
        lambda _: RandomForestClassifier(4, max_depth=3, random_state=0, n_jobs=1)
    ),
    "ExtraTrees": Family(lambda _: ExtraTreesClassifier(8, max_depth=6, random_state=0, n_jobs=1)),
    "GradientBoosting": Family(
        lambda _: GradientBoostingClassifier(n_estimators=10, random_state=0), missing=False
    ),
    "GradientBoosting, subsample": Family(
        lambda _: GradientBoostingClassifier(n_estimators=8, subsample=0.7, random_state=0), missing=False
    ),
    "GradientBoosting, init=zero": Family(
        lambda _: GradientBoostingClassifier(n_estimators=8, init="zero", random_state=0), missing=False
    ),
    "GradientBoosting, init a forest": Family(
        lambda _: GradientBoostingClassifier(
            n_estimators=6, init=RandomForestClassifier(4, max_depth=3, random_state=0), random_state=0
        ),
        missing=False,
    ),
    "HistGradientBoosting": Family(lambda _: HistGradientBoostingClassifier(max_iter=10, random_state=0)),
    "HistGradientBoosting, categories": Family(
        lambda columns: HistGradientBoostingClassifier(
            max_iter=10, categorical_features=columns, random_state=0
        ),
        categories=True,
    ),
    "AdaBoost": Family(
        lambda _: AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=8, random_state=0),
        missing=False,
    ),
    "Bagging": Family(
        lambda _: BaggingClassifier(
            DecisionTreeClassifier(max_depth=5), 6, max_features=0.7, random_state=0, n_jobs=1
        )
    ),
    "LightGBM": Family(lambda _: _light()),
    "LightGBM rf": Family(lambda _: _light(**_BAGGED)),
    "LightGBM dart": Family(lambda _: _light(boosting_type="dart")),
    "LightGBM goss": Family(lambda _: _light(data_sample_strategy="goss")),
    "LightGBM, zero as missing": Family(lambda _: _light(zero_as_missing=True)),
    "LightGBM, categories": Family(
        lambda columns: _light(categorical_feature=columns, min_data_per_group=20), categories=True
    ),
    "LightGBM, early stopping": Family(lambda _: _light(n_estimators=40, learning_rate=0.5), stops=True),
    "XGBoost": Family(lambda _: _extreme(), numbered=True),
    "XGBoost dart": Family(lambda _: _extreme(booster="dart", rate_drop=0.3), numbered=True),
    "XGBoost rf": Family(lambda _: _extreme(XGBRFClassifier), numbered=True),
    "XGBoost, categories": Family(
        lambda columns: _extreme(
            enable_categorical=True,
            feature_types=["c" if place in columns else "q" for place in range(columns[-1] + 1)],
        ),
        numbered=True,
        categories=True,
    ),
    "XGBoost, early stopping": Family(
        lambda _: _extreme(n_estimators=40, learning_rate=0.9, early_stopping_rounds=3),
        numbered=True,
        stops=True,
    ),
    "RandomForest, 300 trees of depth 10": Family(
        lambda _: RandomForestClassifier(300, max_depth=10, random_state=0, n_jobs=1), fronts=_FEW
    ),
    "GradientBoosting, 200 trees": Family(
        lambda _: GradientBoostingClassifier(n_estimators=200, random_state=0), missing=False, fronts=_FEW
    ),
    "HistGradientBoosting, 200 trees": Family(
        lambda _: HistGradientBoostingClassifier(max_iter=200, early_stopping=False, random_state=0),
        fronts=_FEW,
    ),
    "LightGBM, 200 trees": Family(lambda _: _light(n_estimators=200), fronts=_FEW),
    "XGBoost, 200 trees": Family(
        lambda _: _extreme(n_estimators=200, max_depth=6), numbered=True, fronts=_FEW
    ),
}

REGRESSORS: dict[str, Family] = {
    "DecisionTree": Family(lambda _: DecisionTreeRegressor(max_depth=9, random_state=0)),
    "ExtraTree": Family(lambda _: ExtraTreeRegressor(max_depth=9, random_state=0)),
    "RandomForest": Family(lambda _: RandomForestRegressor(10, max_depth=6, random_state=0, n_jobs=1)),
    "ExtraTrees": Family(lambda _: ExtraTreesRegressor(8, max_depth=6, random_state=0, n_jobs=1)),
    "GradientBoosting": Family(
        lambda _: GradientBoostingRegressor(n_estimators=10, random_state=0), missing=False
    ),
    "GradientBoosting, huber, subsample": Family(
        lambda _: GradientBoostingRegressor(n_estimators=8, loss="huber", subsample=0.7, random_state=0),
        missing=False,
    ),
    "GradientBoosting, init a forest": Family(
        lambda _: GradientBoostingRegressor(
            n_estimators=6, init=RandomForestRegressor(4, max_depth=3, random_state=0), random_state=0
        ),
        missing=False,
    ),
    "HistGradientBoosting": Family(lambda _: HistGradientBoostingRegressor(max_iter=10, random_state=0)),
    "HistGradientBoosting, categories": Family(
        lambda columns: HistGradientBoostingRegressor(
            max_iter=10, categorical_features=columns, random_state=0
        ),
        categories=True,
    ),
    "AdaBoost": Family(lambda _: AdaBoostRegressor(n_estimators=8, random_state=0), missing=False),
    "AdaBoost, deep trees": Family(
        lambda _: AdaBoostRegressor(
            DecisionTreeRegressor(max_depth=8), n_estimators=8, loss="exponential", random_state=0
        ),
        missing=False,
    ),
    "Bagging": Family(
        lambda _: BaggingRegressor(
            DecisionTreeRegressor(max_depth=5), 6, max_features=0.7, random_state=0, n_jobs=1
        )
    ),
    "LightGBM": Family(lambda _: _light(LGBMRegressor)),
    "LightGBM rf": Family(lambda _: _light(LGBMRegressor, **_BAGGED)),
    "LightGBM dart": Family(lambda _: _light(LGBMRegressor, boosting_type="dart")),
    "LightGBM, categories": Family(
        lambda columns: _light(LGBMRegressor, categorical_feature=columns, min_data_per_group=20),
        categories=True,
    ),
    "XGBoost": Family(lambda _: _extreme(XGBRegressor)),
    "XGBoost dart": Family(lambda _: _extreme(XGBRegressor, booster="dart", rate_drop=0.3)),
    "XGBoost rf": Family(lambda _: _extreme(XGBRFRegressor)),
    "XGBoost, early stopping": Family(
        lambda _: _extreme(XGBRegressor, n_estimators=40, learning_rate=0.9, early_stopping_rounds=3),
        stops=True,
    ),
}

OUTLIERS: dict[str, Family] = {
    "IsolationForest": Family(lambda _: IsolationForest(n_estimators=12, random_state=0)),
    "IsolationForest, a tenth outliers": Family(
        lambda _: IsolationForest(n_estimators=12, contamination=0.1, random_state=0)
    ),
    "IsolationForest, half of the columns": Family(
        lambda _: IsolationForest(n_estimators=12, max_features=0.5, max_samples=100, random_state=0)
    ),
    "IsolationForest, 100 trees": Family(lambda _: IsolationForest(random_state=0), fronts=_FEW),
}

FRONTS: dict[str, Callable[[], list[Any]]] = {
    "nothing": list,
    "StandardScaler": lambda: [StandardScaler()],
    "RobustScaler": lambda: [RobustScaler()],
    "MinMaxScaler": lambda: [MinMaxScaler()],
    "MaxAbsScaler": lambda: [MaxAbsScaler()],
    "mean": lambda: [SimpleImputer()],
    "median, StandardScaler": lambda: [SimpleImputer(strategy="median"), StandardScaler()],
    "most frequent, RobustScaler": lambda: [SimpleImputer(strategy="most_frequent"), RobustScaler()],
    "constant, MinMaxScaler with clip": lambda: [
        SimpleImputer(strategy="constant", fill_value=-0.001), MinMaxScaler(clip=True)
    ],
    "mean with indicator, MaxAbsScaler": lambda: [SimpleImputer(add_indicator=True), MaxAbsScaler()],
}  # fmt: skip
PROJECTIONS: dict[str, Callable[[], list[Any]]] = {
    "StandardScaler, PCA": lambda: [StandardScaler(), PCA(6, random_state=0)],
}
"""What makes columns that are not exact."""
"""What stands in front of the trees; scikit-learn's imputation strategies by their names."""

LABELS: dict[str, tuple[Any, ...]] = {"binary": (0, 1), "signs": (-1, 0, 1), "words": ("BUY", "SELL", "WAIT")}


@dataclass(frozen=True, eq=False)
class Market:
    """Features of every bar, the categories beside them, and what came after."""

    features: Rows
    categories: Rows
    forward: Rows


@cache
def market() -> Market:
    """Hourly EURUSD bars."""
    bars = load_bars("EURUSD")
    features = feature_matrix(bars.columns)
    close = bars.columns["close"][-len(features) :]
    times = [datetime.fromisoformat(text) for text in bars.times[-len(features) :]]
    categories = np.array([[time.hour, time.weekday()] for time in times], dtype=np.float64)
    forward = close[AHEAD:] / close[:-AHEAD] - 1.0
    return Market(np.ascontiguousarray(features[:-AHEAD]), categories[:-AHEAD], forward)


def _steps(front: str, columns: int, categories: int) -> list[Any]:
    """The transformers, on all columns but the categories, which come last."""
    steps = (FRONTS | PROJECTIONS)[front]()
    if not categories or not steps:
        return steps
    inner = make_pipeline(*steps) if len(steps) > 1 else steps[0]
    return [ColumnTransformer([("front", inner, list(range(columns)))], remainder="passthrough")]


def fitted(family: Family, front: str, labels: tuple[Any, ...], seed: int = 3) -> tuple[Pipeline, Rows]:
    """The fitted pipeline and every bar as it takes them; without `labels` it is a regressor."""
    known = market()
    X = np.hstack([known.features, known.categories]) if family.categories else known.features
    if labels:
        names = tuple(range(len(labels))) if family.numbered else labels
        edges = np.quantile(known.forward, np.arange(1, len(names)) / len(names))
        y = np.array(names)[np.digitize(known.forward, edges)]
    else:
        y = 100.0 * known.forward
    train = X[:TRAINED].copy()
    imputes = any(isinstance(step, SimpleImputer) for step in (FRONTS | PROJECTIONS)[front]())
    if imputes or (front == "nothing" and family.missing):
        holes = np.random.default_rng(seed).random(known.features[:TRAINED].shape) < MISSING_SHARE
        train[:, : known.features.shape[1]][holes] = np.nan
    steps = _steps(front, known.features.shape[1], 2 if family.categories else 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        behind, shown = train, X[TRAINED:]
        for step in steps:
            behind, shown = step.fit_transform(behind, y[:TRAINED]), step.transform(shown)
        width = behind.shape[1]
        model = family.make(list(range(width - 2, width)) if family.categories else [])
        model.fit(behind, y[:TRAINED], **_stopping(model, family, shown, y[TRAINED:]))
    return make_pipeline(*steps, model), X


def _stopping(model: Any, family: Family, rows: Any, y: Any) -> dict[str, Any]:
    if not family.stops:
        return {}
    if isinstance(model, LGBMClassifier | LGBMRegressor):
        return {"eval_set": [(rows, y)], "callbacks": [early_stopping(3, verbose=False)]}
    return {"eval_set": [(rows, y)], "verbose": False}
