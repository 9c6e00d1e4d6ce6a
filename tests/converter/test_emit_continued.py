# SPDX-License-Identifier: Apache-2.0
"""GradientBoosting that goes on from a fitted model: exact or certified, and walked against its source."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from depickle.emit import emit_onnx
from depickle.errors import ParityError, UnsupportedModelError
from depickle.parity.groups import tree_groups

from .emit_checks import LABELS, compare, convert, make_data, read
from .proof_kit import subject_of

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(5, max_depth=4, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(4, max_depth=3, random_state=0),
    "tree": lambda: DecisionTreeClassifier(max_depth=3, random_state=0),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestRegressor(5, max_depth=4, random_state=0),
    "tree": lambda: DecisionTreeRegressor(max_depth=3, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=4, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingRegressor(max_iter=4, random_state=0),
    "constant": lambda: DummyRegressor(strategy="median"),
}


def _classifier(init: Any, **options: Any) -> Any:
    return GradientBoostingClassifier(n_estimators=6, max_depth=2, init=init, random_state=0, **options)


def _regressor(init: Any) -> Any:
    return GradientBoostingRegressor(n_estimators=6, max_depth=2, init=init, random_state=0)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("init", CLASSIFIERS)
def test_classifiers_are_certified_and_never_flip(init: str, labels: str, scaled: bool) -> None:
    X, y = make_data(LABELS[labels])
    live = _classifier(CLASSIFIERS[init]())
    live = make_pipeline(StandardScaler(), live) if scaled else live
    live.fit(X, y)
    converted = convert(live)
    outcome = compare(converted, X)
    assert outcome.flips == 0
    assert outcome.certified > 0.99
    assert outcome.probability_error is not None
    assert outcome.probability_error < 1e-13
    assert outcome.splits > 0
    assert converted.typed.ceiling == "certified"
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx
    proof = subject_of(init, live, X).prove()
    assert proof is not None
    assert proof.trees > 6


@pytest.mark.parametrize("loss", ["exponential", "log_loss"])
def test_both_losses_start_from_their_own_link(loss: str) -> None:
    X, y = make_data((0, 1))
    live = _classifier(CLASSIFIERS["forest"](), loss=loss).fit(X, y)
    converted = convert(live)
    rows = X[:50]
    raw = converted.answers(rows)["scores"][:, 0]
    assert np.abs(raw - live.decision_function(rows)).max() < 1e-12
    assert subject_of(loss, live, X).prove() is not None


@pytest.mark.parametrize("init", REGRESSORS)
def test_regressors_are_proven_and_bit_equal(init: str) -> None:
    X, y = make_data(())
    live = make_pipeline(StandardScaler(), _regressor(REGRESSORS[init]())).fit(X, y)
    converted = convert(live)
    outcome = compare(converted, X)
    assert outcome.raw_ulp == 0
    assert converted.typed.ceiling == "proven"
    assert subject_of(init, live, X).prove() is not None


def test_rows_are_placed_on_the_splits_of_the_start_too() -> None:
    X, y = make_data(())
    one = subject_of("start", _regressor(REGRESSORS["forest"]()).fit(X, y), X)
    assert [len(group.trees) for group in tree_groups(one.record, 6)] == [6, 5]


@pytest.mark.parametrize("labels", ["binary", "signs"])
def test_a_changed_constant_is_refused(labels: str) -> None:
    X, y = make_data(LABELS[labels])
    one = subject_of("start", _classifier(CLASSIFIERS["forest"]()).fit(X, y), X)
    model = onnx.load_from_string(one.emitted.onnx)
    changed = 0
    for item in model.graph.initializer:
        original = item.raw_data
        values = np.array(numpy_helper.to_array(item))
        if values.dtype != np.float64:
            continue
        values.reshape(-1)[-1] = np.nextafter(values.reshape(-1)[-1], np.inf)
        item.raw_data = values.tobytes()
        with pytest.raises(ParityError) as caught:
            one.prove(model.SerializeToString())
        assert caught.value.code == "DP711"
        item.raw_data = original
        changed += 1
    assert changed > 5
    assert one.prove(model.SerializeToString()) is not None


@pytest.mark.parametrize(
    "live",
    [
        _classifier(LogisticRegression()),
        _classifier(GradientBoostingClassifier(n_estimators=2)),
        _classifier(make_pipeline(StandardScaler(), RandomForestClassifier(2))),
        _regressor(LinearRegression()),
        _regressor(make_pipeline(StandardScaler(), RandomForestRegressor(2))),
    ],
    ids=["logistic", "boosted classifier", "scaled classifier", "linear", "scaled regressor"],
)
def test_a_start_that_is_not_exact_is_refused(live: Any) -> None:
    X, y = make_data((0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live.fit(X, y)
    with pytest.raises(UnsupportedModelError) as caught:
        read(live)
    assert caught.value.code == "DP603"
