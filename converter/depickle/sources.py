# SPDX-License-Identifier: Apache-2.0
"""Legacy files on disk: which ones there are, and their bytes, read once and bounded."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import ConverterError

__all__ = ["MAX_SOURCE_BYTES", "SourceFile", "find_legacy_files", "read_source"]

MAX_SOURCE_BYTES = 4 * 1024**3
"""4 GiB: larger than any tree ensemble seen in practice, small enough to hold in memory once."""

_SUFFIXES = (".pkl", ".pickle", ".joblib", ".sav", ".p")
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma", ".z", ".zlib", ".lz4")


@dataclass(frozen=True)
class SourceFile:
    """A legacy file as it was read."""

    path: Path
    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """File name without its folder."""
        return self.path.name


def is_legacy_name(name: str) -> bool:
    """True for names that legacy models carry. The container itself is decided by content."""
    lower = name.lower()
    for suffix in _COMPRESSED:
        lower = lower.removesuffix(suffix)
    return lower.endswith(_SUFFIXES)


def find_legacy_files(root: Path) -> Iterator[Path]:
    """Legacy files under `root` in sorted order; links and hidden folders are passed over.

    Raises:
        ConverterError: DP801 where a folder cannot be read; a folder is never skipped in silence.
    """

    def refuse(error: OSError) -> None:
        raise ConverterError(
            "A folder cannot be read",
            code="DP801",
            where=str(error.filename),
            found=error.strerror or type(error).__name__,
            next_step="give this user read access to the folder, or name the files one by one",
        ) from error

    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if is_legacy_name(name) and not path.is_symlink():
                yield path


def read_source(path: Path) -> SourceFile:
    """Read a legacy file once.

    Raises:
        ConverterError: DP802 where it is not a readable regular file, DP803 where it is over the size cap.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConverterError(
                    "The input is not a regular file",
                    code="DP802",
                    where=str(path),
                    found=stat.filemode(status.st_mode)[0],
                    expected="a regular file",
                )
            data = file.read(MAX_SOURCE_BYTES + 1)
    except OSError as error:
        raise ConverterError(
            "The input cannot be read",
            code="DP802",
            where=str(path),
            found=error.strerror or type(error).__name__,
            expected="a readable file",
        ) from error
    if len(data) > MAX_SOURCE_BYTES:
        raise ConverterError(
            "The input is too large",
            code="DP803",
            where=str(path),
            found=f"more than {MAX_SOURCE_BYTES} bytes",
            expected=f"at most {MAX_SOURCE_BYTES} bytes",
        )
    return SourceFile(path=path, data=data, sha256=hashlib.sha256(data).hexdigest())
