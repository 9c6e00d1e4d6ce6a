# SPDX-License-Identifier: Apache-2.0
"""The operators an ONNX file may use: what depickle emits, and what skl2onnx emits for the estimators we accept.

Not listed, on purpose: operators with subgraphs (If, Loop, Scan: they hang or hide work), operators whose output
size depends on the data (Compress, NonZero, Unique: unbounded), Tile and Pad (string Tile hangs onnxruntime),
random generators, file and string processing, ZipMap and CastMap (maps are no tensors), and every operator outside
the two domains. skl2onnx needs some of these for nearest neighbours, radius neighbours, Gaussian processes and
KNNImputer, which are therefore refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ._onnx_ml import ML_RULES, TREE_RULES
from ._onnx_shapes import RULES

__all__ = ["ML_DOMAIN", "OPERATORS", "Signature"]

ML_DOMAIN: Final = "ai.onnx.ml"
MANY: Final = 1_024
"""Inputs of a variadic operator (Concat, Sum, Max, Min, Mean, FeatureVectorizer)."""


@dataclass(frozen=True, slots=True)
class Signature:
    """How an operator may be called: least and most inputs and outputs, and its attributes' types."""

    inputs: tuple[int, int]
    outputs: tuple[int, int] = (1, 1)
    attributes: dict[str, str] = field(default_factory=dict)


def _attributes(text: str) -> dict[str, str]:
    """``"axis:i keepdims:i"`` as a dictionary."""
    return {name: letter for name, _, letter in (item.partition(":") for item in text.split())}


def _sign(low: int, high: int, attributes: str = "", outputs: tuple[int, int] = (1, 1)) -> Signature:
    return Signature((low, high), outputs, _attributes(attributes))


_REDUCE = "axes:I keepdims:i noop_with_empty_axes:i"
_ARG = "axis:i keepdims:i select_last_index:i"
_LEGACY_TREE = (
    "nodes_treeids:I nodes_nodeids:I nodes_featureids:I nodes_values:F nodes_values_as_tensor:t nodes_hitrates:F "
    "nodes_hitrates_as_tensor:t nodes_modes:S nodes_truenodeids:I nodes_falsenodeids:I "
    "nodes_missing_value_tracks_true:I base_values:F base_values_as_tensor:t post_transform:s "
)
_KEYS = "keys_int64s:I keys_floats:F keys_strings:S keys_tensor:t values_int64s:I values_floats:F values_strings:S"
_SVM = "kernel_type:s kernel_params:F coefficients:F support_vectors:F rho:F post_transform:s "

_UNARY = tuple(
    "Abs Ceil Erf Exp Floor Identity IsNaN Log Neg Not Reciprocal Relu Round Sigmoid Sign Softplus Sqrt Tanh".split()  # noqa: SIM905
)
_BINARY = tuple("Add And Div Equal Greater GreaterOrEqual Less LessOrEqual MatMul Mul Or Pow Sub Xor".split())  # noqa: SIM905

