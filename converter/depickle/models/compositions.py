# SPDX-License-Identifier: Apache-2.0
"""Models made of models whose answers are added or stacked: searches, voting, bagging, stacking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..pickles.graph import Array, Record, TupleNode, plain
from .attributes import (
    array_of,
    boolean,
    class_labels,
    float_array,
    integer,
    members,
    text,
    unsupported,
    wrong,
)
from .certainty import takes_inexact
from .composing import askable, composed, is_exact, member_of, read_members
from .interface import Context, ReadPredictor
from .label_rules import DOUBLE_BAND
from .trees import revalued
from .types import (
    Averaged,
    ClassLabel,
    Forest,
    HardVote,
    LabelRule,
    Member,
    Predictor,
    Response,
    Stacked,
)

__all__ = ["bag_columns", "read_bagging", "read_search", "read_stacking", "read_voting"]


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
    parts = read_members(record, context.beside(), record.get("estimators_"), "estimators_")
    weights = _voting_weights(record, len(parts))
    divisor = float(np.sum(np.array(weights))) if weights else float(len(parts))
    if record.name == "VotingRegressor":
        if weights is None:
            _added_in_double(record, parts)
        plain_members = tuple(Member(part.root) for part in parts)
        exact = all(part.ceiling == "proven" for part in parts)
        return composed(
            record, parts, Averaged(plain_members, weights, divisor, 1, None), classes=None, exact=exact
        )
    encoder = record.get("le_")
    if not isinstance(encoder, Record):
        raise wrong(record, "le_", encoder, "a fitted label encoder")
    classes = class_labels(encoder, "classes_", encoder.get("classes_"))
    encoded = tuple(range(len(classes)))
    within = tuple(member_of(record, part, encoded) for part in parts)
    if text(record, "voting") == "hard":
        if weights and min(weights) < 0.0:
            raise unsupported(record, "Hard votes of negative weight are not emitted", found="weights")
        exact = all(part.ceiling == "proven" for part in parts)
        return composed(record, parts, HardVote(within, weights, len(classes)), classes=classes, exact=exact)
    return _mean(record, parts, within, weights, divisor, classes)


def _added_in_double(record: Record, parts: Sequence[ReadPredictor]) -> None:
    if all(part.single for part in parts):
        raise unsupported(
            record,
            "The original adds the numbers of XGBoost regressors in float32",
            found=parts[0].family,
            expected="members of another family, or weights",
        )


def _mean(
    record: Record,
    parts: Sequence[ReadPredictor],
    within: tuple[Member, ...],
    weights: tuple[float, ...] | None,
    divisor: float,
    classes: tuple[ClassLabel, ...],
    n_features: int | None = None,
) -> ReadPredictor:
    for part in parts:
        askable(record, part, "probabilities")
    exact = all(part.exact_probabilities for part in parts)
    rule = LabelRule("argmax_probabilities", exact=exact, band=0.0 if exact else DOUBLE_BAND)
    root = Averaged(within, weights, divisor, len(classes), rule)
    found = composed(record, parts, root, classes=classes, exact=exact, n_features=n_features)
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
    divisor = integer(record, "n_estimators", low=1)
    parts = read_members(record, context, record.get("estimators_"), "estimators_")
    if divisor != len(parts):  # the original divides by the parameter
        raise wrong(record, "n_estimators", divisor, f"{len(parts)}, as fitted")
    chosen = bag_columns(record, len(parts), n_features)
    for part, columns in zip(parts, chosen, strict=True):
        if part.n_features != len(columns):
            raise wrong(record, "estimators_features_", None, f"{part.n_features} columns")
    if record.name == "BaggingRegressor":
        _added_in_double(record, parts)
        within = tuple(Member(part.root, columns) for part, columns in zip(parts, chosen, strict=True))
        exact = all(part.ceiling == "proven" for part in parts)
        root: Predictor = Averaged(within, None, float(len(parts)), 1, None)
        return composed(record, parts, root, classes=None, exact=exact, n_features=n_features)
    classes = class_labels(record, "classes_", record.get("classes_"))
    encoded = tuple(range(len(classes)))
    within = tuple(
        member_of(record, part, encoded, columns) for part, columns in zip(parts, chosen, strict=True)
    )
    found = _mean(record, parts, within, None, float(len(parts)), classes, n_features)
    merged = _merged_trees(within, len(classes))
    if merged is not None:
        return replace(found, root=merged)
    return replace(found, decision_function=parts[0].decision_function)


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


_ARITHMETIC = (
    "sklearn.pipeline.",
    "sklearn.model_selection.",
    *(f"sklearn.ensemble._{name}." for name in ("voting", "bagging", "stacking")),
)  # final estimators that may compute with their columns before they compare them


def read_stacking(record: Record, context: Context) -> ReadPredictor:
    """StackingClassifier and StackingRegressor.

    Raises:
        UnsupportedModelError: DP603 where a final estimator would decide on inexact answers without a certificate.
    """
    prefit = plain(record.get("cv")) == "prefit"
    beside = replace(context.beside(), fitted_before=context.fitted_before or prefit)
    parts = read_members(record, beside, record.get("estimators_"), "estimators_")
    classifier = record.name == "StackingClassifier"
    methods = [plain(item) for item in members(record, "stack_method_", record.get("stack_method_"))]
    known = {"predict_proba": "probabilities", "decision_function": "scores", "predict": "scores"}
    if len(methods) != len(parts) or any(method not in known for method in methods):
        raise wrong(record, "stack_method_", record.get("stack_method_"), "a method for each member")
    inner = record.get("final_estimator_")
    if not isinstance(inner, Record):
        raise wrong(record, "final_estimator_", inner, "a fitted estimator")
    final = context.predictor(inner, context)
    responses: tuple[Response, ...] = tuple(
        askable(record, part, "probabilities")
        if method == "predict_proba"
        else ("scores" if method == "predict" else askable(record, part, "scores"))
        for part, method in zip(parts, methods, strict=True)
    )
    labels = tuple(
        _numeric_labels(record, part) if classifier and method == "predict" else None
        for part, method in zip(parts, methods, strict=True)
    )
    exact_inputs = is_exact(parts, responses)
    if not exact_inputs and not takes_inexact(record, final.root):
        raise unsupported(
            record,
            "The final estimator would branch on answers that are not exact, and nothing certifies it",
            found=final.family,
            expected="linear models, networks, or trees without sets of categories",
        )
    classes: tuple[ClassLabel, ...] | None = None
    if classifier:
        encoder = record.get("_label_encoder")
        if not isinstance(encoder, Record):
            raise unsupported(record, "Stacking over several labels is not emitted")
        classes = class_labels(encoder, "classes_", encoder.get("classes_"))
        if final.classes != tuple(range(len(classes))):
            raise wrong(record, "final_estimator_", inner, "a classifier of all encoded classes")
    passthrough = boolean(record, "passthrough")
    if all(part.single for part in parts) and not passthrough and inner.cls.startswith(_ARITHMETIC):
        raise unsupported(
            record,
            "The final estimator computes with columns of float32",
            found=final.family,
            expected="a single model, or passthrough",
        )
    drop = classes is not None and len(classes) == 2
    root = Stacked(
        tuple(Member(part.root) for part in parts),
        responses,
        drop,
        passthrough,
        final.root,
        labels,
    )
    exact = exact_inputs and final.ceiling == "proven"
    found = composed(record, parts, root, classes=classes, exact=exact)
    return replace(
        found,
        decision_function=final.decision_function,
        unstated_probabilities=found.unstated_probabilities or final.unstated_probabilities,
        single=final.single,
    )


def _numeric_labels(record: Record, part: ReadPredictor) -> tuple[float, ...]:
    classes = part.classes or ()
    if not classes or any(isinstance(label, str) or float(label) != label for label in classes):
        raise unsupported(record, "Stacking over labels that are no numbers", found=part.family)
    return tuple(float(label) for label in classes)
