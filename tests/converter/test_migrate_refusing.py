# SPDX-License-Identifier: Apache-2.0
"""Originals that raise on some rows, through the whole converter: encoders that are strict, roots and logarithms."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

import depickle.migrate
from depickle.errors import ParityError, SandboxError
from depickle.migrate import ConvertedModel, Converter
from depickle.planning import MigrationOptions
from depickle.sources import read_source
from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.session import Answers, OnnxSession, open_session
from tests.converter.migration_kit import NAMES, package, share_worker

OPTIONS = MigrationOptions(created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
_RANDOM = np.random.default_rng(3)
MIXED = np.column_stack([_RANDOM.integers(0, 4, 200), _RANDOM.normal(size=200), _RANDOM.integers(2, 5, 200)])
LABELS = (MIXED[:, 0] + MIXED[:, 1] > 2).astype(int)

REFUSING: dict[str, Any] = {
    "one-hot": make_pipeline(
        make_column_transformer((OneHotEncoder(), [0, 2]), remainder="passthrough"), LogisticRegression()
    ),
    "ordinal": make_pipeline(OrdinalEncoder(), RandomForestClassifier(5, max_depth=3, random_state=0)),
    "sqrt": make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression()),
    "log": make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    "reciprocal": make_pipeline(FunctionTransformer(np.reciprocal), LogisticRegression()),
}


@pytest.fixture(autouse=True)
def _worker(monkeypatch: pytest.MonkeyPatch) -> None:
    share_worker(monkeypatch)


def _fitted(name: str) -> tuple[Any, np.ndarray]:
    rows = np.round(MIXED) if name == "ordinal" else MIXED if name == "one-hot" else np.abs(MIXED) + 0.1
    return REFUSING[name].fit(rows, LABELS), rows


def _convert(folder: Path, model: Any) -> ConvertedModel:
    path = folder / "eurusd.pkl"
    path.write_bytes(package(model))
    with Converter(OPTIONS) as converter:
        return converter.convert(read_source(path))


@pytest.mark.parametrize("name", REFUSING)
def test_rows_that_the_original_answers_are_compared_and_the_others_left_open(
    name: str, tmp_path: Path
) -> None:
    original, rows = _fitted(name)

    converted = _convert(tmp_path, original)

    record = converted.record
    assert record.tier == "certified"
    assert record.parity.label_flips == 0
    assert sum(each.rows for each in record.parity.rows) > 5000
    assert record.margin is not None
    assert 0.3 < float(record.margin.certified_fraction) < 1
    assert "not certified, not compared" in record.parity.conditions["rows_left_open"]
    session = open_session(check_onnx(converted.onnx), contract=record.input, outputs=record.outputs)
    answers = session.run(rows)
    assert answers.margin is not None
    assert answers.bound is not None
    assert bool((answers.margin > answers.bound).all())
    np.testing.assert_array_equal(answers.class_index, original.predict(rows))
    outside = session.run(np.full((1, len(NAMES)), -7.0 if name != "reciprocal" else 0.0))
    assert outside.margin is not None
    assert outside.bound is not None
    assert not outside.margin[0] > outside.bound[0]


def test_a_certified_row_on_which_the_original_raises_stops_the_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxSession.run

    def too_sure(self: OnnxSession, rows: Any) -> Answers:
        answers = run(self, rows)
        assert answers.margin is not None
        answers.margin[: len(answers.margin) // 2] = 1.0
        assert answers.bound is not None
        answers.bound[: len(answers.bound) // 2] = 0.0
        return answers

    monkeypatch.setattr(OnnxSession, "run", too_sure)
    with pytest.raises(SandboxError) as refusal:
        _convert(tmp_path, _fitted("ordinal")[0])
    assert refusal.value.code == "DP513"


def test_a_model_of_which_hardly_a_row_is_certified_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depickle.migrate, "answerable_rows", lambda *_arguments, **_keywords: None)
    with pytest.raises(ParityError) as refusal:
        _convert(tmp_path, _fitted("ordinal")[0])
    assert refusal.value.code == "DP706"
