# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""Dtypes and arrays that lie: numpy believes the state of both, and reads or frees foreign memory."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

from . import kit
from .kit import Entry, args, call, inside, many, name, raw, shell, system, text, value

__all__ = ["array", "dtype", "entries"]


def dtype(code: str = "f8", *state: Any, built: bool = True) -> bytes:
    """``numpy.dtype(code, False, True)`` with `state`, by default the honest one."""
    made = call(name("numpy", "dtype"), args(code, False, True))
    if not built:
        return made
    if not state:
        state = (3, "<", None, None, None, -1, -1, 0)
    return made + _state(state) + pickle.BUILD


def _state(items: tuple[Any, ...]) -> bytes:
    """A tuple in which bytes are opcodes already."""
    return many(*(item if isinstance(item, bytes) else value(item) for item in items))


OBJECT = dtype("O8", 3, "|", None, None, None, -1, -1, 63)


def array(
    shape: bytes, kind: bytes, data: bytes, *, fortran: bytes = pickle.NEWFALSE, core: str = "_core"
) -> bytes:
    """An array as numpy writes it, from opcodes."""
    start = many(name("numpy", "ndarray"), args(0), raw(b"b"))
    made = call(name(f"numpy.{core}.multiarray", "_reconstruct"), start)
    return made + many(value(1), shape, kind, fortran, data) + pickle.BUILD


def _structure(*fields: tuple[str, bytes, int], size: int, alignment: int = 1, flags: int = 16) -> bytes:
    names = _state(tuple(text(field) for field, _, _ in fields))
    table = pickle.EMPTY_DICT + pickle.MARK
    for field, kind, offset in fields:
        table += text(field) + many(kind, value(offset))
    return dtype(f"V{size}", 3, "|", None, names, table + pickle.SETITEMS, size, alignment, flags)


