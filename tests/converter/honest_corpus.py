# SPDX-License-Identifier: Apache-2.0
"""Honest files that the policies were not generated from: other releases, hyperparameters, compositions, data types.

Shares no code with ``scripts/generate_policy.py``, so that a policy which only fits its own generator shows here. ::

    <environment>/bin/python tests/converter/honest_corpus.py write .build/honest/1.2.1
    python tests/converter/honest_corpus.py measure .build/honest

``write`` needs the libraries of its environment only; ``measure`` needs depickle. Corpora are never committed.
"""

from __future__ import annotations

import argparse
import bz2
import datetime
import gzip
import io
import json
import lzma
import pickle
import random
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SEED = 4711
ROWS = 90
DRAWS = 4
Space = dict[str, list[Any]]


class ProductionFeatureEngineer:
    """A class of the trading system, as packages keep an instance of it beside the model."""

    def __init__(self, windows: list[int]) -> None:
        self.windows = windows
        self.fitted_at = datetime.datetime(2023, 4, 5, 6, 7, 8)  # noqa: DTZ001  # as such code writes it


def classifiers() -> dict[str, Space]:
    """Estimator path to the values that its parameters are drawn from; classifiers of a trading desk."""
    return {
        "sklearn.tree.DecisionTreeClassifier": {
            "max_depth": [3, 9, None],
            "criterion": ["gini", "entropy"],
            "class_weight": [None, "balanced", {0: 1.0, 1: 2.5}],
            "ccp_alpha": [0.0, 0.01],
            "splitter": ["best", "random"],
        },
        "sklearn.ensemble.RandomForestClassifier": {
            "n_estimators": [4, 9],
            "max_features": ["sqrt", 0.5, None],
            "oob_score": [False, True],
            "class_weight": [None, "balanced_subsample"],
            "max_samples": [None, 0.7],
        },
        "sklearn.ensemble.ExtraTreesClassifier": {
            "n_estimators": [5],
            "bootstrap": [False, True],
            "min_samples_leaf": [1, 4],
        },
        "sklearn.ensemble.GradientBoostingClassifier": {
            "n_estimators": [4, 7],
            "subsample": [1.0, 0.6],
            "loss": ["log_loss"],
            "init": [None, "zero"],
            "n_iter_no_change": [None, 2],
            "max_features": [None, "log2"],
        },
        "sklearn.ensemble.HistGradientBoostingClassifier": {
            "max_iter": [4],
            "l2_regularization": [0.0, 1.5],
            "early_stopping": [False, True],
            "max_bins": [31, 255],
            "categorical_features": [None, [0]],
            "monotonic_cst": [None, [1, 0, 0, -1, 0]],
        },
        "sklearn.ensemble.AdaBoostClassifier": {"n_estimators": [3, 6], "learning_rate": [0.3, 1.0]},
        "sklearn.ensemble.BaggingClassifier": {
            "n_estimators": [3],
            "max_features": [0.6, 1.0],
            "oob_score": [False, True],
        },
        "sklearn.linear_model.LogisticRegression": {
            "C": [0.1, np.float64(3.0)],
            "solver": ["lbfgs", "liblinear", "saga"],
            "class_weight": [None, "balanced"],
            "max_iter": [40],
        },
        "sklearn.linear_model.SGDClassifier": {
            "loss": ["hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron"],
            "penalty": ["l1", "elasticnet"],
            "average": [False, True],
            "early_stopping": [False, True],
        },
        "sklearn.linear_model.RidgeClassifier": {"alpha": [0.2, 4.0]},
        "sklearn.linear_model.Perceptron": {"penalty": [None, "l2"]},
        "sklearn.svm.SVC": {
            "kernel": ["rbf", "linear", "poly", "sigmoid"],
            "probability": [False, True],
            "decision_function_shape": ["ovo", "ovr"],
            "gamma": ["auto", 0.3],
        },
        "sklearn.svm.NuSVC": {"nu": [0.1, 0.2]},
        "sklearn.svm.LinearSVC": {"C": [0.3], "loss": ["squared_hinge", "hinge"], "dual": [True]},
        "sklearn.neural_network.MLPClassifier": {
            "hidden_layer_sizes": [(3,), (4, 3)],
            "max_iter": [6],
            "activation": ["tanh", "logistic", "relu"],
            "solver": ["adam", "lbfgs", "sgd"],
            "early_stopping": [False, True],
        },
        "sklearn.neighbors.KNeighborsClassifier": {
            "weights": ["uniform", "distance"],
            "algorithm": ["brute", "kd_tree", "ball_tree"],
            "metric": ["manhattan", "euclidean", "chebyshev"],
            "n_neighbors": [3],
        },
        "sklearn.naive_bayes.GaussianNB": {"priors": [None], "var_smoothing": [1e-9, 1e-6]},
        "sklearn.naive_bayes.BernoulliNB": {"binarize": [0.1]},
        "sklearn.discriminant_analysis.LinearDiscriminantAnalysis": {"solver": ["svd", "lsqr", "eigen"]},
        "sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis": {"reg_param": [0.3]},
        "sklearn.gaussian_process.GaussianProcessClassifier": {"max_iter_predict": [5]},
        "sklearn.dummy.DummyClassifier": {"strategy": ["prior", "stratified"]},
        "lightgbm.LGBMClassifier": {
            "n_estimators": [3, 6],
            "num_leaves": [5],
            "boosting_type": ["gbdt", "dart", "goss"],
            "reg_lambda": [0.5],
            "class_weight": [None, "balanced"],
            "verbose": [-1],
            "colsample_bytree": [0.7],
            "objective": [None, "multiclassova"],
        },
        "xgboost.XGBClassifier": {
            "n_estimators": [3],
            "max_depth": [2, 5],
            "booster": ["gbtree", "dart"],
            "gamma": [0.1],
            "subsample": [0.8],
            "tree_method": ["hist", "exact"],
            "monotone_constraints": [None, "(1,0,0,0,0)"],
            "n_jobs": [1],
        },
    }


