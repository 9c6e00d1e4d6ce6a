# SPDX-License-Identifier: Apache-2.0
"""Transformers as ONNX: one operator per arithmetic operation of the original, constants untouched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

import numpy as np

from ..models.types import Clip, Divide, Impute, Multiply, Select, Shift, Subtract, Transform
from .graph import Graph

__all__ = ["emit_transforms"]

_OPERATORS = {Subtract: "Sub", Divide: "Div", Multiply: "Mul", Shift: "Add"}


def emit_transforms(graph: Graph, x: str, steps: Sequence[Transform]) -> str:
    """`x` [N, F] of float64 after `steps`."""
    for step in steps:
        match step:
            case Subtract() | Divide() | Multiply() | Shift():
                x = graph.add(_OPERATORS[type(step)], x, graph.constant(step.operand, "float64"))
            case Clip():
                limits = (graph.constant(np.array(bound), "float64") for bound in (step.low, step.high))
                missing = graph.add("IsNaN", x)
                x = graph.add("Where", missing, x, graph.add("Clip", x, *limits))
            case Impute():
                x = _impute(graph, x, step)
            case Select():
                x = _columns(graph, x, step.columns)
            case _:
                assert_never(step)
    return x


def _columns(graph: Graph, x: str, columns: Sequence[int]) -> str:
    return graph.add("Gather", x, graph.constant(np.array(columns), "int64"), axis=1)


def _impute(graph: Graph, x: str, step: Impute) -> str:
    statistics = step.statistics
    kept = x
    if len(step.kept) != len(statistics):
        kept = _columns(graph, x, step.kept)
        statistics = statistics[list(step.kept)]
    filled = graph.add("Where", _missing(graph, kept, step), graph.constant(statistics, "float64"), kept)
    if not step.indicators:
        return filled
    flags = graph.cast(_missing(graph, _columns(graph, x, step.indicators), step), "float64")
    return graph.add("Concat", filled, flags, axis=1)


def _missing(graph: Graph, x: str, step: Impute) -> str:
    if math.isnan(step.missing):
        return graph.add("IsNaN", x)
    return graph.add("Equal", x, graph.scalar(step.missing))
