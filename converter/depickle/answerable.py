# SPDX-License-Identifier: Apache-2.0
"""Makes rows that an original with strict encoders, roots or logarithms answers, out of rows on which it would raise.

The rows are for comparing only: a mistake here makes fewer rows certified, and no row wrongly so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .models.dense_types import Categories, Function
from .models.types import Apply, Branches, Chain, Impute, Member, Select, Transform

__all__ = ["answerable_rows"]

FloatArray = npt.NDArray[np.float64]
Sources = npt.NDArray[np.int64]
_LOST = -1


def answerable_rows(root: Any, rows: FloatArray, *, seed: int) -> FloatArray | None:
    """`rows` with categories that the fit saw, and no negative numbers where a function has no result for them.

    Args:
        root: the typed predictor.
        rows: [N, F].
        seed: of the choice of categories.

    Returns:
        The rows, or None where the original refuses none on account of their values.
    """
    known: dict[int, FloatArray] = {}
    positive: set[int] = set()
    _visit(root, np.arange(rows.shape[1]), known, positive)
    if not known and not positive:
        return None
    generator = np.random.default_rng(seed)
    made = rows.copy()
    for column in sorted(positive):
        made[:, column] = np.abs(made[:, column])
    for column, values in sorted(known.items()):
        made[:, column] = generator.choice(values, size=len(made))
    return made


def _visit(part: Any, sources: Sources, known: dict[int, FloatArray], positive: set[int]) -> None:
    match part:
        case Chain(steps=steps, predictor=predictor):
            _visit(predictor, _after(steps, sources, known, positive), known, positive)
        case Member(predictor=predictor, columns=columns):
            _visit(predictor, sources if columns is None else sources[list(columns)], known, positive)
        case _ if is_dataclass(part):  # a composition: its members see what it sees
            for each in fields(part):
                value = getattr(part, each.name)
                for item in value if isinstance(value, tuple) else (value,):
                    if isinstance(item, Chain | Member):
                        _visit(item, sources, known, positive)


def _after(
    steps: Sequence[Transform], sources: Sources, known: dict[int, FloatArray], positive: set[int]
) -> Sources:
    """Which input column each column is after `steps`, or `_LOST` where it is none."""
    for step in steps:
        match step:
            case Select(columns=columns):
                sources = sources[list(columns)]
            case Branches(branches=branches):
                parts = [_after(inner, sources[list(chosen)], known, positive) for chosen, inner in branches]
                sources = np.concatenate(parts)
            case Categories(strict=True):
                for place, source in enumerate(sources.tolist()):
                    values = step.values[(step.column == place) & np.isfinite(step.values)]
                    if source != _LOST and values.size:
                        known[source] = values
                sources = np.full(_width(step), _LOST)
            case Function():
                positive |= set(sources[sources != _LOST].tolist())
            case Apply(function="Truncate"):
                pass  # whole numbers stay as they are
            case Impute(kept=kept, indicators=indicators):
                sources = np.concatenate([sources[list(kept)], np.full(len(indicators), _LOST)])
            case _:  # values change, or the columns do: nothing is known of them from here on
                sources = np.full(_MANY, _LOST)
    return sources


_MANY = 1 << 16
"""Columns that stand for a number of columns that need not be known, since they are all lost."""


def _width(step: Categories) -> int:
    return step.width if step.kept is None else len(step.kept)
