# SPDX-License-Identifier: Apache-2.0
"""Models made of models: searches, voting, bagging, AdaBoost, calibration, thresholds, one-vs-rest, stacking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..errors import UnsupportedModelError
from ..pickles.graph import Array, Record, TupleNode, Value, plain
from .attributes import (
    array_of,
    boolean,
    class_labels,
    float_array,
    integer,
    members,
    number,
    records,
    text,
    unsupported,
    wrong,
)
from .dense_types import Network
from .forests import FLOAT32_MAX
from .interface import Context, ReadPredictor
from .label_rules import DOUBLE_BAND
from .trees import revalued
from .types import (
    Averaged,
    Boosted,
    Calibrated,
    Ceiling,
    Chain,
    ClassLabel,
    Continued,
    Curve,
    Forest,
    HardVote,
    Isolation,
    LabelRule,
    Linear,
    Member,
    OneVsRest,
    Predictor,
    Response,
    Stacked,
    Task,
    Thresholded,
    Tree,
    TreeVotes,
)

__all__ = [
    "bag_columns",
    "read_adaboost",
    "read_bagging",
    "read_calibrated",
    "read_fixed_threshold",
    "read_one_vs_rest",
    "read_search",
    "read_stacking",
    "read_tuned_threshold",
    "read_voting",
]

_EXACT = "Its members' answers are exact, and it adds, divides and compares them in the original's order"
_INEXACT = "It compares quantities that passed through exp or a dot product; a margin certifies rows"


def _read_members(record: Record, context: Context, value: Value, name: str) -> list[ReadPredictor]:
    found = [context.predictor(item, context) for item in records(record, name, value)]
    if not found:
        raise wrong(record, name, value, "at least one fitted member")
    return found


def _member(
    record: Record,
    part: ReadPredictor,
    classes: Sequence[ClassLabel] | None,
    columns: tuple[int, ...] | None = None,
) -> Member:
    """`part` with its classes found among `classes`, the labels under which the composition fitted its members."""
    if classes is None or part.classes is None:
        return Member(part.root, columns)
    places = []
    for label in part.classes:
        match_ = [place for place, known in enumerate(classes) if known == label]
        if len(match_) != 1:
            raise wrong(record, "estimators_", None, f"members that know the classes {list(classes)!r:.60}")
        places.append(match_[0])
    return Member(part.root, columns, tuple(places))


def _composed(
    record: Record,
    parts: Sequence[ReadPredictor],
    root: Predictor,
    *,
    classes: tuple[ClassLabel, ...] | None,
    exact: bool,
    n_features: int | None = None,
) -> ReadPredictor:
    task: Task = "classifier" if classes else "regressor"
    for part in parts:
        if part.task != task:
            raise wrong(record, "estimators_", None, f"members that are {task}s, not {part.family}")
    bounds = [part.max_abs for part in parts if part.max_abs is not None]
    widths = {part.n_features for part in parts}
    if n_features is None and len(widths) != 1:
        raise wrong(record, "n_features_in_", None, "members of one width")
    ceiling: Ceiling = "proven" if exact else "certified"
    return ReadPredictor(
        task=task,
        classes=classes,
        n_features=n_features or parts[0].n_features,
        root=root,
        ceiling=ceiling,
        reason=_EXACT if exact else _INEXACT,
        allow_nan=all(part.allow_nan for part in parts),
        allow_infinite=all(part.allow_infinite for part in parts),
        max_abs=min(bounds) if bounds else None,
        family=f"{record.name}({', '.join(dict.fromkeys(part.family for part in parts))})",
    )


def read_search(record: Record, context: Context) -> ReadPredictor:
    """GridSearchCV, RandomizedSearchCV and halving searches: what they refitted."""
    best = record.get("best_estimator_")
    if not isinstance(best, Record):
        raise unsupported(
            record, "The search kept no fitted estimator", found="no best_estimator_", expected="refit"
        )
    found = context.predictor(best, context)
    return replace(found, family=f"{record.name}({found.family})")


def read_voting(record: Record, context: Context) -> ReadPredictor:
    """VotingClassifier, soft and hard, and VotingRegressor."""
    parts = _read_members(record, context, record.get("estimators_"), "estimators_")
    weights = _voting_weights(record, len(parts))
    divisor = float(np.sum(np.array(weights))) if weights else float(len(parts))
    if record.name == "VotingRegressor":
        plain_members = tuple(Member(part.root) for part in parts)
        exact = all(part.ceiling == "proven" for part in parts)
        return _composed(
            record, parts, Averaged(plain_members, weights, divisor, 1, None), classes=None, exact=exact
        )
    encoder = record.get("le_")
    if not isinstance(encoder, Record):
        raise wrong(record, "le_", encoder, "a fitted label encoder")
    classes = class_labels(encoder, "classes_", encoder.get("classes_"))
    encoded = tuple(range(len(classes)))
    within = tuple(_member(record, part, encoded) for part in parts)
    if text(record, "voting") == "hard":
        exact = all(part.ceiling == "proven" for part in parts)
        return _composed(record, parts, HardVote(within, weights, len(classes)), classes=classes, exact=exact)
    return _mean(record, parts, within, weights, divisor, classes)


def _mean(
    record: Record,
    parts: Sequence[ReadPredictor],
    within: tuple[Member, ...],
    weights: tuple[float, ...] | None,
    divisor: float,
    classes: tuple[ClassLabel, ...],
    n_features: int | None = None,
) -> ReadPredictor:
    exact = all(part.exact_probabilities for part in parts)
    rule = LabelRule("argmax_probabilities", exact=exact, band=0.0 if exact else DOUBLE_BAND)
    root = Averaged(within, weights, divisor, len(classes), rule)
    found = _composed(record, parts, root, classes=classes, exact=exact, n_features=n_features)
    return replace(found, exact_probabilities=exact)


def _voting_weights(record: Record, count: int) -> tuple[float, ...] | None:
    value = record.get("weights")
    if value is None:
        return None
    named = members(record, "estimators", record.get("estimators"))
    if isinstance(value, Array):
        raw = float_array(record, "weights", shape=(None,)).tolist()
    else:
        raw = [plain(item) for item in members(record, "weights", value)]
    if len(raw) != len(named):
        raise wrong(record, "weights", value, f"{len(named)} weights")
    kept = []
    for weight, pair in zip(raw, named, strict=True):
        if isinstance(pair, TupleNode) and len(pair) == 2 and plain(pair[1]) == "drop":
            continue
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not np.isfinite(weight):
            raise wrong(record, "weights", value, "finite weights")
        kept.append(float(weight))
    if len(kept) != count or sum(kept) == 0:
        raise wrong(record, "weights", value, f"{count} weights with a sum other than 0")
    return tuple(kept)


def read_bagging(record: Record, context: Context) -> ReadPredictor:
    """BaggingClassifier and BaggingRegressor; bags of single trees become a forest."""
    n_features = integer(record, "n_features_in_", low=1)
    parts = _read_members(record, context, record.get("estimators_"), "estimators_")
    chosen = bag_columns(record, len(parts), n_features)
    for part, columns in zip(parts, chosen, strict=True):
        if part.n_features != len(columns):
            raise wrong(record, "estimators_features_", None, f"{part.n_features} columns")
    if record.name == "BaggingRegressor":
        within = tuple(Member(part.root, columns) for part, columns in zip(parts, chosen, strict=True))
        exact = all(part.ceiling == "proven" for part in parts)
        root: Predictor = Averaged(within, None, float(len(parts)), 1, None)
        return _composed(record, parts, root, classes=None, exact=exact, n_features=n_features)
    classes = class_labels(record, "classes_", record.get("classes_"))
    encoded = tuple(range(len(classes)))
    within = tuple(
        _member(record, part, encoded, columns) for part, columns in zip(parts, chosen, strict=True)
    )
    found = _mean(record, parts, within, None, float(len(parts)), classes, n_features)
    merged = _merged_trees(within, len(classes))
    return found if merged is None else replace(found, root=merged)


def bag_columns(record: Record, count: int, n_features: int) -> list[tuple[int, ...]]:
    """The columns that each of `count` members of a bag sees, `estimators_features_`."""
    result = []
    for item in members(record, "estimators_features_", record.get("estimators_features_")):
        raw = array_of(record, "estimators_features_", item)
        if raw.dtype.kind not in "iu" or raw.ndim != 1 or not raw.size:
            raise wrong(record, "estimators_features_", item, "column numbers")
        columns = tuple(int(column) for column in raw)
        if any(not 0 <= column < n_features for column in columns):
            raise wrong(record, "estimators_features_", item, "columns of the input")
        result.append(columns)
    if len(result) != count:
        raise wrong(record, "estimators_features_", None, f"{count} lists of columns")
    return result


def _merged_trees(within: Sequence[Member], outputs: int) -> Forest | None:
    """One forest, where every member is a single tree; its columns and classes are renumbered in the nodes."""
    trees = []
    for member in within:
        forest = member.predictor
        if not isinstance(forest, Forest) or forest.divisor is not None:
            return None
        (tree,) = forest.trees
        value = np.zeros((len(tree.value), outputs))
        value[:, list(member.places)] = tree.value
        trees.append(revalued(tree, value, member.columns))
    return Forest(tuple(trees), outputs, float(len(trees)), LabelRule("argmax_probabilities"))


_VOTES_AGAINST_SINCE = (1, 3)  # before, a tree did not vote against the other classes (scikit-learn 1.3.1)


def read_adaboost(record: Record, context: Context) -> ReadPredictor:
    """AdaBoostClassifier over single trees, SAMME and SAMME.R.

    Raises:
        UnsupportedModelError: DP603 for members that are not single trees.
    """
    version = context.version(record)
    classes = class_labels(record, "classes_", record.get("classes_"))
    parts = _read_members(record, context, record.get("estimators_"), "estimators_")
    weights = float_array(record, "estimator_weights_", shape=(None,))
    real = plain(record.get("algorithm")) == "SAMME.R"
    count = len(classes)
    if count < 2 or len(weights) < len(parts):
        raise wrong(
            record, "estimator_weights_", record.get("estimator_weights_"), "a weight for each member"
        )
    if version == (1, 3) and not real:
        raise unsupported(record, "Releases of 1.3 count SAMME votes in two ways", found="SAMME of 1.3")
    trees = []
    for part, weight in zip(parts, weights, strict=False):
        forest = part.root
        if not isinstance(forest, Forest) or forest.divisor is not None or part.classes != classes:
            raise unsupported(
                record,
                "AdaBoost is emitted over single trees only",
                found=part.family,
                expected="a decision tree",
            )
        (tree,) = forest.trees
        trees.append(revalued(tree, _votes(tree, float(weight), count, version, real=real)))
    rule = LabelRule("score_above", 0.0) if count == 2 else LabelRule("argmax_scores")
    if real:
        rule = replace(rule, exact=False, band=DOUBLE_BAND * len(parts) * 64)
    root = TreeVotes(Forest(tuple(trees), count, float(weights.sum()), None), rule)
    found = _composed(record, parts, root, classes=classes, exact=not real)
    return replace(found, decision_function=True, allow_nan=False, allow_infinite=False, max_abs=FLOAT32_MAX)


def _votes(
    tree: Tree, weight: float, count: int, version: tuple[int, int], *, real: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """What each node adds per class, with the operations of `decision_function`."""
    if real:
        proba = np.clip(tree.value, np.finfo(np.float64).eps, None)
        log = np.log(proba)
        return np.asarray((count - 1) * (log - (1.0 / count) * log.sum(axis=1)[:, np.newaxis]))
    chosen = np.argmax(tree.value, axis=1)[:, np.newaxis] == np.arange(count)
    if version < _VOTES_AGAINST_SINCE:
        return np.asarray(chosen * weight, dtype=np.float64)
    return np.asarray(np.where(chosen, weight, -1 / (count - 1) * weight), dtype=np.float64)


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
    return _composed(record, parts, root, classes=classes, exact=False)


def _calibrated(fold: Record, part: ReadPredictor, classes: tuple[ClassLabel, ...]) -> Calibrated:
    method = text(fold, "method")
    if method not in ("sigmoid", "isotonic"):
        raise unsupported(
            fold, "This calibration is not emitted", found=method, expected="sigmoid or isotonic"
        )
    calibrators = records(fold, "calibrators", fold.get("calibrators", fold.get("calibrators_")))
    member = _member(fold, part, classes)
    places = member.places if len(classes) > 2 else (1,)
    if len(calibrators) != len(places) or part.classes is None or len(part.classes) != len(classes):
        raise unsupported(
            fold, "A fold that did not see every class", found=f"{len(calibrators)} calibrators"
        )
    isotonic = method == "isotonic"
    return Calibrated(
        member=member,
        response=_preferred(fold, part),
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


def _preferred(record: Record, part: ReadPredictor) -> Response:
    """What a composition asks of a member: its decision_function where it has one, else its probabilities."""
    if part.decision_function is None:
        raise UnsupportedModelError(
            "The file does not tell whether the member had a decision_function when it was asked",
            code="DP613",
            where=record.name,
            found=f"{part.family} of an unknown release",
            expected="the release of LightGBM, since 4.7 changed what is asked of it",
            next_step="Fit the composition together with its members, under one release, and save it again",
        )
    return _askable(record, part, "scores" if part.decision_function else "probabilities")


def _askable(record: Record, part: ReadPredictor, response: Response) -> Response:
    """`response`, unless the scores are not those that the original hands on."""
    if response == "scores" and any(
        isinstance(inner, Boosted) and inner.average is not None for inner in _last(part.root)
    ):
        raise unsupported(
            record,
            "The decision_function of LightGBM's random forest adds up what predict averages",
            found=part.family,
            expected="another boosting type, or a composition that asks for probabilities",
        )
    return response


def _last(root: Predictor) -> Iterator[Predictor]:
    """`root` and what its scores come from."""
    yield root
    if isinstance(root, Chain):
        yield from _last(root.predictor)
    elif isinstance(root, Thresholded):
        yield from _last(root.member.predictor)


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
    return part, _askable(record, part, "probabilities" if method == "predict_proba" else "scores")


def _thresholded(
    record: Record, part: ReadPredictor, response: Response, cut: float, label: Value
) -> ReadPredictor:
    classes = part.classes or ()
    known = plain(label)
    if known is not None and (not isinstance(known, bool | int | float | str) or known not in classes):
        raise wrong(record, "pos_label", label, f"one of {classes!r}")
    positive = 1 if known is None else classes.index(known)
    exact = part.exact_probabilities if response == "probabilities" else part.ceiling == "proven"
    root = Thresholded(_member(record, part, classes), response, cut, positive)
    found = _composed(record, [part], root, classes=part.classes, exact=exact)
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
    parts = _read_members(record, context, record.get("estimators_"), "estimators_")
    if text(binarizer, "y_type_") != "multiclass" or len(parts) != len(classes):
        raise unsupported(record, "One-vs-rest of two classes or several labels is not emitted")
    if any(part.classes is None or len(part.classes) != 2 for part in parts):
        raise wrong(record, "estimators_", None, "binary members")
    responses = tuple(_preferred(record, part) for part in parts)
    exact = all(
        part.exact_probabilities if response == "probabilities" else part.ceiling == "proven"
        for part, response in zip(parts, responses, strict=True)
    )
    root = OneVsRest(
        tuple(Member(part.root, None, (0, 1)) for part in parts),
        responses,
        last=version < _FIRST_OF_EQUALS_SINCE,
        has_probabilities=all(has_probabilities(part.root) for part in parts),
    )
    return _composed(record, parts, root, classes=classes, exact=exact)


def read_stacking(record: Record, context: Context) -> ReadPredictor:
    """StackingClassifier and StackingRegressor.

    Raises:
        UnsupportedModelError: DP603 where a final estimator of trees would branch on inexact answers.
    """
    parts = _read_members(record, context, record.get("estimators_"), "estimators_")
    classifier = record.name == "StackingClassifier"
    methods = [plain(item) for item in members(record, "stack_method_", record.get("stack_method_"))]
    known = {"predict_proba": "probabilities", "decision_function": "scores", "predict": "scores"}
    if len(methods) != len(parts) or any(method not in known for method in methods):
        raise wrong(record, "stack_method_", record.get("stack_method_"), "a method for each member")
    if classifier and "predict" in methods:
        raise unsupported(record, "Stacking over labels is not emitted", found="stack_method='predict'")
    inner = record.get("final_estimator_")
    if not isinstance(inner, Record):
        raise wrong(record, "final_estimator_", inner, "a fitted estimator")
    final = context.predictor(inner, context)
    responses: tuple[Response, ...] = tuple(
        _askable(record, part, "probabilities")
        if method == "predict_proba"
        else ("scores" if method == "predict" else _askable(record, part, "scores"))
        for part, method in zip(parts, methods, strict=True)
    )
    exact_inputs = all(
        part.exact_probabilities if response == "probabilities" else part.ceiling == "proven"
        for part, response in zip(parts, responses, strict=True)
    )
    if not exact_inputs and not _is_linear(final.root):
        raise unsupported(
            record, "The final estimator would branch on answers that are not exact", found=final.family
        )
    classes: tuple[ClassLabel, ...] | None = None
    if classifier:
        encoder = record.get("_label_encoder")
        if not isinstance(encoder, Record):
            raise unsupported(record, "Stacking over several labels is not emitted")
        classes = class_labels(encoder, "classes_", encoder.get("classes_"))
        if final.classes != tuple(range(len(classes))):
            raise wrong(record, "final_estimator_", inner, "a classifier of all encoded classes")
    drop = classes is not None and len(classes) == 2
    root = Stacked(
        tuple(Member(part.root) for part in parts),
        responses,
        drop,
        boolean(record, "passthrough"),
        final.root,
    )
    exact = exact_inputs and final.ceiling == "proven"
    return _composed(record, parts, root, classes=classes, exact=exact)


def _is_linear(root: Predictor) -> bool:
    return isinstance(root, Linear)


def has_probabilities(root: Predictor) -> bool:
    """Whether the emitted form of `root` has probabilities."""
    match root:
        case Chain():
            return has_probabilities(root.predictor)
        case Isolation():
            return False
        case Forest():
            return root.rule is not None
        case Network():
            return root.classes > 0
        case Boosted() | Linear():
            return root.link not in ("none", "identity", "exp", "signed_square")
        case Averaged():
            return root.rule is not None
        case HardVote():
            return False
        case TreeVotes() | Calibrated():
            return True
        case Thresholded():
            return has_probabilities(root.member.predictor)
        case Continued():
            return has_probabilities(root.stages)
        case OneVsRest():
            return root.has_probabilities
        case Stacked():
            return has_probabilities(root.final)
