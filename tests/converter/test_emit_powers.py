# SPDX-License-Identifier: Apache-2.0
"""Norms, powers and more projections: errors within their bounds, certified rows never flip, others are open."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from lightgbm import LGBMClassifier
from sklearn.decomposition import FastICA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, PowerTransformer, StandardScaler
from sklearn.random_projection import GaussianRandomProjection
from xgboost import XGBClassifier

from depickle.emit.certain import Rows as GraphRows
from depickle.emit.certain import emit_steps
from depickle.emit.graph import Graph
from depickle.errors import UnsupportedModelError
from depickle.models.types import Chain

from .emit_checks import convert, make_data, random_rows, read

Rows = npt.NDArray[np.float64]

TRANSFORMERS: dict[str, Callable[[], Any]] = {
    "l1": lambda: Normalizer("l1"),
    "l2": lambda: Normalizer(),
    "largest": lambda: Normalizer("max"),
    "yeo-johnson": lambda: PowerTransformer(),
    "yeo-johnson as it is": lambda: PowerTransformer(standardize=False),
    "box-cox": lambda: PowerTransformer("box-cox"),
    "independent components": lambda: FastICA(3, random_state=0, max_iter=500),
    "independent components of whitened rows": lambda: FastICA(whiten=False, random_state=0, max_iter=500),
    "neighbourhood components": lambda: NeighborhoodComponentsAnalysis(3, random_state=0, max_iter=10),
    "random projection": lambda: GaussianRandomProjection(3, random_state=0),
}
LAST: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(max_iter=500),
    "forest": lambda: RandomForestClassifier(7, max_depth=5, random_state=0),
    "lightgbm": lambda: LGBMClassifier(n_estimators=6, verbose=-1, n_jobs=1),
    "xgboost": lambda: XGBClassifier(n_estimators=6, n_jobs=1),
}


def _data(case: str) -> tuple[Rows, Any]:
    X, y = make_data((0, 1))
    return (np.abs(X) + 0.01 if case == "box-cox" else X), y


def _fit(live: Any, X: Rows, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(X, y)


def _transformed(live: Any, rows: Rows) -> tuple[Rows, Rows | None, npt.NDArray[np.bool_]]:
    """What the graph makes of `rows` before the last step, with the stated error, and the rows it vouches for."""
    typed = read(live)
    assert isinstance(typed.root, Chain)
    graph = Graph()
    x = graph.input("X", "float64", rows.shape[1])
    made = emit_steps(graph, GraphRows(x, compared=True), typed.root.steps)
    graph.output(made.value, "value", "float64", (None, None))
    if made.error is not None:
        graph.output(made.error, "error", "float64", (None, None))
    for place, flag in enumerate(made.known):
        graph.output(flag, f"known{place}", "bool", (None,))
    session = onnxruntime.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"X": rows}), strict=True))
    known = np.ones(len(rows), dtype=np.bool_)
    for name in names:
        if name.startswith("known"):
            known &= found[name]
    return found["value"], found.get("error"), known


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_the_error_of_each_entry_covers_what_the_original_and_the_copy_differ_by(case: str) -> None:
    X, y = _data(case)
    live = _fit(make_pipeline(TRANSFORMERS[case](), LogisticRegression()), X, y)
    generator = np.random.default_rng(1)
    rows = random_rows(X, 3000) * 10.0 ** generator.integers(-12, 3, (3000, 1))
    rows[:50] = 0.0
    if case == "box-cox":
        rows = np.abs(random_rows(X, 3000)) * 10.0 ** generator.integers(-1, 2, (3000, 1)) + 1e-2
    value, error, known = _transformed(live, rows)
    with np.errstate(all="ignore"):
        expected = live[0].transform(rows)
    if error is None:
        assert case == "largest"
        assert (value == expected).all()
        return
    assert known.mean() > 0.9
    assert (np.abs(value - expected) <= error)[known].all()
    # useful as well as true
    assert np.median(error[known] / np.maximum(np.abs(expected[known]), 1.0)) < 1e-10


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("case", TRANSFORMERS)
def test_models_behind_them_are_certified_and_never_flip(case: str, last: str) -> None:
    X, y = _data(case)
    live = _fit(make_pipeline(TRANSFORMERS[case](), LAST[last]()), X, y)
    converted = convert(live)
    rows = random_rows(X, 2000)
    if case == "box-cox":
        rows = np.abs(rows) + 1e-3
    answers = converted.answers(rows)
    if "margin" not in answers:
        assert (case, last) == ("largest", "forest")
        certain = np.ones(len(rows), dtype=np.bool_)
    else:
        certain = answers["margin"] > answers["bound"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (live.predict(rows[certain]) == answers["label"][certain]).all()
    assert certain.mean() > 0.98
    assert (converted.typed.ceiling == "proven") == ("margin" not in answers)


def test_missing_values_pass_through_a_power_and_stay_certified() -> None:
    X, y = make_data((0, 1), missing=True)
    live = _fit(make_pipeline(PowerTransformer(), LAST["lightgbm"]()), X, y)
    rows = random_rows(X, 1000)
    answers = convert(live).answers(rows)
    certain = answers["margin"] > answers["bound"]
    assert (live.predict(rows) == answers["label"])[certain].all()
    assert certain.mean() > 0.99


def test_rows_that_box_cox_refuses_and_results_past_every_scale_are_open() -> None:
    X, y = _data("box-cox")
    live = _fit(make_pipeline(PowerTransformer("box-cox"), LAST["forest"]()), X, y)
    rows = X[:6].copy()
    rows[1, 0], rows[2, 1], rows[3, 3] = 0.0, -1.0, 1e200
    answers = convert(live).answers(rows)
    assert (answers["margin"] > answers["bound"]).tolist()[:3] == [True, False, False]


def test_a_row_at_the_norm_below_which_nothing_is_divided_is_open() -> None:
    X, y = make_data((0, 1))
    live = _fit(make_pipeline(Normalizer("l1"), LogisticRegression()), X, y)
    least = 10.0 * np.finfo(np.float64).eps
    rows = np.full((4, 6), 0.0)
    rows[:, 0] = [least, least / 2, least * 2, np.nextafter(least, 0.0)]
    _, error, _ = _transformed(live, rows)
    assert error is not None
    assert np.isinf(error).all(axis=1).tolist() == [True, False, False, True]


def test_regressors_behind_a_power_are_refused() -> None:
    X, y = make_data(())
    with pytest.raises(UnsupportedModelError) as refusal:
        read(_fit(make_pipeline(StandardScaler(), PowerTransformer(), RandomForestRegressor(3)), X, y))
    assert refusal.value.code == "DP603"
