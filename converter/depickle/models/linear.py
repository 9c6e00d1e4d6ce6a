# SPDX-License-Identifier: Apache-2.0
"""Linear models of scikit-learn: coefficients, intercept, and which link `predict_proba` uses in which version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..pickles.graph import Array, Record, Value, plain
from .attributes import array_of, class_labels, float_array, integer, text, unsupported, wrong
from .interface import Context, ReadPredictor
from .trees import several_outputs
from .types import Chain, ClassLabel, Divide, FloatArray, LabelRule, Linear, Link, Subtract, Transform

__all__ = [
    "MAX_MAGNITUDE",
    "reach",
    "read_discriminant",
    "read_latent_regressor",
    "read_linear_classifier",
    "read_linear_outliers",
    "read_linear_regressor",
    "read_logistic_regression",
    "read_sgd_classifier",
]

_CERTIFIED = (
    "The label comes from a dot product, whose order of summation is not defined; a margin certifies rows"
)
MAX_MAGNITUDE = 2.0**1000
"""Far beyond any feature, and small enough that no transformer makes an infinity of it, on which originals raise."""

_NO_MULTI_CLASS_SINCE = (1, 8)
_UNIFORM_SINCE = (1, 9)


def _separate_link(classes: int, version: tuple[int, int]) -> Link:
    """One-vs-rest probabilities, as `_predict_proba_lr` of the version normalises them."""
    if classes == 2:
        return "logistic"
    return "logistic_or_uniform" if version >= _UNIFORM_SINCE else "logistic_normalized"


def _parameters(
    record: Record, n_features: int, name: str = "coef_", offset: str = "intercept_"
) -> tuple[FloatArray, FloatArray]:
    """`coef_` as [K, F] and `intercept_` as [K]."""
    raw = array_of(record, name, record.get(name))
    shape: tuple[int | None, ...] = (None, n_features) if raw.ndim == 2 else (n_features,)
    if raw.dtype != np.float64:
        raise unsupported(
            record, "A linear model fitted in another precision", found=str(raw.dtype), expected="float64"
        )
    coefficients = float_array(record, name, shape=shape).reshape(-1, n_features)
    value = record.get(offset)
    if isinstance(value, Array):
        intercept = array_of(record, offset, value)
        if intercept.dtype.kind != "f" or intercept.size not in (1, len(coefficients)):
            raise wrong(record, offset, value, f"{len(coefficients)} numbers")
        flat: FloatArray = np.array(intercept, dtype=np.float64).reshape(-1)
    else:
        scalar = plain(value)
        if isinstance(scalar, bool) or not isinstance(scalar, int | float):
            raise wrong(record, offset, value, "a number")
        flat = np.array([float(scalar)])
    if not bool(np.isfinite(flat).all()):
        raise wrong(record, offset, value, "finite numbers")
    return coefficients, np.broadcast_to(flat, (len(coefficients),)).copy()


def _classes(record: Record) -> tuple[ClassLabel, ...]:
    """`classes_`; before 1.9 RidgeClassifier kept them in its label binarizer only."""
    owner: Value = record
    if record.get("classes_") is None and record.name.startswith("RidgeClassifier"):
        owner = record.get("_label_binarizer")
    if not isinstance(owner, Record):
        raise wrong(record, "_label_binarizer", owner, "a fitted label binarizer")
    return class_labels(owner, "classes_", owner.get("classes_"))


def _classifier(record: Record, link: Link, *, mirrored: bool = False) -> ReadPredictor:
    classes = _classes(record)
    n_features = integer(record, "n_features_in_", low=1)
    coefficients, intercept = _parameters(record, n_features)
    expected = 1 if len(classes) == 2 else len(classes)
    if len(coefficients) != expected or len(classes) < 2:
        raise wrong(record, "coef_", record.get("coef_"), f"{expected} rows")
    rule = (
        LabelRule("score_above", cut=0.0, exact=False)
        if expected == 1
        else LabelRule("argmax_scores", exact=False)
    )
    return _read(record, n_features, classes, Linear(coefficients, intercept, link, rule, mirrored=mirrored))


def _read(
    record: Record, n_features: int, classes: tuple[ClassLabel, ...] | None, root: Linear
) -> ReadPredictor:
    return ReadPredictor(
        task="classifier" if classes else "regressor",
        classes=classes,
        n_features=n_features,
        root=root,
        ceiling="certified",
        reason=_CERTIFIED,
        allow_nan=False,
        allow_infinite=False,
        max_abs=reach(record, root),
        family=record.name,
        decision_function=classes is not None,
    )


def reach(record: Record, model: Linear) -> float:
    """A bound on |x| under which no partial sum overflows, in any order: the order decides between inf and NaN there.

    Raises:
        UnsupportedModelError: DP603 where the coefficients leave no room.
    """
    with np.errstate(over="ignore"):
        widest = float(np.abs(model.coefficients).sum(axis=1).max())
    if not widest < MAX_MAGNITUDE or float(np.abs(model.intercept).max()) > MAX_MAGNITUDE:
        raise unsupported(record, "Coefficients so large that sums overflow", found=f"{widest:g}")
    return MAX_MAGNITUDE / max(widest, 1.0)


def read_logistic_regression(record: Record, context: Context) -> ReadPredictor:
    """LogisticRegression and LogisticRegressionCV, one-vs-rest or multinomial as their version decides."""
    version = context.version(record)
    classes = class_labels(record, "classes_", record.get("classes_"))
    binary = len(classes) == 2
    if version >= _NO_MULTI_CLASS_SINCE and plain(record.get("multi_class")) in (None, "deprecated"):
        return _classifier(record, "logistic" if binary else "softmax")
    choice = text(record, "multi_class", default="auto")
    solver = text(record, "solver")
    separate = ("liblinear", "newton-cholesky") if version < (1, 6) else ("liblinear",)
    if choice in ("ovr", "warn") or (choice in ("auto", "deprecated") and (binary or solver in separate)):
        return _classifier(record, _separate_link(len(classes), version))
    if choice in ("multinomial", "auto", "deprecated"):
        return _classifier(record, "softmax", mirrored=binary)
    raise unsupported(
        record, "multi_class is not known", found=repr(choice), expected="auto, ovr or multinomial"
    )


def read_linear_classifier(record: Record, context: Context) -> ReadPredictor:
    """LinearSVC, RidgeClassifier, Perceptron, PassiveAggressiveClassifier: labels and decision values only."""
    return _classifier(record, "none")


def read_discriminant(record: Record, context: Context) -> ReadPredictor:
    """LinearDiscriminantAnalysis: a linear model, whatever its solver."""
    binary = len(class_labels(record, "classes_", record.get("classes_"))) == 2
    return _classifier(record, "logistic" if binary else "softmax")


def read_sgd_classifier(record: Record, context: Context) -> ReadPredictor:
    """SGDClassifier: with probabilities where its loss is log_loss or modified_huber."""
    if plain(record.get("average")) not in (False, None, True):
        raise unsupported(record, "Averaged coefficients after a number of samples", found="average")
    loss = text(record, "loss")
    if loss in ("log_loss", "log"):
        classes = class_labels(record, "classes_", record.get("classes_"))
        return _classifier(record, _separate_link(len(classes), context.version(record)))
    if loss == "modified_huber":
        return _classifier(record, "clipped")
    return _classifier(record, "none")


def read_linear_regressor(record: Record, context: Context) -> ReadPredictor:
    """LinearRegression, Ridge, Lasso, ElasticNet and kin."""
    n_features = integer(record, "n_features_in_", low=1)
    coefficients, intercept = _parameters(record, n_features)
    if len(coefficients) != 1:
        raise several_outputs(record)
    return _read(record, n_features, None, Linear(coefficients, intercept, "identity", None))


def read_linear_outliers(record: Record, context: Context) -> ReadPredictor:
    """SGDOneClassSVM: an inlier where ``x @ coef_ - offset_ >= 0``."""
    n_features = integer(record, "n_features_in_", low=1)
    coefficients, offset = _parameters(record, n_features, offset="offset_")
    if len(coefficients) != 1:
        raise wrong(record, "coef_", record.get("coef_"), "one row")
    rule = LabelRule("score_at_least", cut=0.0, exact=False)
    found = _read(record, n_features, (-1, 1), Linear(coefficients, -offset, "none", rule))
    return replace(found, task="outlier")


_SCALES_ROWS_BEFORE = (1, 5)
_PLAIN_COEFFICIENTS_SINCE = (1, 3)


def read_latent_regressor(record: Record, context: Context) -> ReadPredictor:
    """PLSRegression, PLSCanonical and CCA of one target: centred, until 1.4 scaled, then a dot product.

    Raises:
        UnsupportedModelError: DP607 for several targets, DP602 where the scale holds a 0.
    """
    version = context.version(record)
    n_features = integer(record, "n_features_in_", low=1)
    name = "coef_" if version >= _PLAIN_COEFFICIENTS_SINCE else "_coef_"
    coefficients, intercept = _parameters(record, n_features, name)
    if array_of(record, name, record.get(name)).ndim != 2:
        raise wrong(record, name, record.get(name), "a row for each target")
    if len(coefficients) != 1:
        raise several_outputs(record)
    mean = float_array(record, "_x_mean", shape=(n_features,))
    scale = np.ones(n_features)
    steps: list[Transform] = [Subtract(mean)]
    if version < _SCALES_ROWS_BEFORE:
        scale = float_array(record, "_x_std", shape=(n_features,))
        if not bool((scale > 0).all()):
            raise wrong(record, "_x_std", record.get("_x_std"), "scales above 0")
        steps.append(Divide(scale))
    found = _read(record, n_features, None, Linear(coefficients, intercept, "identity", None))
    limit = float(np.min((found.max_abs or 0.0) * scale * 0.5 - np.abs(mean)))
    if not limit > 0:
        raise unsupported(record, "Coefficients so large that sums overflow", found=f"{limit:g}")
    return replace(
        found,
        root=Chain(tuple(steps), found.root),
        max_abs=min(limit, MAX_MAGNITUDE),
        decision_function=False,
    )
