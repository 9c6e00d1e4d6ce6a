# SPDX-License-Identifier: Apache-2.0
"""RandomTreesEmbedding in front of linear models and others: each leaf its column, bit-equal, certified behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomTreesEmbedding
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from depickle.emit import emit_onnx
from depickle.errors import UnsupportedModelError
from depickle.models.types import Chain, Leaves, TypedModel

from .emit_checks import LABELS, Rows, convert, make_data, random_rows, read

FLOAT32_MAX = float(np.finfo(np.float32).max)


def _trees(**options: Any) -> Any:
    return RandomTreesEmbedding(**{"n_estimators": 10, "max_depth": 4, "random_state": 0, **options})


MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: make_pipeline(_trees(), LogisticRegression()),
    "dense logistic": lambda: make_pipeline(_trees(sparse_output=False), LogisticRegression()),
    "scaled": lambda: make_pipeline(StandardScaler(), _trees(), LogisticRegression()),
    "imputed": lambda: make_pipeline(SimpleImputer(), _trees(n_estimators=1), LogisticRegression()),
    "network": lambda: make_pipeline(
        _trees(n_estimators=3), MLPClassifier((4,), max_iter=20, random_state=0)
    ),
    "forest": lambda: make_pipeline(_trees(), RandomForestClassifier(5, max_depth=4, random_state=0)),
    "scaled leaves": lambda: make_pipeline(
        _trees(sparse_output=False), StandardScaler(), LogisticRegression()
    ),
    "beside the columns": lambda: make_pipeline(
        make_union(_trees(sparse_output=False, n_estimators=4), StandardScaler()), LogisticRegression()
    ),
    "of two columns": lambda: make_pipeline(
        make_column_transformer((_trees(sparse_output=False), [1, 3]), remainder="passthrough"),
        StandardScaler(),
        LogisticRegression(),
    ),
}


def _on_splits(typed: TypedModel, live: Any, base: Rows) -> Rows:
    """Rows on every split of the first embedding that sees the columns as they are, and one ulp to each side."""
    assert isinstance(typed.root, Chain)
    generator = np.random.default_rng(0)
    made = [base[:0]]
    for step in typed.root.steps[:1]:
        for tree in step.trees if isinstance(step, Leaves) else ():
            for node in np.flatnonzero(~tree.is_leaf):
                cut = tree.threshold[node]
                rows = base[generator.integers(0, len(base), 5)].copy()
                single = np.float32(cut)
                near = [np.nextafter(single, side) for side in (np.float32(-np.inf), np.float32(np.inf))]
                rows[:, tree.feature[node]] = [cut, single, *near, np.nextafter(cut, np.inf)]
                made.append(rows)
    return np.vstack(made)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("labels", ["binary", "words"])
@pytest.mark.parametrize("case", MODELS)
def test_what_follows_an_embedding_answers_as_the_original(case: str, labels: str) -> None:
    X, y = make_data(LABELS[labels])
    X = X / np.array([1.0, 100.0, 1e-3, 5.0, 1.0, 1.0])
    live = MODELS[case]().fit(X, y)
    converted = convert(live)
    assert converted.typed.ceiling == ("proven" if case == "forest" else "certified")
    assert not converted.typed.facts.allow_nan or case == "imputed"
    assert converted.typed.facts.max_abs is not None
    assert converted.typed.facts.max_abs <= FLOAT32_MAX
    rows = np.vstack([X, random_rows(X), _on_splits(converted.typed, live, X)])
    answers = converted.answers(rows)
    certain = answers["margin"] > answers["bound"] if "margin" in answers else np.ones(len(rows), dtype=bool)
    assert certain.mean() > 0.999
    assert (answers["label"].astype(str) == live.predict(rows).astype(str))[certain].all()
    assert np.abs(answers["probabilities"] - live.predict_proba(rows)).max() < 1e-12
    for row in rows[::400]:
        one = converted.answers(row.reshape(1, -1))["label"][0]
        assert str(one) == str(live.predict(row.reshape(1, -1))[0])
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx


def test_each_leaf_is_a_column_bit_equal() -> None:
    X, y = make_data(())
    live = make_pipeline(_trees(), Ridge()).fit(X, y)
    live[-1].coef_ = np.arange(1.0, live[-1].coef_.size + 1) * 2.0 ** -np.arange(live[-1].coef_.size) % 7.0
    converted = convert(live)
    rows = np.vstack([random_rows(X), _on_splits(converted.typed, live, X)])
    answers = converted.answers(rows)
    apart = np.abs(answers["scores"][:, 0] - live.predict(rows))
    assert (apart <= answers["bound"]).all()
    assert answers["bound"].max() < 1e-9


def test_values_beyond_float32_are_not_admitted_in_front_of_an_embedding() -> None:
    X, y = make_data(())
    assert read(make_pipeline(_trees(), Ridge()).fit(X, y)).facts.max_abs == FLOAT32_MAX
    scaled = read(make_pipeline(StandardScaler(), _trees(), Ridge()).fit(X, y)).facts.max_abs
    assert scaled is not None
    assert scaled < FLOAT32_MAX * X.std(axis=0).min() * 1.01


def _changed(name: str, value: Any, *, encoder: bool = False) -> Any:
    X, y = make_data(())
    live = make_pipeline(_trees(n_estimators=2), Ridge()).fit(X, y)
    owner = live[0].one_hot_encoder_ if encoder else live[0]
    owner.__dict__[name] = value(owner.__dict__[name]) if callable(value) else value
    return live


REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "no trees": ("DP602", lambda: _changed("estimators_", [])),
    "no encoder": ("DP602", lambda: _changed("one_hot_encoder_", None)),
    "trees of another kind": (
        "DP602",
        lambda: _changed("estimators_", [DecisionTreeRegressor().fit(np.eye(6), np.arange(6))] * 2),
    ),
    "a leaf that the encoder does not know": (
        "DP603",
        lambda: _changed("categories_", lambda old: [old[0][1:], *old[1:]], encoder=True),
    ),
    "leaves in another order": (
        "DP603",
        lambda: _changed("categories_", lambda old: [old[0][::-1].copy(), *old[1:]], encoder=True),
    ),
    "leaves as text": (
        "DP603",
        lambda: _changed("categories_", lambda old: [old[0].astype("U3"), *old[1:]], encoder=True),
    ),
    "unknown leaves ignored": ("DP603", lambda: _changed("handle_unknown", "ignore", encoder=True)),
    "a leaf dropped": ("DP603", lambda: _changed("drop_idx_", np.array([0, 0]), encoder=True)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_embedding_that_was_changed_is_refused(case: str) -> None:
    code, make = REFUSED[case]
    with pytest.raises(UnsupportedModelError) as refusal:
        read(make())
    assert refusal.value.code == code
