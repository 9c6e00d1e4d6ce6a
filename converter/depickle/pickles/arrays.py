# SPDX-License-Identifier: Apache-2.0
"""Dtypes and arrays, checked field by field against the bytes that are present.

numpy believes the state of a pickled dtype: an object field inside a structure, or an offset outside the item,
is memory corruption on load. Here only the states that numpy itself writes pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Sized
from typing import Protocol

import numpy as np

from .graph import Array, DictNode, Dtype, ListNode, Raw, Record, TupleNode, Value
from .limits import MAX_DIMENSIONS

__all__ = [
    "UNBUILT",
    "ArgumentError",
    "ArrayError",
    "build_array",
    "build_dtype",
    "build_masked_array",
    "check_elements",
    "fill_array",
    "open_dtype",
]


class ArgumentError(Exception):
    """Internal: arguments that a rule forbids; becomes a finding."""

    rule = "DP426"


class DtypeError(ArgumentError):
    """Internal: a dtype that numpy would not have written."""

    rule = "DP440"


class ArrayError(ArgumentError):
    """Internal: an array that does not match its bytes."""

    rule = "DP441"


class Accountant(Protocol):
    """Counts the bytes that arrays claim, so that one payload cannot be claimed without end."""

    def claim(self, size: int) -> None:
        """Account for an array of `size` bytes."""

    def given(self, items: Sized) -> None:
        """Remember that `items` must not grow from here on."""


#: The dtype of an array whose BUILD has not come yet.
UNBUILT = Dtype("", 0)

_CODE = re.compile(r"(?:(b1)|([iu][1248])|(f[248])|(c8|c16)|(O8?|O4)|([SUV])(\d{1,9})|([Mm])8)\Z")
_TIME_UNITS = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"})
#: numpy's dtype flags: 63 is what it writes for objects, 8 (needs initialising) for text, 16 and 128 (aligned)
#: for structures, and 0 for everything else.
_OBJECT_FLAGS, _TEXT_FLAGS = 63, 8
_ALIGNED = 0x80
_STRUCT_FLAGS = 0x10 | _ALIGNED
_MAX_ITEM = 1 << 24
_MAX_FIELDS = 64
_SMALL_SHAPE = 1 << 48


def open_dtype(args: Sequence[Raw], offset: int) -> Dtype:
    """``numpy.dtype(code, False, True)``: a dtype that its BUILD completes.

    Raises:
        DtypeError: for any other arguments.
    """
    code = args[0] if args else None
    if len(args) != 3 or type(code) is not str or args[1] not in (0, False) or args[2] not in (1, True):
        raise DtypeError("only a type code, False and True are admitted")
    match = _CODE.match(code)
    if match is None:
        raise DtypeError(f"unknown type code {code[:20]!r}")
    if match[5]:
        code = "O"
    node = Dtype(code, offset)
    node.itemsize = -1
    return node


def build_dtype(node: Dtype, state: Raw) -> None:
    """Complete `node` with the state that its BUILD gives.

    Raises:
        DtypeError: unless numpy itself would have written that state for that type code.
    """
    if node.itemsize != -1:
        raise DtypeError("the dtype was completed already")
    if not isinstance(state, TupleNode) or not 8 <= len(state) <= 9:
        raise DtypeError("its state is not a tuple of eight or nine")
    version, order, subarray, names, fields, itemsize, alignment, flags = state.items[:8]
    if version not in (3, 4) or type(version) is not int or type(flags) is not int:
        raise DtypeError("its state is of an unknown version")
    if subarray is not None:
        raise DtypeError("it has a subarray")
    code = node.descr
    kind = code[0]
    if kind in "Mm":
        _build_time(node, state, code, order)
        return
    if len(state) == 9 and not (version == 4 and isinstance(state[8], DictNode) and not state[8].items):
        raise DtypeError("it carries metadata")
    if kind == "V":
        _build_structure(node, order, names, fields, itemsize, alignment, flags)
        return
    if names is not None or fields is not None:
        raise DtypeError("a plain dtype has fields")
    if kind in "SU":
        size = int(code[1:]) * (4 if kind == "U" else 1)
        if not 0 < size <= _MAX_ITEM or itemsize != size or alignment != (4 if kind == "U" else 1):
            raise DtypeError("its text has an impossible length")
        if flags != (_TEXT_FLAGS if kind == "U" else 0) or order not in (
            ("<", ">") if kind == "U" else ("|",)
        ):
            raise DtypeError("its flags or byte order do not match")
        node.descr, node.itemsize = f"{_text(order)}{code}", size
        return
    if (itemsize, alignment) != (-1, -1):
        raise DtypeError("a plain dtype has a size of its own")
    if kind == "O":
        if order != "|" or flags != _OBJECT_FLAGS:
            raise DtypeError("its flags or byte order do not match")
        node.descr, node.itemsize = "|O", 8
        return
    size = int(code[1:])
    if flags != 0 or order not in (("|",) if size == 1 else ("<", ">")):
        raise DtypeError("its flags or byte order do not match")
    node.descr, node.itemsize = f"{_text(order)}{code}", size


def _text(order: Value) -> str:
    return order if type(order) is str else ""


def _build_time(node: Dtype, state: TupleNode, code: str, order: Value) -> None:
    _, _, _, names, fields, itemsize, alignment, flags = state.items[:8]
    extra = state[8] if len(state) == 9 else None
    if (names, fields, itemsize, alignment, flags) != (None, None, -1, -1, 0) or order not in ("<", ">"):
        raise DtypeError("a time dtype has sizes or flags of its own")
    unit = extra[1] if isinstance(extra, TupleNode) and len(extra) == 2 else None
    if unit is None or not isinstance(extra, TupleNode):
        raise DtypeError("a time dtype has no unit")
    # numpy up to 2.3 writes an empty dict for no metadata, later ones None
    if extra[0] is not None and not (isinstance(extra[0], DictNode) and not extra[0].items):
        raise DtypeError("a time dtype carries metadata")
    if not isinstance(unit, TupleNode) or len(unit) != 4:
        raise DtypeError("a time dtype has no unit")
    name = unit[0].decode("ascii", "replace") if isinstance(unit[0], bytes) else unit[0]
    if (
        name not in _TIME_UNITS
        or any(type(part) is not int for part in unit.items[1:])
        or unit.items[2:] != [1, 1]
    ):
        raise DtypeError("a time dtype has an unknown unit")
    number = unit[1]
    if type(number) is not int or not 0 < number < 1 << 31:
        raise DtypeError("a time dtype has an impossible unit")
    unit_text = str(name) if number == 1 else f"{number}{name}"
    suffix = "" if name == "generic" else f"[{unit_text}]"
    node.descr, node.itemsize = f"{order}{code[0]}8{suffix}", 8


def _build_structure(
    node: Dtype, order: Value, names: Value, fields: Value, itemsize: Value, alignment: Value, flags: Value
) -> None:
    size = int(node.descr[1:])
    if itemsize != size or not 0 < size <= _MAX_ITEM or order != "|" or type(flags) is not int:
        raise DtypeError("a structure has the wrong size or byte order")
    if flags & ~_STRUCT_FLAGS or alignment not in (1, 2, 4, 8, 16):
        raise DtypeError("a structure has flags of its own")
    if not isinstance(names, TupleNode) or not isinstance(fields, DictNode):
        raise DtypeError("raw bytes (void) are not admitted")
    if not 0 < len(names) <= _MAX_FIELDS or list(fields.items) != list(names.items):
        raise DtypeError("the names and the fields of a structure differ")
    rows: list[tuple[str, str, int]] = []
    end = 0
    for name in names:
        field = fields.get(name)
        if type(name) is not str or not isinstance(field, TupleNode) or len(field) != 2:
            raise DtypeError("a field of a structure is malformed")
        dtype, where = field.items
        if not isinstance(dtype, Dtype) or dtype.itemsize <= 0 or type(where) is not int:
            raise DtypeError(f"the field {name[:40]!r} is malformed")
        if dtype.is_object or dtype.fields is not None:
            raise DtypeError(f"the field {name[:40]!r} holds objects or a structure")
        if where < end or where + dtype.itemsize > size:
            raise DtypeError(f"the field {name[:40]!r} lies outside the item or over another")
        if flags & _ALIGNED and where % _alignment(dtype):
            raise DtypeError(f"the field {name[:40]!r} is not aligned, although the structure says so")
        end = where + dtype.itemsize
        rows.append((name, dtype.descr, where))
    node.descr, node.itemsize, node.fields = f"|V{size}", size, tuple(rows)


def _alignment(dtype: Dtype) -> int:
    """Bytes on which a value of a plain `dtype` begins in an aligned structure."""
    kind = dtype.descr[1]
    return 1 if kind == "S" else 4 if kind == "U" else min(dtype.itemsize, 8)


def _dimensions(shape: Raw) -> tuple[int, ...]:
    if not isinstance(shape, TupleNode) or len(shape) > MAX_DIMENSIONS:
        raise ArrayError("the shape is not a short tuple")
    found: list[int] = []
    for part in shape:
        if type(part) is not int or not 0 <= part < _SMALL_SHAPE:
            raise ArrayError("the shape holds something else than sizes")
        found.append(part)
    return tuple(found)


def fill_array(
    accountant: Accountant, array: Array, shape: Raw, dtype: Dtype, payload: Raw, *, fortran: bool
) -> None:
    """Complete `array`.

    Raises:
        ArrayError: unless shape, dtype and the bytes (or objects) present agree.
    """
    if array.dtype is not UNBUILT:
        raise ArrayError("the array was completed already")
    if dtype.itemsize <= 0:
        raise ArrayError("the dtype is not complete")
    sizes = _dimensions(shape)
    count, span = 1, 1
    for size in sizes:
        count *= size
        span *= max(size, 1)
    if span * dtype.itemsize >= 1 << 62:
        raise ArrayError("the shape is larger than memory")
    if dtype.is_object:
        if type(payload) is not ListNode or len(payload) != count:
            raise ArrayError(f"the shape holds {count} objects and another number is present")
        accountant.given(payload.items)
        array.objects = payload.items
    else:
        if not isinstance(payload, bytes | memoryview) or len(payload) != count * dtype.itemsize:
            raise ArrayError(f"the shape needs {count * dtype.itemsize} bytes and another number is present")
        accountant.claim(len(payload))
        view = payload if isinstance(payload, memoryview) else memoryview(payload)
        if dtype.descr[1] in "bU":
            check_elements(dtype, view)
        array.data = view
    array.dtype, array.shape, array.fortran = dtype, sizes, fortran


def check_elements(dtype: Dtype, view: memoryview) -> None:
    """Refuse bytes that are no value of `dtype`: a boolean of 2, a character beyond Unicode.

    Raises:
        ArrayError: where one is found.
    """
    kind = dtype.descr[1:2]
    if kind == "b" and len(view) and np.frombuffer(view, np.uint8).max() > 1:
        raise ArrayError("a boolean is neither 0 nor 1")
    if kind == "U" and len(view):
        points = np.frombuffer(view, f"{dtype.descr[0]}u4")
        if points.max() > 0x10FFFF or bool(((points >= 0xD800) & (points < 0xE000)).any()):
            raise ArrayError("a character is not one of Unicode")


def build_array(accountant: Accountant, array: Array, state: Raw) -> None:
    """Complete an array with the state ``(1, shape, dtype, is_fortran, bytes or list)``.

    Raises:
        ArrayError: unless that is what numpy writes.
    """
    if not isinstance(state, TupleNode) or len(state) != 5 or state[0] != 1:
        raise ArrayError("the state of an array is not the tuple that numpy writes")
    _, shape, dtype, fortran, payload = state.items
    if not isinstance(dtype, Dtype) or fortran not in (0, 1):
        raise ArrayError("the state of an array has no dtype")
    fill_array(accountant, array, shape, dtype, payload, fortran=bool(fortran))


def build_masked_array(accountant: Accountant, record: Record, state: Raw, offset: int) -> DictNode:
    """The state of a masked array as a dict of ``data``, ``mask`` and ``fill_value``.

    Raises:
        ArrayError: unless ``(1, shape, dtype, is_fortran, data, mask, fill_value)`` agrees with itself.
    """
    if not isinstance(state, TupleNode) or len(state) != 7 or state[0] != 1:
        raise ArrayError("the state of a masked array is not the tuple that numpy writes")
    _, shape, dtype, fortran, payload, mask, fill = state.items
    if not isinstance(dtype, Dtype) or fortran not in (0, 1) or dtype.fields is not None:
        raise ArrayError("a masked array has no plain dtype")
    data_array = Array(UNBUILT, (), None, None, record.offset)
    mask_array = Array(UNBUILT, (), None, None, record.offset)
    fill_array(accountant, data_array, shape, dtype, payload, fortran=bool(fortran))
    boolean = Dtype("|b1", record.offset, itemsize=1)
    fill_array(accountant, mask_array, shape, boolean, mask, fortran=bool(fortran))
    return DictNode({"data": data_array, "mask": mask_array, "fill_value": fill}, offset)
