# SPDX-License-Identifier: Apache-2.0
"""One model: the original is asked once, a worker that ended is replaced, and the evidence is what was measured."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depickle import answering
from depickle.answering import AnsweredOnce
from depickle.errors import ParityError, SandboxError
from depickle.migrate import Converter
from depickle.planning import MigrationOptions, plan_model
from depickle.sandbox import ReferenceAnswers
from depickle.sources import SourceFile, read_source
from tests.converter.migration_kit import _Shared, logistic, package, tree

OPTIONS = MigrationOptions(created=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))


def source(tmp_path: Path, data: bytes, name: str = "EURUSD_a.pkl") -> SourceFile:
    (tmp_path / name).write_bytes(data)
    return read_source(tmp_path / name)


class Asked:
    """Stands for an original that adds the columns up, and counts how often it is asked."""

    def __init__(self) -> None:
        self.questions: list[int] = []

    def __call__(self, rows: Any) -> ReferenceAnswers:
        self.questions.append(len(rows))
        sums = rows.sum(axis=1)
        return ReferenceAnswers(
            predict=sums,
            predict_proba=np.column_stack([sums, -sums]),
            decision_function=None,
            others={"raw_score": sums * 2},
            dtypes={"predict": "<f8"},
        )


SETS = [np.arange(6.0).reshape(2, 3), np.full((1, 3), np.nan), np.arange(9.0).reshape(3, 3) + 1]


def test_all_sets_are_answered_by_one_question():
    ask = Asked()
    once = AnsweredOnce(ask, [*SETS, np.empty((0, 3))])
    for rows in reversed(SETS):
        answers = once(rows)
        np.testing.assert_array_equal(answers.predict, rows.sum(axis=1))
        np.testing.assert_array_equal(answers.predict_proba[:, 1], -rows.sum(axis=1))
        np.testing.assert_array_equal(answers.others["raw_score"], rows.sum(axis=1) * 2)
        assert answers.dtypes == {"predict": "<f8"}
    assert ask.questions == [6]


def test_rows_that_were_not_announced_are_asked_by_themselves():
    ask = Asked()
    once = AnsweredOnce(ask, SETS)
    once(SETS[0])
    other = np.ones((4, 3))
    np.testing.assert_array_equal(once(other).predict, other.sum(axis=1))
    assert ask.questions == [6, 4]


def test_a_large_set_is_asked_by_itself(monkeypatch):
    monkeypatch.setattr(answering, "MAX_CELLS", 10)
    ask = Asked()
    once = AnsweredOnce(ask, SETS)
    for rows in SETS:
        np.testing.assert_array_equal(once(rows).predict, rows.sum(axis=1))
    assert sorted(ask.questions) == [3, 3]


def test_a_worker_that_ended_is_replaced_for_the_next_file(tmp_path: Path, monkeypatch):
    opened = []

    class Dying(_Shared):
        def answers(self, *arguments: Any, **keywords: Any) -> Any:
            self.closed = True
            raise SandboxError("The worker ended by itself", code="DP515")

    def open_worker(environment: object) -> _Shared:
        opened.append(environment)
        return Dying() if len(opened) == 1 else _Shared()

    monkeypatch.setattr("depickle.migrate.open_worker", open_worker)
    with Converter(OPTIONS) as converter:
        with pytest.raises(SandboxError):
            converter.convert(source(tmp_path, package()))
        assert converter.convert(source(tmp_path, package())).record.tier == "proven"
    assert len(opened) == 2


def test_converting_twice_gives_the_same_bytes(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("depickle.migrate.open_worker", lambda environment: _Shared())
    with Converter(OPTIONS) as converter:
        one, two = (converter.convert(source(tmp_path, package(logistic()))) for _ in range(2))
    assert (one.onnx, one.skops, one.record) == (two.onnx, two.skops, two.record)


def test_the_record_says_what_was_read_and_measured(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("depickle.migrate.open_worker", lambda environment: _Shared())
    read = source(tmp_path, package())
    with Converter(OPTIONS) as converter:
        record = converter.convert(read).record
    assert (record.source.sha256, record.source.size) == (read.sha256, len(read.data))
    assert record.source.container == "pickle"
    assert record.parity.proof is not None
    assert record.parity.proof.splits_reached > 0
    assert record.parity.label_flips == 0
    assert {each.name for each in record.parity.rows} >= {"random", "splits", "corners"}
    assert (record.classes, record.label_map) == ([0, 1], ["wait", "buy"])


def test_a_plan_refuses_what_a_migration_would(tmp_path: Path):
    options = MigrationOptions(created=OPTIONS.created, admitted=frozenset({"certified"}))
    with pytest.raises(ParityError) as caught:
        plan_model(source(tmp_path, package()), options)
    assert (caught.value.code, caught.value.found) == ("DP841", "tier proven")


def test_a_flip_refuses_the_model(tmp_path: Path, monkeypatch):
    class Other(_Shared):
        def answers(self, *arguments: Any, **keywords: Any) -> Any:
            answers = super().answers(*arguments, **keywords)
            flipped = answers.predict.copy()
            flipped[0] = 1 - flipped[0]
            from dataclasses import replace

            return replace(answers, predict=flipped)

    monkeypatch.setattr("depickle.migrate.open_worker", lambda environment: Other())
    with Converter(OPTIONS) as converter, pytest.raises(ParityError) as caught:
        converter.convert(source(tmp_path, package(tree(4))))
    assert caught.value.code == "DP701"


LEVELS = {
    "under metadata": {"metadata": {"version": "2.1.0", "model_name": "trend"}},
    "at the top": {"metadata": None, "version": "2.1.0", "model_name": "trend"},
    "at both, and the top wins": {"metadata": {"version": "9"}, "version": "2.1.0", "name": "trend"},
}


@pytest.mark.parametrize("fields", LEVELS.values(), ids=LEVELS.keys())
def test_what_a_package_says_of_itself_is_found_on_either_level(tmp_path: Path, fields):
    name = plan_model(source(tmp_path, package(**fields)), OPTIONS).name
    assert name.stem == "EURUSD_trend_v2.1.0_20260304_050607"
