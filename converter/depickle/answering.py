# SPDX-License-Identifier: Apache-2.0
"""The original is rebuilt once for all sets of rows, where they fit into one question, and not once for each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .sandbox import ReferenceAnswers

__all__ = ["MAX_CELLS", "AnsweredOnce"]

MAX_CELLS = 4_000_000
"""Numbers of one question: 32 MB. A larger set is asked by itself, so that its own limits of time apply to it."""

Rows = npt.NDArray[np.float64]
Ask = Callable[[Rows], ReferenceAnswers]


class AnsweredOnce:
    """Answers each set of rows out of one answer to all of them.

    Args:
        ask: asks the original.
        sets: the sets that will be asked for; any other rows are asked by themselves when they come.
    """

    def __init__(self, ask: Ask, sets: Sequence[Rows]) -> None:
        self._ask = ask
        self._ready: dict[bytes, ReferenceAnswers] = {}
        self._together = sorted((rows for rows in sets if rows.size), key=lambda rows: rows.size)
        while len(self._together) > 1 and sum(rows.size for rows in self._together) > MAX_CELLS:
            self._together.pop()  # the largest

    def __call__(self, rows: Rows) -> ReferenceAnswers:
        """The original's answers to `rows`.

        Raises:
            SecurityError: as the worker's.
        """
        key = _key(rows)
        together, self._together = self._together, []
        if len(together) > 1:
            answers = self._ask(np.concatenate(together))
            start = 0
            for each in together:
                self._ready[_key(each)] = _part(answers, start, start + len(each))
                start += len(each)
        ready = self._ready.get(key)
        return self._ask(rows) if ready is None else ready


def _key(rows: Rows) -> bytes:
    return hashlib.sha256(repr(rows.shape).encode() + np.ascontiguousarray(rows).tobytes()).digest()


def _part(answers: ReferenceAnswers, start: int, end: int) -> ReferenceAnswers:
    def cut(values: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
        return None if values is None else values[start:end]

    return replace(
        answers,
        predict=cut(answers.predict),
        predict_proba=cut(answers.predict_proba),
        decision_function=cut(answers.decision_function),
        others={name: values[start:end] for name, values in answers.others.items()},
        alone=None if answers.alone is None else _part(answers.alone, start, end),
    )
