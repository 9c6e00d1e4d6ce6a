# SPDX-License-Identifier: Apache-2.0
"""One walk over a finished graph: every mention is checked, every long byte string lands, the depth is bounded.

The walk is iterative and visits each container once, so cycles end and no nesting exhausts the stack. The depth is
the longest path without cycles, so every later reader of the graph may recurse.
"""

from __future__ import annotations

from typing import TypeAlias

from .graph import (
    Array,
    DictNode,
    Dtype,
    GlobalRef,
    ListNode,
    NumpyScalar,
    Raw,
    Record,
    SetNode,
    TupleNode,
    Value,
)
from .interpreter import WRAPPER, Interpreter, StreamError
from .limits import MAX_DEPTH

__all__ = ["reachable_records", "survey"]

_LEAVES = frozenset({str, int, float, bool, type(None), bytes, complex, Dtype, NumpyScalar})
_Container: TypeAlias = ListNode | DictNode | Record | Array
_CONTAINERS = frozenset({ListNode, TupleNode, SetNode, DictNode, Record})


def survey(interpreter: Interpreter, root: Raw) -> Value:
    """Check the finished graph under `root` and return it without slices of the stream.

    Args:
        interpreter: the reading that produced it; receives findings about mentions.
        root: what STOP returned.

    Raises:
        StreamError: DP414 for nesting beyond `MAX_DEPTH`; DP442 for a joblib wrapper that was used twice.
    """
    if isinstance(root, memoryview):
        return bytes(root)
    holder = ListNode([root], 0)
    mentioned: set[int] = set()
    heights: dict[int, int] = {}
    path: list[tuple[_Container, list[_Container], int]] = [
        (holder, _children(interpreter, holder, mentioned), 0)
    ]
    heights[id(holder)] = 0
    while path:
        node, waiting, height = path[-1]
        if not waiting:
            path.pop()
            heights[id(node)] = height + 1
            if height > MAX_DEPTH:
                raise StreamError("DP414", f"values are nested deeper than {MAX_DEPTH}", node.offset)
            if path:
                above, rest, best = path[-1]
                path[-1] = (above, rest, max(best, height + 1))
            continue
        child = waiting.pop()
        known = heights.get(id(child))
        if known is not None:
            if known > height:
                path[-1] = (node, waiting, known)
            continue
        if len(path) > MAX_DEPTH:
            raise StreamError("DP414", f"values are nested deeper than {MAX_DEPTH}", child.offset)
        heights[id(child)] = 0
        path.append((child, _children(interpreter, child, mentioned), 0))
    return holder.items[0]


def _children(interpreter: Interpreter, node: _Container, mentioned: set[int]) -> list[_Container]:
    """The containers right under `node`; lands byte slices and checks mentions on the way."""
    if isinstance(node, ListNode):
        return _filter(interpreter, node.items, mentioned)
    if isinstance(node, DictNode):
        return _filter_dict(interpreter, node.items, mentioned)
    if isinstance(node, Array):
        return _filter(interpreter, node.objects or [], mentioned)
    if node.cls == WRAPPER:
        raise StreamError("DP442", "a joblib array is used after its bytes were read", node.offset)
    found: list[_Container] = []
    if node.args:
        found = _filter(interpreter, list(node.args), mentioned)
    if node.listitems:
        found += _filter(interpreter, node.listitems, mentioned)
    if node.dictitems:
        found += _filter_dict(interpreter, node.dictitems, mentioned)
    if node.state is not None:
        found += _filter(interpreter, [node.state], mentioned)
    return found


def _landed(item: Raw) -> Value:
    return bytes(item) if isinstance(item, memoryview) else item


def _filter(interpreter: Interpreter, items: list[Value], mentioned: set[int]) -> list[_Container]:
    if _LEAVES.issuperset(map(type, items)):
        return []
    kinds = set(map(type, items))
    if memoryview in kinds:
        for index, item in enumerate(items):
            items[index] = _landed(item)
    found: list[_Container] = []
    for item in items:
        kind = type(item)
        if kind in _CONTAINERS:
            found.append(item)  # type: ignore[arg-type]  # its type is one of the containers
        elif isinstance(item, Array):
            if item.objects is not None:
                found.append(item)
        elif isinstance(item, GlobalRef) and id(item) not in mentioned:
            mentioned.add(id(item))
            interpreter.admits_data(item)
    return found


def _filter_dict(
    interpreter: Interpreter, items: dict[object, Value], mentioned: set[int]
) -> list[_Container]:
    values = items.values()
    if _LEAVES.issuperset(map(type, values)):
        return []
    if memoryview in map(type, values):
        for key, item in items.items():
            items[key] = _landed(item)
    return _filter(interpreter, list(items.values()), mentioned)


def reachable_records(start: Value) -> dict[int, Record]:
    """Every record reachable from `start`, by identity."""
    found: dict[int, Record] = {}
    seen: set[int] = set()
    waiting: list[Value] = [start]
    while waiting:
        node = waiting.pop()
        if type(node) in _LEAVES or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, ListNode):
            waiting += node.items
        elif isinstance(node, DictNode):
            waiting += node.items.values()
        elif isinstance(node, Array):
            waiting += node.objects or ()
        elif isinstance(node, Record):
            found[id(node)] = node
            waiting += (*node.args, *(node.listitems or ()), *(node.dictitems or {}).values(), node.state)
    return found
