# SPDX-License-Identifier: Apache-2.0
"""Reports as JSON, whatever text a hostile file put into them."""

from __future__ import annotations

import msgspec

__all__ = ["as_json", "plain_text"]


def plain_text(text: str) -> str:
    """`text` with lone surrogates, which no encoder takes, written as ``\\udcNN``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(value: object) -> bytes:
    """`value` as JSON in UTF-8; lone surrogates in any text of it are written out."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_cleaned(msgspec.to_builtins(value)))


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
