# SPDX-License-Identifier: Apache-2.0
"""One model of every family that is converted, or refused with a reason, spelled so that each release understands it.

Classifiers are fitted twice: on two classes as they are, on three behind a scaler.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import xgboost as xgb
from sklearn import (
    calibration,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    dummy,
    feature_selection,
    gaussian_process,
    impute,
    isotonic,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    random_projection,
    semi_supervised,
    svm,
    tree,
)
from sklearn import ensemble as ens
from sklearn import linear_model as linear
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union

__all__ = ["CLASSIFIERS", "DETECTORS", "NUMBERS", "Family", "made_families"]


@dataclass(frozen=True)
class Family:
    """How to make a model.

    Attributes:
        make: the estimator, not fitted.
        rows: which rows it is fitted on: ``bars``, ``counts``, ``gaps`` (with missing values) or ``one`` (column).
        targets: ``signed`` or ``positive`` numbers; what a classifier makes of its labels is not asked.
        since: the first release that has the class.
        until: the first release that has it no longer.
        words: whether labels may be text.
        two: whether it takes two classes.
        three: whether it takes three.
        pick: what is written of the fitted model, if not all of it.
    """

    make: Callable[[], Any]
    rows: str = "bars"
    targets: str = "signed"
    since: tuple[int, int] = (1, 2)
    until: tuple[int, int] = (2, 0)
    words: bool = True
    two: bool = True
    three: bool = True
    pick: Callable[[Any, np.ndarray, np.ndarray], Any] | None = None


def _new(path: str, *arguments: Any, **keywords: Any) -> Any:
    """An estimator of a module that not every release has."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"sklearn.{module}"), name)(*arguments, **keywords)


def _samme(member: Any) -> Any:
    """AdaBoost that votes; releases before 1.8 have to be told."""
    known = inspect.signature(ens.AdaBoostClassifier).parameters.get("algorithm")
    told = {"algorithm": "SAMME"} if known is not None and known.default != "deprecated" else {}
    return ens.AdaBoostClassifier(member, n_estimators=6, random_state=3, **told)


def _logistic(**options: Any) -> Any:
    return linear.LogisticRegression(max_iter=300, **options)


def _scaled(model: Any) -> Any:
    return make_pipeline(preprocessing.StandardScaler(), model)


def _forest(**options: Any) -> Any:
    return ens.RandomForestClassifier(8, max_depth=4, random_state=3, **options)


def _light(**options: Any) -> Any:
    return lgb.LGBMClassifier(
        **({"n_estimators": 10, "num_leaves": 7, "random_state": 3, "n_jobs": 1, "verbose": -1} | options)
    )


def _light_number(**options: Any) -> Any:
    return lgb.LGBMRegressor(n_estimators=10, num_leaves=7, random_state=3, n_jobs=1, verbose=-1, **options)


def _extreme(**options: Any) -> Any:
    return xgb.XGBClassifier(
        **({"n_estimators": 10, "max_depth": 3, "random_state": 3, "n_jobs": 1, "verbosity": 0} | options)
    )


def _extreme_number(**options: Any) -> Any:
    return xgb.XGBRegressor(n_estimators=10, max_depth=3, random_state=3, n_jobs=1, verbosity=0, **options)


def _tree(**options: Any) -> Any:
    return tree.DecisionTreeClassifier(max_depth=5, random_state=3, **options)


def _tree_number() -> Any:
    return tree.DecisionTreeRegressor(max_depth=4, random_state=3)


def _boost(**options: Any) -> Any:
    return ens.GradientBoostingClassifier(n_estimators=8, max_depth=2, random_state=3, **options)


def _pair() -> list[tuple[str, Any]]:
    return [("forest", _forest()), ("logistic", _scaled(_logistic()))]


def _coded(encoder: Any) -> Any:
    """The two coded columns of the bars through `encoder`, the others as they are."""
    return make_column_transformer((encoder, [8, 9]), remainder="passthrough")


def _positive_logs(model: Any) -> Any:
    return make_pipeline(
        preprocessing.FunctionTransformer(np.abs), preprocessing.FunctionTransformer(np.log1p), model
    )


