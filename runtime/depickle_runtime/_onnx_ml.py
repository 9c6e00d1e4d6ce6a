# SPDX-License-Identifier: Apache-2.0
"""Rules for the ai.onnx.ml operators: what their parameter lists must hold, and the shapes they give.

Each function checks that the lists agree with one another and with the width of the input; onnxruntime trusts most
of them (a support-vector node with too few coefficients reads past its list). Tree ensembles are in `_onnx_trees`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ._onnx_facts import TreeFacts
from ._onnx_shapes import Operation, Rule, Value
from ._onnx_trees import check_ensemble, check_legacy_ensemble

__all__ = ["ML_RULES", "TREE_RULES"]

POST_TRANSFORMS: Final = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def _rows(op: Operation) -> tuple[int, int]:
    """Rows and columns of a matrix input; a vector is one row."""
    shape = op[0].shape
    if len(shape) != 2:
        op.refuse("DP343", f"an input of shape {shape}", "rows and columns")
    return shape[0], shape[1]


def _size(op: Operation, code: str, name: str, found: int, *expected: int) -> None:
    if found not in expected:
        op.refuse(code, f"{found} {name}", " or ".join(map(str, expected)))


def _finite(op: Operation, code: str, name: str, values: npt.NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        op.refuse(code, f"{name} that are not finite", "finite numbers")


def _distinct(numbers: npt.NDArray[np.int64]) -> int:
    """Number of different values; np.unique imports numpy.ma, which takes 0.1 s."""
    return int(np.count_nonzero(np.diff(np.sort(numbers)))) + 1 if numbers.size else 0


def _labels(op: Operation, code: str, integers: str, strings: str) -> int:
    """Number of class labels: integers or strings, distinct."""
    numbers, texts = op.attributes.ints(integers), op.attributes.strings(strings)
    if bool(numbers.size) == bool(texts):
        op.refuse(code, "no class labels, or two kinds of them", f"{integers} or {strings}")
    count, distinct = (len(texts), len(set(texts))) if texts else (numbers.size, _distinct(numbers))
    if count != distinct:
        op.refuse(code, "a class label twice", "distinct labels")
    return int(count)


def _post_transform(op: Operation) -> None:
    transform = op.attributes.text("post_transform", "NONE")
    if transform not in POST_TRANSFORMS:
        op.refuse("DP359", f"post_transform {transform!r}", "a known one")


def _tree_ensemble(op: Operation) -> tuple[list[Value], TreeFacts]:
    rows, columns = _rows(op)
    targets, facts = check_ensemble(op.attributes, columns, op.where)
    op.work = rows * facts.trees * facts.depth
    return [Value((rows, targets))], facts


def _tree_classifier(op: Operation) -> tuple[list[Value], TreeFacts]:
    rows, columns = _rows(op)
    _post_transform(op)
    classes = _labels(op, "DP356", "classlabels_int64s", "classlabels_strings")
    facts = check_legacy_ensemble(op.attributes, "class", classes, columns, op.where)
    op.work = rows * facts.trees * facts.depth
    return [Value((rows,)), Value((rows, classes))], facts


def _tree_regressor(op: Operation) -> tuple[list[Value], TreeFacts]:
    rows, columns = _rows(op)
    _post_transform(op)
    if op.attributes.text("aggregate_function", "SUM") not in ("SUM", "AVERAGE", "MIN", "MAX"):
        op.refuse("DP359", "an unknown aggregate_function", "SUM, AVERAGE, MIN or MAX")
    targets = op.attributes.integer("n_targets", 1)
    facts = check_legacy_ensemble(op.attributes, "target", targets, columns, op.where)
    op.work = rows * facts.trees * facts.depth
    return [Value((rows, targets))], facts


def _linear_classifier(op: Operation) -> list[Value]:
    rows, columns = _rows(op)
    _post_transform(op)
    coefficients, intercepts = op.attributes.floats("coefficients"), op.attributes.floats("intercepts")
    classes = _labels(op, "DP370", "classlabels_ints", "classlabels_strings")
    _size(op, "DP370", "intercepts", len(intercepts), classes, *((1,) if classes == 2 else ()))
    _size(op, "DP370", "coefficients", len(coefficients), len(intercepts) * columns)
    _finite(op, "DP370", "coefficients", coefficients)
    _finite(op, "DP370", "intercepts", intercepts)
    op.work = rows * len(coefficients)
    return [Value((rows,)), Value((rows, classes))]


def _linear_regressor(op: Operation) -> list[Value]:
    rows, columns = _rows(op)
    _post_transform(op)
    targets = op.attributes.integer("targets", 1)
    if not 1 <= targets <= 65_536:
        op.refuse("DP370", f"{targets} targets", "1 to 65536")
    coefficients, intercepts = op.attributes.floats("coefficients"), op.attributes.floats("intercepts")
    _size(op, "DP370", "coefficients", len(coefficients), targets * columns)
    _size(op, "DP370", "intercepts", len(intercepts), 0, targets)
    _finite(op, "DP370", "coefficients", coefficients)
    _finite(op, "DP370", "intercepts", intercepts)
    op.work = rows * len(coefficients)
    return [Value((rows, targets))]


def _kernel(op: Operation) -> None:
    if op.attributes.text("kernel_type", "LINEAR") not in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        op.refuse("DP371", "an unknown kernel", "LINEAR, POLY, RBF or SIGMOID")
    for name in ("kernel_params", "coefficients", "support_vectors", "rho", "prob_a", "prob_b"):
        _finite(op, "DP371", name, op.attributes.floats(name))
    _size(op, "DP371", "kernel_params", len(op.attributes.floats("kernel_params")), 0, 3)


def _svm_classifier(op: Operation) -> list[Value]:
    rows, columns = _rows(op)
    _kernel(op)
    _post_transform(op)
    classes = _labels(op, "DP371", "classlabels_ints", "classlabels_strings")
    per_class = op.attributes.ints("vectors_per_class")
    _size(op, "DP371", "vectors_per_class", len(per_class), classes)
    if classes < 2 or classes > 1_024 or per_class.min() < 0 or per_class.max() > 1 << 24:
        op.refuse(
            "DP371",
            f"{classes} classes of {per_class.min()} to {per_class.max()} vectors",
            "2 to 1024 classes",
        )
    vectors, pairs = int(per_class.sum()), classes * (classes - 1) // 2
    _size(
        op, "DP371", "support vector numbers", len(op.attributes.floats("support_vectors")), vectors * columns
    )
    _size(op, "DP371", "coefficients", len(op.attributes.floats("coefficients")), vectors * (classes - 1))
    _size(op, "DP371", "rho", len(op.attributes.floats("rho")), pairs)
    prob = len(op.attributes.floats("prob_a"))
    _size(op, "DP371", "prob_a", prob, 0, pairs)
    _size(op, "DP371", "prob_b", len(op.attributes.floats("prob_b")), prob)
    op.work = rows * (vectors * (columns + classes) + pairs)
    return [Value((rows,)), Value((rows, classes if prob or classes == 2 else pairs))]


def _svm_regressor(op: Operation) -> list[Value]:
    rows, columns = _rows(op)
    _kernel(op)
    _post_transform(op)
    vectors = op.attributes.integer("n_supports", 0)
    if not 1 <= vectors <= 1 << 24:
        op.refuse("DP371", f"{vectors} support vectors", "at least one")
    _size(
        op, "DP371", "support vector numbers", len(op.attributes.floats("support_vectors")), vectors * columns
    )
    _size(op, "DP371", "coefficients", len(op.attributes.floats("coefficients")), vectors)
    _size(op, "DP371", "rho", len(op.attributes.floats("rho")), 1)
    op.work = rows * vectors * columns
    return [Value((rows, 1))]


def _scaler(op: Operation) -> list[Value]:
    rows, columns = _rows(op)
    for name in ("offset", "scale"):
        values = op.attributes.floats(name)
        _size(op, "DP372", name, len(values), 1, columns)
        _finite(op, "DP372", name, values)
    return [Value((rows, columns))]


def _imputer(op: Operation) -> list[Value]:
    rows, columns = _rows(op)
    floats, integers = (
        op.attributes.floats("imputed_value_floats"),
        op.attributes.ints("imputed_value_int64s"),
    )
    if bool(floats.size) == bool(integers.size):
        op.refuse("DP373", "no imputed values, or two kinds of them", "one kind")
    _size(op, "DP373", "imputed values", len(floats) or len(integers), 1, columns)
    _finite(op, "DP373", "imputed values", floats)
    return [Value((rows, columns))]


def _normalizer(op: Operation) -> list[Value]:
    if op.attributes.text("norm", "MAX") not in ("MAX", "L1", "L2"):
        op.refuse("DP372", "an unknown norm", "MAX, L1 or L2")
    return [Value(_rows(op))]


def _binarizer(op: Operation) -> list[Value]:
    return [Value(_rows(op))]


def _one_hot_encoder(op: Operation) -> list[Value]:
    numbers, texts = op.attributes.ints("cats_int64s"), op.attributes.strings("cats_strings")
    if bool(numbers.size) == bool(texts):
        op.refuse("DP374", "no categories, or two kinds of them", "one kind")
    count, distinct = (len(texts), len(set(texts))) if texts else (numbers.size, _distinct(numbers))
    if count != distinct:
        op.refuse("DP374", "a category twice", "distinct categories")
    return [Value((*op[0].shape, int(count)))]


def _label_encoder(op: Operation) -> list[Value]:
    def lengths(side: str) -> list[int]:
        lists = (
            op.attributes.ints(f"{side}_int64s").size,
            op.attributes.floats(f"{side}_floats").size,
            len(op.attributes.strings(f"{side}_strings")),
            op.attributes.tensor(f"{side}_tensor").size,
        )
        return [n for n in lists if n]

    keys, values = lengths("keys"), lengths("values")
    if len(keys) != 1 or keys != values:
        op.refuse("DP374", f"keys {keys}, values {values}", "one list of each, equally long")
    return [Value(op[0].shape)]


def _array_feature_extractor(op: Operation) -> list[Value]:
    shape, index = op[0].shape, op[1]
    if not shape or not index.elements:
        op.refuse("DP343", f"{index.elements} columns of {shape}", "at least one")
    known = index.known
    if known is not None and (
        known.dtype.kind != "i" or int(known.min()) < 0 or int(known.max()) >= shape[-1]
    ):
        op.refuse("DP344", "a stored index outside its tensor", f"0 to {shape[-1] - 1}")
    return [Value((*(shape[:-1] or (1,)), index.elements))]


def _feature_vectorizer(op: Operation) -> list[Value]:
    values = [op[i].shape for i in range(len(op.inputs))]
    widths = [int(w) for w in op.attributes.ints("inputdimensions")]
    if (
        any(len(s) != 2 for s in values)
        or [s[1] for s in values] != widths
        or len({s[0] for s in values}) != 1
    ):
        op.refuse("DP343", f"{values} as widths {widths}", "matrices of the declared widths")
    return [Value((values[0][0], sum(widths)))]


TREE_RULES: Final = {
    "TreeEnsemble": _tree_ensemble,
    "TreeEnsembleClassifier": _tree_classifier,
    "TreeEnsembleRegressor": _tree_regressor,
}

ML_RULES: Final[dict[str, Rule]] = {
    "ArrayFeatureExtractor": _array_feature_extractor,
    "Binarizer": _binarizer,
    "FeatureVectorizer": _feature_vectorizer,
    "Imputer": _imputer,
    "LabelEncoder": _label_encoder,
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Normalizer": _normalizer,
    "OneHotEncoder": _one_hot_encoder,
    "SVMClassifier": _svm_classifier,
    "SVMRegressor": _svm_regressor,
    "Scaler": _scaler,
}
