# SPDX-License-Identifier: Apache-2.0
"""Transformers as ONNX: one operator per arithmetic operation of the original, constants untouched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

import numpy as np

from ..models.dense_types import Affine, Binarize, Categories, Digitize, Function, Normalize, Power
from ..models.types import (
    Apply,
    Branches,
    Clip,
    Divide,
    Encode,
    Impute,
    Leaves,
    Multiply,
    Products,
    Select,
    Shift,
    Subtract,
    Transform,
)
from .forests import emit_leaves
from .graph import Graph
from .links import join_columns, last_axis

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
            case Apply():
                x = _apply(graph, x, step.function)
            case Products():
                x = _products(graph, x, step.terms)
            case Encode():
                x = _encode(graph, x, step)
            case Leaves():
                x = emit_leaves(graph, x, step.trees)
            case Branches():
                parts = [
                    emit_transforms(graph, _columns(graph, x, columns), inner)
                    for columns, inner in step.branches
                ]
                x = join_columns(graph, parts)
            case Affine() | Function() | Normalize() | Power() | Categories() | Digitize() | Binarize():
                raise TypeError("emit_steps keeps the bounds of this transformer")
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


def _encode(graph: Graph, x: str, step: Encode) -> str:
    """The number of the category that a value equals; -1, where it equals none, becomes NaN."""
    parts = []
    for column, categories in step.encoded:
        same = graph.add("Equal", _columns(graph, x, (column,)), graph.constant(categories, "float64"))
        numbers = graph.constant(np.arange(len(categories)), "float64")
        found = graph.add("Where", same, numbers, graph.scalar(-1.0))
        number = graph.add("ReduceMax", found, last_axis(graph), keepdims=1)
        unknown = graph.add("Equal", number, graph.scalar(-1.0))
        parts.append(graph.add("Where", unknown, graph.scalar(math.nan), number))
    if step.passed:
        parts.append(_columns(graph, x, step.passed))
    return join_columns(graph, parts)


def _apply(graph: Graph, x: str, function: str) -> str:
    if function == "Square":
        return graph.add("Mul", x, x)
    if function == "Sign":  # numpy leaves NaN alone
        return graph.add("Where", graph.add("IsNaN", x), x, graph.add("Sign", x))
    if function == "Truncate":  # toward zero, as a cast to integers does
        below = graph.add("Less", x, graph.scalar(0.0))
        return graph.add("Where", below, graph.add("Ceil", x), graph.add("Floor", x))
    return graph.add(function, x)


def _products(graph: Graph, x: str, terms: tuple[tuple[int, ...], ...]) -> str:
    """Terms of one degree at a time; they come ordered by degree."""
    parts: list[str] = []
    degrees = [len(term) for term in terms]
    for degree in sorted(set(degrees)):
        chosen = [term for term in terms if len(term) == degree]
        if degree == 0:
            first = _columns(graph, x, (0,))
            parts.append(graph.add("Add", graph.add("Mul", first, graph.scalar(0.0)), graph.scalar(1.0)))
            continue
        product = _columns(graph, x, [term[-1] for term in chosen])
        for place in range(degree - 2, -1, -1):
            product = graph.add("Mul", _columns(graph, x, [term[place] for term in chosen]), product)
        parts.append(product)
    return join_columns(graph, parts)
