# SPDX-License-Identifier: Apache-2.0
"""The user's rows are read as numbers, matched by name, and never unpickled."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depickle import reference_rows
from depickle.errors import ConverterError
from depickle.reference_rows import read_reference_rows

ROWS = np.array([[1.5, np.nan], [-2.0, 1e300]])


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def parquet(**columns: list[object]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


GOOD: dict[str, tuple[str, bytes, tuple[str, ...] | None]] = {
    "a CSV with an empty cell": ("r.csv", b"a,b\n1.5,\n-2,1e300\n", ("a", "b")),
    "a CSV as spreadsheets write it": ("r.csv", b"\xef\xbb\xbfa,b\r\n1.5,\r\n-2.0,1e300\r\n", ("a", "b")),
    "an npz with names": ("r.npz", npz(X=ROWS, names=np.array(["a", "b"])), ("a", "b")),
    "an npz with one array": ("r.npz", npz(rows=ROWS), None),
    "a Parquet file": ("r.parquet", parquet(a=[1.5, -2.0], b=[None, 1e300]), ("a", "b")),
}


@pytest.mark.parametrize(("name", "data", "names"), GOOD.values(), ids=GOOD.keys())
def test_rows_are_read(tmp_path: Path, name, data, names):
    path = tmp_path / name
    path.write_bytes(data)
    found = read_reference_rows(path)
    assert found.names == names
    np.testing.assert_array_equal(found.values, ROWS)


BAD: dict[str, tuple[str, bytes]] = {
    "a file of another kind": ("r.txt", b"a\n1\n"),
    "a file without a suffix": ("rows", b"a\n1\n"),
    "an empty CSV": ("r.csv", b""),
    "a header alone": ("r.csv", b"a,b\n"),
    "words among the numbers": ("r.csv", b"a,b\n1,high\n"),
    "rows of unequal length": ("r.csv", b"a,b\n1,2\n3\n"),
    "more columns than the header": ("r.csv", b"a\n1,2\n"),
    "bytes that are no text": ("r.csv", b"a\n\xff\xfe\n"),
    "an npz that is none": ("r.npz", b"PK\x03\x04 and then nothing"),
    "an npz with objects, which would need unpickling": (
        "r.npz",
        npz(X=np.array([[1, None]], dtype=object)),
    ),
    "an npz with two arrays": ("r.npz", npz(a=ROWS, b=ROWS)),
    "an npz of one dimension": ("r.npz", npz(X=ROWS[0])),
    "an npz without rows": ("r.npz", npz(X=ROWS[:0])),
    "an npz with too many names": ("r.npz", npz(X=ROWS, names=np.array(["a", "b", "c"]))),
    "a Parquet file that is none": ("r.parquet", b"PAR1PAR1"),
    "a Parquet file of words": ("r.parquet", parquet(a=["x", "y"])),
}


@pytest.mark.parametrize(("name", "data"), BAD.values(), ids=BAD.keys())
def test_rows_that_cannot_be_read_are_refused(tmp_path: Path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConverterError) as caught:
        read_reference_rows(path)
    assert (caught.value.code, caught.value.where) == ("DP820", str(path))


def test_a_file_over_the_cap_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reference_rows, "MAX_REFERENCE_BYTES", 3)
    (tmp_path / "r.csv").write_bytes(b"a\n1\n")
    with pytest.raises(ConverterError, match="over 3 bytes"):
        read_reference_rows(tmp_path / "r.csv")


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ConverterError, match="No such file"):
        read_reference_rows(tmp_path / "r.csv")


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch):
    (tmp_path / "r.parquet").write_bytes(parquet(a=[1.0]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConverterError) as caught:
        read_reference_rows(tmp_path / "r.parquet")
    assert (caught.value.code, "depickle[tables]" in caught.value.next_step) == ("DP822", True)


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[bytes], reference_rows.ReferenceRows]:
    def read(data: bytes) -> reference_rows.ReferenceRows:
        (tmp_path / "r.csv").write_bytes(data)
        return read_reference_rows(tmp_path / "r.csv")

    return read


def test_columns_come_in_the_models_order(rows):
    found = rows(b"c,a,b\n3,1,2\n").columns(["a", "b"], 2)
    assert found.tolist() == [[1.0, 2.0]]


def test_a_missing_column_is_named(rows):
    with pytest.raises(ConverterError, match="no column rsi_14") as caught:
        rows(b"a,b\n1,2\n").columns(["a", "rsi_14"], 2)
    assert caught.value.code == "DP821"


def test_without_names_the_count_has_to_fit(rows):
    assert rows(b"a,b\n1,2\n").columns(None, 2).tolist() == [[1.0, 2.0]]
    with pytest.raises(ConverterError, match="2 columns"):
        rows(b"a,b\n1,2\n").columns(None, 3)


def test_a_column_named_twice_is_refused(tmp_path: Path):
    (tmp_path / "r.csv").write_bytes(b"a,a\n1,2\n")
    with pytest.raises(ConverterError, match="named twice"):
        read_reference_rows(tmp_path / "r.csv")
