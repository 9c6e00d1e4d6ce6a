# SPDX-License-Identifier: Apache-2.0
"""Originals: copied, flushed and compared before anything else moves, and taken away only after all is verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .errors import PublishError
from .sources import SourceFile

__all__ = ["BackedUp", "back_up", "remove_originals"]


@dataclass(frozen=True)
class BackedUp:
    """An original whose copy was read back and has the same digest."""

    source: SourceFile
    copy: Path


def back_up(sources: Sequence[SourceFile], models_dir: Path, created: datetime) -> tuple[BackedUp, ...]:
    """Copy originals beside the models directory and compare the digests of what was written.

    Args:
        sources: the originals, as read.
        models_dir: the folder they stand in; the copy keeps their place below it.
        created: UTC time of the run; names the backup folder.

    Raises:
        PublishError: DP830 where a copy cannot be written, DP831 where it reads back differently.
    """
    folder = models_dir.resolve().parent / f"{models_dir.resolve().name}_backup_{created:%Y%m%d_%H%M%S}"
    done = []
    for source in sources:
        relative = source.path.resolve().relative_to(models_dir.resolve())
        copy = folder / relative
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("xb") as file:
                file.write(source.data)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(copy.parent)
            found = hashlib.sha256(copy.read_bytes()).hexdigest()
        except OSError as error:
            raise PublishError(
                "The backup cannot be written",
                code="DP830",
                where=str(copy),
                found=error.strerror or type(error).__name__,
                expected="a copy of the original",
                next_step="make room beside the models directory; the originals are untouched",
            ) from error
        if found != source.sha256:
            raise PublishError(
                "The backup does not read back as it was written",
                code="DP831",
                where=str(copy),
                found=found,
                expected=source.sha256,
                next_step="check the disk; the originals are untouched",
            )
        done.append(BackedUp(source=source, copy=copy))
    if done:
        try:
            _sync_folder(folder.parent)
        except OSError as error:
            raise PublishError(
                "The backup cannot be written",
                code="DP830",
                where=str(folder),
                found=error.strerror or type(error).__name__,
                next_step="check the disk; the originals are untouched",
            ) from error
    return tuple(done)


def remove_originals(backed_up: Sequence[BackedUp]) -> None:
    """Take originals out of the models directory, each only if it is still the file that was backed up.

    Raises:
        PublishError: DP832 where a file changed meanwhile or cannot be removed; it and its backup both stay.
    """
    for entry in backed_up:
        path = entry.source.path
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found == entry.source.sha256:
                path.unlink()
                _sync_folder(path.parent)
                continue
            trouble = "another content than was converted"
        except FileNotFoundError:
            continue  # someone else took it; its backup stands
        except OSError as error:
            trouble = error.strerror or type(error).__name__
        raise PublishError(
            "An original was not taken out of the models directory",
            code="DP832",
            where=str(path),
            found=trouble,
            expected=f"the bytes with SHA-256 {entry.source.sha256}",
            next_step="depickle migrate again; the release already published stands",
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
