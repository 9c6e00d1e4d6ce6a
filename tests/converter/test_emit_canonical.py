# SPDX-License-Identifier: Apache-2.0
"""The ONNX bytes: the same in every process, accepted by the gate, and laid out as docs/models.md says."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from .emit_checks import Converted, convert, make_data

PROGRAM = """
import hashlib, sys
from pathlib import Path
from depickle.emit import emit_onnx
from depickle.models import read_model
from depickle.pickles import open_package, vet
for name in sys.argv[1:]:
    vetted = vet(Path(name).read_bytes())
    model = read_model(open_package(vetted).estimator, writer=vetted.writer)
    print(hashlib.sha256(emit_onnx(model).onnx).hexdigest())
"""

FAMILIES: tuple[Any, ...] = (
    RandomForestClassifier(4, random_state=0),
    GradientBoostingClassifier(n_estimators=3, random_state=0),
    HistGradientBoostingClassifier(max_iter=3, random_state=0),
    LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1),
    XGBClassifier(n_estimators=3, n_jobs=1),
    LogisticRegression(max_iter=500),
)


def _pipeline(family: Any) -> Any:
    X, y = make_data((0, 1, 2), missing=True)
    return make_pipeline(SimpleImputer(), StandardScaler(), family).fit(X, y)


def test_bytes_are_the_same_in_processes_with_other_hash_seeds(tmp_path: Path) -> None:
    files = []
    expected = []
    for place, family in enumerate(FAMILIES):
        live = _pipeline(family)
        path = tmp_path / f"{place}.pkl"
        path.write_bytes(pickle.dumps(live))
        files.append(str(path))
        expected.append(hashlib.sha256(convert(live).emitted.onnx).hexdigest())
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *files],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == expected


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bytes_do_not_depend_on_the_pickle_protocol(protocol: int) -> None:
    live = _pipeline(RandomForestClassifier(4, random_state=0))
    assert convert(live, protocol=protocol).emitted.onnx == convert(live).emitted.onnx


@pytest.fixture(scope="module")
def forest() -> Converted:
    """A converted pipeline with a forest of seven trees."""
    return convert(_pipeline(RandomForestClassifier(7, max_depth=4, random_state=0)))


def test_header_is_canonical(forest: Converted) -> None:
    model = onnx.load_from_string(forest.emitted.onnx)
    assert (model.ir_version, model.producer_name, model.producer_version) == (10, "depickle", "")
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 21), ("ai.onnx.ml", 5)]
    assert model.SerializeToString(deterministic=True) == forest.emitted.onnx


def test_a_forest_emits_each_tree_once_with_its_thresholds_rounded_down_to_float32(forest: Converted) -> None:
    model = onnx.load_from_string(forest.emitted.onnx)
    (node,) = (node for node in model.graph.node if node.op_type == "TreeEnsemble")
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    trees = [member.tree_ for member in forest.live[-1].estimators_]
    assert len(attributes["tree_roots"]) == attributes["n_targets"] == len(trees)
    splits = onnx.numpy_helper.to_array(attributes["nodes_splits"])
    source = np.concatenate([tree.threshold[tree.children_left >= 0] for tree in trees])
    # x is a float32, so "x <= t" and "x <= the largest float32 up to t" are the same question
    assert splits.dtype == np.float32
    assert (splits <= source).all()
    assert (np.nextafter(splits, np.float32(np.inf)) > source).all()


def test_a_string_class_table_and_its_index_agree() -> None:
    X, y = make_data(("BUY", "SELL", "WAIT"))
    converted = convert(HistGradientBoostingClassifier(max_iter=4).fit(X, y))
    answers = converted.answers(X)
    assert answers["class_index"].dtype == np.int64
    assert list(np.array(converted.emitted.classes)[answers["class_index"]]) == list(answers["label"])
    assert converted.emitted.classes == ("BUY", "SELL", "WAIT")


@pytest.mark.parametrize(
    ("labels", "kind"), [((False, True), np.int64), ((1.0, 2.0), np.float64), ((10, 20), np.int64)]
)
def test_labels_of_other_types_come_back(labels: tuple[Any, ...], kind: type) -> None:
    X, y = make_data((0, 1))
    converted = convert(RandomForestClassifier(3, random_state=0).fit(X, np.array(labels)[y]))
    got = converted.answers(X)["label"]
    assert got.dtype == kind
    assert (got == converted.live.predict(X)).all()


def test_the_input_contract_says_what_the_original_admits() -> None:
    X, y = make_data((0, 1))
    boosting = convert(GradientBoostingClassifier(n_estimators=2).fit(X, y)).emitted.input
    assert (boosting.allow_nan, boosting.allow_infinite) == (False, False)
    assert boosting.max_abs == float(np.finfo(np.float32).max).hex()
    histogram = convert(HistGradientBoostingClassifier(max_iter=2).fit(X, y)).emitted.input
    assert (histogram.allow_nan, histogram.allow_infinite, histogram.max_abs) == (True, True, None)
    imputed = convert(make_pipeline(SimpleImputer(), GradientBoostingClassifier(n_estimators=2)).fit(X, y))
    assert (imputed.emitted.input.allow_nan, imputed.emitted.input.allow_infinite) == (True, False)


def test_feature_names_of_a_data_frame_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = make_data((0, 1))
    frame = pandas.DataFrame(X, columns=[f"feature_{place}" for place in range(6)])
    live = make_pipeline(StandardScaler(), RandomForestClassifier(2)).fit(frame, y)
    assert convert(live).typed.feature_names == tuple(frame.columns)
