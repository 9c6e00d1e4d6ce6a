# SPDX-License-Identifier: Apache-2.0
"""Isolation forests are walked, rows lie on their splits, and no order of the trees flips a certified label."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import sklearn.base
from onnx import numpy_helper
from sklearn.ensemble import IsolationForest, VotingRegressor
from sklearn.ensemble._iforest import _average_path_length
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler

from depickle.errors import ParityError
from depickle.parity.expected import expect_model
from depickle.parity.rows import make_rows
from depickle.pickles import open_package, vet
from depickle.pickles.graph import ListNode

from .emit_checks import make_data
from .proof_kit import Rows, Subject, answers, subject_of

ROWS = np.asarray(make_data((), rows=400)[0])

VARIANTS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "a share of outliers": {"contamination": 0.1},
    "half of the outliers": {"contamination": 0.5},
    "some columns for each tree": {"max_features": 0.5},
    "one column for each tree": {"max_features": 1, "n_estimators": 8},
    "one tree": {"n_estimators": 1},
    "one tree, some columns": {"n_estimators": 1, "max_features": 2, "contamination": 0.2},
    "drawn with replacement": {"bootstrap": True, "max_samples": 0.3},
    "two rows for each tree": {"max_samples": 2, "n_estimators": 5},
    "three rows for each tree": {"max_samples": 3, "n_estimators": 5},
}


def _fitted(**options: Any) -> IsolationForest:
    return IsolationForest(**{"n_estimators": 20, "random_state": 0, **options}).fit(ROWS)


def _dumped(live: Any, release: str, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """`live` as another release would have written it, where only the number differs."""
    monkeypatch.setattr(sklearn.base, "__version__", release)
    return subject_of(release, live, ROWS)


@pytest.mark.parametrize("case", VARIANTS)
@pytest.mark.parametrize("scaled", [False, True])
def test_every_variant_is_walked_and_every_split_is_reached(case: str, scaled: bool) -> None:
    live = _fitted(**VARIANTS[case])
    if scaled:
        live = make_pipeline(RobustScaler(), IsolationForest(**live.get_params())).fit(ROWS)
    one = subject_of(case, live, ROWS)
    found = one.prove()
    assert found is not None
    contract = one.emitted.input
    made = make_rows(
        one.record, features=contract.features, allow_nan=contract.allow_nan, max_abs=None, seed=1
    )
    assert (made.splits, made.splits_reached) == (found.splits, found.splits)


@pytest.mark.parametrize("case", VARIANTS)
@pytest.mark.parametrize("release", ["1.2.2", "1.3.2", "1.5.2", "1.6.1", "1.8.0"])
def test_every_release_is_walked(case: str, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = _fitted(**VARIANTS[case])
    assert live._max_samples == live.max_samples_
    assert _dumped(live, release, monkeypatch).prove() is not None


def test_a_detector_behind_categories_that_raise_is_walked() -> None:
    rows = np.column_stack([np.arange(60) % 3, np.arange(60) % 4]).astype(np.float64)
    live = make_pipeline(
        OneHotEncoder(sparse_output=False), IsolationForest(n_estimators=5, random_state=0)
    ).fit(rows)
    assert subject_of("encoded", live, rows).prove() is not None


def test_columns_are_read_where_trees_were_given_some_and_nowhere_else() -> None:
    live = _fitted()
    live.estimators_features_ = [columns[::-1].copy() for columns in live.estimators_features_]
    assert subject_of("ignored", live, ROWS).prove() is not None
    some = _fitted(max_features=3)
    one = subject_of("some", some, ROWS)
    some.estimators_features_[4] = some.estimators_features_[4][::-1].copy()
    other = subject_of("other", some, ROWS)
    with pytest.raises(ParityError, match="feature"):
        one.prove(other.emitted.onnx)


# Wrong files --------------------------------------------------------------------------------------------------------


def _with_constant(one: Subject, operator: str, change: Callable[[Any], Any]) -> bytes:
    """The file with the constant of one operator changed."""
    model = onnx.load_from_string(one.emitted.onnx)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    names = [
        name
        for node in model.graph.node
        if node.op_type == operator
        for name in node.input
        if name in tensors and tensors[name].data_type == onnx.TensorProto.DOUBLE
    ]
    assert names
    tensor = tensors[names[-1]]
    tensor.raw_data = change(numpy_helper.to_array(tensor).copy()).tobytes()
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _up(values: Rows) -> Rows:
    return np.nextafter(values, np.inf)


def _one_path(values: Rows) -> Rows:
    values[5] = np.nextafter(values[5], np.inf)
    return values


@pytest.mark.parametrize(
    ("operator", "change"),
    [
        ("GreaterOrEqual", _up),
        ("Div", _up),
        ("Pow", lambda base: base + 1.0),
        ("Add", lambda band: band / 2),
        ("Add", lambda band: band * 0),
        ("Sub", _up),
        ("Gather", _one_path),
    ],
)
def test_a_wrong_number_is_refused(operator: str, change: Callable[[Any], Any]) -> None:
    one = subject_of("detector", _fitted(contamination=0.1, max_features=4), ROWS)
    with pytest.raises(ParityError) as refusal:
        one.prove(_with_constant(one, operator, change))
    assert refusal.value.code == "DP711"


def test_the_walk_tells_releases_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    live = _fitted()
    live._decision_path_lengths = tuple(lengths + 1 for lengths in live._decision_path_lengths)
    newer = _dumped(live, "1.3.2", monkeypatch)
    older = _dumped(live, "1.2.2", monkeypatch)  # counts nodes anew and does not look at the attribute
    with pytest.raises(ParityError, match="Gather"):
        older.prove(newer.emitted.onnx)


# Attributes that are not what the class documents -------------------------------------------------------------------


def _expected(live: Any) -> object:
    vetted = vet(pickle.dumps(live, protocol=5))
    return expect_model(open_package(vetted).estimator, vetted.writer)


def _first(arrays: Any, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    return (change(arrays[0]), *arrays[1:])


HOSTILE: dict[str, Callable[[IsolationForest], dict[str, Any]]] = {
    "no trees": lambda live: {"estimators_": []},
    "other members": lambda live: {"estimators_": [LinearRegression()] * 4},
    "paths of fewer trees": lambda live: {"_decision_path_lengths": live._decision_path_lengths[1:]},
    "rests of more trees": lambda live: {
        "_average_path_length_per_tree": live._average_path_length_per_tree * 2
    },
    "paths of fewer nodes": lambda live: {
        "_decision_path_lengths": _first(live._decision_path_lengths, lambda lengths: lengths[:-1])
    },
    "paths that are no whole numbers": lambda live: {
        "_decision_path_lengths": _first(live._decision_path_lengths, lambda lengths: lengths + 0.5)
    },
    "rests in float32, which add up in float32": lambda live: {
        "_average_path_length_per_tree": _first(
            live._average_path_length_per_tree, lambda rests: rests.astype(np.float32)
        )
    },
    "a path that is not finite": lambda live: {
        "_average_path_length_per_tree": _first(
            live._average_path_length_per_tree, lambda rests: rests + np.inf
        )
    },
    "paths below zero": lambda live: {
        "_average_path_length_per_tree": _first(
            live._average_path_length_per_tree, lambda rests: rests - 99.0
        )
    },
    "columns as flags": lambda live: {
        "estimators_features_": [columns > 0 for columns in live.estimators_features_]
    },
    "no number of samples": lambda live: {"_max_samples": None},
    "an offset that is no number": lambda live: {"offset_": "auto"},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_attributes_that_the_class_does_not_document_are_refused(case: str) -> None:
    live = _fitted(n_estimators=4, max_features=3)
    assert _expected(live) is not None
    vars(live).update(HOSTILE[case](live))
    with pytest.raises(ParityError) as refusal:
        _expected(live)
    assert refusal.value.code == "DP710"


@pytest.mark.parametrize("part", ["fewer", "of another length"])
def test_columns_that_the_gate_refuses_are_refused_here_too(part: str) -> None:
    vetted = vet(pickle.dumps(_fitted(n_estimators=4, max_features=3), protocol=5))
    record = open_package(vetted).estimator
    subsets, lengths = record.get("estimators_features_"), record.get("_decision_path_lengths")
    assert isinstance(subsets, ListNode)
    assert isinstance(lengths, ListNode)
    subsets.items[0:1] = [] if part == "fewer" else [lengths[0]]
    with pytest.raises(ParityError) as refusal:
        expect_model(record, vetted.writer)
    assert refusal.value.code == "DP710"


@pytest.mark.parametrize(
    "change", [{"_max_samples": 1}, {"offset_": -1.0}, {"offset_": 0.5}, {"offset_": math.nan}]
)
def test_a_detector_that_labels_every_row_alike_is_not_derived(change: dict[str, Any]) -> None:
    live = _fitted(n_estimators=4)
    vars(live).update(change)
    assert _expected(live) is None


def test_no_composition_combines_the_labels_of_detectors() -> None:
    mean = VotingRegressor([("a", LinearRegression())]).fit(ROWS, ROWS[:, 0])
    mean.estimators_ = [_fitted(n_estimators=4)]  # whose predict gives -1 and 1, not the score
    assert _expected(mean) is None


# The certificate ----------------------------------------------------------------------------------------------------


def _label(live: IsolationForest, paths: Rows, scale: float, power: float) -> Rows:
    """-1 and 1 as the original gives them for sums of paths, where its pow errs by the factor `power`."""
    scores = 2 ** -(paths / scale) * power
    return np.where(-scores - live.offset_ < 0, -1, 1)


@pytest.mark.parametrize("case", VARIANTS)
def test_no_order_and_no_library_gives_a_certified_row_another_label(case: str) -> None:
    live = _fitted(**VARIANTS[case])
    generator = np.random.default_rng(0)
    rows = np.concatenate([ROWS, ROWS + generator.normal(size=ROWS.shape), 30 * ROWS])
    columns = live.estimators_features_ if live._max_features < rows.shape[1] else [slice(None)] * len(rows)
    single = rows.astype(np.float32)
    paths = np.array(
        [
            depth[leaf] + rest[leaf] - 1.0
            for tree, chosen, depth, rest in zip(
                live.estimators_,
                columns,
                live._decision_path_lengths,
                live._average_path_length_per_tree,
                strict=False,
            )
            for leaf in [tree.apply(single[:, chosen], check_input=False)]
        ]
    )
    scale = len(paths) * float(_average_path_length([live._max_samples])[0])
    # the offset is a score that rows have, which is where rounding decides; it is so too where outliers are a share
    for place in (0, 7, 19):
        live.offset_ = float(live.score_samples(rows[[place]])[0])
        found = answers(subject_of(case, live, ROWS).emitted.onnx, rows)
        certified = found["margin"] > found["bound"]
        sums = paths.sum(axis=0)
        assert (certified == (np.abs(sums - sums[place]) > 1e-9)).all()
        for _ in range(20):
            order = generator.permutation(len(paths))
            for power in (1.0, 1.0 - 2.0**-50, 1.0 + 2.0**-50):
                for wide in (scale, scale * (1 + 2.0**-51), scale * (1 - 2.0**-51)):
                    label = _label(live, np.add.reduce(paths[order], axis=0), wide, power)
                    assert (label == found["label"])[certified].all()


def test_the_bound_is_near_what_rounding_can_do() -> None:
    """Rows whose sums differ by one path length in the last tree are told apart: the band is far below that."""
    one = subject_of("detector", _fitted(n_estimators=100), ROWS)
    found = answers(one.emitted.onnx, ROWS)
    assert 0 < found["bound"][0] < 1e-9
    assert (found["margin"] > found["bound"]).all()


def test_rows_that_overflow_and_missing_values_go_where_the_original_sends_them() -> None:
    missing = ROWS.copy()
    missing[::7, 1] = np.nan
    live = IsolationForest(n_estimators=20, random_state=0).fit(missing)
    one = subject_of("missing", live, missing)
    assert one.prove() is not None
    rows = np.concatenate([missing, missing * 1e38, missing * 1e300, np.full((1, ROWS.shape[1]), np.inf)])
    with np.errstate(over="ignore"):
        expected = live.predict(rows)
    found = answers(one.emitted.onnx, rows)
    certified = found["margin"] > found["bound"]
    assert certified.mean() > 0.9
    assert (found["label"] == expected)[certified].all()
