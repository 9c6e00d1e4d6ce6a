# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the proof: small fitted models of every family as graph, typed model and ONNX file."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import onnxruntime
import xgboost
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA, FastICA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
    SGDOneClassSVM,
)
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    NearestCentroid,
    NeighborhoodComponentsAnalysis,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.random_projection import GaussianRandomProjection
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC, SVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

from depickle.emit import EmittedModel, emit_onnx
from depickle.models import TypedModel, read_model
from depickle.parity.proof import prove
from depickle.pickles import open_package, vet
from depickle.pickles.graph import Record
from depickle_runtime.record import ProofRecord

from .emit_checks import make_data, opened

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """One fitted estimator: its inert graph, its typed model, its ONNX file and rows of its training data."""

    name: str
    live: Any
    record: Record
    writer: Mapping[str, str]
    typed: TypedModel
    emitted: EmittedModel
    rows: Rows

    def prove(self, onnx: bytes | None = None, emitted: EmittedModel | None = None) -> ProofRecord | None:
        """The walk of another file, or of the subject's own, against the subject's graph."""
        outputs = (emitted or self.emitted).outputs
        return prove(
            self.record,
            (emitted or self.emitted).onnx if onnx is None else onnx,
            outputs=outputs,
            writer=self.writer,
            where=self.name,
        )


def subject_of(name: str, live: Any, rows: Rows, **versions: str) -> Subject:
    """What conversion makes of a live estimator; `versions` are known from elsewhere than the file."""
    vetted = vet(pickle.dumps(live, protocol=5))
    record = open_package(vetted).estimator
    writer = {**vetted.writer, **versions}
    typed = read_model(record, writer=writer)
    return Subject(name, live, record, writer, typed, emit_onnx(typed), rows)


def fitted(
    name: str, live: Any, labels: tuple[Any, ...], *, missing: bool = False, **versions: str
) -> Subject:
    """`live` fitted on rows with columns of several scales."""
    X, y = make_data(labels, missing=missing, rows=220)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live.fit(X, y)
    return subject_of(name, live, X, **versions)


def _shaped(name: str, live: Any, labels: tuple[Any, ...], shape: Callable[[Rows], Rows]) -> Subject:
    """`live` fitted on columns of another kind than those of `make_data`."""
    X, y = make_data(labels, rows=220)
    return subject_of(name, live.fit(shape(X), y), shape(X))


def _above_zero(name: str, live: Any) -> Subject:
    """`live` fitted on targets above zero."""
    X, y = make_data((), rows=220)
    return subject_of(name, live.fit(X, np.exp(y / 4)), X)


def _lgbm(**options: Any) -> LGBMClassifier:
    return LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1, random_state=0, **options)


def _imputed() -> list[Any]:
    return [SimpleImputer(strategy="median"), StandardScaler()]


_SIGNS, _BINARY, _WORDS = (-1, 0, 1), (0, 1), ("BUY", "SELL", "WAIT")

