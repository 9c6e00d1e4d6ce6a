# SPDX-License-Identifier: Apache-2.0
"""The honest models: six families on three symbols, trained on real bars, packaged as trading systems do it.

Everything is seeded and single-threaded, so the same libraries give the same bytes.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..bars import load_bars
from ..trading_features import FEATURE_NAMES, Floats, feature_matrix
from .engineers import FeatureEngineer, ProductionFeatureEngineer

__all__ = ["HONEST", "Spec", "build_package", "training_set"]

Labels = Literal["wait-buy", "sell-wait-buy", "words"]
Form = Literal[
    "pickle2", "pickle4", "pickle5", "pickle+gzip", "joblib", "joblib+zlib", "joblib+gzip", "joblib+xz"
]
_TRAINED_SHARE = 0.8
_HORIZON = {"EURUSD": 6, "GOOG": 5, "BTCUSD": 2}
_SEED = 20250108


@dataclass(frozen=True)
class Spec:
    """One legacy file: what is in it and how it was written.

    Attributes:
        symbol: whose bars.
        family: class name of the estimator.
        scalers: steps in front of it, by class name.
        labels: which label values it answers with.
        form: container of the file.
        written: time stamp in the file's name.
        engineer: home of the feature engineer's class, or None for a bare pipeline.
        names: whether it was fitted on a DataFrame, and so carries its column names itself.
        quick: whether it belongs to the small estate of the tests.
        key: key of the model within the package.
    """

    symbol: str
    family: str
    scalers: tuple[str, ...]
    labels: Labels
    form: Form
    written: str
    engineer: Literal["__main__", "core.ml.feature_engineering"] | None
    names: bool = False
    quick: bool = False
    key: str = "pipeline"

    @property
    def file_name(self) -> str:
        """SYMBOL_ml_package_YYYYMMDD_HHMMSS and the suffix that people give to such a container."""
        suffix = ".joblib" if self.form.startswith("joblib") else ".pkl"
        return f"{self.symbol}_ml_package_{self.written}{suffix}"


_MAIN: Literal["__main__"] = "__main__"
_CORE: Literal["core.ml.feature_engineering"] = "core.ml.feature_engineering"
_R, _S, _I = "RobustScaler", "StandardScaler", "SimpleImputer"

_RF = "RandomForestClassifier"
_GB = "GradientBoostingClassifier"
_HGB = "HistGradientBoostingClassifier"
_LGBM = "LGBMClassifier"
_XGB = "XGBClassifier"
_LR = "LogisticRegression"

HONEST: tuple[Spec, ...] = (
    Spec("EURUSD", _LR, (_S,), "words", "pickle2", "20240311_070512", _MAIN),
    Spec("EURUSD", _GB, (_S,), "wait-buy", "joblib", "20240402_061740", _CORE),
    Spec("EURUSD", _HGB, (_I,), "words", "joblib+zlib", "20240519_193008", _MAIN),
    Spec("EURUSD", _LGBM, (_R,), "sell-wait-buy", "joblib+gzip", "20240623_050133", _CORE, names=True),
    Spec("EURUSD", _XGB, (_S,), "wait-buy", "pickle5", "20240908_110259", _MAIN, quick=True),
    Spec("EURUSD", _RF, (_R,), "sell-wait-buy", "pickle4", "20250108_120000", _MAIN, quick=True),
    Spec("GOOG", _LR, (_R,), "sell-wait-buy", "joblib", "20240117_221501", None, names=True),
    Spec("GOOG", _RF, (_S,), "words", "joblib+xz", "20240226_214417", _CORE, names=True),
    Spec("GOOG", _HGB, (_R,), "wait-buy", "pickle4", "20240505_213355", _MAIN),
    Spec("GOOG", _XGB, (_R,), "wait-buy", "joblib+zlib", "20240711_220044", _CORE, names=True),
    Spec("GOOG", _LGBM, (_I,), "words", "pickle2", "20241003_215120", _MAIN, key="model"),
    Spec("GOOG", _GB, (_R,), "sell-wait-buy", "pickle+gzip", "20250108_130000", _CORE, quick=True),
    Spec("BTCUSD", _RF, (_I,), "wait-buy", "pickle5", "20240101_000512", None),
    Spec("BTCUSD", _GB, (_I, _R), "words", "pickle4", "20240301_000511", _CORE),
    Spec("BTCUSD", _LGBM, (_S,), "wait-buy", "joblib+xz", "20240601_000510", _MAIN),
    Spec("BTCUSD", _XGB, (_I,), "wait-buy", "pickle2", "20240801_000509", _CORE),
    Spec("BTCUSD", _HGB, (_S,), "sell-wait-buy", "joblib", "20241001_000508", _MAIN, names=True),
    Spec("BTCUSD", _LR, (_I, _S), "words", "joblib+zlib", "20250108_140000", _CORE, names=True, quick=True),
)  # fmt: skip


def training_set(spec: Spec) -> tuple[Floats, np.ndarray[Any, Any]]:
    """Features of every bar that has a future, and the label that its forward return earns."""
    bars = load_bars(spec.symbol)
    X = feature_matrix(bars.columns)
    close = bars.columns["close"][-len(X) :]
    ahead = _HORIZON[spec.symbol]
    forward = close[ahead:] / close[:-ahead] - 1.0
    X = X[:-ahead]
    up = forward > 0.3 * forward.std()
    down = forward < -0.3 * forward.std()
    if spec.labels == "wait-buy":
        return X, up.astype(np.int64)
    signs = up.astype(np.int64) - down.astype(np.int64)
    if spec.labels == "sell-wait-buy":
        return X, signs
    return X, np.array(["SELL", "WAIT", "BUY"])[signs + 1]


def build_package(spec: Spec) -> Any:
    """What the legacy file holds: a package dict, or the bare pipeline."""
    X, y = training_set(spec)
    trained = int(len(X) * _TRAINED_SHARE)
    if "SimpleImputer" in spec.scalers:
        X = _with_gaps(X, trained)
    fitted = pipeline = _pipeline(spec)
    rows: Any = X
    if spec.names:
        import pandas as pd

        rows = pd.DataFrame(X, columns=list(FEATURE_NAMES))
    fitted.fit(rows[:trained], y[:trained])
    if spec.engineer is None:
        return pipeline
    right = np.asarray(pipeline.predict(rows[trained:])) == y[trained:]
    return _package(spec, pipeline, right, y[:trained])


def _with_gaps(X: Floats, trained: int) -> Floats:
    """Training rows with values missing here and there, as feeds with holes leave them."""
    generator = np.random.default_rng(_SEED)
    gaps = generator.random((trained, X.shape[1])) < 0.01
    X = X.copy()
    X[:trained][gaps] = np.nan
    return X


def _pipeline(spec: Spec) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import RobustScaler, StandardScaler

    makers = {_R: RobustScaler, _S: StandardScaler, _I: lambda: SimpleImputer(strategy="median")}
    steps = [("imputer" if name == _I else "scaler", makers[name]()) for name in spec.scalers]
    return Pipeline([*steps, ("classifier", _estimator(spec.family))])


def _estimator(family: str) -> Any:
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression

    match family:
        case "RandomForestClassifier":
            return RandomForestClassifier(
                n_estimators=60, max_depth=8, min_samples_leaf=3, class_weight="balanced", random_state=_SEED
            )
        case "GradientBoostingClassifier":
            return GradientBoostingClassifier(
                n_estimators=50, max_depth=3, learning_rate=0.1, subsample=0.8, random_state=_SEED
            )
        case "HistGradientBoostingClassifier":
            return HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=15, random_state=_SEED)
        case "LogisticRegression":
            return LogisticRegression(C=0.5, max_iter=500, random_state=_SEED)
        case "LGBMClassifier":
            from lightgbm import LGBMClassifier

            return LGBMClassifier(
                n_estimators=60,
                num_leaves=15,
                learning_rate=0.07,
                min_child_samples=5,
                random_state=_SEED,
                n_jobs=1,
                verbosity=-1,
            )
        case "XGBClassifier":
            from xgboost import XGBClassifier

            return XGBClassifier(
                n_estimators=60,
                max_depth=4,
                learning_rate=0.1,
                subsample=0.9,
                random_state=_SEED,
                n_jobs=1,
                eval_metric="logloss",
            )
        case other:
            raise LookupError(f"no maker for {other}")


def _package(spec: Spec, pipeline: Any, right: Any, y: Any) -> dict[str, Any]:
    trained_at = dt.datetime.strptime(spec.written, "%Y%m%d_%H%M%S").replace(tzinfo=dt.UTC)
    package: dict[str, Any] = {
        spec.key: pipeline,
        "feature_engineer": (
            ProductionFeatureEngineer() if spec.engineer == "__main__" else FeatureEngineer(spec.symbol)
        ),
        "feature_names": list(FEATURE_NAMES),
        "symbol": spec.symbol,
        "training_date": trained_at.isoformat(),
    }
    # Two habits of such systems: plain floats with some text beside them, or whatever numpy returned.
    if spec.engineer == "__main__":
        package["performance"] = {"accuracy": float(right.mean()), "test_samples": len(right)}
        package["metadata"] = {"version": "1.3.0", "trained_on": "backtesting bars", "notes": None}
        return package
    classes, counts = np.unique(y, return_counts=True)
    package["training_date"] = trained_at
    package["performance"] = {
        "accuracy": np.mean(right),
        "fold_accuracy": np.array([part.mean() for part in np.array_split(right, 4)]),
    }
    package["metadata"] = {
        "version": spec.written[:8] + ".1.0",
        "class_balance": dict(zip(classes.tolist(), counts, strict=True)),
        "horizon_bars": _HORIZON[spec.symbol],
        "tags": ("legacy", spec.symbol.lower()),
    }
    return package
