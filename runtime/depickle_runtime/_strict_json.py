# SPDX-License-Identifier: Apache-2.0
"""Strict JSON: one text has one meaning, and reading it costs no more than its size cap allows.

Rules:

* at most `max_bytes`, UTF-8, no byte order mark, no lone surrogates
* no key twice in one object, no NaN, no infinities, no number that overflows to one
* integers within 64 bits, nesting within `max_depth`, nothing after the value
* the canonical form has sorted keys, no white space, ASCII only; equal values have equal bytes
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import msgspec

from .errors import SecurityError

__all__ = ["MAX_DEPTH", "canonical", "decode", "decode_as"]

MAX_DEPTH = 16
"""Deepest nesting of any document of ours is 6; the stack of the decoder is never at stake."""

_MAX_DIGITS = 20
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

_T = TypeVar("_T")


class _FaultError(ValueError):
    """A rule of this module was broken; never leaves it."""


def canonical(value: object) -> bytes:
    """Encode JSON-ready builtins canonically.

    Args:
        value: dicts with string keys, lists, strings, numbers, booleans and None.

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: the value is not JSON-ready.

    Returns:
        The one canonical encoding, ASCII only.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode(
    data: bytes,
    *,
    max_bytes: int,
    where: str,
    error: type[SecurityError],
    code: str,
    next_step: str = "",
    max_depth: int = MAX_DEPTH,
) -> Any:
    """Decode one strict JSON document.

    Args:
        data: the document.
        max_bytes: size cap, checked before anything else.
        where: name of the document, for the error.
        error: class to raise.
        code: code of the error.
        next_step: what to do about it, for the error.
        max_depth: nesting cap.

    Raises:
        SecurityError: of class `error`: the document breaks a rule of this module.

    Returns:
        Builtins.
    """
    try:
        return _decode(data, max_bytes, max_depth)
    except (_FaultError, ValueError, RecursionError) as fault:
        raise error(
            "A file is not the strict JSON it has to be",
            code=code,
            found=_describe(fault),
            expected=f"UTF-8 JSON of at most {max_bytes} bytes, no key twice, finite numbers",
            where=where,
            next_step=next_step,
        ) from None


def decode_as(
    kind: type[_T],
    data: bytes,
    *,
    max_bytes: int,
    where: str,
    error: type[SecurityError],
    code: str,
    next_step: str = "",
) -> _T:
    """Decode one strict JSON document into a typed value.

    Args:
        kind: a msgspec type that forbids unknown fields.
        data: the document.
        max_bytes: size cap.
        where: name of the document, for the error.
        error: class to raise.
        code: code of the error.
        next_step: what to do about it, for the error.

    Raises:
        SecurityError: of class `error`: the document is not strict JSON or not of that type.

    Returns:
        The value.
    """
    builtins = decode(data, max_bytes=max_bytes, where=where, error=error, code=code, next_step=next_step)
    try:
        return msgspec.convert(builtins, kind, strict=True)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise error(
            "A file does not have the fields it has to have",
            code=code,
            found=_describe(fault),
            expected=f"a {kind.__name__} of schema version 1",
            where=where,
            next_step=next_step,
        ) from None


def _describe(fault: BaseException) -> str:
    if isinstance(fault, RecursionError):
        return "nesting beyond the cap"
    return ascii(str(fault))[1:201].rstrip("'\"")


def _decode(data: bytes, max_bytes: int, max_depth: int) -> Any:
    if len(data) > max_bytes:
        raise _FaultError(f"{len(data)} bytes")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _FaultError("a byte order mark")
    _check_depth(data, max_depth)
    text = data.decode("utf-8")  # the strict codec refuses encoded surrogates
    value = json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=_constant,
        parse_float=_float,
        parse_int=_int,
    )
    if _ESCAPED_SURROGATE.search(data):  # pairs decode to one character; a lone one does not
        _refuse_surrogates(value)
    return value


def _check_depth(data: bytes, max_depth: int) -> None:
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    depth = 0
    for byte in _STRING.sub(b"", data).translate(None, _NOT_BRACKETS):
        if byte in b"[{":
            depth += 1
            if depth > max_depth:
                raise _FaultError(f"nesting beyond {max_depth}")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _FaultError(f"the key {key[:64]!r} twice")
            seen.add(key)
    return value


def _constant(text: str) -> Any:
    raise _FaultError(f"the number {text}")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _FaultError("a number that overflows")
    return value


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _FaultError("an integer beyond 64 bits")
    value = int(text)
    if not _INT64_MIN <= value <= _UINT64_MAX:
        raise _FaultError("an integer beyond 64 bits")
    return value


def _refuse_surrogates(value: object) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if _SURROGATE.search(item):
                raise _FaultError("a lone surrogate")
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
