# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours: no certified label flips, means stay within their bound, and ties are left open."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse
import sklearn.base
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingRegressor, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from depickle.errors import ConverterError, UnsupportedModelError
from depickle.models import neighbours, read_model
from depickle.pickles import open_package, vet

from .emit_checks import convert, make_data, random_rows, read

Rows = npt.NDArray[np.float64]
ALGORITHMS = ("brute", "kd_tree", "ball_tree")
METRICS = ("euclidean", "manhattan", "chebyshev")
CLASSES: dict[str, tuple[Any, ...]] = {"binary": (0, 1), "four words": ("a", "b", "c", "d")}


def _fit(live: Any, X: Rows, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(X, y)


def _continuous(labels: tuple[Any, ...]) -> tuple[Rows, Any]:
    """No two distances are equal but by chance."""
    X, y = make_data(labels)
    X[:, 4:] += np.random.default_rng(2).normal(size=(len(X), 2))
    return X, y


@pytest.mark.parametrize("labels", CLASSES)
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_certified_labels_are_the_originals(algorithm: str, metric: str, weights: str, labels: str) -> None:
    X, y = _continuous(CLASSES[labels])
    live = KNeighborsClassifier(6, algorithm=algorithm, metric=metric, weights=weights)
    live = _fit(make_pipeline(StandardScaler(), live), X, y)
    converted = convert(live)
    rng = np.random.default_rng(3)
    ordinary = X[rng.integers(0, len(X), 1000)] + rng.normal(size=(1000, 6)) * X.std(axis=0) * 0.3
    rows = np.vstack([ordinary, X, random_rows(X, 500)])
    answers = converted.answers(rows)
    certain = answers["margin"] > answers["bound"]
    assert converted.typed.ceiling == "certified"
    assert (live.predict(rows) == answers["label"])[certain].all()
    assert certain[:1000].mean() > 0.999
    assert certain[1000:1300].mean() > 0.99
    apart = np.abs(live.predict_proba(rows) - answers["probabilities"])[certain]
    assert apart[:990].max() < 1e-7
    one_by_one = np.concatenate([converted.answers(row[np.newaxis])["label"] for row in rows[:30]])
    assert (one_by_one == live.predict(rows[:30])).all()


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_equal_distances_are_open_or_do_not_matter(algorithm: str, metric: str, weights: str) -> None:
    """Integer columns, duplicates with other labels, and queries half way between stored rows."""
    rng = np.random.default_rng(8)
    X = rng.integers(0, 4, (200, 3)).astype(np.float64)
    y = rng.integers(0, 3, 200)
    live = _fit(KNeighborsClassifier(5, algorithm=algorithm, metric=metric, weights=weights), X, y)
    rows = np.vstack([X, X + 0.5, (X + X[::-1]) / 2.0, X + 1e-9])
    answers = convert(live).answers(rows)
    certain = answers["margin"] > answers["bound"]
    assert (live.predict(rows) == answers["label"])[certain].all()
    one_by_one = np.concatenate([live.predict(row[np.newaxis]) for row in rows])
    assert (one_by_one == answers["label"])[certain].all()
    assert not certain.all()


def test_equal_votes_go_to_the_first_class_and_are_certain() -> None:
    X = np.array([[0.0], [1.0], [10.0], [20.0]])
    live = _fit(KNeighborsClassifier(2), X, ["b", "a", "a", "b"])
    answers = convert(live).answers(np.array([[0.3], [0.9], [14.0]]))
    assert answers["label"].tolist() == live.predict(np.array([[0.3], [0.9], [14.0]])).tolist() == ["a"] * 3
    assert (answers["margin"] > answers["bound"]).all()


def test_all_stored_rows_may_be_neighbours() -> None:
    X, y = _continuous((0, 1))
    for weights in ("uniform", "distance"):
        live = _fit(KNeighborsClassifier(40, weights=weights), X[:40], y[:40])
        answers = convert(live).answers(X)
        certain = answers["margin"] > answers["bound"]
        assert (live.predict(X) == answers["label"])[certain].all()
        assert certain.mean() > 0.9


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_means_are_within_their_bound(algorithm: str, metric: str, weights: str) -> None:
    X, _ = make_data(())
    X[:, 4:] += np.random.default_rng(2).normal(size=(len(X), 2))
    y = X[:, 0] * 1e3 + X[:, 1]
    live = KNeighborsRegressor(5, algorithm=algorithm, metric=metric, weights=weights)
    live = _fit(make_pipeline(StandardScaler(), live), X, y)
    rows = np.vstack([X, random_rows(X, 800)])
    answers = convert(live).answers(rows)
    apart = np.abs(live.predict(rows) - answers["scores"][:, 0])
    assert (apart <= answers["bound"]).all()
    assert np.isfinite(answers["bound"]).all()
    # A row that is stored has a neighbour at distance 0, which expanded squares do not show.
    new = answers["bound"][len(X) :]
    assert np.median(new) < 1e-6


def test_answers_of_whole_numbers_have_means_as_well() -> None:
    X, y = _continuous((0, 1, 2))
    live = _fit(KNeighborsRegressor(4), X, y)
    answers = convert(live).answers(X)
    assert (np.abs(live.predict(X) - answers["scores"][:, 0]) <= answers["bound"]).all()


COMPOSED: dict[str, Callable[[], Any]] = {
    "soft vote": lambda: VotingClassifier(
        [("a", KNeighborsClassifier(5)), ("b", LogisticRegression(max_iter=300))], voting="soft"
    ),
    "hard vote": lambda: VotingClassifier(
        [("a", KNeighborsClassifier(5)), ("b", LogisticRegression(max_iter=300))]
    ),
    "calibrated": lambda: CalibratedClassifierCV(KNeighborsClassifier(5, weights="distance"), cv=2),
}


@pytest.mark.parametrize("case", COMPOSED)
def test_compositions_carry_what_is_open(case: str) -> None:
    X, y = _continuous((-1, 0, 1))
    X = StandardScaler().fit_transform(X)
    live = _fit(COMPOSED[case](), X, y)
    rows = random_rows(X, 600)
    answers = convert(live).answers(rows)
    certain = answers["margin"] > answers["bound"]
    assert (live.predict(rows) == answers["label"])[certain].all()
    assert certain.mean() > 0.9


def test_bags_of_means_carry_the_bound() -> None:
    X, y = make_data(())
    live = _fit(BaggingRegressor(KNeighborsRegressor(3), 3, random_state=0), X, y)
    answers = convert(live).answers(X)
    assert (np.abs(live.predict(X) - answers["scores"][:, 0]) <= answers["bound"]).all()


X2, Y2 = make_data((0, 1))


def _changed(name: str, value: Any) -> Any:
    live = _fit(KNeighborsClassifier(), X2, Y2)
    setattr(live, name, value)
    return live


REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "another power": ("DP603", lambda: _fit(KNeighborsClassifier(p=3), X2, Y2)),
    "another metric": ("DP603", lambda: _fit(KNeighborsClassifier(metric="canberra"), X2, Y2)),
    "a weighted metric": (
        "DP603",
        lambda: _fit(
            KNeighborsClassifier(metric="minkowski", metric_params={"w": np.ones(6)}, algorithm="brute"),
            X2,
            Y2,
        ),
    ),
    "a metric changed after the fit": ("DP603", lambda: _changed("metric", "manhattan")),
    "a power changed after the fit": ("DP603", lambda: _changed("p", 1)),
    "other weights": ("DP603", lambda: _changed("weights", "closest")),
    "a sparse fit": ("DP603", lambda: _fit(KNeighborsClassifier(), scipy.sparse.csr_matrix(X2), Y2)),
    "single precision": ("DP603", lambda: _fit(KNeighborsClassifier(), X2.astype(np.float32), Y2)),
    "whole numbers": ("DP603", lambda: _fit(KNeighborsClassifier(), X2.astype(np.int64), Y2)),
    "several outputs": ("DP607", lambda: _fit(KNeighborsClassifier(), X2, np.c_[Y2, Y2])),
    "several values": ("DP607", lambda: _fit(KNeighborsRegressor(), X2, np.c_[Y2, Y2])),
    "one class": ("DP603", lambda: _fit(KNeighborsClassifier(), X2, np.zeros(len(X2)))),
    "more neighbours than rows": ("DP602", lambda: _changed("n_neighbors", 10_000)),
    "no method": ("DP602", lambda: _changed("_fit_method", "auto")),
    "neighbours behind a projection": ("DP603", lambda: _behind_a_projection()),
}


