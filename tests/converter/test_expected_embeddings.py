# SPDX-License-Identifier: Apache-2.0
"""Embeddings in random trees are walked, their splits are reached, and sparse columns are read where they may be."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.base
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomTreesEmbedding,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, RobustScaler, StandardScaler

from depickle.errors import ParityError
from depickle.parity.expected import expect_model
from depickle.parity.rows import make_rows
from depickle.pickles import open_package, vet

from .emit_checks import make_data
from .proof_kit import answers, subject_of

ROWS, CLASSES = (np.asarray(part) for part in make_data((0, 1), rows=220))


def _embedding(**options: Any) -> RandomTreesEmbedding:
    return RandomTreesEmbedding(**{"n_estimators": 5, "max_depth": 3, "random_state": 0, **options})


def _dense(**options: Any) -> RandomTreesEmbedding:
    return _embedding(sparse_output=False, **options)


EMBEDDED: dict[str, tuple[str, Callable[[], Any]]] = {
    "a linear model": ("certified", lambda: make_pipeline(_embedding(), LogisticRegression())),
    "behind a scaler": (
        "certified",
        lambda: make_pipeline(RobustScaler(), _embedding(), LogisticRegression()),
    ),
    "a search of a linear model": (
        "certified",
        lambda: make_pipeline(_embedding(), GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2)),
    ),
    "a forest": ("proven", lambda: make_pipeline(_embedding(), RandomForestClassifier(3, random_state=0))),
    "a network": ("certified", lambda: make_pipeline(_embedding(), MLPClassifier((4,), max_iter=30))),
    "a scaler of dense columns": (
        "proven",
        lambda: make_pipeline(_dense(), StandardScaler(), RandomForestClassifier(3, random_state=0)),
    ),
    "beside a scaler": (
        "certified",
        lambda: make_pipeline(make_union(_dense(), StandardScaler()), LogisticRegression()),
    ),
    "within columns": (
        "proven",
        lambda: make_pipeline(
            make_column_transformer(
                (make_pipeline(RobustScaler(), _dense()), [3, 1]), remainder="passthrough"
            ),
            HistGradientBoostingClassifier(max_iter=3),
        ),
    ),
    "one tree": ("certified", lambda: make_pipeline(_embedding(n_estimators=1), LogisticRegression())),
    "trees of one leaf": (
        "certified",
        lambda: make_pipeline(_embedding(min_samples_leaf=200), LogisticRegression()),
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("case", EMBEDDED)
def test_every_embedding_is_walked_and_every_split_of_it_is_reached(case: str) -> None:
    tier, make = EMBEDDED[case]
    live = make().fit(ROWS, CLASSES)
    one = subject_of(case, live, ROWS)
    found = one.prove()
    assert found is not None
    assert one.typed.ceiling == tier
    contract = one.emitted.input
    assert contract.max_abs is not None
    limit = float.fromhex(contract.max_abs)
    made = make_rows(
        one.record, features=contract.features, allow_nan=contract.allow_nan, max_abs=limit, seed=1
    )
    assert made.splits == found.splits
    inner = [
        part.tree_.node_count - part.tree_.n_leaves for step in _embeddings(live) for part in step.estimators_
    ]
    assert made.splits_reached >= sum(inner)  # splits behind the embedding compare columns of leaves
    rows = np.concatenate([ROWS, *(rows.values for rows in made.sets)])
    given = answers(one.emitted.onnx, rows)
    certain = given["margin"] > given["bound"] if tier == "certified" else np.ones(len(rows), np.bool_)
    assert certain.any() or not sum(inner)
    with np.errstate(all="ignore"):  # the original adds its input up to see whether it is finite
        assert (given["label"] == live.predict(rows))[certain].all()


def _embeddings(live: Any) -> list[RandomTreesEmbedding]:
    """The embeddings in a pipeline."""
    if isinstance(live, RandomTreesEmbedding):
        return [live]
    parts = getattr(live, "steps", getattr(live, "transformer_list", getattr(live, "transformers_", ())))
    return [found for part in parts for found in _embeddings(part[1])]


@pytest.mark.parametrize("release", ["1.2.2", "1.4.2", "1.6.1", "1.8.0"])
def test_every_release_is_walked(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = make_pipeline(_embedding(), RandomForestClassifier(3, random_state=0)).fit(ROWS, CLASSES)
    monkeypatch.setattr(sklearn.base, "__version__", release)
    assert subject_of(release, live, ROWS).prove() is not None


# What is not derived ------------------------------------------------------------------------------------------------


def _expected(live: Any) -> object:
    vetted = vet(pickle.dumps(live, protocol=5))
    return expect_model(open_package(vetted).estimator, vetted.writer)


_BINS = {"encode": "onehot", "quantile_method": "averaged_inverted_cdf"}
SPARSE: dict[str, Callable[[], Any]] = {
    "an embedding, then a scaler": lambda: make_pipeline(
        _embedding(), StandardScaler(with_mean=False), LogisticRegression()
    ),
    "an embedding, then boosting": lambda: make_pipeline(
        _embedding(), GradientBoostingClassifier(n_estimators=2)
    ),
    "a union with an embedding, then boosting": lambda: make_pipeline(
        make_union(_embedding(), StandardScaler()), GradientBoostingClassifier(n_estimators=2)
    ),
    "an encoder, then a scaler": lambda: make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), StandardScaler(with_mean=False), LogisticRegression()
    ),
    "bins, then boosting": lambda: make_pipeline(
        KBinsDiscretizer(3, **_BINS), GradientBoostingClassifier(n_estimators=2)
    ),
    "a pipeline that ends in an encoder, then boosting": lambda: make_pipeline(
        make_pipeline(StandardScaler(), OneHotEncoder(handle_unknown="ignore")),
        GradientBoostingClassifier(n_estimators=2),
    ),
}


@pytest.mark.parametrize("case", SPARSE)
def test_sparse_columns_are_not_derived_where_they_are_computed_with_otherwise(case: str) -> None:
    assert _expected(SPARSE[case]().fit(ROWS, CLASSES)) is None


ALTERED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "another type of columns": lambda encoder: {"dtype": np.float32},
    "unknown leaves ignored": lambda encoder: {"handle_unknown": "ignore"},
    "a leaf dropped": lambda encoder: {"drop_idx_": np.zeros(5, dtype=object)},
    "infrequent leaves": lambda encoder: {"max_categories": 2},
    "a leaf that is not known": lambda encoder: {
        "categories_": [encoder.categories_[0][:-1], *encoder.categories_[1:]]
    },
    "leaves in another order": lambda encoder: {
        "categories_": [encoder.categories_[0][::-1].copy(), *encoder.categories_[1:]]
    },
    "leaves of other trees": lambda encoder: {"categories_": encoder.categories_[::-1]},
    "leaves as floats": lambda encoder: {
        "categories_": [leaves.astype(np.float64) for leaves in encoder.categories_]
    },
}


@pytest.mark.parametrize("case", ALTERED)
def test_another_encoder_than_the_class_makes_is_not_derived(case: str) -> None:
    live = make_pipeline(_dense(), StandardScaler(), RandomForestClassifier(3, random_state=0))
    live.fit(ROWS, CLASSES)
    assert _expected(live) is not None
    encoder = live[0].one_hot_encoder_
    vars(encoder).update(ALTERED[case](encoder))
    assert _expected(live) is None


def test_leaves_of_fewer_trees_which_the_gate_refuses_are_refused_here_too() -> None:
    live = make_pipeline(_dense(), LogisticRegression()).fit(ROWS, CLASSES)
    vetted = vet(pickle.dumps(live, protocol=5))
    record = open_package(vetted).estimator
    encoder = record.get("steps")[0][1].get("one_hot_encoder_")  # type: ignore[index, union-attr]
    encoder.get("categories_").items.pop()  # type: ignore[union-attr]
    with pytest.raises(ParityError) as refusal:
        expect_model(record, vetted.writer)
    assert refusal.value.code == "DP710"
