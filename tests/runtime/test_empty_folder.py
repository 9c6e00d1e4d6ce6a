# SPDX-License-Identifier: Apache-2.0
"""onnxruntime is pointed at a folder that is empty, ours, and checked at every use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from depickle_runtime import _empty_folder
from depickle_runtime._empty_folder import empty_folder
from depickle_runtime.errors import ModelContractError


@pytest.fixture(autouse=True)
def tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(_empty_folder, "_made", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path


def test_one_folder_serves_every_session() -> None:
    path = empty_folder()
    assert empty_folder() == path
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert os.listdir(path) == []


def test_a_folder_that_a_cleaner_took_is_made_anew() -> None:
    path = empty_folder()
    os.rmdir(path)
    assert os.path.isdir(empty_folder())


def replace_by_link(path: str) -> None:
    os.rename(path, f"{path}.moved")
    os.symlink(f"{path}.moved", path)


def replace_by_folder(path: str) -> None:
    os.rename(path, f"{path}.moved")
    os.mkdir(path, 0o700)


CHANGES: dict[str, Callable[[str], object]] = {
    "a file is put into it": lambda path: Path(path, "weights.bin").touch(),
    "it is opened to others": lambda path: os.chmod(path, 0o777),
    "a link stands in its place": replace_by_link,
    "another folder stands in its place": replace_by_folder,
    "a file stands in its place": lambda path: (os.rmdir(path), Path(path).touch()),
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_a_folder_that_was_changed_is_refused_once_and_never_used_again(sentence: str) -> None:
    path = empty_folder()
    CHANGES[sentence](path)
    with pytest.raises(ModelContractError, match="DP239") as refused:
        empty_folder()
    assert refused.value.where == path
    assert empty_folder() != path


def test_no_folder_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/self/fd")
    with pytest.raises(ModelContractError, match="DP238"):
        empty_folder()


SCRIPT = """
import os, sys
from depickle_runtime._empty_folder import empty_folder
mine = empty_folder()
child = os.fork()
if child == 0:
    other = empty_folder()
    sys.exit(0 if other != mine and os.path.isdir(mine) else 1)
status = os.waitpid(child, 0)[1]
print(status, len(os.listdir(os.environ["TMPDIR"])))
"""


def test_each_process_removes_its_own_folder_at_exit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "1"]
    assert os.listdir(tmp_path) == []
