# SPDX-License-Identifier: Apache-2.0
"""Calibration by temperature (calibration.py since 1.8): a soft-max of logits times one number.

The original takes several scores for probabilities where every row of a call looks like some. Where scores are asked,
a row that looks so alone is open; any other row settles it for each call that it is part of. Where probabilities are
asked, these are ones in every row, to the last bit, or there is no derivation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...pickles.graph import NumpyScalar, Record
from ..boosters import lightgbm_sections, lightgbm_text
from ..walk import Expected
from .answers import soft_max
from .compositions import delegate, response
from .derivation import Derivation, NotDerivedError, steps
from .forests import tree_table
from .inexact import CARRIED
from .linear import LINEAR_CLASSIFIERS, LOGISTIC
from .reading import number, record, records, unreadable
from .spread import UNKNOWN, scaled
from .vocabulary import Answer, Spread, apply, columns, constant, scalar

__all__ = ["tempered"]

_SINCE = (1, 8)
_EPSILON = 1e-12
"""What ``_convert_to_logits`` adds to a probability."""
_LARGEST = 2.0**20
"""Of an inverse temperature; the fit stops at exp(10)."""
_LOGITS = 2.0**-46
"""A logarithm errs by less than 2^-50 of itself on each side; a sum before it by 2u of what it is taken of."""
_SHARES = 2.0**-48
"""Products and differences inside the exponential err by less than 16u of the largest logit on each side."""
_OWN = 2.0**-46
"""Exponentials, their sum and quotients, as for every soft-max."""
_NEAR = 2.0**-10
_CERTAIN = 2.0**-14
"""Where scores that are off by less, all K together, look like probabilities (``isclose``: 1e-5), ours nearly do."""

_TREES = {f"sklearn.tree._classes.{name}TreeClassifier" for name in ("Decision", "Extra")}
_FORESTS = {f"sklearn.ensemble._forest.{name}Classifier" for name in ("RandomForest", "ExtraTrees")}
_BAG = "sklearn.ensemble._bagging.BaggingClassifier"
_BOOSTING = "sklearn.ensemble._gb.GradientBoostingClassifier"
_LIGHTGBM = "lightgbm.sklearn.LGBMClassifier"
_SUMS = {
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    _LIGHTGBM,
}
_NETWORK = "sklearn.neural_network._multilayer_perceptron.MLPClassifier"


def tempered(
    fold: Record,
    curves: Sequence[Record],
    member: Record,
    answer: Answer,
    derive: Derivation,
    *,
    scores: bool,
) -> tuple[Expected, Spread]:
    """The probabilities of a fold (``_TemperatureScaling.predict``), and how far they may be off."""
    if len(curves) != 1 or derive.version(curves[0]) < _SINCE:
        raise unreadable(fold, "calibrators", "one temperature, of 1.8 or later")
    _check_member(_innermost(member), derive, scores=scores)
    beta = number(curves[0], "beta_")
    kept = curves[0].get("beta_")
    if isinstance(kept, NumpyScalar) and kept.dtype.descr != "<f8":
        raise NotDerivedError("a temperature of another precision")
    if not 0.0 < beta < _LARGEST:
        raise unreadable(curves[0], "beta_", "a positive number, as the fit bounds it")
    width = len(answer.labels or ())
    value, error = response(answer, scores=scores)
    logits, off = _scores(value, error, width) if scores else _logarithms(value, error, width)
    warmed = apply("Mul", scalar(beta), logits)
    rounded = apply("Mul", _largest(apply("Abs", warmed)), scalar(_SHARES))
    carried = scaled(off, 2.0 * CARRIED * beta, _OWN)
    spread = apply("Add", rounded, carried if isinstance(carried, Expected) else scalar(carried))
    return soft_max(warmed, width), spread


def _innermost(member: Record) -> Record:
    """The estimator that answers inside a pipeline, a frozen one and the like."""
    if member.cls == "sklearn.pipeline.Pipeline":
        return _innermost(steps(member)[-1])
    inner = delegate(member)
    return member if inner is None else _innermost(inner)


def _check_member(member: Record, derive: Derivation, *, scores: bool) -> None:
    """Whether scores are double, or all probabilities are in [0, 1] and sum to 1 within what ``isclose`` allows."""
    if scores:
        started = member.cls == _BOOSTING and isinstance(member.get("init_"), Record)
        linear = member.cls in LOGISTIC | LINEAR_CLASSIFIERS
        if not linear and member.cls not in _SUMS | {_BOOSTING}:
            raise NotDerivedError("temperature over other scores")
        if started and not record(member, "init_").cls.startswith("sklearn.dummy."):
            raise NotDerivedError("temperature over boosting from a model")
        return
    if member.cls in _TREES | _FORESTS | {_BAG}:
        trees = [member] if member.cls in _TREES else records(member, "estimators_")
        for tree in trees:
            if tree.cls not in _TREES:
                raise NotDerivedError("temperature over a bag of other members")
            rows = tree_table(tree, derive)
            if not bool(((rows >= 0.0) & (rows <= 1.0)).all() and (abs(rows.sum(axis=1) - 1.0) < 1e-6).all()):
                raise NotDerivedError("leaves that hold something else than probabilities")
    elif member.cls not in _SUMS | {_NETWORK}:
        raise NotDerivedError("temperature over other probabilities")
    elif (
        member.cls == _LIGHTGBM
        and "multiclassova" in lightgbm_sections(lightgbm_text(member))[0]["objective"]
    ):
        raise NotDerivedError("probabilities that do not sum to 1")


def _axis() -> Expected:
    return constant([1], np.int64)


def _largest(values: Expected) -> Expected:
    return apply("ReduceMax", values, _axis(), keepdims=1)


def _both(negative: Expected, positive: Expected) -> Expected:
    return apply("Concat", negative, positive, axis=1)


def _scores(value: Expected, error: Spread, width: int) -> tuple[Expected, Spread]:
    """Scores are logits, unless every row of the call looks like probabilities."""
    if width == 2:
        return _both(apply("Neg", value), value), error
    limit = _CERTAIN / width
    if not isinstance(error, Expected) and not error < limit:
        return value, UNKNOWN
    low = apply("ReduceMin", value, _axis(), keepdims=1)
    inside = apply(
        "And", apply("Greater", low, scalar(-_NEAR)), apply("Less", _largest(value), scalar(1.0 + _NEAR))
    )
    away = apply("Abs", apply("Sub", apply("ReduceSum", value, _axis(), keepdims=1), scalar(1.0)))
    alike = apply("And", inside, apply("Less", away, scalar(_NEAR)))
    never = scalar(UNKNOWN)
    found = apply("Where", alike, never, error if isinstance(error, Expected) else scalar(error))
    if not isinstance(error, Expected):
        return value, found
    return value, apply("Where", apply("Less", error, scalar(limit)), found, never)


def _logarithms(value: Expected, error: Spread, width: int) -> tuple[Expected, Spread]:
    """``log(p + eps)``: off by no more than 2e / q where the error e is below half of q, and by its own rounding."""
    p = value
    if width == 2:
        second = columns(value, [1])
        p = _both(apply("Sub", scalar(1.0), second), second)
    q = apply("Add", p, scalar(_EPSILON))
    logits = apply("Log", q)
    own = apply("Mul", apply("Add", _largest(apply("Abs", logits)), scalar(1.0)), scalar(_LOGITS))
    if not isinstance(error, Expected) and error == 0.0:
        return logits, own
    passed = scaled(error, 2.0 * CARRIED)
    off = passed if isinstance(passed, Expected) else scalar(passed)
    least = apply("ReduceMin", q, _axis(), keepdims=1)
    steep = apply("Where", apply("Greater", least, off), apply("Div", off, least), scalar(UNKNOWN))
    return logits, apply("Add", steep, own)
