# SPDX-License-Identifier: Apache-2.0
"""Legacy files on disk: which ones there are, and their bytes, read once and bounded.

Rules:

* a file is opened once, without waiting on a pipe, and its size is known before a byte of it is read
* nothing that a person could take for a model is passed over in silence: folders that cannot be read and links are
  listed beside the files
* after reading, a file is known by path and digest (`Original`); its bytes need not be kept
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .errors import ConverterError
from .pickles.limits import MAX_FILE_BYTES

__all__ = [
    "MAX_SOURCE_BYTES",
    "LegacyFiles",
    "Original",
    "SourceFile",
    "file_name_as_text",
    "find_legacy_files",
    "is_legacy_name",
    "path_as_text",
    "read_source",
]

MAX_SOURCE_BYTES = MAX_FILE_BYTES
"""What the gate reads; a larger file is refused before it is read."""

_SUFFIXES = (".pkl", ".pickle", ".joblib", ".sav", ".p")
_COMPRESSED = (".gz", ".bz2", ".xz", ".lzma", ".z", ".zlib", ".lz4")


@dataclass(frozen=True)
class Original:
    """A legacy file that was read: where it stands and what it held."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class SourceFile:
    """A legacy file as it was read."""

    path: Path
    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """File name without its folder, as text that any encoder takes."""
        return file_name_as_text(self.path)

    @property
    def original(self) -> Original:
        """The file without its bytes."""
        return Original(path=self.path, sha256=self.sha256, size=len(self.data))


@dataclass(frozen=True)
class LegacyFiles:
    """What a search found.

    Attributes:
        files: legacy files in sorted order.
        links: links with the name of a legacy file, or to a folder; not followed.
        unreadable: a DP801 for each folder that could not be read.
    """

    files: tuple[Path, ...]
    links: tuple[Path, ...]
    unreadable: tuple[ConverterError, ...]


def path_as_text(path: Path) -> str:
    """A path as text that any encoder takes; bytes that are not UTF-8 become ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def file_name_as_text(path: Path) -> str:
    """`path_as_text` of the last part."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def is_legacy_name(name: str) -> bool:
    """True for names that legacy models carry. The container itself is decided by content."""
    lower = name.lower()
    for suffix in _COMPRESSED:
        lower = lower.removesuffix(suffix)
    return lower.endswith(_SUFFIXES)


def find_legacy_files(root: Path) -> LegacyFiles:
    """Legacy files under `root`; hidden folders are not entered, links not followed."""
    files: list[Path] = []
    links: list[Path] = []
    unreadable: list[ConverterError] = []

    def refuse(error: OSError) -> None:
        unreadable.append(
            ConverterError(
                "A folder cannot be read",
                code="DP801",
                where=path_as_text(Path(error.filename or root)),
                found=error.strerror or type(error).__name__,
                expected="a folder whose files can be listed",
                next_step="give this user read access to the folder, or name the files one by one",
            )
        )

    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links += [path for name in folders if (path := Path(folder, name)).is_symlink()]
        for name in sorted(names):
            if is_legacy_name(name):
                path = Path(folder, name)
                (links if path.is_symlink() else files).append(path)
    return LegacyFiles(files=tuple(files), links=tuple(links), unreadable=tuple(unreadable))


def read_source(path: Path) -> SourceFile:
    """Read a legacy file once.

    Raises:
        ConverterError: DP802 where it is not a readable regular file, DP803 where it is over the size cap, DP804
            where it changed while it was read, DP805 where memory does not hold it.
    """
    where = path_as_text(path)
    size = 0
    try:
        # O_NONBLOCK: opening a pipe must not hang; it means nothing for a regular file.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConverterError(
                    "The input is not a regular file",
                    code="DP802",
                    where=where,
                    found=_KINDS.get(stat.S_IFMT(status.st_mode), "a special file"),
                    expected="a regular file",
                    next_step="take it out of the folder",
                )
            size = status.st_size
            if size > MAX_SOURCE_BYTES:
                raise ConverterError(
                    "The input is too large",
                    code="DP803",
                    where=where,
                    found=f"{size} bytes",
                    expected=f"at most {MAX_SOURCE_BYTES} bytes",
                    next_step="check that the file holds a model and not its data",
                )
            data = _read_exactly(file.fileno(), size, where)
    except MemoryError as error:
        raise ConverterError(
            "The input does not fit into memory",
            code="DP805",
            where=where,
            found=f"{size} bytes",
            next_step="migrate on a host with more memory",
        ) from error
    except (OSError, ValueError) as error:
        raise ConverterError(
            "The input cannot be read",
            code="DP802",
            where=where,
            found=(error.strerror if isinstance(error, OSError) else None) or type(error).__name__,
            expected="a readable file",
            next_step="give this user read access to the file",
        ) from error
    return SourceFile(path=path, data=data, sha256=hashlib.sha256(data).hexdigest())


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _read_exactly(descriptor: int, size: int, where: str) -> bytes:
    """The bytes that were announced; the file may grow or shrink under us, so one more is asked for."""
    parts: list[bytes] = []
    left = size + 1
    while left > 0 and (part := os.read(descriptor, min(left, 1 << 26))):
        parts.append(part)
        left -= len(part)
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(data) != size:
        raise ConverterError(
            "The input changed while it was read",
            code="DP804",
            where=where,
            found="more or fewer bytes than the file had when it was opened",
            expected=f"{size} bytes",
            next_step="wait until nothing writes to the file, then try again",
        )
    return data
