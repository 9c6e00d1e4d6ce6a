# SPDX-License-Identifier: Apache-2.0
"""Support vectors of libsvm: kernel values, their sums for each pair of classes, and what rounding could do to both.

libsvm (svm/src/libsvm/svm.cpp, ``k_function`` and ``predict_values``) adds F products for each vector by a BLAS and S
products for each sum in a loop. With a = |x|, r the largest norm of a vector and both sides counted, the sums may
differ by at most:

* Sigma |W| times what one kernel value may be off by, and 2 gamma(S) of Sigma |W K| + |b| for adding them up;
* a dot product is off by 2 gamma(F) a r, in any order and with any fused operations; its polynomial by the largest
  slope times that, and 2 gamma(degree) of itself; tanh is nowhere steeper than 1 and errs by less than 2^-47;
* of rbf the exponent g|x - s|^2 is off by delta = 2 gamma(2F) g (a + r)^2, that is by 4F + 16 roundings of (a + r)^2
  where both sides make 3F + 7. exp turns it into the factor e^delta, and errs by less than 2^-47 of itself; no
  value passes 1, so that 2 Sigma |W| is a bound in any case.

Products below the normal numbers do not round relatively. LEAST covers them where weights are below `_MOST`, and a
polynomial scales its vectors by gamma here, which has to stay among the normal numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Record, plain
from ..walk import Expected
from .answers import argmax, dot_gamma, lead, threshold_rule
from .derivation import Derivation, NotDerivedError
from .inexact import CARRIED, LEAST, error_of
from .reading import array, flag, integer, labels, number, text, unreadable
from .vocabulary import Answer, apply, as_double, constant, scalar, squeeze

__all__ = ["DETECTORS", "PAIRS", "VECTOR_REGRESSORS", "expect_support_vectors"]

FloatArray = npt.NDArray[np.float64]

PAIRS = {f"sklearn.svm._classes.{name}" for name in ("SVC", "NuSVC")}
VECTOR_REGRESSORS = {f"sklearn.svm._classes.{name}" for name in ("SVR", "NuSVR")}
DETECTORS = {"sklearn.svm._classes.OneClassSVM"}

ROOM = 1.0 + 2.0**-40
"""Covers the rounding of a norm, or of a sum of magnitudes, that is worked out once."""
STEPS = 2.0**-46
"""exp and tanh err by less than half of it on each side, relative to 1."""
_FAINT = 2.0**-940
"""Kernel values below it may have lost digits; taken for it, they are off by less than STEPS times it."""
_MOST = 2.0**96
"""Weights, times gamma where that exceeds 1, up to which LEAST covers what products lose below the normal numbers."""
_LEAST_SLOPE = 2.0**-900
"""gamma times the largest norm from which gamma times a vector keeps its digits, as far as they count."""
_LARGEST = 2.0**500
_CLASSES, _DEGREES, _GAMMA = 64, 32, 2.0**64


@dataclass(frozen=True, eq=False)
class _Vectors:
    """The fitted numbers: vectors [S, F], weights [S, P], offsets [P]."""

    kernel: str
    vectors: FloatArray
    weights: FloatArray
    offsets: FloatArray
    gamma: float
    coef0: float
    degree: int

    @property
    def norms(self) -> FloatArray:
        """A norm of each vector that is not too small."""
        return np.array([math.sqrt(square) * ROOM for square in _squares(self.vectors)])

    @property
    def rounding(self) -> float:
        """What adding up S products may be off by on both sides, relative to their magnitudes."""
        return 2.0 * CARRIED * dot_gamma(len(self.vectors))


def expect_support_vectors(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """SVC, NuSVC, SVR, NuSVR and OneClassSVM (svm/_base.py)."""
    classes = labels(owner) if owner.cls in PAIRS else ()
    known = _read(owner, len(classes))
    value, off = _kernel(known, rows)
    sums = apply("Add", apply("MatMul", value, constant(known.weights)), constant(known.offsets))
    off = apply("Max", off, scalar(LEAST))
    error = apply("Add", off, constant(np.abs(known.offsets) * known.rounding))
    away = apply("Abs", sums)
    nothing = apply("Mul", away, scalar(0.0))  # NaN where a sum overflows, which must not be certified
    error = apply("Add", error, nothing)
    if owner.cls in VECTOR_REGRESSORS:
        return Answer(scores=sums, score_error=error)
    if len(classes) > 2:
        return _several(owner, classes, sums, apply("Add", away, nothing), error)
    detects = owner.cls in DETECTORS
    return Answer(
        labels=(-1, 1) if detects else classes,
        index=threshold_rule(sums, "Greater" if detects else "GreaterOrEqual", 0.0),
        scores=sums,
        margin=squeeze(away),
        bound=squeeze(error),
        score_error=error,
        probability_error=math.inf,
        decides=True,
        detects=detects,
        withheld=_withholds(owner),
    )


def _read(owner: Record, classes: int) -> _Vectors:
    kernel = plain(owner.get("kernel"))
    if kernel not in ("linear", "poly", "rbf", "sigmoid") or plain(owner.get("_sparse")) is not False:
        raise NotDerivedError("support vectors of another kernel, or sparse")
    vectors = _matrix(owner, "support_vectors_")
    dual = _matrix(owner, "_dual_coef_")
    width = integer(owner, "n_features_in_")
    parts = max(classes - 1, 1)
    pairs = max(classes * (classes - 1) // 2, 1)
    if classes == 1 or vectors.shape[1] != width or dual.shape != (parts, len(vectors)):
        raise unreadable(owner, "_dual_coef_", "coefficients of each vector against each other class")
    offsets = array(owner, "_intercept_")
    if offsets.dtype != np.float64 or offsets.shape != (pairs,):
        raise unreadable(owner, "_intercept_", f"{pairs} numbers in float64")
    if not len(vectors) or classes > _CLASSES:
        raise NotDerivedError("no support vectors, or too many classes")
    weights, shift = np.ascontiguousarray(dual.T), np.array(offsets, dtype=np.float64)
    if classes:
        weights = _pair_weights(owner, dual, classes)
    if classes == 2:  # scikit-learn turns the sign of two classes, libsvm does not
        weights, shift = -weights, -shift
    gamma, coef0 = number(owner, "_gamma"), number(owner, "coef0")
    degree = integer(owner, "degree") if kernel == "poly" else 1
    numbers = (vectors, weights, shift)
    if not all(bool(np.isfinite(part).all()) for part in numbers) or not abs(coef0) < math.inf:
        raise unreadable(owner, "support_vectors_", "finite numbers")
    if not 0.0 <= gamma <= _GAMMA or not abs(coef0) <= _GAMMA or not 1 <= degree <= _DEGREES:
        raise NotDerivedError("a kernel of extreme parameters")
    _check_magnitudes(str(kernel), vectors, weights, gamma)
    return _Vectors(str(kernel), vectors, weights, shift, gamma, coef0, degree)


def _check_magnitudes(kernel: str, vectors: FloatArray, weights: FloatArray, gamma: float) -> None:
    """What LEAST has to cover below the normal numbers, and that squares are finite."""
    if not bool((np.abs(vectors) <= _LARGEST).all()):
        raise NotDerivedError("support vectors whose squares overflow")
    if kernel in ("rbf", "sigmoid"):  # bounded kernels err relative to 1
        return
    factor = gamma if kernel == "poly" else 1.0
    if not float(np.abs(weights).sum(axis=0).max()) * max(1.0, factor) <= _MOST:
        raise NotDerivedError("weights that lift what is below the normal numbers")
    slope = factor * float(np.sqrt((vectors * vectors).sum(axis=1)).max())
    if kernel == "poly" and 0.0 < slope < _LEAST_SLOPE:
        raise NotDerivedError("a gamma that takes vectors below the normal numbers")


def _matrix(owner: Record, name: str) -> FloatArray:
    found = array(owner, name)
    if found.dtype != np.float64 or found.ndim != 2:
        raise unreadable(owner, name, "a float64 matrix")
    return np.array(found, dtype=np.float64)


def _pair_weights(owner: Record, dual: FloatArray, classes: int) -> FloatArray:
    """``predict_values``: the vectors of class i by row j - 1 of the coefficients, those of class j by row i."""
    counts = array(owner, "_n_support")
    if (
        counts.dtype.kind not in "iu"
        or counts.shape != (classes,)
        or not bool((counts.astype(np.int64) >= 0).all())
    ):
        raise unreadable(owner, "_n_support", "a number of vectors for each class")
    start = np.concatenate([[0], np.cumsum(counts.astype(np.int64))])
    if int(start[-1]) != dual.shape[1]:
        raise unreadable(owner, "_n_support", f"{dual.shape[1]} vectors in all")
    columns = []
    for first in range(classes):
        for second in range(first + 1, classes):
            column = np.zeros(dual.shape[1])
            own, other = slice(start[first], start[first + 1]), slice(start[second], start[second + 1])
            column[own], column[other] = dual[second - 1, own], dual[first, other]
            columns.append(column)
    return np.ascontiguousarray(np.array(columns).T)


def _squares(vectors: FloatArray) -> list[float]:
    """The sum of the squares of each row, each square rounded, the sum once."""
    return [math.fsum(row) for row in (vectors * vectors).tolist()]


def _kernel(known: _Vectors, rows: Expected) -> tuple[Expected, Expected]:
    """Kernel values [N, S], and how far their weighted sums may be off, [N, P]."""
    squares = apply("ReduceSum", apply("Mul", rows, rows), _axis(), keepdims=1)
    size = apply("Sqrt", squares)
    error = error_of(rows)
    moved = None
    if error is not None:
        moved = apply("ReduceSum", apply("Mul", error, error), _axis(), keepdims=1)
        moved = apply("Mul", apply("Sqrt", moved), scalar(CARRIED))
        size = apply("Add", size, moved)
    if known.kernel == "rbf":
        return _radial(known, rows, squares, size, moved)
    return _product(known, rows, size, moved)


def _axis() -> Expected:
    return constant([1], np.int64)


def _times(value: Expected, factor: float) -> Expected:
    return apply("Mul", value, scalar(factor))


def _magnitudes(known: _Vectors) -> FloatArray:
    return np.asarray(np.abs(known.weights).sum(axis=0) * ROOM)


def _radial(
    known: _Vectors, rows: Expected, squares: Expected, size: Expected, moved: Expected | None
) -> tuple[Expected, Expected]:
    """exp(-g |x - s|^2) as exp(min(2g x.s - g |x|^2 - g |s|^2, 0))."""
    vectors, gamma = known.vectors, known.gamma
    own = np.array(_squares(vectors))
    table = np.vstack([(2.0 * gamma) * vectors.T, np.full(len(vectors), -gamma), -(gamma * own)])
    one = apply("Add", _times(squares, 0.0), scalar(1.0))
    exponent = apply("MatMul", apply("Concat", rows, squares, one, axis=1), constant(table))
    value = apply("Exp", apply("Min", exponent, scalar(0.0)))
    reach = apply("Add", size, scalar(float(known.norms.max())))
    delta = _times(apply("Mul", reach, reach), 2.0 * CARRIED * dot_gamma(2 * vectors.shape[1]) * gamma)
    if moved is not None:
        delta = apply("Add", delta, _times(apply("Mul", reach, moved), 2.0 * CARRIED * gamma))
    relative = _times(apply("Add", delta, scalar(STEPS + known.rounding)), CARRIED * CARRIED)
    factor = apply("Mul", apply("Exp", delta), relative)
    total = _magnitudes(known)
    found = apply("MatMul", value, constant(np.abs(known.weights)))
    found = apply("Max", found, constant(_FAINT * np.maximum(total, 1.0)))
    return value, apply("Min", apply("Mul", found, factor), constant(2.0 * total))


def _product(
    known: _Vectors, rows: Expected, size: Expected, moved: Expected | None
) -> tuple[Expected, Expected]:
    """A function of dot products."""
    twice = 2.0 * dot_gamma(known.vectors.shape[1])
    total = _magnitudes(known)
    if known.kernel == "linear":
        total = (np.abs(known.weights) * known.norms[:, np.newaxis]).sum(axis=0) * ROOM
        unit = _times(size, CARRIED * (twice + known.rounding))
        if moved is not None:
            unit = apply("Add", unit, _times(moved, CARRIED))
        return apply("MatMul", rows, constant(known.vectors.T)), apply("Mul", unit, constant(total))
    scaled = known.gamma * known.vectors
    base = apply("Add", apply("MatMul", rows, constant(scaled.T)), scalar(known.coef0))
    reach = known.gamma * float(known.norms.max())
    most = apply("Add", _times(size, reach), scalar(abs(known.coef0)))
    if known.kernel == "sigmoid":
        unit = _times(most, CARRIED * twice)
        if moved is not None:
            unit = apply("Add", unit, _times(moved, CARRIED * reach))
        unit = apply("Add", unit, scalar(STEPS + known.rounding))
        return apply("Tanh", base), apply("Mul", unit, constant(total))
    degree = known.degree
    unit = _times(most, CARRIED * (degree * twice + 2.0 * dot_gamma(degree) + known.rounding))
    if moved is not None:
        unit = apply("Add", unit, _times(moved, CARRIED * degree * reach))
    if degree > 1:
        unit = apply("Mul", unit, _power(most, degree - 1))
    return _power(base, degree), apply("Mul", unit, constant(total))


def _power(value: Expected, times: int) -> Expected:
    """``powi`` of libsvm."""
    found: Expected | None = None
    while True:
        if times % 2:
            found = value if found is None else apply("Mul", found, value)
        times //= 2
        if not times:
            break
        value = apply("Mul", value, value)
    if found is None:
        raise NotDerivedError("a power of 0")
    return found


def _several(
    owner: Record,
    classes: tuple[int | float | str | bool, ...],
    sums: Expected,
    away: Expected,
    error: Expected,
) -> Answer:
    """The class with the most votes, the first of equals; or, where ties are broken, the largest score."""
    count = len(classes)
    firsts, seconds = np.triu_indices(count, 1)
    first, second = np.eye(count)[firsts], np.eye(count)[seconds]
    between = constant(first - second)
    largest = apply("ReduceMax", error, _axis(), keepdims=1)
    clear = apply("Greater", away, largest)
    won = as_double(apply("Greater", sums, scalar(0.0)))
    breaks = flag(owner, "break_ties")
    by_class = text(owner, "decision_function_shape") == "ovr"
    if not by_class and text(owner, "decision_function_shape") != "ovo":
        raise unreadable(owner, "decision_function_shape", "ovr or ovo")
    if breaks and not by_class:
        raise NotDerivedError("a model that raises on every row")
    scores, score_error = sums, largest
    if by_class:
        scores, spread = _class_scores(sums, away, largest, between, first.sum(axis=0))
    found = Answer(
        labels=classes,
        scores=scores,
        bound=squeeze(largest),
        score_error=score_error,
        probability_error=math.inf,
        decides=True,
        withheld=_withholds(owner),
    )
    if by_class:
        every = apply("ReduceMin", as_double(clear), _axis(), keepdims=1)
        found = replace(
            found, score_error=apply("Where", apply("Greater", every, scalar(0.0)), spread, scalar(math.inf))
        )
    if breaks:
        every = apply("ReduceMin", as_double(clear), _axis(), keepdims=0)
        margin = apply("Where", apply("Greater", every, scalar(0.0)), lead(scores, count), scalar(0.0))
        return replace(found, index=argmax(scores), margin=margin, bound=_times(squeeze(spread), 2.0))
    votes = apply("Add", apply("MatMul", won, between), constant(second.sum(axis=0)))
    margin = apply("Where", _sure(votes, won, clear, first, second), _least_clear(clear, away), scalar(0.0))
    return replace(found, index=argmax(votes), margin=margin)


def _least_clear(clear: Expected, away: Expected) -> Expected:
    return apply("ReduceMin", apply("Where", clear, away, scalar(math.inf)), _axis(), keepdims=0)


def _class_scores(
    sums: Expected, away: Expected, largest: Expected, between: Expected, firsts: FloatArray
) -> tuple[Expected, Expected]:
    """``_ovr_decision_function`` (utils/multiclass.py), and how far a score may be off where every vote is clear.

    z / (3 (|z| + 1)) has the slope 1 / (3 (|z| + 1)^2), at its largest where |z| is least.
    """
    count = len(firsts)
    lost = as_double(apply("Less", sums, scalar(0.0)))
    votes = apply("Sub", constant(firsts), apply("MatMul", lost, between))
    added = apply("MatMul", sums, between)
    size = apply("Abs", added)
    part = apply("Div", added, _times_first(3.0, apply("Add", size, scalar(1.0))))
    most = apply("ReduceMax", away, _axis(), keepdims=1)
    each = apply("Add", largest, _times(most, 2.0 * CARRIED * dot_gamma(count)))
    off = _times(each, CARRIED * (count - 1))
    near = apply("Add", apply("Max", apply("Sub", size, off), scalar(0.0)), scalar(1.0))
    steepest = apply("ReduceMax", apply("Div", off, apply("Mul", near, near)), _axis(), keepdims=1)
    return apply("Add", votes, part), apply("Add", steepest, scalar(2.0**-48 * count))


def _times_first(factor: float, value: Expected) -> Expected:
    return apply("Mul", scalar(factor), value)


def _sure(votes: Expected, won: Expected, clear: Expected, first: FloatArray, second: FloatArray) -> Expected:
    """Whether one class alone may have the most votes, whatever the pairs that are not clear decide."""
    unclear = as_double(apply("Not", clear))
    here = apply("Mul", unclear, won)
    there = apply("Sub", unclear, here)
    ranked = apply("Sub", votes, constant(np.arange(first.shape[1]) * 2.0**-14))

    def moved(one: Expected, other: Expected) -> Expected:
        return apply("Add", apply("MatMul", one, constant(first)), apply("MatMul", other, constant(second)))

    least = apply("Sub", ranked, moved(here, there))
    most = apply("Add", ranked, moved(there, here))
    floor = apply("ReduceMax", least, _axis(), keepdims=1)
    able = apply("ReduceSum", as_double(apply("GreaterOrEqual", most, floor)), _axis(), keepdims=0)
    return apply("Less", able, scalar(1.5))


def _withholds(owner: Record) -> bool:
    """Whether the original has probabilities, which come of an iteration that stops at a tolerance."""
    return plain(owner.get("probability")) is True
