# SPDX-License-Identifier: Apache-2.0
"""Every prediction as a row of ``ml_predictions`` in the trading system's SQLite file, in the background.

Guarantees:

* `PredictionLog.put` does no I/O and never raises: it appends to a bounded queue. A full queue, or a log that
  cannot be written, costs rows that are counted, logged and visible in `PredictionLog.health`; never a prediction.
* One table is created beside those of the trading system. No other table, no ``user_version``, is touched. A
  table of that name with other columns is refused at construction.
* `close` and `flush` return when every queued row is committed, or say how many are not. `close` also runs at
  interpreter exit. A process that is killed loses at most the rows of the last `BATCH_SECONDS`.
* Rows are committed in the order of `put`, in one transaction a batch, in WAL mode, so readers are not blocked.
* A child process made by fork starts with an empty queue and a writer of its own.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from .errors import ConfigurationError

__all__ = ["LogHealth", "PredictionLog"]

_logger = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
TABLE: Final = "ml_predictions"
MAX_QUEUED: Final = 50_000
"""Rows that wait at most: about 50 MB, or a minute at 800 predictions a second."""
BATCH_SECONDS: Final = 0.1
"""How long the writer collects rows before it commits them: one fsync for all of them."""
BATCH_ROWS: Final = 1_000
BUSY_SECONDS: Final = 2.0
"""How long one commit waits for another writer of the file before it is tried again."""
RETRY_SECONDS: Final = 0.5

_COLUMNS: Final = {
    "id": "INTEGER PRIMARY KEY",
    "schema_version": "INTEGER NOT NULL",
    "at": "TEXT NOT NULL",
    "symbol": "TEXT NOT NULL",
    "confidence": "REAL",
    "signal": "TEXT",
    "abstained": "TEXT",
    "code": "TEXT",
    "message": "TEXT",
    "label": "TEXT",
    "probabilities": "TEXT",
    "model": "TEXT",
    "digest": "TEXT",
    "version": "TEXT",
    "tier": "TEXT",
    "serial": "INTEGER",
    "features": "TEXT",
    "features_sha256": "TEXT",
    "news_sentiment": "REAL",
    "vsa_signal": "REAL",
}
_CREATE: Final = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (" + ", ".join(f'"{n}" {t}' for n, t in _COLUMNS.items()) + ")"
)
_WRITTEN: Final = tuple(name for name in _COLUMNS if name != "id")
_COPIED: Final = tuple(
    name
    for name in _WRITTEN
    if name not in ("schema_version", "at", "confidence", "probabilities", "news_sentiment", "vsa_signal")
)
_Row = tuple[Any, ...]
"""Time, confidence, both arguments, probabilities, then the details named in `_COPIED`."""
_INSERT: Final = f"INSERT INTO {TABLE} ({', '.join(_WRITTEN)}) VALUES ({', '.join('?' * len(_WRITTEN))})"  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class LogHealth:
    """What became of the rows so far.

    Attributes:
        queued: waiting to be written.
        written: committed.
        lost: given up: the queue was full, or the row itself was refused by SQLite.
        last_error: the writer's last failure, or None after a success.
    """

    queued: int
    written: int
    lost: int
    last_error: str | None

    @property
    def ok(self) -> bool:
        """Nothing lost and the last write succeeded."""
        return self.lost == 0 and self.last_error is None


class PredictionLog:
    """The log of predictions; safe to use from several threads.

    Example:
        >>> import tempfile, pathlib
        >>> log = PredictionLog(pathlib.Path(tempfile.mkdtemp()) / "trades.db")
        >>> log.put(0.7, {"symbol": "EURUSD", "signal": "buy"})
        True
        >>> log.close()
        0
    """

    def __init__(self, path: Path, *, max_queued: int = MAX_QUEUED) -> None:
        """Create the table where it is absent; the writer starts with the first row.

        Args:
            path: the SQLite file; it and its folder are created where absent.
            max_queued: rows that wait at most.

        Raises:
            ConfigurationError: DP941 where the file cannot be opened as a database, DP942 where it holds a
                table of our name with other columns.
        """
        self._path = path
        self._max_queued = max_queued
        self._closed = False
        _prepare(path)
        self._reset()
        atexit.register(self.close)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._queue: deque[_Row] = deque()
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._abandon = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_flight = 0
        self._written = 0
        self._lost = 0
        self._last_error: str | None = None

    @property
    def health(self) -> LogHealth:
        """What became of the rows so far."""
        with self._lock:
            return LogHealth(len(self._queue) + self._in_flight, self._written, self._lost, self._last_error)

    @property
    def failing(self) -> bool:
        """Whether the last write failed or a row was lost, without waiting for the writer."""
        return self._last_error is not None or self._lost > 0

    def put(
        self,
        confidence: float | None,
        details: Mapping[str, Any],
        *,
        news_sentiment: object = 0.0,
        vsa_signal: object = 0.0,
    ) -> bool:
        """Queue one prediction.

        Args:
            confidence: what ``predict_signal`` returned.
            details: its details; what is logged of them is copied.
            news_sentiment: its argument.
            vsa_signal: its argument.

        Returns:
            False where the row was given up because the queue is full or the log is closed.
        """
        if self._pid != os.getpid():
            self._reset()
        chances = details.get("probabilities")
        row: _Row = (
            time.time(),
            confidence,
            news_sentiment,
            vsa_signal,
            dict(chances) if chances else None,
            *map(details.get, _COPIED),
        )
        with self._lock:
            if self._closed or len(self._queue) >= self._max_queued:
                first = self._lost == 0
                self._lost += 1
                full = not self._closed
            else:
                self._queue.append(row)
                if self._thread is None:
                    self._start()
                if not self._wake.is_set():
                    self._wake.set()
                return True
        if first:
            _logger.error("Prediction log %s loses rows: %s", self._path, "queue full" if full else "closed")
        return False

    def flush(self, timeout: float = 10.0) -> int:
        """Wait until everything queued so far is committed.

        Returns:
            How many rows are still waiting when `timeout` seconds are over; 0 is success.
        """
        if self._pid != os.getpid():
            self._reset()
        with self._settled:
            if self._thread is None:
                return 0
            self._hurry.set()
            self._wake.set()
            self._settled.wait_for(lambda: not self._queue and not self._in_flight, timeout)
            if not self._closed:
                self._hurry.clear()
            return len(self._queue) + self._in_flight

    def close(self, timeout: float = 10.0) -> int:
        """Write what is queued and stop the writer; later rows are given up and counted. May be called again.

        Returns:
            How many rows could not be written in `timeout` seconds; they are counted as lost.
        """
        atexit.unregister(self.close)
        with self._lock:
            self._closed = True
        waiting = self.flush(timeout)
        self._abandon.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        return waiting

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write, name="depickle-predictions", daemon=True)
        self._thread.start()

    def _write(self) -> None:
        """The writer's loop."""
        connection: sqlite3.Connection | None = None
        while True:
            self._wake.wait()
            if not self._hurry.is_set():
                self._hurry.wait(BATCH_SECONDS)
            self._wake.clear()
            while batch := self._take():
                connection = self._commit(connection, batch)
            with self._lock:
                if self._closed and not self._queue:
                    break
        if connection is not None:
            _close(connection)

    def _take(self) -> list[_Row]:
        with self._settled:
            batch = [self._queue.popleft() for _ in range(min(BATCH_ROWS, len(self._queue)))]
            self._in_flight = len(batch)
            if not batch:
                self._settled.notify_all()
            return batch

    def _commit(self, connection: sqlite3.Connection | None, batch: list[_Row]) -> sqlite3.Connection | None:
        """Write a batch, trying again until it succeeds, or until `close` has waited long enough."""
        while True:
            try:
                connection = connection or _connect(self._path)
                refused = _insert(connection, batch)
            except sqlite3.Error as error:
                if connection is not None:
                    _close(connection)
                connection = None
                self._failed(error)
                if self._abandon.wait(RETRY_SECONDS):
                    self._done(0, len(batch), f"{type(error).__name__}: {error}")
                    return None
            else:
                self._done(len(batch) - refused, refused, None)
                return connection

    def _failed(self, error: sqlite3.Error) -> None:
        text = f"{type(error).__name__}: {error}"
        with self._lock:
            news = self._last_error != text
            self._last_error = text
        if news:
            _logger.error("Prediction log %s cannot be written, rows wait: %s", self._path, text)

    def _done(self, written: int, lost: int, error: str | None) -> None:
        with self._settled:
            self._written += written
            self._lost += lost
            self._in_flight = 0
            self._last_error = error
            self._settled.notify_all()
        if lost:
            _logger.error(
                "Prediction log %s lost %d rows: %s", self._path, lost, error or "refused by SQLite"
            )


