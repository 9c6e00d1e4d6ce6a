# SPDX-License-Identifier: Apache-2.0
"""What the builders of hostile files share: an entry, an assembler for opcodes, and honest models to hide in.

Every payload does one harmless thing, which is to create the marker file that it was built with.
"""

from __future__ import annotations

import functools
import io
import pickle
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

__all__ = ["Builder", "Effect", "Entry"]

Builder = Callable[[Path], bytes]
Effect = Literal["runs", "on use", "changes", "exhausts", "crashes", "lies", "none"]
"""What a plain load does: ``runs`` the payload; lets it run ``on use`` (the probe); ``changes`` the process or makes
an object that is not what it seems (the probe says so); ``exhausts`` memory or time; may ``crash`` the process, then
or at the first prediction; ``lies`` about the model without any of these; or ``none``, because the file is malformed
or only meant to confuse a reader."""


@dataclass(frozen=True)
class Entry:
    """One hostile file.

    Attributes:
        name: unique; the file's stem.
        technique: what it does, in a sentence.
        build: takes the path of the marker, gives the file's bytes.
        rule: prefix of the rules one of which must refuse it.
        effect: see `Effect`.
        advisory: the published bypass it is, where there is one.
        probe: expression over ``loaded`` that uses the object, or that is true where the load changed something.
        loader: how an unsuspecting user would open it.
        refused_by: ``gate``, or ``model`` where the harm lies in numbers only and the model reader may be the first
            to see it; in either case before anything predicts.
    """

    name: str
    technique: str
    build: Builder
    rule: str = "DP4"
    effect: Effect = "runs"
    advisory: str | None = None
    probe: str | None = None
    loader: Literal["pickle", "joblib"] = "pickle"
    refused_by: Literal["gate", "model"] = "gate"


# ---- opcodes ------------------------------------------------------------------------------------------------------

STOP = pickle.STOP
REDUCE = pickle.REDUCE
BUILD = pickle.BUILD
MEMO = pickle.MEMOIZE


def proto(number: int = 4) -> bytes:
    """The PROTO opcode."""
    return pickle.PROTO + bytes([number])


def stream(*parts: bytes, protocol: int = 4) -> bytes:
    """A whole pickle without frames."""
    return proto(protocol) + b"".join(parts) + STOP


def value(item: Any) -> bytes:
    """The opcodes that put `item` on the stack, without memo."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=2)
    pickler.fast = True
    pickler.dump(item)
    return buffer.getvalue()[2:-1]


def text(item: str) -> bytes:
    """BINUNICODE."""
    data = item.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def raw(item: bytes) -> bytes:
    """BINBYTES, which protocol 2 lacks and would spell as a call."""
    return pickle.BINBYTES + struct.pack("<I", len(item)) + item


def many(*parts: bytes) -> bytes:
    """A tuple of values given as opcodes."""
    return pickle.MARK + b"".join(parts) + pickle.TUPLE


def args(*items: Any) -> bytes:
    """A tuple of plain values."""
    return many(*(value(item) for item in items))


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def stacked(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(attribute) + pickle.STACK_GLOBAL


def call(function: bytes, arguments: bytes) -> bytes:
    """REDUCE of `function` with the tuple `arguments`."""
    return function + arguments + REDUCE


def new(cls: bytes, arguments: bytes = pickle.EMPTY_TUPLE) -> bytes:
    """NEWOBJ."""
    return cls + arguments + pickle.NEWOBJ


def mapping(pairs: dict[str, bytes]) -> bytes:
    """A dict whose values are given as opcodes."""
    return pickle.EMPTY_DICT + pickle.MARK + b"".join(text(k) + v for k, v in pairs.items()) + pickle.SETITEMS


def shell(marker: Path) -> str:
    """A shell command that creates the marker."""
    return f"touch '{marker}'"


def source(marker: Path) -> str:
    """Python source, statement and expression at once, that creates the marker."""
    return f"open({str(marker)!r}, 'w').close()"


def system(marker: Path) -> bytes:
    """``os.system`` on the marker."""
    return call(name("os", "system"), args(shell(marker)))


# ---- what to hide in ----------------------------------------------------------------------------------------------


@functools.cache
def rows() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A hundred rows of four columns and their three classes."""
    rng = np.random.default_rng(11)
    X = rng.normal(size=(100, 4))
    return X, np.digitize(X[:, 0] + X[:, 1], [-0.6, 0.6])


@functools.cache
def pipeline() -> Any:
    """A small honest pipeline."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*rows())


def fitted(estimator: Any, **changes: Any) -> Any:
    """`estimator`, fitted on `rows`, with attributes replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(*rows())
    for attribute, replaced in changes.items():
        setattr(estimator, attribute, replaced)
    return estimator


def package(**extra: Any) -> dict[str, Any]:
    """An honest package, as a trading system would keep it."""
    return {"pipeline": pipeline(), "symbol": "EURUSD", "feature_names": ["a", "b", "c", "d"], **extra}


@functools.cache
def _package_opcodes() -> bytes:
    return value(package())


def inside(opcodes: bytes, *, key: str = "metadata", protocol: int = 4) -> bytes:
    """The honest package with one more key, whose value is given as opcodes."""
    return stream(_package_opcodes(), text(key), opcodes, pickle.SETITEM, protocol=protocol)


def dumped(item: Any, protocol: int = 4) -> bytes:
    """An ordinary pickle."""
    return pickle.dumps(item, protocol=protocol)


def joblib_dumped(item: Any, **options: Any) -> bytes:
    """An ordinary joblib file."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(item, buffer, **options)
    return buffer.getvalue()


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


class Raised:
    """Pickles as whatever its reduction is told to be."""

    def __init__(self, *reduction: Any) -> None:
        self._reduction = reduction

    def __reduce__(self) -> Any:
        return self._reduction


def reconstructed(cls: Any, state: Any) -> Raised:
    """Pickles as an instance of `cls` with any `state`, which `cls` itself has no say in."""
    import copyreg

    return Raised(copyreg._reconstructor, (cls, object, None), state)  # type: ignore[attr-defined]
