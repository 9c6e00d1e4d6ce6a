# SPDX-License-Identifier: Apache-2.0
"""Encoders, projections, networks, functions: no certified row flips, and refused rows are not certified."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from depickle.errors import UnsupportedModelError

from .emit_checks import LABELS, compare, convert, make_data, random_rows, read
from .proof_kit import subject_of

Rows = npt.NDArray[np.float64]


def _fit(live: Any, rows: Rows, answers: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(rows, answers)


def _categorical(labels: tuple[Any, ...], *, missing: bool = False) -> tuple[Rows, Any]:
    """Two columns of small integers, one of them with -0.0 and 0.0, and four of numbers."""
    X, y = make_data(labels)
    rng = np.random.default_rng(5)
    X[:, 4] = rng.choice([-1.5, -0.0, 0.0, 2.0], len(X))
    if missing:
        X[rng.random(len(X)) < 0.1, 4] = np.nan
    return X, y


def _encoded(encoder: Any, last: Any) -> Any:
    return make_pipeline(make_column_transformer((encoder, [4, 5]), remainder=StandardScaler()), last)


def _tree() -> Any:
    return RandomForestClassifier(6, max_depth=6, random_state=0)


def _boosted() -> Any:
    return GradientBoostingClassifier(n_estimators=4, init="zero", random_state=0)


ENCODERS: dict[str, Callable[[], Any]] = {
    "one-hot": lambda: OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    "one-hot without the first": lambda: OneHotEncoder(
        handle_unknown="ignore", drop="first", sparse_output=False
    ),
    "one-hot that raises": lambda: OneHotEncoder(sparse_output=False),
    "one-hot, binary dropped": lambda: OneHotEncoder(drop="if_binary", sparse_output=False),
    "ordinal": lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "ordinal that raises": lambda: OrdinalEncoder(),
    "bins": lambda: KBinsDiscretizer(3, encode="ordinal", strategy="uniform"),
    "one-hot bins": lambda: KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform"),
    "binarizer": lambda: Binarizer(threshold=0.5),
}


def _answered(live: Any, rows: Rows) -> npt.NDArray[np.bool_]:
    """Which rows the original answers, one by one."""
    found = np.ones(len(rows), dtype=np.bool_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, row in enumerate(rows):
            try:
                live.predict(row[np.newaxis])
            except ValueError:
                found[place] = False
    return found


@pytest.mark.parametrize("last", [_tree, _boosted, lambda: LogisticRegression(max_iter=500)])
@pytest.mark.parametrize("case", ENCODERS)
def test_encoders_are_exact_and_never_vouch_for_a_row_that_the_original_refuses(
    case: str, last: Callable[[], Any]
) -> None:
    X, y = _categorical((-1, 0, 1))
    live = _fit(_encoded(ENCODERS[case](), last()), X, y)
    converted = convert(live)
    rows = np.vstack([X[:60], random_rows(X, 60)])
    rows[60:90, 4:] = X[:30, 4:]
    rows[90:100, 4] = 7.0
    rows[90:95, 5] = X[0, 5]
    rows[95:100, 4] = X[0, 4]
    strict = "raises" in case or "dropped" in case
    answered = _answered(live, rows)
    answers = converted.answers(rows)
    assert answered.all() != strict
    certain = (
        answers["margin"] > answers["bound"] if "margin" in answers else np.ones(len(rows), dtype=np.bool_)
    )
    assert not (certain & ~answered).any()
    assert (certain == answered).mean() > 0.99
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = live.predict(np.where(answered[:, np.newaxis], rows, X[:1]))
    assert (answers["label"] == expected)[certain & answered].all()
    assert (converted.typed.ceiling == "proven") == ("margin" not in answers)
    assert subject_of(case, live, X).prove() is not None


def test_missing_values_are_categories_of_their_own() -> None:
    X, y = _categorical((0, 1), missing=True)
    for encoder in (
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9, encoded_missing_value=-2),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    ):
        live = _fit(_encoded(encoder, _tree()), X, y)
        outcome = compare(convert(live), X)
        assert outcome.flips == 0
        assert subject_of("missing", live, X).prove() is not None


def test_sparse_one_hot_columns_may_only_stand_right_in_front_of_a_model_that_takes_them_as_they_are() -> (
    None
):
    X, y = _categorical((0, 1))
    X = X[:, 4:]
    live = _fit(make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), X, y)
    assert compare(convert(live), X).flips == 0
    for refused in (
        make_pipeline(OneHotEncoder(), StandardScaler(with_mean=False), LogisticRegression()),
        make_pipeline(OneHotEncoder(), _boosted()),
    ):
        with pytest.raises(UnsupportedModelError) as refusal:
            read(_fit(refused, X, y))
        assert refusal.value.code == "DP603"


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(min_frequency=0.2, sparse_output=False),
        OneHotEncoder(max_categories=2, sparse_output=False),
    ],
    ids=["min_frequency", "max_categories"],
)
def test_groups_of_infrequent_categories_are_refused(encoder: Any) -> None:
    X, y = _categorical((0, 1))
    with pytest.raises(UnsupportedModelError) as refusal:
        read(_fit(make_pipeline(encoder, LogisticRegression()), X[:, 4:], y))
    assert refusal.value.code == "DP603"


def test_refused_rows_stay_uncertain_inside_compositions() -> None:
    X, y = _categorical((0, 1))
    member = _encoded(OneHotEncoder(sparse_output=False), _tree())
    other = make_pipeline(StandardScaler(), LogisticRegression())
    rows = X[:40].copy()
    rows[20:, 4] = 7.0
    for live in (
        VotingClassifier([("a", member), ("b", other)], voting="soft"),
        VotingClassifier([("a", member), ("b", other)], voting="hard"),
        CalibratedClassifierCV(member, cv=2),
    ):
        answers = convert(_fit(live, X, y)).answers(rows)
        certain = answers["margin"] > answers["bound"]
        assert certain[:20].any()
        assert not certain[20:].any()
        assert subject_of("composition", live, X).prove() is not None


DENSE: dict[str, Callable[[], Any]] = {
    "pca": lambda: make_pipeline(StandardScaler(), PCA(4), LogisticRegression(max_iter=500)),
    "pca, whitened and scaled": lambda: make_pipeline(
        PCA(5, whiten=True), StandardScaler(), MinMaxScaler(clip=True), LinearSVC(random_state=0)
    ),
    "incremental pca": lambda: make_pipeline(StandardScaler(), IncrementalPCA(3), RidgeClassifier()),
    "truncated svd": lambda: make_pipeline(
        StandardScaler(), TruncatedSVD(3, random_state=0), SGDClassifier(loss="log_loss", random_state=0)
    ),
    "pca beside columns": lambda: make_pipeline(
        FeatureUnion([("a", PCA(2)), ("b", StandardScaler())]),
        MinMaxScaler(),
        LogisticRegression(max_iter=500),
    ),
    "discriminant": lambda: make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
    "discriminant by eigenvalues": lambda: LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"),
    **{
        f"network of {activation}": lambda activation=activation: make_pipeline(
            StandardScaler(), MLPClassifier((12, 7), activation=activation, max_iter=60, random_state=0)
        )
        for activation in ("identity", "relu", "logistic", "tanh")
    },
    "network behind pca": lambda: make_pipeline(
        StandardScaler(), PCA(4), MLPClassifier((8,), max_iter=60, random_state=0)
    ),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("case", DENSE)
def test_dense_models_are_certified_and_proven(case: str, labels: str) -> None:
    X, y = make_data(LABELS[labels])
    live = _fit(DENSE[case](), X, y)
    converted = convert(live)
    rows = np.vstack([X, random_rows(X, 4000)])
    answers = converted.answers(rows)
    certain = answers["margin"] > answers["bound"]
    assert converted.typed.ceiling == "certified"
    assert (live.predict(rows) == answers["label"])[certain].all()
    assert certain.mean() > 0.99
    if "probabilities" in answers:
        assert np.abs(live.predict_proba(rows) - answers["probabilities"]).max() < 1e-9
    assert subject_of(case, live, X).prove() is not None


@pytest.mark.parametrize("case", [case for case in DENSE if case not in ("discriminant by eigenvalues",)])
def test_the_bound_covers_what_the_original_and_the_copy_differ_by(case: str) -> None:
    """Scores of the two differ by less than the stated bound, on rows of every magnitude."""
    X, y = make_data((0, 1))
    live = _fit(DENSE[case](), X, y)
    rng = np.random.default_rng(1)
    rows = random_rows(X, 800) * 10.0 ** rng.integers(-8, 8, (800, 1))
    answers = convert(live).answers(rows)
    if "scores" not in answers:
        p, q = live.predict_proba(rows)[:, 1], answers["probabilities"][:, 1]
        assert (np.abs(p - q) <= answers["bound"] + 2.0**-50).all()
        return
    assert (np.abs(live.decision_function(rows) - answers["scores"][:, 0]) <= answers["bound"]).all()


def test_regressors_behind_projections_and_networks_are_close() -> None:
    X, y = make_data(())
    for live in (
        make_pipeline(StandardScaler(), PCA(3), LinearRegression()),
        make_pipeline(
            StandardScaler(),
            MLPRegressor(hidden_layer_sizes=(9,), activation="tanh", max_iter=80, random_state=0),
        ),
    ):
        _fit(live, X, y)
        found = convert(live).answers(X)["scores"][:, 0]
        assert np.abs(found - live.predict(X)).max() <= 1e-12 * np.abs(found).max()
        assert subject_of("regressor", live, X).prove() is not None


@pytest.mark.parametrize(
    "live",
    [
        make_pipeline(PCA(3), OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
        make_pipeline(FunctionTransformer(np.exp), FunctionTransformer(np.square), LogisticRegression()),
        make_pipeline(FunctionTransformer(np.reciprocal), DecisionTreeClassifier()),
    ],
    ids=["encoder behind pca", "square of exp", "reciprocal before a tree"],
)
def test_decisions_on_values_without_a_bound_are_refused(live: Any) -> None:
    X, y = make_data((0, 1))
    with pytest.raises(UnsupportedModelError) as refusal:
        read(_fit(live, np.abs(np.clip(X, -5, 5)) + 0.1, y))
    assert refusal.value.code == "DP603"


FUNCTIONS = [np.sqrt, np.reciprocal, np.exp, np.expm1, np.log, np.log1p, np.log2, np.log10, np.tanh]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_functions_in_front_of_a_linear_model_are_certified_where_they_are_defined(function: Any) -> None:
    X, y = make_data((0, 1))
    X = np.clip(X, -20, 20)
    live = make_pipeline(FunctionTransformer(function), StandardScaler(), LogisticRegression(max_iter=500))
    _fit(live, np.abs(X) + 1e-3, y)
    rows = random_rows(X, 300)
    rows[::2] = np.abs(rows[::2]) + 1e-9
    answers = convert(live).answers(rows)
    certain = answers["margin"] > answers["bound"]
    answered = _answered(live, rows)
    assert not (certain & ~answered).any()
    assert (certain == answered).mean() > 0.98
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (live.predict(rows[certain]) == answers["label"][certain]).all()
    assert subject_of("function", live, X).prove() is not None


@pytest.mark.parametrize("function", [np.sqrt, np.sign, np.floor, np.ceil, np.rint], ids=lambda f: f.__name__)
def test_functions_that_are_exact_may_stand_in_front_of_trees(function: Any) -> None:
    X, y = make_data((0, 1))
    if function is np.sqrt:
        X = np.abs(X)
    live = _fit(make_pipeline(FunctionTransformer(function), _tree()), X, y)
    converted = convert(live)
    rows = random_rows(X, 500)
    answers = converted.answers(rows)
    certain = answers["margin"] > answers["bound"] if function is np.sqrt else np.ones(500, dtype=np.bool_)
    answered = _answered(live, rows[:100])
    assert not (certain[:100] & ~answered).any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (live.predict(rows[certain]) == answers["label"][certain]).all()
        assert (live.predict_proba(rows[certain]) == answers["probabilities"][certain]).all()
    assert certain.mean() > 0.02
    assert (converted.typed.ceiling == "proven") == (function is not np.sqrt)
    assert subject_of("function", live, X).prove() is not None


def test_the_same_model_gives_the_same_bytes() -> None:
    X, y = make_data((-1, 0, 1))
    for case in DENSE:
        live = _fit(DENSE[case](), X, y)
        assert convert(live).emitted.onnx == convert(live, protocol=4).emitted.onnx
