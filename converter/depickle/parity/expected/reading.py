# SPDX-License-Identifier: Apache-2.0
"""Fitted attributes for the proof: each is what its class documents, or the proof stops with DP710."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ...errors import ParityError
from ...pickles.graph import Array, ListNode, Record, TupleNode, Value, plain

__all__ = [
    "Labels",
    "Writer",
    "array",
    "flag",
    "integer",
    "items",
    "labels",
    "number",
    "one_of",
    "pair",
    "record",
    "records",
    "table",
    "text",
    "unreadable",
    "vector",
    "version",
]

Labels = tuple[int | float | str | bool, ...]
Writer = Mapping[str, str]
FloatArray = npt.NDArray[np.float64]


def unreadable(owner: Record | str, name: str, expected: str) -> ParityError:
    """The error for an attribute that is not what its class documents."""
    return ParityError(
        "The original cannot be read for the proof",
        code="DP710",
        where=f"{owner.name if isinstance(owner, Record) else owner}.{name}",
        found="something else than the class documents",
        expected=expected,
        next_step="depickle inspect FILE",
    )


def array(owner: Record, name: str) -> npt.NDArray[np.generic]:
    """A numeric array attribute."""
    value = owner.get(name)
    if not isinstance(value, Array) or value.is_object:
        raise unreadable(owner, name, "an array of numbers")
    try:
        return value.to_numpy()
    except (TypeError, ValueError) as error:
        raise unreadable(owner, name, "an array of numbers") from error


def vector(owner: Record, name: str, size: int) -> FloatArray:
    """`size` numbers, as float64; an object array of Python numbers counts too."""
    value = owner.get(name)
    if isinstance(value, Array) and value.objects is not None:
        boxed = [plain(item) for item in value.objects]
        if not all(type(item) in (int, float) for item in boxed):
            raise unreadable(owner, name, "numbers")
        found = np.array(boxed, dtype=np.float64)
    else:
        raw = array(owner, name)
        if raw.dtype.kind not in "fiu":
            raise unreadable(owner, name, "numbers")
        found = np.asarray(raw, dtype=np.float64)
    if found.shape != (size,):
        raise unreadable(owner, name, f"{size} numbers")
    return found


def table(owner: Record, name: str, fields: tuple[str, ...]) -> npt.NDArray[np.void]:
    """A structured array with at least `fields`."""
    found = array(owner, name)
    if found.ndim != 1 or not set(fields) <= set(found.dtype.names or ()):
        raise unreadable(owner, name, f"a table with {', '.join(fields)}")
    return found  # type: ignore[return-value]  # a dtype with names is void


def number(owner: Record, name: str) -> float:
    """A real number."""
    value = plain(owner.get(name))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise unreadable(owner, name, "a number")
    return float(value)


def integer(owner: Record, name: str) -> int:
    """A whole number that is not negative."""
    value = plain(owner.get(name))
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise unreadable(owner, name, "a whole number")
    return value


def flag(owner: Record, name: str, *, default: bool | None = None) -> bool:
    """True or False; `default` where the version that wrote the model had no such parameter."""
    value = plain(owner.get(name, default))
    if not isinstance(value, bool):
        raise unreadable(owner, name, "True or False")
    return value


def text(owner: Record, name: str) -> str:
    """A string."""
    value = plain(owner.get(name))
    if not isinstance(value, str):
        raise unreadable(owner, name, "a string")
    return value


def one_of(owner: Record, name: str, *choices: str) -> bool:
    """Whether the string attribute `name` is among `choices`."""
    return text(owner, name) in choices


def record(owner: Record, name: str) -> Record:
    """An object."""
    value = owner.get(name)
    if not isinstance(value, Record):
        raise unreadable(owner, name, "an object")
    return value


def items(owner: Record, name: str) -> list[Value]:
    """The items of a list, tuple or object array, the last in C order."""
    value = owner.get(name)
    if isinstance(value, ListNode):
        return list(value.items)
    if isinstance(value, Array) and value.objects is not None:
        if not value.fortran or len(value.shape) < 2:
            return list(value.objects)
        order = np.arange(len(value.objects)).reshape(value.shape[::-1]).T.reshape(-1)
        return [value.objects[place] for place in order.tolist()]
    raise unreadable(owner, name, "a list")


def records(owner: Record, name: str) -> list[Record]:
    """A list of objects."""
    found = items(owner, name)
    if not all(isinstance(item, Record) for item in found):
        raise unreadable(owner, name, "a list of objects")
    return [item for item in found if isinstance(item, Record)]


def pair(owner: Record, name: str) -> tuple[float, float]:
    """Two numbers."""
    value = owner.get(name)
    if isinstance(value, TupleNode) and len(value) == 2:
        low, high = (plain(item) for item in value)
        if isinstance(low, int | float) and isinstance(high, int | float):
            return float(low), float(high)
    raise unreadable(owner, name, "a pair of numbers")


def labels(owner: Record, name: str = "classes_") -> Labels:
    """The class labels, in the order of their index."""
    value = owner.get(name)
    if isinstance(value, Array) and not value.is_object:
        found = array(owner, name).reshape(-1).tolist()
    else:
        found = [plain(item) for item in items(owner, name)]
    if not found or not all(isinstance(label, bool | int | float | str) for label in found):
        raise unreadable(owner, name, "class labels")
    if len({type(label) for label in found}) != 1 or len(set(found)) != len(found):
        raise unreadable(owner, name, "distinct class labels of one kind")
    return tuple(found)


def version(owner: Record, writer: Writer) -> tuple[int, int]:
    """(major, minor) of the scikit-learn that wrote `owner`: its own ``_sklearn_version`` where it has one."""
    own = plain(owner.get("_sklearn_version"))
    library = "scikit-learn"
    parts = (own if isinstance(own, str) else writer.get(library, "")).split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        raise unreadable(library, "version", "a released version")
    return int(parts[0]), int(parts[1])
