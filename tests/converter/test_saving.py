# SPDX-License-Identifier: Apache-2.0
"""`save_model` converts, signs and publishes; what it saved loads, and nothing unpicklable reaches the disk."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import depickle
from depickle_runtime import SecurityError

ROWS = np.random.default_rng(1).standard_normal((120, 3))
LABELS = np.where(ROWS[:, 0] > 0, 1, 0)
SECRET = "0123456789abcdef" * 3  # a test's secret, for a store that lives as long as the test


@pytest.fixture
def loader(tmp_path: Path) -> depickle.SecureModelLoader:
    return depickle.SecureModelLoader(
        tmp_path / "models", secret_key=SECRET, state_dir=tmp_path / "state", environ={}
    )


def forest() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(ROWS, LABELS)


def test_what_was_saved_loads_and_answers_as_the_estimator(loader: depickle.SecureModelLoader) -> None:
    model = forest()
    path = loader.save_model(
        model, "EURUSD_pattern_trader", "20250108.1.0", feature_names=["a", "b", "c"], authorized_by="tests"
    )
    loaded = loader.load_model(path)
    assert (loaded.predict(ROWS) == model.predict(ROWS)).all()
    assert loaded.metadata.model_name == "EURUSD_pattern_trader"
    assert loaded.metadata.version == "20250108.1.0"
    assert loaded.metadata.feature_names == ["a", "b", "c"]
    assert loaded.record.tier == "proven"
    assert {file.suffix for file in loader.models_dir.iterdir() if file.is_file()} == {
        ".onnx",
        ".skops",
        ".json",
    }


def test_a_second_version_becomes_current(loader: depickle.SecureModelLoader) -> None:
    loader.save_model(forest(), "EURUSD_pattern_trader", "1")
    second = loader.save_model(forest(), "EURUSD_pattern_trader", "2")
    models, refusals = loader.load_current()
    assert not refusals
    assert models["EURUSD"].verified.name == second.name


REFUSED = {
    "a lambda": (lambda: lambda row: row, "DP845"),
    "an object that is no estimator": (lambda: object(), None),
    "a string": (lambda: "model", None),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_refuses_what_is_no_estimator(loader: depickle.SecureModelLoader, sentence: str) -> None:
    make, code = REFUSED[sentence]
    with pytest.raises(SecurityError) as refused:
        loader.save_model(make(), "EURUSD_pattern_trader", "1")
    assert code in (None, refused.value.code)
    assert not list(loader.models_dir.glob("*.onnx"))


def test_saving_without_a_key_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SecurityError) as refused:
        depickle.SecureModelLoader(tmp_path / "models", environ={}).save_model(forest(), "EURUSD_x", "1")
    assert refused.value.code == "DP901"


def test_public_names_are_there() -> None:
    assert issubclass(depickle.GateRefusedError, SecurityError)
    for name in depickle.__all__:
        assert getattr(depickle, name) is not None
    with pytest.raises(AttributeError):
        _ = depickle.Nonsense
