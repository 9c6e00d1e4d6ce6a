# SPDX-License-Identifier: Apache-2.0
"""A backup is complete and compared before anything moves; an original leaves only while it is the one copied."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from depickle import backup
from depickle.backup import back_up, remove_originals
from depickle.errors import PublishError
from depickle.sources import Original, read_source
from tests.model_store_sim import snapshot

WHEN = datetime(2025, 1, 8, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.pkl").write_bytes(b"one")
    (folder / "sub" / "b.pkl").write_bytes(b"two" * 1_000_000)
    return folder


def originals(models: Path) -> list[Original]:
    return [read_source(path).original for path in (models / "a.pkl", models / "sub" / "b.pkl")]


def test_copies_keep_place_bytes_mode_and_time(models: Path):
    (models / "a.pkl").chmod(0o640)
    os.utime(models / "a.pkl", (1_600_000_000, 1_600_000_000))
    done = back_up(originals(models), models, WHEN)
    assert done.folder == models.parent / "models_backup_20250108_120000"
    assert snapshot(done.folder) == snapshot(models)
    status = (done.folder / "a.pkl").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1_600_000_000)


def test_a_backup_of_the_same_second_goes_into_a_folder_of_its_own(models: Path):
    first = back_up(originals(models), models, WHEN)
    second = back_up(originals(models), models, WHEN)
    assert (first.folder.name, second.folder.name) == (
        "models_backup_20250108_120000",
        "models_backup_20250108_120000_2",
    )


def test_nothing_to_copy_makes_no_folder(models: Path):
    assert back_up([], models, WHEN).folder is None
    assert [path.name for path in models.parent.iterdir()] == ["models"]


def test_a_file_that_changed_has_no_copy_and_the_others_have_theirs(models: Path):
    found = originals(models)
    (models / "a.pkl").write_bytes(b"other")
    done = back_up(found, models, WHEN)
    assert {path.name: error.code for path, error in done.changed.items()} == {"a.pkl": "DP833"}
    assert list(snapshot(done.folder)) == ["sub/b.pkl"]


def test_a_relative_models_directory_is_backed_up_beside_itself(models: Path, monkeypatch):
    monkeypatch.chdir(models)
    done = back_up([read_source(Path("a.pkl")).original], Path(), WHEN)
    assert done.folder == models.parent / "models_backup_20250108_120000"


def no_space(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "utime"])
def test_a_full_disk_is_told_and_touches_no_original(models: Path, monkeypatch, call):
    found, before = originals(models), snapshot(models)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, no_space if call == "fsync" else lambda *a, **k: no_space())
        with pytest.raises(PublishError) as caught:
            back_up(found, models, WHEN)
    assert (caught.value.code, caught.value.found) == ("DP830", "No space left on device")
    assert snapshot(models) == before


def test_a_copy_that_reads_back_differently_is_told(models: Path, monkeypatch):
    monkeypatch.setattr(backup, "_digest", lambda path: "0" * 64)
    with pytest.raises(PublishError) as caught:
        back_up(originals(models), models, WHEN)
    assert caught.value.code == "DP831"


def test_originals_leave_when_they_are_still_what_was_copied(models: Path):
    done = back_up(originals(models), models, WHEN)
    assert remove_originals(done.done) == ()
    assert snapshot(models) == {}


def test_an_original_that_changed_after_the_backup_stays_and_stops_no_other(models: Path):
    done = back_up(originals(models), models, WHEN)
    (models / "a.pkl").write_bytes(b"other")
    (fault,) = remove_originals(done.done)
    assert (fault.code, fault.found) == ("DP832", "another content than was converted")
    assert snapshot(models) == {"a.pkl": b"other"}


def test_an_original_that_somebody_took_is_no_fault(models: Path):
    done = back_up(originals(models), models, WHEN)
    (models / "a.pkl").unlink()
    assert remove_originals(done.done) == ()


def test_a_link_in_the_place_of_an_original_is_not_followed(models: Path):
    done = back_up(originals(models), models, WHEN)
    (models / "a.pkl").unlink()
    (models / "a.pkl").symlink_to(done.folder / "a.pkl")
    (fault,) = remove_originals(done.done)
    assert fault.code == "DP832"
    assert (done.folder / "a.pkl").read_bytes() == b"one"
