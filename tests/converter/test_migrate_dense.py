# SPDX-License-Identifier: Apache-2.0
"""Dense regressors through the whole converter: each number within the bound that the file states for its row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingRegressor,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    Ridge,
    SGDRegressor,
)
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR
from sklearn.tree import DecisionTreeRegressor

from depickle.errors import ParityError
from depickle.migrate import ConvertedModel, Converter
from depickle.parity.proof import prove
from depickle.planning import MigrationOptions, plan_model
from depickle.sources import read_source
from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.session import Answers, OnnxSession, open_session
from tests.converter.migration_kit import NAMES, package, share_worker

OPTIONS = MigrationOptions(created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
ROWS = np.random.default_rng(3).normal(size=(150, len(NAMES)))
TARGET = ROWS[:, 0] - 3 * ROWS[:, 1] + 0.1 * ROWS[:, 2] ** 2

DENSE: dict[str, Any] = {
    "ridge": Ridge(),
    "linear": LinearRegression(),
    "lasso": Lasso(alpha=0.01),
    "elastic": ElasticNet(alpha=0.01),
    "huber": make_pipeline(StandardScaler(), HuberRegressor()),
    "svr": LinearSVR(max_iter=5000),
    "sgd": make_pipeline(StandardScaler(), SGDRegressor(random_state=0)),
    "pca": make_pipeline(StandardScaler(), PCA(2), Ridge()),
    "relu": MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=200, tol=1e-2, random_state=0),
    "tanh": MLPRegressor(
        hidden_layer_sizes=(6, 4), activation="tanh", solver="lbfgs", max_iter=300, tol=1e-2, random_state=0
    ),
    "pca-network": make_pipeline(
        PCA(2), MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", max_iter=300, tol=1e-2)
    ),
    "voting": VotingRegressor([("r", Ridge()), ("t", DecisionTreeRegressor(max_depth=3))], weights=[2, 1]),
    "bagging": BaggingRegressor(Ridge(), n_estimators=4, random_state=0),
    "stacking": StackingRegressor(
        [("r", Ridge()), ("p", make_pipeline(PCA(2), Ridge()))], Ridge(), cv=2, passthrough=True
    ),
}


@pytest.fixture(autouse=True)
def _worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    share_worker(monkeypatch)
    yield


def _convert(folder: Path, model: Any) -> ConvertedModel:
    path = folder / "eurusd.pkl"
    path.write_bytes(package(model))
    with Converter(OPTIONS) as converter:
        return converter.convert(read_source(path))


def _session(model: ConvertedModel) -> OnnxSession:
    return open_session(check_onnx(model.onnx), contract=model.record.input, outputs=model.record.outputs)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", DENSE)
def test_each_number_is_within_the_bound_of_its_row(name: str, tmp_path: Path) -> None:
    original = DENSE[name].fit(ROWS, TARGET)

    converted = _convert(tmp_path, original)

    record = converted.record
    assert record.outputs.bound == "bound"
    assert record.outputs.margin is None
    assert record.margin is None
    assert record.parity.conditions["numbers"].startswith("each within its bound")
    rows = np.random.default_rng(5).normal(size=(2000, len(NAMES))) * 10
    answers = _session(converted).run(rows)
    assert answers.bound is not None
    assert answers.scores is not None
    apart = np.abs(answers.scores[:, 0] - original.predict(rows))
    assert bool((apart <= answers.bound).all())
    # useful as well as true: about a billionth of what is predicted, at most
    assert float(np.median(answers.bound)) < 1e-9


def test_exact_regressors_state_no_bound(tmp_path: Path) -> None:
    converted = _convert(tmp_path, RandomForestRegressor(5, max_depth=4, random_state=0).fit(ROWS, TARGET))

    assert converted.record.outputs.bound is None
    assert "numbers" not in converted.record.parity.conditions
    assert all(rows.max_ulp_scores == 0 for rows in converted.record.parity.rows)


def test_a_number_beyond_its_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = OnnxSession.run

    def a_little_more(self: OnnxSession, rows: Any) -> Answers:
        answers = run(self, rows)
        assert answers.bound is not None
        assert answers.scores is not None
        return replace(answers, scores=answers.scores + 2.5 * answers.bound[:, np.newaxis])

    monkeypatch.setattr(OnnxSession, "run", a_little_more)
    with pytest.raises(ParityError) as refusal:
        _convert(tmp_path, Ridge().fit(ROWS, TARGET))
    assert refusal.value.code == "DP702"


def test_the_walk_compares_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "eurusd.pkl"
    path.write_bytes(package(Ridge().fit(ROWS, TARGET)))
    plan = plan_model(read_source(path), OPTIONS)
    assert plan.emitted is not None
    gamma = np.float64(2 * (11 * 2.0**-53) / (1 - 11 * 2.0**-53))
    old, new = gamma.tobytes(), np.float64(gamma / 2).tobytes()
    assert plan.emitted.onnx.count(old) == 1

    with pytest.raises(ParityError) as refusal:
        prove(
            plan.package.estimator,
            plan.emitted.onnx.replace(old, new),
            outputs=plan.emitted.outputs,
            writer=plan.vetted.writer,
            where="halved",
        )

    assert refusal.value.code == "DP711"