def regressors() -> dict[str, Space]:
    """As `classifiers`, for targets that are numbers."""
    return {
        "sklearn.tree.DecisionTreeRegressor": {
            "criterion": ["squared_error", "absolute_error", "friedman_mse"],
            "max_depth": [4],
        },
        "sklearn.tree.ExtraTreeRegressor": {"max_depth": [5]},
        "sklearn.ensemble.RandomForestRegressor": {
            "n_estimators": [5],
            "oob_score": [True, False],
            "max_depth": [3, None],
        },
        "sklearn.ensemble.GradientBoostingRegressor": {
            "n_estimators": [4],
            "alpha": [0.8],
            "loss": ["squared_error", "absolute_error", "huber", "quantile"],
        },
        "sklearn.ensemble.HistGradientBoostingRegressor": {
            "max_iter": [3],
            "quantile": [0.4],
            "loss": ["squared_error", "absolute_error", "poisson", "quantile"],
        },
        "sklearn.ensemble.AdaBoostRegressor": {"loss": ["linear", "square"], "n_estimators": [3]},
        "sklearn.linear_model.LinearRegression": {"positive": [False, True]},
        "sklearn.linear_model.Ridge": {"solver": ["auto", "svd", "cholesky", "lsqr"]},
        "sklearn.linear_model.Lasso": {"alpha": [0.01]},
        "sklearn.linear_model.ElasticNet": {"l1_ratio": [0.2, 0.9]},
        "sklearn.linear_model.LassoCV": {"cv": [3]},
        "sklearn.linear_model.RidgeCV": {"alphas": [[0.1, 1.0, 10.0]]},
        "sklearn.linear_model.BayesianRidge": {"compute_score": [True, False]},
        "sklearn.linear_model.HuberRegressor": {"epsilon": [1.2, 2.0]},
        "sklearn.linear_model.TheilSenRegressor": {"max_subpopulation": [30]},
        "sklearn.linear_model.RANSACRegressor": {"min_samples": [30]},
        "sklearn.linear_model.PoissonRegressor": {"alpha": [0.5]},
        "sklearn.linear_model.QuantileRegressor": {"quantile": [0.3]},
        "sklearn.linear_model.SGDRegressor": {"loss": ["huber", "epsilon_insensitive"]},
        "sklearn.svm.SVR": {"kernel": ["rbf", "poly"], "epsilon": [0.05]},
        "sklearn.neighbors.KNeighborsRegressor": {"metric": ["minkowski"], "p": [1, 3]},
        "sklearn.neural_network.MLPRegressor": {"hidden_layer_sizes": [(5,)], "max_iter": [5]},
        "sklearn.kernel_ridge.KernelRidge": {"kernel": ["rbf", "linear"]},
        "sklearn.cross_decomposition.PLSRegression": {"n_components": [2]},
        "sklearn.isotonic.IsotonicRegression": {},
        "lightgbm.LGBMRegressor": {
            "n_estimators": [4],
            "objective": ["regression", "huber", "quantile", "mae"],
            "verbose": [-1],
        },
        "xgboost.XGBRegressor": {
            "n_estimators": [3],
            "objective": ["reg:squarederror", "reg:absoluteerror"],
            "n_jobs": [1],
        },
    }