SUBJECTS: dict[str, Callable[[str], Subject]] = {
    "forest": lambda name: fitted(
        name,
        make_pipeline(RobustScaler(), RandomForestClassifier(8, max_depth=5, random_state=0)),
        _BINARY,
    ),
    "extra trees": lambda name: fitted(
        name,
        make_pipeline(*_imputed(), ExtraTreesClassifier(6, max_depth=5, random_state=0)),
        _WORDS,
        missing=True,
    ),
    "tree": lambda name: fitted(
        name, make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)), _SIGNS
    ),
    "gradient boosting": lambda name: fitted(
        name,
        make_pipeline(RobustScaler(), GradientBoostingClassifier(n_estimators=8, random_state=0)),
        _BINARY,
    ),
    "gradient boosting of signs": lambda name: fitted(
        name,
        make_pipeline(*_imputed(), GradientBoostingClassifier(n_estimators=6, random_state=0)),
        _SIGNS,
        missing=True,
    ),
    "histogram boosting": lambda name: fitted(
        name,
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=8, random_state=0)),
        _BINARY,
        missing=True,
    ),
    "histogram boosting of words": lambda name: fitted(
        name, HistGradientBoostingClassifier(max_iter=6, random_state=0), _WORDS, missing=True
    ),
    "lightgbm": lambda name: fitted(
        name, make_pipeline(RobustScaler(), _lgbm(boosting_type="dart")), _BINARY
    ),
    "lightgbm, zero as missing": lambda name: fitted(name, _lgbm(zero_as_missing=True), _SIGNS, missing=True),
    "lightgbm forest": lambda name: fitted(
        name, _lgbm(boosting_type="rf", subsample=0.7, subsample_freq=1), _BINARY, missing=True
    ),
    "xgboost": lambda name: fitted(
        name,
        make_pipeline(StandardScaler(), XGBClassifier(n_estimators=8, n_jobs=1, random_state=0)),
        _BINARY,
    ),
    "xgboost of three": lambda name: fitted(
        name, XGBClassifier(n_estimators=6, n_jobs=1, random_state=0), (0, 1, 2), missing=True
    ),
    "logistic regression": lambda name: fitted(
        name, make_pipeline(*_imputed(), LogisticRegression(max_iter=500)), _BINARY, missing=True
    ),
    "logistic regression of words": lambda name: fitted(
        name, make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), _WORDS
    ),
    "forest regressor": lambda name: fitted(
        name,
        make_pipeline(
            SimpleImputer(add_indicator=True),
            MinMaxScaler(clip=True),
            RandomForestRegressor(6, max_depth=5, random_state=0),
        ),
        (),
        missing=True,
    ),
    "boosting regressor": lambda name: fitted(
        name, make_pipeline(MaxAbsScaler(), GradientBoostingRegressor(n_estimators=8, random_state=0)), ()
    ),
    "lightgbm regressor": lambda name: fitted(
        name, LGBMRegressor(n_estimators=8, verbose=-1, n_jobs=1, random_state=0), (), missing=True
    ),
    "xgboost regressor": lambda name: fitted(
        name, XGBRegressor(n_estimators=8, n_jobs=1, random_state=0), (), missing=True
    ),
    "soft vote": lambda name: fitted(
        name,
        VotingClassifier(
            [("a", _small_forest()), ("b", _small_boosting())], voting="soft", weights=[0.3, 0.7]
        ),
        _WORDS,
    ),
    "hard vote": lambda name: fitted(
        name,
        VotingClassifier([("a", _small_forest()), ("b", make_pipeline(StandardScaler(), _lgbm()))]),
        _SIGNS,
    ),
    "bag": lambda name: fitted(
        name, BaggingClassifier(_small_boosting(), 3, max_features=4, random_state=0), _BINARY
    ),
    "bag of trees": lambda name: fitted(
        name,
        BaggingClassifier(DecisionTreeClassifier(max_depth=4), 5, max_features=0.6, random_state=0),
        _SIGNS,
    ),
    "boosted trees": lambda name: fitted(
        name,
        AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=6, random_state=0),
        _BINARY,
    ),
    "embedding": lambda name: fitted(
        name,
        make_pipeline(
            RobustScaler(),
            RandomTreesEmbedding(n_estimators=4, max_depth=3, random_state=0),
            LogisticRegression(),
        ),
        _BINARY,
    ),
    "boosted linear models": lambda name: fitted(
        name,
        make_pipeline(
            StandardScaler(), AdaBoostClassifier(LogisticRegression(), n_estimators=4, random_state=0)
        ),
        _WORDS,
    ),
    "weighted median of trees": lambda name: fitted(
        name,
        make_pipeline(RobustScaler(), AdaBoostRegressor(n_estimators=5, random_state=0)),
        (),
    ),
    "weighted median of linear models": lambda name: fitted(
        name, AdaBoostRegressor(LinearRegression(), n_estimators=4, random_state=0), ()
    ),
    "calibrated": lambda name: fitted(name, CalibratedClassifierCV(_small_forest(), cv=2), _WORDS),
    "threshold": lambda name: fitted(
        name, FixedThresholdClassifier(_small_boosting(), threshold=0.3), _BINARY
    ),
    "one-vs-rest": lambda name: fitted(name, OneVsRestClassifier(_small_boosting()), _SIGNS),
    "stack": lambda name: fitted(
        name,
        StackingClassifier(
            [("a", _small_forest()), ("b", _small_boosting())], LogisticRegression(), cv=2, passthrough=True
        ),
        _BINARY,
    ),
    "columns and products": lambda name: fitted(
        name,
        make_pipeline(
            make_column_transformer((StandardScaler(), [0, 1]), (RobustScaler(), [5, 3]), remainder="drop"),
            PolynomialFeatures(2),
            HistGradientBoostingClassifier(max_iter=6, random_state=0),
        ),
        _SIGNS,
    ),
    "network": lambda name: fitted(
        name,
        make_pipeline(
            StandardScaler(), MLPClassifier((5, 4), activation="tanh", random_state=0, max_iter=40)
        ),
        _SIGNS,
    ),
    "isolation forest": lambda name: fitted(
        name,
        make_pipeline(RobustScaler(), IsolationForest(n_estimators=6, max_samples=40, random_state=0)),
        (),
    ),
    "isolation forest of some columns": lambda name: fitted(
        name,
        IsolationForest(n_estimators=8, max_samples=30, max_features=3, contamination=0.1, random_state=0),
        (),
    ),
    "projection": lambda name: fitted(
        name, make_pipeline(PCA(3, whiten=True), LogisticRegression(max_iter=300)), _BINARY
    ),
    "boosting from a forest": lambda name: fitted(
        name,
        GradientBoostingClassifier(
            n_estimators=3,
            max_depth=2,
            init=RandomForestClassifier(3, max_depth=2, random_state=0),
            random_state=0,
        ),
        _SIGNS,
    ),
    "boosting regressor from a tree": lambda name: fitted(
        name,
        GradientBoostingRegressor(
            n_estimators=3, max_depth=2, init=DecisionTreeRegressor(max_depth=2), random_state=0
        ),
        (),
    ),
    "histogram boosting of categories": lambda name: fitted(
        name, HistGradientBoostingClassifier(max_iter=5, categorical_features=[5], random_state=0), _SIGNS
    ),
    "lightgbm of categories": lambda name: fitted(
        name, _lgbm(categorical_feature=[5], min_data_per_group=5), _WORDS, missing=True
    ),
    "xgboost dart": lambda name: fitted(
        name,
        XGBClassifier(n_estimators=6, booster="dart", rate_drop=0.4, n_jobs=1, random_state=0),
        _BINARY,
    ),
    "xgboost of categories": lambda name: fitted(
        name,
        XGBClassifier(
            n_estimators=5, enable_categorical=True, feature_types=[*"qqqqqc"], n_jobs=1, random_state=0
        ),
        (0, 1, 2),
    ),
    "linear xgboost": lambda name: fitted(
        name, XGBRegressor(n_estimators=5, booster="gblinear", n_jobs=1), (), missing=True
    ),
    "isotonic": lambda name: fitted(
        name, CalibratedClassifierCV(_small_boosting(), method="isotonic", cv=2), _SIGNS
    ),
    "logarithms": lambda name: fitted(
        name,
        make_pipeline(
            FunctionTransformer(np.abs),
            FunctionTransformer(np.log1p),
            TruncatedSVD(3),
            LogisticRegression(max_iter=300),
        ),
        _BINARY,
    ),
    "linear regressor": lambda name: fitted(name, make_pipeline(StandardScaler(), Ridge()), ()),
    "discriminant": lambda name: fitted(
        name, make_pipeline(RobustScaler(), LinearDiscriminantAnalysis()), _WORDS
    ),
    "support vectors": lambda name: fitted(name, make_pipeline(StandardScaler(), SVC()), _BINARY),
    "support vectors of words": lambda name: fitted(
        name, make_pipeline(RobustScaler(), SVC(kernel="poly", coef0=1.0, break_ties=True)), _WORDS
    ),
    "support vectors behind a projection": lambda name: fitted(
        name, make_pipeline(StandardScaler(), PCA(3), SVC(kernel="sigmoid", gamma=0.1)), _SIGNS
    ),
    "support vector regressor": lambda name: fitted(
        name, make_pipeline(StandardScaler(), SVR(kernel="linear")), ()
    ),
    "one class": lambda name: fitted(name, make_pipeline(StandardScaler(), OneClassSVM()), ()),
    "neighbours": lambda name: fitted(name, make_pipeline(StandardScaler(), KNeighborsClassifier(5)), _WORDS),
    "neighbours by distance": lambda name: fitted(
        name,
        make_pipeline(RobustScaler(), KNeighborsClassifier(4, weights="distance", algorithm="brute")),
        _SIGNS,
    ),
    "neighbours that are all": lambda name: fitted(
        name, KNeighborsClassifier(220, metric="manhattan"), _BINARY
    ),
    "neighbours regressor": lambda name: fitted(
        name,
        make_pipeline(StandardScaler(), KNeighborsRegressor(3, weights="distance", metric="chebyshev")),
        (),
    ),
    "clipped scores": lambda name: fitted(
        name, make_pipeline(StandardScaler(), SGDClassifier(loss="modified_huber", random_state=0)), _SIGNS
    ),
    "clipped scores of two": lambda name: fitted(
        name, make_pipeline(RobustScaler(), SGDClassifier(loss="modified_huber", random_state=0)), _BINARY
    ),
    "one-vs-one": lambda name: fitted(name, OneVsOneClassifier(_small_boosting()), _WORDS),
    "one-vs-one of lines": lambda name: fitted(
        name, make_pipeline(StandardScaler(), OneVsOneClassifier(LogisticRegression())), _SIGNS
    ),
    "one-vs-one of two": lambda name: fitted(name, OneVsOneClassifier(_lgbm()), _BINARY),
    "one against the other": lambda name: fitted(
        name, OneVsRestClassifier(make_pipeline(StandardScaler(), MLPClassifier((3,), max_iter=30))), _BINARY
    ),
    "temperature of forests": lambda name: fitted(
        name, CalibratedClassifierCV(_small_forest(), cv=2, method="temperature"), _BINARY
    ),
    "temperature of boosting": lambda name: fitted(
        name, CalibratedClassifierCV(_small_boosting(), cv=2, method="temperature"), _SIGNS
    ),
    "temperature of lines": lambda name: fitted(
        name,
        CalibratedClassifierCV(
            make_pipeline(StandardScaler(), LogisticRegression()), cv=2, method="temperature"
        ),
        _SIGNS,
    ),
    "stack of labels": lambda name: fitted(
        name,
        StackingClassifier(
            [("a", _small_forest()), ("b", _small_boosting())],
            LogisticRegression(),
            cv=2,
            stack_method="predict",
        ),
        _WORDS,
    ),
    "frozen and self-trained": lambda name: fitted(
        name,
        make_pipeline(FrozenEstimator(_fitted_scaler()), SelfTrainingClassifier(_small_forest())),
        (0, 1, 2),
    ),
    "booster of lightgbm": lambda name: _boosted(
        name,
        lambda X, y: lightgbm.train(
            {"objective": "binary", "sigmoid": 2.0, "verbose": -1, "num_threads": 1},
            lightgbm.Dataset(X, y),
            8,
        ),
    ),
    "booster of xgboost": lambda name: _boosted(
        name,
        lambda X, y: xgboost.train(
            {"objective": "binary:logistic", "base_score": 0.3, "nthread": 1}, xgboost.DMatrix(X, y), 8
        ),
    ),
    "encoders and bins": lambda name: fitted(
        name,
        make_pipeline(
            make_column_transformer(
                (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), [5]),
                (KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf"), [0, 1]),
                remainder="passthrough",
            ),
            _small_boosting(),
        ),
        _BINARY,
    ),
    "quantile regression": lambda name: fitted(name, QuantileRegressor(alpha=0.01), ()),
    "partial least squares": lambda name: fitted(name, make_pipeline(RobustScaler(), PLSRegression(2)), ()),
    "one-class descent": lambda name: fitted(
        name, make_pipeline(StandardScaler(), SGDOneClassSVM(random_state=0)), ()
    ),
    "log link": lambda name: _above_zero(name, make_pipeline(StandardScaler(), GammaRegressor())),
    "transformed target": lambda name: _above_zero(
        name,
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), Ridge()), func=np.log1p, inverse_func=np.expm1
        ),
    ),
    "squared target": lambda name: _above_zero(
        name, TransformedTargetRegressor(Ridge(), func=np.sqrt, inverse_func=np.square)
    ),
    "scaled target": lambda name: fitted(
        name, TransformedTargetRegressor(DecisionTreeRegressor(max_depth=3), transformer=StandardScaler()), ()
    ),
    "isotonic regressor": lambda name: _shaped(
        name, IsotonicRegression(out_of_bounds="clip"), (), lambda X: X[:, :1]
    ),
    "dummy regressor": lambda name: fitted(name, DummyRegressor(), ()),
    "dummy classifier": lambda name: fitted(name, DummyClassifier(), _WORDS),
    "gaussian bayes": lambda name: fitted(name, make_pipeline(RobustScaler(), GaussianNB()), _SIGNS),
    "multinomial bayes": lambda name: _shaped(name, MultinomialNB(), _WORDS, np.abs),
    "bernoulli bayes": lambda name: fitted(name, BernoulliNB(binarize=0.3), _BINARY),
    "categorical bayes": lambda name: _shaped(
        name, CategoricalNB(), _BINARY, lambda X: np.floor(np.abs(X) * 2) % 3
    ),
    "quadratic discriminant": lambda name: fitted(
        name, make_pipeline(StandardScaler(), QuadraticDiscriminantAnalysis()), _BINARY
    ),
    "nearest centroid": lambda name: fitted(
        name, make_pipeline(StandardScaler(), NearestCentroid(priors=[0.2, 0.3, 0.5])), _SIGNS
    ),
    "nearest centroid, manhattan": lambda name: fitted(name, NearestCentroid(metric="manhattan"), _BINARY),
    "forest behind a projection": lambda name: fitted(
        name, make_pipeline(StandardScaler(), PCA(3), _small_forest()), _BINARY
    ),
    "histogram boosting behind a logarithm": lambda name: fitted(
        name,
        make_pipeline(
            make_column_transformer(
                (make_pipeline(MinMaxScaler(), FunctionTransformer(np.log1p)), [0, 1, 3]),
                remainder="passthrough",
            ),
            SimpleImputer(add_indicator=True),
            HistGradientBoostingClassifier(max_iter=5, random_state=0),
        ),
        _SIGNS,
        missing=True,
    ),
    "lightgbm behind powers": lambda name: fitted(name, make_pipeline(PowerTransformer(), _lgbm()), _BINARY),
    "vote behind powers of positive numbers": lambda name: fitted(
        name,
        make_pipeline(
            MinMaxScaler((1, 3)),
            PowerTransformer("box-cox", standardize=False),
            VotingClassifier(
                [("a", _small_forest()), ("b", DecisionTreeClassifier(max_depth=3))], voting="soft"
            ),
        ),
        _BINARY,
    ),
    "xgboost behind norms": lambda name: fitted(
        name,
        make_pipeline(Normalizer("l2"), XGBClassifier(n_estimators=5, n_jobs=1, random_state=0)),
        _BINARY,
    ),
    "boosting regressor behind sums of magnitudes": lambda name: fitted(
        name, make_pipeline(Normalizer("l1"), GradientBoostingRegressor(n_estimators=6, random_state=0)), ()
    ),
    "largest magnitudes": lambda name: fitted(
        name, make_pipeline(Normalizer("max"), _small_boosting()), _SIGNS
    ),
    "components": lambda name: fitted(
        name,
        make_pipeline(
            StandardScaler(),
            FastICA(3, whiten="unit-variance", random_state=0),
            AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=4, random_state=0),
        ),
        _SIGNS,
    ),
    "stack of trees over trees": lambda name: fitted(
        name,
        make_pipeline(
            GaussianRandomProjection(3, random_state=0),
            StackingClassifier(
                [("a", _small_forest()), ("b", _small_boosting())], _small_forest(), cv=2, passthrough=True
            ),
        ),
        _BINARY,
    ),
    "threshold behind neighbourhood components": lambda name: fitted(
        name,
        make_pipeline(
            StandardScaler(),
            NeighborhoodComponentsAnalysis(3, max_iter=5, random_state=0),
            FixedThresholdClassifier(_small_forest(), threshold=0.4),
        ),
        _BINARY,
    ),
    "isolation forest behind a projection": lambda name: fitted(
        name,
        make_pipeline(PCA(3), IsolationForest(n_estimators=6, max_samples=40, random_state=0)),
        (),
    ),
}


def _boosted(name: str, train: Callable[[Rows, Any], Any]) -> Subject:
    X, y = make_data(_BINARY, rows=220)
    return subject_of(name, train(X, y), X)


def _fitted_scaler() -> StandardScaler:
    return StandardScaler().fit(make_data(_SIGNS, rows=220)[0])


def _small_forest() -> RandomForestClassifier:
    return RandomForestClassifier(5, max_depth=4, random_state=0)


def _small_boosting() -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=4, random_state=0)


@cache
def subject(name: str) -> Subject:
    """The subject of that name; fitted once."""
    return SUBJECTS[name](name)


def answers(onnx: bytes | onnxruntime.InferenceSession, rows: Rows) -> dict[str, npt.NDArray[Any]]:
    """Every output of an ONNX file, or of a session of it, on `rows`."""
    session = opened(onnx) if isinstance(onnx, bytes) else onnx
    names = [output.name for output in session.get_outputs()]
    entry = session.get_inputs()[0]
    given = rows.astype(np.float32 if entry.type == "tensor(float)" else np.float64)
    return dict(zip(names, session.run(None, {entry.name: given}), strict=True))
