# SPDX-License-Identifier: Apache-2.0
"""The honest estimators that a policy is generated from: every one, on every kind of table, with every option.

Runs inside the environment of one family of versions and needs nothing but its libraries. Yields (name, object)
pairs; what an installed version does not have, or refuses to fit, is not yielded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import sklearn.experimental.enable_halving_search_cv
import sklearn.experimental.enable_iterative_imputer  # noqa: F401  # makes IterativeImputer importable
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import all_estimators

Fixture = tuple[str, Any]

ROWS = 48
SMALL = {
    "n_estimators": 3, "max_iter": 12, "n_init": 1, "cv": 2, "n_quantiles": 10, "random_state": 0,
    "n_components": 2, "min_samples": 3, "n_neighbors": 3, "max_n_alphas": 5, "n_alphas": 5, "max_trials": 20,
    "n_jobs": None, "hidden_layer_sizes": (4,), "n_resampling": 2, "n_restarts_optimizer": 0, "batch_size": 16,
    "max_subpopulation": 20, "max_features": None,
}  # fmt: skip
# Options that a fit of this size cannot take, or that hand work to other processes.
SKIPPED_PARAMETERS = {
    "n_jobs",
    "verbose",
    "copy",
    "copy_X",
    "random_state",
    "memory",
    "enable_metadata_routing",
}


def tables() -> dict[str, tuple[Any, ...]]:
    """The small tables that estimators are fitted on, by name."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(ROWS, 4))
    score = X[:, 0] + 0.5 * X[:, 1] + 0.1 * rng.normal(size=ROWS)
    three = np.digitize(score, [-0.5, 0.5])
    binary = (score > 0).astype(int)
    gappy = X.copy()
    gappy[::7, 1] = np.nan
    words = np.array(["up", "down", "flat"], dtype=object)
    sessions = words[rng.integers(0, 3, size=(ROWS, 2))]
    texts = [" ".join(words[rng.integers(0, 3, size=6)]) for _ in range(ROWS)]
    index = pd.date_range("2024-01-01", periods=ROWS, freq="h")
    frame = pd.DataFrame(X, columns=["rsi", "atr", "ema", "spread"], index=index)
    mixed = frame.assign(session=pd.Categorical(sessions[:, 0]), symbol=sessions[:, 1])
    indicator = np.stack([binary, (X[:, 2] > 0).astype(int)], axis=1)
    return {
        "binary": (X, binary),
        "three": (X, three),
        "regression": (X, score),
        "trade": (X, three.astype(np.int64) - 1),
        "strings": (X, np.array(["sell", "wait", "buy"])[three]),
        "objects": (X, words[three]),
        "bool": (X, binary.astype(bool)),
        "float32": (X.astype(np.float32), three.astype(np.int32)),
        "float32 regression": (X.astype(np.float32), score.astype(np.float32)),
        "positive": (np.abs(X), three),
        "positive regression": (np.abs(X), np.abs(score) + 0.1),
        "unit": (1 / (1 + np.exp(-X)), binary),
        "integers": (rng.integers(0, 4, size=(ROWS, 3)), three),
        "gaps": (gappy, three),
        "two outputs": (X, np.stack([score, X[:, 3]], axis=1)),
        "indicator": (X, indicator),
        "two labels": (X, np.stack([binary, three], axis=1)),
        "partly labelled": (X, np.where(np.arange(ROWS) % 5 == 0, -1, binary)),
        "frame": (frame, pd.Series(three, index=index, name="label")),
        "frame regression": (frame, pd.Series(score, index=index)),
        "mixed frame": (mixed, three),
        "sparse": (sparse.csr_matrix(np.where(X > 0.3, X, 0.0)), three),
        "sparse columns": (sparse.csc_matrix(np.where(X > 0.3, X, 0.0)), score),
        "categories": (sessions, three),
        "text": (texts, three),
        "dicts": ([{"a": float(a), "b": str(w)} for a, w in zip(X[:, 0], sessions[:, 0], strict=True)],),
        "sets": ([set(row) for row in sessions],),
        "one column": (X[:, 0], score),
        "labels": (words[three],),
        "number labels": (three,),
        "distances": (np.abs(X @ X.T), three),
    }


