# SPDX-License-Identifier: Apache-2.0
"""What a plain load gives, line by line, for comparison with the inert graph; runs in the writer's own environment.

``<environment>/bin/python tests/converter/live_walk.py FILE…`` prints one JSON line a file: its name, how many values
there are, and a digest of them all. It needs numpy and joblib only, and speaks Python 3.8. It loads pickles, so it is
for honest files that our own scripts wrote.
"""

from __future__ import annotations

import collections
import copyreg
import hashlib
import json
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

Line = tuple[str, ...]

#: Attributes that a library makes anew whenever it is asked for its state, or leaves alone when it is given one.
REMADE = {("Booster", "handle"), ("Bunch", "_deprecated_key_to_warnings")}


def digest_of(data: bytes) -> str:
    """A short digest of raw bytes."""
    return hashlib.sha256(data).hexdigest()[:24]


def array_digest(value: Any) -> str:
    """A digest of an array's values; the padding of a structure is none of them."""
    if value.dtype.names is None:
        return digest_of(value.tobytes())
    return digest_of(b"".join(value[name].tobytes() for name in value.dtype.names))


def dtype_text(dtype: Any) -> str:
    """A dtype with everything that places values in memory."""
    if dtype.names is None:
        return str(dtype.str)
    fields = [f"{name}:{dtype.fields[name][0].str}@{dtype.fields[name][1]}" for name in dtype.names]
    return f"{dtype.itemsize}({','.join(fields)})"


def scalar_line(value: Any) -> Line:
    """One line for a plain value; floats to the last bit."""
    if isinstance(value, float):
        return ("float", struct.pack(">d", value).hex())
    if isinstance(value, complex):
        return ("complex", struct.pack(">dd", value.real, value.imag).hex())
    return (type(value).__name__, repr(value) if not isinstance(value, str) else value)


#: Kinds that a pickle mentions by name.
FUNCTIONS = ("function", "ufunc", "builtin_function_or_method", "_ArrayFunctionDispatcher")


class Walk:
    """The lines of one loaded object, in the order of its parts; what was met before is a reference."""

    def __init__(self) -> None:
        self.lines = []  # type: List[Line]
        self.seen = {}  # type: Dict[int, str]
        self.alive = []  # type: List[Any]

    def met(self, value: Any, path: str) -> bool:
        """True where `value` was visited; notes the reference. Keeps it alive, so that no identity comes twice."""
        first = self.seen.get(id(value))
        if first is not None:
            self.lines.append((path, "again", first))
            return True
        self.seen[id(value)] = path
        self.alive.append(value)
        return False

    def visit(self, value: Any, path: str) -> None:
        """Adds the lines of `value`."""
        kind = type(value)
        if value is None or kind in (bool, int, float, complex, str):
            self.lines.append((path, *scalar_line(value)))
        elif kind in (bytes, bytearray):
            self.lines.append((path, "bytes", digest_of(bytes(value))))
        elif kind is tuple:
            self.lines.append((path, "tuple", str(len(value))))
            for index, item in enumerate(value):
                self.visit(item, f"{path}[{index}]")
        elif kind is list:
            if not self.met(value, path):
                self.lines.append((path, "list", str(len(value))))
                for index, item in enumerate(value):
                    self.visit(item, f"{path}[{index}]")
        elif kind in (set, frozenset):
            if not self.met(value, path):
                self.lines.append((path, kind.__name__, *sorted(repr(key_line(item)) for item in value)))
        elif kind in (dict, collections.OrderedDict, collections.defaultdict, collections.Counter):
            if not self.met(value, path):
                self.mapping(value, path, kind.__name__)
        elif isinstance(value, np.dtype):
            self.lines.append((path, "dtype", dtype_text(value)))
        elif isinstance(value, np.generic):
            self.lines.append((path, "scalar", dtype_text(value.dtype), value.tobytes().hex()))
        elif kind is np.ndarray:
            if not self.met(value, path):
                self.array(value, path)
        elif kind is np.ma.MaskedArray:
            if not self.met(value, path):
                self.array(value.data, f"{path}.data")
                self.array(np.ma.getmaskarray(value), f"{path}.mask")
        elif isinstance(value, type) or kind.__name__ in FUNCTIONS:
            self.lines.append((path, "name", value.__name__))
        elif not self.met(value, path):
            self.instance(value, path)

    def mapping(self, value: Any, path: str, kind: str) -> None:
        """Adds a dict, keys in their order."""
        self.lines.append((path, kind, *(repr(key_line(key)) for key in value)))
        for key, item in value.items():
            self.visit(item, f"{path}{{{key_line(key)[-1]}}}")

    def array(self, value: Any, path: str) -> None:
        """Adds an array: its dtype, its shape and its bytes, or its objects."""
        shape = "x".join(map(str, value.shape))
        if value.dtype == object:
            self.lines.append((path, "objects", shape))
            for index, item in enumerate(value.ravel()):
                self.visit(item, f"{path}<{index}>")
        else:
            self.lines.append((path, "array", dtype_text(value.dtype), shape, array_digest(value)))

    def instance(self, value: Any, path: str) -> None:
        """Adds an object by the way in which it would be pickled again."""
        reduction = value.__reduce_ex__(4)
        if isinstance(reduction, str):
            self.lines.append((path, "name", reduction))
            return
        function, arguments, state, items, pairs = (tuple(reduction) + (None,) * 5)[:5]
        if function is copyreg.__newobj__:  # type: ignore[attr-defined]
            function, arguments = arguments[0], arguments[1:]
        elif function is copyreg._reconstructor and arguments[1:] == (object, None):  # type: ignore[attr-defined]
            function, arguments = arguments[0], ()
        self.lines.append((path, "object", function.__name__))
        self.alive.append(reduction)
        for index, item in enumerate(arguments):
            self.visit(item, f"{path}({index})")
        self.state(function.__name__, state, path)
        for index, item in enumerate(items or ()):
            self.visit(item, f"{path}+[{index}]")
        for key, item in pairs or ():
            self.visit(item, f"{path}+{{{key_line(key)[-1]}}}")

    def state(self, name: str, state: Any, path: str) -> None:
        """Adds the state of an object; its own dict is made anew at each asking, so its identity says nothing."""
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict) and state[1] is None:
            state = state[0]
        if type(state) is dict:
            for key in sorted(state, key=str):
                if (name, key) not in REMADE:
                    self.visit(state[key], f"{path}.{key}")
        elif state is not None:
            self.visit(state, f"{path}!")


def key_line(key: Any) -> Line:
    """One line for a dict key or set member."""
    if isinstance(key, tuple):
        return ("tuple", *(repr(key_line(item)) for item in key))
    if isinstance(key, np.generic):
        return ("scalar", dtype_text(key.dtype), key.tobytes().hex())
    if isinstance(key, bytes):
        return ("bytes", key.hex())
    return scalar_line(key)


def live_lines(value: Any) -> list[Line]:
    """The lines of a loaded object."""
    walk = Walk()
    walk.visit(value, "")
    return walk.lines


def digest(lines: list[Line]) -> str:
    """One digest of all lines."""
    return hashlib.sha256(json.dumps(lines, ensure_ascii=True).encode()).hexdigest()


def main(paths: list[str]) -> int:
    """Loads each file and prints the digest of its lines."""
    import joblib

    warnings.simplefilter("ignore")
    for path in paths:
        try:
            lines = live_lines(joblib.load(path))
            row = {"file": path, "values": len(lines), "digest": digest(lines)}
        except Exception as error:  # an environment that cannot load the file says so
            row = {"file": path, "error": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main(sys.argv[1:]))
