# SPDX-License-Identifier: Apache-2.0
"""What the original compares with what, read straight from the inert graph.

This reading exists beside `depickle.models` on purpose and shares no code with it: the rows it places on splits,
and the proof that walks both models, must not repeat a mistake of the conversion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import ParityError
from ..pickles.graph import Array, ListNode, Record, Value

__all__ = ["FloatArray", "Layer", "Preamble", "SourceTree", "members"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Operation = Literal["subtract", "divide", "multiply", "add", "at least", "at most", "flush"]

UNKNOWN = -1
"""Source of a column that is no function of one input column alone, or of none that is monotone."""


@dataclass(frozen=True, eq=False)
class SourceTree:
    """One tree as the original holds it. Children of a leaf are -1; node 0 is the root."""

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    is_leaf: npt.NDArray[np.bool_]
    comparison: Literal["<=", "<"]
    single: bool
    """True where the input is rounded to float32 before it is compared."""
    zero_left: npt.NDArray[np.int8] | None = None
    """Where zero counts as missing: 1 if it then goes left, 0 if right, -1 at nodes where it is a number."""
    sets: Mapping[int, frozenset[float]] = field(default_factory=dict)
    """The categories that go left, per categorical node; its threshold is NaN."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation on every column, with an operand for each; NaN leaves that column alone."""

    operation: Operation
    operand: FloatArray


@dataclass(frozen=True, eq=False)
class Preamble:
    """Arithmetic in front of a model: for each of its columns an input column and operations, in order."""

    source: IntArray
    layers: tuple[Layer, ...] = field(default=())

    @classmethod
    def identity(cls, columns: int) -> Preamble:
        """Nothing in front of a model of `columns` columns."""
        return cls(np.arange(columns))

    @classmethod
    def unknown(cls, columns: int) -> Preamble:
        """Columns of which nothing is known."""
        return cls(np.full(columns, UNKNOWN))

    @property
    def columns(self) -> int:
        """Number of columns that the model sees."""
        return len(self.source)

    def then(self, operation: Operation, operand: FloatArray | float) -> Preamble:
        """One more operation."""
        layer = Layer(operation, np.broadcast_to(np.asarray(operand, dtype=np.float64), (self.columns,)))
        return replace(self, layers=(*self.layers, layer))

    def select(self, chosen: npt.ArrayLike) -> Preamble:
        """The given columns, in the given order."""
        places = np.asarray(chosen, dtype=np.int64)
        layers = tuple(Layer(layer.operation, layer.operand[places]) for layer in self.layers)
        return Preamble(self.source[places], layers)

    @staticmethod
    def beside(parts: list[Preamble]) -> Preamble:
        """The columns of all parts, one part after the other."""
        total = sum(part.columns for part in parts)
        layers: list[Layer] = []
        start = 0
        for part in parts:
            for layer in part.layers:
                operand = np.full(total, np.nan)
                operand[start : start + part.columns] = layer.operand
                layers.append(Layer(layer.operation, operand))
            start += part.columns
        return Preamble(np.concatenate([part.source for part in parts]), tuple(layers))

    def forward(self, feature: IntArray, x: FloatArray) -> FloatArray:
        """The value of column `feature[i]` of the model where its input column holds `x[i]`."""
        value = x
        with np.errstate(all="ignore"):
            for layer in self.layers:
                operand = layer.operand[feature]
                changed = _applied(layer.operation, value, operand)
                value = np.where(np.isnan(operand), value, changed)
        return value


def _applied(operation: Operation, value: FloatArray, operand: FloatArray) -> FloatArray:
    match operation:
        case "subtract":
            return value - operand
        case "divide":
            return value / operand
        case "multiply":
            return value * operand
        case "add":
            return value + operand
        case "at least":
            return np.maximum(value, operand)
        case "at most":
            return np.minimum(value, operand)
        case "flush":
            return np.where(np.abs(value) <= operand, 0.0, value)


def members(value: Value) -> Iterator[Record]:
    """The records inside a list, a tuple or an object array, in order."""
    items: list[Value]
    if isinstance(value, Array) and value.objects is not None:
        items = value.objects
    elif isinstance(value, ListNode):
        items = value.items
    else:
        raise _unreadable("a list of estimators")
    for item in items:
        if not isinstance(item, Record):
            raise _unreadable("a list of estimators")
        yield item


def _unreadable(where: str) -> ParityError:
    return ParityError(
        "The original cannot be read for the proof",
        code="DP710",
        where=where,
        found="something else than the class documents",
        expected="the fitted attributes of the class",
        next_step="depickle inspect FILE",
    )
