# SPDX-License-Identifier: Apache-2.0
"""A loaded model says which of its answers it vouches for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from depickle_runtime.loaded_model import LoadedModel
from depickle_runtime.session import Answers

from .signal_sim import record

ROWS = np.zeros((4, 3))
NUMBERS = np.array([[1.0], [2.0], [3.0], [4.0]])


class _Session:
    """Answers any rows with what the test chooses."""

    def __init__(self, margin: list[float] | None, bound: list[float] | None) -> None:
        self._margin, self._bound = (
            None if side is None else np.array(side, dtype=np.float64) for side in (margin, bound)
        )

    def run(self, X: npt.ArrayLike) -> Answers:
        return Answers(None, None, NUMBERS, self._margin, self._bound)


def _model(margin: list[float] | None, bound: list[float] | None, **changes: Any) -> LoadedModel:
    verified = SimpleNamespace(record=record(**changes), name="EURUSD")
    return LoadedModel(verified, _Session(margin, bound))  # type: ignore[arg-type]  # what the test chooses


@pytest.mark.parametrize(
    ("margin", "bound", "tier", "counted"),
    [
        (None, [1e-12, np.inf, np.nan, 0.0], "certified", [True, False, False, True]),
        ([1.0, 0.0, np.nan, 2.0], [0.5, 0.0, 0.5, np.inf], "certified", [True, False, False, False]),
        (None, None, "proven", [True] * 4),
        (None, None, "sampled", [False] * 4),
        (None, [0.0] * 4, "sampled", [False] * 4),
    ],
)
def test_rows_count_where_the_model_vouches_for_them(
    margin: list[float] | None, bound: list[float] | None, tier: str, counted: list[bool]
) -> None:
    assert _model(margin, bound, tier=tier).certified(ROWS).tolist() == counted


def test_predict_answers_the_other_rows_of_a_regressor_too() -> None:
    model = _model(None, [0.0, np.inf, 0.0, 0.0], tier="certified", task="regressor", classes=None)
    assert model.predict(ROWS).tolist() == [1.0, 2.0, 3.0, 4.0]
    assert model.certified(ROWS).tolist() == [True, False, True, True]
