# SPDX-License-Identifier: Apache-2.0
"""The fitted models that the coverage table is made of: every estimator of scikit-learn, LightGBM and XGBoost, small.

Predictors are fitted as they are; a transformer is fitted in front of a logistic regression, since nothing can be
traded with a transformer alone. `known_errors` are the configurations that scikit-learn's converter is known to get
wrong without saying so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import policy_fixtures
from sklearn.base import clone, is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import all_estimators

ROWS, COLUMNS = 240, 4
SMALL = {
    **policy_fixtures.SMALL,
    "n_estimators": 10, "max_iter": 60, "hidden_layer_sizes": (6,), "min_samples": 5, "n_neighbors": 5,
}  # fmt: skip
del SMALL["max_features"]


@dataclass(frozen=True)
class Candidate:
    """One row of the table.

    Attributes:
        name: the class, with what it was given.
        model: fitted, or None where no table of numbers suits it.
        kind: classifier, regressor, outlier, or why there is no task.
    """

    name: str
    model: Any
    kind: str


def _tables() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(11)
    X = rng.normal(size=(ROWS, COLUMNS)) * [1.0, 10.0, 0.1, 3.0] + [1.1, 50.0, 0.0, -2.0]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    score = Z[:, 0] + 0.5 * Z[:, 1] ** 2 + 0.3 * rng.normal(size=ROWS)
    signs = np.digitize(score, [0.0, 1.0]) - 1
    return {
        "signs": (X, signs),
        "binary": (X, (score > 0.4).astype(int)),
        "values": (X, score),
        "positive values": (X, np.exp(score / 4)),
        "positive": (np.abs(X), signs),
        "integers": (rng.integers(0, 4, size=(ROWS, COLUMNS)).astype(float), signs),
        "two outputs": (X, np.stack([score, Z[:, 3]], axis=1)),
        "two labels": (X, np.stack([signs, (Z[:, 3] > 0).astype(int)], axis=1)),
    }


def _fitted(model: Any, table: tuple[Any, ...]) -> Any | None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return clone(model).fit(*table)
        except Exception:  # this table is not for this estimator; the next may be
            return None


def _kind(model: Any) -> str:
    if type(model).__module__.startswith("sklearn.feature_selection."):
        return "transformer"
    if is_classifier(model):
        return "classifier"
    if is_regressor(model):
        return "regressor"
    if is_outlier_detector(model):
        return "outlier"
    return "clusterer" if is_clusterer(model) else "transformer" if hasattr(model, "transform") else "other"


def _first_fit(model: Any, names: tuple[str, ...]) -> Any | None:
    every = _tables()
    return next((fitted for name in names if (fitted := _fitted(model, every[name])) is not None), None)


def _shown(name: str, arguments: dict[str, Any]) -> str:
    parts = []
    for key, value in arguments.items():
        if key in ("cv", "n_iter", "param_grid", "param_distributions"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], tuple):
            parts.append(f"{key} of {len(value)}")
        elif isinstance(value, np.ndarray):
            parts.append(key)
        else:
            parts.append(
                type(value).__name__
                if hasattr(value, "get_params")
                else f"{key}={getattr(value, '__name__', value)}"
            )
    return f"{name}({', '.join(parts)})" if parts else name


def sklearn_candidates() -> Iterator[Candidate]:
    """Every estimator of scikit-learn; meta-estimators once for each thing that they are given."""
    given = policy_fixtures._meta_arguments()
    for name, cls in all_estimators():
        for arguments in given.get(name, [{}]):
            shown = _shown(name, arguments)
            try:
                model = cls(**arguments)
            except TypeError:  # arguments of another version of the class
                continue
            known = model.get_params(deep=False)
            small = {k: v for k, v in SMALL.items() if k in known and k not in arguments}
            if name.startswith("HistGradient"):
                small["max_iter"] = 10
            if name == "OrthogonalMatchingPursuitCV":
                small.pop("max_iter", None)  # it may not exceed the columns
            if name == "LocalOutlierFactor":
                small["novelty"] = True
            model.set_params(**small)
            kind = _kind(model)
            if kind in ("classifier", "regressor", "outlier"):
                order = {
                    "classifier": ("signs", "binary", "positive", "integers", "two labels"),
                    "regressor": ("values", "positive values", "two outputs"),
                    "outlier": ("signs",),
                }[kind]
                yield Candidate(shown, _first_fit(model, order), kind)
            elif kind == "transformer":
                steps = make_pipeline(model, LogisticRegression(max_iter=200))
                fitted = _first_fit(steps, ("signs", "positive", "integers"))
                yield Candidate(f"{shown} → LogisticRegression", fitted, "classifier")
            else:
                yield Candidate(shown, None, kind)


def booster_candidates() -> Iterator[Candidate]:
    """LightGBM's and XGBoost's estimators and their boosters' kinds."""
    import lightgbm
    import xgboost

    every = _tables()
    light = {"n_estimators": 10, "min_child_samples": 5, "verbose": -1, "n_jobs": 1, "random_state": 0}
    rough = {**light, "boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
    extreme = {"n_estimators": 10, "n_jobs": 1, "random_state": 0, "max_depth": 4}
    made = [
        ("LGBMClassifier", lightgbm.LGBMClassifier(**light), "signs"),
        ("LGBMClassifier binary", lightgbm.LGBMClassifier(**light), "binary"),
        ("LGBMClassifier(boosting_type=dart)", lightgbm.LGBMClassifier(**light | {"boosting_type": "dart"}), "signs"),
        ("LGBMClassifier(boosting_type=rf)", lightgbm.LGBMClassifier(**rough), "binary"),
        ("LGBMClassifier(zero_as_missing)", lightgbm.LGBMClassifier(**light, zero_as_missing=True), "binary"),
        ("LGBMRegressor", lightgbm.LGBMRegressor(**light), "values"),
        ("LGBMRegressor(boosting_type=rf)", lightgbm.LGBMRegressor(**rough), "values"),
        ("XGBClassifier", xgboost.XGBClassifier(**extreme), "signs"),
        ("XGBClassifier binary", xgboost.XGBClassifier(**extreme), "binary"),
        ("XGBClassifier(booster=dart)", xgboost.XGBClassifier(**extreme, booster="dart"), "binary"),
        ("XGBRFClassifier", xgboost.XGBRFClassifier(**extreme), "binary"),
        ("XGBRegressor", xgboost.XGBRegressor(**extreme), "values"),
        ("XGBRegressor(booster=gblinear)",
         xgboost.XGBRegressor(n_estimators=10, n_jobs=1, booster="gblinear"), "values"),
        ("XGBRFRegressor", xgboost.XGBRFRegressor(**extreme), "values"),
    ]  # fmt: skip
    for name, model, table in made:
        X, y = every[table]
        shifted = y + 1 if table == "signs" else y  # XGBoost wants classes from 0
        kind = "regressor" if table == "values" else "classifier"
        yield Candidate(name, _fitted(model, (X, shifted)), kind)
    for name in ("LGBMRanker", "XGBRanker"):
        yield Candidate(name, None, "ranker")


def known_errors() -> Iterator[Candidate]:
    """The configurations that the converter is known to get wrong in silence; a scaler before each tree family."""
    import lightgbm
    import xgboost
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import TunedThresholdClassifierCV
    from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
    from sklearn.preprocessing import RobustScaler, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    every = _tables()
    X, binary = every["binary"]
    gaps = X.copy()
    gaps[::7, 1] = np.nan
    categories = X.copy()
    categories[:, 0] = np.random.default_rng(3).integers(0, 6, size=ROWS)
    odd = np.isin(categories[:, 0], (1, 3, 4)).astype(int)
    overlapping = np.where(np.random.default_rng(1).random(ROWS) < 0.3, 1 - binary, binary)
    light = {"n_estimators": 20, "min_child_samples": 5, "verbose": -1, "n_jobs": 1, "random_state": 0}
    zeros = np.where(np.abs(X - X.mean(axis=0)) < 0.4 * X.std(axis=0), 0.0, X)
    boosted = {
        "HistGradientBoosting": HistGradientBoostingClassifier(max_iter=20, random_state=0),
        "LightGBM": lightgbm.LGBMClassifier(**light),
        "XGBoost": xgboost.XGBClassifier(n_estimators=20, n_jobs=1, random_state=0),
    }
    signs = every["signs"]
    rough = {**light, "boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
    trees = [
        *(clone(model) for model in boosted.values()),
        RandomForestClassifier(11, n_jobs=1, random_state=0),
        ExtraTreesClassifier(11, n_jobs=1, random_state=0),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        DecisionTreeClassifier(random_state=0),
    ]
    made: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("CalibratedClassifierCV(LGBMClassifier)", CalibratedClassifierCV(boosted["LightGBM"], cv=2), (X, binary)),
        ("CalibratedClassifierCV(Pipeline)",
         CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression()), cv=2), (X, binary)),
        ("RandomForestClassifier, 20 trees, two classes that overlap",
         RandomForestClassifier(20, n_jobs=1, random_state=0), (X, overlapping)),
        ("TunedThresholdClassifierCV", TunedThresholdClassifierCV(LogisticRegression(), cv=2), (X, binary)),
        *((f"SimpleImputer → StandardScaler → {name}",
           make_pipeline(SimpleImputer(), StandardScaler(), clone(model)), (gaps, binary))
          for name, model in boosted.items()),
        ("SGDClassifier(loss=log_loss), three classes", SGDClassifier(loss="log_loss", random_state=0), signs),
        ("SGDClassifier(loss=modified_huber)", SGDClassifier(loss="modified_huber", random_state=0), signs),
        ("HistGradientBoostingClassifier with categories",
         HistGradientBoostingClassifier(max_iter=20, categorical_features=[0], random_state=0), (categories, odd)),
        ("LGBMClassifier(boosting_type=rf)", lightgbm.LGBMClassifier(**rough), (X, binary)),
        ("LGBMClassifier(zero_as_missing)", lightgbm.LGBMClassifier(**light, zero_as_missing=True), (zeros, binary)),
        ("OneVsOneClassifier(LogisticRegression)", OneVsOneClassifier(LogisticRegression()), signs),
        ("OneVsRestClassifier(LogisticRegression)", OneVsRestClassifier(LogisticRegression()), signs),
        *((f"RobustScaler → {type(model).__name__}", make_pipeline(RobustScaler(), model), (X, binary))
          for model in trees),
    ]  # fmt: skip
    for name, model, table in made:
        yield Candidate(name, _fitted(model, table), "classifier")


def candidates() -> Iterator[Candidate]:
    """Every row of the main table, in its order."""
    yield from sklearn_candidates()
    yield from booster_candidates()