_PCA = {"n_components": 4, "random_state": 3}

CLASSIFIERS: Mapping[str, Family] = {
    "SVC rbf": Family(lambda: svm.SVC()),
    "SVC poly": Family(lambda: svm.SVC(kernel="poly", degree=3, coef0=1.0, gamma=1e-3)),
    "SVC sigmoid": Family(lambda: svm.SVC(kernel="sigmoid", gamma=0.01)),
    "SVC linear, ovo": Family(lambda: svm.SVC(kernel="linear", C=0.1, decision_function_shape="ovo")),
    "SVC, ties broken": Family(lambda: svm.SVC(break_ties=True, class_weight="balanced")),
    "SVC, probability": Family(lambda: svm.SVC(probability=True, random_state=3)),
    "NuSVC": Family(lambda: svm.NuSVC(nu=0.2)),
    "neighbours": Family(lambda: neighbors.KNeighborsClassifier(7)),
    "neighbours, weighed": Family(lambda: neighbors.KNeighborsClassifier(6, weights="distance")),
    "neighbours, manhattan": Family(lambda: neighbors.KNeighborsClassifier(4, p=1, algorithm="brute")),
    "neighbours, chebyshev": Family(
        lambda: neighbors.KNeighborsClassifier(5, metric="chebyshev", algorithm="ball_tree")
    ),
    "GaussianNB": Family(lambda: naive_bayes.GaussianNB()),
    "MultinomialNB": Family(lambda: naive_bayes.MultinomialNB(), rows="counts"),
    "ComplementNB": Family(lambda: naive_bayes.ComplementNB(), rows="counts"),
    "ComplementNB, norm": Family(lambda: naive_bayes.ComplementNB(norm=True), rows="counts"),
    "BernoulliNB": Family(lambda: naive_bayes.BernoulliNB()),
    "CategoricalNB": Family(lambda: naive_bayes.CategoricalNB(), rows="counts"),
    "LDA": Family(lambda: discriminant_analysis.LinearDiscriminantAnalysis()),
    "LDA, lsqr": Family(lambda: discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr")),
    "LDA, eigen": Family(
        lambda: discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1)
    ),
    "QDA": Family(lambda: discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1)),
    "NearestCentroid": Family(lambda: neighbors.NearestCentroid()),
    "NearestCentroid, manhattan": Family(lambda: neighbors.NearestCentroid(metric="manhattan")),
    "NearestCentroid, shrunken": Family(lambda: neighbors.NearestCentroid(shrink_threshold=0.2)),
    "NearestCentroid, priors": Family(
        lambda: _new("neighbors.NearestCentroid", priors="empirical"), since=(1, 6)
    ),
    "LogisticRegression": Family(_logistic),
    "LogisticRegression, ovr": Family(lambda: _logistic(multi_class="ovr"), until=(1, 8)),
    "LogisticRegression, multinomial": Family(lambda: _logistic(multi_class="multinomial"), until=(1, 8)),
    "LogisticRegressionCV": Family(lambda: linear.LogisticRegressionCV(Cs=3, cv=2, max_iter=200)),
    "SGD hinge": Family(lambda: linear.SGDClassifier(random_state=3)),
    "SGD log_loss": Family(lambda: linear.SGDClassifier(loss="log_loss", random_state=3)),
    "SGD modified_huber": Family(lambda: linear.SGDClassifier(loss="modified_huber", random_state=3)),
    "Perceptron": Family(lambda: linear.Perceptron(random_state=3)),
    "PassiveAggressive": Family(lambda: linear.PassiveAggressiveClassifier(random_state=3)),
    "RidgeClassifier": Family(lambda: linear.RidgeClassifier()),
    "RidgeClassifierCV": Family(lambda: linear.RidgeClassifierCV()),
    "LinearSVC": Family(lambda: svm.LinearSVC(random_state=3, dual=True)),
    "MLP": Family(lambda: neural_network.MLPClassifier((6,), max_iter=40, random_state=3)),
    "MLP, logistic": Family(
        lambda: neural_network.MLPClassifier((6, 4), activation="logistic", max_iter=40, random_state=3)
    ),
    "tree": Family(_tree),
    "tree with gaps": Family(_tree, rows="gaps", since=(1, 3)),
    "extra tree": Family(lambda: tree.ExtraTreeClassifier(max_depth=5, random_state=3)),
    "forest": Family(_forest),
    "forest with gaps": Family(_forest, rows="gaps", since=(1, 4)),
    "extra trees": Family(lambda: ens.ExtraTreesClassifier(8, max_depth=4, random_state=3)),
    "extra trees with gaps": Family(
        lambda: ens.ExtraTreesClassifier(8, max_depth=4, random_state=3), rows="gaps", since=(1, 6)
    ),
    "gradient boosting": Family(_boost),
    "gradient boosting, exponential": Family(lambda: _boost(loss="exponential"), three=False),
    "gradient boosting from zero": Family(lambda: _boost(init="zero")),
    "gradient boosting from a forest": Family(lambda: _boost(init=_forest())),
    "histogram boosting": Family(
        lambda: ens.HistGradientBoostingClassifier(max_iter=8, random_state=3), rows="gaps"
    ),
    "histogram boosting, categories": Family(
        lambda: ens.HistGradientBoostingClassifier(max_iter=8, categorical_features=[8], random_state=3)
    ),
    "AdaBoost": Family(lambda: _samme(_tree())),
    "AdaBoost, SAMME.R": Family(
        lambda: ens.AdaBoostClassifier(_tree(), n_estimators=6, algorithm="SAMME.R", random_state=3),
        until=(1, 6),
    ),
    "AdaBoost over logistic": Family(lambda: _samme(_logistic())),
    "AdaBoost over Bayes": Family(lambda: _samme(naive_bayes.GaussianNB())),
    "LightGBM": Family(_light, rows="gaps"),
    "LightGBM rf": Family(lambda: _light(boosting_type="rf", subsample=0.7, subsample_freq=1)),
    "LightGBM dart": Family(lambda: _light(boosting_type="dart")),
    "LightGBM ova": Family(lambda: _light(objective="multiclassova"), words=False, two=False),
    "XGBoost": Family(_extreme, rows="gaps", words=False),
    "XGBoost dart": Family(lambda: _extreme(booster="dart", rate_drop=0.3), words=False),
    "XGBoost gblinear": Family(
        lambda: _extreme(booster="gblinear", base_score=0.5, max_depth=None), words=False
    ),
    "XGBoost rf": Family(lambda: xgb.XGBRFClassifier(6, max_depth=3, random_state=3), words=False),
    "vote, soft": Family(lambda: ens.VotingClassifier(_pair(), voting="soft")),
    "vote, hard": Family(lambda: ens.VotingClassifier([*_pair(), ("tree", _tree())])),
    "vote with LightGBM": Family(lambda: ens.VotingClassifier([*_pair(), ("light", _light())], voting="soft")),
    "bag of trees": Family(lambda: ens.BaggingClassifier(_tree(), n_estimators=4, random_state=3)),
    "bag of logistics": Family(
        lambda: ens.BaggingClassifier(_logistic(), n_estimators=3, max_features=0.7, random_state=3)
    ),
    "one vs rest, linear": Family(lambda: multiclass.OneVsRestClassifier(svm.LinearSVC(dual=True))),
    "one vs rest, forests": Family(lambda: multiclass.OneVsRestClassifier(_forest())),
    "one vs rest, LightGBM": Family(lambda: multiclass.OneVsRestClassifier(_light())),
    "one vs rest, XGBoost": Family(lambda: multiclass.OneVsRestClassifier(_extreme()), words=False),
    "one vs one, logistic": Family(lambda: multiclass.OneVsOneClassifier(_logistic())),
    "one vs one, trees": Family(lambda: multiclass.OneVsOneClassifier(_tree())),
    "one vs one, SVC": Family(lambda: multiclass.OneVsOneClassifier(svm.SVC())),
    "one vs one, LightGBM": Family(lambda: multiclass.OneVsOneClassifier(_light())),
    "sigmoid over SVC": Family(lambda: calibration.CalibratedClassifierCV(svm.SVC(), cv=2)),
    "sigmoid over forest": Family(lambda: calibration.CalibratedClassifierCV(_forest(), cv=2)),
    "sigmoid over boosting": Family(lambda: calibration.CalibratedClassifierCV(_boost(), cv=2)),
    "sigmoid over LightGBM": Family(lambda: calibration.CalibratedClassifierCV(_light(), cv=2)),
    "sigmoid over XGBoost": Family(
        lambda: calibration.CalibratedClassifierCV(_extreme(), cv=2), words=False
    ),
    "sigmoid, not in ensemble": Family(
        lambda: calibration.CalibratedClassifierCV(_forest(), cv=2, ensemble=False)
    ),
    "isotonic over forest": Family(
        lambda: calibration.CalibratedClassifierCV(_forest(), cv=2, method="isotonic")
    ),
    "isotonic over logistic": Family(
        lambda: calibration.CalibratedClassifierCV(_logistic(), cv=2, method="isotonic")
    ),
    "isotonic over LightGBM": Family(
        lambda: calibration.CalibratedClassifierCV(_light(), cv=2, method="isotonic")
    ),
    "isotonic over XGBoost": Family(
        lambda: calibration.CalibratedClassifierCV(_extreme(), cv=2, method="isotonic"), words=False
    ),
    "temperature over logistic": Family(
        lambda: calibration.CalibratedClassifierCV(_logistic(), cv=2, method="temperature"),
        words=False,
        since=(1, 8),
    ),
    "temperature over forest": Family(
        lambda: calibration.CalibratedClassifierCV(_forest(), cv=2, method="temperature"),
        words=False,
        since=(1, 8),
    ),
    "stack": Family(lambda: ens.StackingClassifier(_pair(), _logistic(), cv=2)),
    "stack of labels": Family(
        lambda: ens.StackingClassifier(_pair(), _tree(), cv=2, stack_method="predict"), words=False
    ),
    "stack with rows": Family(
        lambda: ens.StackingClassifier(_pair(), ens.ExtraTreesClassifier(5, random_state=3), passthrough=True)
    ),
    "self-training": Family(lambda: semi_supervised.SelfTrainingClassifier(_logistic()), words=False),
    "frozen": Family(
        _logistic, pick=lambda model, X, y: _new("frozen.FrozenEstimator", model).fit(X, y), since=(1, 6)
    ),
    "sigmoid over a fitted forest": Family(
        _forest,
        pick=lambda model, X, y: calibration.CalibratedClassifierCV(model, cv="prefit").fit(X, y),
        until=(1, 8),
    ),
    "sigmoid over a frozen forest": Family(
        _forest,
        pick=lambda model, X, y: calibration.CalibratedClassifierCV(_new("frozen.FrozenEstimator", model)).fit(X, y),
        since=(1, 6),
    ),
    "threshold, fixed": Family(
        lambda: _new("model_selection.FixedThresholdClassifier", _logistic(), threshold=0.4),
        since=(1, 5),
        three=False,
    ),
    "threshold, tuned": Family(
        lambda: _new("model_selection.TunedThresholdClassifierCV", _forest(), cv=2), since=(1, 5), three=False
    ),
    "search": Family(lambda: GridSearchCV(_forest(), {"max_depth": [2, 4]}, cv=2)),
    "dummy, prior": Family(lambda: dummy.DummyClassifier(strategy="prior")),
    "dummy, most frequent": Family(lambda: dummy.DummyClassifier(strategy="most_frequent")),
    "PCA, logistic": Family(lambda: make_pipeline(decomposition.PCA(**_PCA), _logistic())),
    "PCA, forest": Family(lambda: make_pipeline(decomposition.PCA(**_PCA), _forest())),
    "whitened PCA, gradient boosting": Family(
        lambda: make_pipeline(decomposition.PCA(whiten=True, **_PCA), _boost())
    ),
    "PCA, LightGBM": Family(lambda: make_pipeline(decomposition.PCA(**_PCA), _light())),
    "PCA, XGBoost": Family(lambda: make_pipeline(decomposition.PCA(**_PCA), _extreme()), words=False),
    "PCA, SVC": Family(lambda: make_pipeline(decomposition.PCA(**_PCA), svm.SVC())),
    "PCA, neighbours": Family(
        lambda: make_pipeline(decomposition.PCA(**_PCA), neighbors.KNeighborsClassifier())
    ),
    "incremental PCA, histogram boosting": Family(
        lambda: make_pipeline(
            decomposition.IncrementalPCA(4), ens.HistGradientBoostingClassifier(max_iter=8, random_state=3)
        )
    ),
    "SVD, tree": Family(lambda: make_pipeline(decomposition.TruncatedSVD(4, random_state=3), _tree())),
    "ICA, logistic": Family(
        lambda: make_pipeline(decomposition.FastICA(3, whiten="unit-variance", random_state=3), _logistic())
    ),
    "random projection, forest": Family(
        lambda: make_pipeline(random_projection.GaussianRandomProjection(4, random_state=3), _forest())
    ),
    "components, neighbours' own, logistic": Family(
        lambda: make_pipeline(
            neighbors.NeighborhoodComponentsAnalysis(3, max_iter=5, random_state=3), _logistic()
        )
    ),
    "logarithms, forest": Family(lambda: _positive_logs(_forest())),
    "logarithms, LightGBM": Family(lambda: _positive_logs(_light())),
    "logarithms, logistic": Family(lambda: _positive_logs(_logistic())),
    "power, logistic": Family(lambda: make_pipeline(preprocessing.PowerTransformer(), _logistic())),
    "power, forest": Family(lambda: make_pipeline(preprocessing.PowerTransformer(), _forest())),
    "box-cox, logistic": Family(
        lambda: make_pipeline(
            preprocessing.FunctionTransformer(np.square),
            preprocessing.MinMaxScaler((1, 2)),
            preprocessing.PowerTransformer("box-cox"),
            _logistic(),
        )
    ),
    "norms l2, logistic": Family(lambda: make_pipeline(preprocessing.Normalizer(), _logistic())),
    "norms max, forest": Family(lambda: make_pipeline(preprocessing.Normalizer("max"), _forest())),
    "norms l1, XGBoost": Family(
        lambda: make_pipeline(preprocessing.Normalizer("l1"), _extreme()), words=False
    ),
    "polynomials, logistic": Family(
        lambda: make_pipeline(
            preprocessing.StandardScaler(), preprocessing.PolynomialFeatures(2), _logistic()
        )
    ),
    "selected by a forest, LightGBM": Family(
        lambda: make_pipeline(feature_selection.SelectFromModel(_forest()), _light())
    ),
    "selected by a linear model, tree": Family(
        lambda: make_pipeline(
            feature_selection.SelectFromModel(_logistic(penalty="l2", C=0.5), threshold="median"), _tree()
        )
    ),
    "selected by mode, forest": Family(
        lambda: make_pipeline(feature_selection.GenericUnivariateSelect(mode="k_best", param=4), _forest())
    ),
    "selected by discovery rate, forest": Family(
        lambda: make_pipeline(feature_selection.SelectFdr(alpha=0.9), _forest())
    ),
    "eliminated, forest": Family(
        lambda: make_pipeline(feature_selection.RFE(_tree(), n_features_to_select=4), _forest())
    ),
    "bins, tree": Family(
        lambda: make_pipeline(
            preprocessing.KBinsDiscretizer(5, encode="ordinal", strategy="uniform"), _tree()
        )
    ),
    "bins by quantiles, logistic": Family(
        lambda: make_pipeline(
            preprocessing.KBinsDiscretizer(4, encode="onehot-dense", strategy="quantile", subsample=None),
            _logistic(),
        )
    ),
    "binarizer, forest": Family(lambda: make_pipeline(preprocessing.Binarizer(), _forest())),
    "one-hot, strict, tree": Family(
        lambda: make_pipeline(_coded(preprocessing.OneHotEncoder(sparse_output=False)), _tree())
    ),
    "one-hot, ignoring, LightGBM": Family(
        lambda: make_pipeline(
            _coded(preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False)), _light()
        )
    ),
    "one-hot, sparse, logistic": Family(
        lambda: make_pipeline(preprocessing.OneHotEncoder(handle_unknown="ignore"), _logistic()), rows="counts"
    ),
    "ordinals, unknown, forest": Family(
        lambda: make_pipeline(
            _coded(preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
            _forest(),
        )
    ),
    "imputer with indicators, forest": Family(
        lambda: make_pipeline(impute.SimpleImputer(strategy="median", add_indicator=True), _forest()),
        rows="gaps",
    ),
    "union, logistic": Family(
        lambda: make_pipeline(make_union(decomposition.PCA(**_PCA), preprocessing.RobustScaler()), _logistic())
    ),
    "embedding, logistic": Family(
        lambda: make_pipeline(ens.RandomTreesEmbedding(5, max_depth=3, random_state=3), _logistic())
    ),
    "clipped scaler, forest": Family(
        lambda: make_pipeline(preprocessing.MinMaxScaler(clip=True), _forest())
    ),
    "quantiles, forest": Family(
        lambda: make_pipeline(preprocessing.QuantileTransformer(n_quantiles=50, random_state=3), _forest())
    ),
    "output codes": Family(lambda: multiclass.OutputCodeClassifier(_tree(), random_state=3)),
    "Gaussian process": Family(lambda: gaussian_process.GaussianProcessClassifier()),
    "bare LightGBM booster": Family(_light, pick=lambda model, X, y: model.booster_),
    "bare XGBoost booster": Family(_extreme, words=False, pick=lambda model, X, y: model.get_booster()),
}  # fmt: skip

