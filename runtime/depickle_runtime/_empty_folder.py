# SPDX-License-Identifier: Apache-2.0
"""One empty folder of this process: where onnxruntime looks for external data, and finds none.

Guarantees, checked at every use, since a folder under a shared ``/tmp`` may be anybody's by now:

* it is a folder and no link, the very one that this process made, owned by its user, closed to all others, empty
* a folder that is gone (cleaners of ``/tmp`` remove old ones) is made anew, under another name
* one that is not as it was left is refused and never used again; the next use makes another
* a child of a fork makes its own; each process removes only its own, at exit
"""

from __future__ import annotations

import atexit
import contextlib
import os
import stat
import tempfile
import threading
from dataclasses import dataclass
from typing import Final

from .errors import ModelContractError

__all__ = ["empty_folder"]

_PREFIX: Final = "depickle-"


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    pid: int
    device: int
    inode: int


_lock = threading.Lock()
_made: _Folder | None = None


def empty_folder() -> str:
    """Path of the folder.

    Raises:
        ModelContractError: DP238, no folder can be made; DP239, the folder is not as this process left it.
    """
    global _made  # one folder a process
    with _lock:
        try:
            if _made is None or _made.pid != os.getpid() or _is_gone(_made):
                _made = _make()
            fault = _fault(_made)
        except OSError as error:
            raise ModelContractError(
                "No temporary folder for opening a session",
                code="DP238",
                found=error.strerror or type(error).__name__,
                expected="a writable TMPDIR",
                where="session",
                next_step="set TMPDIR to a folder that this user can write",
            ) from None
        path = _made.path
        if fault is not None:
            _made = None
    if fault is not None:
        raise ModelContractError(
            "The folder for opening a session is not as this process left it",
            code="DP239",
            found=fault,
            expected="an empty folder of this process",
            where=path,
            next_step="find out who changes files below TMPDIR; the next load uses another folder",
        )
    return path


def _make() -> _Folder:
    path = tempfile.mkdtemp(prefix=_PREFIX)  # mode 0700
    facts = os.lstat(path)
    atexit.unregister(_remove)
    atexit.register(_remove)
    return _Folder(path, os.getpid(), facts.st_dev, facts.st_ino)


def _is_gone(folder: _Folder) -> bool:
    try:
        os.lstat(folder.path)
    except FileNotFoundError:
        return True
    return False


def _fault(folder: _Folder) -> str | None:
    """What is wrong with the folder, or None."""
    facts = os.lstat(folder.path)
    if not stat.S_ISDIR(facts.st_mode):
        return "a link" if stat.S_ISLNK(facts.st_mode) else "no folder"
    if (facts.st_dev, facts.st_ino) != (folder.device, folder.inode) or facts.st_uid != os.geteuid():
        return "another folder"
    if stat.S_IMODE(facts.st_mode) != stat.S_IRWXU:
        return f"mode {stat.S_IMODE(facts.st_mode):04o}"
    with os.scandir(folder.path) as entries:
        return None if next(entries, None) is None else "a file in it"


def _remove() -> None:
    folder = _made
    if folder is None or folder.pid != os.getpid():
        return
    # At exit nobody is left to tell, and what somebody else put there is theirs to look at.
    with contextlib.suppress(OSError):
        if _fault(folder) is None:
            os.rmdir(folder.path)