def transformers() -> dict[str, Space]:
    """As `classifiers`, for what stands before a model or beside it."""
    return {
        "sklearn.preprocessing.StandardScaler": {"with_mean": [True, False], "with_std": [True, False]},
        "sklearn.preprocessing.MinMaxScaler": {"feature_range": [(0, 1), (-1, 1)], "clip": [True, False]},
        "sklearn.preprocessing.RobustScaler": {
            "quantile_range": [(10.0, 90.0)],
            "unit_variance": [True, False],
        },
        "sklearn.preprocessing.MaxAbsScaler": {},
        "sklearn.preprocessing.Normalizer": {"norm": ["l1", "max"]},
        "sklearn.preprocessing.QuantileTransformer": {
            "n_quantiles": [20],
            "output_distribution": ["uniform", "normal"],
        },
        "sklearn.preprocessing.PowerTransformer": {"method": ["yeo-johnson"], "standardize": [True, False]},
        "sklearn.preprocessing.PolynomialFeatures": {"degree": [2, 3], "interaction_only": [True, False]},
        "sklearn.preprocessing.SplineTransformer": {"n_knots": [4], "degree": [2]},
        "sklearn.preprocessing.KBinsDiscretizer": {"n_bins": [4], "encode": ["ordinal", "onehot"]},
        "sklearn.preprocessing.Binarizer": {"threshold": [0.2]},
        "sklearn.impute.SimpleImputer": {
            "strategy": ["mean", "median", "most_frequent"],
            "add_indicator": [True, False],
        },
        "sklearn.impute.KNNImputer": {"weights": ["distance"]},
        "sklearn.decomposition.PCA": {"n_components": [2, 0.8], "whiten": [True, False]},
        "sklearn.decomposition.IncrementalPCA": {"n_components": [2]},
        "sklearn.decomposition.TruncatedSVD": {"n_components": [2]},
        "sklearn.decomposition.FastICA": {"n_components": [2]},
        "sklearn.decomposition.KernelPCA": {"kernel": ["rbf", "poly"], "n_components": [2]},
        "sklearn.decomposition.FactorAnalysis": {"n_components": [2]},
        "sklearn.feature_selection.VarianceThreshold": {"threshold": [0.0]},
        "sklearn.feature_selection.SelectKBest": {"k": [3]},
        "sklearn.cluster.KMeans": {"n_clusters": [3], "n_init": [2], "algorithm": ["lloyd", "elkan"]},
        "sklearn.cluster.MiniBatchKMeans": {"n_clusters": [3], "n_init": [2]},
        "sklearn.cluster.DBSCAN": {"eps": [0.5]},
        "sklearn.mixture.GaussianMixture": {"n_components": [2], "covariance_type": ["full", "diag"]},
        "sklearn.ensemble.IsolationForest": {"n_estimators": [5], "contamination": ["auto", 0.1]},
        "sklearn.svm.OneClassSVM": {"nu": [0.2]},
        "sklearn.neighbors.LocalOutlierFactor": {"novelty": [True], "n_neighbors": [5]},
        "sklearn.covariance.EllipticEnvelope": {"contamination": [0.1]},
        "sklearn.kernel_approximation.Nystroem": {"n_components": [6]},
        "sklearn.random_projection.GaussianRandomProjection": {"n_components": [2]},
        "sklearn.manifold.Isomap": {"n_components": [2]},
    }


