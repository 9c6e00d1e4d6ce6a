# SPDX-License-Identifier: Apache-2.0
"""Compositions that decide on their members' responses: calibration, thresholds, one-vs-rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..pickles.graph import Record, Value, plain
from .attributes import array_of, class_labels, float_array, number, records, text, unsupported, wrong
from .composing import askable, composed, has_probabilities, is_exact, member_of, preferred, read_members
from .interface import Context, ReadPredictor
from .label_rules import DOUBLE_BAND
from .types import (
    Averaged,
    Calibrated,
    ClassLabel,
    Curve,
    LabelRule,
    Member,
    OneVsRest,
    Response,
    Thresholded,
)

__all__ = ["read_calibrated", "read_fixed_threshold", "read_one_vs_rest", "read_tuned_threshold"]


def read_calibrated(record: Record, context: Context) -> ReadPredictor:
    """CalibratedClassifierCV with sigmoid or isotonic calibration.

    Raises:
        UnsupportedModelError: DP603 for temperature scaling, and for curves of another precision.
    """
    classes = class_labels(record, "classes_", record.get("classes_"))
    parts = []
    within = []
    folds = records(record, "calibrated_classifiers_", record.get("calibrated_classifiers_"))
    if plain(record.get("cv")) == "prefit":
        context = replace(context, fitted_before=True)
    for fold in folds:
        inner = fold.get("estimator", fold.get("base_estimator"))
        if not isinstance(inner, Record):
            raise wrong(fold, "estimator", inner, "a fitted estimator")
        part = context.predictor(inner, context)
        parts.append(part)
        within.append(Member(_calibrated(fold, part, classes), None, tuple(range(len(classes)))))
    if not parts:
        raise wrong(record, "calibrated_classifiers_", None, "at least one fold")
    divisor = float(len(parts))
    root = Averaged(
        tuple(within),
        None,
        divisor,
        len(classes),
        LabelRule("argmax_probabilities", exact=False, band=DOUBLE_BAND),
    )
    return composed(record, parts, root, classes=classes, exact=False)


def _calibrated(fold: Record, part: ReadPredictor, classes: tuple[ClassLabel, ...]) -> Calibrated:
    method = text(fold, "method")
    if method not in ("sigmoid", "isotonic"):
        raise unsupported(
            fold, "This calibration is not emitted", found=method, expected="sigmoid or isotonic"
        )
    calibrators = records(fold, "calibrators", fold.get("calibrators", fold.get("calibrators_")))
    member = member_of(fold, part, classes)
    places = member.places if len(classes) > 2 else (1,)
    if len(calibrators) != len(places) or part.classes is None or len(part.classes) != len(classes):
        raise unsupported(
            fold, "A fold that did not see every class", found=f"{len(calibrators)} calibrators"
        )
    isotonic = method == "isotonic"
    return Calibrated(
        member=member,
        response=preferred(fold, part),
        slopes=() if isotonic else tuple(number(item, "a_") for item in calibrators),
        offsets=() if isotonic else tuple(number(item, "b_") for item in calibrators),
        places=places,
        outputs=len(classes),
        curves=tuple(_curve(item) for item in calibrators) if isotonic else (),
    )


def _curve(record: Record) -> Curve:
    """IsotonicRegression, clipped outside its thresholds."""
    if text(record, "out_of_bounds") != "clip":
        raise unsupported(
            record, "An isotonic curve that is not clipped", found=text(record, "out_of_bounds")
        )
    for name in ("X_thresholds_", "y_thresholds_"):
        if array_of(record, name, record.get(name)).dtype != np.float64:
            raise unsupported(record, "An isotonic curve fitted in another precision", found=name)
    knots = float_array(record, "X_thresholds_", shape=(None,))
    values = float_array(record, "y_thresholds_", shape=(len(knots),))
    if len(knots) < 2:
        raise unsupported(record, "An isotonic curve of one point", found=f"{len(knots)} thresholds")
    with np.errstate(all="ignore"):
        slopes = np.diff(values) / np.diff(knots)
    if not bool((np.diff(knots) > 0).all() and (slopes >= 0).all() and np.isfinite(slopes).all()):
        raise wrong(record, "X_thresholds_", record.get("X_thresholds_"), "a rising curve")
    if values[0] < 0.0 or values[-1] > 1.0:
        raise wrong(record, "y_thresholds_", record.get("y_thresholds_"), "probabilities")
    return Curve(knots, values)


def read_fixed_threshold(record: Record, context: Context) -> ReadPredictor:
    """FixedThresholdClassifier."""
    part, response = _threshold_parts(record, context)
    value = plain(record.get("threshold"))
    automatic = 0.5 if response == "probabilities" else 0.0
    cut = automatic if value == "auto" else number(record, "threshold")
    return _thresholded(record, part, response, cut, record.get("pos_label"))


def read_tuned_threshold(record: Record, context: Context) -> ReadPredictor:
    """TunedThresholdClassifierCV: its best threshold, which other converters forget."""
    part, response = _threshold_parts(record, context)
    scorer = record.get("_curve_scorer")
    positive: Value = None
    if isinstance(scorer, Record):
        options = scorer.get("_kwargs")
        positive = options.get("pos_label") if options is not None and hasattr(options, "get") else None
    return _thresholded(record, part, response, number(record, "best_threshold_"), positive)


def _threshold_parts(record: Record, context: Context) -> tuple[ReadPredictor, Response]:
    inner = record.get("estimator_", record.get("estimator"))
    if not isinstance(inner, Record):
        raise wrong(record, "estimator_", inner, "a fitted estimator")
    part = context.predictor(inner, context)
    if part.classes is None or len(part.classes) != 2:
        raise wrong(record, "estimator_", inner, "a classifier of two classes")
    method = text(record, "response_method")
    if method == "auto":
        method = "predict_proba" if has_probabilities(part.root) else "decision_function"
    if method not in ("predict_proba", "decision_function"):
        raise unsupported(record, "The response method is not known", found=method)
    return part, askable(record, part, "probabilities" if method == "predict_proba" else "scores")


def _thresholded(
    record: Record, part: ReadPredictor, response: Response, cut: float, label: Value
) -> ReadPredictor:
    classes = part.classes or ()
    known = plain(label)
    if known is not None and (not isinstance(known, bool | int | float | str) or known not in classes):
        raise wrong(record, "pos_label", label, f"one of {classes!r}")
    positive = 1 if known is None else classes.index(known)
    exact = part.exact_probabilities if response == "probabilities" else part.ceiling == "proven"
    root = Thresholded(member_of(record, part, classes), response, cut, positive)
    found = composed(record, [part], root, classes=part.classes, exact=exact)
    return replace(
        found, decision_function=part.decision_function, exact_probabilities=part.exact_probabilities
    )


_FIRST_OF_EQUALS_SINCE = (1, 8)


def read_one_vs_rest(record: Record, context: Context) -> ReadPredictor:
    """OneVsRestClassifier of three classes or more."""
    version = context.version(record)
    binarizer = record.get("label_binarizer_")
    if not isinstance(binarizer, Record):
        raise wrong(record, "label_binarizer_", binarizer, "a fitted label binarizer")
    classes = class_labels(binarizer, "classes_", binarizer.get("classes_"))
    parts = read_members(record, context, record.get("estimators_"), "estimators_")
    if text(binarizer, "y_type_") != "multiclass" or len(parts) != len(classes):
        raise unsupported(record, "One-vs-rest of two classes or several labels is not emitted")
    if any(part.classes is None or len(part.classes) != 2 for part in parts):
        raise wrong(record, "estimators_", None, "binary members")
    responses = tuple(preferred(record, part) for part in parts)
    exact = is_exact(parts, responses)
    root = OneVsRest(
        tuple(Member(part.root, None, (0, 1)) for part in parts),
        responses,
        last=version < _FIRST_OF_EQUALS_SINCE,
        has_probabilities=all(has_probabilities(part.root) for part in parts),
    )
    return composed(record, parts, root, classes=classes, exact=exact)
