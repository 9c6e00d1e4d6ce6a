# SPDX-License-Identifier: Apache-2.0
"""Categorical splits: known, unknown and missing categories go where the original sends them, to the last bit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from onnx import numpy_helper
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from depickle.errors import ParityError, UnsupportedModelError
from depickle.models.types import Boosted, Encode, walk_predictors
from depickle.parity.groups import tree_groups

from .emit_checks import LABELS, convert, live_raw, read, ulps
from .proof_kit import Subject, subject_of

Rows = npt.NDArray[np.float64]

CATEGORICAL = (1, 4)


def _data(labels: tuple[Any, ...], *, sparse: bool = True) -> tuple[Rows, Any]:
    """Columns 1 and 4 hold codes: few ones with gaps between them, and many."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(1000, 6))
    X[:, 1] = rng.integers(0, 9, 1000) * (3.0 if sparse else 1.0)
    X[:, 4] = rng.integers(0, 70, 1000)
    signal = X[:, 0] + 2.0 * np.isin(X[:, 1], [3, 4, 9, 12]) + 1.5 * (X[:, 4] % 3 == 0) + X[:, 5] * 0.2
    X[rng.random(X.shape) < 0.04] = np.nan
    if not labels:
        return X, signal
    edges = np.quantile(signal, np.arange(1, len(labels)) / len(labels))
    return X, np.array(labels)[np.digitize(signal, edges)]


def _hard_rows(base: Rows, cuts: list[tuple[int, float]], *, fractions: bool) -> Rows:
    """Every category, its neighbours in the last place, values that are none; rows on splits and beside them."""
    rng = np.random.default_rng(8)
    codes = np.arange(-3.0, 310.0)
    odd = [np.nan, -0.0, 1e-300, -1.0, 255.0, 256.0, 259.0, 1e6, 2.0**31, -(2.0**33), 1e12]
    if fractions:
        odd += [0.5, 2.999999, 3.5, np.nextafter(3.0, 4.0), np.nextafter(3.0, 2.0), -0.5, 1e17]
    made = [base]
    for column in CATEGORICAL:
        values = np.concatenate([codes, odd])
        rows = base[rng.integers(0, len(base), len(values))].copy()
        rows[:, column] = values
        made.append(rows)
    for column, cut in cuts:
        rows = base[rng.integers(0, len(base), 3)].copy()
        rows[:, column] = [cut, np.nextafter(cut, np.inf), np.nextafter(cut, -np.inf)]
        made.append(rows)
    noise = base[rng.integers(0, len(base), 1500)].copy()
    noise[:, [0, 2, 3, 5]] += rng.normal(size=(1500, 4))
    noise[:, 4] = rng.integers(-2, 120, 1500)
    noise[rng.random(noise.shape) < 0.05] = np.nan
    return np.vstack([*made, noise])


def _histogram(live: Any, X: Rows, y: Any) -> Any:
    """`live`, fitted; its numerical step is a `functools.partial` of check_array."""
    live.fit(X, y)
    assert live._preprocessor.transformers_[1][1].func.func.__name__ == "check_array"
    return live


