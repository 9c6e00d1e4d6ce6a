# SPDX-License-Identifier: Apache-2.0
"""Support vectors of scikit-learn's libsvm: what its `predict_values` adds up, for each pair of classes."""

from __future__ import annotations

import math

import numpy as np

from ..pickles.graph import Record, plain
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
from .interface import Context, ReadPredictor
from .stored_types import Decision, FloatArray, Kernel, SupportVectors
from .types import ClassLabel, Task

__all__ = ["read_one_class", "read_support_classifier", "read_support_regressor"]

_REASON = (
    "The label comes from sums of kernel values, in an order that nobody defines; a margin certifies rows"
)
_KERNELS: dict[str, Kernel] = {"linear": "linear", "poly": "poly", "rbf": "rbf", "sigmoid": "sigmoid"}

MAX_CLASSES = 64
"""Classes: every pair has a sum of its own, and each costs a pass over the support vectors."""

MAX_WEIGHTS = 1 << 24
"""Weights of all pairs together, 128 MiB; a file holds them and their magnitudes."""

MAX_DEGREE = 32
"""Of a polynomial; rounding grows with it, and nobody fits higher ones."""

MAX_FACTOR = 2.0**64
"""gamma and coef0: far beyond any fit, and small enough that products with the least numbers stay negligible."""

MAX_ABS = 2.0**500
"""Values whose squares and their sums are finite."""

MAX_TOTAL = 2.0**96
"""Weights of one sum together: below, no product under the normal numbers counts beside 2⁻⁹⁶⁰."""

LEAST_SLOPE = 2.0**-900
"""gamma times the largest norm: above, gamma times a vector has all the digits that count."""

LEAST_ROOM = 2.0**20
"""A polynomial that would overflow on smaller values than this is refused."""


