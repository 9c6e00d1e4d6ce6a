# SPDX-License-Identifier: Apache-2.0
"""Every tree of a model, however deep in compositions, with the arithmetic between it and the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..pickles.graph import Array, ListNode, Record, TupleNode
from .preambles import after
from .source import Preamble, SourceTree
from .trees import read_trees

__all__ = ["TreeGroup", "tree_groups"]

MAX_NESTING = 24
"""Compositions within compositions."""

_PARTS = (
    "best_estimator_",
    "estimators_",
    "calibrated_classifiers_",
    "estimator_",
    "estimator",
    "base_estimator",
)
"""Where compositions keep what they fitted; the last ones are unfitted templates where an earlier one exists."""


@dataclass(frozen=True, eq=False)
class TreeGroup:
    """Trees that see the same columns; none for a model of another kind."""

    trees: tuple[SourceTree, ...]
    preamble: Preamble | None
    """None where nothing is known of the columns."""


def tree_groups(estimator: Record, columns: int) -> tuple[TreeGroup, ...]:
    """The trees of `estimator` for an input of `columns` columns.

    Raises:
        ParityError: DP710 where a fitted attribute is not what its class documents.
    """
    return tuple(_groups(estimator, Preamble.identity(columns), 0))


def _groups(record: Record, preamble: Preamble | None, depth: int) -> Iterator[TreeGroup]:
    if depth > MAX_NESTING:
        return
    trees = read_trees(record)
    if trees is not None:
        yield TreeGroup(trees, None if preamble is None else _flushed(record, preamble, trees))
        start = record.get("init_")
        if isinstance(start, Record):  # boosting that goes on from a model
            yield from _groups(start, preamble, depth + 1)
        return
    if record.name == "Pipeline":
        yield from _pipeline(record, preamble, depth)
        return
    inner = _inner(record)
    if not inner:
        yield TreeGroup((), preamble)  # a model without trees; its scaler still says where its rows lie
    for place, part in enumerate(inner):
        yield from _groups(part, _bag(record, preamble, place), depth + 1)
    final = record.get("final_estimator_")
    if isinstance(final, Record):  # its columns are answers
        yield from _groups(final, None, depth + 1)


def _inner(record: Record) -> list[Record]:
    """The fitted estimators that a composition asks."""
    for name in _PARTS:
        value = record.get(name)
        if isinstance(value, Record):
            return [value]
        if isinstance(value, ListNode):
            return [item for item in value if isinstance(item, Record)]
    return []


def _pipeline(record: Record, preamble: Preamble | None, depth: int) -> Iterator[TreeGroup]:
    steps = record.get("steps")
    if not isinstance(steps, ListNode):
        return
    parts = [item[1] for item in steps if isinstance(item, TupleNode) and len(item) == 2]
    records = [part for part in parts if isinstance(part, Record)]
    for transformer in records[:-1]:
        preamble = None if preamble is None else after(transformer, preamble)
    if records:
        yield from _groups(records[-1], preamble, depth + 1)


def _bag(record: Record, preamble: Preamble | None, place: int) -> Preamble | None:
    """The columns that a member of a bag was given."""
    chosen = record.get("estimators_features_")
    if preamble is None or not isinstance(chosen, ListNode) or place >= len(chosen):
        return preamble
    value = chosen[place]
    if not isinstance(value, Array) or value.is_object:
        return None
    columns = np.asarray(value.to_numpy(), dtype=np.int64)
    if columns.size and not 0 <= int(columns.min()) <= int(columns.max()) < preamble.columns:
        return None
    return preamble.select(columns)


K_ZERO_THRESHOLD = float(np.float32(1e-35))
"""LightGBM sets what is no larger to 0 before its trees see it (include/LightGBM/meta.h)."""


def _encoded(record: Record, preamble: Preamble) -> Preamble:
    """Numbers of categories come first, of which no split is a threshold; then the other columns."""
    value = record.get("is_categorical_")
    mask = np.asarray(value.to_numpy(), dtype=np.bool_) if isinstance(value, Array) else np.empty(0, np.bool_)
    if mask.shape != (preamble.columns,):
        return preamble
    return Preamble.beside([Preamble.unknown(int(mask.sum())), preamble.select(np.flatnonzero(~mask))])


def _flushed(record: Record, preamble: Preamble, trees: tuple[SourceTree, ...]) -> Preamble | None:
    if record.name.startswith("HistGradientBoosting") and isinstance(record.get("is_categorical_"), Array):
        preamble = _encoded(record, preamble)
    widest = max((int(tree.feature.max(initial=-1)) for tree in trees), default=-1)
    if widest >= preamble.columns:
        return None
    return preamble.then("flush", K_ZERO_THRESHOLD) if record.name.startswith("LGBM") else preamble
