# SPDX-License-Identifier: Apache-2.0
"""Every tree of a model, however deep in compositions, with the arithmetic between it and the input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..pickles.graph import Array, ListNode, Record, TupleNode
from .expected.categories import encoder_categories
from .preambles import after, embedded
from .source import FloatArray, Preamble, SourceTree
from .trees import read_trees

__all__ = ["TreeGroup", "tree_groups"]

MAX_NESTING = 24
"""Compositions within compositions."""

_PARTS = (
    "best_estimator_",
    "estimators_",
    "calibrated_classifiers_",
    "estimator_",
    "base_estimator_",
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
    categories: Mapping[int, FloatArray] = field(default_factory=dict)
    """For each column that is compared with sets of categories, values to choose from, increasing."""


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
        yield _group(record, preamble, trees)
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
        if preamble is None:
            break
        for part, columns in embedded(transformer, preamble):
            yield _group(part, columns, read_trees(part) or ())
        preamble = after(transformer, preamble)
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


def _group(record: Record, preamble: Preamble | None, trees: tuple[SourceTree, ...]) -> TreeGroup:
    """The trees with what they compare: categories by the values that a row holds."""
    if preamble is None:
        return TreeGroup(trees, None)
    known: dict[int, FloatArray] = {}
    if record.name.startswith("HistGradientBoosting") and isinstance(record.get("_preprocessor"), Record):
        encoded = encoder_categories(record)
        known = {place: values for place, (_, values) in enumerate(encoded)}
        trees = tuple(_decoded(tree, known) for tree in trees)
        chosen = [column for column, _ in encoded]
        if max(chosen) >= preamble.columns:
            return TreeGroup(trees, None)
        preamble = preamble.select(chosen + [at for at in range(preamble.columns) if at not in chosen])
    widest = max((int(tree.feature.max(initial=-1)) for tree in trees), default=-1)
    if widest >= preamble.columns:
        return TreeGroup(trees, None)
    if record.module.startswith("lightgbm."):
        preamble = preamble.then("flush", K_ZERO_THRESHOLD)
    known = known or _asked_for(trees)
    return TreeGroup(
        trees, preamble, {column: known[column] for column in known if _passes(preamble, column, known)}
    )


def _decoded(tree: SourceTree, known: Mapping[int, FloatArray]) -> SourceTree:
    """The sets of a tree as values instead of their numbers."""
    sets = {
        node: frozenset(
            float(known[int(tree.feature[node])][int(number)])
            for number in numbers
            if number < len(known[int(tree.feature[node])])
        )
        for node, numbers in tree.sets.items()
    }
    return replace(tree, sets=sets)


def _asked_for(trees: tuple[SourceTree, ...]) -> dict[int, FloatArray]:
    """For each categorical column the values in its sets, and one that is in none."""
    found: dict[int, set[float]] = {}
    for tree in trees:
        for node, members in tree.sets.items():
            found.setdefault(int(tree.feature[node]), set()).update(members)
    return {
        column: np.array(sorted(values | {max(values, default=0.0) + 1.0}))
        for column, values in sorted(found.items())
    }


def _passes(preamble: Preamble, column: int, known: Mapping[int, FloatArray]) -> bool:
    """Whether a category of the input arrives as it is."""
    values = known[column]
    return bool((preamble.forward(np.full(values.shape, column), values) == values).all())
