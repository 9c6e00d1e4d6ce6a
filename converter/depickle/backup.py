# SPDX-License-Identifier: Apache-2.0
"""Originals: copied, flushed and compared before anything else moves, and taken away only after all is verified.

Rules:

* a copy counts only once it was written, flushed, read back, and has the digest of what was converted
* a backup folder is new; nothing in an older backup is written over
* an original leaves only while it still has the digest of its copy
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .errors import PublishError
from .sources import Original, path_as_text

__all__ = ["BackedUp", "Backup", "back_up", "remove_originals"]

_CHUNK = 1 << 20
MAX_FOLDERS = 100
"""Backups of one second that are told apart by a number; more are a fault."""


@dataclass(frozen=True)
class BackedUp:
    """An original whose copy was read back and has the same digest."""

    original: Original
    copy: Path


@dataclass(frozen=True)
class Backup:
    """A backup folder.

    Attributes:
        folder: where the copies are; None where there was nothing to copy.
        done: the originals that have a copy.
        changed: a DP833 by path for each file that is not what was converted any more; it has no copy.
    """

    folder: Path | None
    done: tuple[BackedUp, ...]
    changed: dict[Path, PublishError]


def back_up(originals: Sequence[Original], models_dir: Path, created: datetime) -> Backup:
    """Copy originals beside the models directory and compare the digests of what was written.

    Args:
        originals: the originals, as read.
        models_dir: the folder they stand in; the copy keeps their place below it.
        created: UTC time of the run; names the backup folder.

    Raises:
        PublishError: DP830 where a copy cannot be written, DP831 where it reads back differently.

    Returns:
        The copies, and the files that changed since they were read.
    """
    if not originals:
        return Backup(folder=None, done=(), changed={})
    folder = models_dir
    done: list[BackedUp] = []
    changed: dict[Path, PublishError] = {}
    where = models_dir
    try:
        folder = _new_folder(models_dir.resolve(), created)
        for original in originals:
            where = copy = folder / original.path.relative_to(models_dir)
            copy.parent.mkdir(parents=True, exist_ok=True)
            found = _copy(original.path, copy)
            if found != original.sha256:
                copy.unlink()
                changed[original.path] = _changed(original, found)
                continue
            found = _digest(copy)
            if found != original.sha256:
                raise PublishError(
                    "The backup does not read back as it was written",
                    code="DP831",
                    where=path_as_text(copy),
                    found=found,
                    expected=original.sha256,
                    next_step="check the disk; the originals are untouched",
                )
            done.append(BackedUp(original=original, copy=copy))
        for each in sorted({parent for entry in done for parent in entry.copy.parents} | {folder}):
            if each == folder.parent or each.is_relative_to(folder):
                _sync_folder(each)
    except (OSError, ValueError) as error:
        raise PublishError(
            "The backup cannot be written",
            code="DP830",
            where=path_as_text(where),
            found=(error.strerror if isinstance(error, OSError) else None) or type(error).__name__,
            expected="a copy of every original beside the models directory",
            next_step="make room there, or give this user write access; the originals are untouched",
        ) from error
    return Backup(folder=folder, done=tuple(done), changed=changed)


def remove_originals(backed_up: Sequence[BackedUp]) -> tuple[PublishError, ...]:
    """Take originals out of the models directory, each only if it is still the file that was backed up.

    Returns:
        A DP832 for each that changed meanwhile or cannot be removed; it and its backup both stay.
    """
    faults = []
    for entry in backed_up:
        path = entry.original.path
        try:
            if _digest(path) == entry.original.sha256:
                path.unlink()
                _sync_folder(path.parent)
                continue
            trouble = "another content than was converted"
        except FileNotFoundError:
            continue  # someone else took it; its backup stands
        except OSError as error:
            trouble = error.strerror or type(error).__name__
        faults.append(
            PublishError(
                "An original was not taken out of the models directory",
                code="DP832",
                where=path_as_text(path),
                found=trouble,
                expected=f"the bytes with SHA-256 {entry.original.sha256}",
                next_step="depickle migrate again; the release already published stands",
            )
        )
    return tuple(faults)


def _new_folder(models_dir: Path, created: datetime) -> Path:
    name = f"{models_dir.name}_backup_{created:%Y%m%d_%H%M%S}"
    for number in range(1, MAX_FOLDERS + 1):
        folder = models_dir.parent / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(17, f"{MAX_FOLDERS} backups of this second exist", str(models_dir.parent / name))


def _changed(original: Original, found: str) -> PublishError:
    return PublishError(
        "The input changed while it was migrated",
        code="DP833",
        where=path_as_text(original.path),
        found=f"SHA-256 {found}",
        expected=original.sha256,
        next_step="depickle migrate again, once nothing writes to the file",
    )


def _copy(path: Path, copy: Path) -> str:
    """Copy a file with its mode and times, flushed; the digest of what was read."""
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    digest = hashlib.sha256()
    with os.fdopen(source, "rb", buffering=0) as reading, copy.open("xb") as writing:
        while part := reading.read(_CHUNK):
            digest.update(part)
            writing.write(part)
        writing.flush()
        status = os.fstat(reading.fileno())
        os.fchmod(writing.fileno(), status.st_mode & 0o777)
        os.utime(writing.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(writing.fileno())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    digest = hashlib.sha256()
    with os.fdopen(source, "rb", buffering=0) as reading:
        while part := reading.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
