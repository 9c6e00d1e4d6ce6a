# SPDX-License-Identifier: Apache-2.0
"""What the original compares with what, read straight from the inert graph.

This reading exists beside `depickle.models` on purpose and shares no code with it: the rows it places on splits,
and the proof that walks both models, must not repeat a mistake of the conversion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import ParityError
from ..pickles.graph import Array, ListNode, Record, TupleNode, Value, plain

__all__ = ["Preamble", "SourceTree", "read_preamble", "split_pipeline"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SourceTree:
    """One tree as the original holds it. Children of a leaf are -1; node 0 is the root."""

    feature: npt.NDArray[np.int64]
    threshold: FloatArray
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    is_leaf: npt.NDArray[np.bool_]
    comparison: Literal["<=", "<"]
    single: bool
    """True where the input is rounded to float32 before it is compared."""


@dataclass(frozen=True)
class _Step:
    operation: Literal["subtract", "divide", "multiply", "add"]
    operand: FloatArray


@dataclass(frozen=True)
class Preamble:
    """Per-feature arithmetic in front of the model, in the order in which the original does it."""

    features: int
    steps: tuple[_Step, ...] = field(default=())

    def forward(self, feature: npt.NDArray[np.int64], x: FloatArray) -> FloatArray:
        """The value that the model sees where column `feature[i]` of the input holds `x[i]`."""
        value = x
        with np.errstate(all="ignore"):
            for step in self.steps:
                operand = step.operand[feature]
                match step.operation:
                    case "subtract":
                        value = value - operand
                    case "divide":
                        value = value / operand
                    case "multiply":
                        value = value * operand
                    case "add":
                        value = value + operand
        return value


def split_pipeline(estimator: Record) -> tuple[tuple[Record, ...], Record]:
    """The transformers and the last estimator of a pipeline; no transformers for a bare estimator."""
    if estimator.name != "Pipeline":
        return (), estimator
    steps = estimator.get("steps")
    if not isinstance(steps, ListNode) or not steps.items:
        raise _unreadable("Pipeline.steps")
    records = []
    for step in steps:
        if not isinstance(step, TupleNode) or len(step) != 2:
            raise _unreadable("Pipeline.steps")
        if isinstance(step[1], Record):
            records.append(step[1])
        elif step[1] not in (None, "passthrough"):
            raise _unreadable("Pipeline.steps")
    if not records:
        raise _unreadable("Pipeline.steps")
    return tuple(records[:-1]), records[-1]


def read_preamble(transformers: tuple[Record, ...], features: int) -> Preamble | None:
    """The per-feature arithmetic of `transformers`, or None where they mix, drop or map features otherwise."""
    steps: list[_Step] = []
    for record in transformers:
        read = _TRANSFORMERS.get(record.name)
        if read is None:
            return None
        more = read(record, features)
        if more is None:
            return None
        steps += more
    return Preamble(features=features, steps=tuple(steps))


def _vector(record: Record, name: str, features: int) -> FloatArray:
    value = record.get(name)
    if not isinstance(value, Array) or value.is_object:
        raise _unreadable(f"{record.name}.{name}")
    vector = np.asarray(value.to_numpy(), dtype=np.float64).reshape(-1)
    if vector.shape != (features,):
        raise _unreadable(f"{record.name}.{name}")
    return vector


def _flag(record: Record, name: str) -> bool:
    return bool(plain(record.get(name)))


def _standard(record: Record, features: int) -> list[_Step]:
    steps = []
    if _flag(record, "with_mean"):
        steps.append(_Step("subtract", _vector(record, "mean_", features)))
    if _flag(record, "with_std"):
        steps.append(_Step("divide", _vector(record, "scale_", features)))
    return steps


def _robust(record: Record, features: int) -> list[_Step]:
    steps = []
    if _flag(record, "with_centering"):
        steps.append(_Step("subtract", _vector(record, "center_", features)))
    if _flag(record, "with_scaling"):
        steps.append(_Step("divide", _vector(record, "scale_", features)))
    return steps


def _min_max(record: Record, features: int) -> list[_Step] | None:
    if _flag(record, "clip"):
        return None
    return [
        _Step("multiply", _vector(record, "scale_", features)),
        _Step("add", _vector(record, "min_", features)),
    ]


def _max_abs(record: Record, features: int) -> list[_Step] | None:
    if _flag(record, "clip"):
        return None
    return [_Step("divide", _vector(record, "scale_", features))]


def _imputer(record: Record, features: int) -> list[_Step] | None:
    statistics = _vector(record, "statistics_", features)
    if _flag(record, "add_indicator") or bool(np.isnan(statistics).any()):
        return None
    return []  # a value that is present passes unchanged


_TRANSFORMERS = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "SimpleImputer": _imputer,
}


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
