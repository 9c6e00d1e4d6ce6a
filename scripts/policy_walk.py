# SPDX-License-Identifier: Apache-2.0
"""Which globals a pickle names and in which role, by a static walk over its opcodes; nothing is loaded.

Roles: ``created`` (a class given to object creation), ``called`` (called by REDUCE), ``data`` (mentioned only). A
mention that the memo hands to object creation or a call counts as that; it is not data as well, so the policy errs on
the side of refusing.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator
from typing import Any

import joblib.numpy_pickle as joblib_pickle

Global = tuple[str, str]
Uses = dict[Global, set[str]]

_MARK = object()
# Helpers whose first argument is the class that they create.
_CREATORS = {
    ("copy_reg", "_reconstructor"),
    ("copyreg", "_reconstructor"),
    ("copy_reg", "__newobj__"),
    ("copyreg", "__newobj__"),
    ("copy_reg", "__newobj_ex__"),
    ("copyreg", "__newobj_ex__"),
}


class _Mention:
    """A global on the walker's stack."""

    def __init__(self, path: Global) -> None:
        self.path = path


def uses(stream: bytes) -> Uses:
    """Every global of one pickle stream with its roles.

    Raises:
        ValueError: for a stream that `pickletools` cannot read or an opcode that honest picklers do not emit.
    """
    found: Uses = {}
    created: set[int] = set()
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    mentions: list[_Mention] = []
    spent: set[int] = set()

    def mention(path: Global) -> _Mention:
        entry = _Mention(path)
        mentions.append(entry)
        return entry

    def take(value: Any, role: str) -> None:
        if not isinstance(value, _Mention):
            raise ValueError(f"{role} is given something that is not a global")
        found.setdefault(value.path, set()).add(role)
        spent.add(id(value))
        created.add(id(value))

    def pop_to_mark() -> list[Any]:
        items = []
        while (item := stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(mention((module, attribute)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(mention((module, attribute)))
        elif name in {"REDUCE", "NEWOBJ", "NEWOBJ_EX"}:
            keywords = stack.pop() if name == "NEWOBJ_EX" else None
            del keywords
            arguments, target = stack.pop(), stack.pop()
            take(target, "called" if name == "REDUCE" else "created")
            if name == "REDUCE" and target.path in _CREATORS and isinstance(arguments, tuple):
                take(arguments[0], "created")
            stack.append(None)
        elif name in {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}:
            raise ValueError(f"{name} is not written by honest picklers")
        elif name == "MARK":
            stack.append(_MARK)
        elif name in {"PUT", "BINPUT", "LONG_BINPUT"}:
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            stack.append(memo[int(argument)])
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            size = int(name[-1])
            stack[-size:] = [tuple(stack[-size:])]
        elif isinstance(argument, str) and opcode.stack_after:
            stack.append(argument)
        else:
            for kind in reversed(opcode.stack_before):
                if kind is pickletools.stackslice:
                    pop_to_mark()
                elif kind is not pickletools.markobject:
                    stack.pop()
            stack.extend(None for _ in opcode.stack_after)
    for entry in mentions:
        if id(entry) not in spent:
            found.setdefault(entry.path, set()).add("data")
    return found


def plain_streams(value: object, protocols: range) -> Iterator[bytes]:
    """`value` pickled in each of `protocols`."""
    for protocol in protocols:
        yield pickle.dumps(value, protocol=protocol)


def joblib_streams(value: object, protocol: int | None = None) -> Iterator[bytes]:
    """The pickle streams of `value` as joblib writes it, the raw array bytes between them left out."""
    nested: list[bytes] = []

    class _Wrapper(joblib_pickle.NumpyArrayWrapper):  # type: ignore[misc]  # joblib is untyped
        """Writes no array bytes; object arrays are pickled on their own, as joblib does."""

        def write_array(self, array: Any, pickler: Any) -> None:
            """Keep the nested stream of an object array, and nothing else."""
            del pickler
            if array.dtype.hasobject:
                nested.append(pickle.dumps(array, protocol=2))

    _Wrapper.__name__ = _Wrapper.__qualname__ = "NumpyArrayWrapper"
    _Wrapper.__module__ = joblib_pickle.__name__
    original = joblib_pickle.NumpyArrayWrapper
    joblib_pickle.NumpyArrayWrapper = _Wrapper
    try:
        out = io.BytesIO()
        joblib_pickle.NumpyPickler(out, protocol=protocol).dump(value)
    finally:
        joblib_pickle.NumpyArrayWrapper = original
    yield out.getvalue()
    yield from nested
