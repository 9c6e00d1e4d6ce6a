# SPDX-License-Identifier: Apache-2.0
"""Rows on which the original raises: what the new model certifies is compared, a sample of the rest is asked alone.

An encoder that never saw a category and the logarithm of 0 make the original raise for a whole batch. The new model
certifies no such row, so it gives no answer there that could be wrong. A certified row on which the original raises
stops the migration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from depickle_runtime.session import Answers

from ..errors import ParityError, SandboxError
from ..sandbox import ReferenceAnswers
from .compare import NamedRows

__all__ = ["LEAST_CERTIFIED", "Compared", "OpenRows"]

LEAST_CERTIFIED = 100
"""Certified rows without which a model that refuses rows counts as not compared at all."""

ASKED_ALONE = 20
"""Rows of each set that are asked one at a time, of those that are not certified."""

_RAISES = "DP513"


@dataclass(frozen=True)
class Compared:
    """The rows of a set that the original answers, with both models' answers."""

    rows: NamedRows
    original: ReferenceAnswers
    answers: Answers
    certified: npt.NDArray[np.bool_] | None


class OpenRows:
    """Asks the original, and counts the rows that had to be left out.

    Args:
        reference: asks the original; DP513 where it raises.
        where: name of the source, for errors.
    """

    def __init__(
        self, reference: Callable[[npt.NDArray[np.float64]], ReferenceAnswers], *, where: str
    ) -> None:
        self._reference = reference
        self._where = where
        self._left_out = self._compared = self._asked = self._refused = 0

    def compare(
        self, rows: NamedRows, answers: Answers, certified: npt.NDArray[np.bool_] | None
    ) -> Compared | None:
        """The rows to compare, all of them where the original answers all; None where none is certified.

        Raises:
            SandboxError: as the worker's; DP513 where the original raises on certified rows too.
        """
        try:
            found = Compared(rows, self._reference(rows.values), answers, certified)
            self._compared += len(rows.values) if certified is None else int(certified.sum())
            return found
        except SandboxError as refusal:
            if refusal.code != _RAISES or certified is None:
                raise
        # Sets may be asked together, so the row on which the original raised need not be one of this set.
        self._ask_alone(rows.values[~certified])
        if not certified.any():
            return None
        kept = NamedRows(rows.name, rows.values[certified])
        original = self._reference(kept.values)
        self._compared += len(kept.values)
        return Compared(kept, original, _chosen(answers, certified), certified[certified])

    def _ask_alone(self, rows: npt.NDArray[np.float64]) -> None:
        self._left_out += len(rows)
        for place in np.linspace(0, len(rows) - 1, num=min(ASKED_ALONE, len(rows))).astype(np.int64):
            self._asked += 1
            try:
                self._reference(rows[place : place + 1])
            except SandboxError as refusal:
                if refusal.code != _RAISES:
                    raise
                self._refused += 1

    def condition(self) -> dict[str, str]:
        """What the record says of rows that were left out.

        Raises:
            ParityError: DP706 where so few of the rows are certified that nothing was shown.
        """
        if not self._left_out:
            return {}
        if self._compared < LEAST_CERTIFIED:
            raise ParityError(
                "The original raises on nearly every row there is to compare",
                code="DP706",
                where=self._where,
                found=f"{self._compared} certified rows, {self._left_out} others",
                expected=f"at least {LEAST_CERTIFIED} rows that the original answers",
                next_step="depickle migrate --reference-rows rows.csv, with rows as the model sees them in use",
            )
        return {
            "rows_left_open": f"{self._left_out} not certified, not compared; of {self._asked} of them asked alone "
            f"the original refused {self._refused}"
        }


def _chosen(answers: Answers, keep: npt.NDArray[np.bool_]) -> Answers:
    parts = {each.name: getattr(answers, each.name) for each in fields(Answers)}
    return Answers(**{name: None if values is None else values[keep] for name, values in parts.items()})