def _prepare(path: Path) -> None:
    """Create folder, file and table where absent, and check the table's columns."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect(path)) as connection:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            with connection:
                connection.execute(_CREATE)
            found = [row[1] for row in connection.execute(f"PRAGMA table_info({TABLE})")]
    except (OSError, ValueError, sqlite3.Error) as error:
        raise ConfigurationError(
            "The prediction database cannot be opened",
            code="DP941",
            found=f"{type(error).__name__}: {error}",
            expected="a SQLite file that can be written",
            where=str(path),
            next_step="check db_path and its permissions, or pass db_path=None to log nothing",
        ) from error
    if mode != "wal":
        _logger.warning("Prediction log %s: SQLite kept journal mode %s; writes block readers", path, mode)
    if found != list(_COLUMNS):
        raise ConfigurationError(
            f"The database has another table named {TABLE}",
            code="DP942",
            found=", ".join(found),
            expected=", ".join(_COLUMNS),
            where=str(path),
            next_step=f"rename that table: ALTER TABLE {TABLE} RENAME TO {TABLE}_old",
        )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _close(connection: sqlite3.Connection) -> None:
    try:
        connection.close()
    except sqlite3.Error as error:
        _logger.warning("Prediction log: a connection did not close: %s", error)


# What SQLite's Python module raises for one row that it cannot take, and not for the file.
_ROW_ERRORS: Final = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeEncodeError,
)


def _insert(connection: sqlite3.Connection, batch: list[_Row]) -> int:
    """Insert all rows in one transaction; how many of them SQLite refused for what they hold."""
    rows = [_cells(row) for row in batch]
    try:
        with connection:
            connection.executemany(_INSERT, rows)
    except _ROW_ERRORS:
        refused = 0
        with connection:
            for row in rows:
                try:
                    connection.execute(_INSERT, row)
                except _ROW_ERRORS as error:
                    refused += 1
                    _logger.error("Prediction log: SQLite refused a row: %s", type(error).__name__)
        return refused
    return 0


def _cells(row: _Row) -> list[object]:
    """One row as the values of `_INSERT`; done by the writer, not by the prediction."""
    at, confidence, news, vsa, chances, *copied = row
    cells = dict(zip(_COPIED, map(_cell, copied), strict=True))
    cells.update(
        schema_version=SCHEMA_VERSION,
        at=datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds"),
        confidence=confidence,
        label=None if cells["label"] is None else str(cells["label"]),
        probabilities=None if chances is None else json.dumps({str(k): v for k, v in chances.items()}),
        news_sentiment=_real(news),
        vsa_signal=_real(vsa),
    )
    return [cells[name] for name in _WRITTEN]


def _cell(value: object) -> object:
    if value is None or isinstance(value, (int, float)):
        return value
    # Text may hold lone surrogates, which SQLite cannot store.
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e300 else None
