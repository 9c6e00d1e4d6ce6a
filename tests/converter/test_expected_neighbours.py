# SPDX-License-Identifier: Apache-2.0
"""Neighbours are walked in every variant; what squares lose or gain beyond the normal numbers is never certified."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import sklearn.base
from onnx import numpy_helper
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from depickle.errors import ParityError, UnsupportedModelError
from depickle.models import read_model
from depickle.parity.expected import expect_model
from depickle.pickles import open_package, vet

from .proof_kit import Rows, answers, fitted, subject_of

ALGORITHMS = ("brute", "kd_tree", "ball_tree")
METRICS = ("euclidean", "manhattan", "chebyshev", "minkowski")
WAYS = list(itertools.product(ALGORITHMS, ("uniform", "distance")))
WORDS = ("A", "B", "C")
GENERATOR = np.random.default_rng(5)
ROWS = GENERATOR.normal(size=(40, 3))
LABELS = (ROWS[:, 0] > 0.7).astype(int)


@pytest.mark.parametrize(
    ("algorithm", "metric", "weights"),
    list(itertools.product(ALGORITHMS, METRICS, ("uniform", "distance", None))),
)
@pytest.mark.parametrize("count", [1, 5, 220])
def test_every_variant_is_walked(algorithm: str, metric: str, weights: str | None, count: int) -> None:
    options: dict[str, Any] = {"algorithm": algorithm, "metric": metric, "weights": weights}
    for live, labels in (
        (KNeighborsClassifier(count, **options), WORDS),
        (KNeighborsRegressor(count, **options), ()),
    ):
        assert fitted(metric, make_pipeline(StandardScaler(), live), labels).prove() is not None


@pytest.mark.parametrize("release", ["1.2.2", "1.3.2", "1.8.0"])
def test_no_release_is_walked_otherwise(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = KNeighborsClassifier(p=1, algorithm="brute").fit(ROWS, LABELS)
    now = subject_of("now", live, ROWS)
    monkeypatch.setattr(sklearn.base, "__version__", release)
    assert subject_of(release, live, ROWS).prove(now.emitted.onnx) is not None


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_no_number_of_the_file_may_be_another(weights: str, metric: str) -> None:
    live = KNeighborsClassifier(3, algorithm="brute", weights=weights, metric=metric).fit(ROWS, LABELS)
    one = subject_of("neighbours", live, ROWS)
    count = 0
    for place, tensor in enumerate(onnx.load_from_string(one.emitted.onnx).graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind not in "fi" or not np.isfinite(values).all():
            continue
        wrong = onnx.load_from_string(one.emitted.onnx)
        moved = np.nextafter(values, np.inf) if values.dtype.kind == "f" else values + 1
        wrong.graph.initializer[place].raw_data = moved.astype(values.dtype).tobytes()
        count += 1
        with pytest.raises(ParityError) as refusal:
            one.prove(wrong.SerializeToString(deterministic=True))
        assert refusal.value.code == "DP711"
    assert count > 10


# Attributes that are not what the class documents -------------------------------------------------------------------


def _expected(live: Any) -> object:
    vetted = vet(pickle.dumps(live, protocol=5))
    return expect_model(open_package(vetted).estimator, vetted.writer)


def _fitted(**options: Any) -> KNeighborsClassifier:
    return KNeighborsClassifier(**{"algorithm": "brute", **options}).fit(ROWS, LABELS)


HOSTILE: dict[str, Callable[[KNeighborsClassifier], dict[str, Any]]] = {
    "answers of fewer rows": lambda live: {"_y": live._y[1:]},
    "answers of more classes": lambda live: {"_y": live._y + 1},
    "rows of fewer columns": lambda live: {"_fit_X": live._fit_X[:, 1:]},
    "more neighbours than rows": lambda live: {"n_neighbors": 41},
    "no neighbours": lambda live: {"n_neighbors": 0},
    "another way to find them": lambda live: {"_fit_method": "auto"},
    "one class": lambda live: {"classes_": live.classes_[:1]},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_attributes_that_the_class_does_not_document_are_refused(case: str) -> None:
    live = _fitted()
    assert _expected(live) is not None
    vars(live).update(HOSTILE[case](live))
    with pytest.raises(ParityError) as refusal:
        _expected(live)
    assert refusal.value.code == "DP710"


@pytest.mark.parametrize(
    "change",
    [
        {"effective_metric_": "cosine"},
        {"p": 1},  # changed after the fit: brute force would ask for another metric than the trees
        {"metric": "manhattan"},
        {"metric_params": {"w": [1.0, 2.0, 3.0]}},
        {"effective_metric_params_": {"p": 3}},
        {"_fit_X": ROWS.astype(np.float32)},
        {"_fit_X": ROWS * 1e160},
        {"_y": LABELS.reshape(-1, 1)},
    ],
)
def test_what_has_no_bound_is_not_derived(change: dict[str, Any]) -> None:
    live = _fitted()
    vars(live).update(change)
    assert _expected(live) is None


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_more_classes_than_places_within_a_vote_are_refused_on_both_sides() -> None:
    live = KNeighborsClassifier(3).fit(np.arange(2**13 + 1.0).reshape(-1, 1), np.arange(2**13 + 1))
    assert _expected(live) is None
    vetted = vet(pickle.dumps(live, protocol=5))
    with pytest.raises(UnsupportedModelError) as refusal:
        read_model(open_package(vetted).estimator, writer=vetted.writer)
    assert refusal.value.code == "DP603"


# The certificate ----------------------------------------------------------------------------------------------------


def _alone(live: Any, rows: Rows) -> list[Any]:
    """The original's answers, one row at a time."""
    with np.errstate(all="ignore"):
        return [live.predict(row[np.newaxis])[0] for row in rows]


