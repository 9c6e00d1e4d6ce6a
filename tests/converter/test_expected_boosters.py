# SPDX-License-Identifier: Apache-2.0
"""The second reading of bare boosters: numbers of the original's own predict, within the bound that a file states."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost

from depickle.errors import ParityError
from depickle.parity.expected import expect_model
from depickle.parity.rows import make_rows
from depickle.pickles import open_package, vet

from .emit_checks import make_data
from .proof_kit import answers, subject, subject_of

X, BINARY = make_data((0, 1), rows=300)
THREE = make_data((0, 1, 2), rows=300)[1]
POSITIVE = np.abs(make_data((), rows=300)[1]) + 0.1


def _lightgbm(y: Any, **options: Any) -> Any:
    return lightgbm.train({"verbose": -1, "num_threads": 1, **options}, lightgbm.Dataset(X, y), 8)


def _xgboost(y: Any, **options: Any) -> Any:
    return xgboost.train({"nthread": 1, **options}, xgboost.DMatrix(X, y), 8)


def _stopped_lightgbm() -> Any:
    data = lightgbm.Dataset(X, BINARY)
    other = lightgbm.Dataset(X, BINARY[::-1].copy(), reference=data)
    stop = lightgbm.early_stopping(3, verbose=False)
    options = {"objective": "binary", "learning_rate": 0.5, "verbose": -1, "num_threads": 1}
    return lightgbm.train(options, data, 30, valid_sets=[other], callbacks=[stop])


def _stopped_xgboost() -> Any:
    options = {"objective": "binary:logistic", "nthread": 1, "eta": 0.5}
    other = xgboost.DMatrix(X, BINARY[::-1].copy())
    return xgboost.train(
        options,
        xgboost.DMatrix(X, BINARY),
        30,
        evals=[(other, "other")],
        early_stopping_rounds=3,
        verbose_eval=False,
    )


def _predicted(live: Any, rows: Any) -> Any:
    return live.predict(xgboost.DMatrix(rows) if isinstance(live, xgboost.Booster) else rows)


CASES: dict[str, Callable[[], Any]] = {
    "lightgbm, binary": lambda: _lightgbm(BINARY, objective="binary"),
    "lightgbm, a flat logistic": lambda: _lightgbm(BINARY, objective="binary", sigmoid=0.5),
    "lightgbm, zeros missing": lambda: _lightgbm(BINARY, objective="binary", zero_as_missing=True),
    "lightgbm, forest": lambda: _lightgbm(
        BINARY, objective="binary", boosting="rf", bagging_fraction=0.6, bagging_freq=1
    ),
    "lightgbm, dart": lambda: _lightgbm(BINARY, objective="binary", boosting="dart"),
    "lightgbm, stopped early": _stopped_lightgbm,
    "lightgbm, squares": lambda: _lightgbm(POSITIVE, objective="regression"),
    "lightgbm, roots": lambda: _lightgbm(POSITIVE, objective="regression", reg_sqrt=True),
    "lightgbm, counts": lambda: _lightgbm(POSITIVE, objective="poisson"),
    "xgboost, binary": lambda: _xgboost(BINARY, objective="binary:logistic", base_score=0.5),
    "xgboost, another start": lambda: _xgboost(BINARY, objective="binary:logistic", base_score=0.01),
    "xgboost, forests": lambda: _xgboost(
        BINARY, objective="binary:logistic", num_parallel_tree=3, subsample=0.5
    ),
    "xgboost, stopped early": _stopped_xgboost,
    "xgboost, squares": lambda: _xgboost(POSITIVE),
    "xgboost, counts": lambda: _xgboost(POSITIVE, objective="count:poisson"),
}
EXACT = {"lightgbm, squares", "lightgbm, roots", "xgboost, squares"}
UNBOUNDED = {"lightgbm, roots", "lightgbm, counts", "xgboost, counts"}


@pytest.mark.parametrize("case", CASES)
def test_the_walk_passes_and_the_numbers_are_within_their_bound(case: str) -> None:
    live = CASES[case]()
    one = subject_of(case, live, X)
    assert one.prove() is not None
    contract = one.emitted.input
    assert contract.max_abs is not None or case.startswith("lightgbm")
    made = make_rows(
        one.record,
        features=contract.features,
        allow_nan=contract.allow_nan,
        max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
        seed=1,
    )
    assert made.splits_reached > 0
    for rows in made.sets:
        found = answers(one.emitted.onnx, rows.values)
        away = np.abs(_predicted(live, rows.values) - found["scores"][:, 0])
        if case in EXACT:
            assert not away.any()
        if case not in EXACT | UNBOUNDED:
            assert (away <= found["bound"]).all()
            assert found["bound"].max() < 1e-3


def _expected(live: Any) -> Any:
    vetted = vet(pickle.dumps(live))
    return expect_model(open_package(vetted).estimator, dict(vetted.writer))


@pytest.mark.parametrize(
    "make",
    [
        lambda: _lightgbm(THREE, objective="multiclass", num_class=3),
        lambda: _xgboost(BINARY, objective="binary:logistic", booster="dart"),
        lambda: _xgboost(BINARY, objective="binary:logistic", booster="gblinear"),
    ],
    ids=["several numbers a row", "dart", "gblinear"],
)
def test_what_predict_answers_otherwise_has_no_derivation(make: Callable[[], Any]) -> None:
    assert _expected(make()) is None


@pytest.mark.parametrize("objective", ["multi:softprob", "binary:hinge", "binary:logitraw", "rank:pairwise"])
def test_another_objective_is_refused(objective: str) -> None:
    several = {"num_class": 3} if objective.startswith("multi") else {}
    with pytest.raises(ParityError) as caught:
        _expected(_xgboost(THREE if several else BINARY, objective=objective, **several))
    assert caught.value.code == "DP710"


@pytest.mark.parametrize(
    ("name", "bound"), [("booster of lightgbm", 2.0**-46), ("booster of xgboost", 2.0**-17)]
)
def test_a_start_that_passes_through_a_logarithm_widens_the_bound(name: str, bound: float) -> None:
    one = subject(name)
    found = answers(one.emitted.onnx, X)["bound"]
    assert len(set(found.tolist())) == 1
    assert found[0] == bound if name.endswith("lightgbm") else found[0] > bound
