# SPDX-License-Identifier: Apache-2.0
"""Forests compare in float32 with thresholds rounded down: the same answers, also where rounding could matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from depickle.emit import emit_onnx
from depickle.emit.forests import _rounded_down
from depickle.models.types import Forest, Tree

from .emit_checks import compare, convert, make_data

_FINITE = st.floats(-3.4e38, 3.4e38)


def _split_at(threshold: float) -> Tree:
    return Tree(
        feature=np.array([0, -1, -1]),
        threshold=np.array([threshold, np.nan, np.nan]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        missing_left=np.zeros(3, dtype=bool),
        value=np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
    )


@settings(deadline=None)
@given(threshold=_FINITE, value=st.one_of(_FINITE, st.none()), steps=st.integers(-3, 3))
def test_a_threshold_rounded_down_decides_every_float32_value_alike(
    threshold: float, value: float | None, steps: int
) -> None:
    single = np.float32(threshold if value is None else value)
    for _ in range(abs(steps)):
        single = np.nextafter(single, np.float32(np.copysign(np.inf, steps)))
    rounded = _rounded_down(_split_at(threshold))[0]
    assert np.float32(rounded) == rounded
    assert (float(single) <= threshold) == (single <= np.float32(rounded))


@pytest.mark.parametrize("threshold", [0.1, -0.1, 1e-46, -1e-46, 3.4028235e38, 1.0, -1e-310, 1e39, -1e39])
def test_thresholds_at_the_edges_of_float32_decide_as_in_double(threshold: float) -> None:
    X, y = make_data((0, 1))
    typed = convert(RandomForestClassifier(2, max_depth=2, random_state=0).fit(X[:, :1], y)).typed
    forest = typed.root
    assert isinstance(forest, Forest)
    changed = emit_onnx(replace(typed, root=replace(forest, trees=(_split_at(threshold),) * 2)))
    session = onnxruntime.InferenceSession(changed.onnx)
    near = np.float32(np.clip(threshold, -3.4028234e38, 3.4028234e38))
    with np.errstate(over="ignore"):
        values = [
            near,
            np.nextafter(near, np.float32(-np.inf)),
            np.nextafter(near, np.float32(np.inf)),
            0.0,
            -0.0,
        ]
    rows = np.array([value for value in values if np.isfinite(value)], dtype=np.float64).reshape(-1, 1)
    expected = (rows[:, 0].astype(np.float32).astype(np.float64) > threshold).astype(int)
    assert session.run(["class_index"], {"X": rows})[0].tolist() == expected.tolist()


def test_a_forest_holds_float32_splits_and_flips_nothing() -> None:
    X, y = make_data((-1, 0, 1))
    found = convert(RandomForestClassifier(30, random_state=0, n_jobs=1).fit(X, y))
    outcome = compare(found, X, limit=300)
    assert (outcome.flips, outcome.probability_error) == (0, 0.0)
    assert outcome.splits > 300
    assert b"nodes_splits" in found.emitted.onnx
