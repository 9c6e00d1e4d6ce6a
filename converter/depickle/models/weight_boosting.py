# SPDX-License-Identifier: Apache-2.0
"""AdaBoost: weighted votes of trees or of other classifiers, and the weighted median of regressors.

The regressor sorts its members' answers, adds their weights in that order, and answers the first at which the running
sum reaches half of the last one. Additions and comparison are repeated here, so the number is the original's as long
as the order is: `argsort` says nothing of equal answers, and their weights in another order may round to other sums.
Equal answers stand side by side, so which of them is chosen changes nothing; the number can change only where the sum
at the end of a run of equals is within rounding of the half. With M weights of sum W, none below 0, a running sum is
off by at most γ₍M₎W in any order, and the half by half of that. So the number lies between the first answer at which
our sums reach ``W/2 - 4γ₍M₊₈₎W`` and the first at which they reach ``W/2 + 4γ₍M₊₈₎W``: nearly always the same one.
Where no two answers of a row are equal, the order is the original's, and so is the number.

Members that are not exact may answer in another order altogether. The least x with ``Σ{w: answer <= x} >= c`` never
falls where an answer rises, and moves by e where all of them do; so errors of at most e move it by at most e.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..pickles.graph import Record, plain
from .attributes import class_labels, float_array, unsupported, wrong
from .composing import composed, read_members
from .interface import Context, ReadPredictor
from .label_rules import DOUBLE_BAND
from .trees import revalued
from .types import FloatArray, Forest, LabelRule, Median, Member, Tree, TreeVotes, Votes

_ORDERED = "No two members answer alike, so their weights are added in the original's order"
_TIED = "Weights of equal answers are added in an order that nobody defines; a bound says where that matters"

__all__ = ["read_adaboost", "read_adaboost_regressor"]

_VOTES_AGAINST = {"1.3.0": False, "1.3.1": True, "1.3.2": True}
"""Whether a member votes against the classes that it did not choose; earlier releases do not, later ones do."""
_SAMME_ALONE_SINCE = (1, 6)  # from here on `algorithm` is not looked at
_LEAST, _MOST = 2.0**-900, 2.0**900  # weights between them add up without overflow, and round relatively


def read_adaboost(record: Record, context: Context) -> ReadPredictor:
    """AdaBoostClassifier: SAMME over classifiers, SAMME.R over single trees.

    Raises:
        UnsupportedModelError: DP602 for weights that are none; DP603 for SAMME.R over members that are not single
            trees, for SAMME of an unknown release of 1.3, and for members that do not know every class.
    """
    version = context.version(record)
    classes = class_labels(record, "classes_", record.get("classes_"))
    parts = read_members(record, context.beside(), record.get("estimators_"), "estimators_")
    weights = _weights(record, len(parts))
    real = version < _SAMME_ALONE_SINCE and plain(record.get("algorithm")) == "SAMME.R"
    count = len(classes)
    divisor = float(weights.sum())
    if count < 2 or divisor == 0.0:
        raise wrong(
            record, "estimator_weights_", record.get("estimator_weights_"), "weights of two classes or more"
        )
    against = not real and _votes_against(record, context)
    for part in parts:
        if part.classes != classes:
            raise unsupported(record, "A member that does not know every class", found=part.family)
    rule = LabelRule("score_above", 0.0) if count == 2 else LabelRule("argmax_scores")
    trees = _single_trees(parts)
    if trees is None and real:
        raise unsupported(
            record,
            "SAMME.R is emitted over single trees only",
            found=parts[0].family,
            expected="a decision tree",
        )
    exact = not real
    root: TreeVotes | Votes
    if trees is None:
        exact = all(part.ceiling == "proven" for part in parts)
        votes = [(float(weight), _against(float(weight), count, against)) for weight in weights[: len(parts)]]
        places = tuple(range(count))
        within = tuple(Member(part.root, None, places) for part in parts)
        root = Votes(within, tuple(votes), divisor, count, rule)
    else:
        if real:
            # Of T members and K classes: (K - 1)(K + T)2^-42, above what logarithms and their sums err by.
            rule = replace(rule, exact=False, band=DOUBLE_BAND * 64 * (len(parts) + count) * (count - 1))
        voting = [
            revalued(tree, _tree_votes(tree, float(weight), count, real=real, against=against))
            for tree, weight in zip(trees, weights, strict=False)
        ]
        root = TreeVotes(Forest(tuple(voting), count, divisor, None), rule)
    found = composed(record, parts, root, classes=classes, exact=exact)
    return replace(found, decision_function=True, allow_nan=False, allow_infinite=False)


def _single_trees(parts: Sequence[ReadPredictor]) -> list[Tree] | None:
    """The trees of the members, or None where one of them is no single tree."""
    trees: list[Tree] = []
    for part in parts:
        if not isinstance(part.root, Forest) or part.root.divisor is not None:
            return None
        trees += part.root.trees
    return trees


def _tree_votes(tree: Tree, weight: float, count: int, *, real: bool, against: bool) -> FloatArray:
    """What each node adds per class, with the operations of `decision_function`."""
    if real:
        proba = np.clip(tree.value, np.finfo(np.float64).eps, None)
        log = np.log(proba)
        return np.asarray((count - 1) * (log - (1.0 / count) * log.sum(axis=1)[:, np.newaxis]))
    chosen = np.argmax(tree.value, axis=1)[:, np.newaxis] == np.arange(count)
    return np.asarray(np.where(chosen, weight, _against(weight, count, against)), dtype=np.float64)


def _votes_against(record: Record, context: Context) -> bool:
    version = context.version(record)
    if version != (1, 3):
        return version > (1, 3)
    own = record.get("_sklearn_version")
    release = own if isinstance(own, str) else context.writer.get("scikit-learn")
    if release not in _VOTES_AGAINST:
        raise unsupported(
            record, "Releases of 1.3 count SAMME votes in two ways", found=f"SAMME of {release}"[:80]
        )
    return _VOTES_AGAINST[release]


def _against(weight: float, count: int, against: bool) -> float:
    """What a member adds to each class but its own."""
    return -1 / (count - 1) * weight if against else 0.0


def _weights(record: Record, members: int) -> FloatArray:
    """`estimator_weights_`, one for each member and any number after them."""
    weights = float_array(record, "estimator_weights_", shape=(None,))
    usual = (weights == 0.0) | ((weights >= _LEAST) & (weights <= _MOST))
    if len(weights) < members or not bool(usual.all()):
        raise wrong(
            record,
            "estimator_weights_",
            record.get("estimator_weights_"),
            "a weight of usual size for each member, none below 0",
        )
    return weights


def read_adaboost_regressor(record: Record, context: Context) -> ReadPredictor:
    """AdaBoostRegressor over any regressor that is read.

    Raises:
        UnsupportedModelError: DP602 for weights that are none, and those of its members.
    """
    context.version(record)  # must be known, though 1.2 to 1.9 compute alike
    parts = read_members(record, context.beside(), record.get("estimators_"), "estimators_")
    weights = _weights(record, len(parts))[: len(parts)]
    trees = _single_trees(parts)
    exact = all(part.ceiling == "proven" for part in parts)
    ties = len(parts) > 1 and (trees is None or _share_an_answer(trees))
    root = Median(
        Forest(tuple(trees), 1, None, None) if trees else tuple(Member(part.root) for part in parts),
        weights,
        ties=ties,
    )
    found = composed(record, parts, root, classes=None, exact=exact and not ties)
    reason = found.reason
    if exact:
        reason = _ORDERED if not ties else _TIED
    single = all(part.single for part in parts)
    return replace(found, reason=reason, allow_nan=False, allow_infinite=False, single=single)


def _share_an_answer(trees: Sequence[Tree]) -> bool:
    """Whether a leaf of one tree answers what a leaf of another does."""
    answers = [np.unique(tree.value[tree.is_leaf]) for tree in trees]
    together = np.concatenate(answers)
    return len(np.unique(together)) != len(together)