@pytest.mark.parametrize("scale", [1e-155, 1e-160, 1e-161, 1e-162, 1e-310])
@pytest.mark.parametrize(("algorithm", "weights"), WAYS)
def test_squares_below_the_normal_numbers_certify_nothing(scale: float, algorithm: str, weights: str) -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(60, 3)) * scale, generator.integers(0, 3, 60)
    live = KNeighborsClassifier(4, algorithm=algorithm, weights=weights).fit(X, y)
    rows = np.concatenate([X, generator.normal(size=(60, 3)) * scale])
    found = answers(subject_of("tiny", live, X).emitted.onnx, rows)
    assert not (found["margin"] > found["bound"]).any()


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
@pytest.mark.parametrize(("algorithm", "weights"), WAYS)
@pytest.mark.parametrize("count", [3, 40])
def test_distances_that_overflow_certify_nothing(
    metric: str, algorithm: str, weights: str, count: int
) -> None:
    options: dict[str, Any] = {"algorithm": algorithm, "metric": metric, "weights": weights}
    rows = np.random.default_rng(1).normal(size=(12, 3)) * np.repeat([1e155, 1e300, 1e307], 4)[:, np.newaxis]
    live = KNeighborsClassifier(count, **options).fit(ROWS, LABELS)
    found = answers(subject_of("far", live, ROWS).emitted.onnx, rows)
    certified = found["margin"] > found["bound"]
    assert _alone(live, rows[certified]) == found["label"][certified].tolist()
    assert not certified[8:].any()
    assert not (metric == "euclidean" and certified.any())
    numbers = KNeighborsRegressor(count, **options).fit(ROWS, ROWS[:, 1])
    found = answers(subject_of("far", numbers, ROWS).emitted.onnx, rows)
    far = np.abs(found["scores"][:, 0] - np.array(_alone(numbers, rows), dtype=np.float64))
    assert not (np.isfinite(found["bound"]) & ~(far <= found["bound"])).any()


@pytest.mark.parametrize(("algorithm", "weights"), WAYS)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_duplicates_and_rows_between_several_are_open_or_right(
    algorithm: str, weights: str, metric: str
) -> None:
    generator = np.random.default_rng(2)
    for offset in (0.0, 1e8):
        X = generator.integers(0, 4, size=(80, 3)) + offset
        y = generator.integers(0, 3, 80)
        live = KNeighborsClassifier(4, algorithm=algorithm, weights=weights, metric=metric).fit(X, y)
        rows = np.concatenate([X, X + 0.5, (X + X[::-1]) / 2, np.nextafter(X, np.inf)])
        found = answers(subject_of("ties", live, X).emitted.onnx, rows)
        certified = found["margin"] > found["bound"]
        assert (live.predict(rows) == found["label"])[certified].all()
        assert [found["label"][place] for place in np.flatnonzero(certified)] == _alone(live, rows[certified])
        for seed in range(
            3
        ):  # the same rows in another order: other ties are broken, and sums are added up otherwise
            order = np.random.default_rng(seed).permutation(80)
            other = KNeighborsClassifier(4, algorithm=algorithm, weights=weights, metric=metric)
            assert (other.fit(X[order], y[order]).predict(rows) == found["label"])[certified].all()
