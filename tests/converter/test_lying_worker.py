# SPDX-License-Identifier: Apache-2.0
"""A child that was taken over can veto a conversion; it cannot change a byte of the model, whatever it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import is_regressor
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler

from depickle.migrate import ConvertedModel, Converter
from depickle.planning import MigrationOptions
from depickle.sandbox import ReferenceAnswers
from depickle.sources import read_source
from depickle_runtime.errors import SecurityError

from .migration_kit import _rows, _Shared, package

OPTIONS = MigrationOptions(created=datetime(2026, 3, 4, tzinfo=UTC))


MODELS: dict[str, Callable[[], Any]] = {
    "a forest": lambda: make_pipeline(RobustScaler(), RandomForestClassifier(6, max_depth=4, random_state=0)),
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "LightGBM": lambda: LGBMClassifier(n_estimators=6, verbose=-1, n_jobs=1, random_state=0),
    "a forest of numbers": lambda: RandomForestRegressor(6, max_depth=4, random_state=0),
    "a linear regressor": Ridge,
    "a detector of outliers": lambda: IsolationForest(n_estimators=8, random_state=0),
}


def _fitted(name: str) -> Any:
    rows, y = _rows()
    live = MODELS[name]()
    return live.fit(rows, rows[:, 0] if is_regressor(live) else y)


def _changed(name: str, change: Callable[[Any], Any]) -> Callable[[ReferenceAnswers], ReferenceAnswers]:
    def lie(honest: ReferenceAnswers) -> ReferenceAnswers:
        value = getattr(honest, name)
        return honest if value is None else replace(honest, **{name: change(value.copy())})

    return lie


def _in_one_row(values: Any) -> Any:
    """Another label, or the next number, in the row that is most certain to be compared: every one has its turn."""
    place = len(values) // 2
    if values.dtype.kind == "f":
        values[place] = np.nextafter(values[place], np.inf) + abs(values[place])
    else:
        values[place] = values.min() if values[place] != values.min() else values.max()
    return values


LIES: dict[str, Callable[[ReferenceAnswers], ReferenceAnswers]] = {
    "another answer in one row": _changed("predict", _in_one_row),
    "every answer turned round": _changed("predict", lambda values: values[::-1]),
    "one answer for all": _changed("predict", lambda values: np.full_like(values, values[0])),
    "a label that nobody knows": _changed("predict", lambda values: values + 7),
    "no answers": lambda honest: replace(honest, predict=None),
    "text for numbers": _changed("predict", lambda values: values.astype("U8")),
    "a table for a column": _changed("predict", lambda values: np.stack([values, values], axis=1)),
    "other probabilities": _changed("predict_proba", lambda values: values[:, ::-1]),
    "probabilities of too many classes": _changed("predict_proba", lambda values: np.hstack([values, values])),
    "scores that are no numbers": _changed("decision_function", lambda values: values * np.nan),
    "everything at once": lambda honest: ReferenceAnswers(
        predict=np.full(len(honest.predict), "BUY"),
        predict_proba=np.ones((len(honest.predict), 9)),
        decision_function=np.full((len(honest.predict), 3, 3), np.inf),
    ),
}  # fmt: skip
HARMLESS = {"other probabilities", "probabilities of too many classes", "scores that are no numbers"}
"""Lies about what is stated in the evidence only; labels and numbers were compared all the same."""


class _Taken(_Shared):
    """A worker whose child answers what a lie makes of the honest answers, in the form that the protocol admits."""

    def __init__(self, lie: Callable[[ReferenceAnswers], ReferenceAnswers]) -> None:
        self.lie = lie
        self.asked = 0

    def answers(self, *arguments: Any, **keywords: Any) -> Any:
        self.asked += 1
        return self.lie(super().answers(*arguments, **keywords))


def _converted(worker: _Taken, model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ConvertedModel:
    monkeypatch.setattr("depickle.migrate.open_worker", lambda environment: worker)
    path = folder / "EURUSD_a.pkl"
    path.write_bytes(package(model))
    with Converter(OPTIONS) as converter:
        return converter.convert(read_source(path))


@pytest.mark.parametrize("name", MODELS)
def test_whatever_the_child_answers_the_model_is_the_same_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _fitted(name)
    honest = _converted(_Taken(lambda answers: answers), model, tmp_path, monkeypatch)
    refused = set()
    for what, lie in LIES.items():
        worker = _Taken(lie)
        try:
            made = _converted(worker, model, tmp_path, monkeypatch)
        except SecurityError:
            refused.add(what)
        else:
            assert (made.onnx, made.skops) == (honest.onnx, honest.skops), what
        assert worker.asked > 0, what
    assert refused >= LIES.keys() - HARMLESS, LIES.keys() - HARMLESS - refused
