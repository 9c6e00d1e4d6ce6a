# SPDX-License-Identifier: Apache-2.0
"""What comes back from a worker, read as hostile input: strict header, caps, known dtypes, exact byte counts.

Rules:

1. A frame is a 32-bit big-endian length and that many bytes of JSON; the length is capped before a byte is read.
2. Every field has its type and its range; an unknown or a missing field refuses the reply.
3. An array is a dtype of the list below, a shape that fits the request, and exactly the bytes of the two.
4. A label of text is an index into a list of distinct strings, and the index is in range.
5. What is left over after the last section refuses the reply.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from ..errors import SandboxError

__all__ = [
    "Hello",
    "Outcome",
    "Refused",
    "parse_conversion",
    "parse_hello",
    "parse_outcome",
    "parse_reply",
    "printable",
]

PROTOCOL_VERSION: Final = 1
MAX_HEADER_BYTES: Final = 4 * 1024**2
"""A header names a few arrays; text labels are the only thing in it that grows."""
MAX_HELLO_BYTES: Final = 64 * 1024
MAX_COLUMNS: Final = 4096
"""Columns of one answer: classes of a classifier or features of a transformer."""
_DTYPES: Final = frozenset(
    ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1", "text")
)

_Text = Annotated[str, msgspec.Meta(max_length=2048)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e7)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the messages: frozen, no unknown fields."""


class Confinement(_Strict, frozen=True):
    """What a trial child of the worker was seen to be confined by."""

    landlock: Annotated[int, msgspec.Meta(ge=1, le=64)]
    seccomp: Literal[True]
    machine: Literal["x86_64", "aarch64"]


class Hello(_Strict, frozen=True):
    """The first message of a warm process that is ready."""

    version: Literal[1]
    confinement: Confinement | None
    versions: Annotated[dict[_Text, _Text], msgspec.Meta(max_length=64)]
    threads: Annotated[int, msgspec.Meta(ge=0, le=1)]


class Refused(_Strict, frozen=True):
    """The first message of a warm process that cannot serve."""

    version: Literal[1]
    refused: _Text
    detail: _Text


class Outcome(_Strict, frozen=True):
    """How the child of one request ended, as the warm process saw it."""

    version: Literal[1]
    id: _Count
    exit: int | None = None
    signal: int | None = None
    timed_out: bool = False
    cpu_seconds: _Seconds = 0.0
    peak_kilobytes: _Count = 0
    refused: _Text = ""
    detail: _Text = ""


class _Answer(_Strict, frozen=True):
    method: _Text
    form: Literal["batch", "alone", "absent"]
    dtype: _Text = ""
    shape: Annotated[list[_Count], msgspec.Meta(max_length=2)] = []
    labels: list[str] | None = None
    bytes: _Count = 0


class _Times(_Strict, frozen=True):
    load: _Seconds
    answer: _Seconds


class _Reply(_Strict, frozen=True):
    version: Literal[1]
    status: Literal["ok"]
    answers: Annotated[list[_Answer], msgspec.Meta(max_length=64)]
    seconds: _Times


class _Conversion(_Strict, frozen=True):
    version: Literal[1]
    status: Literal["ok"]
    onnx_bytes: _Count
    seconds: _Times


class _RefusedReply(_Strict, frozen=True):
    version: Literal[1]
    status: Literal["refused"]
    kind: _Text
    detail: _Text


class _Status(msgspec.Struct, frozen=True):
    status: Literal["ok", "refused"]


Answers = dict[tuple[str, str], npt.NDArray[np.generic]]


