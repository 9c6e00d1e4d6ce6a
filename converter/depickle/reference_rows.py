# SPDX-License-Identifier: Apache-2.0
"""The user's own rows for parity: CSV, npz or parquet, read as numbers and never as objects."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import ConverterError

__all__ = ["ReferenceRows", "read_reference_rows"]

MAX_REFERENCE_BYTES = 1024**3
"""1 GiB: a hundred features over a million bars."""


@dataclass(frozen=True)
class ReferenceRows:
    """Named columns of float64, [N, F]; `names` is None where the file has none."""

    names: tuple[str, ...] | None
    values: npt.NDArray[np.float64]
    where: str

    def columns(self, wanted: Sequence[str] | None, features: int) -> npt.NDArray[np.float64]:
        """The columns a model takes, in its order.

        Raises:
            ConverterError: DP821 where a column is missing or the count differs.
        """
        if self.names is not None and wanted is not None:
            missing = [name for name in wanted if name not in self.names]
            if missing:
                raise self._refuse(f"no column {', '.join(missing[:5])}", f"columns {', '.join(wanted[:8])}…")
            return np.ascontiguousarray(self.values[:, [self.names.index(name) for name in wanted]])
        if self.values.shape[1] != features:
            raise self._refuse(f"{self.values.shape[1]} columns", f"{features} columns")
        return self.values

    def _refuse(self, found: str, expected: str) -> ConverterError:
        return ConverterError(
            "The reference rows do not fit the model",
            code="DP821",
            where=self.where,
            found=found,
            expected=expected,
            next_step="give rows with one column per feature of the model, named as the model names them",
        )


def read_reference_rows(path: Path) -> ReferenceRows:
    """Read rows from a ``.csv``, ``.npz`` or ``.parquet`` file.

    A CSV has a header line; empty cells are missing values. An npz holds one two-dimensional array, named
    ``X`` if there are several, and may name its columns in ``names``. Parquet needs the extra ``tables``.

    Raises:
        ConverterError: DP820 where the file cannot be read as rows of numbers.
    """
    try:
        if path.stat().st_size > MAX_REFERENCE_BYTES:
            raise _unreadable(path, f"over {MAX_REFERENCE_BYTES} bytes")
        data = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or type(error).__name__) from error
    readers = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _unreadable(path, f"a {path.suffix or 'nameless'} file")
    names, values = reader(path, data)
    if values.ndim != 2 or values.shape[0] == 0:
        raise _unreadable(path, f"an array of shape {values.shape}")
    twice = sorted(name for name, count in Counter(names or ()).items() if count > 1)
    if twice:
        raise _unreadable(path, f"a column {twice[0]} that is named twice")
    return ReferenceRows(names=names, values=np.ascontiguousarray(values), where=str(path))


def _read_csv(path: Path, data: bytes) -> tuple[tuple[str, ...] | None, npt.NDArray[np.float64]]:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, str(error)) from error
    if len(rows) < 2:
        raise _unreadable(path, "no rows under a header line")
    header = tuple(cell.strip() for cell in rows[0])
    try:
        values = np.array(
            [[float(cell) if cell.strip() else np.nan for cell in row] for row in rows[1:] if row]
        )
    except ValueError as error:
        raise _unreadable(path, str(error)) from error
    if values.ndim != 2 or values.shape[1] != len(header):
        raise _unreadable(path, "rows of unequal length")
    return header, values


def _read_npz(path: Path, data: bytes) -> tuple[tuple[str, ...] | None, npt.NDArray[np.float64]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            names = [name for name in archive.files if name != "names"]
            if len(names) != 1 and "X" not in names:
                raise _unreadable(path, f"arrays {', '.join(names) or 'none'}")
            values = np.asarray(archive["X" if "X" in names else names[0]], dtype=np.float64)
            columns = tuple(map(str, archive["names"].tolist())) if "names" in archive.files else None
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, str(error)) from error
    if columns is not None and (values.ndim != 2 or len(columns) != values.shape[1]):
        raise _unreadable(path, f"{len(columns)} names for an array of shape {values.shape}")
    return columns, values


def _read_parquet(path: Path, data: bytes) -> tuple[tuple[str, ...] | None, npt.NDArray[np.float64]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConverterError(
            "Parquet files need another package",
            code="DP822",
            where=str(path),
            found="pyarrow is not installed",
            next_step="pip install 'depickle[tables]', or give a CSV or npz file",
        ) from error
    try:
        table = pq.read_table(io.BytesIO(data))
        columns = [
            table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
            for name in table.column_names
        ]
    except (pa.ArrowException, ValueError, TypeError, OSError) as error:
        raise _unreadable(path, str(error)) from error
    return tuple(table.column_names), np.column_stack(columns)


def _unreadable(path: Path, found: str) -> ConverterError:
    return ConverterError(
        "The reference rows cannot be read",
        code="DP820",
        where=str(path),
        found=found,
        expected="rows of numbers in a .csv with a header, an .npz with one array, or a .parquet file",
        next_step="depickle migrate --reference-rows rows.csv",
    )
