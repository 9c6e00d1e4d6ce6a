# SPDX-License-Identifier: Apache-2.0
"""Isolation forests: the length of the path to each leaf, and the sum of lengths at which the label flips.

The original adds the lengths that its trees give, takes 2 to the power of minus their share of the expected length,
and asks whether minus that, less `offset_`, is below 0. It rises with the sum, so the label is one cut on the sum.

How far from the cut the label is certain, with u = 2⁻⁵³, T trees, d the sum of lengths, D the expected sum and
o = -offset_. The original computes d(1+a), |a| <= γ₍T₋₁₎ in any order of summation, since no length is negative
(Higham, section 4.2), and so is the sum here. The length of a leaf is stored, since 1.3; before, and for D in every
release, a logarithm is taken at each predict. With an error of it of a few units in the last place and a rounding for
each operation, the expected length 2(log(n-1) + γ) - 2(n-1)/n is off by less than 2⁻⁴⁶ of itself: from n = 3 on the
first term is at most 2.11 times the difference. The power is off by a few units in the last place, less than 2⁻⁴⁶ of
itself, and the comparison with o is exact. So the original says -1 where d(1+δ)/D < Q + ε, with Q = -log2(o),
|δ| <= 2γ₍T₊₈₎ + 2·2⁻⁴⁶ (sums on both sides, leaves, D, a division) and |ε| < 2⁻⁴⁵; and the cut DQ computed here is
off by less than 2⁻⁴⁶ of itself. Multiplied out, a sum further from the cut than
``cut * (2γ₍T₊₈₎ + 3·2⁻⁴⁶) + D * 2⁻⁴⁵`` has the label of the original.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..pickles.graph import Record
from .attributes import array_of, boolean, integer, members, number, records, table_of, unsupported, wrong
from .compositions import bag_columns
from .forests import FLOAT32_MAX, MAX_TREES
from .interface import Context, ReadPredictor
from .trees import revalued, scikit_tree
from .types import FloatArray, Forest, Isolation, Tree

__all__ = ["read_isolation_forest"]

_STORED_SINCE = (
    1,
    3,
)  # before, the lengths were computed anew at every predict (scikit-learn 1.3, _iforest.py)
_ALL_FINITE_BEFORE = (1, 6)  # since, rows are not checked: missing and infinite values go through the trees
_LEAST_SCORE = 2.0**-1000  # below, scores are no normal numbers, and their error is not relative
_SPREAD = 2.0**-46
"""Of a logarithm or a power: more than 64 units in the last place."""

_REASON = "The label compares 2 to the power of a mean path length; a margin certifies rows"


def read_isolation_forest(record: Record, context: Context) -> ReadPredictor:
    """IsolationForest.

    Raises:
        UnsupportedModelError: DP602 for lengths of paths that are none, DP603 for an offset that no score reaches
            and for samples of one row, and those of the trees.
    """
    version = context.version(record)
    estimators = records(record, "estimators_", record.get("estimators_"))
    if not 1 <= len(estimators) <= MAX_TREES:
        raise wrong(record, "estimators_", record.get("estimators_"), f"1 to {MAX_TREES} trees")
    n_features = integer(record, "n_features_in_", low=1)
    chosen = _columns(record, len(estimators), n_features)
    trees = [
        _tree(record, item, n_features if columns is None else len(columns))
        for item, columns in zip(estimators, chosen, strict=True)
    ]
    if version < _STORED_SINCE:
        paths = [_computed_paths(item, tree) for item, tree in zip(estimators, trees, strict=True)]
    else:
        paths = _stored_paths(record, trees)
    sample = integer(record, "max_samples_" if version < _STORED_SINCE else "_max_samples", low=1, high=2**48)
    if sample < 2:
        raise unsupported(record, "Trees of one row isolate nothing", found=f"samples of {sample}")
    found = [
        revalued(tree, path.reshape(-1, 1), columns)
        for tree, path, columns in zip(trees, paths, chosen, strict=True)
    ]
    checked = version < _ALL_FINITE_BEFORE
    return ReadPredictor(
        task="outlier",
        classes=(-1, 1),
        n_features=n_features,
        root=_isolation(record, found, sample),
        ceiling="certified",
        reason=_REASON,
        allow_nan=not checked,
        allow_infinite=not checked,
        max_abs=FLOAT32_MAX if checked else None,
        family=record.name,
        decision_function=True,
    )


def _columns(record: Record, count: int, n_features: int) -> list[tuple[int, ...] | None]:
    """The columns that each tree sees; None for all as they are, whatever `estimators_features_` says then."""
    if boolean(record, "bootstrap_features", False):
        raise unsupported(record, "An isolation forest never draws columns twice", found="bootstrap_features")
    drawn = bag_columns(record, count, n_features)
    width = integer(record, "_max_features", low=1, high=n_features)
    if width == n_features:
        return [None] * count
    if any(len(columns) != width for columns in drawn):
        raise wrong(record, "estimators_features_", None, f"{width} columns a tree")
    return list(drawn)


def _tree(record: Record, item: Record, columns: int) -> Tree:
    if item.cls != "sklearn.tree._classes.ExtraTreeRegressor":
        raise wrong(record, "estimators_", item, "ExtraTreeRegressor")
    return scikit_tree(item, n_features=columns, columns=1)


def _isolation(record: Record, trees: list[Tree], sample: int) -> Isolation:
    offset = number(record, "offset_")
    if not -1.0 < offset <= -_LEAST_SCORE:
        raise unsupported(
            record, "Scores never come near the offset", found=repr(offset), expected="above -1 and below 0"
        )
    count = len(trees)
    scale = count * float(expected_path(np.array([sample]))[0])
    cut = scale * -math.log2(-offset)
    gamma = (count + 8) * 2.0**-53 / (1.0 - (count + 8) * 2.0**-53)
    needed = (cut * (2.0 * gamma + 3.0 * _SPREAD) + scale * 2.0 * _SPREAD) * (1.0 + 2.0**-20)
    return Isolation(
        forest=Forest(tuple(trees), 1, None, None),
        scale=scale,
        offset=offset,
        cut=cut,
        band=2.0 ** math.ceil(math.log2(needed)),
    )


def _stored_paths(record: Record, trees: list[Tree]) -> list[FloatArray]:
    """``_decision_path_lengths + _average_path_length_per_tree - 1.0`` of each node, as predict adds them."""
    parts: list[list[npt.NDArray[np.generic]]] = []
    for name in ("_decision_path_lengths", "_average_path_length_per_tree"):
        items = members(record, name, record.get(name))
        if len(items) != len(trees):
            raise wrong(record, name, record.get(name), f"{len(trees)} arrays")
        found = [array_of(record, name, item) for item in items]
        for array, tree in zip(found, trees, strict=True):
            if array.dtype.kind not in "if" or array.shape != tree.left.shape:
                raise wrong(record, name, None, "a length for each node")
        parts.append(found)
    return [
        _checked_paths(record, np.asarray(depth, np.float64), np.asarray(rest, np.float64), tree)
        for depth, rest, tree in zip(*parts, trees, strict=True)
    ]


def _computed_paths(item: Record, tree: Tree) -> FloatArray:
    """The same where nothing is stored: nodes on the path, and the expected rest of it."""
    inner = item.get("tree_")
    samples = table_of(inner, "nodes")["n_node_samples"] if isinstance(inner, Record) else np.empty(0)
    if samples.dtype.kind not in "iu":
        raise wrong(item, "tree_", inner, "whole numbers of samples")
    depth = np.ones(len(tree.left))
    level = np.zeros(1, dtype=np.int64)
    while len(level):
        level = level[~tree.is_leaf[level]]
        for children in (tree.left[level], tree.right[level]):
            depth[children] = depth[level] + 1.0
        level = np.concatenate([tree.left[level], tree.right[level]])
    return _checked_paths(item, depth, expected_path(np.asarray(samples, dtype=np.int64)), tree)


def _checked_paths(record: Record, depth: FloatArray, rest: FloatArray, tree: Tree) -> FloatArray:
    paths: FloatArray = depth + rest - 1.0
    if not bool((np.isfinite(paths) & (paths >= 0.0))[tree.is_leaf].all()):
        raise wrong(record, "_decision_path_lengths", None, "finite lengths of at least 0")
    return paths


def expected_path(samples: npt.NDArray[np.int64]) -> FloatArray:
    """Mean length of a path in a tree that isolates so many rows; one logarithm of the C library for each."""
    result = np.zeros(len(samples))
    for place, count in enumerate(samples.tolist()):
        if count == 2:
            result[place] = 1.0
        elif count > 2:
            log = math.log(count - 1.0)
            result[place] = 2.0 * (log + np.euler_gamma) - 2.0 * (count - 1.0) / count
    return result