def _outcome(live: Any, base: Rows, *, fractions: bool = True) -> tuple[int, int, float, int]:
    """Flips among certified rows, ulp of the raw scores, share certified, categorical nodes."""
    found = convert(live)
    boosted = next(item for item in walk_predictors(found.typed.root) if isinstance(item, Boosted))
    passed = found.typed.root.steps[0].passed if found.typed.root is not boosted else None
    sets = sum(len(tree.members) for tree in boosted.trees)
    cuts = []
    for column, values in found.typed.split_thresholds().items():
        if passed is not None:
            column = passed[column - len(CATEGORICAL)]
        cuts += [(column, float(cut)) for cut in values[:80]]
    rows = _hard_rows(base, cuts, fractions=fractions)
    answers = found.answers(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = live.predict(rows)
        raw = live_raw(live, rows)
    if found.typed.task == "regressor":
        return 0, ulps(expected, answers["scores"][:, 0]), 1.0, sets
    certain = answers["margin"] > answers["bound"] if "margin" in answers else np.ones(len(rows), dtype=bool)
    flips = int((expected.astype(str) != answers["label"].astype(str))[certain].sum())
    assert raw is not None
    return flips, ulps(raw, answers["scores"]), float(certain.mean()), sets


@pytest.mark.parametrize("labels", LABELS)
def test_histogram_boosting_with_categories_answers_bit_for_bit(labels: str) -> None:
    X, y = _data(LABELS[labels])
    live = _histogram(
        HistGradientBoostingClassifier(max_iter=12, categorical_features=list(CATEGORICAL), random_state=0),
        X,
        y,
    )
    flips, distance, certain, sets = _outcome(live, X)
    assert (flips, distance, certain) == (0, 0, 1.0)
    assert sets > 20
    assert read(live).ceiling == "proven"


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_a_histogram_regressor_with_categories_answers_bit_for_bit(loss: str) -> None:
    X, y = _data(())
    live = _histogram(
        HistGradientBoostingRegressor(loss=loss, max_iter=12, categorical_features=list(CATEGORICAL)), X, y
    )
    flips, distance, _, sets = _outcome(live, X)
    assert (flips, distance) == (0, 0)
    assert sets > 20


def test_columns_that_are_all_categories_are_converted() -> None:
    X, y = _data((0, 1))
    live = HistGradientBoostingClassifier(max_iter=5, categorical_features=[0, 1])
    live = _histogram(live, X[:, [1, 4]], y)
    found = convert(live)
    rows = np.stack([np.resize(np.arange(-2.0, 30.0), 400), np.resize(np.arange(0.0, 120.0), 400)], axis=1)
    assert (found.answers(rows)["label"] == live.predict(rows)).all()
    assert isinstance(found.typed.root.steps[0], Encode)


def test_a_model_that_never_saw_a_missing_category_sends_unknown_ones_the_same_way() -> None:
    X, y = _data((0, 1))
    X = np.nan_to_num(X, nan=0.0)
    live = _histogram(
        HistGradientBoostingClassifier(max_iter=8, categorical_features=list(CATEGORICAL)), X, y
    )
    flips, distance, _, sets = _outcome(live, X)
    assert (flips, distance) == (0, 0)
    assert sets > 5


@pytest.mark.parametrize("labels", ["binary", "signs"])
def test_histogram_boosting_with_categories_is_proven(labels: str) -> None:
    one = _subject(labels)
    proof = one.prove()
    assert proof is not None
    assert proof.trees >= 8
    groups = tree_groups(one.record, 6)
    assert [group.preamble.columns for group in groups if group.preamble] == [6]


def test_a_category_on_the_wrong_side_is_refused() -> None:
    one = _subject("binary")
    model = onnx.load_from_string(one.emitted.onnx)
    tables = [item for item in model.graph.initializer if len(item.dims) == 2]
    assert len(tables) == len(CATEGORICAL)
    for table in tables:
        original = table.raw_data
        values = numpy_helper.to_array(table)
        generator = np.random.default_rng(1)
        for _ in range(40):
            changed = np.array(values)
            place = generator.integers(values.shape[0] - 2), generator.integers(values.shape[1])
            changed[place] = 1.0 - changed[place]
            table.raw_data = changed.tobytes()
            with pytest.raises(ParityError) as caught:
                one.prove(model.SerializeToString())
            assert caught.value.code == "DP711"
        table.raw_data = original
    assert one.prove(model.SerializeToString()) is not None


def _subject(labels: str) -> Subject:
    X, y = _data(LABELS[labels])
    live = _histogram(
        HistGradientBoostingClassifier(max_iter=8, categorical_features=list(CATEGORICAL)), X, y
    )
    return subject_of("histogram boosting with categories", live, X)


def test_text_categories_are_refused() -> None:
    X, y = _data((0, 1))
    live = _histogram(
        HistGradientBoostingClassifier(max_iter=3, categorical_features=list(CATEGORICAL)), X, y
    )
    live._preprocessor.transformers_[0][1].categories_[0] = np.array(["a", "b", "c"])
    with pytest.raises(UnsupportedModelError) as caught:
        read(live)
    assert caught.value.code == "DP603"


@pytest.mark.parametrize("labels", ["binary", "signs", "words"])
def test_lightgbm_with_categories_answers_bit_for_bit(labels: str) -> None:
    X, y = _data(LABELS[labels], sparse=False)
    live = LGBMClassifier(
        n_estimators=12,
        verbose=-1,
        n_jobs=1,
        random_state=0,
        min_child_samples=5,
        cat_smooth=1.0,
        min_data_per_group=2,
    )
    live.fit(X, y, categorical_feature=list(CATEGORICAL))
    flips, distance, certain, sets = _outcome(live, X)
    assert (flips, distance) == (0, 0)
    assert certain > 0.99
    assert sets > 10
    assert subject_of("lightgbm with categories", live, X).prove() is not None


def test_a_lightgbm_regressor_with_categories_answers_bit_for_bit() -> None:
    X, y = _data((), sparse=False)
    live = LGBMRegressor(n_estimators=12, verbose=-1, n_jobs=1, min_child_samples=5, cat_smooth=1.0)
    live.fit(X, y, categorical_feature=list(CATEGORICAL))
    flips, distance, _, sets = _outcome(live, X)
    assert (flips, distance) == (0, 0)
    assert sets > 5
    assert subject_of("lightgbm with categories", live, X).prove() is not None