NUMBERS: Mapping[str, Family] = {
    "LinearRegression": Family(lambda: linear.LinearRegression()),
    "Ridge": Family(lambda: linear.Ridge()),
    "RidgeCV": Family(lambda: linear.RidgeCV()),
    "Lasso": Family(lambda: linear.Lasso(1e-3)),
    "ElasticNetCV": Family(lambda: linear.ElasticNetCV(cv=2)),
    "Lars": Family(lambda: linear.Lars(n_nonzero_coefs=4)),
    "LassoLarsIC": Family(lambda: linear.LassoLarsIC()),
    "OMP": Family(lambda: linear.OrthogonalMatchingPursuit(n_nonzero_coefs=4)),
    "BayesianRidge": Family(lambda: linear.BayesianRidge()),
    "ARD": Family(lambda: linear.ARDRegression()),
    "Huber": Family(lambda: linear.HuberRegressor()),
    "Quantile": Family(lambda: linear.QuantileRegressor(alpha=0.01, solver="highs")),
    "TheilSen": Family(lambda: linear.TheilSenRegressor(max_subpopulation=200, random_state=3)),
    "RANSAC": Family(lambda: linear.RANSACRegressor(linear.LinearRegression(), random_state=3)),
    "SGDRegressor": Family(lambda: linear.SGDRegressor(random_state=3)),
    "PassiveAggressiveRegressor": Family(lambda: linear.PassiveAggressiveRegressor(random_state=3)),
    "LinearSVR": Family(lambda: svm.LinearSVR(dual=True, loss="squared_epsilon_insensitive", random_state=3)),
    "SVR": Family(lambda: svm.SVR(epsilon=0.05)),
    "NuSVR": Family(lambda: svm.NuSVR()),
    "PLS": Family(lambda: cross_decomposition.PLSRegression(2)),
    "CCA": Family(lambda: cross_decomposition.CCA(1)),
    "PLSCanonical": Family(lambda: cross_decomposition.PLSCanonical(1)),
    "Poisson": Family(lambda: linear.PoissonRegressor(), targets="positive"),
    "Gamma": Family(lambda: linear.GammaRegressor(), targets="positive"),
    "Tweedie": Family(lambda: linear.TweedieRegressor(power=1.5), targets="positive"),
    "Tweedie, identity": Family(lambda: linear.TweedieRegressor(power=0, link="identity")),
    "logarithm of the target": Family(
        lambda: TransformedTargetRegressor(linear.Ridge(), func=np.log1p, inverse_func=np.expm1),
        targets="positive",
    ),
    "root of the target, forest": Family(
        lambda: TransformedTargetRegressor(
            ens.RandomForestRegressor(6, max_depth=4, random_state=3), func=np.sqrt, inverse_func=np.square
        ),
        targets="positive",
    ),
    "scaled target": Family(
        lambda: TransformedTargetRegressor(linear.Ridge(), transformer=preprocessing.StandardScaler())
    ),
    "isotonic": Family(lambda: isotonic.IsotonicRegression(out_of_bounds="clip"), rows="one"),
    "dummy, mean": Family(lambda: dummy.DummyRegressor()),
    "dummy, quantile": Family(lambda: dummy.DummyRegressor(strategy="quantile", quantile=0.3)),
    "neighbours of numbers": Family(lambda: neighbors.KNeighborsRegressor(5)),
    "neighbours of numbers, weighed": Family(
        lambda: neighbors.KNeighborsRegressor(5, weights="distance", p=1)
    ),
    "tree of numbers": Family(_tree_number),
    "forest of numbers": Family(lambda: ens.RandomForestRegressor(6, max_depth=4, random_state=3)),
    "boosting of numbers": Family(lambda: ens.GradientBoostingRegressor(n_estimators=8, random_state=3)),
    "boosting of numbers, huber": Family(
        lambda: ens.GradientBoostingRegressor(n_estimators=8, loss="huber", random_state=3)
    ),
    "boosting of numbers from a forest": Family(
        lambda: ens.GradientBoostingRegressor(
            n_estimators=5, init=ens.RandomForestRegressor(4, max_depth=3, random_state=3), random_state=3
        )
    ),
    "histogram boosting of numbers": Family(
        lambda: ens.HistGradientBoostingRegressor(max_iter=8, random_state=3), rows="gaps"
    ),
    "histogram boosting, poisson": Family(
        lambda: ens.HistGradientBoostingRegressor(loss="poisson", max_iter=8, random_state=3),
        targets="positive",
    ),
    "histogram boosting, gamma": Family(
        lambda: ens.HistGradientBoostingRegressor(loss="gamma", max_iter=8, random_state=3),
        targets="positive",
        since=(1, 3),
    ),
    "AdaBoostRegressor": Family(
        lambda: ens.AdaBoostRegressor(_tree_number(), n_estimators=6, random_state=3)
    ),
    "AdaBoostRegressor over Ridge": Family(
        lambda: ens.AdaBoostRegressor(linear.Ridge(), n_estimators=5, random_state=3)
    ),
    "LightGBM of numbers": Family(_light_number, rows="gaps"),
    "LightGBM, poisson": Family(lambda: _light_number(objective="poisson"), targets="positive"),
    "LightGBM, quantile": Family(lambda: _light_number(objective="quantile")),
    "XGBoost of numbers": Family(_extreme_number, rows="gaps"),
    "XGBoost, poisson": Family(lambda: _extreme_number(objective="count:poisson"), targets="positive"),
    "XGBoost, gblinear of numbers": Family(
        lambda: xgb.XGBRegressor(n_estimators=10, booster="gblinear", n_jobs=1, verbosity=0)
    ),
    "vote of numbers": Family(
        lambda: ens.VotingRegressor([("ridge", linear.Ridge()), ("tree", _tree_number())], weights=[2, 1])
    ),
    "bag of numbers": Family(lambda: ens.BaggingRegressor(linear.Ridge(), n_estimators=3, random_state=3)),
    "stack of numbers": Family(
        lambda: ens.StackingRegressor(
            [("ridge", linear.Ridge()), ("tree", _tree_number())], linear.Ridge(), cv=2
        )
    ),
    "MLP of numbers": Family(
        lambda: neural_network.MLPRegressor(hidden_layer_sizes=(6,), max_iter=60, random_state=3)
    ),
    "PCA, Ridge": Family(lambda: make_pipeline(decomposition.PCA(**_PCA), linear.Ridge())),
    "PCA, forest of numbers": Family(
        lambda: make_pipeline(
            decomposition.PCA(**_PCA), ens.RandomForestRegressor(6, max_depth=4, random_state=3)
        )
    ),
    "logarithms, histogram boosting of numbers": Family(
        lambda: _positive_logs(ens.HistGradientBoostingRegressor(max_iter=8, random_state=3))
    ),
    "bare LightGBM booster of numbers": Family(_light_number, pick=lambda model, X, y: model.booster_),
    "bare XGBoost booster of numbers": Family(_extreme_number, pick=lambda model, X, y: model.get_booster()),
}

