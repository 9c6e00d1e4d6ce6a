# SPDX-License-Identifier: Apache-2.0
"""One feature of a catalogue: what it is called, what it means, and its formula as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .expressions import Expression, Guard, as_json, bars_needed, columns_read

__all__ = ["Definition"]


@dataclass(frozen=True, slots=True)
class Definition:
    """A feature, frozen within its catalogue version.

    Attributes:
        name: the name a model's record uses.
        meaning: one sentence.
        unit: unit or range of the value.
        source: where the formula comes from.
        formula: the formula as data.
        guard: bars on which the feature is undefined, or None.
    """

    name: str
    meaning: str
    unit: str
    source: str
    formula: Expression
    guard: Guard | None = None

    @property
    def warm_up(self) -> int:
        """How many last bars the value is computed from: with fewer there is no value."""
        return bars_needed(self.formula, self.guard)

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the bars that the formula reads."""
        return columns_read(self.formula)

    def as_json(self) -> dict[str, Any]:
        """What the catalogue's digest covers: all that a value depends on, and not the wording around it."""
        return {
            "name": self.name,
            "unit": self.unit,
            "formula": as_json(self.formula),
            "guard": as_json(self.guard),
            "warm_up": self.warm_up,
        }
