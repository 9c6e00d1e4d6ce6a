# SPDX-License-Identifier: Apache-2.0
"""AdaBoost over regressors and over classifiers that are no trees: exact, or within the bound of the row."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.base
from lightgbm import LGBMRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor
from xgboost import XGBRegressor

from depickle.emit import emit_onnx
from depickle.errors import UnsupportedModelError
from depickle.models.types import Median, TreeVotes, Votes

from .emit_checks import LABELS, Rows, compare, convert, make_data, random_rows, read, split_rows

EXACT: dict[str, Callable[[], Any]] = {
    "tree": lambda: None,
    "stump": lambda: DecisionTreeRegressor(max_depth=1),
    "deep tree": lambda: DecisionTreeRegressor(),
    "extra tree": lambda: ExtraTreeRegressor(max_depth=4),
    "forest": lambda: RandomForestRegressor(3, max_depth=3),
    "extra trees": lambda: ExtraTreesRegressor(3, max_depth=3),
    "histogram boosting": lambda: HistGradientBoostingRegressor(max_iter=3, max_leaf_nodes=6),
    "LightGBM": lambda: LGBMRegressor(n_estimators=3, num_leaves=5, verbose=-1),
    "XGBoost": lambda: XGBRegressor(n_estimators=3, max_depth=2),
    "scaled tree": lambda: make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=3)),
}
DENSE: dict[str, Callable[[], Any]] = {
    "linear": LinearRegression,
    "scaled ridge": lambda: make_pipeline(StandardScaler(), Ridge()),
    "network": lambda: make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", max_iter=50, random_state=0)
    ),
    "tree and ridge": lambda: VotingRegressor([("t", DecisionTreeRegressor(max_depth=3)), ("r", Ridge())]),
}


def _boosted(member: Any, **options: Any) -> Any:
    return AdaBoostRegressor(member, random_state=0, **{"n_estimators": 7, **options})


def _fit(live: Any, X: Rows, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(X, y)


def _rows(converted: Any, X: Rows) -> Rows:
    return np.vstack([X, random_rows(X), split_rows(converted.typed, X)[0]])


def _shuffled_median(live: Any, rows: Rows, generator: np.random.Generator) -> Any:
    """What `_get_median_predict` may answer: equal answers in an order drawn at random."""
    members = generator.permutation(len(live.estimators_))
    predictions = np.array([live.estimators_[place].predict(rows) for place in members]).T
    order = np.argsort(predictions, axis=1, kind="stable")
    running = np.cumsum(live.estimator_weights_[members][order], axis=1)
    place = (running >= 0.5 * running[:, -1:]).argmax(axis=1)
    every = np.arange(len(rows))
    return predictions[every, order[every, place]]


@pytest.mark.parametrize(
    ("member", "loss"),
    [*((member, "linear") for member in EXACT), ("tree", "square"), ("tree", "exponential")],
)
def test_medians_of_exact_members_are_the_originals(member: str, loss: str) -> None:
    X, y = make_data(())
    live = _fit(_boosted(EXACT[member](), loss=loss), X, y)
    converted = convert(live)
    root = converted.typed.root
    assert isinstance(root, Median)
    assert converted.typed.task == "regressor"
    assert converted.typed.ceiling == ("certified" if root.ties else "proven")
    assert compare(converted, X).raw_ulp == 0
    rows = _rows(converted, X)
    answers = converted.answers(rows)
    assert ("bound" in answers) == root.ties
    bound = answers["bound"] if root.ties else np.zeros(len(rows))
    assert (bound == 0.0).mean() > 0.95
    generator = np.random.default_rng(0)
    for _ in range(3):
        assert (np.abs(_shuffled_median(live, rows, generator) - answers["scores"][:, 0]) <= bound).all()
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx


@pytest.mark.parametrize("member", DENSE)
def test_medians_of_members_that_are_not_exact_are_within_their_bound(member: str) -> None:
    X, y = make_data(())
    live = _fit(_boosted(DENSE[member]()), X, y)
    converted = convert(live)
    assert converted.typed.ceiling == "certified"
    rows = _rows(converted, X)
    answers = converted.answers(rows)
    apart = np.abs(answers["scores"][:, 0] - live.predict(rows))
    assert (apart <= answers["bound"]).all()
    assert np.median(answers["bound"] / np.maximum(np.abs(answers["scores"][:, 0]), 1.0)) < 1e-9
    for row in rows[::200]:
        one = converted.answers(row.reshape(1, -1))
        assert abs(one["scores"][0, 0] - live.predict(row.reshape(1, -1))[0]) <= one["bound"][0]


def test_few_answers_tie_in_most_rows_and_the_bound_says_where_that_matters() -> None:
    """Weights in tenths: their sums round, and reach the half in one order of equal answers but not in another."""
    X, _ = make_data(())
    y = np.round(X[:, 0])
    live = _boosted(DecisionTreeRegressor(max_depth=2), n_estimators=10).fit(X, y)
    coarse = [
        DecisionTreeRegressor(max_depth=2, random_state=0).fit(X, np.sign(y) * step) for step in (1, 2, 1, 3)
    ]
    live.estimators_ = coarse * 3
    live.estimator_weights_ = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.7, 0.1, 0.4, 0.2, 0.1, 0.3])
    converted = convert(live)
    assert isinstance(converted.typed.root, Median)
    assert converted.typed.root.ties
    rows = _rows(converted, X)
    answers = converted.answers(rows)
    generator = np.random.default_rng(0)
    moved = np.zeros(len(rows), dtype=bool)
    for _ in range(200):
        apart = np.abs(_shuffled_median(live, rows, generator) - answers["scores"][:, 0])
        moved |= apart > 0
        assert (apart <= answers["bound"]).all()
    assert (np.abs(live.predict(rows) - answers["scores"][:, 0]) <= answers["bound"]).all()
    assert (answers["bound"][moved] > 0).all()
    assert (answers["bound"] == 0).any()


def test_halves_that_are_reached_in_one_order_only_are_bounded() -> None:
    """Nine equal answers whose weights add up to the half of all but for rounding, which the order decides."""
    X, y = make_data(())
    low, high = (DecisionTreeRegressor(max_depth=1).fit(X, np.full(len(X), value)) for value in (1.0, 2.0))
    live = _boosted(None, n_estimators=2).fit(X, y)
    tenths = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.1]
    live.estimators_ = [low] * len(tenths) + [high]
    live.estimator_weights_ = np.array([*tenths, float(np.cumsum(tenths)[-1])])
    converted = convert(live)
    answers = converted.answers(X)
    generator = np.random.default_rng(0)
    found = {float(_shuffled_median(live, X[:1], generator)[0]) for _ in range(300)}
    assert found == {1.0, 2.0}
    assert (answers["bound"] >= 1.0).all()
    assert (answers["bound"] < 1.00001).all()


def test_one_row_at_a_time_answers_as_a_batch_does() -> None:
    X, y = make_data(())
    live = _boosted(None, n_estimators=30).fit(X, y)
    converted = convert(live)
    rows = random_rows(X)[::30]
    whole = converted.answers(rows)["scores"][:, 0]
    assert (whole == live.predict(rows)).all()
    for place in range(len(rows)):
        assert converted.answers(rows[place : place + 1])["scores"][0, 0] == whole[place]


def test_a_single_member_whose_weight_stayed_0_answers_alone() -> None:
    X, _ = make_data(())
    y = np.random.default_rng(0).normal(size=len(X)) ** 9
    live = _boosted(DecisionTreeRegressor(max_depth=1), n_estimators=1).fit(X, y)
    live.estimator_weights_ = np.zeros(1)
    converted = convert(live)
    assert (converted.answers(X)["scores"][:, 0] == live.predict(X)).all()
    assert converted.typed.ceiling == "proven"


CLASSIFIERS: dict[str, tuple[bool, Callable[[], Any]]] = {
    "logistic": (False, lambda: LogisticRegression(max_iter=200)),
    "weak logistic": (False, lambda: LogisticRegression(C=1e-3)),
    "linear SVC": (False, lambda: LinearSVC(max_iter=200)),
    "SGD": (False, lambda: SGDClassifier(random_state=0)),
    "forest": (True, lambda: RandomForestClassifier(3, max_depth=2)),
    "extra trees": (True, lambda: ExtraTreesClassifier(2, max_depth=2)),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("member", CLASSIFIERS)
def test_votes_of_other_classifiers_are_counted_as_the_original_counts_them(member: str, labels: str) -> None:
    exact, make = CLASSIFIERS[member]
    X, y = make_data(LABELS[labels])
    X = X / np.array([1.0, 100.0, 1e-3, 5.0, 1.0, 1.0])
    live = _fit(AdaBoostClassifier(make(), n_estimators=8, random_state=0), X, y)
    converted = convert(live)
    assert isinstance(converted.typed.root, Votes)
    assert converted.typed.ceiling == ("proven" if exact else "certified")
    outcome = compare(converted, X)
    assert outcome.flips == 0
    assert outcome.raw_ulp == 0
    assert outcome.certified > 0.99
    assert outcome.probability_error is not None
    assert outcome.probability_error < 1e-14
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx


def test_a_row_is_open_where_a_member_is() -> None:
    X, y = make_data((0, 1))
    live = _fit(AdaBoostClassifier(LogisticRegression(C=1e-3), n_estimators=4, random_state=0), X, y)
    for member in live.estimators_:
        member.coef_ = member.coef_ * 1e4
    converted = convert(live)
    row = np.zeros((1, 6))
    last = live.estimators_[-1]
    row[0, 0] = -last.intercept_[0] / last.coef_[0, 0]
    answers = converted.answers(np.vstack([row, X[:50], np.full((1, 6), 1e308)]))
    certain = answers["margin"] > answers["bound"]
    assert not certain[0]
    assert certain[1:-1].mean() > 0.9
    assert not certain[-1]  # scores overflow, and a margin that is no number certifies nothing


def test_trees_still_become_one_forest_of_votes() -> None:
    X, y = make_data((0, 1))
    assert isinstance(read(AdaBoostClassifier(n_estimators=3).fit(X, y)).root, TreeVotes)


def _regressor(**changes: Any) -> Any:
    X, y = make_data(())
    live = _boosted(None, n_estimators=4).fit(X, y)
    live.__dict__.update({name: change(live.__dict__[name]) for name, change in changes.items()})
    return live


def _classifier(**changes: Any) -> Any:
    X, y = make_data((0, 1))
    live = AdaBoostClassifier(LogisticRegression(), n_estimators=4).fit(X, y)
    live.__dict__.update({name: change(live.__dict__[name]) for name, change in changes.items()})
    return live


def _at_first(value: float) -> Callable[[Any], Any]:
    return lambda weights: np.array([value, *weights[1:]])


def _fitted(member: Any, labels: Any = ()) -> Any:
    return member.fit(*make_data(labels))


HOSTILE: dict[str, tuple[str, Callable[[], Any]]] = {
    "no members": ("DP602", lambda: _regressor(estimators_=lambda _: [])),
    "fewer weights than members": ("DP602", lambda: _regressor(estimator_weights_=lambda old: old[:-1])),
    "a weight that is no number": ("DP602", lambda: _regressor(estimator_weights_=_at_first(np.nan))),
    "an infinite weight": ("DP602", lambda: _regressor(estimator_weights_=_at_first(np.inf))),
    "a negative weight": ("DP602", lambda: _regressor(estimator_weights_=_at_first(-1.0))),
    "weights of text": ("DP602", lambda: _regressor(estimator_weights_=lambda old: old.astype("U9"))),
    "a table of weights": ("DP602", lambda: _regressor(estimator_weights_=lambda old: old[:, np.newaxis])),
    "weights too large to add": ("DP602", lambda: _regressor(estimator_weights_=lambda old: old * 0 + 1e308)),
    "weights too small to add": (
        "DP602",
        lambda: _regressor(estimator_weights_=lambda old: old * 0 + 5e-324),
    ),
    "a classifier among the regressors": (
        "DP602",
        lambda: _regressor(estimators_=lambda old: [*old[1:], _fitted(LogisticRegression(), (0, 1))]),
    ),
    "members of two widths": (
        "DP602",
        lambda: _regressor(
            estimators_=lambda old: [*old[1:], LinearRegression().fit(np.eye(3), np.arange(3))]
        ),
    ),
    "a member that raises": (
        "DP603",
        lambda: _regressor(
            estimators_=lambda old: [
                *old[1:],
                _fitted(make_pipeline(OneHotEncoder(sparse_output=False), LinearRegression())),
            ]
        ),
    ),
    "a member that overwrites the rows of the next": (
        "DP603",
        lambda: _fitted(_boosted(make_pipeline(StandardScaler(copy=False), Ridge()), n_estimators=3)),
    ),
    "votes of no classifier": ("DP602", lambda: _classifier(estimators_=lambda _: [])),
    "votes of negative weight": ("DP602", lambda: _classifier(estimator_weights_=_at_first(-1.0))),
    "votes of no weight": ("DP602", lambda: _classifier(estimator_weights_=lambda old: old * 0.0)),
    "votes that are no numbers": ("DP602", lambda: _classifier(estimator_weights_=_at_first(np.nan))),
    "fewer votes than members": ("DP602", lambda: _classifier(estimator_weights_=lambda old: old[:-1])),
    "a member of other classes": (
        "DP603",
        lambda: _classifier(estimators_=lambda old: [*old[1:], _fitted(LogisticRegression(), ("no", "yes"))]),
    ),
    "a regressor among the classifiers": (
        "DP603",
        lambda: _classifier(estimators_=lambda old: [*old[1:], _fitted(LinearRegression())]),
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_state_that_is_no_boosting_is_refused(case: str) -> None:
    code, make = HOSTILE[case]
    with pytest.raises(UnsupportedModelError) as refusal:
        read(make())
    assert refusal.value.code == code


def test_real_votes_of_other_members_than_trees_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    live = _classifier()
    live.algorithm = "SAMME.R"
    assert isinstance(read(live).root, Votes)  # since 1.6 the parameter has no effect
    monkeypatch.setattr(sklearn.base, "__version__", "1.5.2")
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP603"