DETECTORS: Mapping[str, Family] = {
    "IsolationForest": Family(lambda: ens.IsolationForest(n_estimators=10, random_state=3)),
    "IsolationForest, contamination": Family(
        lambda: ens.IsolationForest(n_estimators=10, contamination=0.1, max_features=0.6, random_state=3)
    ),
    "IsolationForest with gaps": Family(
        lambda: ens.IsolationForest(n_estimators=10, random_state=3), rows="gaps", since=(1, 6)
    ),
    "OneClassSVM": Family(lambda: svm.OneClassSVM(nu=0.2)),
    "SGDOneClassSVM": Family(lambda: linear.SGDOneClassSVM(nu=0.3, random_state=3)),
}

_WORDS = np.array(["SELL", "WAIT", "BUY"])


def made_families(
    rows: np.ndarray, labels: np.ndarray, targets: np.ndarray, release: tuple[int, int]
) -> Iterator[tuple[str, Callable[[], Any], np.ndarray]]:
    """Yield (name, what fits the model, the rows it is fitted on) for every family that `release` has."""
    tables = _tables(rows)
    numbers = {"signed": targets * 1e3, "positive": np.abs(targets) * 1e3 + 0.01}
    two = (labels > 0).astype(np.int64)
    for name, family in CLASSIFIERS.items():
        if family.since <= release < family.until:
            X = tables[family.rows]
            if family.two:
                yield f"{name}, 2", _fit(family, None, X, two), X
            if family.three:
                three = _WORDS[labels + 1] if family.words else labels + 1
                yield f"{name}, 3", _fit(family, _front(family.rows), X, three), X
    for name, family in {**NUMBERS, **DETECTORS}.items():
        if family.since <= release < family.until:
            X, y = tables[family.rows], None if name in DETECTORS else numbers[family.targets]
            yield name, _fit(family, None, X, y), X
            if "bare" not in name and family.rows != "one":
                yield f"{name}, scaled", _fit(family, preprocessing.StandardScaler(), X, y), X


def _fit(family: Family, front: Any, X: np.ndarray, y: np.ndarray | None) -> Callable[[], Any]:
    """What fits a family, behind `front` where there is one and all of the model is written."""
    pick = family.pick
    if pick is not None:
        return lambda: pick(family.make().fit(X, y), X, y)
    return lambda: (family.make() if front is None else make_pipeline(front, family.make())).fit(X, y)


def _front(rows: str) -> Any:
    """A scaler for three classes; it leaves coded columns and counts as they are."""
    if rows == "counts":
        return None
    if rows == "gaps":
        return preprocessing.RobustScaler()
    return make_column_transformer(
        (preprocessing.StandardScaler(), list(range(8))), (preprocessing.FunctionTransformer(), [8, 9])
    )


def _tables(rows: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.RandomState(5)
    codes = np.column_stack([np.arange(len(rows)) % 5, np.round(rows[:, 6] / 15)])
    bars = np.hstack([rows, codes])
    edges = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
    counts = (rows[:, np.newaxis] > edges[np.newaxis]).sum(axis=1).astype(np.float64)
    gaps = np.where(rng.rand(*bars.shape) < 0.05, np.nan, bars)
    return {"bars": bars, "counts": counts, "gaps": gaps, "one": bars[:, :1]}
