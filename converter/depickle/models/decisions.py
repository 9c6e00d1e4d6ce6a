# SPDX-License-Identifier: Apache-2.0
"""Compositions that decide on their members' responses: calibration, thresholds, one-vs-rest, one-vs-one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..pickles.graph import NumpyScalar, Record, Value, plain
from .attributes import array_of, class_labels, float_array, number, records, text, unsupported, wrong
from .composing import askable, composed, has_probabilities, is_exact, member_of, preferred, read_members
from .dense_types import Network
from .interface import Context, ReadPredictor
from .label_rules import DOUBLE_BAND
from .positive_labels import positive_label
from .trees import several_outputs
from .types import (
    Averaged,
    Boosted,
    Calibrated,
    Chain,
    ClassLabel,
    Curve,
    Forest,
    LabelRule,
    Linear,
    Member,
    OneVsOne,
    OneVsRest,
    Predictor,
    Response,
    Thresholded,
)

__all__ = [
    "read_calibrated",
    "read_fixed_threshold",
    "read_one_vs_one",
    "read_one_vs_rest",
    "read_tuned_threshold",
]


def read_calibrated(record: Record, context: Context) -> ReadPredictor:
    """CalibratedClassifierCV with sigmoid, isotonic or temperature calibration.

    Raises:
        UnsupportedModelError: DP603 for curves of another precision, and where a temperature is applied to members
            whose rows decide together whether they are probabilities.
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
        part = context.predictor(inner, context.beside())
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
    if method not in ("sigmoid", "isotonic", "temperature"):
        raise unsupported(
            fold, "This calibration is not emitted", found=method, expected="sigmoid or isotonic"
        )
    calibrators = records(fold, "calibrators", fold.get("calibrators", fold.get("calibrators_")))
    if method == "temperature":
        if isinstance(classes[0], str) and part.classes is not None and not isinstance(part.classes[0], str):
            classes = tuple(range(len(classes)))  # ``fit`` encodes text before the members see it
        return _tempered(fold, part, classes, calibrators)
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


def _tempered(
    fold: Record, part: ReadPredictor, classes: tuple[ClassLabel, ...], calibrators: list[Record]
) -> Calibrated:
    """Temperature scaling (scikit-learn 1.8).

    Whether several columns are probabilities is asked of all rows of a call together (``_convert_to_logits``), so
    only members are read whose probabilities always sum to 1.
    """
    if part.classes != classes or len(calibrators) != 1:
        raise unsupported(
            fold, "A fold that did not see every class", found=f"{len(calibrators)} calibrators"
        )
    response = preferred(fold, part)
    if not _is_tempered_alike(part.root, response):
        raise unsupported(
            fold,
            "A temperature over these answers depends on all rows of a call",
            found=part.family,
            expected="members in double precision whose probabilities sum to 1",
        )
    if _is_single(calibrators[0]):
        raise unsupported(
            fold, "A temperature fitted in another precision", found="float32", expected="float64"
        )
    beta = number(calibrators[0], "beta_")
    if not 0.0 < beta < 2.0**20:
        raise wrong(calibrators[0], "beta_", beta, "a positive number")
    return Calibrated(member_of(fold, part, classes), response, (), (), (), len(classes), temperature=beta)


def _is_single(record: Record) -> bool:
    """Whether the temperature is no double."""
    value = record.get("beta_")
    return isinstance(value, NumpyScalar) and value.dtype.descr != "<f8"


def _is_tempered_alike(root: Predictor, response: Response) -> bool:
    """Whether `root` answers in double precision, and where it answers probabilities, always some that sum to 1."""
    match root:
        case Chain():
            return _is_tempered_alike(root.predictor, response)
        case Forest():
            leaves = np.concatenate([tree.value[tree.is_leaf] for tree in root.trees])
            inside = (leaves >= 0.0) & (leaves <= 1.0)
            return bool(inside.all() and (np.abs(leaves.sum(axis=1) - 1.0) < _SUM_BAND).all())
        case Boosted():
            return root.precision == "float64" and (
                response == "scores" or root.link in ("logistic", "softmax")
            )
        case Linear():
            return response == "scores"
        case Network():
            return response == "probabilities"
    return False


