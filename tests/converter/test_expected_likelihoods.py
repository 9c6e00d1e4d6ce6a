# SPDX-License-Identifier: Apache-2.0
"""Bayes classifiers, discriminants and centroids are walked, and no rounding leaves their certificates."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.base
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from depickle.errors import ParityError, UnsupportedModelError
from depickle.parity.expected import ExpectedModel, expect_model
from depickle.pickles import open_package, vet

from .emit_checks import make_data
from .proof_kit import Rows, answers, subject_of

LABELS: dict[str, tuple[Any, ...]] = {"two": (0, 1), "signs": (-1, 0, 1), "words": ("BUY", "SELL", "WAIT")}
RELEASES = ("1.2.2", "1.3.2", "1.4.2", "1.5.2", "1.6.1", "1.7.2", "1.8.0")


def _categories(rows: Rows) -> Rows:
    return np.asarray(np.floor(np.abs(rows) * 2) % 3)


def _bits(rows: Rows) -> Rows:
    return (rows > 0.2).astype(np.float64)


VARIANTS: dict[str, Callable[[], Any]] = {
    "gaussian": GaussianNB,
    "gaussian, wide": lambda: GaussianNB(var_smoothing=1e-3),
    "multinomial": MultinomialNB,
    "multinomial, equal priors": lambda: MultinomialNB(alpha=2.0, fit_prior=False),
    "complement": ComplementNB,
    "complement, normed": lambda: ComplementNB(norm=True),
    "bernoulli": BernoulliNB,
    "bernoulli, a threshold": lambda: BernoulliNB(binarize=0.3),
    "bernoulli, a whole threshold": lambda: BernoulliNB(binarize=1),
    "bernoulli of bits": lambda: BernoulliNB(binarize=None),
    "categorical": CategoricalNB,
    "categorical, more categories": lambda: CategoricalNB(min_categories=5),
    "quadratic": lambda: QuadraticDiscriminantAnalysis(reg_param=0.1),
    "quadratic, eigen": lambda: QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.1),
    "centroid": NearestCentroid,
    "centroid, shrunk": lambda: NearestCentroid(shrink_threshold=0.1),
    "centroid, manhattan": lambda: NearestCentroid(metric="manhattan"),
    "centroid, priors": lambda: NearestCentroid(priors="empirical"),
}
SHAPES: dict[str, Callable[[Rows], Rows]] = {
    "multinomial": np.abs,
    "complement": np.abs,
    "bernoulli of bits": _bits,
    "categorical": _categories,
}


def _shape(case: str) -> Callable[[Rows], Rows]:
    return SHAPES.get(case, SHAPES.get(case.partition(",")[0], np.asarray))


def _fitted(case: str, labels: tuple[Any, ...] = (0, 1)) -> tuple[Any, Rows]:
    """Classes of unequal size, so that priors differ."""
    X, y = make_data(labels, rows=300)
    kept = np.flatnonzero((y != labels[0]) | (np.arange(len(y)) % 3 > 0))
    X = _shape(case)(X[kept])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VARIANTS[case]().fit(X, y[kept]), X


def _expected(live: Any) -> ExpectedModel | None:
    vetted = vet(pickle.dumps(live, protocol=5))
    return expect_model(open_package(vetted).estimator, vetted.writer)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("case", VARIANTS)
def test_every_variant_is_walked(case: str, labels: str) -> None:
    live, rows = _fitted(case, LABELS[labels])
    one = subject_of(case, live, rows)
    assert one.prove() is not None
    found = answers(one.emitted.onnx, rows)
    certified = found["margin"] > found["bound"]
    assert certified.mean() > 0.8
    assert (found["label"] == live.predict(rows))[certified].all()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("case", VARIANTS)
def test_every_release_is_walked(case: str, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live, rows = _fitted(case)
    monkeypatch.setattr(sklearn.base, "__version__", release)
    assert subject_of(case, live, rows).prove() is not None


def test_priors_of_centroids_count_since_they_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 1.6 the nearest centre was the answer, whatever the file says of priors."""
    live, rows = _fitted("centroid, priors")
    now = subject_of("now", live, rows)
    monkeypatch.setattr(sklearn.base, "__version__", "1.5.2")
    before = subject_of("before", live, rows)
    with pytest.raises(ParityError):
        before.prove(now.emitted.onnx)


