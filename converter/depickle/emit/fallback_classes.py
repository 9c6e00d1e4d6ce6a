# SPDX-License-Identifier: Apache-2.0
"""Which estimators the fallback may convert, each by name; what is on no list is refused.

Four lists. *Admitted*: scikit-learn's converter was measured on it, over random rows and corners, without a
flipped label. *Silently wrong*: the converter answers, and differently; the reason is part of the refusal. *Not
runnable*: what it makes needs an operator that the gate refuses. *Helpers*: parts of an admitted estimator that
predict nothing by themselves. `docs/coverage.md` holds the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from depickle_runtime.record import Task

__all__ = [
    "HELPERS",
    "NOT_RUNNABLE",
    "PARAMETERS_WRONG",
    "PREDICTORS",
    "SEARCHES",
    "SELECTORS",
    "SILENTLY_WRONG",
    "TRANSFORMERS",
    "WRONG_LOSSES",
]


def _paths(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"sklearn.{module}.{name}" for name in names.split())


def _all(task: Task, *groups: tuple[str, ...]) -> dict[str, Task]:
    return {path: task for group in groups for path in group}


PREDICTORS: Final[Mapping[str, Task]] = {
    **_all(
        "classifier",
        _paths("naive_bayes", "BernoulliNB ComplementNB GaussianNB MultinomialNB"),
        _paths("discriminant_analysis", "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis"),
        _paths("neural_network._multilayer_perceptron", "MLPClassifier"),
        _paths("svm._classes", "LinearSVC NuSVC SVC"),
        _paths("linear_model._logistic", "LogisticRegression LogisticRegressionCV"),
        _paths("linear_model._ridge", "RidgeClassifier RidgeClassifierCV"),
        _paths("linear_model._perceptron", "Perceptron"),
        _paths("linear_model._passive_aggressive", "PassiveAggressiveClassifier"),
        _paths("linear_model._stochastic_gradient", "SGDClassifier"),
        _paths("ensemble._voting", "VotingClassifier"),
        _paths("ensemble._stacking", "StackingClassifier"),
        _paths("ensemble._bagging", "BaggingClassifier"),
        _paths("ensemble._weight_boosting", "AdaBoostClassifier"),
    ),
    **_all(
        "regressor",
        _paths("neural_network._multilayer_perceptron", "MLPRegressor"),
        _paths("svm._classes", "LinearSVR NuSVR SVR"),
        _paths("linear_model._base", "LinearRegression"),
        _paths("linear_model._bayes", "ARDRegression BayesianRidge"),
        _paths("linear_model._coordinate_descent", "ElasticNet ElasticNetCV Lasso LassoCV"),
        _paths("linear_model._glm.glm", "GammaRegressor PoissonRegressor TweedieRegressor"),
        _paths("linear_model._huber", "HuberRegressor"),
        _paths("linear_model._least_angle", "Lars LarsCV LassoLars LassoLarsCV LassoLarsIC"),
        _paths("linear_model._omp", "OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV"),
        _paths("linear_model._passive_aggressive", "PassiveAggressiveRegressor"),
        _paths("linear_model._quantile", "QuantileRegressor"),
        _paths("linear_model._ransac", "RANSACRegressor"),
        _paths("linear_model._ridge", "Ridge RidgeCV"),
        _paths("linear_model._stochastic_gradient", "SGDRegressor"),
        _paths("linear_model._theil_sen", "TheilSenRegressor"),
        _paths("cross_decomposition._pls", "PLSRegression"),
        _paths("ensemble._voting", "VotingRegressor"),
        _paths("ensemble._stacking", "StackingRegressor"),
        _paths("ensemble._bagging", "BaggingRegressor"),
        _paths("ensemble._weight_boosting", "AdaBoostRegressor"),
    ),
    **_all(
        "outlier",
        _paths("svm._classes", "OneClassSVM"),
        _paths("linear_model._stochastic_gradient", "SGDOneClassSVM"),
    ),
}
"""Class to task."""

TRANSFORMERS: Final = frozenset(
    (
        *_paths("preprocessing._data", "MaxAbsScaler MinMaxScaler Normalizer PowerTransformer"),
        *_paths("preprocessing._data", "QuantileTransformer RobustScaler StandardScaler"),
        *_paths("preprocessing._polynomial", "PolynomialFeatures"),
        *_paths("impute._base", "SimpleImputer"),
        *_paths("decomposition._pca", "PCA"),
        *_paths("decomposition._incremental_pca", "IncrementalPCA"),
        *_paths("decomposition._kernel_pca", "KernelPCA"),
        *_paths("decomposition._truncated_svd", "TruncatedSVD"),
        *_paths("random_projection", "GaussianRandomProjection"),
        *_paths("neighbors._nca", "NeighborhoodComponentsAnalysis"),
        *_paths("feature_selection._variance_threshold", "VarianceThreshold"),
        *_paths(
            "feature_selection._univariate_selection", "GenericUnivariateSelect SelectFdr SelectFpr SelectFwe"
        ),
        *_paths("feature_selection._univariate_selection", "SelectKBest SelectPercentile"),
        *_paths("feature_selection._rfe", "RFE RFECV"),
        *_paths("feature_selection._from_model", "SelectFromModel"),
        *_paths("compose._column_transformer", "ColumnTransformer"),
        *_paths("pipeline", "FeatureUnion"),
    )
)
"""Classes that may stand in front of a predictor."""

SEARCHES: Final = frozenset(
    (
        *_paths("model_selection._search", "GridSearchCV RandomizedSearchCV"),
        *_paths("model_selection._search_successive_halving", "HalvingGridSearchCV HalvingRandomSearchCV"),
    )
)
"""Converted as the estimator that they found."""

HELPERS: Final = frozenset(
    (
        "sklearn.pipeline.Pipeline",
        *_paths("preprocessing._label", "LabelBinarizer LabelEncoder"),
        *_paths("preprocessing._data", "KernelCenterer"),
        *_paths("multiclass", "_ConstantPredictor"),
    )
)
"""Parts of admitted estimators."""

_ROUNDED = (
    "what stands in front of its splits is computed in float32, so that rows next to a split change sides"
)

SILENTLY_WRONG: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *_paths("tree._classes", "DecisionTreeClassifier DecisionTreeRegressor"),
            *_paths("tree._classes", "ExtraTreeClassifier ExtraTreeRegressor"),
            *_paths("ensemble._forest", "ExtraTreesRegressor RandomForestRegressor RandomTreesEmbedding"),
            *_paths("ensemble._gb", "GradientBoostingClassifier GradientBoostingRegressor"),
            *_paths("ensemble._iforest", "IsolationForest"),
            *_paths("preprocessing._data", "Binarizer"),
            *_paths("preprocessing._discretization", "KBinsDiscretizer"),
        ),
        _ROUNDED,
    ),
    **dict.fromkeys(
        _paths("ensemble._forest", "ExtraTreesClassifier RandomForestClassifier"),
        "votes are summed in float32, so that ties between trees go to another class",
    ),
    **dict.fromkeys(
        _paths(
            "ensemble._hist_gradient_boosting.gradient_boosting",
            "HistGradientBoostingClassifier HistGradientBoostingRegressor",
        ),
        "doubles are compared as float32, and categorical splits are compared as numbers",
    ),
    **dict.fromkeys(
        _paths(
            "model_selection._classification_threshold", "FixedThresholdClassifier TunedThresholdClassifierCV"
        ),
        "the threshold is ignored",
    ),
    "sklearn.calibration.CalibratedClassifierCV": "calibration over a pipeline or over boosted trees is lost",
    "sklearn.multiclass.OneVsRestClassifier": "it compares probabilities where the original compares distances",
    "sklearn.multiclass.OneVsOneClassifier": "it answers with the number of the class instead of its label",
}
"""Class to what is wrong."""

_SUBGRAPH = "it needs a loop over the stored rows (Scan), which hides work from the gate"

NOT_RUNNABLE: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *_paths("neighbors._classification", "KNeighborsClassifier RadiusNeighborsClassifier"),
            *_paths("neighbors._regression", "KNeighborsRegressor RadiusNeighborsRegressor"),
            *_paths("neighbors._lof", "LocalOutlierFactor"),
            *_paths("gaussian_process._gpc", "GaussianProcessClassifier"),
            *_paths("gaussian_process._gpr", "GaussianProcessRegressor"),
            *_paths("impute._knn", "KNNImputer"),
        ),
        _SUBGRAPH,
    ),
}
"""Class to why the ONNX gate refuses whatever the converter makes of it."""

WRONG_LOSSES: Final = frozenset(("log_loss", "modified_huber"))
"""Losses of SGDClassifier."""

PARAMETERS_WRONG: Final[Mapping[str, str]] = {
    "sklearn.linear_model._stochastic_gradient.SGDClassifier": (
        "with this loss it compares probabilities, which saturate far from the training data"
    ),
    "sklearn.naive_bayes.BernoulliNB": "its threshold is no float32 number and is rounded",
    "lightgbm": "doubles are compared as float32; bagged trees are summed instead of averaged; zeros are not missing",
    "xgboost": _ROUNDED,
}
"""Class or package to what is wrong, where a parameter decides."""

SELECTORS: Final = frozenset(
    (
        *_paths("feature_selection._rfe", "RFE RFECV"),
        *_paths("feature_selection._from_model", "SelectFromModel"),
        *_paths("feature_selection._sequential", "SequentialFeatureSelector"),
    )
)
"""What these hold chose columns once and predicts nothing any more."""