def data() -> dict[str, tuple[Any, Any]]:
    """Tables by name: (features, labels), of several kinds."""
    import pandas as pd

    rng = np.random.RandomState(SEED)
    X = np.cumsum(rng.standard_normal((ROWS, 5)), axis=0) * 0.1
    signal = X[:, 0] - X[:, 3] + 0.05 * rng.standard_normal(ROWS)
    three = np.clip(np.round(signal * 2), -1, 1).astype(int)
    columns = ["sma_10", "sma_50", "atr_14", "rsi_14", "vol z-score"]
    frame = pd.DataFrame(X, columns=columns, index=pd.date_range("2022-03-01", periods=ROWS, freq="15min"))
    return {
        "plain": (X, three + 1),
        "two classes": (X, (signal > 0).astype(np.int8)),
        "signed": (X, three.astype(np.int32)),
        "single precision": (X.astype(np.float32), three + 1),
        "fortran": (np.asfortranarray(X), three.astype(float)),
        "words": (X, np.where(three > 0, "long", np.where(three < 0, "short", "flat"))),
        "frame": (frame, pd.Series(three + 1, index=frame.index, name="target")),
        "frame single": (frame.astype(np.float32), (signal > 0).astype(int)),
        "numbers": (X, signal),
        "small numbers": (X.astype(np.float32), signal.astype(np.float32)),
        "positive numbers": (X, np.exp(signal)),
        "one column": (X[:, 0], signal),
    }


def make(path: str, parameters: dict[str, Any]) -> Any:
    """The estimator at `path` with those of `parameters` that it knows."""
    module, _, name = path.rpartition(".")
    cls = getattr(__import__(module, fromlist=[name]), name)
    known = cls().get_params()
    given = {
        key: value for key, value in parameters.items() if key in known or module in ("lightgbm", "xgboost")
    }
    if "random_state" in known:
        given["random_state"] = random.Random(repr(sorted(given))).choice([1, 42, np.random.RandomState(5)])
    return cls(**given)


def drawn(spaces: dict[str, Space], tables: list[str]) -> Iterator[tuple[str, str, Any]]:
    """(family, name, fitted) for `DRAWS` draws of each estimator, each on another table."""
    every = data()
    for path, space in spaces.items():
        for draw in range(DRAWS):
            chooser = random.Random(f"{path} {draw}")
            parameters = {key: chooser.choice(values) for key, values in sorted(space.items())}
            for table in chooser.sample(tables, len(tables)):
                try:
                    fitted = make(path, parameters).fit(*every[table])
                except (ValueError, TypeError, np.linalg.LinAlgError):
                    continue  # options that exclude each other, or a table of the wrong kind
                except Exception as error:
                    if type(error).__module__.split(".")[0] in ("lightgbm", "xgboost"):
                        continue
                    raise
                yield path.rpartition(".")[2], f"{path} draw {draw} on {table}", fitted
                break