@pytest.mark.parametrize(
    "live",
    [
        VotingClassifier(
            [("a", GaussianNB()), ("b", DummyClassifier()), ("c", QuadraticDiscriminantAnalysis())],
            voting="soft",
        ),
        VotingClassifier([("a", GaussianNB()), ("b", NearestCentroid()), ("c", BernoulliNB())]),
        CalibratedClassifierCV(QuadraticDiscriminantAnalysis(), cv=2),
        CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=2),
        StackingClassifier(
            [("a", QuadraticDiscriminantAnalysis()), ("b", GaussianNB())], LogisticRegression(), cv=2
        ),
        StackingClassifier([("a", DecisionTreeClassifier(max_depth=3))], GaussianNB(), cv=2),
    ],
    ids=["soft vote", "hard vote", "calibrated discriminant", "calibrated bayes", "stack", "final"],
)
@pytest.mark.parametrize("labels", LABELS)
def test_compositions_of_them_are_walked(live: Any, labels: str) -> None:
    X, y = make_data(LABELS[labels], rows=220)
    assert subject_of("composition", make_pipeline(StandardScaler(), live).fit(X, y), X).prove() is not None


@pytest.mark.parametrize("case", ["gaussian", "bernoulli", "quadratic", "centroid", "centroid, manhattan"])
def test_nothing_is_decided_on_columns_that_are_not_exact(case: str) -> None:
    X, y = make_data((0, 1), rows=220)
    assert _expected(make_pipeline(StandardScaler(), PCA(3), VARIANTS[case]()).fit(X, y)) is None


@pytest.mark.parametrize("case", ["bernoulli", "binarizer", "bins"])
def test_no_threshold_cuts_columns_that_are_not_exact(case: str) -> None:
    """A batch and a single row may lie on different sides of it; once such rows were certified."""
    cut = {"binarizer": Binarizer(), "bins": KBinsDiscretizer(3, encode="ordinal", strategy="uniform")}.get(
        case
    )
    live = BernoulliNB() if cut is None else make_pipeline(cut, LogisticRegression())
    X, y = make_data((0, 1), rows=220)
    fitted = make_pipeline(StandardScaler(), PCA(3), live).fit(X, y)
    with pytest.raises(UnsupportedModelError) as refusal:
        subject_of(case, fitted, X)
    assert refusal.value.code == "DP603"


@pytest.mark.parametrize(("case", "name"), [("quadratic", "priors_"), ("centroid, priors", "class_prior_")])
def test_priors_in_float32_are_refused(case: str, name: str) -> None:
    """Their logarithms are taken in float32 by the original: further off than the certificate allows."""
    live, rows = _fitted(case)
    setattr(live, name, getattr(live, name).astype(np.float32))
    with pytest.raises(UnsupportedModelError) as refusal:
        subject_of(case, live, rows)
    assert refusal.value.code == "DP603"


def test_no_row_of_a_discriminant_becomes_infinity_less_infinity() -> None:
    """The minimum and maximum of onnxruntime pass over NaN, and so would the certificate."""
    live, rows = _fitted("quadratic", ("BUY", "SELL", "WAIT"))
    one = subject_of("reach", live, rows)
    limit = float.fromhex(one.emitted.input.max_abs or "inf")
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * rows.shape[1])).reshape(rows.shape[1], -1).T
    found = answers(one.emitted.onnx, signs * limit)
    assert not (found["margin"] > found["bound"]).any()
    for mean, rotation, scaling in zip(live.means_, live.rotations_, live.scalings_, strict=True):
        steep = np.abs(rotation / np.sqrt(scaling)).sum(axis=0).max()
        assert (limit + np.abs(mean).max()) * steep < 2.0**1001


# Attributes that a file may hold --------------------------------------------------------------------------------


