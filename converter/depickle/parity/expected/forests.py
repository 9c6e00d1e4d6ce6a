# SPDX-License-Identifier: Apache-2.0
"""Trees and forests of scikit-learn: rows of leaves, added in tree order and divided by their number."""

from __future__ import annotations

import numpy as np

from ...errors import ParityError
from ...pickles.graph import Record
from ..walk import Expected
from .answers import argmax
from .node_tables import LeafRows, leaf_rows, numbered_tree
from .reading import Writer, integer, labels, records, unreadable, version
from .vocabulary import INT64, Answer, apply, as_double, as_single, cast, constant, scalar, squeeze, trees

__all__ = ["expect_forest", "expect_tree"]

_FRACTIONS_SINCE = (1, 4)
"""From here on ``tree_.values`` holds fractions of a node; before, counts that predict_proba normalised."""


def expect_forest(owner: Record, rows: Expected, writer: Writer) -> Answer:
    """RandomForest and ExtraTrees (ensemble/_forest.py, ``predict_proba`` and ``predict``)."""
    return _expect(owner, records(owner, "estimators_"), rows, writer, divided=True)


def expect_tree(owner: Record, rows: Expected, writer: Writer) -> Answer:
    """DecisionTree and ExtraTree (tree/_classes.py)."""
    return _expect(owner, [owner], rows, writer, divided=False)


def _expect(owner: Record, members: list[Record], rows: Expected, writer: Writer, *, divided: bool) -> Answer:
    if not members:
        raise unreadable(owner, "estimators_", "at least one tree")
    if integer(owner, "n_outputs_") != 1:
        raise unreadable(owner, "n_outputs_", "one target")
    classifier = owner.name.endswith("Classifier")
    width = len(labels(owner)) if classifier else 1
    tables = [leaf_rows(member, width) for member in members]
    if classifier and version(writer, "scikit-learn") < _FRACTIONS_SINCE:
        counts, tables = tables, [_fractions(part) for part in tables]
        if not divided:
            _same_winner(owner, counts[0], tables[0])
    starts = np.cumsum([0, *map(len, tables)]).tolist()
    numbered = [numbered_tree(member, starts[place], place) for place, member in enumerate(members)]
    leaf = cast(trees(as_double(as_single(rows)), numbered, targets=len(members)), INT64)
    gathered = apply("Gather", constant(np.concatenate(tables)), leaf, axis=0)
    if len(members) > 1:
        running = apply("CumSum", gathered, constant(1, np.int64))
        total = apply("Gather", running, constant(len(members) - 1, np.int64), axis=1)
    else:
        total = squeeze(gathered)
    if divided:
        total = apply("Div", total, scalar(len(members)))
    if not classifier:
        return Answer(scores=total)
    return Answer(index=argmax(total), probabilities=total)


def _fractions(counts: LeafRows) -> LeafRows:
    """A row over its sum; an empty row stays as it is."""
    total = counts.sum(axis=1, keepdims=True)
    return counts / np.where(total == 0.0, 1.0, total)


def _same_winner(owner: Record, counts: LeafRows, fractions: LeafRows) -> None:
    """A single tree before 1.4 decided on the counts themselves; division may round two of them onto each other."""
    if not np.array_equal(counts.argmax(axis=1), fractions.argmax(axis=1)):
        raise ParityError(
            "A leaf's largest count is no longer the largest once divided",
            code="DP713",
            where=owner.name,
            found="two counts that differ by rounding only",
            expected="the same largest class before and after the division",
            next_step="fit the tree with a newer scikit-learn",
        )
