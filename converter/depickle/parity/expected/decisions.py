# SPDX-License-Identifier: Apache-2.0
"""Calibration, thresholds and one-vs-rest: what is decided from members' answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...pickles.graph import DictNode, GlobalRef, Record, Value, plain
from ..walk import Expected
from .answers import lead, threshold_rule
from .compositions import Member, average, places_among, response
from .derivation import Derivation, NotDerivedError
from .isotonic import interpolated, isotonic_error
from .paths import hold_paths
from .reading import Labels, labels, number, one_of, record, records, text, unreadable
from .spread import EXP_SPREAD, ROUNDING, UNKNOWN, as_bound, scaled, total
from .temperature import tempered
from .vocabulary import INT64, Answer, Spread, add_up, apply, cast, columns, constant, scalar, squeeze

__all__ = ["asks_scores", "expect_calibrated", "expect_one_vs_rest", "expect_threshold"]

_BARELY_ABOVE_ONE = 1.0 + 1e-5
"""calibration.py sets probabilities up to here to 1."""
_FIRST_OF_EQUALS_SINCE = (1, 8)
"""Before, one-vs-rest gave a tie to the last class."""


def asks_scores(answer: Answer) -> bool:
    """Whether a composition asks for scores (it prefers a decision_function)."""
    if answer.decides is None:
        raise NotDerivedError("a member of an unknown release")
    return answer.decides


def expect_calibrated(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """CalibratedClassifierCV (calibration.py, ``_CalibratedClassifier.predict_proba`` and the mean over folds)."""
    known = labels(owner)
    folds = records(owner, "calibrated_classifiers_")
    derive = derive.beside().given(fitted=plain(owner.get("cv")) == "prefit")
    within = [Member(_calibrated(fold, rows, derive, known), tuple(range(len(known)))) for fold in folds]
    return replace(average(within, None, float(len(folds)), known), decides=False)


def _calibrated(fold: Record, rows: Expected, derive: Derivation, classes: Labels) -> Answer:
    width = len(classes)
    known = labels(fold, "classes") if fold.get("classes") is not None else tuple(range(width))
    member = record(fold, "estimator" if fold.get("estimator") is not None else "base_estimator")
    answer = derive.answer(member, rows)
    curves = records(fold, "calibrators" if fold.get("calibrators") is not None else "calibrators_")
    if one_of(fold, "method", "temperature"):
        encoded = (
            tuple(range(width)) if isinstance(classes[0], str) else classes
        )  # ``fit`` encodes text first
        if answer.labels not in (classes, encoded) or known != classes:
            raise NotDerivedError("a fold that did not see every class")
        p, spread = tempered(fold, curves, member, answer, derive, scores=asks_scores(answer))
        return Answer(probabilities=_at_most_one(p), probability_error=spread)
    if not one_of(fold, "method", "sigmoid", "isotonic"):
        raise unreadable(fold, "method", "sigmoid, isotonic or temperature")
    isotonic = one_of(fold, "method", "isotonic")
    places = places_among(fold, answer.labels, known) if width > 2 else (1,)
    if len(curves) != len(places) or len(answer.labels or ()) != width:
        raise NotDerivedError("a fold that did not see every class")
    scores = asks_scores(answer)
    value, error = response(answer, scores=scores)
    one = scalar(1.0)
    found: dict[int, Expected] = {}
    slopes = []
    for source, (place, curve) in enumerate(zip(places, curves, strict=True)):
        part = columns(value, [1 if width == 2 and not scores else source])
        if isotonic:
            found[place] = interpolated(curve, part)
            continue
        slopes.append(abs(number(curve, "a_")))
        power = apply("Add", apply("Mul", scalar(number(curve, "a_")), part), scalar(number(curve, "b_")))
        found[place] = apply("Div", one, apply("Add", one, apply("Exp", power)))
    if width == 2:
        p = apply("Concat", apply("Sub", one, found[1]), found[1], axis=1)
    else:
        p = _shares([found[place] for place in range(width)], uniform=True)
    if isotonic:
        spread = isotonic_error(error, curves, [found[place] for place in sorted(found)])
    else:
        spread = scaled(error, 4.0 * max(slopes), EXP_SPREAD)
    return Answer(probabilities=_at_most_one(p), probability_error=spread)


def _at_most_one(p: Expected) -> Expected:
    one = scalar(1.0)
    barely = apply("And", apply("Greater", p, one), apply("LessOrEqual", p, scalar(_BARELY_ABOVE_ONE)))
    return apply("Where", barely, one, p)


def _shares(parts: list[Expected], *, uniform: bool) -> Expected:
    """Each part over the sum of all; where that is 0, equal shares or the parts themselves."""
    joined = parts[0] if len(parts) == 1 else apply("Concat", *parts, axis=1)
    sums = add_up(parts)
    instead = scalar(1.0 / len(parts)) if uniform else joined
    return apply("Where", apply("Equal", sums, scalar(0.0)), instead, apply("Div", joined, sums))


def expect_threshold(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """FixedThresholdClassifier and TunedThresholdClassifierCV (model_selection/_classification_threshold.py)."""
    name = "estimator_" if owner.get("estimator_") is not None else "estimator"
    answer = derive.answer(record(owner, name), rows)
    known = answer.labels
    if known is None or len(known) != 2:
        raise unreadable(owner, name, "a classifier of two classes")
    method = text(owner, "response_method")
    if method == "auto":
        if answer.withheld:
            raise NotDerivedError("a threshold on probabilities of libsvm")
        method = "decision_function" if answer.probabilities is None else "predict_proba"
    scores = method == "decision_function"
    if owner.name == "TunedThresholdClassifierCV":
        cut = number(owner, "best_threshold_")
        label = _positive_label(record(owner, "_curve_scorer"))
    else:
        automatic = plain(owner.get("threshold")) == "auto"
        cut = (0.0 if scores else 0.5) if automatic else number(owner, "threshold")
        label = owner.get("pos_label")
    positive = 1 if label is None else places_among(owner, (plain(label),), known)[0]  # type: ignore[arg-type]  # compared only
    value, error = response(answer, scores=scores)
    if not scores:
        value = columns(value, [positive])
    elif positive == 0:
        value = apply("Neg", value)
    value = squeeze(value)
    reached = cast(apply("GreaterOrEqual", value, scalar(cut)), INT64)
    index = apply("Gather", constant([1 - positive, positive], np.int64), reached, axis=0)
    if not isinstance(error, Expected) and error == 0.0:
        return replace(answer, index=index, margin=None, bound=None)
    if answer.paths is not None:  # bit-equal, ties with the threshold included
        exact = replace(answer, index=index, margin=None, bound=None, score_error=0.0, probability_error=0.0)
        return hold_paths(exact, answer.paths)
    margin = apply("Abs", apply("Sub", value, scalar(cut)))
    return replace(answer, index=index, margin=margin, bound=as_bound(scaled(error, 1.0, ROUNDING), margin))


_POSITIVE_IS_ONE = {
    "average_precision_score",
    "f1_score",
    "fbeta_score",
    "jaccard_score",
    "precision_score",
    "recall_score",
}
"""Functions of sklearn.metrics with a parameter ``pos_label`` that is 1 unless it is given."""
_POSITIVE_IS_LAST = {
    "accuracy_score",
    "balanced_accuracy_score",
    "cohen_kappa_score",
    "matthews_corrcoef",
    "roc_auc_score",
}
"""Functions of sklearn.metrics without that parameter."""


def _positive_label(scorer: Record) -> Value:
    """``_BaseScorer._get_pos_label`` (metrics/_scorer.py): given, or the default of the function that scores."""
    options = scorer.get("_kwargs")
    if not isinstance(options, DictNode):
        raise unreadable(scorer, "_kwargs", "arguments by name")
    if "pos_label" in options:
        return options.get("pos_label")
    function = scorer.get("_score_func")
    if isinstance(function, GlobalRef) and function.module.startswith("sklearn.metrics."):
        if function.name in _POSITIVE_IS_ONE:
            return 1
        if function.name in _POSITIVE_IS_LAST:
            return None
    raise NotDerivedError("thresholds for a score whose positive label is not known")


def expect_one_vs_rest(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """OneVsRestClassifier (multiclass.py)."""
    binarizer = record(owner, "label_binarizer_")
    known = labels(binarizer)
    beside = derive.beside()
    answers = [beside.answer(member, rows) for member in records(owner, "estimators_")]
    if one_of(binarizer, "y_type_", "binary") and len(answers) == 1 and len(known) == 2:
        return _one_against_the_other(binarizer, answers[0], known)
    if not one_of(binarizer, "y_type_", "multiclass") or len(answers) != len(known):
        raise NotDerivedError("one-vs-rest of several labels")
    values: list[Expected] = []
    errors: list[Spread] = []
    for answer in answers:
        scores = asks_scores(answer)
        value, error = response(answer, scores=scores)
        values.append(value if scores else columns(value, [1]))
        errors.append(error)
    joined = apply("Concat", *values, axis=1)
    last = int(derive.version(owner) < _FIRST_OF_EQUALS_SINCE)
    found = Answer(
        labels=known,
        index=apply("ArgMax", joined, axis=1, keepdims=0, select_last_index=last),
        scores=joined,
        score_error=total(errors),
        decides=all(asks_scores(answer) for answer in answers),
    )
    if all(answer.probabilities is not None for answer in answers):
        positives = [columns(answer.probabilities, [1]) for answer in answers if answer.probabilities]
        found = replace(found, probabilities=_shares(positives, uniform=False), probability_error=UNKNOWN)
    spread = found.score_error
    if not isinstance(spread, Expected) and spread == 0.0:
        return found
    margin = lead(joined, len(known))
    return replace(found, margin=margin, bound=as_bound(scaled(spread, 1.0, ROUNDING), margin))


def _one_against_the_other(binarizer: Record, answer: Answer, known: Labels) -> Answer:
    """``predict`` of two classes: one member's response beyond a threshold, which the label binarizer turns round."""
    if answer.labels != (0, 1):
        raise NotDerivedError("a member of other classes than 0 and 1")
    if (plain(binarizer.get("neg_label")), plain(binarizer.get("pos_label"))) != (0, 1):
        raise unreadable(binarizer, "pos_label", "1, and 0 as neg_label")
    scores = asks_scores(answer)
    value, error = response(answer, scores=scores)
    if not scores:
        value = columns(value, [1])
    cut = 0.0 if scores else 0.5
    found = Answer(
        labels=known,
        index=threshold_rule(value, "Greater", cut),
        scores=value,
        score_error=error,
        decides=scores,
    )
    if answer.probabilities is not None:
        q = columns(answer.probabilities, [1])
        both = apply("Concat", apply("Sub", scalar(1.0), q), q, axis=1)
        shares = _shares([columns(both, [0]), columns(both, [1])], uniform=False)
        spread = scaled(answer.probability_error, 4.0, ROUNDING)
        found = replace(found, probabilities=shares, probability_error=spread)
    if not isinstance(error, Expected) and error == 0.0:
        return found
    margin = apply("Abs", apply("Sub", squeeze(value), scalar(cut)))
    return replace(found, margin=margin, bound=as_bound(scaled(error, 1.0, ROUNDING), margin))
