# SPDX-License-Identifier: Apache-2.0
"""Reading fields of a record as the kind of value that a validator needs, or refusing."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from ..graph import Array, NumpyScalar, Record, TupleNode, Value
from .errors import StructureError

__all__ = ["array", "integer", "optional_integer", "refuse", "shape_of", "whole"]


def refuse(rule: str, record: Record, message: str) -> StructureError:
    """The error for `record`."""
    return StructureError(rule, f"{record.name}: {message}", offset=record.offset, reached=record.cls)


def whole(value: Value) -> int | None:
    """`value` as an int where it is one (a Python int or a numpy integer), else None."""
    if type(value) is int:
        return value
    if isinstance(value, NumpyScalar) and value.dtype.descr[1] in "iu":
        number = value.value()
        return number if isinstance(number, int) else None
    return None


def integer(rule: str, record: Record, value: Value, what: str, low: int, high: int) -> int:
    """`value` as an int within ``low..high``.

    Raises:
        StructureError: otherwise.
    """
    number = whole(value)
    if number is None or not low <= number <= high:
        raise refuse(rule, record, f"{what} is not a whole number from {low} to {high}")
    return number


def optional_integer(rule: str, record: Record, name: str, low: int, high: int) -> int | None:
    """The attribute `name` as an int within the range, or None where it is absent or None."""
    value = record.get(name)
    return None if value is None else integer(rule, record, value, name, low, high)


def array(
    rule: str, record: Record, value: Value, what: str, *, kinds: str = "iuf", dimensions: int | None = None
) -> npt.NDArray[Any]:
    """`value` as an array of a dtype kind in `kinds` and, where given, of that many dimensions.

    Its element type is the file's choice within `kinds`, so the type says `Any`.

    Raises:
        StructureError: otherwise.
    """
    if not isinstance(value, Array) or value.data is None or value.dtype.descr[1] not in kinds:
        raise refuse(rule, record, f"{what} is not an array of the expected type")
    if dimensions is not None and len(value.shape) != dimensions:
        raise refuse(rule, record, f"{what} has {len(value.shape)} dimensions instead of {dimensions}")
    return value.to_numpy()


def shape_of(value: Value) -> tuple[int, ...] | None:
    """The shape of an array or of a sparse matrix; None for anything else."""
    if isinstance(value, Array):
        return value.shape
    if isinstance(value, Record) and value.module.startswith("scipy.sparse"):
        shape = value.get("_shape")
        if isinstance(shape, TupleNode):
            sizes = tuple(whole(part) for part in shape)
            if all(size is not None and size >= 0 for size in sizes):
                return tuple(size for size in sizes if size is not None)
    return None
