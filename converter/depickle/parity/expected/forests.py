# SPDX-License-Identifier: Apache-2.0
"""Trees and forests of scikit-learn: rows of leaves, added in tree order and divided by their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ...errors import ParityError
from ...pickles.graph import Record
from ..walk import Expected, ExpectedTree
from .answers import argmax
from .derivation import Derivation
from .inexact import error_of
from .node_tables import LeafRows, leaf_rows, numbered_tree
from .paths import hold_paths, paths_kept
from .reading import integer, labels, records, unreadable
from .vocabulary import INT64, Answer, apply, as_double, as_single, cast, constant, scalar, squeeze, trees

__all__ = [
    "expect_forest",
    "expect_tree",
    "forest_paths",
    "forest_rows",
    "leaf_table",
    "single_splits",
    "tree_table",
]

_WHOLE_IN_SINGLE = 1 << 24
"""Leaf numbers up to here are float32 numbers."""
_FRACTIONS_SINCE = (1, 4)
"""From here on ``tree_.values`` holds fractions of a node; before, counts that predict_proba normalised."""


def expect_forest(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """RandomForest and ExtraTrees (ensemble/_forest.py, ``predict_proba`` and ``predict``)."""
    members = records(owner, "estimators_")
    return _expect(owner, members, rows, derive, divisor=len(members))


def expect_tree(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """DecisionTree and ExtraTree (tree/_classes.py)."""
    return _expect(owner, [owner], rows, derive, divisor=None)


def _expect(
    owner: Record, members: list[Record], rows: Expected, derive: Derivation, *, divisor: int | None
) -> Answer:
    if not members or integer(owner, "n_outputs_") != 1:
        raise unreadable(owner, "estimators_", "trees of one target")
    known = labels(owner) if owner.name.endswith("Classifier") else None
    width = len(known) if known else 1
    tables = [tree_table(member, derive, width if known else None) for member in members]
    if known and divisor is None:
        _same_winner(owner, leaf_rows(owner, width), tables[0])
    total = forest_rows(members, tables, rows)
    kept = forest_paths(members, tables, rows)
    if divisor is not None:
        total = apply("Div", total, scalar(divisor))
    if known is None:
        return hold_paths(Answer(scores=total), kept)
    return hold_paths(Answer(labels=known, index=argmax(total), probabilities=total), kept)


def tree_table(member: Record, derive: Derivation, width: int | None = None) -> LeafRows:
    """The row that each leaf answers with, in node order; of a classifier, as ``predict_proba`` does."""
    if not member.name.endswith("Classifier"):
        return leaf_rows(member, 1)
    rows = leaf_rows(member, len(labels(member)) if width is None else width)
    if derive.version(member) >= _FRACTIONS_SINCE:
        return rows
    total = rows.sum(axis=1, keepdims=True)
    return np.asarray(rows / np.where(total == 0.0, 1.0, total))


def leaf_table(
    members: Sequence[Record],
    tables: Sequence[LeafRows],
    rows: Expected,
    renumbered: Sequence[npt.NDArray[np.int64]] | None = None,
) -> Expected:
    """The row of the leaf that is reached in each tree, [N, trees, width].

    Args:
        members: the trees.
        tables: the rows of each tree's leaves.
        rows: what the trees compare, before it is rounded to float32.
        renumbered: for each tree the columns of `rows` that it was given, if not all.
    """
    numbered, dtype = _numbered(members, tables, renumbered)
    joined = np.concatenate(tables)
    kinds: dict[bytes, int] = {}  # rows of the same bits are held once, in the order in which they come
    kind = np.array([kinds.setdefault(row.tobytes(), len(kinds)) for row in joined], dtype=np.float64)
    asked = [
        replace(tree, weight=np.where(tree.left < 0, kind[tree.weight.astype(np.int64)], 0.0))
        for tree in numbered
    ]
    found = trees(_narrowed(rows, dtype), asked, targets=len(members), dtype=dtype)
    held = np.frombuffer(b"".join(kinds), dtype=np.float64).reshape(len(kinds), joined.shape[1])
    return apply("Gather", constant(held), cast(found, INT64), axis=0)


def forest_paths(
    members: Sequence[Record],
    tables: Sequence[LeafRows],
    rows: Expected,
    renumbered: Sequence[npt.NDArray[np.int64]] | None = None,
) -> Expected | None:
    """Whether every row of `leaf_table` is that of the original's leaf, [N]; None where its columns are exact."""
    if error_of(rows) is None:
        return None
    numbered, dtype = _numbered(members, tables, renumbered)
    return paths_kept(rows, numbered, partial(_narrowed, dtype=dtype), dtype)


def _narrowed(rows: Expected, dtype: str) -> Expected:
    return as_single(rows) if dtype == "float32" else as_double(as_single(rows))


def _numbered(
    members: Sequence[Record],
    tables: Sequence[LeafRows],
    renumbered: Sequence[npt.NDArray[np.int64]] | None,
) -> tuple[list[ExpectedTree], str]:
    """Trees that answer with the number of a leaf, and the type in which they compare."""
    starts = np.cumsum([0, *map(len, tables)]).tolist()
    numbered = [numbered_tree(member, starts[place], place) for place, member in enumerate(members)]
    if renumbered is not None:
        numbered = [
            replace(tree, feature=np.where(tree.left < 0, -1, part[np.where(tree.left < 0, 0, tree.feature)]))
            for tree, part in zip(numbered, renumbered, strict=True)
        ]
    if starts[-1] <= _WHOLE_IN_SINGLE:
        return [single_splits(tree) for tree in numbered], "float32"
    return numbered, "float64"


def forest_rows(
    members: Sequence[Record],
    tables: Sequence[LeafRows],
    rows: Expected,
    renumbered: Sequence[npt.NDArray[np.int64]] | None = None,
) -> Expected:
    """The rows of `leaf_table`, added from the first tree on, [N, width]."""
    gathered = leaf_table(members, tables, rows, renumbered)
    if len(members) == 1:
        return squeeze(gathered)
    running = apply("CumSum", gathered, constant(1, np.int64))
    return apply("Gather", running, constant(len(members) - 1, np.int64), axis=1)


def single_splits(tree: ExpectedTree) -> ExpectedTree:
    """The tree for a node that works on float32.

    The input is a float32 number v, and v <= t holds just where v <= s does, if s is the float32 number with
    s <= t < the next one. That is checked here for every split, whatever produced s.
    """
    inner = tree.left >= 0
    exact = tree.threshold[inner]
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
        low = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
        after = np.nextafter(low, np.float32(np.inf))
    if not bool(((low <= exact) & ((exact < after) | (low == np.inf))).all()):
        raise unreadable("forest", "threshold", "a threshold between two neighbouring float32 numbers")
    threshold = np.array(tree.threshold)
    threshold[inner] = low
    return replace(tree, threshold=threshold)


def _same_winner(owner: Record, counts: LeafRows, fractions: LeafRows) -> None:
    """A single tree decides on what it holds; before 1.4 these are counts, and division may round two into a tie."""
    if not np.array_equal(counts.argmax(axis=1), fractions.argmax(axis=1)):
        raise ParityError(
            "A leaf's largest count is no longer the largest once divided",
            code="DP713",
            where=owner.name,
            found="two counts that differ by rounding only",
            expected="the same largest class before and after the division",
            next_step="fit the tree with a newer scikit-learn",
        )
