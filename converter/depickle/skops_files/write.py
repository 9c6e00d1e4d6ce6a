# SPDX-License-Identifier: Apache-2.0
"""Writes a skops file from the inert graph: no estimator is built, no child is believed, the bytes never vary.

Format: skops persistence protocol 2 (``skops.io``): a zip of ``schema.json``, a tree of nodes that each name their
class, module and loader, and of one member per array. Differences from skops's own writer, all within the format:
ids are visit order instead of memory addresses, members are stored without compression and without times, so that
the same pickle gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedModelError
from ..pickles.graph import (
    Array,
    DictNode,
    Dtype,
    GlobalRef,
    ListNode,
    NumpyScalar,
    Record,
    SetNode,
    TupleNode,
    Value,
)

__all__ = ["write_skops"]

State: TypeAlias = dict[str, object]

PROTOCOL = 2
SKOPS_VERSION = "0.16.0"
"""The skops release whose writer this one was compared with, node by node."""

MAX_DEPTH = 200
"""Nested nodes; pipelines of ensembles of pipelines stay below 40, and Python's own recursion limit is far off."""

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o600 << 16

_BUILTIN_TYPES = frozenset(
    {
        "bool",
        "int",
        "float",
        "complex",
        "str",
        "bytes",
        "bytearray",
        "list",
        "tuple",
        "dict",
        "set",
        "frozenset",
        "object",
    }
)


def write_skops(estimator: Record, *, writer: Mapping[str, str]) -> bytes:
    """The skops file of an estimator.

    Args:
        estimator: the estimator of a vetted pickle.
        writer: library versions that wrote it, for the error only; each estimator carries its own.

    Returns:
        The file's bytes; `skops.io.loads` of them, in the writer's library versions, gives the estimator.

    Raises:
        UnsupportedModelError: DP640 for an object that the format has no node for, DP641 for one nested too deep.
    """
    return _Writer(writer).write(estimator)


