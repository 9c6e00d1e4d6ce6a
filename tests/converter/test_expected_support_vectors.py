# SPDX-License-Identifier: Apache-2.0
"""Support vectors are walked in every variant, and rows that rounding or an overflow could flip are not certified."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import sklearn.base
from onnx import numpy_helper
from sklearn.decomposition import PCA
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from depickle.errors import ParityError, UnsupportedModelError
from depickle.models import read_model
from depickle.parity.expected import expect_model
from depickle.pickles import open_package, vet
from depickle_runtime.errors import SecurityError

from .proof_kit import Rows, Subject, answers, fitted, subject_of

KERNELS = ("linear", "poly", "rbf", "sigmoid")
BINARY, WORDS, FOUR = (0, 1), ("A", "B", "C"), (1, 2, 3, 4)

VARIANTS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    **{f"{kernel}, two": (lambda kernel=kernel: SVC(kernel=kernel, coef0=0.3), BINARY) for kernel in KERNELS},
    **{f"{kernel}, four": (lambda kernel=kernel: SVC(kernel=kernel, coef0=0.3), FOUR) for kernel in KERNELS},
    **{f"{kernel}, numbers": (lambda kernel=kernel: SVR(kernel=kernel), ()) for kernel in KERNELS},
    **{f"{kernel}, one class": (lambda kernel=kernel: OneClassSVM(kernel=kernel), ()) for kernel in KERNELS},
    "scores of pairs": (lambda: SVC(decision_function_shape="ovo"), WORDS),
    "ties broken": (lambda: SVC(break_ties=True), FOUR),
    "ties of two classes": (lambda: SVC(break_ties=True), BINARY),
    "nu": (lambda: NuSVC(nu=0.2), WORDS),
    "nu, numbers": (lambda: NuSVR(), ()),
    **{
        f"degree {degree}": (lambda degree=degree: SVC(kernel="poly", degree=degree, coef0=1.0), BINARY)
        for degree in (1, 2, 4, 5, 7)
    },
}


@pytest.mark.parametrize("case", VARIANTS)
@pytest.mark.parametrize("projected", [False, True])
def test_every_variant_is_walked(case: str, projected: bool) -> None:
    make, labels = VARIANTS[case]
    before = [StandardScaler(), PCA(3)] if projected else [StandardScaler()]
    assert fitted(case, make_pipeline(*before, make()), labels).prove() is not None


@pytest.mark.parametrize("release", ["1.2.2", "1.5.2", "1.8.0"])
def test_no_release_is_walked_otherwise(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = fitted("now", SVC(), WORDS)
    monkeypatch.setattr(sklearn.base, "__version__", release)
    older = subject_of(release, live.live, live.rows)
    assert older.prove(live.emitted.onnx) is not None


# Wrong files --------------------------------------------------------------------------------------------------------


def _changed(one: Subject, size: int, change: Callable[[Rows], Rows]) -> list[bytes]:
    """Files in each of which one constant of `size` numbers is changed."""
    found = []
    model = onnx.load_from_string(one.emitted.onnx)
    for place, tensor in enumerate(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float64 and values.size == size and np.isfinite(values).all():
            other = onnx.load_from_string(one.emitted.onnx)
            other.graph.initializer[place].raw_data = change(values.copy()).tobytes()
            found.append(other.SerializeToString(deterministic=True))
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_number_of_the_file_may_be_another(kernel: str) -> None:
    one = fitted("svc", SVC(kernel=kernel, coef0=0.5), WORDS)
    vectors = one.live.support_vectors_
    sizes = {1, 3, vectors.size, 3 * len(vectors)} | ({len(vectors) * 8} if kernel == "rbf" else set())
    count = 0
    for size in sizes:
        for wrong in _changed(one, size, lambda values: np.nextafter(values, np.inf)):
            count += 1
            with pytest.raises(ParityError) as refusal:
                one.prove(wrong)
            assert refusal.value.code == "DP711"
    assert count > 8


# Attributes that are not what the class documents -------------------------------------------------------------------


def _expected(live: Any) -> object:
    vetted = vet(pickle.dumps(live, protocol=5))
    return expect_model(open_package(vetted).estimator, vetted.writer)


def _live(**options: Any) -> SVC:
    live = fitted("svc", SVC(**options), WORDS).live
    assert isinstance(live, SVC)
    return live


HOSTILE: dict[str, Callable[[SVC], dict[str, Any]]] = {
    "vectors in float32": lambda live: {"support_vectors_": live.support_vectors_.astype(np.float32)},
    "vectors of fewer columns": lambda live: {"support_vectors_": live.support_vectors_[:, 1:]},
    "coefficients of one class": lambda live: {"_dual_coef_": live._dual_coef_[:1]},
    "too few intercepts": lambda live: {"_intercept_": live._intercept_[:2]},
    "counts of fewer vectors": lambda live: {"_n_support": live._n_support - 1},
    "a count below zero": lambda live: {
        "_n_support": live._n_support + np.array([500, -500, 0], dtype=np.int32)
    },
    "a coefficient that is not finite": lambda live: {"_dual_coef_": live._dual_coef_ * np.inf},
    "no gamma": lambda live: {"_gamma": None},
    "a shape of neither kind": lambda live: {"decision_function_shape": "ova"},
    "ties neither broken nor not": lambda live: {"break_ties": "yes"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_attributes_that_the_class_does_not_document_are_refused(case: str) -> None:
    live = _live()
    assert _expected(live) is not None
    with np.errstate(invalid="ignore"):
        vars(live).update(HOSTILE[case](live))
    with pytest.raises(SecurityError) as refusal:
        _expected(live)
    assert refusal.value.code in (
        "DP710",
        "DP454",
    )  # the gate itself refuses arrays that libsvm would read past


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": "precomputed"},
        {"_sparse": True},
        {"_gamma": 2.0**65},
        {"_gamma": -1.0},
        {"coef0": 2.0**65},
        {"break_ties": True, "decision_function_shape": "ovo"},
        {"kernel": "poly", "degree": 33},
        {"kernel": "poly", "degree": 0},
        {"kernel": "poly", "_gamma": 1e-320},
    ],
)
def test_what_has_no_bound_is_not_derived(change: dict[str, Any]) -> None:
    live = _live()
    vars(live).update(change)
    assert _expected(live) is None


@pytest.mark.parametrize("part", ["weights", "vectors"])
def test_numbers_whose_products_leave_the_normal_ones_are_refused_on_both_sides(part: str) -> None:
    live = _live(kernel="linear")
    if part == "weights":
        live._dual_coef_ = live._dual_coef_ * 1e40
    else:
        live.support_vectors_ = live.support_vectors_ * 1e200
    assert _expected(live) is None
    vetted = vet(pickle.dumps(live, protocol=5))
    with pytest.raises(UnsupportedModelError) as refusal:
        read_model(open_package(vetted).estimator, writer=vetted.writer)
    assert refusal.value.code == "DP603"


def test_a_threshold_on_probabilities_of_libsvm_is_not_derived() -> None:
    one = fitted("svc", SVC(), BINARY)
    live = FixedThresholdClassifier(one.live, threshold=0.2).fit(one.rows, one.live.predict(one.rows))
    assert _expected(live) is not None
    live.estimator_.probability = True
    assert _expected(live) is None


# The certificate ----------------------------------------------------------------------------------------------------


def _in_another_order(one: Subject, rows: Rows, seed: int) -> Rows:
    """libsvm's sums for two classes with vectors and columns in another order."""
    live, generator = one.live, np.random.default_rng(seed)
    order, columns = generator.permutation(len(live.support_vectors_)), generator.permutation(rows.shape[1])
    apart = rows[:, np.newaxis, columns] - live.support_vectors_[np.newaxis, order][:, :, columns]
    values = np.exp(-live._gamma * np.add.reduce(apart * apart, axis=2))
    sums: Rows = -(values @ live._dual_coef_[0, order] + live._intercept_[0])
    return sums


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("gamma", [1e-9, 1e-2, 1.0, 1e4])
def test_no_order_gives_a_certified_row_another_label(offset: float, gamma: float) -> None:
    generator = np.random.default_rng(3)
    X = generator.normal(size=(120, 4)) + offset
    X[60:] = X[:60]  # every row twice
    y = (X[:, 0] + generator.normal(size=120) * 0.3 > offset).astype(int)
    one = subject_of("svc", SVC(gamma=gamma, C=10.0).fit(X, y), X)
    inside, outside = X[generator.integers(0, 60, 40)], X[generator.integers(0, 60, 40)]
    for _ in range(50):  # bisect onto the boundary
        middle = (inside + outside) / 2
        same = one.live.predict(middle) == one.live.predict(inside)
        inside, outside = np.where(same[:, None], middle, inside), np.where(same[:, None], outside, middle)
    rows = np.concatenate([X, inside, outside, np.nextafter(inside, np.inf), inside * (1 + 1e-13)])
    found = answers(one.emitted.onnx, rows)
    certified = found["margin"] > found["bound"]
    assert (one.live.predict(rows) == found["label"])[certified].all()
    for seed in range(4):
        other = (_in_another_order(one, rows, seed) >= 0.0).astype(np.int64)
        assert (other == found["class_index"])[certified].all()


@pytest.mark.parametrize("labels", [BINARY, WORDS])
def test_sums_that_overflow_behind_other_columns_are_not_certified(labels: tuple[Any, ...]) -> None:
    large = FunctionTransformer(np.square)
    one = fitted("svc", make_pipeline(StandardScaler(), large, SVC(kernel="poly", coef0=1.0)), labels)
    rows = np.random.default_rng(0).normal(size=(300, 6)) * 10.0 ** np.linspace(20, 80, 300)[:, np.newaxis]
    found = answers(one.emitted.onnx, rows)
    certified = found["margin"] > found["bound"]
    overflown = ~np.isfinite(found["scores"]).all(axis=1)
    assert overflown.any()
    assert not certified[overflown].any()
    assert (one.live.predict(rows) == found["label"])[certified].all()
