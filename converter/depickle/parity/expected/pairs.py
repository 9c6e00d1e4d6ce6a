# SPDX-License-Identifier: Apache-2.0
"""OneVsOneClassifier: votes of the pairs, and confidences that decide between equal numbers of votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ...pickles.graph import Record
from ..walk import Expected
from .answers import argmax, dot_gamma, lead, threshold_rule
from .compositions import response
from .decisions import asks_scores
from .derivation import Derivation, NotDerivedError
from .inexact import CARRIED, hold_back
from .reading import labels, records, unreadable
from .spread import ROUNDING, as_bound, scaled, total
from .vocabulary import Answer, Spread, add_up, apply, as_double, columns, constant, scalar, squeeze

__all__ = ["expect_one_vs_one"]


@dataclass(frozen=True, eq=False)
class _Pair:
    """A member for two classes: what it chose, how confident it is, and how far that may be off."""

    answer: Answer
    vote: Expected
    confidence: Expected
    error: Spread


def expect_one_vs_one(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``predict`` (multiclass.py), of the scores of ``_ovr_decision_function`` (utils/multiclass.py)."""
    known = labels(owner)
    beside = derive.beside()
    answers = [beside.answer(member, rows) for member in records(owner, "estimators_")]
    of = list(combinations(range(len(known)), 2))
    if len(answers) != len(of) or not of:
        raise unreadable(owner, "estimators_", "a member for each pair of classes")
    if owner.get("pairwise_indices_") is not None:
        raise NotDerivedError("members that see chosen columns")
    pairs = [_pair(answer) for answer in answers]
    two = len(known) == 2
    votes: list[list[Expected]] = [[] for _ in known]
    sums: list[list[Expected]] = [[] for _ in known]
    for pair, (first, second) in zip(pairs, of, strict=True):
        votes[first].append(apply("Sub", scalar(1.0), pair.vote))
        votes[second].append(pair.vote)
        sums[first].append(apply("Neg", pair.confidence))
        sums[second].append(pair.confidence)
    asked = slice(1, 2) if two else slice(None)
    confidence, counted = _joined(sums[asked]), _joined(votes[asked])
    size = apply("Mul", scalar(3.0), apply("Add", apply("Abs", confidence), scalar(1.0)))
    raw = apply("Add", counted, apply("Div", confidence, size))
    cut = 0.0 if asks_scores(answers[0]) else 0.5
    index = threshold_rule(raw, "Greater", cut) if two else argmax(raw)
    found = Answer(labels=known, index=index, scores=raw, decides=True)
    error = _error(pairs, len(known))
    if isinstance(error, Expected):
        margin = apply("Abs", apply("Sub", squeeze(raw), scalar(cut))) if two else lead(raw, len(known))
        bound = as_bound(scaled(error, 1.0 if two else 2.0), margin)
        found = replace(found, margin=margin, bound=bound, score_error=error)
    flags = [
        apply("Greater", answer.margin, answer.bound)
        for answer in answers
        if answer.margin is not None and answer.bound is not None
    ]
    return hold_back(found, flags)


def _pair(answer: Answer) -> _Pair:
    if answer.labels != (0, 1) or answer.index is None:
        raise NotDerivedError("a member of other classes than 0 and 1")
    scores = asks_scores(answer)
    value, error = response(answer, scores=scores)
    vote = as_double(apply("Unsqueeze", answer.index, constant([1], np.int64)))
    return _Pair(answer, vote, value if scores else columns(value, [1]), error)


def _joined(parts: Sequence[Sequence[Expected]]) -> Expected:
    sums = [add_up(part) for part in parts]
    return sums[0] if len(sums) == 1 else apply("Concat", *sums, axis=1)


def _error(pairs: Sequence[_Pair], width: int) -> Spread:
    """How far a score may be off where every vote is right.

    c / (3(|c| + 1)) is nowhere steeper than a third. A sum of confidences is off by their errors, and by γ of their
    magnitudes on each side; quotient and votes round by less than K times 2^-44.
    """
    off = total([pair.error for pair in pairs])
    if not isinstance(off, Expected) and off == 0.0:
        return 0.0
    sizes = add_up([apply("Abs", pair.confidence) for pair in pairs])
    rounded = scaled(sizes, 2.0 * dot_gamma(len(pairs)))
    return scaled(total([off, rounded]), CARRIED / 3.0, ROUNDING * width)
