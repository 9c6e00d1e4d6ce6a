# SPDX-License-Identifier: Apache-2.0
"""Support vectors: no certified row flips, numbers stay within their bound, and ordinary rows are certified."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from depickle.errors import ConverterError, UnsupportedModelError
from depickle.models import read_model
from depickle.models.stored_types import SupportVectors
from depickle.pickles import open_package, vet

from .emit_checks import Converted, convert, make_data, random_rows, read

Rows = npt.NDArray[np.float64]
KERNELS = ("linear", "poly", "rbf", "sigmoid")
CLASSES: dict[str, tuple[Any, ...]] = {
    "binary": (0, 1),
    "signs": (-1, 0, 1),
    "six words": ("a", "b", "c", "d", "e", "f"),
}


def _fit(live: Any, X: Rows, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(X, y)


def _certain(answers: dict[str, Any]) -> npt.NDArray[np.bool_]:
    return np.asarray(answers["margin"] > answers["bound"])


def _scores(live: Any, rows: Rows) -> Rows:
    return np.asarray(live.decision_function(rows)).reshape(len(rows), -1)


def _between(live: Any, X: Rows, y: Any) -> Rows:
    """Rows at which a sum of a pair changes its sign, found by bisection between rows of different labels."""
    rng = np.random.default_rng(4)
    left, right = X[rng.integers(0, len(X), 150)], X[rng.integers(0, len(X), 150)]
    differ = live.predict(left) != live.predict(right)
    left, right = left[differ], right[differ]
    start = live.predict(left)
    for _ in range(80):
        middle = (left + right) / 2.0
        same = (live.predict(middle) == start)[:, np.newaxis]
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return np.vstack([left, right])


MODELS: dict[str, Callable[[str], Any]] = {
    "alone": lambda kernel: SVC(kernel=kernel),
    "scaled, ovo": lambda kernel: make_pipeline(
        StandardScaler(), SVC(kernel=kernel, decision_function_shape="ovo", coef0=0.5)
    ),
    "nu": lambda kernel: make_pipeline(StandardScaler(), NuSVC(kernel=kernel, nu=0.1, degree=2)),
    "ties broken": lambda kernel: make_pipeline(StandardScaler(), SVC(kernel=kernel, break_ties=True)),
    "behind a projection": lambda kernel: make_pipeline(StandardScaler(), PCA(4), SVC(kernel=kernel)),
}


@pytest.mark.parametrize("labels", CLASSES)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", MODELS)
def test_certified_labels_are_the_originals(case: str, kernel: str, labels: str) -> None:
    X, y = make_data(CLASSES[labels])
    if case == "alone" and kernel == "poly":
        X = X / 100.0
    live = _fit(MODELS[case](kernel), X, y)
    converted = convert(live)
    rows = np.vstack([X, random_rows(X, 2000)])
    answers = converted.answers(rows)
    certain = _certain(answers)
    assert converted.typed.ceiling == "certified"
    assert "probabilities" not in answers
    assert (live.predict(rows) == answers["label"])[certain].all()
    # Rows a million times outside the data overstretch the narrow decisions of a polynomial.
    assert certain.mean() > (0.98 if kernel == "poly" else 0.999)
    assert certain[: len(X)].all()
    one_by_one = np.concatenate([converted.answers(row[np.newaxis])["label"] for row in rows[:40]])
    assert (one_by_one == live.predict(rows[:40])).all()


@pytest.mark.parametrize("labels", CLASSES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_on_a_decision_are_open_or_right(kernel: str, labels: str) -> None:
    X, y = make_data(CLASSES[labels])
    for shape in ("ovr", "ovo"):
        live = _fit(make_pipeline(StandardScaler(), SVC(kernel=kernel, decision_function_shape=shape)), X, y)
        rows = _between(live, X, y)
        answers = convert(live).answers(rows)
        certain = _certain(answers)
        assert len(rows) > 50
        assert (live.predict(rows) == answers["label"])[certain].all()
        one_by_one = np.concatenate([live.predict(row[np.newaxis]) for row in rows])
        assert (one_by_one == answers["label"])[certain].all()
        assert not certain.all()


@pytest.mark.parametrize("labels", CLASSES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_scores_are_within_the_bound_on_rows_of_every_magnitude(kernel: str, labels: str) -> None:
    X, y = make_data(CLASSES[labels])
    rng = np.random.default_rng(1)
    rows = random_rows(X, 600) * 10.0 ** rng.integers(-8, 8, (600, 1))
    for live in (
        SVC(kernel=kernel, decision_function_shape="ovo"),
        make_pipeline(StandardScaler(), SVC(kernel=kernel, decision_function_shape="ovo", C=50.0)),
        make_pipeline(StandardScaler(), PCA(3), SVC(kernel=kernel, decision_function_shape="ovo")),
    ):
        fitted = _fit(live, X / 100.0, y)
        answers = convert(fitted).answers(rows)
        apart = np.abs(_scores(fitted, rows) - answers["scores"]).max(axis=1)
        assert (apart <= answers["bound"]).all()


def test_scores_of_ovr_are_what_decision_function_gives() -> None:
    X, y = make_data((-1, 0, 1))
    live = _fit(make_pipeline(StandardScaler(), SVC()), X, y)
    answers = convert(live).answers(X)
    assert answers["scores"].shape == (len(X), 3)
    assert np.abs(_scores(live, X) - answers["scores"]).max() < 1e-10


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", [SVR, NuSVR])
def test_regressors_are_within_their_bound(kind: Any, kernel: str) -> None:
    X, y = make_data(())
    rng = np.random.default_rng(1)
    rows = np.vstack([X, random_rows(X, 600) * 10.0 ** rng.integers(-6, 6, (600, 1))])
    live = _fit(make_pipeline(StandardScaler(), kind(kernel=kernel, C=3.0)), X, y)
    answers = convert(live).answers(rows)
    apart = np.abs(live.predict(rows) - answers["scores"][:, 0])
    assert "margin" not in answers
    assert (apart <= answers["bound"]).all()
    assert answers["bound"][: len(X)].max() < 1e-8 * max(1.0, np.abs(answers["scores"][: len(X)]).max())


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_class_is_an_outlier_detector(kernel: str) -> None:
    X, _ = make_data((0, 1))
    live = _fit(make_pipeline(StandardScaler(), OneClassSVM(kernel=kernel, nu=0.2)), X, None)
    converted = convert(live)
    rows = np.vstack([X, random_rows(X, 1500)])
    answers = converted.answers(rows)
    certain = _certain(answers)
    assert (converted.typed.task, converted.typed.classes) == ("outlier", (-1, 1))
    assert (live.predict(rows) == answers["label"])[certain].all()
    assert (np.abs(_scores(live, rows) - answers["scores"])[:, 0] <= answers["bound"]).all()
    assert certain.mean() > 0.99


def test_wide_gaussian_kernels_on_unscaled_columns_have_a_finite_bound_and_certify_nothing_falsely() -> None:
    """gamma="auto" on columns of a billion: every exponent is noise or nothing."""
    X, y = make_data((0, 1))
    X = X * 1e9
    live = _fit(SVC(gamma="auto"), X, y)
    answers = convert(live).answers(X)
    certain = _certain(answers)
    assert np.isfinite(answers["bound"]).all()
    assert (live.predict(X) == answers["label"])[certain].all()


COMPOSED: dict[str, Callable[[], Any]] = {
    "calibrated": lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), SVC()), cv=2),
    "hard vote": lambda: VotingClassifier(
        [("a", make_pipeline(StandardScaler(), SVC())), ("b", LogisticRegression(max_iter=200))]
    ),
    "stacked": lambda: StackingClassifier(
        [("a", make_pipeline(StandardScaler(), SVC()))], final_estimator=LogisticRegression(), cv=2
    ),
    "one against the rest": lambda: OneVsRestClassifier(make_pipeline(StandardScaler(), SVC())),
}


@pytest.mark.parametrize("case", COMPOSED)
def test_compositions_carry_the_bound(case: str) -> None:
    X, y = make_data((-1, 0, 1))
    live = _fit(COMPOSED[case](), X, y)
    rows = np.vstack([X, random_rows(X, 500)])
    answers = convert(live).answers(rows)
    certain = _certain(answers)
    assert (live.predict(rows) == answers["label"])[certain].all()
    assert certain.mean() > 0.9


def test_bags_of_regressors_carry_the_bound() -> None:
    X, y = make_data(())
    live = _fit(BaggingRegressor(make_pipeline(StandardScaler(), SVR()), 3, random_state=0), X, y)
    answers = convert(live).answers(X)
    assert (np.abs(live.predict(X) - answers["scores"][:, 0]) <= answers["bound"]).all()


X2, Y2 = make_data((0, 1))


def _changed(name: str, value: Any) -> Any:
    live = _fit(SVC(kernel="poly"), X2 / 100.0, Y2)
    setattr(live, name, value)
    return live


REFUSED: dict[str, Callable[[], Any]] = {
    "a kernel of one's own": lambda: _changed("kernel", None),
    "a precomputed kernel": lambda: _fit(SVC(kernel="precomputed"), X2 @ X2.T, Y2),
    "ties of ovo": lambda: _fit(SVC(break_ties=True, decision_function_shape="ovo"), X2, Y2),
    "a degree beyond the limit": lambda: _changed("degree", 40),
    "a factor beyond the limit": lambda: _changed("_gamma", 1e200),
    "soft vote": lambda: _fit(VotingClassifier([("a", SVC(probability=True))], voting="soft"), X2, Y2),
    "bag": lambda: _fit(BaggingClassifier(SVC(probability=True), 2), X2, Y2),
    "threshold": lambda: _fit(FixedThresholdClassifier(SVC(probability=True)), X2, Y2),
    "stack": lambda: _fit(StackingClassifier([("a", SVC(probability=True))], cv=2), X2, Y2),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_bound_is_refused(case: str) -> None:
    live = REFUSED[case]()
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP603"


def test_sparse_fits_are_refused() -> None:
    for live in (SVC(), SVR(), OneClassSVM()):
        with pytest.raises(UnsupportedModelError) as refusal:
            read(_fit(live, scipy.sparse.csr_matrix(X2), Y2))
        assert refusal.value.code == "DP603"


def test_probabilities_are_left_out_and_the_label_stays_that_of_predict() -> None:
    live = _fit(SVC(probability=True, random_state=0), X2, Y2)
    converted = convert(live)
    answers = converted.answers(X2)
    assert converted.emitted.outputs.probabilities is None
    assert (live.predict(X2) == answers["label"]).all()


def test_state_of_another_shape_is_refused_and_nothing_foreign_escapes() -> None:
    names = ("support_vectors_", "_dual_coef_", "_intercept_", "_n_support", "_gamma", "kernel", "coef0")
    others = ("degree", "classes_", "n_features_in_", "_sparse", "break_ties", "decision_function_shape")
    X, y = make_data((-1, 0, 1))
    data = pickle.dumps(_fit(SVC(kernel="poly"), X / 100.0, y))
    for name in (*names, *others):
        for value in (None, "x", float("nan"), b"", -1, 1e300, X2[:3, :2]):
            vetted = vet(data)
            estimator = open_package(vetted).estimator
            replaced = value
            if isinstance(value, np.ndarray):
                other = vet(pickle.dumps(_fit(SVC(), X[:80, :2], y[:80])))
                replaced = open_package(other).estimator.get(name)
                if replaced == estimator.get(name) or name in (
                    "_intercept_",
                    "classes_",
                    "_n_support",
                    "kernel",
                ):
                    continue
                if name in ("_gamma", "degree", "coef0", "break_ties", "decision_function_shape", "_sparse"):
                    continue
            estimator.state.items[name] = replaced  # type: ignore[union-attr]  # the state of an estimator
            if name == "coef0" and value == -1:
                continue  # a number is a valid coef0
            with pytest.raises(ConverterError):
                read_model(estimator, writer=dict(vetted.writer))


def test_a_model_with_more_vectors_than_its_numbers_say_is_refused() -> None:
    X, y = make_data((-1, 0, 1))
    vetted = vet(pickle.dumps(_fit(SVC(), X, y)))
    estimator = open_package(vetted).estimator
    numbers = estimator.get("_n_support")
    table = numbers.to_numpy().copy()  # type: ignore[union-attr]  # an array
    table[0] += 1
    numbers.data = memoryview(table.tobytes())  # type: ignore[union-attr]  # an array
    with pytest.raises(UnsupportedModelError) as refusal:
        read_model(estimator, writer=dict(vetted.writer))
    assert refusal.value.code == "DP602"


def test_the_same_model_gives_the_same_bytes() -> None:
    X, y = make_data((-1, 0, 1))
    for kernel in KERNELS:
        live = _fit(make_pipeline(StandardScaler(), SVC(kernel=kernel)), X, y)
        first: Converted = convert(live)
        assert first.emitted.onnx == convert(live, protocol=4).emitted.onnx
        assert any(isinstance(part, SupportVectors) for part in (first.typed.root.predictor,))  # type: ignore[union-attr]