def compositions() -> Iterator[tuple[str, str, Any]]:
    """(family, name, fitted) for models inside models."""
    import lightgbm
    import sklearn.calibration as calibration
    import sklearn.compose as compose
    import sklearn.ensemble as ensemble
    import sklearn.feature_selection as selection
    import sklearn.linear_model as linear
    import sklearn.model_selection as search
    import sklearn.multiclass as multiclass
    import sklearn.multioutput as multioutput
    import sklearn.pipeline as pipeline
    import sklearn.preprocessing as pre
    import sklearn.svm as svm
    import xgboost
    from sklearn.base import clone
    from sklearn.decomposition import PCA
    from sklearn.impute import SimpleImputer
    from sklearn.metrics import f1_score, make_scorer

    every = data()
    X, y = every["plain"]
    frame, target = every["frame"]
    _, number = every["numbers"]
    forest = ensemble.RandomForestClassifier(4, max_depth=3, random_state=1)
    light = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)
    extreme = xgboost.XGBClassifier(n_estimators=3, n_jobs=1)
    logistic = linear.LogisticRegression(max_iter=60)
    hist = ensemble.HistGradientBoostingClassifier(max_iter=3)
    gb = ensemble.GradientBoostingClassifier(n_estimators=3)
    scale = pre.StandardScaler
    makers: dict[str, Callable[[], Any]] = {}
    for label, model in {"forest": forest, "light": light, "extreme": extreme, "logistic": logistic, "hist": hist,
                         "gb": gb, "svc": svm.SVC(probability=True)}.items():  # fmt: skip
        chain = pipeline.Pipeline([("impute", SimpleImputer()), ("scale", scale()), ("clf", clone(model))])
        makers[f"pipeline {label}"] = lambda chain=chain: chain.fit(X, y)
        makers[f"calibrated {label}"] = lambda model=model: calibration.CalibratedClassifierCV(
            model, method="isotonic", cv=search.StratifiedKFold(3)
        ).fit(X, y)
        makers[f"bagged {label}"] = lambda model=model: ensemble.BaggingClassifier(model, n_estimators=2).fit(
            X, y
        )
        makers[f"one against rest {label}"] = lambda model=model: multiclass.OneVsRestClassifier(model).fit(
            X, y
        )
        makers[f"each output {label}"] = lambda model=model: multioutput.MultiOutputClassifier(model).fit(
            X, np.stack([y > 0, y > 1], axis=1).astype(int)
        )
        makers[f"columns {label}"] = lambda model=model: pipeline.make_pipeline(
            compose.ColumnTransformer(
                [("trend", scale(), ["sma_10", "sma_50"]), ("osc", pre.MinMaxScaler(), ["rsi_14"])],
                remainder="passthrough",
            ),
            clone(model),
        ).fit(frame, target)
        makers[f"grid {label}"] = lambda chain=chain: search.GridSearchCV(
            chain, {"impute__strategy": ["mean", "median"]}, cv=search.TimeSeriesSplit(2), scoring="f1_macro"
        ).fit(X, np.tile([0, 1, 2], ROWS)[:ROWS])
    named = [("rf", forest), ("gb", gb), ("lr", pipeline.make_pipeline(pre.RobustScaler(), logistic))]
    makers |= {
        "voting hard": lambda: ensemble.VotingClassifier(named).fit(X, y),
        "voting weighted": lambda: ensemble.VotingClassifier(named, voting="soft", weights=[2, 1, 1]).fit(
            X, y
        ),
        "voting boosters": lambda: ensemble.VotingClassifier(
            [("l", light), ("x", extreme)], voting="soft"
        ).fit(X, y),
        "stacking": lambda: ensemble.StackingClassifier(
            named, final_estimator=hist, cv=3, passthrough=True
        ).fit(X, y),
        "stacking numbers": lambda: ensemble.StackingRegressor(
            [("r", linear.Ridge()), ("t", ensemble.RandomForestRegressor(3))], cv=3
        ).fit(X, number),
        "target": lambda: compose.TransformedTargetRegressor(
            ensemble.GradientBoostingRegressor(n_estimators=3),
            transformer=pre.QuantileTransformer(n_quantiles=9),
        ).fit(X, number),
        "target log": lambda: compose.TransformedTargetRegressor(
            linear.Ridge(), func=np.log1p, inverse_func=np.expm1
        ).fit(X, np.exp(number)),
        "union": lambda: pipeline.make_pipeline(
            pipeline.make_union(PCA(2), selection.SelectKBest(selection.f_classif, k=2)), gb
        ).fit(X, y),
        "mutual information": lambda: pipeline.make_pipeline(
            selection.SelectKBest(selection.mutual_info_classif, k=3), logistic
        ).fit(X, y),
        "selected by model": lambda: pipeline.make_pipeline(selection.SelectFromModel(forest), light).fit(
            X, y
        ),
        "rfe": lambda: selection.RFE(logistic, n_features_to_select=2).fit(X, y),
        "rfecv": lambda: selection.RFECV(forest, cv=2).fit(X, y),
        "function": lambda: pipeline.make_pipeline(pre.FunctionTransformer(np.tanh), logistic).fit(X, y),
        "random search": lambda: search.RandomizedSearchCV(
            forest,
            {"max_depth": [2, 3, 4], "criterion": ["gini", "entropy"]},
            n_iter=2,
            cv=2,
            scoring=make_scorer(f1_score, average="weighted"),
            random_state=1,
        ).fit(X, y),
        "chain": lambda: multioutput.ClassifierChain(logistic).fit(
            X, np.stack([y > 0, y > 1], axis=1).astype(int)
        ),
        "ovo": lambda: multiclass.OneVsOneClassifier(svm.LinearSVC(dual=True)).fit(X, y),
        "nested pipeline": lambda: pipeline.make_pipeline(
            pipeline.make_pipeline(scale(), PCA(3)), ensemble.VotingClassifier(named[:2], voting="soft")
        ).fit(X, y),
        "one hot": lambda: pipeline.make_pipeline(
            compose.make_column_transformer(
                (pre.OneHotEncoder(handle_unknown="ignore"), [0]), (scale(), [1])
            ),
            logistic,
        ).fit(np.column_stack([np.where(y > 0, "london", "tokyo"), X[:, 0].round(2)]).astype(object), y),
        "ordinal": lambda: pre.OrdinalEncoder().fit(np.array([["a"], ["b"], ["c"]], dtype=object)),
        "label encoder": lambda: pre.LabelEncoder().fit(["buy", "sell", "hold"]),
        "native light": lambda: lightgbm.train(
            {"verbose": -1, "objective": "binary"}, lightgbm.Dataset(X, label=(y > 1).astype(int)), 3
        ),
        "native extreme": lambda: xgboost.train({"nthread": 1}, xgboost.DMatrix(X, label=number), 3),
    }
    for name, maker in makers.items():
        try:
            yield name.rpartition(" ")[0] or name, f"composition {name}", maker()
        except (TypeError, ValueError) as error:
            sys.stderr.write(f"not in this version: {name}: {str(error)[:100]}\n")


