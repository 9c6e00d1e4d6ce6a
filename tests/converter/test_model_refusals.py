# SPDX-License-Identifier: Apache-2.0
"""What cannot be read or emitted exactly is refused with its own code, never approximated."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.decomposition import KernelPCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from depickle.errors import UnsupportedModelError
from depickle.models import read_model
from depickle.models.lightgbm_text import LightgbmError, parse_lightgbm
from depickle.models.ubjson import UbjsonError, parse_ubjson
from depickle.pickles import Array, Record, open_package, vet

from .emit_checks import make_data, read

X, Y = make_data((0, 1))

REFUSALS: dict[str, tuple[str, Callable[[], Any]]] = {
    "a class without a reader": ("DP600", lambda: RadiusNeighborsClassifier(1e9).fit(X, Y)),
    "a transformer without a reader": (
        "DP609",
        lambda: make_pipeline(KernelPCA(2), LogisticRegression()).fit(X, Y),
    ),
    "boosting from an estimator": (
        "DP603",
        lambda: GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(X, Y),
    ),
    "several outputs": ("DP607", lambda: RandomForestClassifier(2).fit(X, np.c_[Y, Y])),
    "a linear booster with several base scores": (
        "DP603",
        lambda: XGBClassifier(booster="gblinear", n_estimators=2).fit(
            X, np.repeat([0, 1, 2], [150, 100, 50])
        ),
    ),
    "a number as missing value": ("DP603", lambda: XGBClassifier(missing=0.0, n_estimators=2).fit(X, Y)),
    "raw logits as objective": (
        "DP603",
        lambda: XGBRegressor(objective="binary:logitraw", n_estimators=2).fit(X, Y),
    ),
    "early stopping of predictions": (
        "DP603",
        lambda: LGBMClassifier(pred_early_stop=True, n_estimators=2, verbose=-1).fit(X, Y),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_unsupported_models_are_refused(case: str) -> None:
    code, fit = REFUSALS[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live = fit()
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == code
    assert refusal.value.found
    assert refusal.value.next_step


def _graph(live: Any) -> tuple[Record, dict[str, str]]:
    vetted = vet(pickle.dumps(live))
    return open_package(vetted).estimator, dict(vetted.writer)


def _nodes(estimator: Record) -> Array:
    tree = estimator.get("tree_") if estimator.name == "DecisionTreeClassifier" else None
    if tree is None:
        first = estimator.get("estimators_").items[0]  # type: ignore[union-attr]  # a list of trees
        tree = first.get("tree_")  # type: ignore[union-attr]
    nodes = tree.get("nodes")  # type: ignore[union-attr]
    assert isinstance(nodes, Array)
    return nodes


def _damaged(change: Callable[[Any], None]) -> tuple[Record, dict[str, str]]:
    estimator, writer = _graph(RandomForestClassifier(2, max_depth=3, random_state=0).fit(X, Y))
    nodes = _nodes(estimator)
    table = nodes.to_numpy().copy()
    change(table)
    nodes.data = memoryview(table.tobytes())
    return estimator, writer


def _set(field: str, value: Any) -> Callable[[Any], None]:
    def change(table: Any) -> None:
        table[field][0] = value

    return change


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left_child", 0),
        ("left_child", 10_000),
        ("right_child", 1),
        ("feature", 6),
        ("feature", -7),
        ("threshold", float("nan")),
        ("right_child", -5),
    ],
)
def test_a_tree_that_is_no_tree_is_refused(field: str, value: Any) -> None:
    estimator, writer = _damaged(_set(field, value))
    with pytest.raises(UnsupportedModelError) as refusal:
        read_model(estimator, writer=writer)
    assert refusal.value.code == "DP605"


def test_state_of_another_shape_is_refused_and_nothing_foreign_escapes() -> None:
    live = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    for name in ("steps", "mean_", "scale_", "coef_", "intercept_", "classes_", "n_features_in_"):
        for value in (None, 3, "x", float("nan"), b"", -1):
            estimator, writer = _graph(live)
            for owner in (estimator, *(pair.items[1] for pair in estimator.get("steps").items)):  # type: ignore[union-attr]
                state = owner.state.items  # type: ignore[union-attr]
                if name in state:
                    state[name] = value
            if name == "intercept_" and value in (3, -1):
                continue  # a number is a valid intercept
            with pytest.raises(UnsupportedModelError):
                read_model(estimator, writer=writer)


def test_a_model_without_a_known_writer_is_refused() -> None:
    estimator, _ = _graph(RandomForestClassifier(2).fit(X, Y))
    for part in (estimator, *estimator.get("estimators_").items):  # type: ignore[union-attr]
        part.state.items.pop("_sklearn_version", None)  # type: ignore[union-attr]
    with pytest.raises(UnsupportedModelError) as refusal:
        read_model(estimator, writer={})
    assert refusal.value.code == "DP604"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{L\x7f\xff\xff\xff\xff\xff\xff\xffa",
        b"[$D#L\x00\x00\x00\x00\xff\xff\xff\xff",
        b"[" * 100,
        b"{U\x01aTU\x01aF}",
        b"{}x",
        b"[#l\x7f\xff\xff\xff",
        b"SU\x02\xff\xff",
        b"[$x#U\x01a",
        b"Q",
    ],
)
def test_malformed_ubjson_is_refused(data: bytes) -> None:
    with pytest.raises(UbjsonError):
        parse_ubjson(data)


def test_every_truncation_of_a_model_text_is_refused() -> None:
    text = LGBMClassifier(n_estimators=2, num_leaves=4, verbose=-1).fit(X, Y).booster_.model_to_string()
    end = text.index("end of trees")
    assert len(parse_lightgbm(text).trees) == 2
    for cut in range(0, end, 7):
        with pytest.raises(LightgbmError):
            parse_lightgbm(text[:cut])


def test_linear_leaves_are_refused() -> None:
    live = LGBMRegressor(linear_tree=True, n_estimators=2, verbose=-1).fit(X, Y)
    with pytest.raises(LightgbmError, match="linear leaves"):
        parse_lightgbm(live.booster_.model_to_string())