class _Writer:
    def __init__(self, writer: Mapping[str, str]) -> None:
        self._writer = writer
        self._ids: dict[int, int] = {}
        self._scalar_ids: dict[tuple[str, str], int] = {}
        self._kept: list[object] = []
        self._next = 1
        self._members: dict[str, bytes] = {}

    def write(self, root: Record) -> bytes:
        schema = self._state(root, 0)
        schema["protocol"] = PROTOCOL
        schema["_skops_version"] = SKOPS_VERSION
        text = json.dumps(schema, indent=2, ensure_ascii=True, allow_nan=False)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, data in [*self._members.items(), ("schema.json", text.encode())]:
                info = zipfile.ZipInfo(name, _ZIP_TIME)
                info.external_attr = _FILE_MODE
                info.create_system = 3
                archive.writestr(info, data)
        return buffer.getvalue()

    def _id(self, value: object) -> int:
        """Visit order of a node; the same node has the same id, and no other has it."""
        known = self._ids.get(id(value))
        if known is None:
            known = self._ids[id(value)] = self._next
            self._kept.append(value)  # keeps the address taken for as long as the table lives
            self._next += 1
        return known

    def _scalar_id(self, kind: str, text: str) -> int:
        known = self._scalar_ids.get((kind, text))
        if known is None:
            known = self._scalar_ids[(kind, text)] = self._next
            self._next += 1
        return known

    def _state(self, value: Value, depth: int) -> State:
        if depth > MAX_DEPTH:
            raise self._refuse("objects nested too deep", f"at most {MAX_DEPTH}", "DP641")
        if value is None or isinstance(value, bool | int | float | str):
            return self._json(value)
        if isinstance(value, bytes):
            return self._bytes(value, self._next_id())
        if isinstance(value, Array):
            return self._array(value, depth)
        if isinstance(value, NumpyScalar):
            scalar = np.frombuffer(value.data, dtype=value.dtype.to_numpy())[0]
            name = type(scalar).__name__
            return self._npy(scalar, name, self._id(value))
        if isinstance(value, Dtype):
            empty = self._npy(np.empty(0, dtype=value.to_numpy()), "ndarray", self._next_id())
            return _node("dtype", "numpy", "DTypeNode", self._id(value), content=empty)
        if isinstance(value, GlobalRef):
            return self._global(value)
        if isinstance(value, SetNode):
            name = "frozenset" if value.frozen else "set"
            return _node(name, "builtins", "SetNode", self._id(value), content=self._list(value.items, depth))
        if isinstance(value, TupleNode):
            return self._tuple(value.items, depth, self._id(value))
        if isinstance(value, ListNode):
            content = self._list(value.items, depth)
            return _node("list", "builtins", "ListNode", self._id(value), content=content)
        if isinstance(value, DictNode):
            return self._mapping(value, depth)
        if isinstance(value, Record):
            return self._record(value, depth)
        raise self._refuse(type(value).__name__, "a value that skops has a node for")

    def _next_id(self) -> int:
        self._next += 1
        return self._next - 1

    def _json(self, value: bool | int | float | str | None) -> State:
        text = json.dumps(value)
        # "str" whatever the value is: that is how skops marks its JSON nodes.
        return _node("str", "builtins", "JsonNode", self._scalar_id("json", text), content=text, is_json=True)

    def _list(self, items: list[Value], depth: int) -> list[State]:
        return [self._state(item, depth + 1) for item in items]

    def _tuple(self, items: list[Value], depth: int, identity: int) -> State:
        return _node("tuple", "builtins", "TupleNode", identity, content=self._list(items, depth))

    def _dict(
        self, items: Mapping[object, Value], name: str, module: str, depth: int, identity: int
    ) -> State:
        content: dict[str, State] = {}
        types = []
        for key, value in items.items():
            text, kind = self._key(key)
            if text in content:
                raise self._refuse(f"two dict keys that both read {text!r}", "keys of different text")
            content[text] = self._state(value, depth + 1)
            types.append(kind)
        key_types = _node("list", "builtins", "ListNode", self._next_id(), content=types)
        return _node(name, module, "DictNode", identity, content=content, key_types=key_types)

    def _mapping(self, value: DictNode, depth: int) -> State:
        identity = self._id(value)
        match value.kind:
            case "dict":
                return self._dict(value.items, "dict", "builtins", depth, identity)
            case "OrderedDict":
                return self._dict(value.items, "OrderedDict", "collections", depth, identity)
            case "defaultdict":
                content = {
                    "main": self._dict(value.items, "dict", "builtins", depth, self._next_id()),
                    "default_factory": self._state(value.factory, depth + 1),
                }
                return _node("defaultdict", "collections", "DefaultDictNode", identity, content=content)
            case _:
                raise self._refuse(f"a {value.kind}", "a dict, OrderedDict or defaultdict")

    def _key(self, key: object) -> tuple[str, State]:
        """A key as JSON writes it, with the node of its type."""
        module = "builtins"
        if isinstance(key, NumpyScalar):
            scalar = np.frombuffer(key.data, dtype=key.dtype.to_numpy())[0]
            kind, module, key = type(scalar).__name__, "numpy", scalar.item()
        else:
            kind = type(key).__name__
        if isinstance(key, bool):
            # JSON keys are text and bool("False") is True, so skops cannot keep False as a key.
            raise self._refuse("a dict with a boolean key", "text or numbers as keys")
        if not isinstance(key, str | int | float):
            raise self._refuse(f"a dict key of type {kind}", "text or numbers as keys")
        text = key if isinstance(key, str) else json.dumps(key)
        return text, _node(kind, module, "TypeNode", self._scalar_id("type", f"{module}.{kind}"))

    def _global(self, value: GlobalRef) -> State:
        is_type = value.name[:1].isupper() or value.name in _BUILTIN_TYPES or value.name in np.sctypeDict
        loader = "TypeNode" if is_type else "FunctionNode"
        return _node(value.name, value.module, loader, self._scalar_id("global", value.path))

    def _bytes(self, data: bytes, identity: int) -> State:
        member = f"{identity}.bin"
        self._members[member] = data
        return _node("bytes", "builtins", "BytesNode", identity, file=member)

    def _npy(self, array: npt.NDArray[np.generic] | np.generic, name: str, identity: int) -> State:
        member = f"{identity}.npy"
        if member not in self._members:
            self._members[member] = _npy_bytes(np.asanyarray(array))
        return _node(name, "numpy", "NdArrayNode", identity, type="numpy", file=member)

    def _array(self, value: Array, depth: int) -> State:
        identity = self._id(value)
        if value.objects is None:
            return self._npy(value.to_numpy(), "ndarray", identity)
        nested = self._nested(value.objects, value.shape, value.fortran, depth)
        shape = self._tuple(list(value.shape), depth, self._next_id())
        return _node("ndarray", "numpy", "NdArrayNode", identity, content=nested, type="json", shape=shape)

    def _nested(self, objects: list[Value], shape: tuple[int, ...], fortran: bool, depth: int) -> list[State]:
        """Elements of an object array as nested lists in C order, as `ndarray.tolist` gives them."""
        index = np.arange(len(objects)).reshape(shape, order="F" if fortran else "C")

        def level(part: npt.NDArray[np.int64]) -> list[State]:
            if part.ndim == 1:
                return [self._state(objects[int(place)], depth + 1) for place in part]
            return [
                _node("list", "builtins", "ListNode", self._next_id(), content=level(inner)) for inner in part
            ]

        return level(index) if shape else [self._state(objects[0], depth + 1)]

    def _record(self, record: Record, depth: int) -> State:
        special = _SPECIAL.get((record.module.split(".")[0], record.name))
        if special is not None:
            return special(self, record, depth)
        if record.name.startswith("__pyx_unpickle_"):
            return self._cython(record, depth)
        if record.module == "sklearn._loss._loss":
            return self._loss(record, depth)
        if record.listitems or record.dictitems:
            raise self._refuse(f"{record.cls} with items of its own", "an object with attributes only")
        if record.how != "reduce" and not record.args and not record.kwargs:
            content = self._state(record.state, depth + 1)
            return _node(record.name, record.module, "ObjectNode", self._id(record), content=content)
        if record.how == "reduce" and record.state is None:
            content = self._tuple(list(record.args), depth, self._next_id())
            return _node(
                record.name, record.module, "ConstructorFromReduceNode", self._id(record), content=content
            )
        raise self._refuse(f"{record.cls} built with arguments", "an object with attributes only")

    def _tree(self, record: Record, depth: int) -> State:
        if not isinstance(record.state, DictNode):
            raise self._refuse(f"{record.cls} without a state", "a fitted tree")
        return _node(
            record.name,
            record.module,
            "TreeNode",
            self._id(record),
            __reduce__={"args": self._tuple(list(record.args), depth, self._next_id())},
            content=self._state(record.state, depth + 1),
        )

    def _loss(self, record: Record, depth: int) -> State:
        """A Cython loss whose class stands in the stream: ``(class, args)`` and maybe a state."""
        state: Value = record.state if record.state is not None else DictNode({}, record.offset)
        return _node(
            record.name,
            record.module,
            "LossNode",
            self._id(record),
            __reduce__={"args": self._tuple(list(record.args), depth, self._next_id())},
            content=self._state(state, depth + 1),
        )

    def _cython(self, record: Record, depth: int) -> State:
        """A Cython loss behind its unpickling function: ``(class, checksum, state)``."""
        if len(record.args) < 2 or not isinstance(record.args[0], GlobalRef):
            raise self._refuse(f"{record.cls} with other arguments", "class, checksum and state")
        cls = record.args[0]
        inner = record.args[2] if len(record.args) > 2 else None
        arguments: Value
        state: Value
        if inner is None:
            arguments, state = TupleNode([], record.offset), record.state
        else:
            arguments, state = inner, DictNode({}, record.offset)
        if not isinstance(arguments, TupleNode):
            raise self._refuse(f"{record.cls} with other arguments", "class, checksum and state")
        content: Value = state if state is not None else TupleNode([], record.offset)
        return _node(
            cls.name,
            cls.module,
            "LossNode",
            self._id(record),
            __reduce__={"args": self._tuple(arguments.items, depth, self._next_id())},
            content=self._state(content, depth + 1),
        )

    def _new_object(self, record: Record, depth: int) -> State:
        """A Cython object made bare and then given a tuple: a KD or ball tree, a distance metric."""
        cls = record.args[0] if len(record.args) == 1 else None
        if not isinstance(cls, GlobalRef) or not isinstance(record.state, TupleNode):
            raise self._refuse(f"{record.cls} with other arguments", "a class, and its state as a tuple")
        content = self._state(record.state, depth + 1)
        return _node(cls.name, cls.module, "ObjectNode", self._id(record), content=content)

    def _random_state(self, record: Record, depth: int) -> State:
        state = record.state
        if isinstance(state, TupleNode) and state.items and isinstance(state.items[0], DictNode):
            state = state.items[0]
        if not isinstance(state, DictNode):
            raise self._refuse(f"{record.cls} without a state", "a RandomState with its state")
        content = self._state(state, depth + 1)
        return _node(
            "RandomState", "numpy.random.mtrand", "RandomStateNode", self._id(record), content=content
        )

    def _generator(self, record: Record, depth: int) -> State:
        """A numpy Generator: the state of its bit generator and the seed sequence that spawned it.

        Of numpy 1 the Generator names its bit generator and holds the state itself.
        """
        inner = record.args[0] if record.args else None
        state = inner.state if isinstance(inner, Record) else record.state
        seeds: Value = None
        if isinstance(state, TupleNode) and len(state) == 2:
            seeds = state[1]
            state = state[0]
        if not isinstance(state, DictNode):
            raise self._refuse(f"{record.cls} without a state", "a Generator with its state")
        content = {
            "bit_generator": self._state(state, depth + 1),
            "seed_seq": self._state(_seed_sequence(seeds), depth + 1),
        }
        return _node(
            "Generator", "numpy.random._generator", "RandomGeneratorNode", self._id(record), content=content
        )

    def _bunch(self, record: Record, depth: int) -> State:
        """scikit-learn's Bunch: a dict whose keys are attributes too, and which pickles its items."""
        items: dict[object, Value] = {}
        items.update(record.attrs() if record.dictitems is None else record.dictitems)
        return self._dict(items, record.name, record.module, depth, self._id(record))

    def _xgboost(self, record: Record, depth: int) -> State:
        """XGBoost keeps its model in a bytearray, which the graph does not tell from bytes."""
        state = record.state
        handle = state.get("handle") if isinstance(state, DictNode) else None
        if not isinstance(state, DictNode) or not isinstance(handle, bytes):
            raise self._refuse(f"{record.cls} without a handle", "a fitted Booster")
        identity = self._id(record)
        content = self._state(state, depth + 1)
        node = cast("dict[str, State]", content["content"])["handle"]
        node |= {"__class__": "bytearray", "__loader__": "BytearrayNode"}
        return _node(record.name, record.module, "ObjectNode", identity, content=content)

    def _partial(self, record: Record, depth: int) -> State:
        """The partial that the gate admits: one function, keywords, nothing else."""
        identity = self._id(record)
        keywords = record.state
        if len(record.args) != 1 or not isinstance(keywords, DictNode):
            raise self._refuse(f"{record.cls} with other arguments", "a function and its keywords")
        content = {
            "func": self._state(record.args[0], depth + 1),
            "args": self._tuple([], depth, self._next_id()),
            "kwds": self._state(keywords, depth + 1),
            "namespace": self._json(None),
        }
        return _node("partial", "functools", "PartialNode", identity, content=content)

    def _triplet(self, record: Record, depth: int) -> State:
        """The named tuple of IterativeImputer, which skops keeps as a tuple of that class."""
        items = list(record.args)
        if record.how == "reconstructor" and len(items) == 1 and isinstance(items[0], TupleNode):
            items = items[0].items  # protocols 0 and 1
        if len(items) != 3:
            raise self._refuse(f"{record.cls} of {len(items)}", "a feature, its neighbours and an estimator")
        content = self._list(items, depth)
        return _node(record.name, record.module, "TupleNode", self._id(record), content=content)

    def _slice(self, record: Record, depth: int) -> State:
        if len(record.args) != 3:
            raise self._refuse("a slice without its three bounds", "a slice")
        bounds = dict(zip(("start", "stop", "step"), record.args, strict=True))
        if not all(value is None or isinstance(value, int) for value in bounds.values()):
            raise self._refuse("a slice of something else than numbers", "a slice of whole numbers")
        return _node("slice", "builtins", "SliceNode", self._id(record), content=bounds)

    def _masked(self, record: Record, depth: int) -> State:
        """A masked array; skops keeps its data and its mask, and not what stands for masked values."""
        data, mask = record.get("data"), record.get("mask")
        if not isinstance(data, Array) or not isinstance(mask, Array):
            raise self._refuse(f"{record.cls} without data and mask", "a masked array")
        content = {"data": self._array(data, depth), "mask": self._array(mask, depth)}
        return _node("MaskedArray", "numpy.ma", "MaskedArrayNode", self._id(record), content=content)

    def _sparse(self, record: Record, depth: int) -> State:
        """A compressed sparse matrix as `scipy.sparse.save_npz` writes it: one npy member per array."""
        parts: dict[str, npt.NDArray[np.generic]] = {}
        for key in ("indices", "indptr", "data"):
            value = record.get(key)
            if not isinstance(value, Array) or value.is_object:
                raise self._refuse(f"{record.cls} without {key}", "a compressed sparse matrix")
            parts[key] = value.to_numpy()
        shape = record.get("_shape")
        if not isinstance(shape, TupleNode) or not all(isinstance(side, int) for side in shape):
            raise self._refuse(f"{record.cls} without a shape", "a compressed sparse matrix")
        parts["format"] = np.array(record.name[:3].encode())
        parts["shape"] = np.array([side for side in shape if isinstance(side, int)], dtype=np.int64)
        if record.name.endswith("_array"):
            parts["_is_array"] = np.array(True)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for key, array in parts.items():
                archive.writestr(zipfile.ZipInfo(f"{key}.npy", _ZIP_TIME), _npy_bytes(array))
        member = f"{self._id(record)}.npz"
        self._members[member] = buffer.getvalue()
        return _node(
            record.name, record.module, "SparseMatrixNode", self._id(record), type="scipy", file=member
        )

    def _refuse(self, found: str, expected: str, code: str = "DP640") -> UnsupportedModelError:
        return UnsupportedModelError(
            "The model cannot be written as a skops file",
            code=code,
            where="skops",
            found=found,
            expected=expected,
            next_step="depickle inspect FILE shows where it stands",
        )