def packages() -> Iterator[tuple[str, str, Any]]:
    """(family, name, package) as trading systems save them, with what they keep beside the model."""
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.preprocessing import LabelEncoder, StandardScaler

    every = data()
    X, y = every["plain"]
    frame, target = every["frame"]
    model = RandomForestClassifier(4, random_state=1).fit(X, y)
    now = datetime.datetime(2024, 7, 8, 9, 10, 11)  # noqa: DTZ001  # as such code writes it
    facts: dict[str, Any] = {
        "symbol": "XAUUSD",
        "training_date": now,
        "feature_names": list(frame.columns),
        "version": "2.1",
        "performance": {"accuracy": 0.61, "sharpe": np.float32(1.4), "trades": np.int64(320)},
    }
    beside: dict[str, Any] = {
        "nothing": None,
        "scaler": StandardScaler().fit(X),
        "encoder": LabelEncoder().fit(["a", "b"]),
        "engineer": ProductionFeatureEngineer([10, 50]),
        "importances": dict(zip(frame.columns, model.feature_importances_, strict=True)),
        "times": [now, now.date(), datetime.timedelta(minutes=15)],
        "zone": now.replace(tzinfo=datetime.UTC),
        "tuple": (1, "two", 3.0, None, True),
        "set": {"EURUSD", "GBPUSD"},
        "array": np.arange(12).reshape(3, 4),
        "strings": np.array(["a", "bb"]),
        "objects": np.array(["a", None, 2.5], dtype=object),
        "bools": np.array([True]),
        "times of bars": np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[ns]"),
        "nested": {"a": [{"b": (1, 2)}]},
        "confusion": np.array([[3, 1], [0, 4]]),
        "generator": np.random.default_rng(3),
        "state": np.random.RandomState(3),
        "series": target.head(6),
        "table": frame.head(6),
        "stamp": pd.Timestamp("2024-05-06 07:08"),
        "index": frame.index[:5],
        "columns": frame.columns,
        "delta": pd.Timedelta("15min"),
        "counts": target.value_counts(),
        "grouped": frame.assign(day=frame.index.day).groupby("day").mean(),
        "big": 1 << 90,
        "bytes": b"\x00\xff",
    }
    for name, value in beside.items():
        key = random.Random(name).choice(["pipeline", "model", "estimator", "classifier"])
        yield f"package with {name}", f"package with {name}", {key: model, **facts, "extra": value}


