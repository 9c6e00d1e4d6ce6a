# SPDX-License-Identifier: Apache-2.0
"""The prediction log: every row or a count of those that are not, and never a failed prediction."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from depickle_runtime import prediction_log
from depickle_runtime.errors import ConfigurationError
from depickle_runtime.prediction_log import PredictionLog

DETAILS: dict[str, Any] = {
    "symbol": "EURUSD", "abstained": None, "code": None, "message": None, "signal": "buy", "label": 1,
    "probabilities": {-1: 0.1, 0: 0.2, 1: 0.7}, "model": "m.onnx", "digest": "ab", "version": "1", "tier": "proven",
    "serial": 3, "features": "caller", "features_sha256": "cd",
}  # fmt: skip


def _rows(path: Path) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM ml_predictions ORDER BY id").fetchall()


def test_a_prediction_becomes_a_row(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "new" / "trades.db")
    assert log.put(0.7, DETAILS, news_sentiment=0.5, vsa_signal=-1.0)
    assert log.put(None, {"symbol": "X", "abstained": "no_model", "code": "DP230", "message": "m"})
    assert log.close() == 0
    signal, abstention = _rows(tmp_path / "new" / "trades.db")
    assert (signal["confidence"], signal["signal"], signal["label"], signal["tier"]) == (
        0.7,
        "buy",
        "1",
        "proven",
    )
    assert json.loads(signal["probabilities"]) == {"-1": 0.1, "0": 0.2, "1": 0.7}
    assert (signal["news_sentiment"], signal["vsa_signal"], signal["schema_version"]) == (0.5, -1.0, 1)
    assert signal["at"].endswith("+00:00")
    assert (abstention["confidence"], abstention["abstained"], abstention["code"]) == (
        None,
        "no_model",
        "DP230",
    )
    assert log.health.written == 2 and log.health.ok


def test_the_tables_of_the_trading_system_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "trades.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE trades (id INTEGER PRIMARY KEY, symbol TEXT)")
        connection.execute("INSERT INTO trades VALUES (1, 'EURUSD')")
        connection.execute("PRAGMA user_version = 42")
        connection.commit()
    for _ in range(2):
        log = PredictionLog(path)
        log.put(0.7, DETAILS)
        assert log.close() == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM trades").fetchall() == [(1, "EURUSD")]
        assert connection.execute("PRAGMA user_version").fetchone() == (42,)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert tables == {"trades", "ml_predictions"}
    assert len(_rows(path)) == 2


def test_another_table_of_our_name_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "trades.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE ml_predictions (id INTEGER, confidence REAL)")
    with pytest.raises(ConfigurationError, match="DP942") as refused:
        PredictionLog(path)
    assert "RENAME" in refused.value.next_step


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "trades.db"
    path.write_bytes(b"not a database" * 1000)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="DP941"):
        PredictionLog(path)
    assert path.read_bytes() == before
    with pytest.raises(ConfigurationError, match="DP941"):
        PredictionLog(tmp_path)
    with pytest.raises(ConfigurationError, match="DP941"):
        PredictionLog(path / "below" / "a-file.db")


def test_nothing_is_lost_when_many_threads_log_and_the_log_is_closed(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "trades.db")

    def work(thread: int) -> None:
        for index in range(500):
            assert log.put(index / 1000, DETAILS | {"serial": thread})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.close() == 0
    rows = _rows(tmp_path / "trades.db")
    assert len(rows) == 3000
    for number in range(6):
        assert [row["confidence"] for row in rows if row["serial"] == number] == [
            index / 1000 for index in range(500)
        ]
    assert log.health == prediction_log.LogHealth(queued=0, written=3000, lost=0, last_error=None)


def test_rows_wait_while_another_writer_holds_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prediction_log, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(prediction_log, "RETRY_SECONDS", 0.02)
    path = tmp_path / "trades.db"
    log = PredictionLog(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert log.put(0.7, DETAILS)
        assert log.flush(timeout=0.5) == 1
        assert log.failing
        assert "locked" in (log.health.last_error or "")
        other.execute("ROLLBACK")
    assert log.flush() == 0
    assert not log.failing
    assert log.close() == 0
    assert len(_rows(path)) == 1
    assert sum("cannot be written" in message for message in caplog.messages) == 1


def test_a_file_that_stays_locked_costs_rows_that_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prediction_log, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(prediction_log, "RETRY_SECONDS", 0.02)
    path = tmp_path / "trades.db"
    log = PredictionLog(path, max_queued=3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        log.put(0.7, DETAILS)
        assert log.flush(timeout=0.3) == 1
        accepted = [log.put(0.7, DETAILS) for _ in range(5)]
        assert accepted == [True, True, True, False, False]
        assert log.close(timeout=0.3) == 4
        other.execute("ROLLBACK")
    assert log.health.lost == 6
    assert log.health.queued == 0
    assert any("queue full" in message for message in caplog.messages)
    assert log.put(0.7, DETAILS) is False


def test_a_row_that_sqlite_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "trades.db")
    log.put(0.1, DETAILS)
    log.put(0.2, DETAILS | {"serial": 2**70})
    log.put(0.3, DETAILS | {"message": "\ud800 lone surrogate"})
    assert log.close() == 0
    assert [row["confidence"] for row in _rows(tmp_path / "trades.db")] == [0.1, 0.3]
    assert (log.health.written, log.health.lost) == (2, 1)


def test_details_may_be_changed_once_they_are_queued(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "trades.db")
    details = DETAILS | {"probabilities": {1: 1.0}}
    log.put(0.1, details)
    details["probabilities"].clear()
    details["symbol"] = "changed"
    assert log.close() == 0
    row = _rows(tmp_path / "trades.db")[0]
    assert (row["symbol"], row["probabilities"]) == ("EURUSD", '{"1": 1.0}')


def test_rows_are_committed_when_the_interpreter_exits(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from depickle_runtime.prediction_log import PredictionLog\n"
        "log = PredictionLog(Path(sys.argv[1]))\n"
        "for index in range(100): log.put(0.5, {'symbol': 'EURUSD'})\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "trades.db")], check=True)
    assert len(_rows(tmp_path / "trades.db")) == 100


def test_a_forked_child_logs_its_own_rows_once(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from depickle_runtime.prediction_log import PredictionLog\n"
        "log = PredictionLog(Path(sys.argv[1])); log.put(0.1, {'symbol': 'PARENT'})\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    log.put(0.2, {'symbol': 'CHILD'}); os._exit(log.close())\n"
        "sys.exit(os.waitpid(child, 0)[1] or log.close())\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "trades.db")], check=True)
    assert sorted(row["symbol"] for row in _rows(tmp_path / "trades.db")) == ["CHILD", "PARENT"]


def test_put_does_no_input_or_output(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "trades.db")
    log.put(0.7, DETAILS)
    assert log.flush() == 0
    events: list[str] = []
    me = threading.get_ident()
    recording = True

    def hook(event: str, _: Any) -> None:
        if (
            recording
            and threading.get_ident() == me
            and event.startswith(("open", "sqlite3", "os.", "socket"))
        ):
            events.append(event)

    sys.addaudithook(hook)
    for _ in range(100):
        log.put(0.7, DETAILS)
    recording = False
    assert events == []
    assert log.close() == 0
    assert os.path.exists(tmp_path / "trades.db")


def test_closing_twice_and_flushing_an_idle_log_are_harmless(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "trades.db")
    assert log.flush() == 0
    log.put(0.7, DETAILS)
    started = time.monotonic()
    assert log.close() == 0
    assert log.close() == 0
    assert log.flush() == 0
    assert time.monotonic() - started < 5
    assert log.health.written == 1
