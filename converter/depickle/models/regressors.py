# SPDX-License-Identifier: Apache-2.0
"""Regressors whose number is a function of another's (log links, transformed targets), curves, constant answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..pickles.graph import Array, DictNode, Record, plain
from .attributes import (
    array_of,
    boolean,
    class_labels,
    float_array,
    integer,
    number,
    text,
    unsupported,
    wrong,
)
from .dense_types import Function, Network
from .interface import Context, ReadPredictor
from .linear import MAX_MAGNITUDE, read_linear_regressor
from .score_types import Constant, Interpolated
from .types import Apply, Boosted, Chain, Forest, Linear, Multiply, Predictor, Shift, Transform, Transformed
from .unions import function_name

__all__ = [
    "read_consensus_regressor",
    "read_dummy_classifier",
    "read_dummy_regressor",
    "read_isotonic_regressor",
    "read_log_linear_regressor",
    "read_transformed_target",
]

_LINK = "The number is an exponential of a dot product; an error bound holds it for each row"


def read_consensus_regressor(record: Record, context: Context) -> ReadPredictor:
    """RANSACRegressor: the estimator that it fitted on the inliers."""
    inner = record.get("estimator_")
    if not isinstance(inner, Record):
        raise wrong(record, "estimator_", inner, "a fitted estimator")
    found = context.predictor(inner, context)
    if found.task != "regressor":
        raise wrong(record, "estimator_", inner, "a fitted regressor")
    return replace(found, family=f"{record.name}({found.family})")


_LOG_LOSSES = ("HalfPoissonLoss", "HalfGammaLoss", "HalfTweedieLoss")


def read_log_linear_regressor(record: Record, context: Context) -> ReadPredictor:
    """PoissonRegressor, GammaRegressor and TweedieRegressor: the link is that of the loss they were fitted with.

    Raises:
        UnsupportedModelError: DP603 for a loss that is not known.
    """
    found = read_linear_regressor(record, context)
    loss = record.get("_base_loss")
    name = loss.name if isinstance(loss, Record) else None
    if name == "HalfTweedieLossIdentity":
        return found
    if name not in _LOG_LOSSES:
        raise unsupported(record, "The loss is not known", found=repr(name), expected=", ".join(_LOG_LOSSES))
    return replace(found, root=Transformed(found.root, (Function("exp"),)), reason=_LINK)


_INVERSES: dict[tuple[str, str], Transform] = {
    ("log1p", "expm1"): Function("expm1"),
    ("log", "exp"): Function("exp"),
    ("sqrt", "square"): Apply("Square"),
}


def read_transformed_target(record: Record, context: Context) -> ReadPredictor:
    """TransformedTargetRegressor of one target: a known inverse function, or StandardScaler, after its regressor.

    Raises:
        UnsupportedModelError: DP603 for other functions and transformers, and for regressors whose numbers may be
            infinite or of single precision.
    """
    if integer(record, "_training_dim", low=1) != 1:
        raise unsupported(record, "Targets of two dimensions", found="_training_dim other than 1")
    inner, transformer = record.get("regressor_"), record.get("transformer_")
    if not isinstance(inner, Record) or not isinstance(transformer, Record):
        raise wrong(record, "regressor_", inner, "a fitted regressor and its transformer")
    found = context.predictor(inner, context)
    if found.task != "regressor" or not _is_finite_double(found.root):
        raise unsupported(
            record, "Numbers that may be infinite or single would be transformed", found=found.family
        )
    steps = _inverse(record, transformer)
    exact = found.ceiling == "proven" and not any(
        isinstance(step, Function) and not step.exact for step in steps
    )
    return replace(
        found,
        root=Transformed(found.root, steps) if steps else found.root,
        ceiling="proven" if exact else "certified",
        reason=found.reason if exact or found.ceiling != "proven" else _LINK,
        family=f"{record.name}({found.family})",
    )


def _is_finite_double(root: Predictor) -> bool:
    match root:
        case Chain():
            return _is_finite_double(root.predictor)
        case Boosted():
            return root.precision == "float64" and root.link == "identity"
        case _:
            return isinstance(root, Linear | Network | Forest)


def _inverse(record: Record, transformer: Record) -> tuple[Transform, ...]:
    if transformer.cls == "sklearn.preprocessing._data.StandardScaler":
        steps: list[Transform] = []
        if boolean(transformer, "with_std"):
            steps.append(Multiply(float_array(transformer, "scale_", shape=(1,))))
        if boolean(transformer, "with_mean"):
            steps.append(Shift(float_array(transformer, "mean_", shape=(1,))))
        return tuple(steps)
    if transformer.cls != "sklearn.preprocessing._function_transformer.FunctionTransformer":
        raise unsupported(
            record,
            "This transformer of targets is not inverted",
            found=transformer.cls,
            expected="StandardScaler",
        )
    for name in ("kw_args", "inv_kw_args"):
        value = transformer.get(name)
        if value is not None and not (isinstance(value, DictNode) and len(value) == 0):
            raise unsupported(record, "Arguments of a function are not emitted", found=name)
    there, back = transformer.get("func"), transformer.get("inverse_func")
    if back is None:
        return ()
    pair = (function_name(there) or "?", function_name(back) or "?")
    if pair not in _INVERSES:
        known = ", ".join("/".join(names) for names in _INVERSES)
        raise unsupported(record, "These functions are not emitted", found="/".join(pair), expected=known)
    return (_INVERSES[pair],)


def read_isotonic_regressor(record: Record, context: Context) -> ReadPredictor:
    """IsotonicRegression of one column, clipped outside its thresholds.

    Raises:
        UnsupportedModelError: DP603 for curves that are not clipped, of one point, or of another precision.
    """
    if context.columns not in (None, 1):
        raise wrong(record, "X_thresholds_", record.get("X_thresholds_"), "one column")
    if text(record, "out_of_bounds") != "clip":
        raise unsupported(
            record,
            "An isotonic curve that is not clipped",
            found=text(record, "out_of_bounds"),
            expected="clip",
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
    rising = bool((np.diff(knots) > 0).all() and np.isfinite(slopes).all())
    if not rising or (number(record, "X_min_"), number(record, "X_max_")) != (knots[0], knots[-1]):
        raise wrong(
            record, "X_thresholds_", record.get("X_thresholds_"), "rising thresholds between the limits"
        )
    return ReadPredictor(
        task="regressor",
        classes=None,
        n_features=1,
        root=Interpolated(knots, values),
        ceiling="certified",
        reason="The number is interpolated, which fused operations round differently; a bound holds it",
        allow_nan=False,
        allow_infinite=False,
        max_abs=MAX_MAGNITUDE,
        family=record.name,
    )


def _constant(record: Record, context: Context, root: Constant) -> ReadPredictor:
    if context.columns is None and record.get("n_features_in_") is None:
        raise unsupported(
            record,
            "Releases before 1.5 do not store how many columns a dummy saw",
            found="a dummy with nothing in front of it",
            expected="a pipeline with another step, which tells",
        )
    return ReadPredictor(
        task="regressor" if root.index is None else "classifier",
        classes=None if root.index is None else class_labels(record, "classes_", record.get("classes_")),
        n_features=context.columns
        if context.columns is not None
        and record.get("n_features_in_") is None  # releases that never look at rows
        else integer(record, "n_features_in_", low=1),
        root=root,
        ceiling="proven",
        reason="Every row gets the same answer",
        allow_nan=True,
        allow_infinite=True,
        max_abs=None,
        family=record.name,
        exact_probabilities=True,
    )


def read_dummy_regressor(record: Record, context: Context) -> ReadPredictor:
    """DummyRegressor of any strategy: `constant_`."""
    if integer(record, "n_outputs_", low=1) != 1:
        raise unsupported(record, "A constant for each of several outputs", found="n_outputs_")
    value = record.get("constant_")
    if not isinstance(value, Array) or array_of(record, "constant_", value).size != 1:
        raise wrong(record, "constant_", value, "one number")
    (constant,) = float_array(record, "constant_", shape=(None,) * len(value.shape)).reshape(-1)
    return _constant(record, context, Constant(None, (), float(constant)))


def read_dummy_classifier(record: Record, context: Context) -> ReadPredictor:
    """DummyClassifier of the strategies most_frequent, prior and constant.

    Raises:
        UnsupportedModelError: DP603 for stratified and uniform, which draw at random.
    """
    strategy = text(record, "_strategy") if record.get("_strategy") is not None else text(record, "strategy")
    if strategy in ("stratified", "uniform"):
        raise unsupported(
            record,
            "It draws its answers at random",
            found=strategy,
            expected="most_frequent, prior or constant",
        )
    classes = class_labels(record, "classes_", record.get("classes_"))
    if integer(record, "n_outputs_", low=1) != 1:
        raise unsupported(record, "Labels for each of several outputs", found="n_outputs_")
    shares = float_array(record, "class_prior_", shape=(len(classes),))
    index = int(np.argmax(shares))
    if strategy == "constant":
        given = plain(record.get("constant"))
        if not isinstance(given, bool | int | float | str) or given not in classes:
            raise unsupported(record, "The constant is not one of the classes", found=repr(given)[:60])
        index = classes.index(given)
    elif strategy not in ("most_frequent", "prior"):
        raise unsupported(record, "The strategy is not known", found=strategy)
    if strategy != "prior":
        shares = np.eye(len(classes))[index]
    return _constant(record, context, Constant(index, tuple(shares.tolist()), 0.0))
