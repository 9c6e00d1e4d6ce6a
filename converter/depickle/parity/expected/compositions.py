# SPDX-License-Identifier: Apache-2.0
"""Searches, voting, bagging and stacking: members' answers combined as the original combines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, Record, TupleNode, plain
from ..walk import Expected
from .answers import argmax, dot_gamma, lead
from .derivation import Derivation, NotDerivedError, steps, width_of
from .forests import forest_paths, forest_rows, tree_table
from .inexact import CARRIED, LEAST, Inexact, error_of
from .linear import LINEAR, expect_linear_model
from .paths import hold_paths
from .reading import Labels, flag, integer, items, labels, one_of, record, records, unreadable, vector
from .spread import ROUNDING, as_bound, scaled, total
from .vocabulary import (
    Answer,
    Spread,
    add_up,
    apply,
    columns,
    constant,
    scalar,
)

__all__ = [
    "FROZEN",
    "SEARCHES",
    "SELF_TRAINING",
    "Member",
    "average",
    "delegate",
    "expect_bagging",
    "expect_delegate",
    "expect_stacking",
    "expect_voting",
    "frozen_transformer",
    "itself",
    "places_among",
    "present",
    "response",
]

FROZEN = "sklearn.frozen._frozen.FrozenEstimator"
SELF_TRAINING = "sklearn.semi_supervised._self_training.SelfTrainingClassifier"
SEARCHES = {
    "sklearn.model_selection._search.GridSearchCV",
    "sklearn.model_selection._search.RandomizedSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
}

_SINGLE_TREES = {
    f"sklearn.tree._classes.{name}{task}"
    for name in ("DecisionTree", "ExtraTree")
    for task in ("Classifier", "Regressor")
}


_ARITHMETIC = (
    "sklearn.pipeline.",
    "sklearn.model_selection.",
    *(f"sklearn.ensemble._{name}." for name in ("voting", "bagging", "stacking")),
)
"""Final estimators that may compute with their columns before they compare them."""

_WIDENING = (
    "sklearn.linear_model.",
    "sklearn.svm._classes.Linear",
    "sklearn.tree.",
    *(f"sklearn.ensemble._{name}." for name in ("forest", "gb", "hist_gradient_boosting")),
    "lightgbm.",
    "xgboost.",
)
"""Final estimators that turn whole numbers of any type into what they compute with, and nothing before."""

_WHOLE = 1 << 24
"""LightGBM takes whole numbers as float32; up to here that changes none."""


@dataclass(frozen=True, eq=False)
class Member:
    """A member's answer, and where its classes are among those of the composition."""

    answer: Answer
    places: tuple[int, ...]


def places_among(owner: Record, found: Labels | None, known: Labels) -> tuple[int, ...]:
    """The place of each label of `found` among `known`."""
    places = []
    for label in found or ():
        matches = [place for place, other in enumerate(known) if other == label]
        if len(matches) != 1:
            raise unreadable(owner, "estimators_", "members whose classes are the composition's")
        places.append(matches[0])
    return tuple(places)


def present(value: Expected | None) -> Expected:
    """An answer that a composition needs of its member.

    Raises:
        NotDerivedError: the member has no such answer.
    """
    if value is None:
        raise NotDerivedError("a member without the answer that its composition needs")
    return value


def response(answer: Answer, *, scores: bool) -> tuple[Expected, Spread]:
    """A member's scores or its probabilities, and how far they may be off."""
    if answer.detects:
        raise NotDerivedError("an outlier detector as a member")
    if scores:
        return present(answer.scores), answer.score_error
    return present(answer.probabilities), answer.probability_error


def delegate(owner: Record) -> Record | None:
    """The estimator that answers for `owner`, where one does: for searches, self-training and frozen estimators."""
    if owner.cls == FROZEN:
        return record(owner, "estimator")
    if owner.cls == SELF_TRAINING:  # the name changed with 1.6
        return record(owner, "estimator_" if owner.get("estimator_") is not None else "base_estimator_")
    return record(owner, "best_estimator_") if owner.cls in SEARCHES else None