def _single(name: str) -> Callable[[Any], None]:
    """Computed with in float32, where logarithms and products differ in the eighth digit."""

    def change(live: Any) -> None:
        value = getattr(live, name)
        parts = [part.astype(np.float32) for part in value] if isinstance(value, list) else None
        setattr(live, name, parts or value.astype(np.float32))

    return change


def _entry(name: str, value: float) -> Callable[[Any], None]:
    def change(live: Any) -> None:
        found = getattr(live, name)
        (found[0] if isinstance(found, list) else found).flat[0] = value

    return change


HOSTILE: list[tuple[str, str, Callable[[Any], None]]] = [
    *(("gaussian", f"{name} in float32", _single(name)) for name in ("theta_", "var_", "class_prior_")),
    *(
        ("quadratic", f"{name} in float32", _single(name))
        for name in ("means_", "scalings_", "rotations_", "priors_")
    ),
    *(
        (case, f"{name} in float32", _single(name))
        for case in ("multinomial", "bernoulli")
        for name in ("feature_log_prob_", "class_log_prior_")
    ),
    ("complement", "feature_log_prob_ in float32", _single("feature_log_prob_")),
    ("categorical", "feature_log_prob_ in float32", _single("feature_log_prob_")),
    ("centroid, priors", "centroids_ in float32", _single("centroids_")),
    ("centroid, priors", "class_prior_ in float32", _single("class_prior_")),
    ("multinomial", "a probability of 0", _entry("feature_log_prob_", -np.inf)),
    ("bernoulli", "a probability of 0", _entry("feature_log_prob_", -np.inf)),
    ("categorical", "a probability of 0", _entry("feature_log_prob_", -np.inf)),
    ("gaussian", "a centre that is no number", _entry("theta_", np.nan)),
    ("quadratic", "a mean that is infinite", _entry("means_", np.inf)),
    ("quadratic", "a rotation that is infinite", _entry("rotations_", np.inf)),
    ("centroid, priors", "a deviation that is no number", _entry("within_class_std_dev_", np.nan)),
    ("quadratic", "a class too many", lambda live: live.scalings_.append(live.scalings_[0])),
    ("categorical", "a table too many", lambda live: live.feature_log_prob_.append(np.zeros((2, 3)))),
    ("gaussian", "one class", lambda live: setattr(live, "classes_", np.array([1]))),
]


@pytest.mark.parametrize(("case", "what", "change"), HOSTILE, ids=[f"{a}: {b}" for a, b, _ in HOSTILE])
def test_attributes_that_the_class_does_not_document_are_refused(
    case: str, what: str, change: Callable[[Any], None]
) -> None:
    live, _ = _fitted(case)
    assert _expected(live) is not None
    change(live)
    with pytest.raises(ParityError) as refusal:
        _expected(live)
    assert refusal.value.code == "DP710", what


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("gaussian", _entry("class_prior_", 0.0)),
        ("gaussian", _entry("var_", 2.0**-101)),
        ("quadratic", _entry("priors_", 0.0)),
        ("quadratic", _entry("scalings_", 2.0**-101)),
        ("bernoulli", _entry("feature_log_prob_", -(2.0**-31))),
        ("bernoulli", _entry("feature_log_prob_", 0.5)),
        ("centroid, priors", _entry("class_prior_", 0.0)),
        ("centroid, priors", lambda live: setattr(live, "metric", "manhattan")),
        ("centroid", lambda live: setattr(live, "metric", "cosine")),
    ],
)
def test_numbers_without_a_bound_are_not_derived(case: str, change: Callable[[Any], None]) -> None:
    live, _ = _fitted(case)
    change(live)
    assert _expected(live) is None


# The certificates -----------------------------------------------------------------------------------------------