def _dtypes() -> list[Entry]:
    data = raw(b"\x41" * 16)

    def one(stem: str, technique: str, kind: bytes, effect: kit.Effect = "none", **more: Any) -> Entry:
        return Entry(f"dtype-{stem}", technique, lambda m: inside(array(args(1), kind, raw(b"\x41" * 16))), "DP44",
                     effect, **more)  # fmt: skip

    plain = (3, "<", None, None, None, -1, -1, 0)
    sub = many(dtype("f8"), args(2))
    return [
        one("object-field", "an object inside a structure: bytes become a pointer",
            _structure(("a", OBJECT, 0), ("b", dtype(), 8), size=16, flags=16), "crashes"),
        one("object-field-flags", "an object inside a structure, flags as for objects",
            _structure(("a", OBJECT, 0), ("b", dtype(), 8), size=16, flags=27), "crashes"),
        one("offset-outside", "a field beyond the item", _structure(("a", dtype(), 1 << 20), size=16), "crashes"),
        one("offset-negative", "a field before the item", _structure(("a", dtype(), -64), size=16), "crashes"),
        one("fields-overlap", "two fields in one place", _structure(("a", dtype(), 0), ("b", dtype("i8"), 0), size=16)),
        one("fields-names", "names that are not the fields",
            dtype("V16", 3, "|", None, args("a", "b"), pickle.EMPTY_DICT + text("a") + many(dtype(), value(0))
                  + pickle.SETITEM, 16, 1, 16)),
        one("structure-in-structure", "a structure inside a structure with an object",
            _structure(("a", _structure(("x", OBJECT, 0), size=8), 0), size=16), "crashes"),
        one("aligned-lie", "an aligned structure whose field is not",
            _structure(("a", dtype(), 1), size=16, alignment=8, flags=0x90)),
        one("itemsize-huge", "an item of 2**31-1 bytes", dtype("V2147483647", 3, "|", None, None, None, 2**31 - 1, 1, 0)),
        one("itemsize-other", "an item size that is not the code's", dtype("f8", 3, "<", None, None, None, 1, 1, 0)),
        one("itemsize-negative", "an item of -8 bytes", dtype("V16", 3, "|", None, None, None, -8, 1, 0)),
        one("text-size", "text whose size is not four bytes a character",
            dtype("U4", 3, "<", None, None, None, 1 << 20, 4, 8), "crashes"),
        one("text-zero", "text of no characters", dtype("U0", 3, "<", None, None, None, 0, 4, 8)),
        one("flags-refcount", "a float that says it holds references", dtype("f8", 3, "<", None, None, None, -1, -1, 63),
            "crashes"),
        one("flags-none", "objects that say they hold no references", dtype("O8", 3, "|", None, None, None, -1, -1, 0)),
        one("flags-text", "flags that are no number", dtype("f8", 3, "<", None, None, None, -1, -1, "0")),
        one("subarray", "a subarray", dtype("V16", 3, "|", sub, None, None, 16, 8, 0)),
        one("subarray-shape", "a subarray larger than its item",
            dtype("V16", 3, "|", many(dtype(), args(1 << 20)), None, None, 16, 8, 0), "crashes"),
        one("metadata", "metadata, which may hold anything",
            dtype("f8", 4, "<", None, None, None, -1, -1, 0, {"a": 1})),
        one("version", "a state of an unknown version", dtype("f8", 9, "<", None, None, None, -1, -1, 0)),
        one("order", "an unknown byte order", dtype("f8", 3, "@", None, None, None, -1, -1, 0)),
        one("void", "raw bytes", dtype("V16", 3, "|", None, None, None, 16, 1, 0)),
        one("code-list", "a type code that numpy parses as a list", dtype("f8,O", *plain)),
        one("code-align", "a type code over a structure", dtype("{'names': ['a'], 'formats': ['O']}", *plain)),
        one("code-long", "a type code of a name", dtype("object", *plain)),
        one("time-unit", "a time of an unknown unit",
            dtype("M8", 4, "<", None, None, None, -1, -1, 0, ({}, (b"zz", 1, 1, 1)))),
        one("time-metadata", "a time with metadata",
            dtype("M8", 4, "<", None, None, None, -1, -1, 0, ({"a": 1}, (b"ns", 1, 1, 1)))),
        one("time-zero", "a time whose unit counts zero",
            dtype("M8", 4, "<", None, None, None, -1, -1, 0, ({}, (b"ns", 0, 1, 1))), "crashes"),
        one("unbuilt", "a dtype without its state", dtype("V16", built=False)),
        Entry("dtype-twice", "a dtype gets its state twice",
              lambda m: inside(array(args(2), dtype() + args(*plain) + pickle.BUILD, data)), "DP4", "none"),
        Entry("dtype-by-type", "numpy.dtype of a class",
              lambda m: inside(call(name("numpy", "dtype"), many(name("builtins", "object"), pickle.NEWFALSE,
                                                                 pickle.NEWTRUE))), "DP44", "none"),
        Entry("dtype-align-copy", "numpy.dtype with other flags",
              lambda m: inside(call(name("numpy", "dtype"), args("f8", True, False))), "DP4", "none"),
    ]  # fmt: skip


