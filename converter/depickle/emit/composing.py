# SPDX-License-Identifier: Apache-2.0
"""What the emitters of compositions share: members, their responses and columns, and shares of a sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from ..models.types import Member, Predictor, Response
from .certain import Rows
from .graph import Graph
from .interface import Heads
from .links import join_columns
from .spread import Spread

__all__ = ["Emit", "batch_of", "column_of", "emit_member", "largest_gamma", "present", "response_of", "share"]

Emit: TypeAlias = Callable[[Graph, Rows, Predictor], Heads]


def emit_member(graph: Graph, rows: Rows, member: Member, emit: Emit) -> Heads:
    """The member on the columns that it was given."""
    if member.columns is not None:
        rows = rows.columns(graph, member.columns)
    return emit(graph, rows, member.predictor)


def column_of(graph: Graph, values: str, place: int) -> str:
    """[N, 1]."""
    return graph.add("Gather", values, graph.constant(np.array([place]), "int64"), axis=1)


def batch_of(heads: Sequence[Heads]) -> int | None:
    """Members run one after the other, so the narrowest bound holds for each."""
    known = [head.max_batch for head in heads if head.max_batch is not None]
    return min(known) if known else None


def present(value: str | None) -> str:
    """An output that the reader made sure of."""
    if value is None:
        raise TypeError("the reader admitted a member without the answer that its composition needs")
    return value


def response_of(graph: Graph, head: Heads, response: Response) -> tuple[str, Spread]:
    """Scores or probabilities of a member, and how far they may be off."""
    if response == "scores":
        return present(head.scores), head.score_error
    return present(head.probabilities), head.probability_error


def share(graph: Graph, columns: list[str], *, uniform: bool) -> str:
    """Each column over the sum of all, added from the first; where it is 0, 1/K or the column itself."""
    sums = columns[0]
    for column in columns[1:]:
        sums = graph.add("Add", sums, column)
    joined = join_columns(graph, columns)
    empty = graph.add("Equal", sums, graph.scalar(0.0))
    instead = graph.scalar(1.0 / len(columns)) if uniform else joined
    return graph.add("Where", empty, instead, graph.add("Div", joined, sums))


def largest_gamma(heads: Sequence[Heads]) -> float:
    """The largest constant of the members' bounds."""
    return max(head.gamma for head in heads if head.gamma is not None)