def _scores(live: Any, rows: Rows) -> npt.NDArray[np.longdouble]:
    """The joint log likelihoods in extended precision, from the fitted numbers."""
    long = np.longdouble
    x = rows.astype(long)
    if isinstance(live, GaussianNB):
        centre, variance = live.theta_.astype(long), live.var_.astype(long)
        away = (x[:, None, :] - centre) ** 2 / variance
        constant = np.log(live.class_prior_.astype(long)) - np.log(2 * long(np.pi) * variance).sum(axis=1) / 2
        return np.asarray(constant - away.sum(axis=2) / 2)
    if isinstance(live, QuadraticDiscriminantAnalysis):
        found = []
        for k, scaling in enumerate(live.scalings_):
            s = scaling.astype(long)
            y = (x - live.means_[k]) @ (live.rotations_[k] / np.sqrt(s))
            found.append(np.log(long(live.priors_[k])) - ((y * y).sum(axis=1) + np.log(s).sum()) / 2)
        return np.array(found).T
    if isinstance(live, BernoulliNB):
        x = (rows > live.binarize).astype(long)
        positive = live.feature_log_prob_.astype(long)
        negative = np.log1p(-np.exp(positive))
        return np.asarray(x @ (positive - negative).T + (live.class_log_prior_ + negative.sum(axis=1)))
    if isinstance(live, MultinomialNB):
        return np.asarray(x @ live.feature_log_prob_.T.astype(long) + live.class_log_prior_.astype(long))
    priors = 2 * np.log(live.class_prior_.astype(long))
    away = (x[:, None, :] - live.centroids_) / live.within_class_std_dev_
    return np.asarray(priors - (away * away).sum(axis=2))


def _near_the_boundary(live: Any, rows: Rows, generator: np.random.Generator) -> Rows:
    """Between rows of different labels, where the label changes, to the last bits."""
    labels = live.predict(rows)
    first, second = rows[generator.integers(len(rows), size=(2, 400))]
    start, end = live.predict(first), live.predict(second)
    first, second = first[start != end], second[start != end]
    kept = start[start != end]
    assert len(labels) > 100
    for _ in range(60):
        middle = (first + second) / 2
        same = live.predict(middle) == kept
        first = np.where(same[:, None], middle, first)
        second = np.where(same[:, None], second, middle)
    return np.concatenate([first, second, np.nextafter(first, second)])


@pytest.mark.parametrize("labels", ["two", "words"])
@pytest.mark.parametrize("case", ["gaussian", "quadratic", "bernoulli", "multinomial", "centroid, priors"])
def test_both_sides_stay_within_the_bound(case: str, labels: str) -> None:
    live, X = _fitted(case, LABELS[labels])
    one = subject_of(case, live, X)
    generator = np.random.default_rng(0)
    near = _near_the_boundary(live, X, generator)
    powers = 10.0 ** generator.uniform(-12, 12, size=(400, 1))
    rows = np.concatenate([X, near, _shape(case)(generator.normal(size=(400, X.shape[1])) * powers)])
    found = answers(one.emitted.onnx, rows)
    exact = _scores(live, rows)
    top = np.sort(exact, axis=1)
    off = np.abs(found["margin"] - (top[:, -1] - top[:, -2]))
    assert (off <= found["bound"]).all()
    own = getattr(live, "_decision_function", None) or live.predict_joint_log_proba
    original = own(rows)
    assert (np.abs(original - exact) <= found["bound"][:, None] / 2).all()
    certified = found["margin"] > found["bound"]
    label = np.asarray(live.classes_)[exact.argmax(axis=1)]
    assert certified[: len(X)].all()
    assert not certified[len(X) : len(X) + len(near)].all() or case == "bernoulli"
    for say in (live.predict(rows), label, np.array([live.predict(row[None])[0] for row in rows])):
        assert (say == found["label"])[certified].all()


def test_categories_of_no_fit_are_never_certain() -> None:
    live, rows = _fitted("categorical")
    one = subject_of("categories", live, rows)
    cases = rows[:6].copy()
    cases[0, 0], cases[1, 1], cases[2, 2], cases[3, 3] = 3.0, -1.0, 1e300, -1e300
    cases[4:] += np.where(cases[4:] > 0, 0.7, -0.7)  # cast toward zero, as the original casts
    found = answers(one.emitted.onnx, cases)
    certified = found["margin"] > found["bound"]
    assert not certified[:4].any()
    assert (found["label"][4:] == live.predict(cases[4:])).all()
    assert certified[4:].all()
