# SPDX-License-Identifier: Apache-2.0
"""Naive Bayes, quadratic discriminants, nearest centroids, linear outlier detectors: no certified row flips."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, SGDOneClassSVM
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from depickle.errors import UnsupportedModelError
from depickle.models import read_model
from depickle.pickles import open_package, vet

from .emit_checks import Converted, convert, make_data, random_rows, read

Rows = npt.NDArray[np.float64]

MODELS: dict[str, Callable[[], Any]] = {
    "gaussian": GaussianNB,
    "gaussian, scaled": lambda: make_pipeline(StandardScaler(), GaussianNB(var_smoothing=1e-3)),
    "quadratic": lambda: QuadraticDiscriminantAnalysis(reg_param=0.1),
    "quadratic, scaled": lambda: make_pipeline(StandardScaler(), QuadraticDiscriminantAnalysis()),
    "quadratic, shrunk": lambda: QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.1),
    "centroid": NearestCentroid,
    "centroid, manhattan": lambda: NearestCentroid(metric="manhattan"),
    "centroid, shrunk": lambda: NearestCentroid(shrink_threshold=0.2),
    "centroid, unequal priors": lambda: NearestCentroid(priors=[0.2, 0.3, 0.5]),
    "bernoulli": BernoulliNB,
    "bernoulli, a threshold": lambda: BernoulliNB(binarize=2.0),
}
COUNTS: dict[str, Callable[[], Any]] = {
    "multinomial": MultinomialNB,
    "complement": ComplementNB,
    "complement, normed": lambda: ComplementNB(norm=True),
    "bernoulli, binary rows": lambda: BernoulliNB(binarize=None),
}


def _counted(rows: Rows) -> Rows:
    return np.abs(np.round(rows * [1.0, 0.02, 1000.0, 1.0, 1.0, 1.0])).clip(0, 6)


def _near_ties(live: Any, rows: Rows) -> Rows:
    """Points between rows of different labels, where the label changes, found by bisection."""
    first, last = rows[::2], rows[1::2]
    labels = live.predict(first)
    differ = labels != live.predict(last)
    first, last, labels = first[differ], last[differ], labels[differ]
    for _ in range(60):
        middle = (first + last) / 2
        same = (live.predict(middle) == labels)[:, np.newaxis]
        first, last = np.where(same, middle, first), np.where(same, last, middle)
    return np.vstack([first, last])


def _hold(converted: Converted, rows: Rows) -> npt.NDArray[np.bool_]:
    """No certified row flips, as a batch and alone; which rows are certified."""
    answers = converted.answers(rows)
    certain = answers["margin"] > answers["bound"]
    live = converted.live
    assert not (certain & (live.predict(rows).astype(str) != answers["label"].astype(str))).any()
    for place in range(0, len(rows), max(1, len(rows) // 60)):
        if certain[place]:
            assert str(live.predict(rows[place : place + 1])[0]) == str(answers["label"][place])
    return np.asarray(certain)


@pytest.mark.parametrize("labels", [(0, 1), ("a", "b", "c")])
@pytest.mark.parametrize("case", [*MODELS, *COUNTS])
def test_no_certified_row_flips(case: str, labels: tuple[Any, ...]) -> None:
    X, y = make_data(labels)
    if case in COUNTS:
        X = _counted(X)
    if case == "bernoulli, binary rows":
        X = (X > 1.0).astype(np.float64)
    live = {**MODELS, **COUNTS}[case]()
    if case.endswith("priors") and len(labels) == 2:
        live.set_params(priors=[0.2, 0.8])
    live.fit(X, y)
    converted = convert(live)
    around = np.vstack([X, random_rows(X, 3000)])
    assert _hold(converted, around).mean() > 0.999
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # overflow in the original
        _hold(converted, np.vstack([random_rows(X, 300) * 1e12, random_rows(X, 100) * 1e150]))
    ties = _near_ties(live, random_rows(X, 600))
    assert len(ties)
    _hold(converted, ties)
    answers = converted.answers(around)
    slack = answers["bound"] / answers["margin"]
    assert np.median(slack) < 1e-9
    if "probabilities" in answers:
        apart = np.abs(live.predict_proba(around) - answers["probabilities"]).max(axis=1)
        assert (apart <= 4.0 * answers["bound"] + 2.0**-46).all()
    if "scores" in answers:
        scores = np.asarray(live.decision_function(around)).reshape(len(around), -1)
        assert (np.abs(scores - answers["scores"]).max(axis=1) <= answers["bound"]).all()


def test_categories_are_truncated_and_unknown_ones_are_not_certified() -> None:
    X, y = make_data(("a", "b", "c"))
    X = _counted(X)
    live = CategoricalNB().fit(X, y)
    converted = convert(live)
    generator = np.random.default_rng(4)
    known = np.vstack([X, generator.permuted(X, axis=0), X + 0.4 * generator.random(X.shape)])
    known[:40, 0] = -0.3  # a cast to integers makes a 0 of it
    assert _hold(converted, known).mean() > 0.999
    for wrong in (-1.0, 7.0, 1e300):
        rows = X[:5].copy()
        rows[:, 2] = wrong
        answers = converted.answers(rows)
        assert not (answers["margin"] > answers["bound"]).any()
        with pytest.raises((ValueError, IndexError)), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            live.predict(rows)


@pytest.mark.parametrize("average", [False, True])
def test_outliers_are_certified(average: bool) -> None:
    X, _ = make_data(())
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    live = SGDOneClassSVM(nu=0.2, average=average, random_state=0).fit(X)
    converted = convert(live)
    assert (converted.typed.task, converted.typed.classes) == ("outlier", (-1, 1))
    assert _hold(converted, np.vstack([X, random_rows(X, 3000)])).mean() > 0.999
    _hold(converted, _near_ties(live, random_rows(X, 600)))


@pytest.mark.parametrize(
    "live",
    [
        BaggingClassifier(GaussianNB(), 3, random_state=0),
        VotingClassifier([("a", GaussianNB()), ("b", NearestCentroid())]),
        CalibratedClassifierCV(GaussianNB(), cv=2),
        CalibratedClassifierCV(QuadraticDiscriminantAnalysis(reg_param=0.1), cv=2),
        VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], voting="soft"),
    ],
    ids=lambda live: type(live).__name__,
)
def test_compositions_carry_the_bound(live: Any) -> None:
    X, y = make_data((0, 1, 2))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    converted = convert(live.fit(X, y))
    assert _hold(converted, np.vstack([X, random_rows(X, 800)])).mean() > 0.9


@pytest.mark.parametrize(
    "live",
    [
        VotingClassifier([("a", GaussianNB()), ("b", NearestCentroid())], voting="soft"),
        CalibratedClassifierCV(NearestCentroid(), cv=2),
        NearestCentroid(metric="manhattan", priors=[0.2, 0.3, 0.5]),
        GaussianNB(priors=[0.0, 0.5, 0.5]),
    ],
    ids=["soft vote", "calibrated centroid", "manhattan with priors", "a prior of 0"],
)
def test_what_has_no_bound_is_refused(live: Any) -> None:
    X, y = make_data((0, 1, 2))
    with pytest.raises(UnsupportedModelError) as refusal, np.errstate(all="ignore"):
        read(live.fit(X, y))
    assert refusal.value.code == "DP603"


HOSTILE: dict[str, Callable[[], Any]] = {
    "theta_ var_ class_prior_ classes_ n_features_in_": GaussianNB,
    "feature_log_prob_ class_log_prior_": BernoulliNB,
    "means_ priors_ rotations_ scalings_": lambda: QuadraticDiscriminantAnalysis(reg_param=0.1),
    "centroids_ class_prior_ metric": NearestCentroid,
}


@pytest.mark.parametrize("names", HOSTILE)
def test_state_of_another_shape_is_refused_and_nothing_foreign_escapes(names: str) -> None:
    X, y = make_data((0, 1))
    vetted = vet(pickle.dumps(HOSTILE[names]().fit(X, y)))
    for name in names.split():
        for value in (None, "x", float("nan"), b"", -7, [], {}):
            estimator = open_package(vetted).estimator
            estimator.state.items[name] = value  # type: ignore[union-attr]  # the state of an object is a dictionary
            with pytest.raises(UnsupportedModelError):
                read_model(estimator, writer=dict(vetted.writer))


@pytest.mark.parametrize(("name", "value"), [("var_", 1e-40), ("class_prior_", 0.0)])
def test_numbers_that_no_bound_covers_are_refused(name: str, value: float) -> None:
    X, y = make_data((0, 1))
    live = GaussianNB().fit(X, y)
    getattr(live, name).reshape(-1)[1] = value
    with pytest.raises(UnsupportedModelError):
        read(live)
