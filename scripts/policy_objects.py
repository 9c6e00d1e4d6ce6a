# SPDX-License-Identifier: Apache-2.0
"""What stands around the estimators: boosters, scorers, splitters, kernels, tables, dates, numbers, packages.

The second half of what a policy is generated from; see `policy_fixtures`.
"""

from __future__ import annotations

import datetime
import decimal
import inspect
import warnings
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from policy_fixtures import Fixture, tables
from scipy import sparse
from sklearn.base import clone

UFUNCS = (
    "absolute", "arcsinh", "arctan", "cbrt", "ceil", "cos", "exp", "expm1", "floor", "log", "log10", "log1p", "log2",
    "negative", "reciprocal", "rint", "sign", "sin", "sqrt", "square", "tanh", "isnan", "isfinite",
)  # fmt: skip


def boosters() -> Iterator[Fixture]:
    """LightGBM and XGBoost: wrappers and native boosters."""
    import lightgbm as lgb
    import xgboost as xgb

    every = tables()
    quiet: dict[str, Any] = {"n_estimators": 3, "verbose": -1, "min_child_samples": 2, "n_jobs": 1}
    lgb_variants: list[dict[str, Any]] = [{}, {"boosting_type": "dart"}, {"boosting_type": "rf", "subsample": 0.5,
                    "subsample_freq": 1}, {"objective": "huber"}, {"class_weight": "balanced"},
                    {"importance_type": "gain"}, {"random_state": np.random.RandomState(3)}]  # fmt: skip
    groups = np.array([12] * 4)
    for kind in (lgb.LGBMClassifier, lgb.LGBMRegressor):
        for variant in lgb_variants:
            for key in ("binary", "three", "trade", "strings", "objects", "bool", "float32", "frame",
                        "frame regression", "mixed frame", "regression", "sparse"):  # fmt: skip
                X, y = every[key]
                if key == "mixed frame":
                    X = X.drop(columns="symbol")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        model = kind(**quiet).set_params(**variant).fit(X, y)
                    except Exception:  # a regressor on strings, a binary loss on three classes
                        continue
                yield f"{kind.__name__} {sorted(variant)} on {key}", model
    X, y = every["three"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield "LGBMClassifier unfitted", lgb.LGBMClassifier()
        yield (
            "LGBMClassifier early",
            lgb.LGBMClassifier(**quiet).fit(
                X, y, eval_set=[(X, y)], callbacks=[lgb.early_stopping(2, verbose=False)]
            ),
        )
        yield "LGBMRanker", lgb.LGBMRanker(**quiet).fit(X, y, group=groups)
        parameters = {"objective": "multiclass", "num_class": 3, "verbose": -1, "min_data_in_leaf": 2}
        yield "lgb.train", lgb.train(parameters, lgb.Dataset(X, label=y), num_boost_round=3)

    xgb_variants: list[dict[str, Any]] = [{}, {"booster": "dart"}, {"booster": "gblinear"}, {"tree_method": "exact"},
                    {"tree_method": "hist"}, {"early_stopping_rounds": 2}, {"eval_metric": ["logloss"]},
                    {"missing": -1.0}, {"random_state": np.random.RandomState(3)}]  # fmt: skip
    kinds = (xgb.XGBClassifier, xgb.XGBRegressor, xgb.XGBRFClassifier, xgb.XGBRFRegressor)
    for kind in kinds:
        for variant in xgb_variants:
            for key in ("binary", "three", "bool", "float32", "frame", "frame regression", "regression"):
                X, y = every[key]
                extra = {"eval_set": [(X, y)]} if "early_stopping_rounds" in variant else {}
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        model = kind(n_estimators=3, n_jobs=1, verbosity=0, **variant).fit(
                            X, y, verbose=0, **extra
                        )
                    except Exception:  # a classifier on floats, an option of another version
                        continue
                yield f"{kind.__name__} {sorted(variant)} on {key}", model
    X, y = every["three"]
    yield "XGBClassifier unfitted", xgb.XGBClassifier()
    yield "XGBRanker", xgb.XGBRanker(n_estimators=3, n_jobs=1, objective="rank:ndcg").fit(X, y, group=groups)
    data = xgb.DMatrix(X, label=y, feature_names=["rsi", "atr", "ema", "spread"])
    parameters = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
    yield "xgb.train", xgb.train(parameters, data, num_boost_round=3)


def around_models() -> Iterator[Fixture]:
    """Scorers, splitters, kernels, metrics and score functions, alone and inside an estimator that keeps them."""
    from sklearn import feature_selection, gaussian_process, metrics, model_selection, neighbors
    from sklearn.gaussian_process import kernels
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KernelDensity, KNeighborsClassifier
    from sklearn.preprocessing import FunctionTransformer

    every = tables()
    for name in sorted(metrics.get_scorer_names()):
        yield f"scorer {name}", metrics.get_scorer(name)
        yield (
            f"search scored by {name}",
            model_selection.GridSearchCV(
                LogisticRegression(), {"C": [1.0]}, scoring=metrics.get_scorer(name)
            ),
        )
    for name, score in sorted(inspect.getmembers(metrics, inspect.isfunction)):
        if name.endswith(("_score", "_loss", "_error", "_ratio")):
            yield f"make_scorer({name})", metrics.make_scorer(score)
    for name, kind in sorted(inspect.getmembers(model_selection, inspect.isclass)):
        if hasattr(kind, "split") and not name.startswith("Base"):
            for arguments in ({}, {"p": 1}, {"n_groups": 1}, {"test_fold": [0, 1]}):
                try:
                    splitter = kind(**arguments)
                except TypeError:
                    continue
                yield f"splitter {name}", splitter
    for name, kind in sorted(inspect.getmembers(kernels, inspect.isclass)):
        if issubclass(kind, kernels.Kernel) and not inspect.isabstract(kind):
            for arguments in ((), (kernels.RBF(),), (kernels.RBF(), kernels.WhiteKernel()), ([kernels.RBF()],),
                              (kernels.RBF(), 2)):  # fmt: skip
                try:
                    kernel = kind(*arguments)
                except TypeError:
                    continue
                yield f"kernel {name}", kernel
    kernel = kernels.ConstantKernel(1.0) * kernels.RBF() + kernels.WhiteKernel() ** 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, key in ((gaussian_process.GaussianProcessRegressor, "regression"),
                          (gaussian_process.GaussianProcessClassifier, "three")):  # fmt: skip
            yield f"{kind.__name__} with kernels", kind(kernel=kernel).fit(*every[key])
    X, y = every["positive"]
    for metric in ("euclidean", "manhattan", "chebyshev", "minkowski", "hamming", "canberra", "braycurtis", "cosine",
                   "cityblock", "l1", "l2", "seuclidean", "mahalanobis", "jaccard", "haversine"):  # fmt: skip
        for algorithm in ("ball_tree", "kd_tree", "brute"):
            for kind, data in ((np.float64, X), (np.float32, X)):
                extra = {"V": np.var(X, axis=0)} if metric == "seuclidean" else None
                extra = {"VI": np.eye(X.shape[1])} if metric == "mahalanobis" else extra
                width = 2 if metric == "haversine" else X.shape[1]
                try:
                    model = KNeighborsClassifier(algorithm=algorithm, metric=metric, metric_params=extra)
                    yield f"KNN {metric} {algorithm}", model.fit(data[:, :width].astype(kind), y)
                except (ValueError, TypeError):
                    continue
    for kernel_name in ("gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"):
        yield f"KernelDensity {kernel_name}", KernelDensity(kernel=kernel_name).fit(X)
    for kind in (neighbors.KDTree, neighbors.BallTree):
        yield kind.__name__, kind(X)
        yield f"{kind.__name__} p", kind(X, metric="minkowski", p=3)
    for name in (
        "f_classif",
        "f_regression",
        "chi2",
        "mutual_info_classif",
        "mutual_info_regression",
        "r_regression",
    ):
        score = getattr(feature_selection, name)
        for selector in (
            feature_selection.SelectKBest(score, k=2),
            feature_selection.SelectPercentile(score),
            feature_selection.SelectFpr(score),
            feature_selection.SelectFdr(score),
            feature_selection.SelectFwe(score),
            feature_selection.GenericUnivariateSelect(score),
        ):
            yield f"{type(selector).__name__}({name})", clone(selector)
            if name != "r_regression":
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")
                    yield f"{type(selector).__name__}({name}) fitted", selector.fit(X, y)
    for name in UFUNCS:
        yield f"FunctionTransformer({name})", FunctionTransformer(getattr(np, name)).fit(X)
    for name in ("nan_to_num", "clip", "diff", "cumsum", "gradient"):
        yield f"FunctionTransformer({name})", FunctionTransformer(getattr(np, name))
    yield "Ridge with alphas of numpy", Ridge(alpha=np.float64(0.5)).fit(X, y)


def carried() -> Iterator[Fixture]:
    """Numbers, tables, dates and containers, as a trading package carries them."""
    index = pd.date_range("2024-01-01", periods=6, freq="h", tz="UTC")
    utc = datetime.timezone.utc  # noqa: UP017  # the name that the pickle carries
    now = datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=utc)
    values = np.arange(6, dtype=np.float64)
    numpy_types: list[Any] = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
                              np.uint64, np.float16, np.float32, np.float64, np.complex64, np.complex128]  # fmt: skip
    for kind in numpy_types:
        yield f"scalar {kind.__name__}", kind(1)
        yield f"array {kind.__name__}", np.ones((2, 3), dtype=kind)
        yield f"F array {kind.__name__}", np.asfortranarray(np.ones((2, 3), dtype=kind))
        yield f"swapped {kind.__name__}", np.ones(3, dtype=np.dtype(kind).newbyteorder())
        yield f"type {kind.__name__}", kind
        yield f"dtype {kind.__name__}", np.dtype(kind)
    yield "empty array", np.empty((0, 4))
    yield "scalar str", np.str_("buy")
    yield "array 0-d", np.array(3.5)
    yield "array datetime64", index.tz_localize(None).to_numpy()
    yield "scalar datetime64", np.datetime64("2024-01-01T00:00:00")
    yield "scalar timedelta64", np.timedelta64(3, "h")
    yield "array of strings", np.array(["sell", "wait", "buy"])
    yield "array of bytes", np.array([b"a", b"bc"])
    yield "array of objects", np.array(["a", 1, None, 2.5], dtype=object)
    yield "array of tuples", np.array([("a", 1), ("b", 2)], dtype=[("name", "U4"), ("count", "i8")])
    yield "record array", np.rec.array([(1, 2.0)], dtype=[("a", "i8"), ("b", "f8")])
    yield "view", np.arange(12.0).reshape(3, 4)[:, ::2]
    yield "masked", np.ma.masked_array([1.0, 2.0], mask=[True, False])
    yield "matrix sparse csr", sparse.csr_matrix(np.eye(3))
    yield "matrix sparse csc", sparse.csc_matrix(np.eye(3))
    yield "matrix sparse coo", sparse.coo_matrix(np.eye(3))
    yield "matrix sparse dia", sparse.dia_matrix(np.eye(3))
    yield "matrix sparse lil", sparse.lil_matrix(np.eye(3))
    yield "matrix sparse bsr", sparse.bsr_matrix(np.eye(2))
    for name in ("csr_array", "csc_array", "coo_array", "dia_array", "bsr_array", "lil_array"):
        if hasattr(sparse, name):
            yield name, getattr(sparse, name)(np.eye(3))
    yield "RandomState", np.random.RandomState(3)
    for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
        bits = getattr(np.random, name)(3)
        yield name, bits
        yield f"Generator({name})", np.random.Generator(bits)
    yield "SeedSequence", np.random.SeedSequence(3)
    frame = pd.DataFrame({"close": values, "volume": np.arange(6), "symbol": ["a", "b"] * 3}, index=index)
    frames: dict[str, Any] = {
        "frame": frame, "float frame": frame[["close"]], "naive frame": frame.tz_localize(None),
        "range frame": frame.reset_index(drop=True), "frame with times": frame.reset_index(),
        "category frame": frame.assign(symbol=frame["symbol"].astype("category")),
        "multi frame": frame.set_index("symbol", append=True), "bool frame": frame.assign(up=values > 2),
        "nullable frame": frame.assign(n=pd.array([1, None, 3, 4, 5, 6], dtype="Int64"),
                                       f=pd.array([1.0, None, 3, 4, 5, 6], dtype="Float64"),
                                       b=pd.array([True, None, False, True, True, False], dtype="boolean")),
        "string frame": frame.assign(s=pd.array(["x"] * 6, dtype="string")),
        "columns": frame.columns, "index": index, "naive index": index.tz_localize(None),
        "range index": pd.RangeIndex(6), "number index": pd.Index([1, 2]), "float index": pd.Index([1.0, 2.0]),
        "bool index": pd.Index([True, False]), "multi index": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
        "categorical": pd.Categorical(["a", "b"]), "category index": pd.CategoricalIndex(["a", "b"]),
        "period": pd.Period("2024-01", "M"), "period index": pd.period_range("2024-01", periods=3, freq="M"),
        "interval": pd.Interval(0.0, 1.0), "interval index": pd.interval_range(0, 3),
        "delta index": pd.timedelta_range("1h", periods=3), "cut": pd.cut(pd.Series(values), 3),
        "timestamp": pd.Timestamp("2024-01-01"), "timestamp utc": pd.Timestamp("2024-01-01", tz="UTC"),
        "timestamp zone": pd.Timestamp("2024-01-01", tz="Europe/London"), "delta": pd.Timedelta("1h"),
        "NaT": pd.NaT, "NA": pd.NA, "series zone": pd.Series(index.tz_convert("America/New_York")),
        "offset": pd.offsets.Hour(4), "day": pd.offsets.Day(1), "business day": pd.offsets.BDay(2),
        "week": pd.offsets.Week(weekday=0), "month end": pd.offsets.MonthEnd(1),
        "minute": pd.offsets.Minute(15), "series": frame["close"], "int series": frame["volume"],
        "text series": frame["symbol"], "categories": pd.CategoricalDtype(["a", "b"]),
    }  # fmt: skip
    yield from frames.items()
    standard: dict[str, Any] = {
        "datetime": now, "naive": now.replace(tzinfo=None), "date": now.date(), "time": now.time(),
        "delta": datetime.timedelta(hours=1), "utc": utc,
        "offset zone": datetime.timezone(datetime.timedelta(hours=2)),
        "OrderedDict": OrderedDict(a=1), "Counter": Counter("aab"), "deque": deque([1, 2], maxlen=3),
        "defaultdict list": defaultdict(list, a=[1]), "defaultdict float": defaultdict(float, a=1.0),
        "defaultdict int": defaultdict(int, a=1), "defaultdict dict": defaultdict(dict),
        "set": {1, 2}, "frozenset": frozenset({"a"}), "slice": slice(1, 2), "range": range(3), "complex": 1 + 2j,
        "bytes": b"abc\x00\xff", "bytearray": bytearray(b"abc\xff"), "Decimal": decimal.Decimal("1.5"),
        "types": [int, float, str, bool, object, list, dict, tuple, set, bytes, complex],
        "long": 1 << 200, "unicode": "€\n\x1a",
    }  # fmt: skip
    yield from standard.items()
    yield "package", {"pipeline": None, "symbol": "EURUSD", "training_date": now,
                      "feature_names": list(frame.columns),
                      "performance": {"accuracy": np.float64(0.6), "n": np.int64(3)}}  # fmt: skip
    yield "zone", datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))
