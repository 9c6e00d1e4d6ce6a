# SPDX-License-Identifier: Apache-2.0
"""LightGBM text and XGBoost JSON or UBJSON: what their C++ parsers would believe, checked before they see it."""

from __future__ import annotations

import json
import re

import numpy as np
import numpy.typing as npt

from ..graph import Record
from ..limits import MAX_JSON_BYTES
from .forests import NodeGraph
from .read import refuse

__all__ = ["check_lightgbm", "check_xgboost"]

_LIGHTGBM = "DP457"
_XGBOOST = "DP458"
_MAX_LEAVES = 1 << 20
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_MAX_FEATURES = 1 << 24
_TREE_HEAD = re.compile(r"Tree=(\d{1,9})\n")
_NUMBER = re.compile(r"-?\d{1,18}\Z", re.ASCII)


def check_lightgbm(record: Record) -> None:
    """The model text that a LightGBM booster keeps.

    Raises:
        StructureError: DP457.
    """
    text = record.get("_handle", record.get("handle"))
    if record.get("_handle") is not None and record.get("handle") is not None:
        raise refuse(_LIGHTGBM, record, "it keeps two models, of which each release reads another")
    if text is None:
        return
    if not isinstance(text, str) or not text.startswith("tree\n"):
        raise refuse(_LIGHTGBM, record, "its model is not LightGBM's text")
    body, marker, _ = text.partition("\nend of trees\n")
    first = body.find("\nTree=")
    if not marker or first < 0:
        if marker and "\ntree_sizes=\n" in body + "\n":
            return
        raise refuse(_LIGHTGBM, record, "its text has no trees or no end of trees")
    head = _fields(record, body[:first].split("\n")[1:])
    features = _number(record, head, "max_feature_idx", 0, _MAX_FEATURES) + 1
    per_iteration = _number(record, head, "num_tree_per_iteration", 1, 1 << 16)
    _number(record, head, "num_class", 1, 1 << 16)
    for name in ("feature_names", "feature_infos"):
        if len(head.get(name, "").split(" ")) != features:
            raise refuse(_LIGHTGBM, record, f"{name} does not have {features} entries")
    sizes = _integers(record, head, "tree_sizes", body.count("\nTree="))
    if not len(sizes) or len(sizes) % per_iteration:
        raise refuse(_LIGHTGBM, record, f"{len(sizes)} trees are no multiple of {per_iteration}")
    # The C++ parser cuts the text at these sizes and parses the pieces in parallel.
    at = first + 1
    trees = body + "\n"
    ascii_only = trees.isascii()
    for index, size in enumerate(sizes.tolist()):
        piece = trees[at : at + size] if ascii_only else ""
        match = _TREE_HEAD.match(piece)
        if match is None or int(match[1]) != index or len(piece) != size or not piece.endswith("\n\n"):
            raise refuse(_LIGHTGBM, record, f"tree_sizes does not fit tree {index}")
        _check_tree(record, index, _fields(record, piece[match.end() :].split("\n")), features)
        at += size
    if trees[at:].strip("\n"):
        raise refuse(_LIGHTGBM, record, "text follows the last tree")


