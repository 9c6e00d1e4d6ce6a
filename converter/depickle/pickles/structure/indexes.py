# SPDX-License-Identifier: Apache-2.0
"""Indexes of pandas: codes that pandas uses as positions without looking, since it trusts its own pickles."""

from __future__ import annotations

from ..graph import Array, DictNode, GlobalRef, ListNode, Record, Value
from .read import array, refuse

__all__ = ["check_multi_index"]

_RULE = "DP460"


def check_multi_index(record: Record) -> None:
    """The levels and codes of a ``MultiIndex``; other indexes pass.

    Raises:
        StructureError: DP460.
    """
    cls, fields = (*record.args, None, None)[:2]
    if not isinstance(cls, GlobalRef) or cls.name != "MultiIndex":
        return
    levels = fields.get("levels") if isinstance(fields, DictNode) else None
    codes = fields.get("codes") if isinstance(fields, DictNode) else None
    if not isinstance(levels, ListNode) or not isinstance(codes, ListNode) or len(levels) != len(codes):
        raise refuse(_RULE, record, "a MultiIndex does not have one list of codes for each level")
    rows: set[int] = set()
    for level, column in zip(levels, codes, strict=True):
        size = _longest(level, 8)
        places = array(_RULE, record, column, "the codes of a level", kinds="i", dimensions=1)
        if len(places) and (int(places.min()) < -1 or int(places.max()) >= size):
            raise refuse(_RULE, record, "a code of a MultiIndex lies outside its level")
        rows.add(len(places))
    if len(rows) > 1:
        raise refuse(_RULE, record, "the codes of a MultiIndex have different lengths")


def _longest(value: Value, depth: int) -> int:
    """Elements of the longest array below a level, which are its values; a range has no array and counts as empty."""
    if isinstance(value, Array):
        return max(value.shape, default=0)
    if not depth:
        return 0
    below: list[Value] = []
    if isinstance(value, Record):
        below = [*value.args, value.state]
    elif isinstance(value, ListNode):
        below = value.items[:100]
    elif isinstance(value, DictNode):
        below = list(value.items.values())[:100]
    return max((_longest(item, depth - 1) for item in below), default=0)