def itself(member: Record) -> Record:
    """What a search refitted, what is frozen, and what a pipeline has as its only step, answers in its place."""
    while True:
        inner = delegate(member)
        if inner is not None:
            member = inner
        elif member.cls == "sklearn.pipeline.Pipeline" and len(steps(member)) == 1:
            (member,) = steps(member)
        else:
            return member


def expect_delegate(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """What the estimator inside answers; a frozen one was fitted before, by whatever release."""
    inner = delegate(owner)
    if inner is None:
        raise NotDerivedError(owner.cls)
    answer = derive.given(fitted=owner.cls == FROZEN).answer(inner, rows)
    if owner.cls == SELF_TRAINING and labels(owner) != answer.labels:
        raise unreadable(owner, "classes_", "the classes of the estimator inside")
    return answer


def frozen_transformer(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """FrozenEstimator around a transformer (frozen/_frozen.py, ``__getattr__``)."""
    return replace(derive, depth=derive.depth + 1).transformed([record(owner, "estimator")], rows, width)


def average(
    members: Sequence[Member], weights: Sequence[float] | None, divisor: float, known: Labels | None
) -> Answer:
    """The (weighted) sum of the members' probabilities, or of a regressor's scores, over `divisor`."""
    if known is None and weights is None and all(member.answer.single for member in members):
        raise NotDerivedError("a mean in float32")
    parts: list[Expected] = []
    errors: list[Spread] = []
    for place, member in enumerate(members):
        value, error = response(member.answer, scores=known is None)
        if known is not None:
            value = _spread_out(value, member.places, len(known))
        if weights is not None:
            value = apply("Mul", value, scalar(weights[place]))
        parts.append(value)
        errors.append(scaled(error, abs((1.0 if weights is None else weights[place]) / divisor)))
    mean = apply("Div", add_up(parts), scalar(divisor))
    error = total(errors)
    if known is None:
        if isinstance(error, Expected):
            # the sums of numbers that differ are rounded apart: at most γ of their magnitudes on each side
            share = 2.0 * dot_gamma(len(members)) / abs(divisor)
            added = scaled(add_up([apply("Abs", part) for part in parts]), share)
            error = scaled(total([error, added]), CARRIED, LEAST)
        return Answer(scores=mean, score_error=error)
    if all(member.answer.probability_error == 0.0 for member in members):
        return Answer(labels=known, index=argmax(mean), probabilities=mean)
    kept = [member.answer.paths for member in members if member.answer.paths is not None]
    if kept and all(
        member.answer.paths is not None or member.answer.probability_error == 0.0 for member in members
    ):
        exact = Answer(labels=known, index=argmax(mean), probabilities=mean)
        return hold_paths(exact, reduce(lambda left, right: apply("And", left, right), kept))
    error = scaled(error, 1.0, ROUNDING)
    margin = lead(mean, len(known))
    bound = as_bound(scaled(error, 2.0), margin)
    return Answer(
        labels=known,
        index=argmax(mean),
        probabilities=mean,
        margin=margin,
        bound=bound,
        probability_error=error,
    )


def _spread_out(p: Expected, places: tuple[int, ...], width: int) -> Expected:
    """A member's columns at the places of its classes; zeros for classes that it never saw."""
    if places == tuple(range(width)):
        return p
    nothing = apply("Mul", columns(p, [0]), scalar(0.0))
    order = [places.index(place) if place in places else len(places) for place in range(width)]
    return columns(apply("Concat", p, nothing, axis=1), order)


def expect_voting(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """VotingClassifier, soft and hard, and VotingRegressor (ensemble/_voting.py)."""
    beside = derive.beside()
    answers = [beside.answer(member, rows) for member in records(owner, "estimators_")]
    weights = _weights(owner, len(answers))
    divisor = float(len(answers)) if weights is None else float(np.sum(np.array(weights)))
    if owner.name == "VotingRegressor":
        return average([Member(answer, ()) for answer in answers], weights, divisor, None)
    known = labels(record(owner, "le_"))
    encoded = tuple(range(len(known)))
    members = [Member(answer, places_among(owner, answer.labels, encoded)) for answer in answers]
    if one_of(owner, "voting", "hard"):
        if weights is not None and min(weights) < 0.0:  # ``bincount`` ends at the last class that got a vote
            raise NotDerivedError("votes against")
        return _hard(members, weights, known)
    return average(members, weights, divisor, known)


def _weights(owner: Record, count: int) -> list[float] | None:
    if owner.get("weights") is None:
        return None
    names = items(owner, "estimators")
    value = owner.get("weights")
    given = (
        vector(owner, "weights", len(names)).tolist()
        if isinstance(value, Array)
        else [plain(item) for item in items(owner, "weights")]
    )
    kept = []
    for weight, name in zip(given, names, strict=True):
        if isinstance(name, TupleNode) and len(name) == 2 and plain(name[1]) == "drop":
            continue
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise unreadable(owner, "weights", "numbers")
        kept.append(float(weight))
    if len(kept) != count:
        raise unreadable(owner, "weights", f"{count} numbers")
    return kept


def _hard(members: Sequence[Member], weights: Sequence[float] | None, known: Labels) -> Answer:
    """``bincount`` of the members' votes; the first class with the most."""
    votes = []
    axis = constant([1], np.int64)
    for place, member in enumerate(members):
        table = constant(member.places, np.int64)
        chosen = apply("Unsqueeze", apply("Gather", table, present(member.answer.index), axis=0), axis)
        hit = apply("Equal", chosen, constant(range(len(known)), np.int64))
        votes.append(apply("Where", hit, scalar(1.0 if weights is None else weights[place]), scalar(0.0)))
    index = argmax(add_up(votes))
    slack = [
        apply("Unsqueeze", _slack(answer.margin, present(answer.bound)), axis)
        for answer in (member.answer for member in members)
        if answer.margin is not None
    ]
    if not slack:
        return Answer(labels=known, index=index)
    joined = slack[0] if len(slack) == 1 else apply("Concat", *slack, axis=1)
    margin = apply("ReduceMin", joined, axis, keepdims=0)  # certain where every member is
    return Answer(labels=known, index=index, margin=margin, bound=as_bound(0.0, margin))


def _slack(margin: Expected, bound: Expected) -> Expected:
    """By how much a member is certain, else 0: never NaN, which onnxruntime's minimum may pass over."""
    return apply("Where", apply("Greater", margin, bound), apply("Sub", margin, bound), scalar(0.0))


def expect_bagging(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """BaggingClassifier and BaggingRegressor (ensemble/_bagging.py)."""
    members = records(owner, "estimators_")
    chosen = _chosen_columns(owner, len(members))
    if integer(owner, "n_estimators") != len(members):
        raise unreadable(owner, "n_estimators", f"{len(members)}, which the original divides by")
    count = float(len(members))
    if owner.name == "BaggingClassifier" and all(member.cls in _SINGLE_TREES for member in members):
        return _bag_of_trees(owner, members, chosen, rows, derive)
    answers = [
        derive.answer(member, columns(rows, part)) for member, part in zip(members, chosen, strict=True)
    ]
    if owner.name == "BaggingRegressor":
        return average([Member(answer, ()) for answer in answers], None, count, None)
    known = labels(owner)
    encoded = tuple(range(len(known)))
    within = [Member(answer, places_among(owner, answer.labels, encoded)) for answer in answers]
    found = average(within, None, count, known)
    # Where the members have a decision_function the bag has the mean of them, which is not derived.
    return found if answers[0].decides is False else replace(found, decides=None)


def _label_column(answer: Answer) -> tuple[Expected, Spread]:
    """A member's label as a number, which is right or of no use (``predict`` in ``_concatenate_predictions``)."""
    known = answer.labels or ()
    if not all(
        isinstance(label, float) or abs(label) <= _WHOLE for label in known if not isinstance(label, str)
    ):
        raise NotDerivedError("labels that float32 does not hold")
    if any(isinstance(label, str) for label in known):
        raise NotDerivedError("labels that are text")
    index = present(answer.index)
    value = apply("Gather", constant(known), index, axis=0)
    column = apply("Unsqueeze", value, constant([1], np.int64))
    if answer.margin is None or answer.bound is None:
        return column, 0.0
    right = apply("Unsqueeze", apply("Greater", answer.margin, answer.bound), constant([1], np.int64))
    return column, apply("Where", right, scalar(0.0), scalar(np.inf))


def _chosen_columns(owner: Record, count: int) -> list[list[int]]:
    found = []
    for item in items(owner, "estimators_features_"):
        if not isinstance(item, Array) or item.is_object:
            raise unreadable(owner, "estimators_features_", "column numbers")
        found.append([int(place) for place in item.to_numpy().tolist()])
    if len(found) != count:
        raise unreadable(owner, "estimators_features_", f"{count} lists of columns")
    return found


def _bag_of_trees(
    owner: Record, members: list[Record], chosen: list[list[int]], rows: Expected, derive: Derivation
) -> Answer:
    """Single trees are compared as one forest; their columns and classes keep the numbers of the whole."""
    known = labels(owner)
    encoded = tuple(range(len(known)))
    tables = []
    renumbered: list[npt.NDArray[np.int64]] = []
    for member, part in zip(members, chosen, strict=True):
        if width_of(member) != len(part):
            raise unreadable(owner, "estimators_features_", f"{width_of(member)} columns")
        own = tree_table(member, derive)
        wide = np.zeros((len(own), len(known)))
        wide[:, list(places_among(owner, labels(member), encoded))] = own
        tables.append(wide)
        renumbered.append(np.array(part, dtype=np.int64))
    total_rows = forest_rows(members, tables, rows, renumbered)
    kept = forest_paths(members, tables, rows, renumbered)
    mean = apply("Div", total_rows, scalar(len(members)))
    return hold_paths(Answer(labels=known, index=argmax(mean), probabilities=mean), kept)


def _beside(value: Expected, error: Spread) -> Expected:
    """The error of a member, for each of its columns."""
    return apply(
        "Add", apply("Mul", value, scalar(0.0)), error if isinstance(error, Expected) else scalar(error)
    )


def expect_stacking(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """StackingClassifier and StackingRegressor (ensemble/_stacking.py, ``_concatenate_predictions``)."""
    members = records(owner, "estimators_")
    methods = [plain(item) for item in items(owner, "stack_method_")]
    if len(methods) != len(members):
        raise unreadable(owner, "stack_method_", "a method for each member")
    known = labels(record(owner, "_label_encoder")) if owner.name == "StackingClassifier" else None
    final = record(owner, "final_estimator_")
    parts: list[Expected] = []
    errors: list[Spread] = []
    prefit = plain(owner.get("cv")) == "prefit"
    single = as_given = True
    for member, method in zip(members, methods, strict=True):
        if method not in ("predict_proba", "decision_function", "predict"):
            raise NotDerivedError(f"stacking over {method!r}")
        answer = derive.beside().given(fitted=prefit).answer(member, rows)
        single &= answer.single
        if method == "predict" and answer.index is not None:
            value, error = _label_column(answer)
            as_given &= prefit
        else:
            value, error = response(answer, scores=method != "predict_proba")
            as_given = False
        if known is not None and len(known) == 2 and method == "predict_proba":
            value = columns(value, [1])
        parts.append(value)
        errors.append(error)
    if flag(owner, "passthrough"):
        parts.append(rows)
    elif as_given and not final.cls.startswith(_WIDENING):
        raise NotDerivedError("arithmetic on labels in a type of the user's own")
    elif single and final.cls.startswith(_ARITHMETIC):
        raise NotDerivedError("arithmetic on columns of float32")
    joined = parts[0] if len(parts) == 1 else apply("Concat", *parts, axis=1)
    error = total(errors)
    given = error_of(rows)
    known_exactly = not isinstance(error, Expected) and error == 0.0
    if given is None and known_exactly:
        answer = derive.answer(final, joined)
    elif given is None and itself(final).cls in LINEAR:
        answer = expect_linear_model(itself(final), joined, derive, error)
    else:
        off = [_beside(value, spread) for value, spread in zip(parts[: len(errors)], errors, strict=True)]
        if len(parts) > len(errors):
            off.append(apply("Mul", rows, scalar(0.0)) if given is None else given)
        whole = off[0] if len(off) == 1 else apply("Concat", *off, axis=1)
        answer = derive.answer(
            final, Inexact(joined.operator, joined.inputs, joined.attributes, error=whole, mixes=True)
        )
    if known is not None and answer.labels != tuple(range(len(known))):
        raise unreadable(owner, "final_estimator_", "a classifier of the encoded classes")
    return replace(answer, labels=known)
