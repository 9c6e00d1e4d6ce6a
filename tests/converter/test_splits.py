# SPDX-License-Identifier: Apache-2.0
"""Rows really sit on the splits: found by walking the fitted trees, not by asking the code that placed the rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from lightgbm import LGBMRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from depickle.parity.groups import tree_groups
from depickle.parity.rows import MadeRows, make_rows
from depickle.parity.source import Preamble
from depickle.parity.splits import MAX_SPLIT_ROWS, edges_of, rows_on_splits

from .proof_kit import SUBJECTS, Subject, answers, fitted, subject, subject_of

Rows = npt.NDArray[np.float64]


def _made(one: Subject) -> MadeRows:
    contract = one.emitted.input
    return make_rows(
        one.record,
        features=contract.features,
        allow_nan=contract.allow_nan,
        max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
        seed=1,
    )


def _rows(made: MadeRows, name: str = "splits") -> Rows:
    return next((rows.values for rows in made.sets if rows.name == name), np.empty((0, 6)))


def _visits(tree: Any, inputs: npt.NDArray[np.float32]) -> Iterator[tuple[int, int, bool]]:
    """(row, node, went left) for every comparison of a scikit-learn tree, one at a time."""
    for row, values in enumerate(inputs):
        node = 0
        while tree.children_left[node] >= 0:
            left = bool(values[tree.feature[node]] <= tree.threshold[node])
            yield row, node, left
            node = int(tree.children_left[node] if left else tree.children_right[node])


def _split_both_ways(tree: Any, before: Rows, inputs: Rows) -> set[int]:
    """Nodes at which two rows that differ by one ulp in the compared column go different ways."""
    single = inputs.astype(np.float32)
    left: dict[int, list[float]] = {}
    right: dict[int, list[float]] = {}
    for row, node, went_left in _visits(tree, single):
        column = int(tree.feature[node])
        (left if went_left else right).setdefault(node, []).append(float(before[row, column]))
    found = set()
    for node, values in left.items():
        beside = set(right.get(node, ()))
        if any(float(np.nextafter(value, np.inf)) in beside for value in values):
            found.add(node)
    return found


def _trees(model: Any) -> list[Any]:
    return [member.tree_ for member in np.asarray(model.estimators_).reshape(-1)]


@pytest.mark.parametrize(
    "scaler",
    [None, StandardScaler(), RobustScaler(), MinMaxScaler((-3, 5))],
    ids=["none", "standard", "robust", "min-max"],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(5, max_depth=5, random_state=0),
        lambda: ExtraTreesClassifier(4, max_depth=5, random_state=0),
        lambda: GradientBoostingClassifier(n_estimators=5, random_state=0),
    ],
    ids=["forest", "extra trees", "boosting"],
)
def test_neighbouring_rows_go_different_ways_at_every_split_that_is_counted(
    make: Callable[[], Any], scaler: Any
) -> None:
    live = make_pipeline(*([] if scaler is None else [scaler]), make())
    one = fitted("made", live, (0, 1, 2))
    made = _made(one)
    rows = _rows(made)
    inputs = rows if scaler is None else one.live[0].transform(rows)
    both = sum(len(_split_both_ways(tree, rows, inputs)) for tree in _trees(one.live[-1]))
    splits = sum(int((tree.children_left >= 0).sum()) for tree in _trees(one.live[-1]))
    assert made.splits == splits
    assert made.splits_reached <= both  # rows placed for one tree may sit on a split of another by chance
    assert made.splits_reached == splits
    assert len(rows) == 3 * splits


def test_each_split_has_its_row_and_one_ulp_to_each_side() -> None:
    one = fitted("made", make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)), (0, 1))
    made = _made(one)
    rows = _rows(made)
    on, above, below = np.split(rows, 3)
    assert len(on) == made.splits
    for first, second, third in zip(on, above, below, strict=True):
        changed = np.flatnonzero(first != second)
        assert changed.size == 1
        column = int(changed[0])
        assert second[column] == np.nextafter(first[column], np.inf)
        assert third[column] == np.nextafter(first[column], -np.inf)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_of_categorical_trees_visit_both_sides_of_every_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.integers(0, 9, 900) * 3.0, rng.normal(size=900), rng.integers(0, 40, 900)])
    y = np.isin(X[:, 0], [0, 9, 12]) * 2.0 + (X[:, 2] % 3 == 0) * X[:, 1] + rng.normal(size=900) * 0.1
    live = LGBMRegressor(
        n_estimators=1, num_leaves=24, min_data_per_group=5, verbose=-1, n_jobs=1, random_state=seed
    ).fit(X, y, categorical_feature=[0, 2])
    one = subject_of("categorical tree", live, X)
    made = _made(one)
    leaves = live.predict(_rows(made), pred_leaf=True).reshape(-1)
    assert "cat_threshold" in live.booster_.model_to_string()
    assert made.splits_reached == made.splits == 23
    assert set(leaves) == set(range(24))


def test_rows_of_encoded_categories_hold_the_values_of_the_input() -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.normal(size=600), rng.integers(0, 7, 600) * 10.0 - 20.0])
    y = np.isin(X[:, 1], [-20.0, 10.0, 40.0]).astype(int)
    live = HistGradientBoostingClassifier(max_iter=3, categorical_features=[1]).fit(X, y)
    made = _made(subject_of("encoded", live, X))
    known = set(live._preprocessor.named_transformers_["encoder"].categories_[0])
    assert set(_rows(made)[:, 1]) <= known
    assert made.splits_reached == made.splits > 0
    assert np.isin(_rows(made, "random")[:, 1], sorted(known)).mean() > 0.9


def test_the_original_itself_answers_differently_next_to_the_split_of_a_stump() -> None:
    live = make_pipeline(RobustScaler(), DecisionTreeClassifier(max_depth=1, random_state=0))
    one = fitted("made", live, (-1, 1))
    on, above, below = _rows(_made(one))
    labels = one.live.predict(np.array([below, on, above]))
    assert labels[0] == labels[1] != labels[2]


def test_a_split_that_no_input_reaches_is_not_counted() -> None:
    """Clipped to [0, 1], no value passes a threshold above 1; the row that would is not made up."""
    live = make_pipeline(MinMaxScaler(clip=True), DecisionTreeClassifier(max_depth=2, random_state=0))
    one = fitted("made", live, (0, 1))
    (group,) = tree_groups(one.record, 6)
    (tree,) = group.trees
    raised = replace(tree, threshold=np.where(np.arange(len(tree.threshold)) == 0, 1.5, tree.threshold))
    found = rows_on_splits([replace(group, trees=(raised,))], np.zeros((4, 6)), max_abs=1e30)
    assert found.splits == int((~tree.is_leaf).sum())
    assert found.reached < found.splits


def test_rows_beyond_the_admitted_range_are_left_out() -> None:
    one = subject("forest")
    found = rows_on_splits(tree_groups(one.record, 6), np.zeros((4, 6)), max_abs=1e-300)
    assert (found.reached, len(found.rows)) == (0, 0)
    assert found.splits > 0


def test_splits_behind_products_of_columns_are_not_claimed() -> None:
    live = make_pipeline(PolynomialFeatures(2), GradientBoostingClassifier(n_estimators=5, random_state=0))
    made = _made(fitted("made", live, (0, 1)))
    assert 0 < made.splits_reached < made.splits


@pytest.mark.parametrize("name", SUBJECTS)
def test_both_models_answer_alike_on_the_rows(name: str) -> None:
    one = subject(name)
    made = _made(one)
    for rows in made.sets:
        values = rows.values
        found = answers(one.emitted.onnx, values)
        if "margin" in found:  # on the other rows the original may raise
            certain = found["margin"] > found["bound"]
            values, found = values[certain], {name: value[certain] for name, value in found.items()}
        if not len(values):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bare = isinstance(one.live, xgboost.Booster)
            expected = one.live.predict(xgboost.DMatrix(values, nthread=1) if bare else values)
        if one.emitted.task == "regressor":
            given = found["scores"][:, 0]
            with np.errstate(invalid="ignore"):  # infinity less itself
                near = np.abs(given - expected) <= found.get("bound", 0.0)
            same = (given == expected) | (np.isnan(given) & np.isnan(expected))
            assert (near | same | ~np.isfinite(found.get("bound", 0.0))).all()
        else:
            assert np.array_equal(found["label"].astype(str), expected.astype(str))


def _inside(kind: str) -> Any:
    forest = RandomForestClassifier(4, max_depth=4, random_state=0)
    boosting = GradientBoostingClassifier(n_estimators=4, random_state=0)
    match kind:
        case "vote":
            return VotingClassifier([("a", make_pipeline(StandardScaler(), forest)), ("b", boosting)])
        case "bag":
            return BaggingClassifier(boosting, 3, max_features=4, random_state=0)
        case "boosted trees":
            return AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=4, random_state=0)
        case "stack":
            return StackingClassifier([("a", forest), ("b", boosting)], LogisticRegression(), cv=2)
        case _:
            return make_pipeline(SimpleImputer(), _inside("vote"))


@pytest.mark.parametrize("kind", ["vote", "bag", "boosted trees", "stack", "imputed vote"])
def test_rows_reach_the_splits_of_trees_inside_compositions(kind: str) -> None:
    made = _made(fitted("made", _inside(kind), (0, 1, 2)))
    assert made.splits_reached == made.splits > 20


def test_a_tree_on_the_answers_of_others_is_counted_but_not_reached() -> None:
    forest = RandomForestClassifier(3, max_depth=3, random_state=0)
    live = StackingClassifier([("a", forest)], RandomForestClassifier(3, random_state=1), cv=2)
    one = fitted("made", live, (0, 1, 2))
    made = _made(one)
    inner = sum(int((tree.children_left >= 0).sum()) for tree in _trees(one.live.estimators_[0]))
    assert made.splits_reached == inner < made.splits


def test_a_large_model_is_sampled_evenly_and_says_so() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 6))
    y = rng.integers(0, 2, 3000)
    one = subject_of("large", RandomForestClassifier(30, random_state=0, n_jobs=1).fit(X, y), X)
    made = _made(one)
    assert len(_rows(made)) <= MAX_SPLIT_ROWS
    assert 6000 < made.splits_reached <= MAX_SPLIT_ROWS / 3 < made.splits


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_are_the_same_for_the_same_seed(seed: int) -> None:
    contract = subject("xgboost").emitted.input
    twice = [
        make_rows(
            subject("xgboost").record, features=contract.features, allow_nan=True, max_abs=1e30, seed=seed
        )
        for _ in range(2)
    ]
    assert [rows.digest for rows in twice[0].sets] == [rows.digest for rows in twice[1].sets]


@settings(deadline=None)
@given(
    st.floats(-1e6, 1e6).filter(lambda value: abs(value) > 1e-6),
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.booleans(),
)
def test_the_edge_is_where_the_comparison_flips(
    threshold: float, shift: float, scale: float, single: bool
) -> None:
    preamble = Preamble.identity(1).then("subtract", shift).then("divide", scale)
    edges = edges_of(preamble, np.array([0]), np.array([threshold]), comparison="<=", single=single)

    def goes_left(x: float) -> bool:
        value = np.float64((x - shift) / scale)
        return bool((np.float64(np.float32(value)) if single else value) <= threshold)

    below = float(edges.below[0])
    assert goes_left(below)
    assert not goes_left(float(np.nextafter(below, np.inf)))
