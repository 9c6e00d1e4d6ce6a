# SPDX-License-Identifier: Apache-2.0
"""Numbers of regressors: held to finite bounds, left open and counted where a bound is infinite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from depickle.errors import ParityError
from depickle.parity.compare import NamedRows, Outcome, compare_answers
from depickle.parity.numbers import bounded_rows, check_numbers, numbers_condition, require_bounded
from depickle.sandbox import ReferenceAnswers
from depickle_runtime.session import Answers

Numbers = npt.NDArray[np.float64]


def _asked(old: Numbers, new: Numbers, bound: Numbers) -> float | None:
    answers = Answers(None, None, new[:, np.newaxis], None, bound)
    return check_numbers(_outcome(old, new), ReferenceAnswers(old, None, None), answers, "a model")


def _outcome(old: Numbers, new: Numbers) -> Outcome:
    return compare_answers(
        NamedRows("random", np.zeros((len(old), 1))),
        reference_labels=None,
        labels=None,
        reference_probabilities=None,
        probabilities=None,
        reference_scores=old,
        scores=new,
    )


def test_a_number_without_a_finite_bound_may_be_anything_beside_others_with_one() -> None:
    old, new = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, -7.0])
    assert _asked(old, new, np.array([0.0, 1.0, np.inf])) == 0.5


def test_a_number_beyond_a_finite_bound_is_refused_whatever_is_open_beside_it() -> None:
    old, new = np.array([1.0, 2.0]), np.array([1.5, 2.0])
    with pytest.raises(ParityError) as refusal:
        _asked(old, new, np.array([0.25, np.inf]))
    assert refusal.value.code == "DP702"


def test_where_no_bound_is_finite_numbers_are_held_to_units_in_the_last_place() -> None:
    old = np.array([1.1, 2.2])
    never = np.full(2, np.inf)
    assert bounded_rows(never) is None
    assert _asked(old, np.nextafter(old, 9.0), never) is None
    with pytest.raises(ParityError) as refusal:
        _asked(old, old + 1e-9, never)
    assert refusal.value.code == "DP702"


def test_open_rows_are_counted_and_a_model_of_little_else_is_refused() -> None:
    assert numbers_condition(0.5, 3) == {
        "numbers": "each within its bound, at most 0.5 of it; 3 rows without a bound left open"
    }
    require_bounded(100, 5, "a model")
    require_bounded(0, 0, "a model")
    with pytest.raises(ParityError) as refusal:
        require_bounded(99, 5, "a model")
    assert refusal.value.code == "DP706"