_Special: TypeAlias = Callable[[_Writer, Record, int], State]

_SPECIAL: dict[tuple[str, str], _Special] = {
    ("sklearn", "Tree"): _Writer._tree,
    ("sklearn", "Bunch"): _Writer._bunch,
    ("sklearn", "newObj"): _Writer._new_object,
    ("xgboost", "Booster"): _Writer._xgboost,
    ("functools", "partial"): _Writer._partial,
    ("builtins", "slice"): _Writer._slice,
    ("sklearn", "_ImputerTriplet"): _Writer._triplet,
    ("numpy", "MaskedArray"): _Writer._masked,
    ("numpy", "__randomstate_ctor"): _Writer._random_state,
    ("numpy", "RandomState"): _Writer._random_state,
    ("numpy", "__generator_ctor"): _Writer._generator,
    **{
        ("scipy", f"{kind}_{form}"): _Writer._sparse
        for kind in ("csr", "csc", "bsr")
        for form in ("matrix", "array")
    },
    **{
        ("sklearn", name): _Writer._loss
        for name in (
            "Hinge",
            "SquaredHinge",
            "ModifiedHuber",
            "EpsilonInsensitive",
            "SquaredEpsilonInsensitive",
            "Log",
            "SquaredLoss",
            "Huber",
        )
    },
}


_SEEDS = ("entropy", "n_children_spawned", "pool", "pool_size", "spawn_key")
"""Attributes of numpy's SeedSequence in the order of its Cython state tuple."""


def _seed_sequence(value: Value) -> DictNode:
    """What `SeedSequence.state` gives; empty where the file has none, as numpy before 1.25 wrote it."""
    if not isinstance(value, Record):
        return DictNode({}, 0)
    state = value.args[2] if len(value.args) > 2 and value.args[2] is not None else value.state
    if not isinstance(state, TupleNode) or len(state) < len(_SEEDS):
        return DictNode({}, value.offset)
    found = dict(zip(_SEEDS, state.items, strict=False))
    order = ("entropy", "spawn_key", "pool_size", "n_children_spawned")
    return DictNode({name: found[name] for name in order}, value.offset)


def _node(name: str, module: str, loader: str, identity: int, **fields: object) -> State:
    return {"__class__": name, "__module__": module, "__loader__": loader, **fields, "__id__": identity}


def _npy_bytes(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()
