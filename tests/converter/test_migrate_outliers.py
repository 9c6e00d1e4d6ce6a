# SPDX-License-Identifier: Apache-2.0
"""Outlier detectors through `depickle migrate`: -1 and 1 as the original says, and no signal made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from depickle_runtime.predictor import SecureMLPredictor
from tests.converter.migration_kit import NAMES, MigratingHost, package, share_worker

ROWS = np.random.default_rng(3).normal(size=(300, len(NAMES)))

DETECTORS: dict[str, Any] = {
    "alone": IsolationForest(n_estimators=30, random_state=0),
    "a tenth outliers, two columns for each tree": IsolationForest(
        n_estimators=30, contamination=0.1, max_features=2, random_state=0
    ),
    "behind an imputer and a scaler": make_pipeline(
        SimpleImputer(strategy="median"), RobustScaler(), IsolationForest(n_estimators=30, random_state=0)
    ),
}


@pytest.mark.parametrize("case", DETECTORS)
def test_a_detector_is_migrated_and_labels_rows_as_the_original_does(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_worker(monkeypatch)
    live = DETECTORS[case].fit(ROWS)
    host = MigratingHost(tmp_path, tiers=("proven", "certified"))
    host.put("EURUSD_detector.pkl", package(live))

    result, rows, _ = host.migrate()

    assert result.exit_code == 0, result.output
    assert [row["tier"] for row in rows] == ["certified"]
    assert host.legacy() == []
    (file,) = host.models.rglob("*.onnx")
    model = host.loader().load_model(file.relative_to(host.models))
    record = model.record
    assert (record.task, record.tier, record.classes) == ("outlier", "certified", [-1, 1])
    assert record.parity.label_flips == 0
    proof = record.parity.proof
    assert proof is not None
    assert proof.splits == proof.splits_reached > 0
    asked = np.concatenate([ROWS, 3 * np.random.default_rng(5).normal(size=(2000, len(NAMES)))])
    answers = model.run(asked)
    certified = answers.margin > answers.bound
    assert certified.mean() > 0.99
    labels = model.predict(asked)
    assert (labels == live.predict(asked))[certified].all()
    assert set(labels.tolist()) == {-1, 1}
    np.testing.assert_allclose(answers.scores.reshape(-1), live.decision_function(asked), rtol=0, atol=1e-13)


def test_no_signal_is_made_of_what_is_no_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share_worker(monkeypatch)
    host = MigratingHost(tmp_path, tiers=("proven", "certified"))
    host.put("EURUSD_detector.pkl", package(DETECTORS["alone"].fit(ROWS)))
    assert host.migrate()[0].exit_code == 0
    predictor = SecureMLPredictor(
        host.models, None, environ=host.environ, state_dir=tmp_path / "trading-state"
    )
    confidence, details = predictor.predict_signal("EURUSD", {})
    assert confidence is None
    assert (details["code"], details["signal"]) == ("DP232", None)
