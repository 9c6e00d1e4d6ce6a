# SPDX-License-Identifier: Apache-2.0
"""Numbers of regressors and outlier scores: within the bound that the new model states for the row, else 4 units.

A bound that is infinite says that the new model does not vouch for the number: a tree may have taken another path.
Such rows are left open and counted. Where not one row of a set has a finite bound, nothing would be compared at all;
those numbers (a logarithmic link among linear models) are held to 4 units in the last place instead.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depickle_runtime.session import Answers

from ..errors import ParityError
from ..sandbox import ReferenceAnswers
from .compare import Outcome, max_ulp
from .refused import LEAST_CERTIFIED

__all__ = ["MAX_REGRESSOR_ULP", "bounded_rows", "check_numbers", "numbers_condition", "require_bounded"]

MAX_REGRESSOR_ULP = 4
"""Units in the last place: what exp of another library build may differ by; sums of trees differ by none."""


def bounded_rows(bound: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_] | None:
    """Rows whose number is vouched for, [N]; None where no row has a finite bound."""
    finite = np.isfinite(np.asarray(bound, dtype=np.float64).reshape(-1))
    return finite if finite.any() else None


def check_numbers(outcome: Outcome, original: ReferenceAnswers, answers: Answers, where: str) -> float | None:
    """Hold the scores of a model that is no classifier to what it promises.

    Where the model states bounds, rows with a finite one are held to it and the others are left open; where it states
    none, or no finite one, all are held to `MAX_REGRESSOR_ULP`.

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
        bounded = bounded_rows(bound)
        if bounded is None:
            units = max_ulp(old, new) or 0
        else:
            share, units = _share_of_bounds(old[bounded], new[bounded], bound[bounded], where), 0
    if units > MAX_REGRESSOR_ULP:
        raise _further(where, f"{units} units in the last place apart", f"at most {MAX_REGRESSOR_ULP}")
    return share


def require_bounded(bounded: int, without: int, where: str) -> None:
    """Refuse a model that vouches for next to nothing: what it leaves open shows nothing.

    Raises:
        ParityError: DP706 where rows are left open and fewer than `LEAST_CERTIFIED` have a finite bound.
    """
    if without and bounded < LEAST_CERTIFIED:
        raise ParityError(
            "The new model vouches for next to none of its numbers",
            code="DP706",
            where=where,
            found=f"{bounded} rows with a finite bound, {without} others",
            expected=f"at least {LEAST_CERTIFIED} rows with a finite bound",
            next_step="depickle migrate --reference-rows rows.csv, with rows as the model sees them in use",
        )


def numbers_condition(share: float | None, without: int = 0) -> dict[str, str]:
    """What the record says of numbers that were held to the bound of their row, and of those `without` one."""
    if share is None:
        return {}
    left = f"; {without} rows without a bound left open" if without else ""
    return {"numbers": f"each within its bound, at most {share:.2g} of it{left}"}


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
