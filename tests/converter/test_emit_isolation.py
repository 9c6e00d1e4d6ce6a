# SPDX-License-Identifier: Apache-2.0
"""Isolation forests: certified away from a narrow band, never another label there, path lengths bit-equal."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest, VotingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from depickle.emit import emit_onnx
from depickle.errors import UnsupportedModelError
from depickle.migrate import Converter
from depickle.models import read_model
from depickle.models.isolation import expected_path
from depickle.models.types import Isolation
from depickle.pickles import Record, open_package, vet
from depickle.planning import MigrationOptions
from depickle.sources import read_source

from .emit_checks import Converted, Rows, convert, make_data, random_rows, read, split_rows
from .migration_kit import NAMES, package, share_worker

FORESTS: dict[str, Callable[[], Any]] = {
    "as it comes": lambda: IsolationForest(n_estimators=40, random_state=0),
    "one in ten": lambda: IsolationForest(n_estimators=40, contamination=0.1, random_state=1),
    "one in a thousand": lambda: IsolationForest(n_estimators=25, contamination=0.001, random_state=2),
    "half of the columns": lambda: IsolationForest(n_estimators=30, max_features=0.5, random_state=3),
    "small samples": lambda: IsolationForest(
        n_estimators=30, max_samples=5, contamination=0.2, random_state=4
    ),
    "drawn with replacement": lambda: IsolationForest(
        n_estimators=20, bootstrap=True, contamination=0.05, random_state=5
    ),
    "one tree": lambda: IsolationForest(n_estimators=1, max_samples=64, contamination=0.3, random_state=6),
    "scaled": lambda: make_pipeline(
        RobustScaler(), IsolationForest(n_estimators=20, contamination=0.1, random_state=7)
    ),
}


def _certain(converted: Converted, rows: Rows) -> tuple[Any, Any]:
    answers = converted.answers(rows)
    return answers, answers["margin"] > answers["bound"]


def _original(live: Any, rows: Rows) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values beyond the float32 range
        return live.predict(rows), live.decision_function(rows)


@pytest.mark.parametrize("case", FORESTS)
@pytest.mark.parametrize("missing", [False, True])
def test_no_certified_label_differs_and_hardly_a_row_stays_open(case: str, missing: bool) -> None:
    X, _ = make_data((), missing=missing)
    live = FORESTS[case]().fit(X)
    converted = convert(live)
    assert converted.typed.task == "outlier"
    assert converted.typed.classes == (-1, 1)
    assert converted.typed.ceiling == "certified"
    hard, splits = split_rows(converted.typed, X)
    fresh = np.vstack([random_rows(X), hard])
    assert splits > 0
    for rows in (fresh, X):  # a row of the fit may be the very one at which the share was cut off
        answers, certain = _certain(converted, rows)
        labels, scores = _original(live, rows)
        assert (answers["label"] == np.where(answers["class_index"] == 1, 1, -1)).all()
        assert (answers["label"] == labels)[certain].all()
        assert np.abs(answers["scores"][:, 0] - scores).max() < 1e-14
        if rows is fresh and case not in ("one tree", "small samples"):
            assert certain.mean() > 0.999
    assert {-1, 1} == set(_original(live, fresh)[0].tolist())
    assert emit_onnx(read(live)).onnx == converted.emitted.onnx


def test_one_row_at_a_time_answers_as_a_batch_does() -> None:
    X, _ = make_data((), missing=True)
    live = FORESTS["one in ten"]().fit(X)
    converted = convert(live)
    rows = random_rows(X)[::25]
    whole = converted.answers(rows)
    for place in range(len(rows)):
        row = rows[place : place + 1]
        answers, certain = _certain(converted, row)
        assert answers["margin"][0] == whole["margin"][place]
        assert not certain[0] or answers["label"][0] == live.predict(row)[0]


def test_infinite_values_and_values_beyond_float32_go_where_the_original_sends_them() -> None:
    X, _ = make_data(())
    live = FORESTS["one in ten"]().fit(X)
    converted = convert(live)
    facts = converted.typed.facts
    assert (facts.allow_nan, facts.allow_infinite, facts.max_abs) == (True, True, None)
    rows = random_rows(X)
    generator = np.random.default_rng(0)
    for value in (np.inf, -np.inf, np.nan, 1e300, -1e300, 3.5e38):
        rows[generator.random(rows.shape) < 0.1] = value
    answers, certain = _certain(converted, rows)
    labels, scores = _original(live, rows)
    assert certain.mean() > 0.999
    assert (answers["label"] == labels)[certain].all()
    assert np.abs(answers["scores"][:, 0] - scores).max() < 1e-14


def _paths(live: Any, rows: Rows) -> Any:
    """The sum of path lengths in the order of the trees, as the original adds them."""
    total = np.zeros(len(rows))
    single = rows.astype(np.float32)
    for tree, depth, rest in zip(
        live.estimators_, live._decision_path_lengths, live._average_path_length_per_tree, strict=True
    ):
        leaves = tree.apply(single, check_input=False)
        total += depth[leaves] + rest[leaves] - 1.0
    return total


def test_the_margin_is_the_distance_of_the_bit_equal_sum_from_the_cut() -> None:
    X, _ = make_data(())
    live = FORESTS["one in ten"]().fit(X)
    converted = convert(live)
    root = converted.typed.root
    assert isinstance(root, Isolation)
    rows = np.vstack([random_rows(X), split_rows(converted.typed, X)[0]])
    answers = converted.answers(rows)
    assert (answers["margin"] == np.abs(_paths(live, rows) - root.cut)).all()
    assert (answers["bound"] == root.band).all()
    assert root.band < 1e-12 * root.scale


def test_the_cut_is_where_the_original_changes_its_mind() -> None:
    X, _ = make_data(())
    for case in ("as it comes", "one in ten", "half of the columns"):
        live = FORESTS[case]().fit(X)
        root = read(live).root
        assert isinstance(root, Isolation)
        denominator = len(live.estimators_) * live._average_path_length_per_tree[0].dtype.type(
            expected_path(np.array([live._max_samples]))[0]
        )
        for side in (-1.0, 1.0):
            paths = np.array([root.cut + side * root.band])
            decision = -(2 ** (-np.divide(paths, denominator))) - live.offset_
            assert (decision < 0)[0] == (side < 0)


def test_the_order_of_the_trees_moves_the_sum_by_less_than_the_band() -> None:
    X, _ = make_data(())
    live = IsolationForest(n_estimators=200, random_state=0).fit(X)
    root = read(live).root
    assert isinstance(root, Isolation)
    parts = np.array(
        [
            depth[leaves] + rest[leaves] - 1.0
            for tree, depth, rest in zip(
                live.estimators_, live._decision_path_lengths, live._average_path_length_per_tree, strict=True
            )
            for leaves in [tree.apply(X.astype(np.float32))]
        ]
    )
    generator = np.random.default_rng(0)
    sums = [np.cumsum(parts[generator.permutation(len(parts))], axis=0)[-1] for _ in range(50)]
    exact = np.array([math.fsum(column) for column in parts.T])
    assert 0.0 < np.abs(np.array(sums) - exact).max() < root.band / 2


def test_expected_paths_are_those_of_the_original() -> None:
    from sklearn.ensemble._iforest import _average_path_length

    counts = np.array([0, 1, 2, 3, 4, 10, 256, 100_000])
    assert np.allclose(expected_path(counts), _average_path_length(counts), rtol=1e-15, atol=0.0)


def _aged(live: Any, release: str) -> tuple[Record, dict[str, str]]:
    """The graph of `live` as if `release` had written it: what that release did not store is taken away."""
    vetted = vet(pickle.dumps(live))
    estimator = open_package(vetted).estimator
    for part in (estimator, *estimator.get("estimators_").items):  # type: ignore[union-attr]  # a list of trees
        part.state.items["_sklearn_version"] = release  # type: ignore[union-attr]
    if release < "1.3":
        for name in ("_decision_path_lengths", "_average_path_length_per_tree"):
            del estimator.state.items[name]  # type: ignore[union-attr]
    return estimator, {"scikit-learn": release}


@pytest.mark.parametrize("release", ["1.2.2", "1.3.2", "1.5.2", "1.6.1", "1.8.0"])
def test_older_releases_admit_finite_rows_only_and_add_the_same_lengths(release: str) -> None:
    X, _ = make_data(())
    live = FORESTS["one in ten"]().fit(X)
    estimator, writer = _aged(live, release)
    typed = read_model(estimator, writer=writer)
    free = release >= "1.6"
    assert (typed.facts.allow_nan, typed.facts.allow_infinite) == (free, free)
    assert typed.facts.max_abs == (None if free else float(np.finfo(np.float32).max))
    now = read(live).root
    assert isinstance(typed.root, Isolation)
    assert isinstance(now, Isolation)
    assert (typed.root.cut, typed.root.band) == (now.cut, now.band)
    for old, new in zip(typed.root.forest.trees, now.forest.trees, strict=True):
        assert np.allclose(old.value[old.is_leaf], new.value[new.is_leaf], rtol=1e-15, atol=0.0)


def test_a_migrated_detector_answers_minus_one_and_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_worker(monkeypatch)
    tiers = frozenset(("proven", "certified", "sampled"))
    options = MigrationOptions(
        created=datetime(2026, 3, 4, tzinfo=UTC), accept=frozenset(("sampled",)), admitted=tiers
    )
    rows = np.random.default_rng(3).normal(size=(150, len(NAMES)))
    live = IsolationForest(n_estimators=10, contamination=0.1, random_state=0).fit(rows)
    path = tmp_path / "eurusd.pkl"
    path.write_bytes(package(live))
    with Converter(options) as converter:
        record = converter.convert(read_source(path)).record
    assert (record.task, record.classes, record.derived) == ("outlier", [-1, 1], "graph")
    assert record.parity.label_flips == 0
    assert {row_set.name for row_set in record.parity.rows} >= {"random", "splits", "missing", "corners"}
    assert record.margin is not None
    assert float(record.margin.certified_fraction or 0.0) > 0.999


def _state(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.__setitem__(name, value)


def _first(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.__setitem__(name, (change(state[name][0]), *state[name][1:]))


HOSTILE: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "no trees": ("DP602", _state("estimators_", [])),
    "trees of another kind": (
        "DP602",
        lambda state: state.__setitem__(
            "estimators_", [DecisionTreeRegressor().fit(np.eye(6), np.arange(6))] * len(state["estimators_"])
        ),
    ),
    "fewer lengths than trees": ("DP602", _state("_decision_path_lengths", ())),
    "lengths of fewer nodes": ("DP602", _first("_decision_path_lengths", lambda part: part[:-1])),
    "a table of lengths": (
        "DP602",
        _first("_average_path_length_per_tree", lambda part: part[:, np.newaxis]),
    ),
    "lengths that are no numbers": (
        "DP602",
        _first("_average_path_length_per_tree", lambda part: part * np.nan),
    ),
    "infinite lengths": ("DP602", _first("_average_path_length_per_tree", lambda part: part + np.inf)),
    "negative lengths": ("DP602", _first("_average_path_length_per_tree", lambda part: part - 1e9)),
    "lengths as text": ("DP602", _first("_decision_path_lengths", lambda part: part.astype("U3"))),
    "an offset that is no number": ("DP602", _state("offset_", float("nan"))),
    "an offset of text": ("DP602", _state("offset_", "auto")),
    "an offset above every score": ("DP603", _state("offset_", 0.0)),
    "an offset below every score": ("DP603", _state("offset_", -1.0)),
    "an infinite offset": ("DP603", _state("offset_", float("-inf"))),
    "samples of one row": ("DP603", _state("_max_samples", 1)),
    "samples of no row": ("DP602", _state("_max_samples", 0)),
    "samples that are no number": ("DP602", _state("_max_samples", "auto")),
    "more columns than there are": ("DP602", _state("_max_features", 7)),
    "fewer columns than were drawn": ("DP602", _state("_max_features", 3)),
    "columns drawn twice": ("DP603", _state("bootstrap_features", True)),
    "fewer lists of columns": ("DP602", lambda state: state["estimators_features_"].pop()),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_state_that_is_no_isolation_forest_is_refused(case: str) -> None:
    code, change = HOSTILE[case]
    X, _ = make_data(())
    live = IsolationForest(n_estimators=3, random_state=0).fit(X)
    change(live.__dict__)
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == code


def test_a_composition_takes_no_outlier_detector_for_a_regressor() -> None:
    X, y = make_data(())
    live = VotingRegressor([("tree", DecisionTreeRegressor(max_depth=2))]).fit(X, y)
    live.estimators_ = [IsolationForest(n_estimators=2).fit(X)]
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP602"


def test_rows_that_an_encoder_in_front_refuses_are_not_certified() -> None:
    X, _ = make_data(())
    codes = X[:, 5:]
    live = make_pipeline(
        OneHotEncoder(handle_unknown="error", sparse_output=False),
        StandardScaler(),
        IsolationForest(n_estimators=20, random_state=0),
    ).fit(codes)
    converted = convert(live)
    _, known = _certain(converted, codes)
    _, unknown = _certain(converted, codes + 0.5)
    assert known.any()
    assert not unknown.any()


def test_the_emitted_file_depends_on_every_part_of_the_decision() -> None:
    X, _ = make_data(())
    typed = read(FORESTS["one in ten"]().fit(X))
    root = typed.root
    assert isinstance(root, Isolation)
    original = emit_onnx(typed).onnx
    for changed in (
        replace(root, cut=np.nextafter(root.cut, np.inf)),
        replace(root, scale=np.nextafter(root.scale, np.inf)),
        replace(root, offset=np.nextafter(root.offset, 0.0)),
        replace(root, band=root.band * 2),
    ):
        assert emit_onnx(replace(typed, root=changed)).onnx != original
