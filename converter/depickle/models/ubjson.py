# SPDX-License-Identifier: Apache-2.0
"""Universal Binary JSON as XGBoost writes it: every length is checked against the bytes left, depth is bounded.

Typed arrays come back as read-only numpy arrays over a copy in native order; everything else as Python values.
Duplicate keys and bytes after the value are refused. Specification: https://ubjson.org, draft 12.
"""

from __future__ import annotations

import struct
from typing import TypeAlias, Union

import numpy as np
import numpy.typing as npt

__all__ = ["Ubjson", "UbjsonError", "parse_ubjson"]

MAX_DEPTH = 32  # containers; XGBoost's own models nest 8 deep
MAX_ITEMS = 2_000_000  # values in one document; a typed array is one, so a tree has about 30

_NumberArray: TypeAlias = npt.NDArray[np.generic]
Ubjson: TypeAlias = Union[  # noqa: UP007
    bool, int, float, str, _NumberArray, list["Ubjson"], dict[str, "Ubjson"], None
]

_INTEGERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_FLOATS = {b"d": ">f", b"D": ">d"}
_TYPED = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}


class UbjsonError(ValueError):
    """The bytes are not the UBJSON that we read."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.items = 0

    def take(self, count: int) -> bytes:
        if count < 0 or count > len(self.data) - self.at:
            raise UbjsonError(f"{count} bytes expected at {self.at}, {len(self.data) - self.at} left")
        chunk = self.data[self.at : self.at + count]
        self.at += count
        return chunk

    def marker(self) -> bytes:
        mark = self.take(1)
        while mark == b"N":
            mark = self.take(1)
        return mark

    def length(self) -> int:
        mark = self.take(1)
        layout = _INTEGERS.get(mark)
        if layout is None:
            raise UbjsonError(f"a length expected at {self.at - 1}")
        value = int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])
        if value < 0:
            raise UbjsonError(f"a negative length at {self.at}")
        return value

    def string(self) -> str:
        raw = self.take(self.length())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UbjsonError(f"text that is not UTF-8 at {self.at}") from error

    def value(self, mark: bytes, depth: int) -> Ubjson:
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise UbjsonError("nested too deeply or too many values")
        if mark in _INTEGERS:
            layout = _INTEGERS[mark]
            return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])
        if mark in _FLOATS:
            layout = _FLOATS[mark]
            return float(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])
        match mark:
            case b"S":
                return self.string()
            case b"T":
                return True
            case b"F":
                return False
            case b"Z":
                return None
            case b"[":
                return self.array(depth)
            case b"{":
                return self.object(depth)
            case _:
                raise UbjsonError(f"an unknown marker {mark!r} at {self.at - 1}")

    def array(self, depth: int) -> Ubjson:
        mark = self.marker()
        if mark == b"$":
            kind = self.take(1)
            if self.take(1) != b"#" or kind not in _TYPED:
                raise UbjsonError(f"a typed array without a count at {self.at}")
            count = self.length()
            dtype = np.dtype(_TYPED[kind])
            typed = np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype).astype(
                dtype.newbyteorder("=")
            )
            typed.flags.writeable = False
            return typed
        items: list[Ubjson] = []
        if mark == b"#":
            for _ in range(self.counted()):
                items.append(self.value(self.marker(), depth + 1))
            return items
        while mark != b"]":
            items.append(self.value(mark, depth + 1))
            mark = self.marker()
        return items

    def object(self, depth: int) -> Ubjson:
        result: dict[str, Ubjson] = {}
        if self.data[self.at : self.at + 1] == b"#":
            self.at += 1
            for _ in range(self.counted()):
                self.pair(result, depth)
            return result
        while self.data[self.at : self.at + 1] != b"}":
            self.pair(result, depth)
        self.at += 1
        return result

    def counted(self) -> int:
        count = self.length()
        if count > len(self.data) - self.at:
            raise UbjsonError(f"{count} values announced at {self.at}, fewer bytes left")
        return count

    def pair(self, result: dict[str, Ubjson], depth: int) -> None:
        key = self.string()
        if key in result:
            raise UbjsonError(f"the key {key!r} twice")
        result[key] = self.value(self.marker(), depth + 1)


def parse_ubjson(data: bytes) -> Ubjson:
    """The value in `data`.

    Raises:
        UbjsonError: for anything that is not one well-formed, bounded value.
    """
    reader = _Reader(data)
    value = reader.value(reader.marker(), 0)
    if reader.at != len(data):
        raise UbjsonError(f"{len(data) - reader.at} bytes after the value")
    return value
