# SPDX-License-Identifier: Apache-2.0
"""Linear projections of scikit-learn: dot products, so what comes out carries an error bound."""

from __future__ import annotations

import math

import numpy as np

from ..pickles.graph import Record, plain
from .attributes import array_of, boolean, float_array, integer, unsupported, wrong
from .dense_types import Affine, FloatArray
from .interface import Context, ReadTransform
from .types import Divide, Transform

__all__ = ["added_up", "read_ica", "read_pca", "read_projection"]


def added_up(row: FloatArray, weights: FloatArray) -> FloatArray:
    """``row @ weights``, each sum rounded once: the same bits on every host."""
    return np.array([math.fsum((row * column).tolist()) for column in weights.T])


def _components(record: Record, columns: int) -> FloatArray:
    if array_of(record, "components_", record.get("components_")).dtype != np.float64:
        raise unsupported(record, "A projection fitted in another precision", found="float32")
    components = float_array(record, "components_", shape=(None, columns))
    if not len(components):
        raise wrong(record, "components_", record.get("components_"), "at least one component")
    return np.ascontiguousarray(components.T)


def read_pca(record: Record, columns: int, context: Context) -> ReadTransform:
    """PCA and IncrementalPCA: ``(x - mean_) @ components_.T``, centred before or after as the release does.

    Raises:
        UnsupportedModelError: DP603 for float32, and where whitening would divide by next to nothing.
    """
    if integer(record, "n_features_in_", low=1) != columns:
        raise wrong(record, "n_features_in_", record.get("n_features_in_"), f"{columns} columns")
    weights = _components(record, columns)
    mean = (
        np.zeros(columns) if record.get("mean_") is None else float_array(record, "mean_", shape=(columns,))
    )
    steps: list[Transform] = [
        Affine(weights, -added_up(mean, weights), added_up(np.abs(mean), np.abs(weights)))
    ]
    if boolean(record, "whiten"):
        scale = np.sqrt(float_array(record, "explained_variance_", shape=(weights.shape[1],)))
        if not bool((scale >= np.finfo(np.float64).eps).all()):
            raise unsupported(record, "Whitening by a variance of next to nothing", found=repr(scale.min()))
        steps.append(Divide(scale))
    return ReadTransform(tuple(steps), weights.shape[1], allow_nan=False, family=record.name)


def read_ica(record: Record, columns: int, context: Context) -> ReadTransform:
    """FastICA: ``(x - mean_) @ components_.T``, centred where it whitens.

    Raises:
        UnsupportedModelError: DP603 for float32.
    """
    if not plain(record.get("whiten")):
        return read_projection(record, columns, context)
    weights = _components(record, columns)
    mean = float_array(record, "mean_", shape=(columns,))
    step = Affine(weights, -added_up(mean, weights), added_up(np.abs(mean), np.abs(weights)))
    return ReadTransform((step,), weights.shape[1], allow_nan=False, family=record.name)


def read_projection(record: Record, columns: int, context: Context) -> ReadTransform:
    """TruncatedSVD, GaussianRandomProjection and NeighborhoodComponentsAnalysis: ``x @ components_.T``."""
    weights = _components(record, columns)
    nothing = np.zeros(weights.shape[1])
    return ReadTransform(
        (Affine(weights, nothing, nothing),), weights.shape[1], allow_nan=False, family=record.name
    )
