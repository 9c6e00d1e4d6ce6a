# SPDX-License-Identifier: Apache-2.0
"""Fitted attributes out of inert records: each read is typed, bounded and fails with an `UnsupportedModelError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedModelError
from ..pickles.graph import Array, DictNode, GlobalRef, ListNode, NumpyScalar, Record, Value, plain
from .types import ClassLabel, FloatArray

__all__ = [
    "array_of",
    "boolean",
    "class_labels",
    "describe",
    "dictionary",
    "float_array",
    "integer",
    "members",
    "number",
    "optional_array",
    "records",
    "refuse",
    "table_of",
    "text",
    "unsupported",
    "version_of",
    "wrong",
]

MAX_FEATURES = 1_000_000  # columns; far past any tabular model, small enough to index with int32
MAX_CLASSES = 10_000  # classes; bounds the probability table


def describe(value: Value) -> str:
    """A short, safe description of a value for an error message."""
    if isinstance(value, Record):
        return f"an object of {value.cls}"
    if isinstance(value, GlobalRef):
        return f"the name {value.path}"
    if isinstance(value, Array):
        return f"an array {value.dtype.descr!r} of shape {value.shape}"[:120]
    if isinstance(value, str | bytes):
        return repr(value)[:80]
    if isinstance(value, NumpyScalar):
        return repr(value.value())[:80]
    if value is None or isinstance(value, bool | int | float):
        return repr(value)[:80]
    return type(value).__name__


def wrong(owner: Record | str, name: str, value: Value, expected: str) -> UnsupportedModelError:
    """The error for an attribute that is absent or not what its class documents (DP602)."""
    where = owner if isinstance(owner, str) else owner.name
    return UnsupportedModelError(
        "A fitted attribute is not what its class documents",
        code="DP602",
        where=f"{where}.{name}",
        found=describe(value),
        expected=expected,
        next_step="Fit and save the model again, or convert it where it was written",
    )


def unsupported(
    owner: Record | str, what: str, *, found: str = "", expected: str = ""
) -> UnsupportedModelError:
    """The error for a parameter whose arithmetic we do not emit (DP603)."""
    where = owner if isinstance(owner, str) else owner.name
    return UnsupportedModelError(
        what,
        code="DP603",
        where=where,
        found=found,
        expected=expected,
        next_step="See docs/models.md for what is supported and why",
    )


def refuse(error: UnsupportedModelError) -> NoReturn:
    """Raise `error`; for use in expressions."""
    raise error


def array_of(owner: Record | str, name: str, value: Value) -> npt.NDArray[np.generic]:
    """`value` as a numpy array over the bytes of the stream."""
    if not isinstance(value, Array) or value.is_object:
        raise wrong(owner, name, value, "an array of numbers")
    try:
        return value.to_numpy()
    except (TypeError, ValueError) as error:
        raise wrong(owner, name, value, "an array whose bytes match its shape") from error


def table_of(owner: Record, name: str) -> npt.NDArray[np.void]:
    """A structured array attribute: a vector of nodes with named fields."""
    value = owner.get(name)
    raw = array_of(owner, name, value)
    if raw.dtype.names is None or raw.ndim != 1:
        raise wrong(owner, name, value, "a table of nodes")
    return raw  # type: ignore[return-value]  # a dtype with names is void


def float_array(
    owner: Record, name: str, *, shape: tuple[int | None, ...], finite: bool = True
) -> FloatArray:
    """A float array attribute of the given shape (None: any length), as read-only float64.

    float32 values are widened, which is exact.
    """
    value = owner.get(name)
    raw = _boxed(value) if isinstance(value, Array) and value.is_object else array_of(owner, name, value)
    if raw.dtype.kind not in "fiub" or raw.ndim != len(shape):
        raise wrong(owner, name, value, f"numbers of shape {shape}")
    if any(want is not None and have != want for want, have in zip(shape, raw.shape, strict=True)):
        raise wrong(owner, name, value, f"numbers of shape {shape}")
    result = np.array(raw, dtype=np.float64, order="C")
    if finite and not bool(np.isfinite(result).all()):
        raise wrong(owner, name, value, "finite numbers")
    result.flags.writeable = False
    return result


def _boxed(value: Array) -> npt.NDArray[np.generic]:
    """A vector of Python numbers as float64; anything else as an empty string array, which no caller accepts."""
    items = [plain(item) for item in value.objects or ()]
    if len(value.shape) != 1 or not all(type(item) in (int, float) for item in items):
        return np.empty(0, dtype="U1")
    return np.array(items, dtype=np.float64)


def optional_array(owner: Record, name: str, *, length: int) -> FloatArray | None:
    """A float vector, or None where the attribute is None."""
    return None if owner.get(name) is None else float_array(owner, name, shape=(length,))


def number(owner: Record, name: str, default: float | None = None) -> float:
    """A float or int attribute."""
    value = plain(owner.get(name, default))
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise wrong(owner, name, value, "a number")
    return float(value)


def integer(owner: Record, name: str, *, low: int = 0, high: int = MAX_FEATURES) -> int:
    """An integer attribute within [low, high]."""
    value = plain(owner.get(name))
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise wrong(owner, name, value, f"an integer from {low} to {high}")
    return value


def boolean(owner: Record, name: str, default: bool | None = None) -> bool:
    """A bool attribute."""
    value = plain(owner.get(name, default))
    if not isinstance(value, bool):
        raise wrong(owner, name, value, "True or False")
    return value


def text(owner: Record, name: str, default: str | None = None) -> str:
    """A string attribute."""
    value = plain(owner.get(name, default))
    if not isinstance(value, str):
        raise wrong(owner, name, value, "a string")
    return value


def members(owner: Record | str, name: str, value: Value) -> Sequence[Value]:
    """The items of a list, tuple or object array, in C order."""
    if isinstance(value, ListNode):
        return value.items
    if isinstance(value, Array) and value.objects is not None:
        if value.fortran and len(value.shape) > 1:
            grid = np.arange(len(value.objects)).reshape(value.shape, order="F").reshape(-1)
            return [value.objects[int(index)] for index in grid]
        return value.objects
    raise wrong(owner, name, value, "a list")


def records(owner: Record | str, name: str, value: Value) -> list[Record]:
    """The items of a list, tuple or object array, all of them records."""
    items = members(owner, name, value)
    for item in items:
        if not isinstance(item, Record):
            raise wrong(owner, name, item, "a list of fitted objects")
    return [item for item in items if isinstance(item, Record)]


def class_labels(owner: Record | str, name: str, value: Value) -> tuple[ClassLabel, ...]:
    """Class labels as Python scalars, of one kind (int, float, str or bool), distinct."""
    labels: list[ClassLabel] = []
    raw: Sequence[object]
    if isinstance(value, Array) and not value.is_object:
        raw = array_of(owner, name, value).reshape(-1).tolist()
    else:
        raw = [plain(item) for item in members(owner, name, value)]
    for item in raw:
        if not isinstance(item, bool | int | float | str) or (isinstance(item, float) and item != item):
            raise wrong(owner, name, value, "class labels that are numbers or strings")
        labels.append(item)
    kinds = {type(label) for label in labels}
    if len(kinds) != 1 or len(set(labels)) != len(labels) or not 1 <= len(labels) <= MAX_CLASSES:
        raise wrong(owner, name, value, "distinct class labels of one kind")
    if kinds == {int} and not all(-(2**63) <= int(label) < 2**63 for label in labels):
        raise wrong(owner, name, value, "class labels that fit 64 bits")
    return tuple(labels)


def version_of(writer: object, library: str, *, owner: str) -> tuple[int, int]:
    """(major, minor) of the library that wrote the model.

    Raises:
        UnsupportedModelError: DP604 where the version is not known.
    """
    found = writer.get(library) if hasattr(writer, "get") else None
    parts = str(found).split(".") if isinstance(found, str) else []
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        raise UnsupportedModelError(
            "The version of the library that wrote the model is not known",
            code="DP604",
            where=owner,
            found=repr(found),
            expected=f"the version of {library}",
            next_step="Convert a file that was written by a released version",
        )
    return int(parts[0]), int(parts[1])


def dictionary(owner: Record | str, name: str, value: Value) -> DictNode:
    """A dict attribute."""
    if not isinstance(value, DictNode):
        raise wrong(owner, name, value, "a dictionary")
    return value
