# SPDX-License-Identifier: Apache-2.0
"""Reports as JSON, whatever text a hostile file put into them."""

from __future__ import annotations

import re
import unicodedata

import msgspec

__all__ = ["as_json", "plain_text"]


def plain_text(text: str) -> str:
    """`text` with lone surrogates, which no encoder takes, written as ``\\udcNN``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(value: object) -> bytes:
    """`value` as JSON in UTF-8; lone surrogates in any text of it are written out.

    Characters that steer a terminal (bidi overrides, C1 controls, separators) stand there as JSON escapes, so that
    the answer can be printed, and parses to the same text.
    """
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_cleaned(msgspec.to_builtins(value)))
    return encoded if encoded.isascii() else _BEYOND_ASCII.sub(_escaped, encoded.decode()).encode()


_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    category = unicodedata.category(char)
    if category[0] != "C" and category not in ("Zl", "Zp"):
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _cleaned(value: object) -> object:
    match value:
        case str():
            return plain_text(value)
        case dict():
            return {plain_text(str(key)): _cleaned(item) for key, item in value.items()}
        case list() | tuple():
            return [_cleaned(item) for item in value]
        case _:
            return value
