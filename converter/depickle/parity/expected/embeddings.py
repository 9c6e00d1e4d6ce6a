# SPDX-License-Identifier: Apache-2.0
"""Embeddings of rows in random trees: a column of 0 and 1 for each leaf, of which each tree sets one to 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...pickles.graph import Array, Record
from ..walk import Expected
from .derivation import Derivation, NotDerivedError, Transformer
from .encoders import require_doubles
from .forests import single_splits
from .inexact import error_of
from .node_tables import leaves_of, numbered_tree
from .reading import integer, items, record, records, text, unreadable
from .vocabulary import as_double, as_single, trees

__all__ = ["EMBEDDINGS"]

_MEMBER = "sklearn.tree._classes.ExtraTreeRegressor"


def _embedding(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``RandomTreesEmbedding.transform``: its encoder, on the numbers of the nodes in which a row ends."""
    members = records(owner, "estimators_")
    if not members or any(member.cls != _MEMBER for member in members):
        raise unreadable(owner, "estimators_", "ExtraTreeRegressors")
    if integer(owner, "n_features_in_") != width:
        raise unreadable(owner, "n_features_in_", f"{width} columns")
    if error_of(rows) is not None:
        raise NotDerivedError("a decision on values that are not exact")
    encoder = record(owner, "one_hot_encoder_")
    _encodes_every_leaf(encoder, members)
    found, first = [], 0
    for member in members:
        leaf = leaves_of(member)
        own = first + np.cumsum(leaf) - 1  # at a leaf, the number of its column
        tree = single_splits(numbered_tree(member, 0, 0))
        found.append(replace(tree, weight=np.ones(len(leaf)), target=own))
        first += int(leaf.sum())
    return as_double(trees(as_single(rows), found, targets=first, dtype="float32")), first


def _encodes_every_leaf(encoder: Record, members: list[Record]) -> None:
    """No leaf is unknown to the encoder, which would raise, and none has another column than its own."""
    unset = ("drop", "drop_idx_", "_drop_idx_after_grouping", "min_frequency", "max_categories")
    if any(encoder.get(name) is not None for name in unset) or text(encoder, "handle_unknown") != "error":
        raise NotDerivedError("an encoder of another kind than the class makes")
    require_doubles(encoder)
    tables = items(encoder, "categories_")
    if len(tables) != len(members):
        raise unreadable(encoder, "categories_", "the leaves of each tree")
    for member, value in zip(members, tables, strict=True):
        if not isinstance(value, Array) or value.is_object or value.to_numpy().dtype.kind not in "iu":
            raise NotDerivedError("leaves that are no numbers of nodes")
        if not np.array_equal(value.to_numpy(), np.flatnonzero(leaves_of(member))):
            raise NotDerivedError("an encoder that does not know every leaf")


EMBEDDINGS: dict[str, Transformer] = {"sklearn.ensemble._forest.RandomTreesEmbedding": _embedding}
