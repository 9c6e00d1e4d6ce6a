# SPDX-License-Identifier: Apache-2.0
"""Which categories lead a row along a path of a tree: sets are intersected from the split up to the root."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .source import FloatArray, IntArray

__all__ = ["CategoryPaths"]

BoolArray = npt.NDArray[np.bool_]


class CategoryPaths:
    """The categorical nodes of a group of trees, as tables: for each node, which values go left.

    "Allowed" is, for each categorical column, a table with a row for each row under construction and a column for
    each value to choose from.
    """

    def __init__(
        self, categories: Mapping[int, FloatArray], feature: IntArray, sets: Mapping[int, frozenset[float]]
    ) -> None:
        """Tables for the nodes of `sets` whose column is among `categories`.

        Args:
            categories: column to the values to choose from, increasing.
            feature: column of each node.
            sets: node to the values that go left.
        """
        self._values = categories
        self._feature = feature
        self._row = np.full(feature.shape, -1, dtype=np.int64)
        tables: dict[int, list[BoolArray]] = {column: [] for column in categories}
        for node, members in sets.items():
            column = int(feature[node])
            if column in categories:
                self._row[node] = len(tables[column])
                tables[column].append(np.isin(categories[column], list(members)))
        self._tables = {column: np.array(rows, dtype=np.bool_) for column, rows in tables.items() if rows}

    @property
    def width(self) -> int:
        """Values to choose from, over all columns."""
        return sum(len(self._values[column]) for column in self._tables)

    def knows(self, nodes: IntArray) -> BoolArray:
        """Which of `nodes` ask for a set that is known here."""
        return np.asarray(self._row[nodes] >= 0)

    def everything(self, count: int) -> dict[int, BoolArray]:
        """Every value allowed in each of `count` rows."""
        return {
            column: np.ones((count, len(self._values[column])), dtype=np.bool_) for column in self._tables
        }

    def narrow(
        self, allowed: dict[int, BoolArray], *, at: IntArray, nodes: IntArray, left: BoolArray
    ) -> None:
        """Allow in rows `at` only what goes to the given side of `nodes`."""
        for column, table in self._tables.items():
            chosen = (self._row[nodes] >= 0) & (self._feature[nodes] == column)
            members = table[self._row[nodes[chosen]]]
            allowed[column][at[chosen]] &= members == left[chosen, np.newaxis]

    @staticmethod
    def possible(allowed: Mapping[int, BoolArray], count: int) -> BoolArray:
        """In which of `count` rows a value is left for every column."""
        found = np.ones(count, dtype=np.bool_)
        for table in allowed.values():
            found &= table.any(axis=1)
        return found

    def choose(self, allowed: Mapping[int, BoolArray], rows: IntArray) -> dict[int, FloatArray]:
        """An allowed value for each column in each of `rows`; neighbours get different ones."""
        return {column: self._picked(column, table[rows], rows) for column, table in allowed.items()}

    def sides(
        self, allowed: Mapping[int, BoolArray], nodes: IntArray, rows: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """For the categorical ones of ``nodes[rows]`` a value that goes left and one that goes right, else NaN."""
        found = np.full((2, rows.size), np.nan)
        for column, table in self._tables.items():
            at = np.flatnonzero((self._row[nodes[rows]] >= 0) & (self._feature[nodes[rows]] == column))
            members = table[self._row[nodes[rows[at]]]]
            for side, wanted in enumerate((members, ~members)):
                found[side, at] = self._picked(column, allowed[column][rows[at]] & wanted, rows[at])
        return found[0], found[1]

    def holds(self, nodes: IntArray, values: FloatArray) -> BoolArray:
        """Whether each value is in the set of its node; a value that is none of those known is in no set."""
        found = np.zeros(nodes.shape, dtype=np.bool_)
        for column, table in self._tables.items():
            at = np.flatnonzero(self._feature[nodes] == column)
            known = self._values[column]
            place = np.minimum(np.searchsorted(known, values[at]), len(known) - 1)
            found[at] = table[self._row[nodes[at]], place] & (known[place] == values[at])
        return found

    def _picked(self, column: int, table: BoolArray, turn: IntArray) -> FloatArray:
        """The value at the n-th allowed place of each row, n taking turns; NaN where none is."""
        count = table.sum(axis=1)
        wanted = turn % np.maximum(count, 1) + 1
        place = np.argmax(np.cumsum(table, axis=1) >= wanted[:, np.newaxis], axis=1)
        return np.where(count > 0, self._values[column][place], np.nan)
