# SPDX-License-Identifier: Apache-2.0
"""The estate, built once for the sources and library versions at hand, in a process of its own.

Callers get a folder they may read and copy from, never write to. The process that builds it is thrown away, so
a test that asks for the estate neither imports the boosting libraries nor starts their threads.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .build import MANIFEST

__all__ = ["cached_estate", "estate_manifest"]

_ROOT = Path(__file__).resolve().parents[2]
_LIBRARIES = ("numpy", "scikit-learn", "lightgbm", "xgboost", "joblib", "pandas", "backtesting")


def cached_estate(*, quick: bool = False) -> Path:
    """The folder of the estate, which holds ``models/``, ``markers/`` and ``manifest.json``.

    Args:
        quick: the small estate: few honest models, all hostile files.
    """
    shelf = _ROOT / ".build" / "estate"
    shelf.mkdir(parents=True, exist_ok=True)
    folder = shelf / (_key() + ("-quick" if quick else ""))
    with (shelf / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / MANIFEST).exists():  # the manifest is written last
            shutil.rmtree(folder, ignore_errors=True)
            command = [sys.executable, "-m", "examples.legacy_estate", "--out", str(folder)]
            environment = {**os.environ, "PYTHONHASHSEED": "0"}
            subprocess.run(
                command + ["--quick"] * quick,
                cwd=_ROOT,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    return folder


def estate_manifest(folder: Path) -> list[dict[str, Any]]:
    """The entries of an estate's manifest, one per file."""
    entries: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_bytes())["files"]
    return entries


def _key() -> str:
    """Changes with anything that the bytes of the estate depend on."""
    digest = hashlib.sha256(sys.version.encode())
    here = Path(__file__).parent
    sources = [*here.glob("*.py"), here.parent / "bars.py", here.parent / "trading_features.py"]
    for path in sorted(sources):
        digest.update(path.read_bytes())
    for name in _LIBRARIES:
        digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    return digest.hexdigest()[:16]
