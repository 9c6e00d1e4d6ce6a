# SPDX-License-Identifier: Apache-2.0
"""A verified model as the predictor sees it, with a session whose answers the test chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from depickle_runtime.record import (
    ConversionRecord,
    FeatureContract,
    InputContract,
    MarginContract,
    OutputNames,
    ParityRecord,
    ProbeRows,
    SourceRecord,
)
from depickle_runtime.session import Answers
from depickle_runtime.signals import RunnableModel

NAMES = ["rsi", "atr", "news"]


class ChosenSession:
    """Answers every row alike and keeps the rows it was given."""

    def __init__(self, answers: Answers | Exception) -> None:
        self.answers = answers
        self.rows: list[np.ndarray] = []

    def run_row(self, row: npt.ArrayLike, /) -> Answers:
        self.rows.append(np.array(row))
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


def answers(
    index: int,
    probabilities: list[float] | None,
    *,
    margin: float | None = None,
    bound: float | None = None,
) -> Answers:
    """One row's answers."""
    return Answers(
        class_index=np.array([index], dtype=np.int64),
        probabilities=None if probabilities is None else np.array([probabilities]),
        scores=None,
        margin=None if margin is None else np.array([margin]),
        bound=None if bound is None else np.array([bound]),
    )


def record(**changes: Any) -> ConversionRecord:
    """A record of a three-class model with the caller's features; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "schema_version": 1,
        "stem": "EURUSD_trend_v1.0.0_20250108_120000",
        "symbol": "EURUSD",
        "created_at": "2025-01-08T12:00:00Z",
        "source": SourceRecord(name="a.pkl", sha256="0" * 64, size=1, container="pickle", writer={}),
        "versions": {},
        "architecture": "x86_64",
        "derived": "graph",
        "tier": "proven",
        "task": "classifier",
        "estimator": "RandomForestClassifier",
        "classes": [-1, 0, 1],
        "label_map": ["sell", "wait", "buy"],
        "input": InputContract(
            name="X", dtype="float64", graph_dtype="float64", features=len(NAMES),
            allow_nan=False, allow_infinite=False, max_abs=None,
        ),
        "outputs": OutputNames(
            label="label", class_index="class_index", probabilities="probabilities", scores=None
        ),
        "margin": None,
        "features": FeatureContract(kind="caller", catalogue=None, names=list(NAMES)),
        "findings": [],
        "parity": ParityRecord(
            reference="test", rows=[], label_flips=0, proof=None, reference_rows=False, conditions={}
        ),
        "probes": ProbeRows(rows=[], class_index=None, probabilities=None, scores=None),
    }  # fmt: skip
    return ConversionRecord(**(fields | changes))


def margin_fields() -> dict[str, Any]:
    """What a dense model's record has in addition."""
    return {
        "tier": "certified",
        "outputs": OutputNames(
            label="label", class_index="class_index", probabilities="probabilities", scores="scores",
            margin="margin", bound="bound",
        ),
        "margin": MarginContract(gamma="0x1p-50", certified_fraction="0x1p+0"),
    }  # fmt: skip


def runnable(session: ChosenSession, **changes: Any) -> RunnableModel:
    """A model ready to be bound."""
    made = record(**changes)
    return RunnableModel(
        record=made,
        session=session,
        name=f"{made.stem}.onnx",
        sha256="ab" * 32,
        version="1.0.0",
        serial=7,
        metadata={"model_name": "EURUSD_trend", "version": "1.0.0"},
    )
