# SPDX-License-Identifier: Apache-2.0
"""Decodes long protobuf lists with numpy; each function returns None unless the bytes are exactly such a list.

A forest holds millions of small numbers. Read one at a time they take seconds; here they take a few passes over
the bytes. Numbers must be in shortest form, so that the encoding stays unique.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["MODES", "decode_modes", "decode_tagged_floats", "decode_tagged_ints", "decode_varints"]

_Bytes = npt.NDArray[np.uint8]

MODES: Final[tuple[bytes, ...]] = (
    b"BRANCH_LEQ",
    b"BRANCH_LT",
    b"BRANCH_GTE",
    b"BRANCH_GT",
    b"BRANCH_EQ",
    b"BRANCH_NEQ",
    b"LEAF",
)
"""Node modes in the order of their numbers in ai.onnx.ml 5, then LEAF (which the older operators spell out)."""

_CODE_BASE: Final = 0x80
_BLOCK: Final = 1 << 15
"""Numbers decoded at a time, so that the intermediate arrays stay in the cache."""


def _gather(
    part: _Bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64] | None:
    """Values of the varints part[starts..ends]; None where one is overlong."""
    longest = int((ends - starts).max(initial=0)) + 1
    if longest > 8:
        return _gather_long(part, starts, ends)
    padded = np.zeros(part.size + 8, dtype=np.uint8)
    padded[: part.size] = part
    width = np.dtype("<u4" if longest <= 4 else "<u8")
    one = width.type
    # One overlapping word per byte offset: each number is fetched whole, then cut to its length.
    every = np.ndarray((part.size,), dtype=width, buffer=padded, strides=(1,))
    masks = np.array([(1 << 8 * min(n + 1, width.itemsize)) - 1 for n in range(longest)], dtype=width)
    values = np.empty(len(starts), dtype=np.uint64)
    for at in range(0, len(starts), _BLOCK):
        first, last = starts[at : at + _BLOCK], ends[at : at + _BLOCK]
        lengths = last - first
        if ((part[last] == 0) & (lengths > 0)).any():
            return None
        words = every[first]
        words &= masks[lengths]
        value = words & one(0x7F)
        for k in range(1, longest):
            value |= (words >> one(k)) & one(0x7F << 7 * k)
        values[at : at + _BLOCK] = value
    return values


def _gather_long(
    part: _Bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64] | None:
    """As `_gather`, for numbers of up to ten bytes (negative ones have ten)."""
    lengths = ends - starts
    last = part[ends]
    if lengths.max() > 9 or (last[lengths > 0] == 0).any() or (last[lengths == 9] > 1).any():
        return None
    values = (part[starts] & np.uint8(0x7F)).astype(np.uint64)
    for k in range(1, int(lengths.max()) + 1):
        more = np.flatnonzero(lengths >= k)
        values[more] |= (part[starts[more] + k] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * k)
    return np.asarray(values, dtype=np.uint64)


def decode_varints(part: _Bytes) -> npt.NDArray[np.uint64] | None:
    """The numbers of a packed list, or None if it is cut short or a number is not in shortest form."""
    ends = np.flatnonzero(part < 0x80)
    if ends.size == 0 or ends[-1] != part.size - 1:
        return None
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    return _gather(part, starts, ends)


def decode_tagged_ints(part: _Bytes, tag: int) -> npt.NDArray[np.int64] | None:
    """The numbers of an unpacked list of (tag, varint) pairs, or None if it is anything else.

    The tag is below 128, so it reads as a varint too: the list is a stream of varints, every other one the tag.
    """
    if part.size % 2 == 0 and (part[1::2] < 0x80).all() and (part[0::2] == tag).all():
        return part[1::2].astype(np.int64)
    ends = np.flatnonzero(part < 0x80)
    if ends.size % 2 or ends.size == 0 or ends[-1] != part.size - 1:
        return None
    tags, ends = ends[0::2], ends[1::2]
    if tags[0] != 0 or not (tags[1:] == ends[:-1] + 1).all() or not (part[tags] == tag).all():
        return None
    values = _gather(part, tags + 1, ends)
    return None if values is None else values.view(np.int64)


def decode_tagged_floats(part: _Bytes, tag: int) -> npt.NDArray[np.float32] | None:
    """The numbers of an unpacked list of (tag, 4 bytes) records, or None if it is anything else."""
    if part.size % 5 or not (part[0::5] == tag).all():
        return None
    return np.ascontiguousarray(part.reshape(-1, 5)[:, 1:]).view("<f4").reshape(-1)


def decode_modes(part: bytes) -> npt.NDArray[np.uint8] | None:
    """The indices into `MODES` of an unpacked list of mode names, or None if it holds anything else.

    Each record is the tag of `AttributeProto.strings`, a length and an ASCII name; each is replaced by one byte
    that ASCII does not have, so what remains is all such bytes exactly if the input was all such records.
    """
    if not part.isascii():
        return None
    for index, name in enumerate(MODES):
        part = part.replace(b"\x4a" + bytes([len(name)]) + name, bytes([_CODE_BASE + index]))
    codes = np.frombuffer(part, dtype=np.uint8)
    if codes.size == 0 or codes.min() < _CODE_BASE:
        return None
    return codes - np.uint8(_CODE_BASE)
