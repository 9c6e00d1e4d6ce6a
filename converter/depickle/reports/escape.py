# SPDX-License-Identifier: Apache-2.0
"""Text from a hostile file never reaches a terminal, a log or a page as anything but text."""

from __future__ import annotations

import unicodedata

__all__ = ["escape"]

MAX_SHOWN = 200
"""Characters of one string that a report shows; the rest is counted, not shown."""


def escape(text: str, limit: int = MAX_SHOWN) -> str:
    """`text` with control, format (bidi included), surrogate and unassigned characters written as escapes.

    Returns:
        One line of at most `limit` shown characters; a longer text ends with the count of what was cut.
    """
    shown = []
    for char in text[:limit]:
        category = unicodedata.category(char)
        if category[0] == "C" or category in ("Zl", "Zp"):
            shown.append(char.encode("unicode_escape", "backslashreplace").decode("ascii"))
        else:
            shown.append(char)
    cut = len(text) - limit
    return "".join(shown) + (f"… ({cut} more)" if cut > 0 else "")
