# SPDX-License-Identifier: Apache-2.0
"""Isolation forests: path lengths of leaves, added up, and compared with the sum at which the score is the offset.

The original labels a row -1 where ``2 ** -(sum / scale)`` exceeds ``-offset_``. Both sides of that are monotone in
the sum, so in real numbers the label changes at ``scale * -log2(-offset_)``. What keeps a computed sum from deciding
as the real one does is bounded here, relative to the terms that it multiplies:

* the two sums, each of T numbers that are not negative, in any order: gamma(T) of the sum on each side;
* the path lengths before 1.3 and the expected length of all, through the logarithm of the library that answers; the
  quotient; and the cut as it is computed here: less than 3 * 2^-46 of the cut together;
* the power: if it errs by less than 2^-46, the sum at which it passes ``-offset_`` moves by less than 2 * 2^-46 of
  the scale, since log2(1 + e) < 2e.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, Record
from ..walk import Expected
from .answers import dot_gamma, threshold_rule
from .derivation import Derivation, NotDerivedError
from .forests import forest_paths, forest_rows
from .node_tables import leaves_of
from .paths import hold_paths
from .reading import integer, items, number, record, records, table, unreadable
from .spread import as_bound
from .vocabulary import Answer, apply, scalar, squeeze

__all__ = ["column_subsets", "expect_isolation_forest"]

FloatArray = npt.NDArray[np.float64]

_LENGTHS_KEPT_SINCE = (1, 3)
"""From here on the path length of every node is an attribute; before, it was worked out for each row."""
_MEMBER = "sklearn.tree._classes.ExtraTreeRegressor"
_LIBRARY = 2.0**-46
"""What log and pow may err by, relatively; they err by a few units of 2^-53."""
_LEAST_OFFSET = 2.0**-1000
"""A score below would be near the smallest numbers, whose roundings are not relative."""


def expect_isolation_forest(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """IsolationForest (ensemble/_iforest.py, ``_compute_score_samples``, ``decision_function`` and ``predict``)."""
    members = records(owner, "estimators_")
    if not members or any(member.cls != _MEMBER for member in members):
        raise unreadable(owner, "estimators_", "ExtraTreeRegressors")
    kept = derive.version(owner) >= _LENGTHS_KEPT_SINCE
    lengths = _stored_lengths(owner, members) if kept else [_walked_lengths(member) for member in members]
    tables = [length[leaves_of(member)] for member, length in zip(members, lengths, strict=True)]
    if not all(bool(((rest >= 0.0) & (rest < np.inf)).all()) for rest in tables):
        raise unreadable(owner, "_decision_path_lengths", "paths that are finite and not negative")
    samples = integer(owner, "_max_samples" if kept else "max_samples_")
    scale = len(members) * _expected_length(samples)
    offset = number(owner, "offset_")
    if not scale > 0.0 or not -1.0 < offset <= -_LEAST_OFFSET:
        raise NotDerivedError("an isolation forest that gives every row the same label")
    cut = scale * -math.log2(-offset)

    chosen, columned = column_subsets(owner), [rest[:, np.newaxis] for rest in tables]
    paths = forest_rows(members, columned, rows, chosen)
    power = apply("Pow", scalar(2.0), apply("Neg", apply("Div", paths, scalar(scale))))
    margin = squeeze(apply("Abs", apply("Sub", paths, scalar(cut))))
    needed = cut * (2.0 * dot_gamma(len(members)) + 3.0 * _LIBRARY) + scale * 2.0 * _LIBRARY
    band = 2.0 ** math.ceil(math.log2(needed * (1.0 + 2.0**-20)))
    found = Answer(
        labels=(-1, 1),
        index=threshold_rule(paths, "GreaterOrEqual", cut),
        scores=apply("Sub", apply("Neg", power), scalar(offset)),
        margin=margin,
        bound=as_bound(band, margin),
        decides=True,
        detects=True,
    )
    return hold_paths(found, forest_paths(members, columned, rows, chosen))


def column_subsets(owner: Record) -> list[npt.NDArray[np.int64]] | None:
    """The columns that each tree was given; None where all see all, whatever ``estimators_features_`` says.

    Raises:
        ParityError: DP710 where they are no columns of the input.
    """
    width, chosen = integer(owner, "n_features_in_"), integer(owner, "_max_features")
    subsets = items(owner, "estimators_features_")
    if len(subsets) != len(records(owner, "estimators_")):  # zip would leave out the trees without columns
        raise unreadable(owner, "estimators_features_", "columns for each tree")
    if chosen == width:
        return None
    found = []
    for subset in subsets:
        if not isinstance(subset, Array) or subset.is_object or subset.to_numpy().dtype.kind not in "iu":
            raise unreadable(owner, "estimators_features_", "column numbers")
        places = subset.to_numpy().astype(np.int64)
        if places.shape != (chosen,) or not bool(((places >= 0) & (places < width)).all()):
            raise unreadable(owner, "estimators_features_", f"{chosen} of {width} columns")
        found.append(places)
    return found


def _expected_length(samples: int) -> float:
    """``_average_path_length`` of one number."""
    if samples <= 1:
        return 0.0
    if samples == 2:
        return 1.0
    count = float(samples)
    return 2.0 * (math.log(count - 1.0) + np.euler_gamma) - 2.0 * (count - 1.0) / count


def _stored_lengths(owner: Record, members: list[Record]) -> list[FloatArray]:
    found = []
    depths, rests = items(owner, "_decision_path_lengths"), items(owner, "_average_path_length_per_tree")
    if not len(depths) == len(rests) == len(members):
        raise unreadable(owner, "_decision_path_lengths", "one array for each tree")
    for member, depth, rest in zip(members, depths, rests, strict=True):
        nodes = len(leaves_of(member))
        above = _whole(owner, "_decision_path_lengths", depth, nodes, "iu")
        below = _whole(owner, "_average_path_length_per_tree", rest, nodes, "f")
        found.append((above + below) - 1.0)
    return found


def _whole(owner: Record, name: str, value: object, nodes: int, kinds: str) -> FloatArray:
    """One number for each node; a float of another width would be added up in that width."""
    if not isinstance(value, Array) or value.is_object:
        raise unreadable(owner, name, "arrays of numbers")
    found = value.to_numpy()
    if (
        found.shape != (nodes,)
        or found.dtype.kind not in kinds
        or (kinds == "f" and found.dtype.itemsize != 8)
    ):
        raise unreadable(owner, name, f"{nodes} numbers")
    return found.astype(np.float64)


def _walked_lengths(member: Record) -> FloatArray:
    """``decision_path(X).sum(axis=1)`` counts the nodes from the root to the leaf, both included."""
    nodes = table(record(member, "tree_"), "nodes", ("left_child", "right_child", "n_node_samples"))
    if nodes["n_node_samples"].dtype.kind not in "iu":
        raise unreadable(member, "tree_.nodes", "numbers of samples")
    count = np.full(len(nodes), np.nan)
    level, length = np.array([0]), 1.0
    while level.size:
        if not bool((np.isnan(count[level])).all()):
            raise unreadable(member, "tree_.nodes", "a tree")
        count[level] = length
        inner = level[nodes["left_child"][level] >= 0]
        level = np.concatenate([nodes["left_child"][inner], nodes["right_child"][inner]])
        if level.size and not 0 <= int(level.min()) <= int(level.max()) < len(nodes):
            raise unreadable(member, "tree_.nodes", "children that are nodes")
        length += 1.0
    rest = np.array([_expected_length(samples) for samples in nodes["n_node_samples"].tolist()])
    return np.asarray((count + rest) - 1.0)
