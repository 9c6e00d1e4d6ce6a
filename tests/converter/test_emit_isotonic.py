# SPDX-License-Identifier: Apache-2.0
"""Isotonic calibration: numpy's interpolation between the thresholds, certified by the steepest slope, and proven."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .emit_checks import LABELS, convert, make_data, random_rows
from .proof_kit import subject_of

MEMBERS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(10, max_depth=5, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=6, random_state=0),
    "regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("member", MEMBERS)
def test_isotonic_calibration_is_certified_and_proven(member: str, labels: str) -> None:
    X, y = make_data(LABELS[labels])
    live = CalibratedClassifierCV(MEMBERS[member](), method="isotonic", cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live.fit(X, y)
    rows = np.vstack([X, random_rows(X, 2000)])
    answers = convert(live).answers(rows)
    certain = answers["margin"] > answers["bound"]
    assert (live.predict(rows) == answers["label"])[certain].all()
    assert certain.mean() > 0.9
    assert np.abs(live.predict_proba(rows) - answers["probabilities"]).max() < 1e-9
    assert subject_of(member, live, X).prove() is not None
