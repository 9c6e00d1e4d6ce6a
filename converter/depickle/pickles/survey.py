# SPDX-License-Identifier: Apache-2.0
"""One walk over a finished graph: every mention is checked, every long byte string lands, the depth is bounded.

The walk is iterative and visits each container once, so cycles end and no nesting exhausts the stack. The depth is
the longest path without cycles, so every later reader of the graph may recurse.
"""

from __future__ import annotations

from typing import TypeAlias

from .arguments import PARTIAL
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
from .limits import MAX_DEPTH, MAX_EXPANDED

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
        StreamError: DP414 for nesting beyond `MAX_DEPTH` or sharing beyond `MAX_EXPANDED`;
            DP442 for a joblib wrapper that was used twice.
    """
    if isinstance(root, memoryview):
        return bytes(root)
    holder = ListNode([root], 0)
    mentioned: set[int] = set()
    # By identity: the longest path below, and how many containers there would be without sharing.
    known: dict[int, tuple[int, int]] = {id(holder): (0, 0)}
    path = [_Level(holder, _children(interpreter, holder, mentioned))]
    while path:
        level = path[-1]
        if not level.waiting:
            path.pop()
            node = level.node
            if level.height > MAX_DEPTH:
                raise StreamError("DP414", f"values are nested deeper than {MAX_DEPTH}", node.offset)
            if level.size > MAX_EXPANDED:
                raise StreamError("DP414", f"shared values stand for more than {MAX_EXPANDED}", node.offset)
            known[id(node)] = (level.height + 1, level.size + 1)
            if path:
                path[-1].add(level.height + 1, level.size + 1)
            continue
        child = level.waiting.pop()
        seen = known.get(id(child))
        if seen is not None:
            level.add(*seen)
            continue
        if len(path) > MAX_DEPTH:
            raise StreamError("DP414", f"values are nested deeper than {MAX_DEPTH}", child.offset)
        known[id(child)] = (0, 0)
        path.append(_Level(child, _children(interpreter, child, mentioned)))
    return holder.items[0]


class _Level:
    """One container on the way down: what is still to visit in it, and what is known of what was visited."""

    __slots__ = ("height", "node", "size", "waiting")

    def __init__(self, node: _Container, waiting: list[_Container]) -> None:
        self.node = node
        self.waiting = waiting
        self.height = 0
        self.size = 0

    def add(self, height: int, size: int) -> None:
        """Account for a finished child."""
        if height > self.height:
            self.height = height
        self.size += size


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
    if node.args and node.cls != PARTIAL:  # the one function in an admitted partial was settled by its rule
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
