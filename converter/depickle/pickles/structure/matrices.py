# SPDX-License-Identifier: Apache-2.0
"""Sparse matrices, support vectors, scalers, encoders and linear models: lengths and indices that fit each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import Array, ListNode, Record, TupleNode, plain
from .read import array, integer, optional_integer, refuse, shape_of, whole

__all__ = ["check_lengths", "check_linear", "check_sparse", "check_support_vectors"]

_MAX_SIZE = 1 << 40
_MAX_FEATURES = 1 << 24


def check_sparse(record: Record) -> None:
    """A ``scipy.sparse`` matrix of the compressed or coordinate kind; other kinds are refused.

    Raises:
        StructureError: DP453.
    """
    rule = "DP453"
    shape = shape_of(record)
    if shape is None or len(shape) != 2 or max(shape) > _MAX_SIZE:
        raise refuse(rule, record, "it has no shape")
    kind = record.name[:3]
    data = array(rule, record, record.get("data"), "data", kinds="biufc", dimensions=1)
    if kind in ("csr", "csc"):
        major, minor = shape if kind == "csr" else shape[::-1]
        indptr = array(rule, record, record.get("indptr"), "indptr", kinds="i", dimensions=1).astype(np.int64)
        indices = array(rule, record, record.get("indices"), "indices", kinds="i", dimensions=1)
        if len(indptr) != major + 1 or len(indices) != len(data):
            raise refuse(rule, record, "its arrays have the wrong lengths")
        if indptr[0] != 0 or indptr[-1] != len(indices) or bool((np.diff(indptr) < 0).any()):
            raise refuse(rule, record, "its row pointers are not in order")
        _within(record, indices, minor)
    elif kind == "coo":
        coords = record.get("coords")
        if isinstance(coords, TupleNode) and len(coords) == 2:
            row, column = coords.items
        else:
            row, column = record.get("row"), record.get("col")
        for value, size in ((row, shape[0]), (column, shape[1])):
            positions = array(rule, record, value, "coordinates", kinds="i", dimensions=1)
            if len(positions) != len(data):
                raise refuse(rule, record, "its arrays have the wrong lengths")
            _within(record, positions, size)
    else:
        raise refuse(rule, record, "this kind of sparse matrix is not checked")


def _within(record: Record, positions: npt.NDArray[Any], size: int) -> None:
    if len(positions) and (int(positions.min()) < 0 or int(positions.max()) >= size):
        raise refuse("DP453", record, f"a position lies outside 0 to {size - 1}")


def check_support_vectors(record: Record) -> None:
    """A libsvm estimator: its C code trusts every length.

    Raises:
        StructureError: DP454.
    """
    rule = "DP454"
    support = record.get("support_")
    if support is None:
        return
    vectors, dual = shape_of(record.get("support_vectors_")), shape_of(record.get("dual_coef_"))
    per_class = array(
        rule,
        record,
        record.get("_n_support", record.get("n_support_")),
        "_n_support",
        kinds="i",
        dimensions=1,
    )
    indices = array(rule, record, support, "support_", kinds="i", dimensions=1)
    features = optional_integer(rule, record, "n_features_in_", 1, _MAX_FEATURES)
    fitted = record.get("shape_fit_")
    rows = whole(fitted[0]) if isinstance(fitted, TupleNode) and len(fitted) == 2 else None
    if vectors is None or dual is None or len(vectors) != 2 or len(dual) != 2 or rows is None:
        raise refuse(rule, record, "its support vectors or their weights are missing")
    count = len(indices)
    if dual[1] != count or shape_of(record.get("_dual_coef_")) not in (dual, None):
        raise refuse(rule, record, "there is not one weight for each support vector")
    precomputed = record.get("kernel") == "precomputed" or vectors == (0, 0)
    if not precomputed and (vectors[0] != count or (features is not None and vectors[1] != features)):
        raise refuse(rule, record, f"the support vectors have the shape {vectors}")
    if count and (int(indices.min()) < 0 or int(indices.max()) >= rows):
        raise refuse(rule, record, "a support index lies outside the training rows")
    gamma = plain(record.get("_gamma"))
    if gamma is not None and not (isinstance(gamma, int | float) and math.isfinite(gamma)):
        raise refuse(rule, record, "its gamma is not a number")
    classifier = record.name in ("SVC", "NuSVC")
    numbers = per_class.astype(np.int64)
    classes = len(numbers) if classifier else 2
    if bool((numbers < 0).any()) or classes < 2 or classes > 1 << 16:
        raise refuse(rule, record, "the numbers of support vectors are impossible")
    total = int(numbers.sum()) if classifier else int(numbers[0])
    if total != count or dual[0] != classes - 1:
        raise refuse(rule, record, "the numbers of support vectors do not add up")
    pairs = classes * (classes - 1) // 2
    for name in ("intercept_", "_intercept_"):
        shape = shape_of(record.get(name))
        if shape is not None and shape != (pairs,):
            raise refuse(rule, record, f"{name} does not have {pairs} values")
    probabilities = {shape_of(record.get(name)) for name in ("_probA", "_probB", "probA_", "probB_")} - {None}
    if not probabilities <= {(0,), (pairs,)} or len(probabilities) > 1:
        raise refuse(rule, record, "the probability coefficients have the wrong length")
    known = shape_of(record.get("classes_"))
    if classifier and known is not None and known != (classes,):
        raise refuse(rule, record, f"it has {known} classes and {classes} numbers of support vectors")


#: Per-feature arrays of preprocessors: one value for each column.
_PER_FEATURE = (
    *("mean_", "scale_", "var_", "center_", "min_", "data_min_", "data_max_", "data_range_", "max_abs_"),
    *("statistics_", "n_bins_", "lambdas_", "variances_"),
)


_PREPROCESSING = ("sklearn.preprocessing.", "sklearn.impute.", "sklearn.feature_selection.")


def check_lengths(record: Record) -> None:
    """A preprocessor: per-feature arrays and lists are as long as the number of features.

    Raises:
        StructureError: DP455.
    """
    rule = "DP455"
    if not record.module.startswith(_PREPROCESSING):
        return
    features = optional_integer(rule, record, "n_features_in_", 0, _MAX_FEATURES)
    if features is None:
        return
    attributes = record.attrs()
    for name in _PER_FEATURE:
        value = attributes.get(name)
        if isinstance(value, Array) and value.shape not in ((features,), ()):
            raise refuse(rule, record, f"{name} has the shape {value.shape} for {features} features")
    for name in ("categories_", "bin_edges_"):
        value = attributes.get(name)
        if isinstance(value, ListNode):
            length = len(value)
        elif isinstance(value, Array) and value.shape:
            length = value.shape[0]
        else:
            continue
        if length != features:
            raise refuse(rule, record, f"{name} has {length} entries for {features} features")
    names = attributes.get("feature_names_in_")
    if isinstance(names, Array) and names.shape != (features,):
        raise refuse(rule, record, f"feature_names_in_ has the shape {names.shape} for {features} features")


def check_linear(record: Record) -> None:
    """A linear model: the coefficients take as many features as rows have.

    Raises:
        StructureError: DP456.
    """
    rule = "DP456"
    features = optional_integer(rule, record, "n_features_in_", 0, _MAX_FEATURES)
    shape = shape_of(record.get("coef_"))
    if features is None or shape is None:
        return
    if len(shape) not in (0, 1, 2) or (shape and shape[-1] not in (features, 1) and features != 0):
        raise refuse(rule, record, f"coef_ has the shape {shape} for {features} features")
    intercept = shape_of(record.get("intercept_"))
    if len(shape) == 2 and intercept not in (None, (), (1,), (shape[0],)):
        raise refuse(rule, record, f"intercept_ has the shape {intercept} for coefficients of {shape}")
    classes = shape_of(record.get("classes_"))
    if classes is not None and len(shape) == 2 and len(classes) == 1:
        number = integer(rule, record, classes[0], "the number of classes", 1, 1 << 24)
        if shape[0] not in (number, 1):
            raise refuse(rule, record, f"coef_ has {shape[0]} rows for {number} classes")
