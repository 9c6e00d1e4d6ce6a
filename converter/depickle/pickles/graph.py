# SPDX-License-Identifier: Apache-2.0
"""The inert graph: what a pickle would build, as values that cannot run.

Scalars stand for themselves (`None`, `bool`, `int`, `float`, `str`, `bytes`). Everything that the pickle would
have imported or called is one of the node types below; each knows the byte offset of the opcode that made it,
counted in the decompressed stream. Shared references and cycles are kept: the same object is the same node.

Most nodes are `msgspec.Struct`, whose constructor is C: a graph is mostly the making of nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, Union

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "Array",
    "DictNode",
    "Dtype",
    "GlobalRef",
    "ListNode",
    "Node",
    "NumpyScalar",
    "Raw",
    "Record",
    "SetNode",
    "TupleNode",
    "Value",
    "plain",
]


class GlobalRef(msgspec.Struct, eq=False):
    """A (module, name) pair mentioned as data: a class, function or ufunc. Never imported."""

    module: str
    name: str
    offset: int

    @property
    def path(self) -> str:
        """``module.name``."""
        return f"{self.module}.{self.name}"

    def __repr__(self) -> str:
        return f"GlobalRef({self.path})"


class ListNode(msgspec.Struct, eq=False):
    """A list."""

    items: list[Value]
    offset: int

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Value]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Value:
        return self.items[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.items)} at {self.offset})"


class TupleNode(ListNode, eq=False):
    """A tuple; equal by identity like every node."""


class SetNode(ListNode, eq=False):
    """A set or frozenset; `items` holds each member once, in the order of the stream."""

    frozen: bool = False


class DictNode(msgspec.Struct, eq=False):
    """A dict, OrderedDict, defaultdict or Counter with simple keys, in the order of the stream.

    Keys are scalars, `NumpyScalar`, or plain Python tuples of these, so that `get` works with ordinary values.
    `kind` is ``dict``, ``OrderedDict``, ``defaultdict`` or ``Counter``; `factory` is what a defaultdict names.
    """

    items: dict[object, Value]
    offset: int
    kind: str = "dict"
    factory: GlobalRef | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, key: object) -> bool:
        return key in self.items

    def get(self, key: object, default: Value = None) -> Value:
        """The value under `key`, or `default`."""
        return self.items.get(key, default)

    def __repr__(self) -> str:
        return f"DictNode({len(self.items)} at {self.offset})"


class Dtype:
    """A numpy dtype, checked field by field: `descr` is a string such as ``<f8``, ``|O`` or ``<M8[ns]``.

    A structured dtype has `fields` (name, format, byte offset) and its `descr` is ``|V<itemsize>``.
    """

    __slots__ = ("_numpy", "descr", "fields", "itemsize", "offset")

    def __init__(
        self,
        descr: str,
        offset: int,
        *,
        itemsize: int = 0,
        fields: tuple[tuple[str, str, int], ...] | None = None,
    ) -> None:
        self.descr = descr
        self.offset = offset
        self.itemsize = itemsize
        self.fields = fields
        self._numpy: np.dtype[np.generic] | None = None

    def to_numpy(self) -> np.dtype[np.generic]:
        """The dtype with offsets and item size as written.

        Raises:
            TypeError: for the dtype of Python objects, which no bytes have.
        """
        if self._numpy is None:
            if self.descr == "|O":
                raise TypeError("no bytes have the dtype of Python objects")
            if self.fields is None:
                self._numpy = np.dtype(self.descr)
            else:
                names, formats, offsets = zip(*self.fields, strict=True)
                layout = {"names": names, "formats": formats, "offsets": offsets, "itemsize": self.itemsize}
                self._numpy = np.dtype(layout)  # type: ignore[call-overload]  # the stubs want lists
        return self._numpy

    @property
    def is_object(self) -> bool:
        """True for arrays of Python objects."""
        return self.descr == "|O"


class Array:
    """A numpy array: dtype, shape and order, over bytes of the stream or, for object arrays, `objects`.

    A masked array is a `Record` of ``numpy.ma.core.MaskedArray`` whose state holds ``data``, ``mask`` (an `Array`
    of booleans) and ``fill_value``.
    """

    __slots__ = ("data", "dtype", "fortran", "objects", "offset", "shape")

    def __init__(
        self,
        dtype: Dtype,
        shape: tuple[int, ...],
        data: memoryview | None,
        objects: list[Value] | None,
        offset: int,
        *,
        fortran: bool = False,
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.data = data
        self.objects = objects
        self.offset = offset
        self.fortran = fortran

    @property
    def is_object(self) -> bool:
        """True where the elements are in `objects`, in C order of `shape` (or F order if `fortran`)."""
        return self.objects is not None

    def to_numpy(self) -> npt.NDArray[np.generic]:
        """A read-only array over the bytes of the stream (no copy, and so perhaps not aligned).

        Raises:
            TypeError: for an object array, which has no bytes.
        """
        if self.data is None:
            raise TypeError("an object array has no bytes")
        flat = np.frombuffer(self.data, dtype=self.dtype.to_numpy())
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class NumpyScalar:
    """A numpy scalar of a plain dtype."""

    __slots__ = ("data", "dtype", "offset")

    def __init__(self, dtype: Dtype, data: bytes, offset: int) -> None:
        self.dtype = dtype
        self.data = data
        self.offset = offset

    def value(self) -> bool | int | float | complex | str | bytes:
        """The scalar as a Python value."""
        return np.frombuffer(self.data, dtype=self.dtype.to_numpy())[0].item()  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return bool(self.value() == (other.value() if isinstance(other, NumpyScalar) else other))

    def __repr__(self) -> str:
        return f"NumpyScalar({self.value()!r})"

    def __hash__(self) -> int:
        return hash(self.value())


class Record(msgspec.Struct, eq=False):
    """An object that the pickle would have created: its class, how, with which arguments and state.

    `how` is ``newobj`` (class.__new__(*args)), ``reduce`` (callable(*args)), or ``reconstructor``
    (copyreg._reconstructor, where `args` holds the value of the base type, if any). `listitems` / `dictitems`
    hold what APPENDS / SETITEMS gave to it.
    """

    module: str
    name: str
    how: str
    args: tuple[Value, ...]
    offset: int
    state: Value = None
    listitems: list[Value] | None = None
    dictitems: dict[object, Value] | None = None
    kwargs: dict[str, Value] = msgspec.field(default_factory=dict)

    @property
    def cls(self) -> str:
        """``module.name`` of the class or callable."""
        return f"{self.module}.{self.name}"

    def attrs(self) -> dict[str, Value]:
        """The instance attributes of the state: its dict, or both halves of a (dict, slots) pair."""
        state = self.state
        if isinstance(state, DictNode):
            return {key: value for key, value in state.items.items() if isinstance(key, str)}
        if isinstance(state, TupleNode) and len(state) == 2:
            merged: dict[str, Value] = {}
            for half in state:
                if isinstance(half, DictNode):
                    merged |= {key: value for key, value in half.items.items() if isinstance(key, str)}
            return merged
        return {}

    def get(self, name: str, default: Value = None) -> Value:
        """One attribute, or `default`."""
        if type(self.state) is DictNode:
            return self.state.items.get(name, default)
        return self.attrs().get(name, default)

    def __repr__(self) -> str:
        return f"Record({self.cls} at {self.offset})"


Node: TypeAlias = Union[GlobalRef, ListNode, DictNode, Dtype, Array, NumpyScalar, Record]  # noqa: UP007
Value: TypeAlias = Union[Node, bool, int, float, complex, str, bytes, None]  # noqa: UP007
#: A value while the stream is being read, when long bytes are still slices of it. The finished graph has none.
Raw: TypeAlias = Union[Value, memoryview]  # noqa: UP007


def plain(value: Value) -> Value:
    """`value`, with a numpy scalar turned into the Python scalar it holds."""
    return value.value() if isinstance(value, NumpyScalar) else value
