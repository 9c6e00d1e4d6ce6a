# SPDX-License-Identifier: Apache-2.0
"""The one partial that models hold: its stand-in in the worker, and a model that holds it from file to proof."""

from __future__ import annotations

import functools
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils.validation import check_array

from depickle.migrate import Converter
from depickle.pickles import vet
from depickle.sandbox.served import served_globals
from depickle.sandbox.worker_main import CheckArrayPartial, RefusedError, load_stream
from depickle.unpickler import RestrictedUnpickler
from tests.converter.migration_kit import _Shared, package
from tests.converter.test_migrate import OPTIONS, source

STATE = (check_array, (), {"dtype": [np.float64], "ensure_all_finite": False}, None)
TABLE = {
    ("functools", "partial"): "partial",
    ("sklearn.utils.validation", "check_array"): "serve",
    ("numpy", "float64"): "serve",
}


@functools.cache
def _model() -> tuple[HistGradientBoostingClassifier, np.ndarray]:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(300, 3))
    rows[:, 1] = rng.integers(0, 9, 300)
    labels = (rows[:, 0] + np.isin(rows[:, 1], [2, 5, 6]) > 0.4).astype(int)
    return HistGradientBoostingClassifier(max_iter=6, categorical_features=[1]).fit(rows, labels), rows


@pytest.mark.parametrize("protocol", range(6))
def test_what_the_gate_accepts_the_worker_rebuilds(protocol: int) -> None:
    data = pickle.dumps(_model()[0]._preprocessor.transformers_[1][1].func, protocol)
    table = {(row.module, row.name): row.how for row in served_globals(vet(data).globals)}
    assert table == TABLE
    built = load_stream(data, joblib=False, policy=table)
    assert isinstance(built, functools.partial)
    assert (built.func, built.args, built.keywords) == (check_array, (), STATE[2])
    assert built(np.array([[1, np.nan]])).dtype == np.float64
    again = pickle.loads(pickle.dumps(built, protocol))
    assert type(again) is functools.partial and again.keywords == STATE[2]


@pytest.mark.parametrize("given", [(), (os.getcwd,), (check_array, 1), (functools.partial(check_array),)])
def test_the_stand_in_takes_no_other_function(given: tuple[Any, ...]) -> None:
    with pytest.raises(RefusedError, match="something else than check_array"):
        CheckArrayPartial(*given)


@pytest.mark.parametrize(
    "state",
    [
        None,
        STATE[:3],
        [*STATE],
        {"func": os.getcwd},
        (os.getcwd, *STATE[1:]),
        (check_array, (1,), *STATE[2:]),
        (*STATE[:2], {}, None),
        (*STATE[:2], {"dtype": [np.float64], "ensure_all_finite": True}, None),
        (*STATE[:2], {"dtype": [np.float32], "ensure_all_finite": False}, None),
        (*STATE[:2], {"dtype": [np.float64], "estimator": False}, None),
        (*STATE[:2], STATE[2] | {"force_all_finite": False}, None),
        (*STATE[:3], {"__class__": object}),
        (*STATE[:3], []),
    ],
)
def test_the_stand_in_takes_no_other_state(state: Any) -> None:
    made = CheckArrayPartial(check_array)
    with pytest.raises(RefusedError, match="a state of its own"):
        made.__setstate__(state)
    with pytest.raises(RefusedError, match="is called while it is read"):
        made([[1.0]])


def test_the_stand_in_takes_its_state_once() -> None:
    made = CheckArrayPartial(check_array)
    made.__setstate__(STATE)
    with pytest.raises(RefusedError, match="a state of its own"):
        made.__setstate__(STATE)


@pytest.mark.parametrize("function", [os.getcwd, len])
def test_a_stream_that_no_gate_saw_is_refused_too(function: Any) -> None:
    data = pickle.dumps(functools.partial(function))
    table = TABLE | {(function.__module__, function.__name__): "serve"}
    with pytest.raises(RefusedError, match="something else than check_array"):
        load_stream(data, joblib=False, policy=table)


def test_a_restricted_unpickler_gives_a_model_that_answers() -> None:
    live, rows = _model()
    loaded = RestrictedUnpickler(io.BytesIO(pickle.dumps(live))).load()
    assert np.array_equal(loaded.predict_proba(rows), live.predict_proba(rows))


def test_a_classifier_with_categories_is_converted_and_proven(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("depickle.migrate.open_worker", lambda environment: _Shared())
    with Converter(OPTIONS) as converter:
        record = converter.convert(source(tmp_path, package(_model()[0]))).record
    assert record.tier == "proven"
    assert record.parity.proof is not None
    assert record.parity.label_flips == 0
    assert all(each.label_flips == 0 for each in record.parity.rows)
    assert max(each.max_ulp_probabilities or 0 for each in record.parity.rows) <= 4  # through exp