def _meta_arguments() -> dict[str, list[dict[str, Any]]]:
    """Constructor arguments of estimators that need some."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    lr = LogisticRegression(max_iter=30)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    reg_tree = DecisionTreeRegressor(max_depth=2, random_state=0)
    ridge = Ridge()
    classifiers = [("lr", lr), ("tree", tree)]
    regressors = [("ridge", ridge), ("tree", reg_tree)]
    columns = [("num", StandardScaler(), [0, 1]), ("rest", MinMaxScaler(), [2])]
    named = [("num", StandardScaler(), ["rsi", "atr"]), ("cat", OneHotEncoder(), ["session"])]
    over_classifier: list[dict[str, Any]] = [{"estimator": lr}, {"estimator": tree}]
    over_regressor: list[dict[str, Any]] = [{"estimator": ridge}, {"estimator": reg_tree}]
    search = [
        {"estimator": lr, "param_grid": {"C": [0.1, 1.0]}, "cv": 2},
        {"estimator": ridge, "param_grid": {"alpha": np.array([0.1, 1.0])}, "cv": 2},
    ]
    random = [
        {"estimator": lr, "param_distributions": {"C": [0.1, 1.0]}, "n_iter": 2, "cv": 2},
        {"estimator": ridge, "param_distributions": {"alpha": np.array([0.1, 1.0])}, "n_iter": 2, "cv": 2},
    ]
    halving = [{**row} for row in random]
    for row in halving:
        row.pop("n_iter")
    return {
        "ClassifierChain": [{"base_estimator": lr}, {"estimator": lr}],
        "RegressorChain": [{"base_estimator": ridge}, {"estimator": ridge}],
        "MultiOutputClassifier": over_classifier,
        "MultiOutputRegressor": over_regressor,
        "OneVsRestClassifier": over_classifier,
        "OneVsOneClassifier": over_classifier,
        "OutputCodeClassifier": over_classifier,
        "FixedThresholdClassifier": [*over_classifier, {"estimator": lr, "threshold": 0.4}],
        "TunedThresholdClassifierCV": [{"estimator": lr, "cv": 2}],
        "FrozenEstimator": [{"estimator": StandardScaler().fit(np.eye(4))}],
        "SelfTrainingClassifier": [{"base_estimator": lr}, *over_classifier],
        "CalibratedClassifierCV": [{"estimator": model, "cv": 2} for model in (lr, tree)],
        "BaggingClassifier": over_classifier,
        "BaggingRegressor": over_regressor,
        "AdaBoostClassifier": [{}, *over_classifier, {"estimator": tree, "algorithm": "SAMME"}],
        "AdaBoostRegressor": [{}, *over_regressor],
        "RANSACRegressor": [{}, {"estimator": LinearRegression()}],
        "TransformedTargetRegressor": [{"regressor": ridge}, {"regressor": ridge, "transformer": StandardScaler()},
                                       {"regressor": ridge, "func": np.log1p, "inverse_func": np.expm1},
                                       {"regressor": ridge, "func": np.log, "inverse_func": np.exp}],
        "ColumnTransformer": [{"transformers": columns}, {"transformers": named},
                              {"transformers": columns, "remainder": "passthrough"},
                              {"transformers": [("drop", "drop", [0]), ("all", "passthrough", slice(1, 3))]},
                              {"transformers": columns, "remainder": StandardScaler()},
                              {"transformers": [("n", StandardScaler(), np.array([True, False, True, False]))]}],
        "FeatureUnion": [{"transformer_list": [("pca", PCA(2)), ("scale", StandardScaler())]}],
        "Pipeline": [{"steps": [("scale", StandardScaler()), ("model", lr)]},
                     {"steps": [("scale", "passthrough"), ("model", ridge)]}],
        "VotingClassifier": [{"estimators": classifiers}, {"estimators": classifiers, "voting": "soft"}],
        "VotingRegressor": [{"estimators": regressors}],
        "StackingClassifier": [{"estimators": classifiers, "cv": 2}],
        "StackingRegressor": [{"estimators": regressors, "cv": 2}],
        "GridSearchCV": search,
        "RandomizedSearchCV": random,
        "HalvingGridSearchCV": search,
        "HalvingRandomSearchCV": halving,
        "RFE": [*over_classifier, *over_regressor],
        "RFECV": [{"estimator": lr, "cv": 2}, {"estimator": ridge, "cv": 2}],
        "SelectFromModel": [*over_classifier, {"estimator": RandomForestClassifier(3, random_state=0)}],
        "SequentialFeatureSelector": [{"estimator": lr, "n_features_to_select": 2, "cv": 2},
                                      {"estimator": ridge, "n_features_to_select": 2, "cv": 2}],
        "SparseCoder": [{"dictionary": np.eye(4)}],
        "BisectingKMeans": [{"n_clusters": 2}],
        "BayesianGaussianMixture": [{"n_components": 2}],
        "FeatureAgglomeration": [{"n_clusters": 2}, {"n_clusters": 2, "pooling_func": np.max},
                                 {"n_clusters": 2, "pooling_func": np.median}],
        "FeatureHasher": [{"input_type": "dict"}],
        "IterativeImputer": [{"max_iter": 2}, {"max_iter": 2, "estimator": Ridge()}],
        "SpectralBiclustering": [{"n_clusters": 2}],
        "SplineTransformer": [{"n_knots": 3}],
        "TSNE": [{"n_components": 2, "max_iter": 250, "perplexity": 5.0}, {"n_components": 2, "n_iter": 250,
                                                                          "perplexity": 5.0}],
        "Birch": [{"n_clusters": 2}, {"n_clusters": KMeans(2, n_init=1)}],
    }  # fmt: skip


def _instances(cls: Any) -> list[Any]:
    """Unfitted instances of `cls`, small where its parameters allow."""
    made = []
    for arguments in _meta_arguments().get(cls.__name__, [{}]):
        try:
            model = cls(**arguments)
        except TypeError:
            continue
        known = model.get_params(deep=False)
        small = {key: value for key, value in SMALL.items() if key in known and key not in arguments}
        if cls.__name__.startswith(("RandomForest", "ExtraTree", "DecisionTree", "HistGradient")):
            small.pop("max_features", None)
        if cls.__name__ in {"PLSRegression", "TSNE", "KNeighborsTransformer"}:
            small.pop("max_iter", None)
        if cls.__name__.startswith("HistGradient"):
            small["max_iter"] = 3
        model.set_params(**small)  # a frozen estimator returns nothing here
        made.append(model)
    return made


def _options(model: Any) -> Iterator[tuple[str, Any]]:
    """Every named option and switch that the estimator's own constraints list, one at a time."""
    constraints = getattr(model, "_parameter_constraints", None)
    if not isinstance(constraints, dict):
        return
    now = model.get_params(deep=False)
    for parameter, allowed in sorted(constraints.items()):
        if parameter in SKIPPED_PARAMETERS or parameter not in now or not isinstance(allowed, list):
            continue
        for rule in allowed:
            if rule in ("boolean", bool):
                yield parameter, not now[parameter]
            elif hasattr(rule, "options"):
                for option in sorted(rule.options, key=str):
                    if option != now[parameter]:
                        yield parameter, option


def _fit(model: Any, table: tuple[Any, ...]) -> Any | None:
    """A fitted clone of `model`, or None where this model cannot be fitted on this table."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return clone(model).fit(*table)
        except Exception:  # the table is not for this estimator; what fits somewhere is what counts
            return None


def estimators(only: Callable[[str], bool] = lambda name: True) -> Iterator[Fixture]:
    """Every estimator of scikit-learn, fitted on every table that it takes, then once per option."""
    every = tables()
    for name, cls in all_estimators():
        if not only(name):
            continue
        for number, model in enumerate(_instances(cls)):
            yield f"{name} unfitted {number}", model
            fitted_on = []
            for key, table in every.items():
                fitted = _fit(model, table)
                if fitted is not None:
                    fitted_on.append(key)
                    yield f"{name} {number} on {key}", fitted
            for parameter, option in _options(model) if number == 0 else ():
                variant = clone(model).set_params(**{parameter: option})
                for key in fitted_on[:3] if parameter != "dtype" else ():
                    fitted = _fit(variant, every[key])
                    if fitted is not None:
                        yield f"{name}({parameter}={option!r}) on {key}", fitted
