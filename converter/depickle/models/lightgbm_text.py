# SPDX-License-Identifier: Apache-2.0
"""The model text of LightGBM (versions 3 and 4 of the format), read strictly and bounded.

Numbers are parsed with correct rounding, as LightGBM's own precise parser does, so the bits agree. A line that is
not ``key=value`` where one is expected, a repeated key, or an array of another length is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["LightgbmError", "LightgbmText", "LightgbmTree", "parse_lightgbm"]

MAX_TREES = 100_000
MAX_LEAVES = 1_000_000

_HEADER = {"version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective",
           "feature_names", "monotone_constraints", "feature_infos", "tree_sizes"}  # fmt: skip


class LightgbmError(ValueError):
    """The text is not a LightGBM model that we read."""


@dataclass(frozen=True, eq=False)
class LightgbmTree:
    """One tree: inner nodes 0…n−2, leaves as ``~leaf`` in the child arrays."""

    split_feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    decision_type: npt.NDArray[np.int64]
    left_child: npt.NDArray[np.int64]
    right_child: npt.NDArray[np.int64]
    leaf_value: npt.NDArray[np.float64]
    categories: tuple[tuple[int, ...], ...]
    """Categories that go left, per categorical split."""


@dataclass(frozen=True, eq=False)
class LightgbmText:
    """A parsed model."""

    version: str
    num_class: int
    trees_per_iteration: int
    features: int
    objective: tuple[str, ...]
    average_output: bool
    trees: tuple[LightgbmTree, ...]


def parse_lightgbm(text: str) -> LightgbmText:
    """The model in `text`.

    Raises:
        LightgbmError: where the text is not a complete, consistent model.
    """
    head, *rest = text.split("\nTree=")
    lines = head.split("\n")
    if lines[0] != "tree":
        raise LightgbmError("the first line is not 'tree'")
    header: dict[str, str] = {}
    average = False
    for line in lines[1:]:
        if line == "average_output":
            average = True
        elif line:
            key, sign, value = line.partition("=")
            if not sign or key in header or key not in _HEADER:
                raise LightgbmError(f"an unexpected header line {line[:40]!r}")
            header[key] = value
    if rest:
        rest[-1], end, _ = rest[-1].partition("\nend of trees")
        if not end:
            raise LightgbmError("no 'end of trees'")
    sizes = header.get("tree_sizes", "").split()
    if len(sizes) != len(rest) or not 1 <= len(rest) <= MAX_TREES:
        raise LightgbmError(f"{len(rest)} trees where the header announces {len(sizes)}")
    trees = []
    for index, block in enumerate(rest):
        first, _, body = block.partition("\n")
        if first != str(index):
            raise LightgbmError(f"tree {first[:20]!r} where tree {index} is expected")
        trees.append(_tree(body))
    per_iteration = _integer(header, "num_tree_per_iteration")
    if per_iteration < 1 or len(trees) % per_iteration:
        raise LightgbmError("the number of trees is not a multiple of the trees per iteration")
    return LightgbmText(
        version=header.get("version", ""),
        num_class=_integer(header, "num_class"),
        trees_per_iteration=per_iteration,
        features=_integer(header, "max_feature_idx") + 1,
        objective=tuple(header.get("objective", "").split()),
        average_output=average,
        trees=tuple(trees),
    )


def _integer(fields: dict[str, str], key: str) -> int:
    try:
        return int(fields[key])
    except (KeyError, ValueError) as error:
        raise LightgbmError(f"{key} is not a number") from error


def _numbers(fields: dict[str, str], key: str, count: int, kind: Callable[[str], float]) -> list[float]:
    parts = fields.get(key, "").split(" ") if fields.get(key) else []
    if len(parts) != count:
        raise LightgbmError(f"{len(parts)} values of {key} where {count} are expected")
    try:
        return [kind(part) for part in parts]
    except ValueError as error:
        raise LightgbmError(f"{key} holds something that is not a number") from error


def _tree(body: str) -> LightgbmTree:
    fields: dict[str, str] = {}
    for line in body.split("\n"):
        if line:
            key, sign, value = line.partition("=")
            if not sign or key in fields:
                raise LightgbmError(f"an unexpected line {line[:40]!r}")
            fields[key] = value
    leaves = _integer(fields, "num_leaves")
    if not 1 <= leaves <= MAX_LEAVES:
        raise LightgbmError(f"{leaves} leaves")
    if fields.get("is_linear", "0") != "0":
        raise LightgbmError("linear leaves")
    splits = leaves - 1
    categorical = _integer(fields, "num_cat")
    return LightgbmTree(
        split_feature=np.array(_numbers(fields, "split_feature", splits, int), dtype=np.int64),
        threshold=np.array(_numbers(fields, "threshold", splits, float), dtype=np.float64),
        decision_type=np.array(_numbers(fields, "decision_type", splits, int), dtype=np.int64),
        left_child=np.array(_numbers(fields, "left_child", splits, int), dtype=np.int64),
        right_child=np.array(_numbers(fields, "right_child", splits, int), dtype=np.int64),
        leaf_value=np.array(_numbers(fields, "leaf_value", leaves, float), dtype=np.float64),
        categories=_categories(fields, categorical),
    )


def _categories(fields: dict[str, str], count: int) -> tuple[tuple[int, ...], ...]:
    if count == 0:
        return ()
    if not 0 < count <= MAX_LEAVES:
        raise LightgbmError(f"{count} categorical splits")
    bounds = [int(value) for value in _numbers(fields, "cat_boundaries", count + 1, int)]
    if bounds[0] != 0 or any(low >= high for low, high in pairwise(bounds)):
        raise LightgbmError("cat_boundaries do not increase from 0")
    words = [int(value) for value in _numbers(fields, "cat_threshold", bounds[-1], int)]
    if any(not 0 <= word < 2**32 for word in words):
        raise LightgbmError("cat_threshold outside 32 bits")
    return tuple(
        tuple(
            32 * place + bit
            for place, word in enumerate(words[low:high])
            for bit in range(32)
            if word >> bit & 1
        )
        for low, high in pairwise(bounds)
    )
