# SPDX-License-Identifier: Apache-2.0
"""Models whose sums nobody orders, and models made of models, for the parity table: each with what it stands behind.

A label of these is certified by a margin; the table says on which share of the bars.
"""

from __future__ import annotations

from typing import Any

from lightgbm import LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from .tree_families import Family

__all__ = ["COMPOSITIONS", "DENSE", "DENSE_REGRESSORS"]

_SCALED = ("StandardScaler", "RobustScaler", "median, StandardScaler", "StandardScaler, PCA")
_EXACT = ("StandardScaler", "RobustScaler", "median, StandardScaler")
_ANY = ("nothing", *_EXACT)


def _dense(model: Any, fronts: tuple[str, ...] = _SCALED) -> Family:
    return Family(lambda _: model(), missing=False, fronts=fronts)


def _composed(model: Any, *, binary: bool = False) -> Family:
    return Family(lambda _: model(), missing=False, fronts=_ANY, labels=("binary",) if binary else None)


def _forest() -> RandomForestClassifier:
    return RandomForestClassifier(8, max_depth=5, random_state=0, n_jobs=1)


def _boosting() -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=6, max_depth=2, random_state=0)


def _light() -> LGBMClassifier:
    return LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1, random_state=0)


def _logistic() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))


def _named(*models: Any) -> list[tuple[str, Any]]:
    return [(f"m{place}", model) for place, model in enumerate(models)]


DENSE: dict[str, Family] = {
    "LogisticRegression": _dense(lambda: LogisticRegression(max_iter=500)),
    "LogisticRegressionCV": _dense(
        lambda: LogisticRegressionCV(Cs=3, cv=3, max_iter=500, l1_ratios=(0,), use_legacy_attributes=True)
    ),
    "LinearSVC": _dense(lambda: LinearSVC(random_state=0)),
    "SGDClassifier, hinge": _dense(lambda: SGDClassifier(random_state=0)),
    "SGDClassifier, log_loss": _dense(lambda: SGDClassifier(loss="log_loss", random_state=0)),
    "SGDClassifier, modified_huber": _dense(lambda: SGDClassifier(loss="modified_huber", random_state=0)),
    "RidgeClassifier": _dense(RidgeClassifier),
    "RidgeClassifierCV": _dense(RidgeClassifierCV),
    "Perceptron": _dense(lambda: Perceptron(random_state=0)),
    "LinearDiscriminantAnalysis": _dense(LinearDiscriminantAnalysis),
    "QuadraticDiscriminantAnalysis": _dense(lambda: QuadraticDiscriminantAnalysis(reg_param=0.1), _EXACT),
    "GaussianNB": _dense(GaussianNB, _EXACT),
    "MLPClassifier, relu": _dense(lambda: MLPClassifier((8, 4), max_iter=60, random_state=0)),
    "MLPClassifier, tanh": _dense(
        lambda: MLPClassifier((8,), activation="tanh", max_iter=60, random_state=0)
    ),
    "MLPClassifier, logistic": _dense(
        lambda: MLPClassifier((8,), activation="logistic", max_iter=60, random_state=0)
    ),
    "SVC, rbf": _dense(SVC),
    "SVC, linear": _dense(lambda: SVC(kernel="linear")),
    "KNeighborsClassifier": _dense(KNeighborsClassifier, _EXACT),
}

DENSE_REGRESSORS: dict[str, Family] = {
    "LinearRegression": _dense(LinearRegression),
    "Ridge": _dense(Ridge),
    "Lasso": _dense(lambda: Lasso(0.001)),
    "ElasticNet": _dense(lambda: ElasticNet(0.001)),
    "HuberRegressor": _dense(lambda: HuberRegressor(max_iter=300)),
    "SGDRegressor": _dense(lambda: SGDRegressor(random_state=0)),
    "LinearSVR": _dense(lambda: LinearSVR(random_state=0)),
    "MLPRegressor": _dense(lambda: MLPRegressor(hidden_layer_sizes=(8, 4), max_iter=60, random_state=0)),
    "SVR": _dense(SVR),
    "KNeighborsRegressor": _dense(KNeighborsRegressor, _EXACT),
    "VotingRegressor": _composed(
        lambda: VotingRegressor(_named(Ridge(), RandomForestRegressor(5, max_depth=4, random_state=0)))
    ),
    "BaggingRegressor over Ridge": _composed(lambda: BaggingRegressor(Ridge(), 4, random_state=0)),
    "StackingRegressor": _composed(
        lambda: StackingRegressor(
            _named(Ridge(), RandomForestRegressor(5, max_depth=4, random_state=0)), Ridge(), cv=2
        )
    ),
}

COMPOSITIONS: dict[str, Family] = {
    "calibrated forest, sigmoid": _composed(lambda: CalibratedClassifierCV(_forest(), cv=2)),
    "calibrated forest, isotonic": _composed(
        lambda: CalibratedClassifierCV(_forest(), method="isotonic", cv=2)
    ),
    "calibrated LightGBM, sigmoid": _composed(lambda: CalibratedClassifierCV(_light(), cv=2)),
    "calibrated pipeline": _composed(lambda: CalibratedClassifierCV(_logistic(), cv=2)),
    "calibrated, temperature": _composed(
        lambda: CalibratedClassifierCV(_logistic(), method="temperature", cv=2)
    ),
    "soft vote of forests": _composed(
        lambda: VotingClassifier(_named(_forest(), _forest()), voting="soft", weights=[0.3, 0.7])
    ),
    "soft vote of a forest, boosting, logistic regression": _composed(
        lambda: VotingClassifier(_named(_forest(), _boosting(), _logistic()), voting="soft")
    ),
    "hard vote": _composed(lambda: VotingClassifier(_named(_forest(), _light(), _logistic()))),
    "stack": _composed(
        lambda: StackingClassifier(
            _named(_forest(), _boosting()), LogisticRegression(max_iter=500), cv=2, passthrough=True
        )
    ),
    "stack under a forest": _composed(
        lambda: StackingClassifier(_named(_forest(), _logistic()), _forest(), cv=2)
    ),
    "one-vs-rest": _composed(lambda: OneVsRestClassifier(_logistic())),
    "one-vs-rest of boosting": _composed(lambda: OneVsRestClassifier(_boosting())),
    "one-vs-one": _composed(lambda: OneVsOneClassifier(_logistic())),
    "fixed threshold": _composed(lambda: FixedThresholdClassifier(_forest(), threshold=0.55), binary=True),
    "tuned threshold": _composed(lambda: TunedThresholdClassifierCV(_boosting(), cv=2), binary=True),
    "grid search": _composed(
        lambda: GridSearchCV(HistGradientBoostingClassifier(random_state=0), {"max_iter": [3, 6]}, cv=2)
    ),
    "bag of logistic regressions": _composed(lambda: BaggingClassifier(_logistic(), 4, random_state=0)),
    "AdaBoost over logistic regression": _composed(
        lambda: AdaBoostClassifier(LogisticRegression(max_iter=500), n_estimators=4, random_state=0)
    ),
}