def _arrays() -> list[Entry]:
    data = raw(b"\0" * 16)
    objects = call(name("builtins", "getattr"), args())

    def one(stem: str, technique: str, opcodes: bytes, effect: kit.Effect = "none", **more: Any) -> Entry:
        return Entry(
            f"array-{stem}", technique, lambda m: inside(opcodes), more.pop("rule", "DP4"), effect, **more
        )

    def with_class(cls: bytes, shape: bytes = args(0), code: bytes = raw(b"b")) -> bytes:
        return call(name("numpy._core.multiarray", "_reconstruct"), many(cls, shape, code))

    scalar = name("numpy._core.multiarray", "scalar")
    frombuffer = name("numpy._core.numeric", "_frombuffer")
    reference = struct.pack("<Q", 0x4141414141414141)

    def scalar_pickles(m: Path) -> bytes:
        """A scalar of objects is a pickle of its own, which older numpy loads."""
        return inside(call(scalar, many(OBJECT, raw(kit.stream(system(m))))))

    def scalar_string(m: Path) -> bytes:
        return inside(call(scalar, many(OBJECT, text(shell(m)))))

    def object_list_calls(m: Path) -> bytes:
        held = pickle.EMPTY_LIST + system(m) + pickle.APPEND
        return inside(array(args(1), OBJECT, held))

    return [
        one("shape-too-large", "more items than bytes", array(args(1 << 20), dtype(), data)),
        one("shape-too-small", "fewer items than bytes", array(args(1), dtype(), data)),
        one("shape-negative", "a negative size", array(args(-2), dtype(), data)),
        one("shape-wraps", "sizes whose product wraps around 2**64", array(args(1 << 33, 1 << 33), dtype(), data), "exhausts"),
        one("shape-zero", "zero times 2**62", array(args(0, 1 << 62), dtype(), raw(b""))),
        one("shape-dimensions", "33 axes", array(args(*([1] * 33)), dtype(), raw(b"\0" * 8))),
        one("shape-float", "a size that is a float", array(args(2.0), dtype(), data)),
        one("shape-bool", "a size that is a boolean", array(args(True), dtype(), raw(b"\0" * 8))),
        one("shape-list", "a shape that is a list", array(value([2]), dtype(), data)),
        one("objects-from-bytes", "objects whose references are bytes of the file",
            array(args(1), OBJECT, raw(reference)), "crashes"),
        one("objects-short", "fewer objects than the shape says", array(args(4), OBJECT, value(["a"])), "crashes"),
        one("objects-long", "more objects than the shape says", array(args(1), OBJECT, value(["a", "b"])), "none"),
        one("bytes-from-list", "floats from a list of objects", array(args(2), dtype(), value([1.0, 2.0]))),
        one("boolean-two", "a boolean that is 2", array(args(1), dtype("b1", 3, "|", None, None, None, -1, -1, 0),
                                                        raw(b"\x02")), "lies"),
        one("character", "a character beyond Unicode",
            array(args(1), dtype("U1", 3, "<", None, None, None, 4, 4, 8), raw(b"\xff\xff\xff\x7f")), "lies"),
        one("character-surrogate", "a character that no text has",
            array(args(1), dtype("U1", 3, "<", None, None, None, 4, 4, 8), raw(b"\x00\xd8\x00\x00")), "lies"),
        one("version-0", "a state without a version",
            with_class(name("numpy", "ndarray")) + many(args(1), dtype(), pickle.NEWFALSE, raw(b"\0" * 8))
            + pickle.BUILD),
        one("twice", "an array gets its state twice", array(args(2), dtype(), data) + many(
            value(1), args(2), dtype(), pickle.NEWFALSE, data) + pickle.BUILD),
        one("unbuilt", "an array without its state", with_class(name("numpy", "ndarray"))),
        one("class-matrix", "_reconstruct of a subclass", with_class(name("numpy", "matrix")), rule="DP42"),
        one("class-memmap", "_reconstruct of a mapped file", with_class(name("numpy", "memmap")), rule="DP42"),
        one("class-other", "_reconstruct of another library's class",
            with_class(name("sklearn.preprocessing._data", "StandardScaler")), rule="DP42"),
        one("class-recarray", "_reconstruct of a record array",
            with_class(name("numpy.rec", "recarray")), rule="DP42"),
        one("start-shape", "_reconstruct with a huge shape, which allocates",
            with_class(name("numpy", "ndarray"), args(1 << 40)), "exhausts", rule="DP42"),
        one("start-objects", "_reconstruct of objects that nobody initialises",
            with_class(name("numpy", "ndarray"), args(1 << 10), raw(b"O")), rule="DP42"),
        Entry("scalar-of-objects", "a scalar of objects with a pickle inside", scalar_pickles, "DP42", "none"),
        Entry("scalar-of-text", "a scalar of objects from text", scalar_string, "DP42", "none"),
        one("scalar-short", "a scalar with too few bytes", call(scalar, many(dtype(), raw(b"\0"))), rule="DP42"),
        one("scalar-structure", "a scalar of a structure",
            call(scalar, many(_structure(("a", dtype(), 0), size=8), raw(b"\0" * 8))), rule="DP42"),
        one("scalar-call", "a scalar of a call", call(scalar, many(dtype(), objects)), rule="DP42"),
        one("frombuffer-shape", "_frombuffer with more items than bytes",
            call(frombuffer, many(raw(b"\0" * 8), dtype(), args(9), text("C")))),
        one("frombuffer-objects", "_frombuffer of objects",
            call(frombuffer, many(raw(reference), OBJECT, args(1), text("C")))),
        one("frombuffer-order", "_frombuffer in an unknown order",
            call(frombuffer, many(raw(b"\0" * 8), dtype(), args(1), text("K"))), rule="DP42"),
        Entry("array-objects-call", "a call among the objects of an array", object_list_calls, "DP42", "runs"),
        one("masked-lengths", "a masked array whose mask is too short", _masked(raw(b"\0")), "none"),
        one("masked-boolean", "a masked array whose mask is no boolean", _masked(raw(b"\x07\x07")), "lies"),
        one("masked-base", "a masked array on another base", _masked(raw(b"\0\0"), base=name("numpy", "matrix")),
            rule="DP42"),
        one("arrow-length", "an Arrow array longer than its buffers", _arrow(1 << 20), "crashes"),
        one("arrow-offsets", "an Arrow array of text whose offsets lead outside",
            _arrow(1, struct.pack("<ii", 0, 1 << 28)), "crashes"),
        one("multi-index", "a MultiIndex whose codes lie outside its levels", _multi_index(), "lies"),
    ]  # fmt: skip


