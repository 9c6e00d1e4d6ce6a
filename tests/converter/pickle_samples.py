# SPDX-License-Identifier: Apache-2.0
"""Honest models and the encodings that they come in, made on the spot; nothing is downloaded or checked in."""

from __future__ import annotations

import bz2
import datetime
import functools
import gzip
import io
import lzma
import pickle
import sys
import types
import warnings
import zlib
from collections.abc import Iterator

import joblib
import lightgbm
import lz4.frame
import numpy as np
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

AUXILIARY_MODULE = "core.ml.feature_engineering"


class FeatureEngineer:
    """Stands for a class of the trading system that only its own code base has."""

    def __init__(self) -> None:
        self.window = 14
        self.columns = ["rsi", "atr"]
        self.scaler = StandardScaler().fit([[0.0], [1.0]])


def install_auxiliary() -> None:
    """Make `FeatureEngineer` importable under the name that a legacy pickle carries."""
    for name in ("core", "core.ml", AUXILIARY_MODULE):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules[AUXILIARY_MODULE].FeatureEngineer = FeatureEngineer
    FeatureEngineer.__module__ = AUXILIARY_MODULE


def auxiliary_package(model: object) -> dict[str, object]:
    """A model package as the trading system wrote it, with an object of its own class beside the model."""
    install_auxiliary()
    return {
        "pipeline": model,
        "symbol": "EURUSD",
        "training_date": datetime.datetime(2025, 1, 8, 12, tzinfo=datetime.UTC),
        "feature_names": ["a", "b", "c", "d"],
        "feature_engineer": FeatureEngineer(),
        "performance": {"accuracy": np.float64(0.625), "rows": 120, "wrong": float("nan")},
    }


@functools.cache
def models() -> dict[str, object]:
    """One small fitted model of each kind that the gate treats differently."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiny models do not converge, and need not
        return _fitted()


def _fitted() -> dict[str, object]:
    rng = np.random.default_rng(7)
    X = np.abs(rng.normal(size=(120, 4)))
    y = rng.integers(0, 3, 120)
    named = np.array(["sell", "wait", "buy"])[y]
    found: dict[str, object] = {
        "scaler": StandardScaler().fit(X),
        "tree": DecisionTreeClassifier(max_depth=4, random_state=1).fit(X, y),
        "forest": RandomForestClassifier(6, random_state=np.random.RandomState(3)).fit(X, named),
        "forest of objects": RandomForestClassifier(3, random_state=1).fit(X, named.astype(object)),
        "isolation forest": IsolationForest(n_estimators=5, random_state=1).fit(X),
        "gradient boosting": GradientBoostingClassifier(n_estimators=4).fit(X, y),
        "histogram boosting": HistGradientBoostingClassifier(max_iter=4).fit(X, y),
        "histogram boosting with categories": HistGradientBoostingClassifier(
            max_iter=4, categorical_features=[3]
        ).fit(np.c_[X[:, :3], y], named),
        "logistic": LogisticRegression().fit(X, y),
        "network": MLPClassifier((5,), max_iter=20, random_state=1).fit(X, y),
        "support vectors": SVC(probability=False).fit(X, y),
        "neighbours": KNeighborsClassifier().fit(X, y),
        "pipeline": make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=3)).fit(X, X[:, 0]),
        "function": FunctionTransformer(np.log1p).fit(X),
        "iterative imputer": IterativeImputer(max_iter=2).fit(np.where(X < 0.1, np.nan, X)),
        "columns": ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", OneHotEncoder(), [2])]).fit(
            np.c_[X[:, :2], y, y]
        ),
        "search": GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=2).fit(X, y),
        "lightgbm": lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, y),
        "lightgbm booster": lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(X, X[:, 0]).booster_,
        "xgboost": xgboost.XGBClassifier(n_estimators=3).fit(X, y),
        "xgboost booster": xgboost.XGBRegressor(n_estimators=3).fit(X, X[:, 0]).get_booster(),
    }
    found["package"] = auxiliary_package(found["forest"])
    return found


def encodings(value: object, folder: object) -> Iterator[tuple[str, bytes]]:
    """(container and protocol, bytes) of every encoding that the gate must read."""
    for protocol in range(6):
        yield f"pickle, protocol {protocol}", pickle.dumps(value, protocol)
    for protocol in (2, 3, 4, 5):
        file = io.BytesIO()
        joblib.dump(value, file, protocol=protocol)
        yield f"joblib, protocol {protocol}", file.getvalue()
    for method in ("zlib", "gzip", "bz2", "lzma", "xz", "lz4"):
        path = f"{folder}/model.{method}"
        joblib.dump(value, path, compress=(method, 3))
        with open(path, "rb") as written:
            yield f"joblib+{method}", written.read()
    plain = pickle.dumps(value, 4)
    yield "pickle+zlib", zlib.compress(plain)
    yield "pickle+gzip", gzip.compress(plain)
    yield "pickle+bz2", bz2.compress(plain)
    yield "pickle+xz", lzma.compress(plain)
    yield "pickle+lz4", lz4.frame.compress(plain)
