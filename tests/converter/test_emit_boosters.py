# SPDX-License-Identifier: Apache-2.0
"""Bare boosters: the file gives what their predict returns, within its own bound."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from depickle.emit import emit_onnx
from depickle.errors import UnsupportedModelError
from depickle.models import read_model
from depickle.pickles import open_package, vet
from depickle.pickles.graph import DictNode

from .emit_checks import Converted, convert, make_data, random_rows, read, split_rows


def of_lightgbm(objective: str, rounds: int = 8, **options: Any) -> tuple[lightgbm.Booster, Any]:
    X, y = make_data((0, 1, 2) if "num_class" in options else (0, 1), missing=True)
    settings = {"objective": objective, "verbose": -1, "num_threads": 1, "seed": 0, **options}
    return lightgbm.train(settings, lightgbm.Dataset(X, y), rounds), X


def of_xgboost(objective: str, rounds: int = 8, **options: Any) -> tuple[xgboost.Booster, Any]:
    X, y = make_data((0, 1, 2) if "num_class" in options else (0, 1), missing=True)
    settings = {"objective": objective, "nthread": 1, "verbosity": 0, **options}
    return xgboost.train(settings, xgboost.DMatrix(X, y), rounds), X


def rows_for(converted: Converted, base: Any) -> Any:
    hard, splits = split_rows(converted.typed, base)
    assert splits > 0
    return np.vstack([base, random_rows(base), hard])


def asked(live: Any, rows: Any) -> Any:
    """What the booster itself predicts."""
    if isinstance(live, xgboost.Booster):
        return live.predict(xgboost.DMatrix(rows, nthread=1)).astype(np.float64)
    return live.predict(rows, num_threads=1)


@pytest.mark.parametrize(
    ("make", "widest"),
    [
        (lambda: of_lightgbm("binary"), 2.0**-46),
        (lambda: of_lightgbm("binary", sigmoid=2.5), 2.0**-46),
        (lambda: of_lightgbm("binary", boosting="rf", bagging_freq=1, bagging_fraction=0.5), 2.0**-46),
        (lambda: of_xgboost("binary:logistic"), 2.0**-17),
        (lambda: of_xgboost("binary:logistic", base_score=0.3), 2.0**-15),
    ],
    ids=["lightgbm", "steeper", "a random forest", "xgboost", "from a base score"],
)
def test_a_probability_is_within_its_bound(make: Callable[[], tuple[Any, Any]], widest: float) -> None:
    live, X = make()
    converted = convert(live)
    typed = converted.typed
    assert (typed.task, typed.classes, typed.ceiling) == ("regressor", None, "certified")
    rows = rows_for(converted, X)
    answers = converted.answers(rows)
    assert set(answers) == {"scores", "bound"}
    off = np.abs(answers["scores"][:, 0] - asked(live, rows))
    assert (off <= answers["bound"]).all()
    assert answers["bound"].max() <= widest


@pytest.mark.parametrize(
    "make",
    [
        lambda: of_lightgbm("regression"),
        lambda: of_lightgbm("huber"),
        lambda: of_xgboost("reg:squarederror"),
    ],
    ids=["lightgbm", "huber", "xgboost"],
)
def test_a_sum_is_bit_equal(make: Callable[[], tuple[Any, Any]]) -> None:
    live, X = make()
    converted = convert(live)
    assert converted.typed.ceiling == "proven"
    rows = rows_for(converted, X)
    assert np.array_equal(converted.answers(rows)["scores"][:, 0], asked(live, rows))


def test_early_stopping_counts_as_predict_counts_it() -> None:
    X, y = make_data((0, 1))
    fit, held = slice(0, 200), slice(200, None)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "learning_rate": 0.3}
    data = lightgbm.Dataset(X[fit], y[fit])
    other = lightgbm.Dataset(X[held], y[held], reference=data)
    stop = lightgbm.early_stopping(3, verbose=False)
    light = lightgbm.train(settings, data, 60, valid_sets=[other], callbacks=[stop])
    assert 1 <= light.best_iteration < 60
    extreme = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1},
        xgboost.DMatrix(X[fit], y[fit]),
        60,
        evals=[(xgboost.DMatrix(X[held], y[held]), "other")],
        early_stopping_rounds=3,
        verbose_eval=False,
    )
    assert extreme.best_iteration + 1 < extreme.num_boosted_rounds()
    for live in (light, extreme):
        answers = convert(live).answers(X)
        assert (np.abs(answers["scores"][:, 0] - asked(live, X)) <= answers["bound"]).all()


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("DP607", lambda: of_lightgbm("multiclass", num_class=3)),
        ("DP607", lambda: of_xgboost("multi:softprob", num_class=3)),
        ("DP603", lambda: of_xgboost("binary:logistic", booster="dart", rate_drop=0.3)),
        ("DP603", lambda: of_xgboost("binary:logistic", booster="gblinear")),
        ("DP603", lambda: of_xgboost("binary:logitraw")),
        ("DP603", lambda: of_lightgbm("cross_entropy")),
    ],
    ids=["classes", "classes of xgboost", "dart", "gblinear", "raw", "cross entropy"],
)
def test_other_boosters_are_refused(code: str, make: Callable[[], tuple[Any, Any]]) -> None:
    live, _ = make()
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == code


@pytest.mark.parametrize("value", [None, 3, "tree", b"", b"{", "tree\nversion=v4\n"])
def test_a_booster_without_a_model_is_refused(value: Any) -> None:
    for live in (of_lightgbm("binary")[0], of_xgboost("binary:logistic")[0]):
        vetted = vet(pickle.dumps(live))
        record = open_package(vetted).estimator
        assert isinstance(record.state, DictNode)
        record.state.items["_handle" if "_handle" in record.state.items else "handle"] = value
        with pytest.raises(UnsupportedModelError):
            emit_onnx(read_model(record, writer=vetted.writer))
