# SPDX-License-Identifier: Apache-2.0
"""Finding and reading legacy files: nothing is passed over in silence, nothing is read without a bound."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from depickle import sources
from depickle.errors import ConverterError
from depickle.sources import find_legacy_files, is_legacy_name, path_as_text, read_source


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(sources.MAX_SOURCE_BYTES + 1)


BAD_INPUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file that is not there": (lambda path: None, "DP802"),
    "a folder": (Path.mkdir, "DP802"),
    "a pipe that nobody writes to": (fifo, "DP802"),
    "a socket": (listening, "DP802"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "DP802"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "DP802"),
    "a link to itself": (lambda path: path.symlink_to(path), "DP802"),
    "a file one byte over the cap": (sparse, "DP803"),
}


@pytest.mark.parametrize(("make", "code"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_a_bad_input_is_refused_with_its_code(tmp_path: Path, make, code):
    path = tmp_path / "x.pkl"
    make(path)
    with pytest.raises(ConverterError) as caught:
        read_source(path)
    assert caught.value.code == code
    assert caught.value.where == str(path)


def test_a_name_with_a_zero_byte_is_refused():
    with pytest.raises(ConverterError, match="cannot be read"):
        read_source(Path("a\0b.pkl"))


def test_a_file_that_the_user_may_not_read_is_refused(tmp_path: Path, monkeypatch):
    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConverterError, match="Permission denied"):
        read_source(tmp_path / "x.pkl")


@pytest.mark.parametrize("change", [b"longer than before", b""])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch, change):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"twelve bytes")
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        path.write_bytes(change)
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(ConverterError) as caught:
        read_source(path)
    assert caught.value.code == "DP804"


def test_a_file_that_memory_does_not_hold_is_refused(tmp_path: Path, monkeypatch):
    def read(descriptor: int, size: int) -> bytes:
        raise MemoryError

    path = tmp_path / "x.pkl"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "read", read)
    with pytest.raises(ConverterError) as caught:
        read_source(path)
    assert caught.value.code == "DP805"


@pytest.mark.parametrize("data", [b"", b"x", b"y" * 100_000])
def test_the_digest_is_that_of_the_bytes(tmp_path: Path, data):
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    source = read_source(path)
    assert (source.data, source.sha256) == (data, hashlib.sha256(data).hexdigest())
    assert (source.original.size, source.original.sha256) == (len(data), source.sha256)


def test_a_name_of_foreign_bytes_is_text_that_any_encoder_takes(tmp_path: Path):
    path = tmp_path / os.fsdecode(b"a\xff.pkl")
    path.write_bytes(b"x")
    assert read_source(path).name == "a\\xff.pkl"
    assert path_as_text(path).encode().endswith(b"a\\xff.pkl")


LEGACY = ["a.pkl", "A.PKL", "a.pickle", "a.joblib", "a.sav", "a.p", "a.pkl.gz", "a.joblib.xz", "a.pkl.Z"]
OTHER = ["a.onnx", "a.skops", "a.pkl.txt", "pkl", "a.json", "a.gz", "a.pkl.gz.bak"]


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_names(name):
    assert is_legacy_name(name)


@pytest.mark.parametrize("name", OTHER)
def test_other_names(name):
    assert not is_legacy_name(name)


def test_a_search_finds_files_in_order_and_lists_links(tmp_path: Path):
    for name in ("b.pkl", "a.joblib", "sub/c.pkl", ".hidden/d.pkl", "model.onnx"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "link.pkl").symlink_to("b.pkl")
    (tmp_path / "elsewhere").symlink_to("/")
    found = find_legacy_files(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found.files] == ["a.joblib", "b.pkl", "sub/c.pkl"]
    assert sorted(path.name for path in found.links) == ["elsewhere", "link.pkl"]
    assert found.unreadable == ()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    (error,) = find_legacy_files(tmp_path / "gone").unreadable
    assert (error.code, error.found) == ("DP801", "No such file or directory")