def read_support_classifier(record: Record, context: Context) -> ReadPredictor:
    """SVC and NuSVC.

    Raises:
        UnsupportedModelError: DP603 for callable and precomputed kernels, sparse fits, and too many classes.
    """
    classes = class_labels(record, "classes_", record.get("classes_"))
    count = len(classes)
    if not 2 <= count <= MAX_CLASSES:
        raise unsupported(record, "A sum for each pair of so many classes is not emitted", found=str(count))
    vectors, dual = _vectors(record, count - 1)
    shape = text(record, "decision_function_shape")
    if shape not in ("ovr", "ovo"):
        raise wrong(record, "decision_function_shape", shape, "ovr or ovo")
    ties = boolean(record, "break_ties")
    if ties and shape == "ovo":
        raise unsupported(
            record, "The original refuses to break ties of ovo, on every row", found="break_ties"
        )
    offset = float_array(record, "_intercept_", shape=(count * (count - 1) // 2,))
    numbers = array_of(record, "_n_support", record.get("_n_support"))
    if numbers.dtype.kind not in "iu" or numbers.shape != (count,):
        raise wrong(record, "_n_support", record.get("_n_support"), f"{count} numbers")
    if int(numbers.min()) < 0 or int(numbers.sum()) != len(vectors):
        raise wrong(record, "_n_support", record.get("_n_support"), "numbers that add up to the vectors")
    weights = _weights_of_pairs(record, dual, numbers.astype(np.int64))
    decision: Decision = "confidences" if ties else "votes"
    if count == 2:  # scikit-learn turns the sign around: positive is the second class
        weights, offset, decision = -weights, -offset, "pair"
    return _read(record, vectors, weights, offset, decision, classes, one_against_rest=shape == "ovr")


def read_support_regressor(record: Record, context: Context) -> ReadPredictor:
    """SVR and NuSVR.

    Raises:
        UnsupportedModelError: DP603 as `read_support_classifier`.
    """
    vectors, dual = _vectors(record, 1)
    offset = float_array(record, "_intercept_", shape=(1,))
    return _read(record, vectors, np.ascontiguousarray(dual.T), offset, "value", None)


def read_one_class(record: Record, context: Context) -> ReadPredictor:
    """OneClassSVM: 1 where the sum is positive, else -1.

    Raises:
        UnsupportedModelError: DP603 as `read_support_classifier`.
    """
    vectors, dual = _vectors(record, 1)
    offset = float_array(record, "_intercept_", shape=(1,))
    return _read(record, vectors, np.ascontiguousarray(dual.T), offset, "inlier", (-1, 1))


def _kernel(record: Record) -> Kernel:
    name = plain(record.get("kernel"))
    kernel = _KERNELS.get(name) if isinstance(name, str) else None
    if kernel is None:
        raise unsupported(
            record,
            "The kernel is not emitted",
            found=repr(name)[:80],
            expected="linear, poly, rbf or sigmoid",
        )
    return kernel


def _vectors(record: Record, rows: int) -> tuple[FloatArray, FloatArray]:
    """`support_vectors_` as [S, F] and `_dual_coef_` as [rows, S]."""
    _kernel(record)
    if plain(record.get("_sparse")) is not False:
        raise unsupported(record, "Fitted on a sparse matrix", found=str(plain(record.get("_sparse"))))
    n_features = integer(record, "n_features_in_", low=1)
    for name in ("support_vectors_", "_dual_coef_"):
        if array_of(record, name, record.get(name)).dtype != np.float64:
            raise wrong(record, name, record.get(name), "float64")
    vectors = float_array(record, "support_vectors_", shape=(None, n_features))
    if not len(vectors):
        raise unsupported(record, "There is no support vector", found="0 rows", expected="at least one")
    return vectors, float_array(record, "_dual_coef_", shape=(rows, len(vectors)))


def _weights_of_pairs(
    record: Record, dual: FloatArray, numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> FloatArray:
    """[S, P]: the coefficients that `predict_values` takes for each pair, 0 for vectors of other classes."""
    count = len(numbers)
    if dual.shape[1] * count * (count - 1) // 2 > MAX_WEIGHTS:
        raise unsupported(
            record,
            "There are too many support vectors for so many classes",
            found=f"{dual.shape[1]} vectors of {count} classes",
            expected=f"at most {MAX_WEIGHTS} weights of all pairs",
        )
    start = np.concatenate([[0], np.cumsum(numbers)])
    weights = np.zeros((dual.shape[1], count * (count - 1) // 2))
    for pair, (i, j) in enumerate(zip(*np.triu_indices(count, 1), strict=True)):
        weights[start[i] : start[i + 1], pair] = dual[j - 1, start[i] : start[i + 1]]
        weights[start[j] : start[j + 1], pair] = dual[i, start[j] : start[j + 1]]
    return weights


def _read(
    record: Record,
    vectors: FloatArray,
    weights: FloatArray,
    offset: FloatArray,
    decision: Decision,
    classes: tuple[ClassLabel, ...] | None,
    *,
    one_against_rest: bool = False,
) -> ReadPredictor:
    kernel = _kernel(record)
    gamma = number(record, "_gamma")
    coef0 = number(record, "coef0")
    if not (0.0 <= gamma <= MAX_FACTOR and abs(coef0) <= MAX_FACTOR):
        raise unsupported(record, "A factor of the kernel is out of range", found=f"{gamma!r}, {coef0!r}")
    degree = integer(record, "degree") if kernel == "poly" else 1
    if not 1 <= degree <= MAX_DEGREE:
        raise unsupported(record, "The degree is not emitted", found=str(degree), expected="1 to 32")
    _check_magnitudes(record, kernel, vectors, weights, gamma)
    root = SupportVectors(
        vectors,
        weights,
        offset,
        kernel,
        gamma,
        coef0,
        degree,
        len(classes or ()),
        decision,
        one_against_rest and len(classes or ()) > 2,
    )
    tasks: dict[Decision, Task] = {"value": "regressor", "inlier": "outlier"}
    probability = plain(record.get("probability"))
    return ReadPredictor(
        task=tasks.get(decision, "classifier"),
        classes=classes,
        n_features=vectors.shape[1],
        root=root,
        ceiling="certified",
        reason=_REASON,
        allow_nan=False,
        allow_infinite=False,
        max_abs=_room(record, root),
        family=record.name,
        decision_function=decision != "value",
        unstated_probabilities=decision != "value" and probability not in (False, None, "deprecated"),
    )


def _check_magnitudes(
    record: Record, kernel: Kernel, vectors: FloatArray, weights: FloatArray, gamma: float
) -> None:
    """Squares have to be finite, and what products lose below the normal numbers has to stay negligible."""
    if float(np.abs(vectors).max()) > MAX_ABS:
        raise unsupported(
            record, "Squares of the support vectors overflow", found=repr(float(np.abs(vectors).max()))
        )
    if kernel not in ("linear", "poly"):
        return
    factor = gamma if kernel == "poly" else 1.0
    most = float(np.abs(weights).sum(axis=0).max()) * max(1.0, factor)
    slope = factor * float(np.sqrt((vectors * vectors).sum(axis=1)).max())
    if not most <= MAX_TOTAL or (kernel == "poly" and 0.0 < slope < LEAST_SLOPE):
        raise unsupported(record, "Weights or vectors out of range", found=f"{most!r}, {slope!r}")


def _room(record: Record, root: SupportVectors) -> float:
    """How large a value may be for no sum to overflow, as a power of two."""
    if root.kernel in ("rbf", "sigmoid"):
        return MAX_ABS
    norm = math.sqrt(root.vectors.shape[1]) * float(np.sqrt((root.vectors**2).sum(axis=1)).max())
    factor = (root.gamma if root.kernel == "poly" else 1.0) * norm
    total = max(1.0, float(np.abs(root.weights).sum(axis=0).max()))
    limit = (2.0**900 / total) ** (1.0 / root.degree) / 2.0 - abs(root.coef0)
    room = MAX_ABS if factor == 0.0 else min(MAX_ABS, limit / factor)
    if not room >= LEAST_ROOM:  # NaN as well
        raise unsupported(record, "The polynomial overflows on ordinary values", found=f"beyond {room!r}")
    return 2.0 ** math.floor(math.log2(room))
