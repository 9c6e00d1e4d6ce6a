# SPDX-License-Identifier: Apache-2.0
"""Numbers that a regressor's own is turned into: log links, and targets transformed for the fit and back.

A number v that may be off by d stays bounded through every step: |e^(v + d) - e^v| <= 2 d e^v for d <= 1, and the
square is off by d (2 |v| + d). A number that could be infinite in the original has no bound, and neither has one
behind an exponent that is off by more than 1, unless both sides give 0.
"""

from __future__ import annotations

import math

import numpy as np

from ...pickles.graph import DictNode, Record, Value
from ..walk import Expected
from .dense import linear_number_anywhere
from .derivation import Derivation, NotDerivedError
from .inexact import CARRIED, LEAST, error_of
from .linear import one_score, weights_and_intercept
from .reading import flag, integer, record, unreadable, vector
from .unions import numpy_name
from .vocabulary import Answer, apply, constant, scalar

__all__ = ["GENERALIZED", "expect_generalized", "expect_transformed_target"]

GENERALIZED = {f"sklearn.linear_model._glm.glm.{kind}Regressor" for kind in ("Poisson", "Gamma", "Tweedie")}

_LOSSES = {
    "HalfPoissonLoss": "LogLink",
    "HalfGammaLoss": "LogLink",
    "HalfTweedieLoss": "LogLink",
    "HalfTweedieLossIdentity": "IdentityLink",
}
_ROUNDED = 2.0**-51
_FUNCTION_STEPS = 2.0**-46
"""exp errs by less than 2^-50 of itself on each side, expm1 by that of what it is the difference of."""
_GONE = -750.0
"""exp of less is 0, the least number being e^-745 in the middle."""
_FINITE = 2.0**1022


def expect_generalized(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``_base_loss.link.inverse(X @ coef_ + intercept_)`` (linear_model/_glm/glm.py)."""
    loss = record(owner, "_base_loss")
    link = record(loss, "link")
    expected = _LOSSES.get(loss.name)
    if loss.module != "sklearn._loss.loss" or expected is None:
        raise NotDerivedError(f"the loss {loss.cls}")
    if link.cls != f"sklearn._loss.link.{expected}":
        raise unreadable(loss, "link", expected)
    weights, intercept = weights_and_intercept(owner)
    answer = linear_number_anywhere(rows, one_score(owner, weights), intercept)
    if expected == "IdentityLink":
        return answer
    if error_of(rows) is not None:
        raise NotDerivedError("a log link behind columns that are not exact")
    return _exponential(*_number(answer), beside=LEAST)


def expect_transformed_target(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``transformer_.inverse_transform(regressor_.predict(X))`` for a target of one column."""
    if integer(owner, "_training_dim") != 1:
        raise unreadable(owner, "_training_dim", "1")
    answer = derive.answer(record(owner, "regressor_"), rows)
    if answer.index is not None or answer.detects or answer.single:
        raise NotDerivedError("a target that is no number in float64")
    value, error = _number(answer)
    transformer = record(owner, "transformer_")
    if transformer.cls == "sklearn.preprocessing._data.StandardScaler":
        return _standard(transformer, value, error)
    if transformer.cls != "sklearn.preprocessing._function_transformer.FunctionTransformer":
        raise NotDerivedError(f"targets transformed by {transformer.name}")
    if transformer.get("inverse_func") is None:  # whatever func is
        return answer
    if not _no_arguments(transformer.get("inv_kw_args")):
        raise NotDerivedError("a function with arguments")
    name = numpy_name(transformer.get("inverse_func"))
    if name == "exp":
        return _exponential(value, error, beside=LEAST)
    if name == "expm1":
        return _exponential(value, error, beside=2.0)
    if name == "square":
        return _squared(value, error)
    raise NotDerivedError(f"the function {name}")


def _no_arguments(value: Value) -> bool:
    return value is None or (isinstance(value, DictNode) and len(value) == 0)


def _number(answer: Answer) -> tuple[Expected, Expected | None]:
    """The number and how far it may be off; None where it is bit-equal."""
    if answer.scores is None:
        raise NotDerivedError("a regressor without a number")
    if isinstance(answer.score_error, Expected):
        return answer.scores, answer.score_error
    if answer.score_error != 0.0:
        raise NotDerivedError("a number whose distance does not depend on the row")
    return answer.scores, None


def _standard(owner: Record, value: Expected, error: Expected | None) -> Answer:
    """``StandardScaler.inverse_transform``: times ``scale_``, plus ``mean_``."""
    if flag(owner, "with_std"):
        scale = vector(owner, "scale_", 1)
        value = apply("Mul", value, constant(scale))
        error = _rounded(value, error, constant(np.abs(scale) * CARRIED))
    if flag(owner, "with_mean"):
        value = apply("Add", value, constant(vector(owner, "mean_", 1)))
        error = _rounded(value, error, scalar(CARRIED))
    return Answer(scores=value, score_error=0.0 if error is None else error)


def _rounded(value: Expected, error: Expected | None, factor: Expected) -> Expected | None:
    if error is None:
        return None
    rounding = apply("Mul", apply("Abs", value), scalar(_ROUNDED))
    return apply("Add", apply("Add", apply("Mul", error, factor), rounding), scalar(LEAST))


def _squared(value: Expected, error: Expected | None) -> Answer:
    square = apply("Mul", value, value)
    if error is None:
        return Answer(scores=square)
    reach = apply("Add", apply("Mul", apply("Abs", value), scalar(2.0)), error)
    off = apply("Mul", apply("Mul", error, reach), scalar(CARRIED))
    off = apply("Add", apply("Add", off, apply("Mul", square, scalar(_ROUNDED))), scalar(LEAST))
    return Answer(scores=square, score_error=_where_finite(square, off))


def _exponential(value: Expected, error: Expected | None, *, beside: float) -> Answer:
    """exp of `value`, less 1 where what is `beside` it says so."""
    power = apply("Exp", value)
    found = power if beside == LEAST else apply("Sub", power, scalar(1.0))
    size = apply("Add", apply("Abs", found), scalar(beside))
    if error is None:
        off = apply("Add", apply("Mul", size, scalar(_FUNCTION_STEPS)), scalar(LEAST))
        return Answer(scores=found, score_error=_where_finite(found, off))
    gone = apply("Less", apply("Add", value, error), scalar(_GONE))
    moved = apply("Where", gone, scalar(0.0), error)
    share = apply("Add", apply("Mul", moved, scalar(2.0 * CARRIED)), scalar(_FUNCTION_STEPS))
    off = apply("Add", apply("Mul", size, share), scalar(LEAST))
    off = apply("Where", apply("LessOrEqual", moved, scalar(1.0)), off, scalar(math.inf))
    return Answer(scores=found, score_error=_where_finite(found, off))


def _where_finite(value: Expected, error: Expected) -> Expected:
    near = apply("LessOrEqual", apply("Abs", value), scalar(_FINITE))
    known = apply("LessOrEqual", error, scalar(_FINITE))
    return apply("Where", apply("And", near, known), error, scalar(math.inf))
