# SPDX-License-Identifier: Apache-2.0
"""Multi-layer perceptrons of scikit-learn: layers of dot products, certified by an error bound per row."""

from __future__ import annotations

import numpy as np

from ..pickles.graph import Record
from .attributes import array_of, class_labels, integer, members, text, unsupported, wrong
from .dense_types import Activation, Affine, FloatArray, Network
from .interface import Context, ReadPredictor

__all__ = ["read_network"]

_REASON = "The label comes from layers of dot products; an error bound, carried through them, certifies rows"
_ACTIVATIONS: dict[str, Activation] = {
    "identity": "identity",
    "relu": "relu",
    "logistic": "logistic",
    "tanh": "tanh",
}


def _matrix(record: Record, name: str, item: object, dimensions: int) -> FloatArray:
    raw = array_of(record, name, item)  # type: ignore[arg-type]  # array_of refuses what is no array
    if raw.dtype != np.float64 or raw.ndim != dimensions:
        raise unsupported(record, "A network fitted in another precision", found=str(raw.dtype))
    result = np.array(raw, dtype=np.float64, order="C")
    if not bool(np.isfinite(result).all()):
        raise wrong(record, name, record.get(name), "finite numbers")
    return result


def read_network(record: Record, context: Context) -> ReadPredictor:
    """MLPClassifier and MLPRegressor of one output.

    Raises:
        UnsupportedModelError: DP603 for float32 and unknown activations, DP607 for several outputs.
    """
    n_features = integer(record, "n_features_in_", low=1)
    activation = _ACTIVATIONS.get(text(record, "activation"))
    if activation is None:
        raise unsupported(record, "The activation is not known", found=text(record, "activation"))
    weights = [_matrix(record, "coefs_", item, 2) for item in members(record, "coefs_", record.get("coefs_"))]
    offsets = [
        _matrix(record, "intercepts_", item, 1)
        for item in members(record, "intercepts_", record.get("intercepts_"))
    ]
    width = n_features
    if not weights or len(weights) != len(offsets):
        raise wrong(record, "coefs_", record.get("coefs_"), "a matrix and an offset for each layer")
    for matrix, offset in zip(weights, offsets, strict=True):
        if matrix.shape != (width, len(offset)) or not len(offset):
            raise wrong(record, "coefs_", record.get("coefs_"), "layers that fit one another")
        width = len(offset)
    output = text(record, "out_activation_")
    classes = None
    if record.name == "MLPClassifier":
        classes = class_labels(record, "classes_", record.get("classes_"))
        expected = ("logistic", 1) if len(classes) == 2 else ("softmax", len(classes))
        if len(classes) < 2 or (output, width) != expected:
            raise unsupported(record, "A network of several labels is not emitted", found=output)
    elif (output, width) != ("identity", 1):
        raise unsupported(record, "A network of this output is not emitted", found=f"{width} of {output}")
    layers = tuple(
        Affine(matrix, offset, np.abs(offset)) for matrix, offset in zip(weights, offsets, strict=True)
    )
    return ReadPredictor(
        task="classifier" if classes else "regressor",
        classes=classes,
        n_features=n_features,
        root=Network(layers, activation, len(classes or ())),
        ceiling="certified",
        reason=_REASON,
        allow_nan=False,
        allow_infinite=False,
        max_abs=float(np.finfo(np.float64).max),
        family=record.name,
    )
