# SPDX-License-Identifier: Apache-2.0
"""KD and ball trees: the index array and the node ranges that their C code walks."""

from __future__ import annotations

import numpy as np

from ..graph import Array, Record, TupleNode
from .read import array, integer, refuse

__all__ = ["check_space_tree"]


def check_space_tree(record: Record) -> None:
    """The state of a KDTree or BallTree: data, indices, node ranges and bounds fit each other.

    Raises:
        StructureError: DP459.
    """
    rule = "DP459"
    state = record.state
    if not record.module.startswith(("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree")):
        return
    if not isinstance(state, TupleNode) or len(state) not in (12, 13):
        raise refuse(rule, record, "its state is not the tuple that scikit-learn writes")
    data = array(rule, record, state[0], "the data", kinds="f", dimensions=2)
    indices = array(rule, record, state[1], "the indices", kinds="i", dimensions=1)
    nodes = array(rule, record, state[2], "the nodes", kinds="V", dimensions=1)
    bounds = array(rule, record, state[3], "the bounds", kinds="f", dimensions=3)
    leaf_size = integer(rule, record, state[4], "leaf_size", 1, 1 << 31)
    levels = integer(rule, record, state[5], "n_levels", 1, 40)
    count = integer(rule, record, state[6], "n_nodes", 1, 1 << 31)
    rows = len(data)
    if not rows or count != (1 << levels) - 1 or len(nodes) != count:
        raise refuse(rule, record, "the number of nodes does not match the levels")
    # The builder's own rule: leaves then hold between leaf_size / 2 and leaf_size rows.
    if levels != int(np.log2(max(1.0, (rows - 1) / leaf_size)) + 1):
        raise refuse(rule, record, "the number of levels does not match the data")
    if bounds.shape[0] not in (1, 2) or bounds.shape[1:] != (count, data.shape[1]):
        raise refuse(rule, record, f"the bounds have the shape {bounds.shape}")
    if not np.isfinite(data).all() or not np.array_equal(np.sort(indices), np.arange(rows)):
        raise refuse(rule, record, "the indices are not a permutation of the rows")
    names = nodes.dtype.names or ()
    if any(name not in names for name in ("idx_start", "idx_end", "is_leaf", "radius")):
        raise refuse(rule, record, "the nodes lack fields")
    first, last, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"]
    inner = np.arange(count) < count // 2
    if (
        bool((first < 0).any() or (last > rows).any() or (first >= last).any())
        or first[0] != 0
        or last[0] != rows
    ):
        raise refuse(rule, record, "a node holds rows that do not exist")
    if not np.array_equal(leaf == 0, inner) or bool((leaf > 1).any()):
        raise refuse(rule, record, "an inner node is marked as a leaf, or the reverse")
    parents = np.flatnonzero(inner)
    left, right = 2 * parents + 1, 2 * parents + 2
    split = (first[left] == first[parents]) & (last[left] == first[right]) & (last[right] == last[parents])
    if not bool(split.all()):
        raise refuse(rule, record, "children do not share the rows of their node")
    weights = state[12] if len(state) == 13 else None
    if isinstance(weights, Array) and weights.shape != (rows,):
        raise refuse(rule, record, "there is not one weight for each row")
