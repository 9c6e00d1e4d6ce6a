# SPDX-License-Identifier: Apache-2.0
"""AdaBoost is walked; the bound of a median covers every order of equal answers in which rounding may choose."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import sklearn.base
from onnx import numpy_helper
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor
from xgboost import XGBRegressor

from depickle.errors import ParityError
from depickle.parity.expected import expect_model
from depickle.parity.rows import make_rows
from depickle.pickles import open_package, vet

from .emit_checks import make_data
from .proof_kit import Rows, Subject, answers, subject_of

ROWS, TARGET = (np.asarray(part, dtype=np.float64) for part in make_data((), rows=300))
POSITIVE = np.abs(TARGET) + 1.0


def _boosted(member: Any = None, count: int = 5, **options: Any) -> Any:
    return AdaBoostRegressor(member, n_estimators=count, random_state=0, **options)


def _small_tree() -> Any:
    return DecisionTreeRegressor(max_depth=3, random_state=0)


BOOSTED: dict[str, tuple[str, Callable[[], Any]]] = {
    "trees": ("certified", _boosted),
    "one tree": ("proven", lambda: _boosted(count=1)),
    "trees without a number in common": (
        "proven",
        lambda: _boosted(GridSearchCV(DecisionTreeRegressor(random_state=0), {"max_depth": [1, 2]}, cv=2), 3),
    ),
    "a pipeline of nothing but a tree": ("certified", lambda: _boosted(make_pipeline(_small_tree()))),
    "extra trees": ("certified", lambda: _boosted(ExtraTreeRegressor(max_depth=4))),
    "behind a scaler": ("certified", lambda: make_pipeline(RobustScaler(), _boosted())),
    "trees behind a scaler": ("certified", lambda: _boosted(make_pipeline(StandardScaler(), _small_tree()))),
    "forests": ("certified", lambda: _boosted(RandomForestRegressor(3, max_depth=3))),
    "one forest": ("proven", lambda: _boosted(RandomForestRegressor(3, max_depth=3), 1)),
    "boosters": ("certified", lambda: _boosted(GradientBoostingRegressor(n_estimators=3))),
    "boosters of logarithms": (
        "certified",
        lambda: _boosted(HistGradientBoostingRegressor(loss="poisson"), 3),
    ),
    "boosters in float32": ("certified", lambda: _boosted(XGBRegressor(n_estimators=3), 3)),
    "linear models": ("certified", lambda: _boosted(LinearRegression())),
    "one linear model": ("certified", lambda: _boosted(make_pipeline(StandardScaler(), Ridge()), 1)),
    "bags": ("certified", lambda: _boosted(BaggingRegressor(Ridge(), n_estimators=3), 3)),
    "votes": ("certified", lambda: _boosted(VotingRegressor([("a", Ridge()), ("b", _small_tree())]), 3)),
    "medians": ("certified", lambda: _boosted(_boosted(Ridge(), 3), 3)),
    "in a vote": ("certified", lambda: VotingRegressor([("a", _boosted()), ("b", Ridge())])),
    "in a stack": (
        "certified",
        lambda: StackingRegressor([("a", _boosted()), ("b", _boosted(Ridge()))], Ridge(), cv=2),
    ),
    "in a bag": ("certified", lambda: BaggingRegressor(_boosted(count=3), n_estimators=3, random_state=1)),
}


def _fitted(live: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(ROWS, POSITIVE)


@pytest.mark.parametrize("case", BOOSTED)
def test_every_median_is_walked(case: str) -> None:
    tier, make = BOOSTED[case]
    one = subject_of(case, _fitted(make()), ROWS)
    assert one.prove() is not None
    assert one.typed.ceiling == tier
    assert (one.emitted.outputs.bound is None) == (tier == "proven")
    apart = np.abs(answers(one.emitted.onnx, ROWS)["scores"].reshape(-1) - one.live.predict(ROWS))
    bound = answers(one.emitted.onnx, ROWS).get("bound", np.zeros(len(ROWS)))
    assert (apart <= bound).all()


@pytest.mark.parametrize("release", ["1.2.2", "1.3.2", "1.5.2", "1.7.2", "1.8.0"])
def test_every_release_is_walked(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = _fitted(_boosted())
    monkeypatch.setattr(sklearn.base, "__version__", release)
    assert subject_of(release, live, ROWS).prove() is not None


def test_rows_lie_on_every_split_of_every_member() -> None:
    one = subject_of("splits", _fitted(make_pipeline(RobustScaler(), _boosted())), ROWS)
    made = make_rows(one.record, features=ROWS.shape[1], allow_nan=False, max_abs=None, seed=1)
    found = one.prove()
    assert found is not None
    assert made.splits == made.splits_reached == found.splits > 20


# Wrong files --------------------------------------------------------------------------------------------------------


def _with_constant(one: Subject, operator: str, place: int, change: Callable[[Rows], Rows]) -> bytes:
    """The file with a constant of one operator changed, the `place`-th of those in the file."""
    model = onnx.load_from_string(one.emitted.onnx)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    names = [
        name
        for node in model.graph.node
        if node.op_type == operator
        for name in node.input
        if name in tensors and tensors[name].data_type == onnx.TensorProto.DOUBLE
    ]
    tensor = tensors[names[place]]
    tensor.raw_data = np.asarray(change(numpy_helper.to_array(tensor).copy())).tobytes()
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _up(values: Rows) -> Rows:
    return np.nextafter(values, np.inf)


@pytest.mark.parametrize("case", ["trees", "linear models"])
@pytest.mark.parametrize(
    ("operator", "place", "change"),
    [
        ("Gather", -1, _up),
        ("GreaterOrEqual", 0, _up),
        ("GreaterOrEqual", 1, _up),
        ("GreaterOrEqual", 0, lambda values: values[::-1] - 1.0),
        ("Mul", 0, _up),
        ("Mul", -1, lambda values: values * 0),
    ],
)
def test_a_wrong_number_is_refused(
    case: str, operator: str, place: int, change: Callable[[Rows], Rows]
) -> None:
    one = subject_of(case, _fitted(BOOSTED[case][1]()), ROWS)
    with pytest.raises(ParityError) as refusal:
        one.prove(_with_constant(one, operator, place, change))
    assert refusal.value.code == "DP711"


def _reversed_places(model: onnx.ModelProto) -> None:
    top = next(node for node in model.graph.node if node.op_type == "TopK")
    next(entry for entry in top.attribute if entry.name == "largest").i = 1


def _last_of_equals(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "ArgMax":
            next(entry for entry in node.attribute if entry.name == "select_last_index").i = 1


def _above(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "GreaterOrEqual").op_type = "Greater"


@pytest.mark.parametrize("edit", [_reversed_places, _last_of_equals, _above])
def test_another_rule_is_refused(edit: Callable[[onnx.ModelProto], None]) -> None:
    one = subject_of("trees", _fitted(_boosted()), ROWS)
    model = onnx.load_from_string(one.emitted.onnx)
    edit(model)
    with pytest.raises(ParityError) as refusal:
        one.prove(model.SerializeToString(deterministic=True))
    assert refusal.value.code == "DP711"


def test_a_file_without_the_bound_is_refused_where_trees_have_numbers_in_common() -> None:
    live = _fitted(_boosted())
    one = subject_of("ties", live, ROWS)
    for place, member in enumerate(live.estimators_):  # the numbers of each tree by themselves
        state = member.tree_.__getstate__()
        state["values"] = np.arange(state["values"].size, dtype=np.float64).reshape(state["values"].shape)
        state["values"] += 1000 * place
        member.tree_.__setstate__(state)
    apart = subject_of("no ties", live, ROWS)
    assert apart.emitted.outputs.bound is None
    assert apart.prove() is not None
    with pytest.raises(ParityError) as refusal:
        one.prove(emitted=apart.emitted)
    assert refusal.value.code == "DP711"


# Attributes that are not what the class documents -------------------------------------------------------------------


def _expected(live: Any) -> object:
    vetted = vet(pickle.dumps(live, protocol=5))
    return expect_model(open_package(vetted).estimator, vetted.writer)


def _weights(live: Any, **changes: float) -> Rows:
    weights = live.estimator_weights_.copy()
    for name, value in changes.items():
        weights[int(name[1:])] = value
    return np.asarray(weights)


HOSTILE: dict[str, Callable[[Any], dict[str, Any]]] = {
    "no members": lambda live: {"estimators_": []},
    "fewer weights than members": lambda live: {"estimator_weights_": live.estimator_weights_[:2]},
    "weights in float32": lambda live: {"estimator_weights_": live.estimator_weights_.astype(np.float32)},
    "a table of weights": lambda live: {"estimator_weights_": live.estimator_weights_.reshape(-1, 1)},
    "a negative weight": lambda live: {"estimator_weights_": _weights(live, _1=-0.5)},
    "a weight that is not finite": lambda live: {"estimator_weights_": _weights(live, _0=np.inf)},
    "a weight that is no number": lambda live: {"estimator_weights_": _weights(live, _0=np.nan)},
    "a weight whose half is lost": lambda live: {"estimator_weights_": _weights(live, _2=5e-324)},
    "no weights": lambda live: {"estimator_weights_": None},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_attributes_that_the_class_does_not_document_are_refused(case: str) -> None:
    live = _fitted(_boosted())
    assert _expected(live) is not None
    vars(live).update(HOSTILE[case](live))
    with pytest.raises(ParityError) as refusal:
        _expected(live)
    assert refusal.value.code == "DP710"


@pytest.mark.parametrize("member", [LogisticRegression(), IsolationForest(n_estimators=3, random_state=0)])
def test_no_median_is_taken_of_labels(member: Any) -> None:
    live = _fitted(_boosted(Ridge(), 3))
    live.estimators_[1] = member.fit(ROWS, TARGET > 0)
    assert _expected(live) is None


# Votes --------------------------------------------------------------------------------------------------------------


def _voting(member: Any = None, count: int = 3, labels: tuple[Any, ...] = (-1, 0, 1)) -> Any:
    X, y = make_data(labels, rows=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AdaBoostClassifier(member, n_estimators=count, random_state=0).fit(X, y)


VOTING: dict[str, tuple[str, Any]] = {
    "trees": ("proven", None),
    "forests": ("proven", RandomForestClassifier(3, max_depth=2, random_state=0)),
    "boosters": ("proven", HistGradientBoostingClassifier(max_iter=2)),
    "AdaBoost of trees": ("proven", AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=2)),
    "logistic regressions": ("certified", LogisticRegression()),
    "support vector machines": ("certified", LinearSVC()),
    "boosters from a logarithm": ("certified", GradientBoostingClassifier(n_estimators=2)),
}


@pytest.mark.parametrize("labels", [(0, 1), (-1, 0, 1), ("BUY", "SELL", "WAIT")])
@pytest.mark.parametrize("case", VOTING)
def test_votes_of_every_kind_of_member_are_walked(case: str, labels: tuple[Any, ...]) -> None:
    tier, member = VOTING[case]
    live = _voting(member, labels=labels)
    X = np.asarray(make_data(labels, rows=300)[0])
    one = subject_of(case, live, X)
    assert one.prove() is not None
    assert one.typed.ceiling == tier
    found = answers(one.emitted.onnx, X)
    certain = found["margin"] > found["bound"] if tier == "certified" else np.ones(len(X), np.bool_)
    assert certain.mean() > 0.9
    assert (found["label"] == live.predict(X))[certain].all()
    scores = live.decision_function(X).reshape(len(X), -1)
    assert (found["scores"] == scores)[certain].all()  # where every vote is certain, sums are bit-equal


@pytest.mark.parametrize("release", ["1.2.2", "1.3.0", "1.3.1", "1.3.2", "1.4.2", "1.5.2", "1.6.1", "1.8.0"])
@pytest.mark.parametrize("member", [None, LogisticRegression()])
def test_votes_of_every_release_are_walked(
    member: Any, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = _voting(member)
    monkeypatch.setattr(sklearn.base, "__version__", release)
    one = subject_of(release, live, ROWS)
    assert one.prove() is not None
    if release in ("1.2.2", "1.3.0"):  # members did not vote against the classes that they did not choose
        monkeypatch.setattr(sklearn.base, "__version__", "1.4.2")
        with pytest.raises(ParityError) as refusal:
            one.prove(subject_of("newer", live, ROWS).emitted.onnx)
        assert refusal.value.code == "DP711"


def test_a_parameter_that_has_no_effect_is_not_read() -> None:
    live = _voting()
    live.algorithm = "SAMME.R"  # since 1.6 not looked at
    one = subject_of("ignored", live, ROWS)
    assert one.prove() is not None
    assert (answers(one.emitted.onnx, ROWS)["label"] == live.predict(ROWS)).all()


@pytest.mark.parametrize(
    ("release", "algorithm"),
    [("1.3.9", "SAMME"), ("1.5.2", "SAMME.R")],
    ids=["two ways to count", "logarithms"],
)
def test_votes_that_are_not_read_are_not_derived(
    release: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = _voting(LogisticRegression())
    live.algorithm = algorithm
    monkeypatch.setattr(sklearn.base, "__version__", release)
    assert _expected(live) is None


@pytest.mark.parametrize(
    "weights",
    [np.zeros(3), np.array([1.0, -1.0, 1.0]), np.ones(2), np.array([1.0, np.inf, 1.0])],
    ids=["no sum", "negative", "too few", "infinite"],
)
def test_weights_of_votes_that_are_none_are_refused(weights: Rows) -> None:
    live = _voting(LogisticRegression())
    live.estimator_weights_ = weights
    with pytest.raises(ParityError) as refusal:
        _expected(live)
    assert refusal.value.code == "DP710"


def test_a_member_that_did_not_see_every_class_is_not_derived() -> None:
    live = _voting(LogisticRegression())
    live.estimators_[0] = LogisticRegression().fit(ROWS, (TARGET > 0).astype(int))
    assert _expected(live) is None


# The certificate ----------------------------------------------------------------------------------------------------


def _median(predictions: Rows, weights: Rows, order: Callable[[Rows], Any]) -> Rows:
    """``_get_median_predict`` with another way to sort."""
    places = np.array([order(row) for row in predictions])
    sums = np.cumsum(weights[places], axis=1)
    reached = sums >= 0.5 * sums[:, -1][:, np.newaxis]
    chosen = places[np.arange(len(places)), reached.argmax(axis=1)]
    return np.asarray(predictions[np.arange(len(places)), chosen])


TENTHS = np.array([0.1, 0.3, 0.7, 1.1, 0.2, 0.6])
"""Sums of these reach half of all, or not, by the order in which they are added."""


@pytest.mark.parametrize(
    "member", [None, LinearRegression(), RandomForestRegressor(2, max_depth=2, random_state=0)]
)
@pytest.mark.parametrize("seed", range(12))
def test_no_order_of_equal_answers_leaves_the_bound(member: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    live = _fitted(_boosted(member, 4))
    known = live.estimators_
    chosen = generator.integers(0, min(3, len(known)), generator.choice([4, 5, 6, 12, 40]))
    live.estimators_ = [known[place] for place in chosen]  # members that answer alike in every row
    live.estimator_weights_ = generator.choice(TENTHS, len(chosen))
    found = answers(subject_of("ties", live, ROWS).emitted.onnx, ROWS)
    predictions = np.array([each.predict(ROWS) for each in live.estimators_]).T
    for _ in range(15):
        mixed = generator.random(predictions.shape[1])
        median = _median(
            predictions, live.estimator_weights_, lambda row, mixed=mixed: np.lexsort((mixed, row))
        )
        assert (np.abs(median - found["scores"].reshape(-1)) <= found["bound"]).all()
    assert (np.abs(live.predict(ROWS) - found["scores"].reshape(-1)) <= found["bound"]).all()


def test_the_order_of_equal_answers_can_decide_and_the_bound_says_so() -> None:
    live = _fitted(_boosted(DecisionTreeRegressor(max_depth=2), 3))
    a, b, c = live.estimators_[:3]
    live.estimators_, live.estimator_weights_ = [a, b, b, c], TENTHS[:4]
    found = answers(subject_of("ties", live, ROWS).emitted.onnx, ROWS)
    predictions = np.array([each.predict(ROWS) for each in live.estimators_]).T
    one, other = (
        _median(predictions, TENTHS[:4], lambda row, tie=tie: np.lexsort((tie, row)))
        for tie in ([0, 1, 2, 3], [3, 2, 1, 0])
    )
    assert (one != other).any()
    assert (found["bound"][one != other] > 0).all()
    assert (found["bound"] == 0).any()


def test_answers_that_are_near_vouch_for_nothing_where_their_distance_is_not_known() -> None:
    """Members that pass through exp: equal ones may change places, and another member's answer be the median."""
    live = _fitted(_boosted(HistGradientBoostingRegressor(max_iter=3, loss="poisson"), 4))
    known = live.estimators_
    generator = np.random.default_rng(0)
    chosen = generator.integers(0, len(known), 24)
    live.estimators_ = [known[place] for place in chosen]
    live.estimator_weights_ = generator.choice(TENTHS, 24)
    one = subject_of("logarithms", live, ROWS)
    assert one.prove() is not None
    assert np.isinf(answers(one.emitted.onnx, ROWS)["bound"]).all()
