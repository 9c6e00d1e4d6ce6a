# SPDX-License-Identifier: Apache-2.0
"""XGBoost's other boosters: dart and gblinear add in float32 bit for bit, and the walk knows each weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from xgboost import XGBClassifier, XGBRegressor

from depickle.emit import emit_onnx
from depickle.errors import ParityError, UnsupportedModelError
from depickle.parity.groups import tree_groups

from .emit_checks import LABELS, compare, convert, make_data, read
from .proof_kit import subject_of

_DART: dict[str, Any] = {
    "booster": "dart",
    "n_estimators": 10,
    "rate_drop": 0.5,
    "max_depth": 3,
    "n_jobs": 1,
    "random_state": 0,
}


@pytest.mark.parametrize("labels", ["binary", "signs"])
def test_dart_classifiers_answer_bit_for_bit(labels: str) -> None:
    X, y = make_data(tuple(range(len(LABELS[labels]))), missing=True)
    live = XGBClassifier(**_DART, base_score=0.3).fit(X, y)
    converted = convert(live)
    outcome = compare(converted, X)
    assert outcome.flips == 0
    assert outcome.raw_ulp == 0
    assert outcome.certified > 0.999
    assert outcome.splits > 0
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx
    assert subject_of("dart", live, X).prove() is not None


@pytest.mark.parametrize("options", [{}, {"base_score": 0.7}, {"early_stopping_rounds": 2}])
def test_dart_regressors_are_proven_and_bit_equal(options: dict[str, Any]) -> None:
    X, y = make_data((), missing=True)
    live = XGBRegressor(**_DART, **options)
    live.fit(X[:200], y[:200], eval_set=[(X[200:], y[200:])], verbose=False)
    converted = convert(live)
    outcome = compare(converted, X)
    assert outcome.raw_ulp == 0
    assert converted.typed.ceiling == "proven"
    assert subject_of("dart", live, X).prove() is not None


def test_a_changed_weight_of_a_tree_is_refused() -> None:
    X, y = make_data((), missing=True)
    one = subject_of("dart", XGBRegressor(**_DART).fit(X, y), X)
    model = onnx.load_from_string(one.emitted.onnx)
    (node,) = [node for node in model.graph.node if node.op_type == "TreeEnsemble"]
    (weights,) = [item.t for item in node.attribute if item.name == "leaf_weights"]
    original = weights.raw_data
    for place in (0, 3, 11, -1):
        values = np.array(numpy_helper.to_array(weights))
        values[place] = np.nextafter(values[place], np.float32(np.inf))
        weights.raw_data = values.tobytes()
        with pytest.raises(ParityError) as caught:
            one.prove(model.SerializeToString())
        assert caught.value.code == "DP711"
        weights.raw_data = original
    assert one.prove(model.SerializeToString()) is not None


def test_dart_with_a_predictor_of_its_own_choice_is_refused() -> None:
    X, y = make_data(())
    live = XGBRegressor(**_DART).fit(X, y)
    live.predictor = "cpu_predictor"  # releases before 2.0 then predict through a matrix
    with pytest.raises(UnsupportedModelError) as caught:
        read(live)
    assert caught.value.code == "DP603"


@pytest.mark.parametrize("labels", ["binary", "signs"])
def test_linear_boosters_classify_bit_for_bit(labels: str) -> None:
    X, y = make_data(tuple(range(len(LABELS[labels]))), missing=True)
    live = XGBClassifier(booster="gblinear", n_estimators=8, n_jobs=1, base_score=0.5, random_state=0).fit(
        X, y
    )
    converted = convert(live)
    outcome = compare(converted, X)
    assert outcome.flips == 0
    assert outcome.raw_ulp == 0
    assert outcome.certified > 0.99
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx
    assert subject_of("gblinear", live, X).prove() is not None


def test_linear_boosters_regress_bit_for_bit_and_a_changed_weight_is_refused() -> None:
    X, y = make_data((), missing=True)
    live = XGBRegressor(booster="gblinear", n_estimators=8, n_jobs=1, random_state=0).fit(X, y)
    assert compare(convert(live), X).raw_ulp == 0
    one = subject_of("gblinear", live, X)
    model = onnx.load_from_string(one.emitted.onnx)
    changed = 0
    for item in model.graph.initializer:
        values = np.array(numpy_helper.to_array(item))
        if values.dtype != np.float32:
            continue
        original = item.raw_data
        values.reshape(-1)[0] = np.nextafter(values.reshape(-1)[0], np.float32(np.inf))
        item.raw_data = values.tobytes()
        with pytest.raises(ParityError) as caught:
            one.prove(model.SerializeToString())
        assert caught.value.code == "DP711"
        item.raw_data = original
        changed += 1
    assert changed >= 3
    assert one.prove(model.SerializeToString()) is not None
    assert tree_groups(one.record, 6)[0].trees == ()


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize("classes", [0, 2, 3])
def test_categories_answer_bit_for_bit(classes: int, limit: int) -> None:
    generator = np.random.default_rng(5)
    X, y = make_data(tuple(range(classes)), missing=True)
    X[:, 4] = generator.integers(0, 12, len(X))
    X[:, 5] = generator.integers(0, 4, len(X))
    X[generator.random(len(X)) < 0.05, 4] = np.nan
    made = XGBClassifier if classes else XGBRegressor
    live = made(
        n_estimators=8,
        max_depth=4,
        n_jobs=1,
        enable_categorical=True,
        feature_types=["q", "q", "q", "q", "c", "c"],
        max_cat_to_onehot=limit,
    ).fit(X, np.where(X[:, 4] % 3 == 0, np.roll(y, 1), y))
    converted = convert(live)
    odd = [0, 1, 2.7, 3.9, -0.5, -0.0, -1, 3, 3.99, 11, 11.9, 12, 50, 1e9, 3e9, -1e9, np.nan]
    rows = np.repeat(X[:40], len(odd), axis=0)
    rows[:, 4], rows[:, 5] = np.tile(odd, 40), generator.permutation(np.tile(odd, 40))
    outcome = compare(converted, np.vstack([X, rows]))
    assert outcome.flips == 0
    assert outcome.raw_ulp == 0
    assert outcome.certified > 0.99
    assert sum(len(tree.members) for tree in converted.typed.root.trees) > 5  # type: ignore[union-attr]
    assert subject_of("categories", live, X).prove() is not None
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx
