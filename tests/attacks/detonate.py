# SPDX-License-Identifier: Apache-2.0
"""Loads hostile files as an unsuspecting user would, each in a throwaway process, and says what that did.

``python -m tests.attacks.detonate FOLDER`` over the output of ``tests.attacks.pickle_corpus``: one JSON line a file.
The payloads create their marker file and nothing else; the processes have bounds on memory, time and file size.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from .pickle_corpus import INDEX

MEMORY_BYTES = 4 << 30
"""Address space of one load; more is exhaustion."""
CPU_SECONDS = 5
"""Processor time of one load; more is exhaustion."""
WALL_SECONDS = 20
FILE_BYTES = 1 << 20

_DONE, _RAISED, _NO_MEMORY, _PROBED = 0, 40, 41, 42


def _warm() -> None:
    """What a trading process has imported anyway; once, since it takes seconds."""
    import joblib  # noqa: F401
    import lightgbm  # noqa: F401
    import pandas  # noqa: F401
    import sklearn.ensemble  # noqa: F401
    import xgboost  # noqa: F401


def _detonate(row: dict[str, Any], path: Path) -> int:
    import pickle

    import joblib

    status = _DONE
    loaded = None
    try:
        loaded = joblib.load(path) if row["loader"] == "joblib" else pickle.loads(path.read_bytes())
    except MemoryError:
        return _NO_MEMORY
    except BaseException:
        status = _RAISED  # some payloads raise after they ran; the marker tells
    if row["probe"]:
        try:
            if eval(row["probe"], {"loaded": loaded}) is True:
                return _PROBED
        except MemoryError:
            return _NO_MEMORY
        except BaseException:
            status = _RAISED
    del loaded
    return status


def _child(row: dict[str, Any], path: Path) -> None:
    os.setsid()
    os.chdir(tempfile.mkdtemp())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    os._exit(_detonate(row, path))


def detonate(row: dict[str, Any], path: Path) -> str:
    """What loading `path` did: ``runs``, ``changes``, ``exhausts``, ``crashes``, or ``none``."""
    marker = Path(row["marker"])
    process = os.fork()
    if process == 0:
        _child(row, path)
    deadline = time.monotonic() + WALL_SECONDS
    status: int | None = None
    while status is None and time.monotonic() < deadline:
        ended, waited = os.waitpid(process, os.WNOHANG)
        if ended:
            status = waited
        else:
            time.sleep(0.005)
    if status is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        effect = "exhausts"
    elif os.WIFSIGNALED(status):
        effect = "exhausts" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "crashes"
    else:
        effect = {_NO_MEMORY: "exhausts", _PROBED: "changes"}.get(os.WEXITSTATUS(status), "none")
    for _ in range(20):  # what a payload started may outlive it by a moment
        if marker.exists():
            return "runs"
        if row["effect"] not in ("runs", "on use"):
            break
        time.sleep(0.05)
    return effect


def main(argv: list[str]) -> int:
    """Detonates every file of a folder."""
    folder = Path(argv[0])
    _warm()
    for row in json.loads((folder / INDEX).read_bytes())["files"]:
        print(
            json.dumps(
                {"file": row["file"], "stated": row["effect"], "found": detonate(row, folder / row["file"])}
            )
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