ENCODINGS: dict[str, Callable[[Any], bytes]] = {
    **{f"pickle {n}": (lambda value, n=n: pickle.dumps(value, protocol=n)) for n in range(6)},
    "gzip": lambda value: gzip.compress(pickle.dumps(value, protocol=4), mtime=0),
    "zlib": lambda value: zlib.compress(pickle.dumps(value)),
    "bz2": lambda value: bz2.compress(pickle.dumps(value, protocol=2)),
    "xz": lambda value: lzma.compress(pickle.dumps(value, protocol=5)),
    "joblib": lambda value: _joblib(value, 0),
    "joblib zlib": lambda value: _joblib(value, ("zlib", 6)),
    "joblib gzip": lambda value: _joblib(value, ("gzip", 3)),
    "joblib lzma": lambda value: _joblib(value, ("lzma", 1)),
}


def _joblib(value: Any, compress: Any) -> bytes:
    import joblib

    out = io.BytesIO()
    joblib.dump(value, out, compress=compress)
    return out.getvalue()


def write(folder: Path) -> None:
    """Write the corpus of this interpreter's libraries."""
    import joblib
    import lightgbm
    import sklearn
    import xgboost

    folder.mkdir(parents=True, exist_ok=True)
    labels = [
        "plain",
        "two classes",
        "signed",
        "single precision",
        "fortran",
        "words",
        "frame",
        "frame single",
    ]
    numbers = ["numbers", "small numbers", "positive numbers", "one column"]
    models = [
        *drawn(classifiers(), labels), *drawn(regressors(), numbers), *drawn(transformers(), [*labels, *numbers]),
        *compositions(), *packages(),
    ]  # fmt: skip
    listed = []
    names = list(ENCODINGS)
    for number, (family, name, value) in enumerate(models):
        for step in range(2):
            encoding = names[(number * 2 + step * 7 + number // 7) % len(names)]
            file = f"{number:03d}-{step}.bin"
            (folder / file).write_bytes(ENCODINGS[encoding](value))
            listed.append({"family": family, "name": name, "encoding": encoding, "file": file})
    versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "joblib": joblib.__version__,
                "lightgbm": lightgbm.__version__, "xgboost": xgboost.__version__}  # fmt: skip
    text = json.dumps({"schema_version": 1, "versions": versions, "files": listed}, indent=1)
    (folder / "corpus.json").write_text(text + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(listed)} files of {len(models)} objects, scikit-learn {sklearn.__version__}\n")


def measure(folder: Path) -> dict[str, Any]:
    """Scan every corpus under `folder` with the shipped policies, then with each family's policy left out."""
    from depickle.pickles import scan
    from depickle.pickles.policy import Policy, shipped_families

    families = shipped_families()
    report: dict[str, Any] = {"corpora": {}}
    for manifest_path in sorted(folder.glob("*/corpus.json")):
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        version = manifest["versions"]["scikit-learn"]
        own = "sklearn-" + ".".join(version.split(".")[:2])
        without = Policy(file for file in families if file.family != own)
        row: dict[str, Any] = {"files": 0, "accepted": 0, "accepted without its family": 0, "refused": {}}
        for entry in manifest["files"]:
            contents = (manifest_path.parent / entry["file"]).read_bytes()
            result = scan(contents)
            row["files"] += 1
            if result.verdict == "accepted":
                row["accepted"] += 1
            else:
                reason = "; ".join(sorted({f"{item.rule} {item.reached or item.message}" for item in result.findings
                                           if item.severity != "note"}))  # fmt: skip
                row["refused"].setdefault(reason, []).append(f"{entry['name']} ({entry['encoding']})")
            row["accepted without its family"] += scan(contents, policy=without).verdict == "accepted"
        row["has a policy of its own"] = any(file.family == own for file in families)
        report["corpora"][manifest_path.parent.name] = row
    total = sum(row["files"] for row in report["corpora"].values())
    accepted = sum(row["accepted"] for row in report["corpora"].values())
    report |= {"files": total, "accepted": accepted, "percent": round(100 * accepted / max(total, 1), 3)}
    return report


def main() -> int:
    """``write FOLDER`` or ``measure FOLDER``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["write", "measure"])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "write":
        warnings.simplefilter("ignore")
        write(arguments.folder)
    else:
        print(json.dumps(measure(arguments.folder), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
