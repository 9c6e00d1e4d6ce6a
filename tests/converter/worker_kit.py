# SPDX-License-Identifier: Apache-2.0
"""What the worker's tests share: a file that is said to be vetted, and its table of globals."""

from __future__ import annotations

import functools
import io
import pickle
from dataclasses import dataclass
from typing import Any

import joblib
from joblib.numpy_pickle import NumpyUnpickler

from depickle.environments import WorkerEnvironment, running_environment


@dataclass(frozen=True)
class Use:
    module: str
    name: str
    role: str = "created"


@dataclass(frozen=True)
class Vetted:
    """Stands for a `VettedPickle`, with a table that a test may make wrong on purpose."""

    data: bytes
    container: str
    globals: tuple[Use, ...]


def environment() -> WorkerEnvironment:
    return running_environment()


def _recorded(base: Any, *arguments: Any, **keywords: Any) -> tuple[Use, ...]:
    seen: set[tuple[str, str]] = set()

    class Recording(base):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            seen.add((module, name))
            return super().find_class(module, name)

    Recording(*arguments, **keywords).load()
    return tuple(Use(module, name) for module, name in sorted(seen))


def as_pickle(value: object, *, protocol: int = 4) -> Vetted:
    data = pickle.dumps(value, protocol=protocol)
    return Vetted(data, "pickle", _recorded(pickle.Unpickler, io.BytesIO(data)))


def as_joblib(value: object) -> Vetted:
    stream = io.BytesIO()
    joblib.dump(value, stream)
    stream.seek(0)
    uses = _recorded(NumpyUnpickler, "", stream, ensure_native_byte_order=True)
    return Vetted(stream.getvalue(), "joblib", uses)


@functools.cache
def numbers() -> Any:
    import numpy as np

    return np.random.RandomState(7).normal(size=(40, 4))