def _fields(record: Record, lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        if not line:
            continue
        key, _, value = line.partition("=")
        if key in found:
            raise refuse(_LIGHTGBM, record, f"the field {key[:40]!r} occurs twice")
        found[key] = value
    return found


def _number(record: Record, fields: dict[str, str], name: str, low: int, high: int) -> int:
    text = fields.get(name, "")
    if not _NUMBER.match(text) or not low <= int(text) <= high:
        raise refuse(_LIGHTGBM, record, f"{name} is not a whole number from {low} to {high}")
    return int(text)


def _integers(record: Record, fields: dict[str, str], name: str, count: int) -> npt.NDArray[np.int64]:
    """Exactly `count` whole numbers; the separators are counted before anything is cut."""
    text = fields.get(name, "").strip(" ")
    if text.count(" ") + bool(text) != count:
        raise refuse(_LIGHTGBM, record, f"{name} does not have {count} entries")
    try:
        return np.array(text.split(" ") if text else [], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise refuse(_LIGHTGBM, record, f"{name} holds something else than whole numbers") from error


def _check_tree(record: Record, index: int, fields: dict[str, str], features: int) -> None:
    leaves = _number(record, fields, "num_leaves", 1, _MAX_LEAVES)
    categories = _number(record, fields, "num_cat", 0, _MAX_LEAVES)
    inner = leaves - 1
    if fields.get("is_linear", "0") != "0":
        raise refuse(_LIGHTGBM, record, f"tree {index} has linear leaves, which are not checked")
    if fields.get("leaf_value", "").count(" ") >= leaves or fields.get("threshold", "").count(" ") > inner:
        raise refuse(_LIGHTGBM, record, f"a field of tree {index} has more entries than the tree")
    try:
        values = np.array(fields.get("leaf_value", "").split(), dtype=np.float64)
        thresholds = np.array(fields.get("threshold", "").split(), dtype=np.float64)
    except ValueError as error:
        raise refuse(_LIGHTGBM, record, f"tree {index} holds something that is not a number") from error
    if len(values) != leaves or not np.isfinite(values).all():
        raise refuse(_LIGHTGBM, record, f"tree {index} does not have {leaves} finite leaf values")
    if not inner:
        return
    left, right = (_integers(record, fields, name, inner) for name in ("left_child", "right_child"))
    split, kind = (_integers(record, fields, name, inner) for name in ("split_feature", "decision_type"))
    if any(len(column) != inner for column in (left, right, split, kind, thresholds)):
        raise refuse(_LIGHTGBM, record, f"a field of tree {index} does not have {inner} entries")
    if int(split.min()) < 0 or int(split.max()) >= features:
        raise refuse(_LIGHTGBM, record, f"tree {index} splits on a feature that no row has")
    if np.isnan(thresholds).any():
        raise refuse(_LIGHTGBM, record, f"tree {index} has a threshold that is NaN")
    if int(kind.min()) < 0 or int(kind.max()) > 11:
        raise refuse(_LIGHTGBM, record, f"tree {index} has an unknown kind of decision")
    own = np.arange(inner)
    children = np.concatenate([left, right])
    nodes, ends = children[children >= 0], ~children[children < 0]
    before = np.concatenate([own, own])[children >= 0]
    if (
        bool((nodes <= before).any())
        or not np.array_equal(np.sort(nodes), np.arange(1, inner))
        or not np.array_equal(np.sort(ends), np.arange(leaves))
    ):
        raise refuse(_LIGHTGBM, record, f"the children of tree {index} do not form a tree")
    categorical = thresholds[(kind & 1) == 1]
    if categories or len(categorical):
        bounds = _integers(record, fields, "cat_boundaries", categories + 1)
        last = int(bounds[-1])
        words = _integers(record, fields, "cat_threshold", last if 0 <= last <= _MAX_LEAVES else 0)
        if (
            int(bounds[0]) != 0
            or int(bounds[-1]) != len(words)
            or bool((np.diff(bounds) < 0).any())
            or (len(words) and (int(words.min()) < 0 or int(words.max()) >= 1 << 32))
            or bool(((categorical < 0) | (categorical >= categories) | (categorical % 1 != 0)).any())
        ):
            raise refuse(_LIGHTGBM, record, f"the category sets of tree {index} do not fit")


def check_xgboost(record: Record) -> list[NodeGraph]:
    """The node graphs of the model that an XGBoost booster keeps.

    Raises:
        StructureError: DP458.
    """
    handle = record.get("handle")
    if handle is None:
        return []
    if not isinstance(handle, bytes):
        raise refuse(_XGBOOST, record, "its model is not bytes")
    document = _document(record, handle)
    # A pickled booster wraps the model with its configuration.
    model = document.get("Model", document) if isinstance(document, dict) else None
    learner = model.get("learner") if isinstance(model, dict) else None
    if not isinstance(learner, dict):
        raise refuse(_XGBOOST, record, "its document has no learner")
    parameters = learner.get("learner_model_param")
    features = _text_number(record, parameters, "num_feature", 0, _MAX_FEATURES)
    classes = _text_number(record, parameters, "num_class", 0, 1 << 20)
    booster = learner.get("gradient_booster")
    name = booster.get("name") if isinstance(booster, dict) else None
    if name == "gblinear" and isinstance(booster, dict):
        weights = booster.get("model", {}).get("weights") if isinstance(booster.get("model"), dict) else None
        groups = max(classes, 1)
        if not isinstance(weights, list | np.ndarray) or len(weights) != (features + 1) * groups:
            raise refuse(_XGBOOST, record, f"gblinear does not have {(features + 1) * groups} weights")
        return []
    if name == "dart" and isinstance(booster, dict):
        drop, booster = booster.get("weight_drop"), booster.get("gbtree")
        holder = _trees(record, booster)
        if not isinstance(drop, list | np.ndarray) or len(drop) != len(holder):
            raise refuse(_XGBOOST, record, "dart does not have one weight for each tree")
        return [_xgboost_tree(record, index, tree, features) for index, tree in enumerate(holder)]
    if name != "gbtree":
        raise refuse(_XGBOOST, record, f"the booster {str(name)[:40]!r} is unknown")
    groups = max(classes, 1)
    return [
        _xgboost_tree(record, index, tree, features)
        for index, tree in enumerate(_trees(record, booster, groups))
    ]


def _document(record: Record, handle: bytes) -> object:
    from ...models.ubjson import UbjsonError, parse_ubjson

    try:
        if handle[:2] in (b'{"', b"{ ", b"{\n"):
            if len(handle) > MAX_JSON_BYTES:
                raise refuse(_XGBOOST, record, f"its JSON has more than {MAX_JSON_BYTES} bytes")
            return json.loads(handle, object_pairs_hook=_no_duplicates)
        if handle[:1] == b"{":
            return parse_ubjson(handle)
    except (UbjsonError, ValueError, RecursionError, MemoryError) as error:
        raise refuse(_XGBOOST, record, f"its document cannot be read ({str(error)[:80]})") from error
    raise refuse(
        _XGBOOST, record, "its model is in the old binary format; save it again with XGBoost 1.7 or later"
    )


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _text_number(record: Record, parameters: object, name: str, low: int, high: int) -> int:
    text = parameters.get(name) if isinstance(parameters, dict) else None
    if not isinstance(text, str) or not _NUMBER.match(text) or not low <= int(text) <= high:
        raise refuse(_XGBOOST, record, f"{name} is not a whole number from {low} to {high}")
    return int(text)


def _trees(record: Record, booster: object, groups: int | None = None) -> list[object]:
    model = booster.get("model") if isinstance(booster, dict) else None
    trees = model.get("trees") if isinstance(model, dict) else None
    info = model.get("tree_info") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(trees, list) or not isinstance(info, list | np.ndarray):
        raise refuse(_XGBOOST, record, "its document has no trees")
    announced = _text_number(record, model.get("gbtree_model_param"), "num_trees", 0, 1 << 24)
    if len(trees) != announced or len(info) != announced:
        raise refuse(_XGBOOST, record, f"{len(trees)} trees are present and {announced} announced")
    owners = _column(record, info, "tree_info")
    if groups is not None and groups > 1 and len(owners) and int(owners.max()) + 1 != groups:
        raise refuse(_XGBOOST, record, f"{groups} classes are stated and the trees know fewer or more")
    if len(owners) and (int(owners.min()) < 0 or (groups is not None and int(owners.max()) >= groups)):
        # Several targets in one model keep num_class at 0 and one group each.
        targets = int(owners.max()) + 1
        if int(owners.min()) < 0 or targets > 1 << 16 or (groups or 0) > 1:
            raise refuse(_XGBOOST, record, "a tree belongs to a class that does not exist")
    return trees


def _column(record: Record, value: object, what: str) -> npt.NDArray[np.int64]:
    if isinstance(value, list) and not all(type(item) in (int, bool) for item in value):
        raise refuse(_XGBOOST, record, f"{what} holds something else than whole numbers")
    if not isinstance(value, list | np.ndarray) or (
        isinstance(value, np.ndarray) and value.dtype.kind not in "iub"
    ):
        raise refuse(_XGBOOST, record, f"{what} is missing")
    try:
        return np.asarray(value, dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise refuse(_XGBOOST, record, f"{what} holds something else than whole numbers") from error


def _xgboost_tree(record: Record, index: int, tree: object, features: int) -> NodeGraph:
    if not isinstance(tree, dict):
        raise refuse(_XGBOOST, record, f"tree {index} is not an object")
    parameters = tree.get("tree_param")
    count = _text_number(record, parameters, "num_nodes", 1, 1 << 28)
    if _text_number(record, parameters, "size_leaf_vector", 0, 1) > 1:
        raise refuse(_XGBOOST, record, f"tree {index} has vector leaves")
    left = _column(record, tree.get("left_children"), "left_children")
    right = _column(record, tree.get("right_children"), "right_children")
    split = _column(record, tree.get("split_indices"), "split_indices")
    kinds = _column(record, tree.get("split_type", []), "split_type")
    default = _column(record, tree.get("default_left"), "default_left")
    conditions = tree.get("split_conditions")
    try:
        with np.errstate(invalid="ignore"):  # a signalling NaN, which is refused below
            thresholds = np.asarray(conditions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise refuse(_XGBOOST, record, f"the conditions of tree {index} are not numbers") from error
    columns = (left, right, split, default, thresholds)
    if any(column.shape != (count,) for column in columns) or kinds.shape not in ((0,), (count,)):
        raise refuse(_XGBOOST, record, f"a field of tree {index} does not have {count} entries")
    if kinds.any():
        _check_categories(record, index, tree, kinds)
    if not (np.abs(thresholds) <= _FLOAT32_MAX).all():
        raise refuse(_XGBOOST, record, f"tree {index} has a condition that is NaN or beyond 32 bits")
    if len(default) and (int(default.min()) < 0 or int(default.max()) > 1):
        raise refuse(_XGBOOST, record, f"a default direction of tree {index} is neither 0 nor 1")
    inner = left != -1
    if not np.array_equal(inner, right != -1):
        raise refuse(_XGBOOST, record, f"a node of tree {index} has one child")
    live = _live(record, index, left, right, inner, tree)
    # Pruning leaves deleted nodes behind, and later splits reuse their places, so the graph is put in order first.
    order = np.full(count, -1, np.int64)
    order[live] = np.arange(len(live))
    kept = inner[live]
    return NodeGraph(
        record,
        _XGBOOST,
        order[left[live[kept]]],
        order[right[live[kept]]],
        kept,
        split[live[kept]],
        thresholds[live[kept]],
        features,
        None,
    )


def _live(
    record: Record,
    index: int,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    inner: npt.NDArray[np.bool_],
    tree: dict[str, object],
) -> npt.NDArray[np.int64]:
    """Nodes reachable from the root, parents before children.

    Raises:
        StructureError: DP458 for a child outside the nodes, a cycle, or nodes unreachable but not deleted.
    """
    count = len(inner)
    splits = np.flatnonzero(inner)
    children = np.concatenate([left[splits], right[splits]])
    if len(children) and (int(children.min()) < 1 or int(children.max()) >= count):
        raise refuse(_XGBOOST, record, f"a child of tree {index} lies outside its nodes")
    levels = [np.zeros(1, np.int64)]
    total = 1
    while True:
        parents = levels[-1][inner[levels[-1]]]
        below = np.concatenate([left[parents], right[parents]])
        if not len(below):
            break
        total += len(below)
        if total > count or len(levels) > 4096:
            raise refuse(_XGBOOST, record, f"the nodes of tree {index} form a cycle or a chain without end")
        levels.append(below)
    live = np.concatenate(levels)
    if len(np.unique(live)) != total:
        raise refuse(_XGBOOST, record, f"a node of tree {index} has two parents")
    deleted = (
        _text_number(record, tree.get("tree_param"), "num_deleted", 0, count - 1) if total < count else 0
    )
    if total + deleted != count:
        raise refuse(_XGBOOST, record, f"{count - total} nodes of tree {index} are unreachable")
    return live


def _check_categories(
    record: Record, index: int, tree: dict[str, object], kinds: npt.NDArray[np.int64]
) -> None:
    categories = _column(record, tree.get("categories"), "categories")
    nodes = _column(record, tree.get("categories_nodes"), "categories_nodes")
    segments = _column(record, tree.get("categories_segments"), "categories_segments")
    sizes = _column(record, tree.get("categories_sizes"), "categories_sizes")
    if (
        int(kinds.min()) < 0
        or int(kinds.max()) > 1
        or not len(nodes) == len(segments) == len(sizes)
        or bool(((nodes < 0) | (nodes >= len(kinds))).any())
        or bool(((segments < 0) | (sizes < 0) | (segments + sizes > len(categories))).any())
        or bool(((categories < 0) | (categories > 1 << 24)).any())
        or not np.isin(np.flatnonzero(kinds == 1), nodes).all()
    ):
        raise refuse(_XGBOOST, record, f"the category sets of tree {index} do not fit")