_STANDARD: dict[str, Signature] = {
    **dict.fromkeys(_UNARY, _sign(1, 1)),
    **dict.fromkeys(_BINARY, _sign(2, 2)),
    **dict.fromkeys(["Max", "Mean", "Min", "Sum"], _sign(1, MANY)),
    **dict.fromkeys((name for name in RULES if name.startswith("Reduce")), _sign(1, 2, _REDUCE)),
    **dict.fromkeys(("ArgMax", "ArgMin"), _sign(1, 1, _ARG)),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _sign(1, 1, "axis:i")),
    "Cast": _sign(1, 1, "to:i saturate:i"),
    "Clip": _sign(1, 3),
    "Concat": _sign(1, MANY, "axis:i"),
    "Constant": _sign(0, 0, "value:t"),
    "ConstantOfShape": _sign(1, 1, "value:t"),
    "CumSum": _sign(2, 2, "exclusive:i reverse:i"),
    "Elu": _sign(1, 1, "alpha:f"),
    "Expand": _sign(2, 2),
    "Flatten": _sign(1, 1, "axis:i"),
    "Gather": _sign(2, 2, "axis:i"),
    "GatherElements": _sign(2, 2, "axis:i"),
    "GatherND": _sign(2, 2, "batch_dims:i"),
    "Gemm": _sign(2, 3, "alpha:f beta:f transA:i transB:i"),
    "IsInf": _sign(1, 1, "detect_negative:i detect_positive:i"),
    "LpNormalization": _sign(1, 1, "axis:i p:i"),
    "Mod": _sign(2, 2, "fmod:i"),
    "OneHot": _sign(3, 3, "axis:i"),
    "Reshape": _sign(2, 2, "allowzero:i"),
    "Shape": _sign(1, 1, "start:i end:i"),
    "Slice": _sign(3, 5),
    "Squeeze": _sign(1, 2, "axes:I"),
    "TopK": _sign(2, 2, "axis:i largest:i sorted:i", (2, 2)),
    "Transpose": _sign(1, 1, "perm:I"),
    "Unsqueeze": _sign(1, 2, "axes:I"),
    "Where": _sign(3, 3),
}

_ML: dict[str, Signature] = {
    "ArrayFeatureExtractor": _sign(2, 2),
    "Binarizer": _sign(1, 1, "threshold:f"),
    "FeatureVectorizer": _sign(1, MANY, "inputdimensions:I"),
    "Imputer": _sign(
        1, 1, "imputed_value_floats:F imputed_value_int64s:I replaced_value_float:f replaced_value_int64:i"
    ),
    "LabelEncoder": _sign(
        1, 1, f"{_KEYS} values_tensor:t default_int64:i default_float:f default_string:s default_tensor:t"
    ),
    "LinearClassifier": _sign(
        1,
        1,
        "classlabels_ints:I classlabels_strings:S coefficients:F intercepts:F multi_class:i post_transform:s",
        (2, 2),
    ),
    "LinearRegressor": _sign(1, 1, "coefficients:F intercepts:F targets:i post_transform:s"),
    "Normalizer": _sign(1, 1, "norm:s"),
    "OneHotEncoder": _sign(1, 1, "cats_int64s:I cats_strings:S zeros:i"),
    "SVMClassifier": _sign(
        1, 1, _SVM + "classlabels_ints:I classlabels_strings:S prob_a:F prob_b:F vectors_per_class:I", (2, 2)
    ),
    "SVMRegressor": _sign(1, 1, _SVM + "n_supports:i one_class:i"),
    "Scaler": _sign(1, 1, "offset:F scale:F"),
    "TreeEnsemble": _sign(
        1,
        1,
        "aggregate_function:i leaf_targetids:I leaf_weights:t n_targets:i nodes_falseleafs:I nodes_falsenodeids:I "
        "nodes_featureids:I nodes_hitrates:t nodes_missing_value_tracks_true:I nodes_modes:t nodes_splits:t "
        "nodes_trueleafs:I nodes_truenodeids:I post_transform:i tree_roots:I",
    ),
    "TreeEnsembleClassifier": _sign(
        1,
        1,
        _LEGACY_TREE
        + "class_treeids:I class_nodeids:I class_ids:I class_weights:F class_weights_as_tensor:t "
        "classlabels_int64s:I classlabels_strings:S",
        (2, 2),
    ),
    "TreeEnsembleRegressor": _sign(
        1,
        1,
        _LEGACY_TREE
        + "target_treeids:I target_nodeids:I target_ids:I target_weights:F target_weights_as_tensor:t "
        "n_targets:i aggregate_function:s",
    ),
}

OPERATORS: Final[dict[tuple[str, str], Signature]] = {
    **{("", name): _STANDARD[name] for name in sorted(RULES)},
    **{(ML_DOMAIN, name): _ML[name] for name in sorted((*ML_RULES, *TREE_RULES))},
}
"""(domain, operator) to its signature; every listed operator has a rule and the other way round."""
