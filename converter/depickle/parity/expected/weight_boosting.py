# SPDX-License-Identifier: Apache-2.0
"""AdaBoost: votes added in the order of the members; weighted medians, off by no more than rounding may choose.

For a median the original sorts the members' answers, adds their weights in that order, and takes the first answer at
which they reach half of the last sum. Every sum, in any order, is within gamma(M) W of the exact one, W being all
weights. So at its answer v the weights of answers up to v are at least W/2 - 1.5 gamma(M) W, and those of answers
below v less than W/2 + 1.5 gamma(M) W. Here the sums are as near to the exact ones. If no member is off by more than
e, the first answer at which they reach W/2 - 4 gamma(M) W is therefore at most v + e, that at which they reach
W/2 + 4 gamma(M) W at least v - e, and what is answered here lies between the two: it is off by at most their distance
and e. Where e is infinite, so is the bound: near answers that change places may make another member's the median.

Without e, sums of the same numbers in the same order are bit-equal. Only equal answers leave that order open, as
numpy's sort is not stable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record, plain
from ..walk import Expected
from .answers import DOUBLE_STEPS, argmax, dot_gamma, lead, soft_max, threshold_rule
from .compositions import itself, present, response
from .derivation import Derivation, NotDerivedError, width_of
from .forests import forest_paths, forest_rows, leaf_table
from .inexact import CARRIED, LEAST
from .node_tables import leaf_rows
from .paths import exact_only, hold_paths
from .reading import Labels, array, integer, labels, records, unreadable
from .spread import EXP_SPREAD, UNKNOWN, as_bound
from .vocabulary import Answer, Spread, add_up, apply, as_double, columns, constant, scalar

__all__ = ["expect_adaboost", "expect_weighted_median"]

_TREES = {
    f"sklearn.tree._classes.{kind}Tree{task}"
    for kind in ("Decision", "Extra")
    for task in ("Classifier", "Regressor")
}
_VOTES_CHANGED_IN = (1, 3)
"""From its second release on a SAMME member votes against the classes that it did not choose."""
_SAMME_ALONE_SINCE = (1, 6)
"""From here on the attribute `algorithm` has no effect."""
_LEAST_WEIGHT, _MOST_WEIGHT = 2.0**-900, 2.0**900
"""Sums of such weights and their halves neither overflow nor lose digits."""
FloatArray = npt.NDArray[np.float64]


def expect_adaboost(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """AdaBoostClassifier (ensemble/_weight_boosting.py, ``decision_function`` and ``predict``)."""
    known = labels(owner)
    width = len(known)
    members = [itself(member) for member in records(owner, "estimators_")]
    weights = np.asarray(array(owner, "estimator_weights_"), dtype=np.float64)
    since = derive.version(owner)
    real = since < _SAMME_ALONE_SINCE and plain(owner.get("algorithm")) == "SAMME.R"
    against = not real and _votes_against(owner, derive)
    if weights.ndim != 1 or not 0 < len(members) <= len(weights) or width < 2:
        raise unreadable(owner, "estimator_weights_", "a weight for each member")
    if not all(member.cls in _TREES for member in members):
        if real:
            raise NotDerivedError("logarithms of probabilities of other members than trees")
        return _votes_of_any(owner, members, rows, derive)
    if any(not member.name.endswith("Classifier") or labels(member) != known for member in members):
        raise NotDerivedError("members of other classes than the ensemble's")
    tables = [
        _logarithms(leaf_rows(member, width), since)
        if real
        else _tree_votes(leaf_rows(member, width), _vote(weight, width, against))
        for member, weight in zip(members, weights.tolist(), strict=False)
    ]
    found = _decided(known, forest_rows(members, tables, rows), weights)
    kept = forest_paths(members, tables, rows)
    if not real:
        return hold_paths(found, kept)
    band = _logarithm_band(len(members), width)
    margin = lead(present(found.scores), 1 if width == 2 else width)
    found = replace(
        found,
        margin=margin,
        bound=as_bound(band, margin),
        score_error=band,
        probability_error=band + EXP_SPREAD,
    )
    return hold_paths(found, kept)


def _votes_of_any(owner: Record, members: Sequence[Record], rows: Expected, derive: Derivation) -> Answer:
    """Each member votes with its label; where all labels are certain, the sums are bit-equal."""
    exact_only(rows)
    known = labels(owner)
    weights = np.asarray(array(owner, "estimator_weights_"), dtype=np.float64)
    _member_weights(owner, len(members))
    axis, classes = constant([1], np.int64), constant(range(len(known)), np.int64)
    votes, certain = [], []
    for member, weight in zip(members, weights.tolist(), strict=False):
        if width_of(member) != integer(owner, "n_features_in_"):
            raise unreadable(owner, "estimators_", "members that see all columns")
        answer = derive.beside().answer(member, rows)
        if answer.labels != known or answer.index is None:
            raise NotDerivedError("members of other classes than the ensemble's")
        own, other = _vote(weight, len(known), _votes_against(owner, derive))
        hit = apply("Equal", apply("Unsqueeze", answer.index, axis), classes)
        votes.append(apply("Where", hit, scalar(own), scalar(other)))
        if answer.margin is not None:
            certain.append(apply("Greater", answer.margin, present(answer.bound)))
    found = _decided(known, add_up(votes), weights)
    if not certain:
        return found
    every = reduce(lambda left, right: apply("And", left, right), certain)
    column = apply("Unsqueeze", every, axis)
    margin = apply("Where", every, scalar(1.0), scalar(0.0))
    return replace(
        found,
        margin=margin,
        bound=apply("Mul", margin, scalar(0.0)),
        score_error=apply("Where", column, scalar(0.0), scalar(UNKNOWN)),
        probability_error=apply("Where", column, scalar(EXP_SPREAD), scalar(UNKNOWN)),
    )


def _decided(known: Labels, votes: Expected, weights: FloatArray) -> Answer:
    """Scores, label and probabilities of votes; they are divided by all weights, those without a member too."""
    whole = float(weights.sum())
    if not 0.0 < whole < math.inf:
        raise unreadable("AdaBoostClassifier", "estimator_weights_", "weights with a sum")
    width = len(known)
    sums = apply("Div", votes, scalar(whole))
    if width == 2:
        raw = apply("Sub", columns(sums, [1]), columns(sums, [0]))
        halves = apply("Div", apply("Concat", apply("Neg", raw), raw, axis=1), scalar(2.0))
        p = soft_max(halves, 2)
        index = threshold_rule(raw, "Greater", 0.0)
    else:
        raw = sums
        p = soft_max(apply("Div", raw, scalar(width - 1)), width)
        index = argmax(raw)
    return Answer(
        labels=known, index=index, probabilities=p, scores=raw, probability_error=EXP_SPREAD, decides=True
    )


def _votes_against(owner: Record, derive: Derivation) -> bool:
    since = derive.version(owner)
    if since != _VOTES_CHANGED_IN:
        return since > _VOTES_CHANGED_IN
    own = plain(owner.get("_sklearn_version"))
    last = (own if isinstance(own, str) else derive.writer.get("scikit-learn", "")).removeprefix("1.3.")
    if last not in ("0", "1", "2"):
        raise NotDerivedError("SAMME of 1.3, of a release that counts votes nobody knows how")
    return last != "0"


def _vote(weight: float, width: int, against: bool) -> tuple[float, float]:
    """What a member gives the class that it chose, and every other class."""
    return weight, -1 / (width - 1) * weight if against else 0.0


def _tree_votes(rows: FloatArray, vote: tuple[float, float]) -> FloatArray:
    chosen = rows.argmax(axis=1)[:, np.newaxis] == np.arange(rows.shape[1])
    return np.asarray(np.where(chosen, *vote), dtype=np.float64)


def _logarithms(rows: FloatArray, since: tuple[int, int]) -> FloatArray:
    """``_samme_proba`` of each leaf. Before 1.4 it holds counts, which predict_proba turns into fractions."""
    count = rows.shape[1]
    sums = rows.sum(axis=1, keepdims=True)
    shares = rows / np.where(sums == 0.0, 1.0, sums) if since < (1, 4) else rows
    log = np.log(np.maximum(shares, np.finfo(np.float64).eps))
    return np.asarray((count - 1) * (log - (1.0 / count) * log.sum(axis=1, keepdims=True)))


def _logarithm_band(members: int, width: int) -> float:
    """How far two sums of logarithms may be off together, u = 2^-53.

    A logarithm of a probability not below 2^-52 is at most 37 and errs by 4 units in the last place, 256u;
    its distance from the mean of K, times K - 1, by (K - 1)(660 + 37K)u; the mean of T of them by 37(K - 1)T u more.
    Two sums on two sides err by 4(K - 1)(660 + 37(K + T))u in all, which is less than (K - 1)(K + T)2^-42.
    """
    return float(DOUBLE_STEPS) * 64 * (members + width) * (width - 1)


def expect_weighted_median(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """AdaBoostRegressor (ensemble/_weight_boosting.py, ``_get_median_predict``)."""
    members = [itself(member) for member in records(owner, "estimators_")]
    count = len(members)
    if any(width_of(member) != integer(owner, "n_features_in_") for member in members):
        raise unreadable(owner, "estimators_", "members that see all columns")
    weights = _member_weights(owner, count)
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


def _member_weights(owner: Record, count: int) -> FloatArray:
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
