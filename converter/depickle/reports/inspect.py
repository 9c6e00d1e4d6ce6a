# SPDX-License-Identifier: Apache-2.0
"""The tree of a legacy file, from the inert graph alone: classes, hyperparameters, arrays, and the verdict on top."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import numpy as np

from ..pickles.graph import (
    Array,
    DictNode,
    Dtype,
    GlobalRef,
    ListNode,
    NumpyScalar,
    Record,
    SetNode,
    TupleNode,
    Value,
)
from .escape import escape

__all__ = ["Branch", "as_json", "as_text", "tree_of"]

MAX_CHILDREN = 60
"""Members of one list, dict or object that the tree shows; the rest is counted."""

MAX_NODES = 4_000
"""Lines of one tree; a person reads no more, and a hostile graph is not unrolled."""

MAX_LEVELS = 12

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the tree.

    Attributes:
        name: key, attribute or index under which it stands.
        kind: what it is: a class path, ``list``, ``array``, ``int`` ….
        text: its value, or a summary.
        offset: byte offset of the opcode that made it, or None for scalars.
        children: what it holds.
    """

    name: str
    kind: str
    text: str
    offset: int | None
    children: tuple[Branch, ...]


class _Tree:
    def __init__(self) -> None:
        self.left = MAX_NODES
        self.path: set[int] = set()

    def branch(self, name: str, value: Value, level: int) -> Branch:
        self.left -= 1
        offset = getattr(value, "offset", None)
        kind, text = _describe(value)
        held = list(_children(value))
        if not held:
            return Branch(name=name, kind=kind, text=text, offset=offset, children=())
        if id(value) in self.path:
            return Branch(
                name=name, kind=kind, text="(the same object again: a cycle)", offset=offset, children=()
            )
        if level >= MAX_LEVELS or self.left <= 0:
            return Branch(
                name=name,
                kind=kind,
                text=f"{text} … {len(held)} members not shown",
                offset=offset,
                children=(),
            )
        self.path.add(id(value))
        children = []
        for position, (key, member) in enumerate(held):
            if position >= MAX_CHILDREN or self.left <= 0:
                more = f"{len(held) - position} more not shown"
                children.append(Branch(name="…", kind="", text=more, offset=None, children=()))
                break
            children.append(self.branch(key, member, level + 1))
        self.path.discard(id(value))
        return Branch(name=name, kind=kind, text=text, offset=offset, children=tuple(children))


def tree_of(root: Value, name: str = "root") -> Branch:
    """The tree under `root`, bounded in depth and size."""
    return _Tree().branch(name, root, 0)


def _children(value: Value) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Record):
        for place, member in enumerate(value.args):
            yield f"argument {place}", member
        attributes = value.attrs()
        yield from attributes.items()
        if value.state is not None and not attributes:
            yield "state", value.state
        for place, member in enumerate(value.listitems or ()):
            yield str(place), member
        for key, member in (value.dictitems or {}).items():
            yield repr(key), member
    elif isinstance(value, DictNode):
        for key, member in value.items.items():
            yield (key if isinstance(key, str) else repr(key)), member
    elif isinstance(value, ListNode):
        for place, member in enumerate(value.items):
            yield str(place), member
    elif isinstance(value, Array) and value.objects is not None:
        for place, member in enumerate(value.objects):
            yield str(place), member


def _describe(value: Value) -> tuple[str, str]:
    if isinstance(value, Record):
        return value.cls, ""
    if isinstance(value, GlobalRef):
        return "name", value.path
    if isinstance(value, Array):
        return _describe_array(value)
    if isinstance(value, DictNode):
        return "dict", f"{len(value)} entries"
    if isinstance(value, TupleNode | SetNode | ListNode):
        kind = {TupleNode: "tuple", SetNode: "set"}.get(type(value), "list")
        return kind, f"{len(value)} members"
    if isinstance(value, Dtype):
        return "dtype", str(value.descr)
    if isinstance(value, NumpyScalar):
        return f"numpy {value.dtype.descr}", repr(value.value())
    if isinstance(value, str):
        return "str", value
    if isinstance(value, bool | int | float | complex) or value is None:
        return type(value).__name__, repr(value)
    data = bytes(value)
    return "bytes", f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()[:16]}…"


def _describe_array(value: Array) -> tuple[str, str]:
    shape = " × ".join(map(str, value.shape)) or "scalar"
    if value.objects is not None:
        return "array of objects", shape
    array = value.to_numpy()
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
    spread = ""
    if array.dtype.kind in "iufb" and array.size:
        numbers = array.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        if finite.size:
            spread = f", {finite.min():.6g} … {finite.max():.6g}"
        if finite.size != numbers.size:
            spread += f", {numbers.size - finite.size} not finite"
    kind = f"array of {len(array.dtype.names)} fields" if array.dtype.names else f"array of {array.dtype}"
    return kind, f"{shape}{spread}, SHA-256 {digest}…"


def as_text(branch: Branch, indent: str = "") -> list[str]:
    """Lines of the tree, every string of the file escaped."""
    label = escape(branch.name, limit=80)
    kind = escape(branch.kind, limit=120)
    text = escape(branch.text, limit=120)
    line = f"{indent}{label}: {kind}" if kind else f"{indent}{label}"
    lines = [f"{line}  {text}" if text else line]
    for child in branch.children:
        lines += as_text(child, indent + "  ")
    return lines


def as_json(branch: Branch) -> dict[str, Json]:
    """The tree as JSON values."""
    found: dict[str, Json] = {
        "name": branch.name,
        "kind": branch.kind,
        "text": branch.text,
        "offset": branch.offset,
    }
    if branch.children:
        found["children"] = [as_json(child) for child in branch.children]
    return found
