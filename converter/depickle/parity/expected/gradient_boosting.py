# SPDX-License-Identifier: Apache-2.0
"""GradientBoosting of scikit-learn, by the source of each version (ensemble/_gb.py, _gb_losses.py, _loss/link.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from ...pickles.graph import Array, Record, plain
from ..walk import Expected, ExpectedTree
from .answers import (
    DOUBLE_STEPS,
    argmax,
    distinct_lead,
    even_chance,
    lead,
    logistic,
    soft_max,
    threshold_rule,
    two_classes,
)
from .derivation import Derivation
from .forests import leaf_table
from .node_tables import constant_tree, weighted_tree
from .not_derived import NotDerivedError
from .paths import exact_only, hold_paths, paths_kept
from .reading import labels, number, one_of, record, records, unreadable, vector
from .spread import EXP_SPREAD, as_bound
from .vocabulary import Answer, add_up, apply, as_double, as_single, columns, constant, scalar, trees

__all__ = ["expect_gradient_boosting"]

_COMMON_LOSSES_SINCE = (1, 4)
"""From here on ``sklearn._loss``: the label is taken from raw scores, the prior is a symmetric logit."""
_DOUBLE_EPS_SINCE = (1, 8)
"""From here on the prior is clipped at the epsilon of float64, before at that of float32."""


def expect_gradient_boosting(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """GradientBoostingClassifier and GradientBoostingRegressor."""
    since = derive.version(owner)
    grid = owner.get("estimators_")
    if not isinstance(grid, Array) or len(grid.shape) != 2 or 0 in grid.shape:
        raise unreadable(owner, "estimators_", "a grid of trees, stages by classes")
    members = records(owner, "estimators_")
    width = int(grid.shape[1])
    classifier = owner.name == "GradientBoostingClassifier"
    if width != (len(labels(owner)) if classifier and len(labels(owner)) > 2 else 1):
        raise unreadable(owner, "estimators_", "as many trees a stage as there are raw scores")
    exponential = one_of(owner, "loss", "exponential")
    rate = number(owner, "learning_rate")
    start = owner.get("init_")
    if isinstance(start, Record) and not start.name.startswith("Dummy"):
        return _from_a_model(owner, start, members, width, rows, derive)
    prior = _prior(owner, since, width, classifier=classifier, exponential=exponential)
    found = [constant_tree(float(value), place) for place, value in enumerate(prior)]
    found += [weighted_tree(member, rate, place % width) for place, member in enumerate(members)]
    raw = trees(_narrowed(rows), found, targets=width)
    kept = paths_kept(rows, found, _narrowed)
    if not classifier:
        return hold_paths(Answer(scores=raw), kept)
    p = soft_max(raw, width) if width > 1 else two_classes(logistic(raw, factor=2.0 if exponential else 1.0))
    known = labels(owner)
    recent = since >= _COMMON_LOSSES_SINCE or (exponential and width == 1)
    cut = 0.0 if recent else even_chance(1.0)
    index = argmax(raw) if width > 1 else threshold_rule(raw, "GreaterOrEqual", cut)
    if plain(owner.get("init_")) != "zero":
        # The prior is a logarithm, which releases of numpy and scipy round differently: no sum is surely bit-equal.
        band = _prior_band(prior, found[width:])
        margin = lead(raw, width)
        spread = band + EXP_SPREAD
        answer = Answer(known, index, p, raw, margin, as_bound(band, margin), band, spread, decides=True)
        return hold_paths(answer, kept)
    if recent:
        return hold_paths(Answer(known, index, p, raw, probability_error=EXP_SPREAD, decides=True), kept)
    # Before, the label was the largest probability, which passed through exp.
    margin = distinct_lead(raw, width)
    bound = as_bound(float(DOUBLE_STEPS), margin)
    answer = Answer(known, index, p, raw, margin, bound, probability_error=EXP_SPREAD, decides=True)
    return hold_paths(answer, kept)


def _narrowed(rows: Expected) -> Expected:
    return as_double(as_single(rows))


_HIGHEST_LOG = 37.0
"""No logarithm of a probability clipped at 2^-52, and of its odds, is larger."""


def _from_a_model(
    owner: Record, start: Record, members: list[Record], width: int, rows: Expected, derive: Derivation
) -> Answer:
    """``raw_predictions`` begin with what ``init_`` answers for the rows as float32, and each stage adds to them."""
    exact_only(rows)
    since = derive.version(owner)
    rate = number(owner, "learning_rate")
    narrow = _narrowed(rows)
    first = derive.beside().answer(start, narrow)
    stages = [weighted_tree(member, rate, place % width) for place, member in enumerate(members)]
    tables = [tree.weight[tree.left < 0][:, np.newaxis] for tree in stages]
    leaves = apply("Squeeze", leaf_table(members, tables, narrow), constant([2], np.int64))
    classifier = owner.name == "GradientBoostingClassifier"
    if classifier:
        if first.probabilities is None or first.probability_error != 0.0:
            raise NotDerivedError("a start from probabilities that are not exact")
        if first.labels != tuple(range(len(labels(owner)))):
            raise unreadable(owner, "init_", "a classifier of the encoded classes")
        begin = _logarithms(owner, first.probabilities, since, width)
    else:
        if first.scores is None or first.score_error != 0.0 or first.labels is not None:
            raise NotDerivedError("a start from values that are not exact")
        begin = first.scores
    sums = []
    for place in range(width):
        own = list(range(place, len(members), width))
        both = (begin, leaves) if width == 1 else (columns(begin, [place]), columns(leaves, own))
        running = apply("CumSum", apply("Concat", *both, axis=1), constant(1, np.int64))
        sums.append(columns(running, [len(own)]))
    raw = sums[0] if width == 1 else apply("Concat", *sums, axis=1)
    if not classifier:
        return Answer(scores=raw)
    exponential = one_of(owner, "loss", "exponential")
    p = soft_max(raw, width) if width > 1 else two_classes(logistic(raw, factor=2.0 if exponential else 1.0))
    recent = since >= _COMMON_LOSSES_SINCE or (exponential and width == 1)
    cut = 0.0 if recent else even_chance(1.0)
    index = argmax(raw) if width > 1 else threshold_rule(raw, "GreaterOrEqual", cut)
    band = _prior_band(np.full(width, _HIGHEST_LOG), stages, width)
    margin = lead(raw, width)
    bound = as_bound(band, margin)
    return Answer(labels(owner), index, p, raw, margin, bound, band, band + EXP_SPREAD, decides=True)


def _logarithms(owner: Record, p: Expected, since: tuple[int, int], width: int) -> Expected:
    """Raw scores: log-odds of the second class; of several classes logarithms, since 1.4 less their mean."""
    eps = float(np.finfo(np.float64 if since >= _DOUBLE_EPS_SINCE else np.float32).eps)
    limits = constant(eps), constant(1 - eps)
    if width == 1:
        second = apply("Clip", columns(p, [1]), *limits)
        odds = apply("Log", apply("Div", second, apply("Sub", scalar(1.0), second)))
        return apply("Mul", scalar(0.5), odds) if one_of(owner, "loss", "exponential") else odds
    logs = apply("Log", apply("Clip", p, *limits))
    if since < _COMMON_LOSSES_SINCE:
        return logs
    mean = apply("Div", add_up([columns(logs, [place]) for place in range(width)]), scalar(float(width)))
    return apply("Sub", logs, mean)


def _prior_band(prior: npt.NDArray[np.float64], found: Sequence[ExpectedTree], logs: int = 0) -> float:
    """A power of two above 8(T + 8)uM: T trees, u = 2^-53, M the largest prior and the largest leaf of every tree.

    A sum of T + 1 terms errs by (T + 2)uM on each side, the prior itself by 4 units in the last place, and a label
    compares two sums. T counts `logs` more where a mean of that many logarithms was taken.
    """
    leaves = sum(float(np.abs(tree.weight[tree.left < 0]).max()) for tree in found)
    size = max(1.0, float(np.abs(prior).max()) + leaves)
    return float(2.0 ** math.ceil(math.log2(8 * (len(found) + logs + 8) * 2.0**-53 * size)))


def _prior(
    owner: Record, since: tuple[int, int], width: int, *, classifier: bool, exponential: bool
) -> npt.NDArray[np.float64]:
    init = plain(owner.get("init_"))
    if init == "zero":
        return np.zeros(width)
    dummy = record(owner, "init_")
    if not classifier:
        if dummy.name != "DummyRegressor":
            raise unreadable(owner, "init_", "a constant")
        constant = dummy.get("constant_")
        if not isinstance(constant, Array) or constant.is_object or constant.shape != (1, 1):
            raise unreadable(dummy, "constant_", "one number")
        return np.array(constant.to_numpy(), dtype=np.float64).reshape(1)
    if dummy.name != "DummyClassifier" or not one_of(dummy, "strategy", "prior"):
        raise unreadable(owner, "init_", "the class frequencies")
    eps = np.finfo(np.float64 if since >= _DOUBLE_EPS_SINCE else np.float32).eps
    share = np.clip(vector(dummy, "class_prior_", max(width, 2)), eps, 1 - eps, dtype=np.float64)
    half = 0.5 if exponential else 1.0
    if since < _COMMON_LOSSES_SINCE:
        if width > 1:
            return np.asarray(np.log(share))
        second = share[1:2]
        return np.asarray(half * np.log(second / (1 - second)))
    if width > 1:
        mean = np.exp(np.log(share[np.newaxis]).mean(axis=1, keepdims=True))  # scipy.stats.gmean
        return np.asarray(np.log(share[np.newaxis] / mean)[0])
    return np.asarray(half * logit(share[1:2]))
