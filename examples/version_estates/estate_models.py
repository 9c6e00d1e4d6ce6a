# SPDX-License-Identifier: Apache-2.0
"""The models of an estate: the families that trading systems keep, in the spelling that every version understands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightgbm as lgb
import numpy as np
import xgboost as xgb
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

TREES = {"random_state": 3, "n_jobs": 1}
WORDS = np.array(["SELL", "WAIT", "BUY"])


def fitted(rows: np.ndarray, labels: np.ndarray, targets: np.ndarray) -> Iterator[tuple[str, Any, bool]]:
    """Yield (name, fitted model, whether it takes NaN) for every model of the estate."""
    binary = (labels > 0).astype(np.int64)
    words = WORDS[labels + 1]
    boosting = {"n_estimators": 20, "max_depth": 3, "random_state": 3}
    light = {"n_estimators": 20, "num_leaves": 15, "random_state": 3, "n_jobs": 1, "verbose": -1}
    extreme = {"n_estimators": 20, "max_depth": 4, "random_state": 3, "n_jobs": 1, "verbosity": 0}
    forest = RandomForestClassifier(20, max_depth=6, **TREES)
    logistic = LogisticRegression(max_iter=500, random_state=3)
    nan, finite = True, False
    yield "tree", DecisionTreeClassifier(max_depth=6, random_state=3).fit(rows, labels), finite
    yield "tree_regressor", DecisionTreeRegressor(max_depth=6, random_state=3).fit(rows, targets), finite
    yield "forest", forest.fit(rows, labels), finite
    yield "forest_words", RandomForestClassifier(10, **TREES).fit(rows, words), finite
    yield "forest_regressor", RandomForestRegressor(15, max_depth=6, **TREES).fit(rows, targets), finite
    yield "extra_trees", ExtraTreesClassifier(15, max_depth=8, **TREES).fit(rows, labels), finite
    yield "boosting", GradientBoostingClassifier(**boosting).fit(rows, labels), finite
    yield "boosting_binary", GradientBoostingClassifier(**boosting).fit(rows, binary), finite
    yield "boosting_regressor", GradientBoostingRegressor(**boosting).fit(rows, targets), finite
    yield "hist", HistGradientBoostingClassifier(max_iter=20, random_state=3).fit(rows, labels), nan
    yield "hist_regressor", HistGradientBoostingRegressor(max_iter=20, random_state=3).fit(rows, targets), nan
    yield "adaboost", AdaBoostClassifier(n_estimators=10, random_state=3).fit(rows, binary), finite
    yield "bagging", BaggingClassifier(n_estimators=5, random_state=3).fit(rows, labels), finite
    yield "isolation", IsolationForest(n_estimators=20, random_state=3).fit(rows), finite
    yield "lightgbm", lgb.LGBMClassifier(**light).fit(rows, labels), nan
    yield "lightgbm_binary", lgb.LGBMClassifier(**light).fit(rows, binary), nan
    yield "lightgbm_regressor", lgb.LGBMRegressor(**light).fit(rows, targets), nan
    yield "xgboost", xgb.XGBClassifier(**extreme).fit(rows, labels + 1), nan
    yield "xgboost_binary", xgb.XGBClassifier(**extreme).fit(rows, binary), nan
    yield "xgboost_regressor", xgb.XGBRegressor(**extreme).fit(rows, targets * 1e4), nan
    yield "logistic", make_pipeline(StandardScaler(), logistic).fit(rows, labels), finite
    yield "ridge", make_pipeline(StandardScaler(), Ridge()).fit(rows, targets), finite
    yield "sgd", make_pipeline(RobustScaler(), SGDClassifier(random_state=3)).fit(rows, labels), finite
    yield (
        "linear_svm",
        make_pipeline(StandardScaler(), LinearSVC(random_state=3, dual=True)).fit(rows, binary),
        finite,
    )
    yield "svm", make_pipeline(MinMaxScaler(), SVC(random_state=3)).fit(rows, labels), finite
    network = MLPClassifier((12,), max_iter=400, tol=1e-3, random_state=3)
    yield "network", make_pipeline(StandardScaler(), network).fit(rows, labels), finite
    yield "bayes", GaussianNB().fit(rows, labels), finite
    yield "neighbours", make_pipeline(StandardScaler(), KNeighborsClassifier(7)).fit(rows, labels), finite
    scaled_forest = make_pipeline(StandardScaler(), RandomForestClassifier(10, max_depth=5, **TREES))
    yield "scaled_forest", scaled_forest.fit(rows, labels), finite
    yield "calibrated", CalibratedClassifierCV(forest, method="sigmoid", cv=3).fit(rows, labels), finite
    yield (
        "calibrated_isotonic",
        CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=3).fit(rows, labels),
        finite,
    )
    pair = [("forest", forest), ("logistic", make_pipeline(StandardScaler(), logistic))]
    yield "voting", VotingClassifier(pair, voting="soft").fit(rows, labels), finite
    yield "stacking", StackingClassifier(pair, cv=3).fit(rows, labels), finite