def printable(text: str, limit: int = 300) -> str:
    """`text` of a worker for a message: printable ASCII only, cut."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text[:limit])


def _malformed(detail: str) -> NoReturn:
    raise SandboxError(
        "The worker's answer is malformed; it is not believed",
        code="DP508",
        found=printable(detail),
        expected="the worker's protocol, version 1",
        next_step="treat the file as hostile; report it if it is an honest model",
    )


def parse_hello(data: bytes) -> Hello | Refused:
    """The first message of a warm process.

    Raises:
        SandboxError: DP508 where it is neither a hello nor a refusal.
    """
    try:
        return msgspec.json.decode(data, type=Hello)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as first:
        try:
            return msgspec.json.decode(data, type=Refused)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            _malformed(str(first))


def parse_outcome(data: bytes, identifier: int) -> Outcome:
    """The warm process's word about the child of request `identifier`.

    Raises:
        SandboxError: DP508 where it is malformed or about another request.
    """
    try:
        outcome = msgspec.json.decode(data, type=Outcome)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _malformed(str(error))
    if outcome.id != identifier:
        _malformed(f"an outcome of request {outcome.id}, not of {identifier}")
    return outcome


def parse_reply(
    data: bytes, *, rows: int, methods: tuple[str, ...], one_by_one: bool
) -> tuple[Answers, tuple[float, float]] | tuple[str, str]:
    """The child's reply: arrays by (method, form) and its two times, or a refusal's kind and detail.

    Args:
        data: everything the child wrote.
        rows: how many rows were asked.
        methods: the methods that were asked; the reply must speak of each once and of no other.
        one_by_one: whether each method was also asked row by row.

    Raises:
        SandboxError: DP508 for anything but a whole, well-formed reply.
    """
    place, head = _header(data)
    try:
        if msgspec.json.decode(head, type=_Status).status == "refused":
            refused = msgspec.json.decode(head, type=_RefusedReply)
            if place != len(data):
                _malformed("bytes after a refusal")
            return refused.kind, printable(refused.detail)
        reply = msgspec.json.decode(head, type=_Reply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _malformed(str(error))
    answers: Answers = {}
    seen: list[tuple[str, str]] = []
    for described in reply.answers:
        key = (described.method, described.form)
        if described.method not in methods or key in seen:
            _malformed(f"an answer that was not asked for: {described.method} {described.form}")
        seen.append(key)
        if described.form == "absent":
            if described.bytes or described.shape or described.dtype or described.labels is not None:
                _malformed("an absent answer that holds something")
            continue
        section = data[place : place + described.bytes]
        place += described.bytes
        answers[key] = _array(described, section, rows)
    wanted = {(method, "batch") for method in methods if (method, "absent") not in seen}
    if one_by_one:
        wanted |= {(method, "alone") for method, _form in wanted}
    if set(answers) != wanted:
        _malformed("answers are missing, or both given and absent")
    if place != len(data):
        _malformed(f"{len(data) - place} bytes after the last answer")
    return answers, (reply.seconds.load, reply.seconds.answer)


def parse_conversion(data: bytes) -> tuple[bytes, tuple[float, float]] | tuple[str, str]:
    """The child's reply to a conversion: ONNX bytes, still hostile, and two times; or a refusal's kind and detail.

    Raises:
        SandboxError: DP508 for anything but a whole, well-formed reply.
    """
    place, head = _header(data)
    try:
        if msgspec.json.decode(head, type=_Status).status == "refused":
            refused = msgspec.json.decode(head, type=_RefusedReply)
            if place != len(data):
                _malformed("bytes after a refusal")
            return refused.kind, printable(refused.detail)
        reply = msgspec.json.decode(head, type=_Conversion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _malformed(str(error))
    if len(data) - place != reply.onnx_bytes:
        _malformed(f"{len(data) - place} bytes for a model of {reply.onnx_bytes}")
    return data[place:], (reply.seconds.load, reply.seconds.answer)


def _header(data: bytes) -> tuple[int, bytes]:
    """Where the first section begins, and the header in front of it."""
    if len(data) < 4:
        _malformed("no header")
    length = int.from_bytes(data[:4], "big")
    if length > MAX_HEADER_BYTES or 4 + length > len(data):
        _malformed(f"a header of {length} bytes in {len(data)}")
    return 4 + length, data[4 : 4 + length]


def _array(described: _Answer, section: bytes, rows: int) -> npt.NDArray[np.generic]:
    shape = tuple(described.shape)
    if described.dtype not in _DTYPES:
        _malformed(f"dtype {described.dtype!r}")
    if not shape or shape[0] != rows or any(size > MAX_COLUMNS for size in shape[1:]):
        _malformed(f"shape {shape} for {rows} rows")
    count = 1
    for size in shape:
        count *= size
    dtype = np.dtype("<i8" if described.dtype == "text" else described.dtype)
    if described.bytes != count * dtype.itemsize or len(section) != described.bytes:
        _malformed(f"{len(section)} bytes for {described.dtype} {shape}")
    if described.dtype == "|b1" and section.strip(b"\x00\x01"):
        _malformed("a truth value that is neither")
    values = np.frombuffer(section, dtype=dtype).reshape(shape)
    if described.dtype != "text":
        if described.labels is not None:
            _malformed("labels beside numbers")
        return values
    labels = described.labels
    if labels is None or len(set(labels)) != len(labels) or len(labels) > max(count, 1):
        _malformed("text without a list of distinct labels")
    if count and (int(values.min()) < 0 or int(values.max()) >= len(labels)):
        _malformed("a label outside the list")
    if sum(map(len, labels)) > MAX_HEADER_BYTES or max(map(len, labels), default=0) > 1024:
        _malformed("labels longer than 1024 characters")
    if any("\x00" in label for label in labels):
        _malformed("a label that holds a null character")  # numpy would cut it off in silence
    chosen: npt.NDArray[np.generic] = np.array(labels or [""], dtype=np.str_)[values]
    return chosen