def _behind_a_projection() -> Any:

    return _fit(make_pipeline(PCA(2), KNeighborsClassifier()), X2, Y2)


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_bound_is_refused(case: str) -> None:
    code, fit = REFUSED[case]
    with pytest.raises(UnsupportedModelError) as refusal:
        read(fit())
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("release", "refused"), [("1.2.2", False), ("1.3.0", True), ("1.8.0", True), ("1.9.0", False)]
)
def test_text_labels_of_releases_that_take_them_for_numbers_are_refused(
    release: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = _fit(KNeighborsClassifier(5, p=1, algorithm="brute"), X2, np.array(["no", "yes"])[Y2.astype(int)])
    monkeypatch.setattr(sklearn.base, "__version__", release)
    if refused:
        with pytest.raises(UnsupportedModelError) as refusal:
            read(live)
        assert refusal.value.code == "DP603"
    else:
        assert read(live).classes == ("no", "yes")


@pytest.mark.parametrize("limit", ["MAX_ROWS", "MAX_VALUES", "MAX_NEIGHBOURS", "MAX_COLUMNS"])
def test_more_than_one_pass_can_hold_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = _fit(KNeighborsClassifier(5, metric="manhattan"), X2, Y2)
    assert read(live).root is not None
    monkeypatch.setattr(neighbours, limit, 4)
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP603"


def test_state_of_another_shape_is_refused_and_nothing_foreign_escapes() -> None:
    data = pickle.dumps(_fit(KNeighborsClassifier(), X2, Y2))
    names = ("_fit_X", "_y", "n_neighbors", "classes_", "n_features_in_", "_fit_method", "effective_metric_")
    for name in (*names, "effective_metric_params_", "metric", "p", "metric_params", "weights"):
        for value in ("x", float("nan"), b"", -1, 1e300):
            vetted = vet(data)
            estimator = open_package(vetted).estimator
            estimator.state.items[name] = value  # type: ignore[union-attr]  # the state of an estimator
            with pytest.raises(ConverterError):
                read_model(estimator, writer=dict(vetted.writer))


def test_the_same_model_gives_the_same_bytes() -> None:
    for weights in ("uniform", "distance"):
        live = _fit(KNeighborsClassifier(weights=weights), X2, Y2)
        assert convert(live).emitted.onnx == convert(live, protocol=4).emitted.onnx
