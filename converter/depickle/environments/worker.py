# SPDX-License-Identifier: Apache-2.0
"""A worker environment as a value: an interpreter and the exact versions that it holds."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sys
from pathlib import Path

import msgspec

__all__ = ["MODEL_LIBRARIES", "WorkerEnvironment", "running_environment"]

#: The libraries whose exact version decides what a model answers.
MODEL_LIBRARIES = ("scikit-learn", "lightgbm", "xgboost")

_RECORDED = (*MODEL_LIBRARIES, "numpy", "scipy", "joblib", "pandas", "threadpoolctl")


class WorkerEnvironment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An interpreter that can answer for a model.

    Attributes:
        name: the spec, such as ``1.2.2``, or ``running`` for the interpreter that runs depickle.
        python: absolute path of the interpreter.
        versions: library to exact version; a library that is absent is not installed there.
        python_version: the interpreter's own version, such as ``3.11.7``.
    """

    name: str
    python: Path
    versions: dict[str, str]
    python_version: str

    @property
    def is_running(self) -> bool:
        """True for the interpreter that runs depickle itself."""
        return self.name == "running"


@functools.cache
def running_environment() -> WorkerEnvironment:
    """The interpreter that runs depickle, as a worker environment; imports none of its libraries."""
    versions = {}
    for library in _RECORDED:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return WorkerEnvironment("running", Path(sys.executable), versions, platform.python_version())
