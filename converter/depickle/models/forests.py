# SPDX-License-Identifier: Apache-2.0
"""Decision trees and forests of scikit-learn: leaf rows as `predict_proba` adds them, per writer version."""

from __future__ import annotations

import numpy as np

from ..pickles.graph import Record, plain
from .attributes import class_labels, integer, records, text, unsupported, wrong
from .interface import Context, ReadPredictor
from .trees import revalued, scikit_tree, several_outputs
from .types import Forest, LabelRule, Tree

__all__ = ["FLOAT32_MAX", "MAX_TREES", "normalised", "read_forest", "read_tree"]

FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_TREES = 100_000  # trees; 100 times the largest forest met in practice

_PROVEN = "Trees decide by comparison; their rows are added and divided in the original's order"
_FRACTIONS_SINCE = (
    1,
    4,
)  # before, tree_.value was normalised at predict (scikit-learn 1.4, tree/_classes.py)
_MISSING_TREE = (1, 3)
_MISSING_FOREST = (1, 4)
_MISSING_EXTRA = (1, 6)
_MISSING_ALWAYS = (1, 9)  # from here on whatever the criterion; before, only those below
_MISSING_CRITERIA = {"gini", "log_loss", "entropy", "squared_error", "friedman_mse", "poisson"}


def read_tree(record: Record, context: Context) -> ReadPredictor:
    """DecisionTree and ExtraTree, classifier and regressor."""
    return _read(record, context, [record], divisor=None)


def read_forest(record: Record, context: Context) -> ReadPredictor:
    """RandomForest and ExtraTrees, classifier and regressor.

    Raises:
        UnsupportedModelError: for several outputs (DP607) or a malformed forest (DP602, DP605).
    """
    estimators = records(record, "estimators_", record.get("estimators_"))
    if not 1 <= len(estimators) <= MAX_TREES:
        raise wrong(record, "estimators_", record.get("estimators_"), f"1 to {MAX_TREES} trees")
    return _read(record, context, estimators, divisor=len(estimators))


def _read(
    record: Record, context: Context, estimators: list[Record], *, divisor: int | None
) -> ReadPredictor:
    version = context.version(record)
    n_features = integer(record, "n_features_in_", low=1)
    if integer(record, "n_outputs_", low=1) != 1:
        raise several_outputs(record)
    classifier = record.name.endswith("Classifier")
    classes = class_labels(record, "classes_", record.get("classes_")) if classifier else None
    outputs = len(classes) if classes else 1
    trees = [scikit_tree(item, n_features=n_features, columns=outputs) for item in estimators]
    if classes and version < _FRACTIONS_SINCE:
        trees = [normalised(tree) for tree in trees]
    missing = _accepts_missing(record, version)
    return ReadPredictor(
        task="classifier" if classifier else "regressor",
        classes=classes,
        n_features=n_features,
        root=Forest(
            trees=tuple(trees),
            outputs=outputs,
            divisor=divisor,
            rule=LabelRule("argmax_probabilities") if classifier else None,
        ),
        ceiling="proven",
        reason=_PROVEN,
        allow_nan=missing,
        allow_infinite=False,
        max_abs=FLOAT32_MAX,
        family=record.name,
        exact_probabilities=classifier,
    )


def normalised(tree: Tree) -> Tree:
    """Leaf counts as fractions, by the arithmetic of scikit-learn before 1.4: row / row.sum(), 0 for an empty one."""
    total = tree.value.sum(axis=1)[:, np.newaxis]
    total[total == 0.0] = 1.0
    return revalued(tree, tree.value / total)


def _accepts_missing(record: Record, version: tuple[int, int]) -> bool:
    """Whether `predict` of this class, in this version, takes NaN (the classes' `allow_nan` tag)."""
    if record.get("monotonic_cst") is not None:
        return False
    criterion = text(record, "criterion")
    if version < _MISSING_ALWAYS and criterion not in _MISSING_CRITERIA:
        return False
    kind = record.name.removesuffix("Classifier").removesuffix("Regressor")
    match kind:
        case "DecisionTree":
            best = version >= (1, 6) or text(record, "splitter") == "best"
            return version >= _MISSING_TREE and best
        case "RandomForest":
            return version >= _MISSING_FOREST
        case "ExtraTree" | "ExtraTrees":
            return version >= _MISSING_EXTRA and plain(record.get("splitter", "random")) == "random"
        case _:
            raise unsupported(record, "This kind of tree is not read", found=record.name)
