# SPDX-License-Identifier: Apache-2.0
"""AdaBoost's weighted medians of regressors: bit-equal, or off by no more than the answers that rounding may choose.

The original sorts the members' answers, adds their weights in that order, and takes the first answer at which they
reach half of the last sum. Every sum, in any order, is within gamma(M) W of the exact one, W being all weights. So at
its answer v the weights of answers up to v are at least W/2 - 1.5 gamma(M) W, and those of answers below v less than
W/2 + 1.5 gamma(M) W. Here the sums are as near to the exact ones. If no member is off by more than e, the first
answer at which they reach W/2 - 4 gamma(M) W is therefore at most v + e, that at which they reach W/2 + 4 gamma(M) W
at least v - e, and what is answered here lies between the two: it is off by at most their distance and e. Where e is
infinite, so is the bound: near answers that change places may make another member's the median.

Without e, sums of the same numbers in the same order are bit-equal. Only equal answers leave that order open, as
numpy's sort is not stable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record
from ..walk import Expected
from .answers import dot_gamma
from .compositions import expect_search, response
from .derivation import Derivation, NotDerivedError, steps, width_of
from .forests import leaf_table
from .inexact import CARRIED, LEAST
from .node_tables import leaf_rows
from .reading import array, integer, record, records, unreadable
from .vocabulary import Answer, Spread, apply, as_double, columns, constant, scalar

__all__ = ["expect_weighted_median", "member_weights"]

_TREES = {f"sklearn.tree._classes.{kind}TreeRegressor" for kind in ("Decision", "Extra")}
_LEAST_WEIGHT, _MOST_WEIGHT = 2.0**-900, 2.0**900
"""Sums of such weights and their halves neither overflow nor lose digits."""
FloatArray = npt.NDArray[np.float64]


def expect_weighted_median(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """AdaBoostRegressor (ensemble/_weight_boosting.py, ``_get_median_predict``)."""
    members = [_itself(member, derive) for member in records(owner, "estimators_")]
    count = len(members)
    if any(width_of(member) != integer(owner, "n_features_in_") for member in members):
        raise unreadable(owner, "estimators_", "members that see all columns")
    weights = member_weights(owner, count)
    error: Spread = 0.0
    single = False
    if all(member.cls in _TREES for member in members):
        tables = [_leaf_numbers(member) for member in members]
        answers = apply("Squeeze", leaf_table(members, tables, rows), constant([2], np.int64))
        ties = _shared(tables)
    else:
        found = [derive.beside().answer(member, rows) for member in members]
        if any(answer.labels is not None for answer in found):
            raise NotDerivedError("a median of labels")
        values = [response(answer, scores=True) for answer in found]
        answers = values[0][0] if count == 1 else apply("Concat", *(value for value, _ in values), axis=1)
        error = _largest([spread for _, spread in values])
        ties = count > 1
        single = all(answer.single for answer in found)
    top = apply("TopK", answers, constant([count], np.int64), axis=1, largest=0, sorted=1)
    places = Expected(top.operator, top.inputs, top.attributes, output=1)
    running = apply("CumSum", apply("Gather", constant(weights), places, axis=0), constant(1, np.int64))

    def first(least: Expected) -> Expected:
        reached = as_double(apply("GreaterOrEqual", running, least))
        place = apply("ArgMax", reached, axis=1, keepdims=1, select_last_index=0)
        return apply("GatherElements", top, place, axis=1)

    median = first(apply("Mul", columns(running, [count - 1]), scalar(0.5)))
    if not isinstance(error, Expected) and error == 0.0 and not ties:
        return Answer(scores=median, single=single)
    whole = math.fsum(weights.tolist())
    slack = 4.0 * dot_gamma(count) * whole
    apart = apply("Sub", first(scalar(0.5 * whole + slack)), first(scalar(0.5 * whole - slack)))
    if isinstance(error, Expected) or error != 0.0:
        off = error if isinstance(error, Expected) else scalar(error)
        spread = apply("Add", apply("Mul", apply("Add", apart, off), scalar(CARRIED)), scalar(LEAST))
        return Answer(scores=median, score_error=spread, single=single)
    neighbours = (columns(top, range(start, start + count - 1)) for start in (0, 1))
    equal = as_double(apply("Equal", *neighbours))
    tied = apply("Greater", apply("ReduceMax", equal, constant([1], np.int64), keepdims=1), scalar(0.0))
    spread = apply("Mul", apply("Where", tied, apart, scalar(0.0)), scalar(CARRIED))
    return Answer(scores=median, score_error=spread, single=single)


def member_weights(owner: Record, count: int) -> FloatArray:
    """The weights of the members; the vector is longer where boosting ended early.

    Raises:
        ParityError: DP710 where sums of them might not be what sums of numbers are.
    """
    weights = array(owner, "estimator_weights_")
    if weights.dtype != np.float64 or weights.ndim != 1 or not 0 < count <= len(weights):
        raise unreadable(owner, "estimator_weights_", "a weight for each member")
    found = np.array(weights[:count], dtype=np.float64)
    if not bool(((found == 0.0) | ((found >= _LEAST_WEIGHT) & (found <= _MOST_WEIGHT))).all()):
        raise unreadable(owner, "estimator_weights_", "weights that are not negative")
    return found


def _itself(member: Record, derive: Derivation) -> Record:
    """What a search refitted, and what a pipeline has as its only step, answers in its place."""
    while True:
        if derive.families.get(member.cls) is expect_search:
            member = record(member, "best_estimator_")
        elif member.cls == "sklearn.pipeline.Pipeline" and len(steps(member)) == 1:
            (member,) = steps(member)
        else:
            return member


def _leaf_numbers(member: Record) -> FloatArray:
    numbers = leaf_rows(member, 1)
    if integer(member, "n_outputs_") != 1 or not bool(np.isfinite(numbers).all()):
        raise unreadable(member, "tree_.values", "one finite number for each leaf")
    return numbers


def _shared(tables: Sequence[FloatArray]) -> bool:
    """Whether two trees have a number in common; 0.0 is -0.0."""
    _, counts = np.unique(np.concatenate([np.unique(numbers) for numbers in tables]), return_counts=True)
    return bool((counts > 1).any())


def _largest(spreads: Sequence[Spread]) -> Spread:
    """The largest: of those that depend on the row and the largest of the constants."""
    fixed = max((spread for spread in spreads if not isinstance(spread, Expected)), default=0.0)
    varying = [spread for spread in spreads if isinstance(spread, Expected)]
    if not varying or fixed == math.inf:
        return fixed
    parts = [*varying, scalar(fixed)] if fixed > 0.0 else varying
    return parts[0] if len(parts) == 1 else apply("Max", *parts)
