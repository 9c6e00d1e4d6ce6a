# SPDX-License-Identifier: Apache-2.0
"""Normalizer and PowerTransformer of scikit-learn: what passes through a norm, a logarithm and an exponential."""

from __future__ import annotations

from typing import get_args

import numpy as np

from ..pickles.graph import Record
from .attributes import array_of, boolean, float_array, integer, text, unsupported, wrong
from .dense_types import Norm, Normalize, Power
from .interface import Context, ReadTransform
from .preprocessing import read_standard_scaler

__all__ = ["read_normalizer", "read_power"]

_NORMS: dict[str, Norm] = {name: name for name in get_args(Norm)}


def read_normalizer(record: Record, columns: int, context: Context) -> ReadTransform:
    """Normalizer by the sum of magnitudes, the Euclidean norm, or the largest magnitude.

    Raises:
        UnsupportedModelError: DP602 for another norm.
    """
    norm = _NORMS.get(text(record, "norm"))
    if norm is None:
        raise wrong(record, "norm", record.get("norm"), " or ".join(_NORMS))
    return ReadTransform((Normalize(norm, columns),), columns, allow_nan=False, family=record.name)


def read_power(record: Record, columns: int, context: Context) -> ReadTransform:
    """PowerTransformer: its power for each column, then its own StandardScaler where it standardises.

    scikit-learn up to 1.8 raises numbers to a power itself, 1.9 asks scipy for ``expm1(k * log1p(x)) / k``; one bound
    covers both.

    Raises:
        UnsupportedModelError: DP602 where it is not fitted for `columns` columns, DP603 where its powers are float32.
    """
    if integer(record, "n_features_in_", low=1) != columns:
        raise wrong(record, "n_features_in_", record.get("n_features_in_"), f"{columns} columns")
    method = text(record, "method")
    if method not in ("yeo-johnson", "box-cox"):
        raise unsupported(record, "A power of this kind is not emitted", found=method)
    if array_of(record, "lambdas_", record.get("lambdas_")).dtype != np.float64:
        # 2 - k, the power of negative numbers, is rounded in the type of k by numpy 2, and not by numpy 1
        raise unsupported(record, "Powers fitted in another precision", found="float32")
    step = Power(float_array(record, "lambdas_", shape=(columns,)), mirrored=method == "yeo-johnson")
    read = ReadTransform((step,), columns, allow_nan=True, family=record.name)
    if not boolean(record, "standardize"):
        return read
    scaler = record.get("_scaler")
    if not isinstance(scaler, Record) or scaler.cls != "sklearn.preprocessing._data.StandardScaler":
        raise wrong(record, "_scaler", scaler, "a fitted StandardScaler")
    scaled = read_standard_scaler(scaler, columns, context)
    return ReadTransform((step, *scaled.steps), columns, allow_nan=True, family=record.name)
