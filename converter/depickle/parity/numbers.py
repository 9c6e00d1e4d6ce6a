# SPDX-License-Identifier: Apache-2.0
"""Numbers of regressors and outlier scores: within the bound that the new model states for the row, else 4 units."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depickle_runtime.session import Answers

from ..errors import ParityError
from ..sandbox import ReferenceAnswers
from .compare import Outcome, max_ulp

__all__ = ["MAX_REGRESSOR_ULP", "check_numbers", "numbers_condition"]

MAX_REGRESSOR_ULP = 4
"""Units in the last place: what exp of another library build may differ by; sums of trees differ by none."""


def check_numbers(outcome: Outcome, original: ReferenceAnswers, answers: Answers, where: str) -> float | None:
    """Hold the scores of a model that is no classifier to what it promises.

    Where the model states a bound, rows with a finite one are held to it, and the others to `MAX_REGRESSOR_ULP`.

    Args:
        outcome: the comparison in units in the last place, which decides where no bound is stated.
        original: the original's answers.
        answers: the new model's.
        where: name of the source and of the rows, for the error.

    Returns:
        The largest share of a bound that a difference takes up, or None where the model states none.

    Raises:
        ParityError: DP702 where a number is further from the original's.
    """
    units, share = outcome.rows.max_ulp_scores or 0, None
    if answers.bound is not None and answers.margin is None and answers.scores is not None:
        bound = np.asarray(answers.bound, dtype=np.float64).reshape(-1)
        old = np.asarray(original.predict, dtype=np.float64).reshape(-1)
        new = np.asarray(answers.scores, dtype=np.float64).reshape(-1)
        bounded = np.isfinite(bound)
        share = _share_of_bounds(old[bounded], new[bounded], bound[bounded], where)
        units = max_ulp(old[~bounded], new[~bounded]) or 0
    if units > MAX_REGRESSOR_ULP:
        raise _further(where, f"{units} units in the last place apart", f"at most {MAX_REGRESSOR_ULP}")
    return share


def numbers_condition(share: float | None) -> dict[str, str]:
    """What the record says of numbers that were held to the bound of their row."""
    return {} if share is None else {"numbers": f"each within its bound, at most {share:.2g} of it"}


def _share_of_bounds(
    old: npt.NDArray[np.float64], new: npt.NDArray[np.float64], bound: npt.NDArray[np.float64], where: str
) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(old - new)
        beyond = ~(apart <= bound)  # a NaN is beyond every bound
    if beyond.any():
        first = int(np.argmax(beyond))
        raise _further(
            where, f"{apart[first]:.3g} apart, {int(beyond.sum())} such rows", f"at most {bound[first]:.3g}"
        )
    return float(np.max(apart[bound > 0] / bound[bound > 0], initial=0.0))


def _further(where: str, found: str, expected: str) -> ParityError:
    return ParityError(
        "The new model does not give the same numbers",
        code="DP702",
        where=where,
        found=found,
        expected=expected,
        next_step="report the model family; the original is untouched",
    )