def _masked(mask: bytes, *, base: bytes = b"") -> bytes:
    made = call(name("numpy.ma.core", "_mareconstruct"),
                many(name("numpy.ma", "MaskedArray"), base or name("numpy", "ndarray"), args(0), raw(b"b")))  # fmt: skip
    state = many(value(1), args(2), dtype(), pickle.NEWFALSE, raw(b"\0" * 16), mask, value(1e20))
    return made + state + pickle.BUILD


def _arrow(length: int, offsets: bytes = struct.pack("<ii", 0, 1)) -> bytes:
    """A pyarrow array of text, from its parts; pyarrow checks none of them."""
    kind = call(name("pyarrow.lib", "type_for_alias"), args("string"))
    buffer = name("pyarrow.lib", "py_buffer")
    parts = many(
        kind, value(length), value(0), value(0),
        pickle.EMPTY_LIST + pickle.MARK + pickle.NONE + call(buffer, many(raw(offsets)))
        + call(buffer, many(raw(b"x"))) + pickle.APPENDS,
        value([]), pickle.NONE,
    )  # fmt: skip
    return call(name("pyarrow.lib", "_restore_array"), many(parts))


def _multi_index() -> bytes:
    level = call(
        name("pandas.core.indexes.base", "_new_Index"),
        many(
            name("pandas", "Index"),
            kit.mapping({"data": array(args(2), OBJECT, value(["a", "b"])), "name": pickle.NONE}),
        ),
    )
    codes = array(args(2), dtype("i8"), raw(struct.pack("<qq", 0, 1 << 40)))
    fields = {
        "levels": pickle.EMPTY_LIST + level + pickle.APPEND,
        "codes": pickle.EMPTY_LIST + codes + pickle.APPEND,
        "sortorder": pickle.NONE,
        "names": value([None]),
    }
    return call(
        name("pandas.core.indexes.base", "_new_Index"),
        many(name("pandas", "MultiIndex"), kit.mapping(fields)),
    )


def entries() -> list[Entry]:
    """Every entry of this class."""
    return [*_dtypes(), *_arrays()]
