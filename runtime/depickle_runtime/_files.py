# SPDX-License-Identifier: Apache-2.0
"""File operations that trust depends on: no-follow opens, bounded reads, locks with a deadline, atomic replace."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

__all__ = ["BadFileError", "Fault", "exclusive", "read_regular", "replace", "write_all"]

_LOCK_POLL_SECONDS = 0.005
_READ_CHUNK = 16 * 1024 * 1024


class Fault(Enum):
    """Why a file could not be read as it should be."""

    ABSENT = "absent"
    IRREGULAR = "irregular"
    SIZE = "size"
    TOO_LARGE = "too large"
    UNREADABLE = "unreadable"


class BadFileError(Exception):
    """A file is not what it has to be; the modules that use this one turn it into a `SecurityError`."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


def read_regular(name: str, *, dir_fd: int, size: int | None, max_size: int) -> bytes:
    """Read a regular file once, following no link.

    Args:
        name: one path component.
        dir_fd: the folder.
        size: exact size that the file must have, where known.
        max_size: cap on what is read.

    Raises:
        BadFileError: absent, a link or no regular file, of another size, too large, or unreadable.

    Returns:
        The bytes, exactly those of one open file.
    """
    # O_NONBLOCK: opening a FIFO must not hang; it means nothing for a regular file.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = os.open(name, flags, dir_fd=dir_fd)
    except FileNotFoundError:
        raise BadFileError(Fault.ABSENT, "no such file") from None
    except OSError as fault:
        if fault.errno in (errno.ELOOP, errno.ENXIO):
            raise BadFileError(Fault.IRREGULAR, "a link, a pipe or a socket") from None
        raise BadFileError(Fault.UNREADABLE, fault.strerror or "an I/O error") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BadFileError(Fault.IRREGULAR, "a folder, a pipe or a device")
        if size is not None and status.st_size != size:
            raise BadFileError(Fault.SIZE, f"{status.st_size} bytes")
        if status.st_size > max_size:
            raise BadFileError(Fault.TOO_LARGE, f"{status.st_size} bytes")
        # The file may grow or shrink under us: read what was announced and one byte more.
        data = _read(fd, status.st_size + 1)
        if len(data) != status.st_size:
            raise BadFileError(Fault.SIZE, "a file that changed while it was read")
        return data
    except MemoryError:
        raise BadFileError(Fault.TOO_LARGE, "a file that memory cannot hold") from None
    except OSError as fault:
        raise BadFileError(Fault.UNREADABLE, fault.strerror or "an I/O error") from None
    finally:
        os.close(fd)


def _read(fd: int, limit: int) -> bytes:
    chunks: list[bytes] = []
    left = limit
    while left > 0:
        chunk = os.read(fd, min(left, _READ_CHUNK))
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however the system splits it.

    Raises:
        OSError: the system refused.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(name: str, data: bytes, *, dir_fd: int, mode: int = 0o644) -> None:
    """Replace a file atomically and durably: new file, fsync, rename, fsync of the folder.

    Args:
        name: one path component.
        data: the new content.
        dir_fd: the folder.
        mode: permissions of the new file.

    Raises:
        OSError: the system refused; the old file stands.
    """
    temporary = f".{name}.{secrets.token_hex(8)}.new"
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd
    )
    try:
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        os.unlink(temporary, dir_fd=dir_fd)
        raise
    os.fsync(dir_fd)


@contextmanager
def exclusive(fd: int, *, seconds: float) -> Iterator[None]:
    """Hold the exclusive advisory lock of an open file.

    Args:
        fd: the file.
        seconds: how long to wait for it.

    Raises:
        TimeoutError: another process held it all that time.
        OSError: the file system has no locks.

    Yields:
        Nothing; the lock is held inside the block.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError("the lock is held by another process") from None
            time.sleep(_LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
