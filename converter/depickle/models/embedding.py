# SPDX-License-Identifier: Apache-2.0
"""RandomTreesEmbedding: a column for each leaf of its trees, in the order of its own encoder."""

from __future__ import annotations

import numpy as np

from ..pickles.graph import Record, plain
from .attributes import array_of, boolean, integer, members, records, text, unsupported, wrong
from .forests import MAX_TREES
from .interface import Context, ReadTransform
from .trees import scikit_tree
from .types import Leaves, Tree

__all__ = ["read_trees_embedding"]


def read_trees_embedding(record: Record, columns: int, context: Context) -> ReadTransform:
    """RandomTreesEmbedding whose encoder knows every leaf.

    Since 1.6 the trees take missing values; the contract here does not, as an imputer belongs in front.

    Raises:
        UnsupportedModelError: DP602 for trees or categories that are none, DP603 for an encoder with options that
            the embedding never sets, or that does not know every leaf.
    """
    context.version(record)  # must be known, though 1.2 to 1.9 compute alike
    if integer(record, "n_features_in_", low=1) != columns:
        raise wrong(
            record, "n_features_in_", record.get("n_features_in_"), f"the {columns} columns that reach it"
        )
    estimators = records(record, "estimators_", record.get("estimators_"))
    if not 1 <= len(estimators) <= MAX_TREES:
        raise wrong(record, "estimators_", record.get("estimators_"), f"1 to {MAX_TREES} trees")
    for item in estimators:
        if item.cls != "sklearn.tree._classes.ExtraTreeRegressor":
            raise wrong(record, "estimators_", item, "ExtraTreeRegressor")
    trees = tuple(scikit_tree(item, n_features=columns, columns=1) for item in estimators)
    encoder = record.get("one_hot_encoder_")
    if not isinstance(encoder, Record):
        raise wrong(record, "one_hot_encoder_", encoder, "a fitted encoder")
    _check_encoder(encoder, trees)
    return ReadTransform(
        (Leaves(trees),),
        sum(int(np.count_nonzero(tree.is_leaf)) for tree in trees),
        allow_nan=False,
        family=record.name,
        removes_nan=True,
        sparse=boolean(encoder, "sparse_output"),
    )


def _check_encoder(encoder: Record, trees: tuple[Tree, ...]) -> None:
    for name in ("drop", "drop_idx_", "_drop_idx_after_grouping", "min_frequency", "max_categories"):
        if plain(encoder.get(name)) is not None:
            raise unsupported(encoder, "The encoder of an embedding has no such option", found=name)
    if text(encoder, "handle_unknown") != "error":
        raise unsupported(
            encoder, "The encoder of an embedding raises", found=text(encoder, "handle_unknown")
        )
    items = members(encoder, "categories_", encoder.get("categories_"))
    if len(items) != len(trees):
        raise wrong(encoder, "categories_", encoder.get("categories_"), f"{len(trees)} lists")
    for item, tree in zip(items, trees, strict=True):
        known = array_of(encoder, "categories_", item)
        if known.dtype.kind not in "iu" or not np.array_equal(known, np.flatnonzero(tree.is_leaf)):
            raise unsupported(
                encoder, "The fit did not reach every leaf of a tree", found=f"{known.size} leaves"
            )