_SUM_BAND = 1e-6  # far below the 1e-5 at which numpy.isclose takes a sum for 1


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
    if not isinstance(scorer, Record):
        raise wrong(record, "_curve_scorer", scorer, "the scorer of the search")
    return _thresholded(record, part, response, number(record, "best_threshold_"), positive_label(scorer))


def _threshold_parts(record: Record, context: Context) -> tuple[ReadPredictor, Response]:
    inner = record.get("estimator_", record.get("estimator"))
    if not isinstance(inner, Record):
        raise wrong(record, "estimator_", inner, "a fitted estimator")
    part = context.predictor(inner, context)
    if part.classes is None or len(part.classes) != 2:
        raise wrong(record, "estimator_", inner, "a classifier of two classes")
    method = text(record, "response_method")
    if part.unstated_probabilities:  # "auto" asks for them, and so may what stands around
        askable(record, part, "probabilities")
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
    """OneVsRestClassifier; of two classes it has a single member."""
    version = context.version(record)
    binarizer = record.get("label_binarizer_")
    if not isinstance(binarizer, Record):
        raise wrong(record, "label_binarizer_", binarizer, "a fitted label binarizer")
    kind = text(binarizer, "y_type_")
    if kind.startswith("multilabel"):
        raise several_outputs(record)
    classes = class_labels(binarizer, "classes_", binarizer.get("classes_"))
    parts, responses = _binary_members(record, context)
    if (kind, len(parts)) != (("binary", 1) if len(classes) == 2 else ("multiclass", len(classes))):
        raise wrong(binarizer, "y_type_", kind, "two classes and one member, or a member for each class")
    root = OneVsRest(
        tuple(Member(part.root, None, (0, 1)) for part in parts),
        responses,
        last=version < _FIRST_OF_EQUALS_SINCE,
        has_probabilities=all(has_probabilities(part.root) for part in parts),
        cut=_half(responses[0]) if len(classes) == 2 else None,
    )
    found = composed(record, parts, root, classes=classes, exact=is_exact(parts, responses))
    return replace(found, decision_function=all(part.decision_function for part in parts))


def read_one_vs_one(record: Record, context: Context) -> ReadPredictor:
    """OneVsOneClassifier."""
    if record.get("pairwise_indices_") is not None:
        raise unsupported(record, "Members that see a kernel matrix", found="pairwise_indices_")
    classes = class_labels(record, "classes_", record.get("classes_"))
    parts, responses = _binary_members(record, context)
    count = len(classes)
    if count < 2 or len(parts) != count * (count - 1) // 2:
        raise wrong(record, "estimators_", record.get("estimators_"), "a member for each pair of classes")
    members = tuple(Member(part.root, None, (0, 1)) for part in parts)
    exact = is_exact(parts, responses) and all(part.ceiling == "proven" for part in parts)
    root = OneVsOne(members, responses, count, _half(responses[0]))
    found = composed(record, parts, root, classes=classes, exact=exact)
    return replace(found, decision_function=True)


def _binary_members(record: Record, context: Context) -> tuple[list[ReadPredictor], tuple[Response, ...]]:
    """Members fitted on 0 and 1, and what is asked of each."""
    parts = read_members(record, context.beside(), record.get("estimators_"), "estimators_")
    if any(part.classes != (0, 1) for part in parts):
        raise wrong(record, "estimators_", None, "members of the classes 0 and 1")
    return parts, tuple(preferred(record, part) for part in parts)


def _half(response: Response) -> float:
    """``_threshold_for_binary_predict``."""
    return 0.0 if response == "scores" else 0.5
