# SPDX-License-Identifier: Apache-2.0
"""XGBoost's scikit-learn estimators, read from the UBJSON or JSON inside the pickled booster."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import UnsupportedModelError
from ..pickles.graph import Record, Value, plain
from .attributes import describe, integer, unsupported, wrong
from .forests import FLOAT32_MAX
from .interface import Context, ReadPredictor
from .label_rules import certified_argmax, single_above_half
from .trees import checked_tree, several_outputs
from .types import Boosted, ClassLabel, LabelRule, Link, Tree
from .ubjson import Ubjson, UbjsonError, parse_ubjson

__all__ = ["read_xgboost"]

_Object: TypeAlias = dict[str, Ubjson]
MAX_TREES = 100_000
MAX_CATEGORY = 1 << 16  # rows of a look-up table

_IDENTITY = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
_LOG = ("count:poisson", "reg:gamma", "reg:tweedie")


def read_xgboost(record: Record, context: Context) -> ReadPredictor:
    """XGBClassifier, XGBRegressor and their random forests, and a bare Booster of trees.

    A bare Booster is a regressor of what its predict returns for a DMatrix: all its trees, whichever iteration was
    the best, and of two classes the probability of the second.

    Raises:
        UnsupportedModelError: DP603 for boosters and objectives that are not emitted, DP611 for a booster that
            cannot be read.
    """
    learner = _learner(record)
    missing = plain(record.get("missing"))
    if missing is not None and not (isinstance(missing, float) and math.isnan(missing)):
        raise unsupported(record, "Missing values other than NaN are not emitted", found=describe(missing))
    booster = _child(record, learner, "gradient_booster")
    if booster.get("name") not in ("gbtree", "dart", "gblinear"):
        raise unsupported(
            record, "This booster is not emitted", found=str(booster.get("name")), expected="gbtree or dart"
        )
    if record.name == "Booster" and booster.get("name") != "gbtree":
        raise unsupported(
            record,
            "A bare booster of this kind predicts otherwise than the estimators do",
            found=str(booster.get("name")),
            expected="gbtree",
        )
    linear = booster.get("name") == "gblinear"
    parameters = _child(record, learner, "learner_model_param")
    n_features = _whole(record, parameters, "num_feature")
    dropped = booster.get("name") == "dart"
    model = _child(record, _child(record, booster, "gbtree") if dropped else booster, "model")
    known = model.get("cats")
    if isinstance(known, dict) and len(_numbers(record, known, "feature_segments")):
        raise unsupported(record, "Categories that XGBoost recodes from a data frame", found="cats")
    classifier = record.name.endswith("Classifier")
    classes: tuple[ClassLabel, ...] | None = None
    if classifier:
        classes = tuple(range(integer(record, "n_classes_", low=2, high=10_000)))
    width = 1 if classes is None or len(classes) == 2 else len(classes)
    link, rule = _decision(record, learner, classes)
    baseline = _baseline(record, parameters, link, width)
    trees: tuple[Tree, ...] = ()
    target: tuple[int, ...] = ()
    weights = None
    if linear:
        if link == "logistic" and baseline[0] != 0.0:
            raise unsupported(
                record,
                "A linear booster whose base score passes through a logarithm, which C libraries round apart",
                found="another base_score",
                expected="base_score=0.5",
            )
        baseline, weights = _linear(record, model, n_features, baseline)
    else:
        trees, target = _trees(record, learner, model, n_features, width)
    if dropped:
        trees = _weighted(record, booster, trees, target, baseline)
    band = 0.0
    if link == "logistic" and not linear and baseline[0] != 0.0:
        band = _start_band(float(baseline[0]), trees)
        if rule is not None:
            rule = replace(rule, band=band, sums_exact=False)
    return ReadPredictor(
        task="classifier" if classifier else "regressor",
        classes=classes,
        n_features=n_features,
        root=Boosted(
            trees=trees,
            target=target,
            baseline=baseline,
            columns=n_features,
            link=link,
            rule=rule,
            precision="float32",
            comparison="<",
            single=True,
            weights=weights,
            floored=_categorical_columns(record, trees),
            start_band=0.0 if classifier else band,
        ),
        ceiling="proven" if link == "identity" else "certified",
        reason=(
            "The answer is a float32 sum, added in the original's order"
            if link == "identity"
            else "XGBoost compares probabilities, which pass through exp; the sums before it are exact"
        ),
        allow_nan=True,
        allow_infinite=False,
        max_abs=FLOAT32_MAX,
        family=record.name,
        single=not classifier,
    )


def _learner(record: Record) -> _Object:
    booster = record if record.name == "Booster" else record.get("_Booster")
    if not isinstance(booster, Record) or booster.cls != "xgboost.core.Booster":
        raise wrong(record, "_Booster", booster, "a fitted booster")
    data = _bytes(booster.get("handle"))
    if data is None:
        raise wrong(booster, "handle", booster.get("handle"), "the serialised booster")
    document = _document(record, data)
    if isinstance(document, dict) and "Model" in document:
        document = document["Model"]
    if not isinstance(document, dict):
        raise _unreadable(record, "no model object")
    return _child(record, document, "learner")


def _bytes(value: Value) -> bytes | None:
    """Bytes, or the bytes inside the record of a bytearray."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, Record) and value.name == "bytearray":
        if not value.args:
            return b""
        first = value.args[0]
        if isinstance(first, bytes):
            return first
        if isinstance(first, str) and value.args[1:] == ("latin-1",):  # how protocol 2 spells it
            try:
                return first.encode("latin-1")
            except UnicodeEncodeError:
                return None
    return None


def _document(record: Record, data: bytes) -> Ubjson:
    try:
        if data[:2] in (b'{"', b"{\n", b"{ "):
            decoded: Ubjson = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_distinct)
            return decoded
        if data[:1] == b"{":
            return parse_ubjson(data)
    except (UbjsonError, ValueError, RecursionError) as error:
        raise _unreadable(record, str(error)[:120]) from error
    raise unsupported(
        record,
        "An XGBoost booster in the binary format before 1.6",
        found=repr(data[:4]),
        expected="UBJSON or JSON",
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} in JSON")


def _distinct(pairs: list[tuple[str, Ubjson]]) -> _Object:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key twice")
    return result


def _unreadable(record: Record, found: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "The XGBoost booster cannot be read",
        code="DP611",
        where=record.name,
        found=found,
        expected="the UBJSON or JSON of a released XGBoost",
        next_step="Save the model again with a released XGBoost",
    )


def _child(record: Record, parent: _Object, name: str) -> _Object:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise _unreadable(record, f"no object {name!r}")
    return value


def _whole(record: Record, parent: _Object, name: str) -> int:
    value = parent.get(name)
    if isinstance(value, str) and value.isdigit() and len(value) < 10:
        return int(value)
    raise _unreadable(record, f"{name} is not a number")


def _numbers(record: Record, parent: _Object, name: str) -> npt.NDArray[np.float64]:
    value = parent.get(name)
    if isinstance(value, list | np.ndarray):
        try:
            result: npt.NDArray[np.float64] = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise _unreadable(record, f"{name} is not a list of numbers") from error
        if result.ndim == 1:
            return result
    raise _unreadable(record, f"{name} is not a list of numbers")


def _integers(record: Record, parent: _Object, name: str) -> npt.NDArray[np.int64]:
    values = _numbers(record, parent, name)
    if not bool((np.isfinite(values) & (np.abs(values) < 2**53) & (values == np.rint(values))).all()):
        raise _unreadable(record, f"{name} is not a list of integers")
    return values.astype(np.int64)


def _decision(
    record: Record, learner: _Object, classes: tuple[ClassLabel, ...] | None
) -> tuple[Link, LabelRule | None]:
    name = _child(record, learner, "objective").get("name")
    if classes is None:
        if name in _IDENTITY:
            return "identity", None
        if name in _LOG:
            return "exp", None
        if record.name == "Booster" and name == "binary:logistic":
            return "logistic", None
        if record.name == "Booster" and str(name).startswith("multi:"):
            raise several_outputs(record)
    elif len(classes) == 2 and name == "binary:logistic":
        return "logistic", single_above_half()
    elif len(classes) > 2 and name in ("multi:softprob", "multi:softmax"):
        return "softmax", certified_argmax(single=True)
    raise unsupported(
        record,
        "The XGBoost objective is not emitted",
        found=describe(str(name)),
        expected="binary:logistic, multi:softprob or a regression objective",
    )


def _start_band(start: float, trees: Sequence[Tree]) -> float:
    """How far the float32 sums may be from the original's, whose C library took the logarithm of the base score.

    With u = 2⁻²⁴, both sides together: the start is off by 16u of itself, each addition by 2u of the largest sum that
    the trees so far can give, a leaf of dart, which adds the start and takes it off again, by 4u of both; 2⁻¹⁸ parts
    two values of exp, and 2⁻¹⁰ of it all covers terms of second order.
    """
    reach, off = abs(start), 16.0 * abs(start)
    for tree in trees:
        peak = float(np.abs(tree.value[tree.is_leaf]).max())
        reach += peak
        off += 2.0 * reach + 4.0 * (abs(start) + peak)
    return 2.0**-24 * off * (1.0 + 2.0**-10) + 2.0**-18


def _baseline(record: Record, parameters: _Object, link: Link, width: int) -> npt.NDArray[np.float64]:
    """base_score as the margin at which the sums start, in float32 arithmetic."""
    text = parameters.get("base_score")
    if not isinstance(text, str):
        raise _unreadable(record, "no base_score")
    try:
        scores = [np.float32(float(part)) for part in text.strip("[]").split(",")]
    except ValueError as error:
        raise _unreadable(record, "base_score is not a number") from error
    if len(scores) not in (1, width):
        raise _unreadable(record, f"{len(scores)} base scores for {width} outputs")
    if len(scores) == 1:
        scores = scores * width
    one = np.float32(1.0)
    margins = []
    for score in scores:
        match link:
            case "logistic":
                if not 0.0 < float(score) < 1.0:
                    raise _unreadable(record, "base_score outside (0, 1)")
                margins.append(-np.float32(math.log(float(one / score - one))))
            case "exp":
                if not float(score) > 0.0:
                    raise _unreadable(record, "base_score is not positive")
                margins.append(np.float32(math.log(float(score))))
            case _:
                margins.append(score)
    result = np.array(margins, dtype=np.float64)
    if not bool(np.isfinite(result).all()):
        raise _unreadable(record, "base_score is not finite")
    return result


def _trees(
    record: Record, learner: _Object, model: _Object, n_features: int, width: int
) -> tuple[tuple[Tree, ...], tuple[int, ...]]:
    raw = model.get("trees")
    if not isinstance(raw, list) or len(raw) > MAX_TREES:
        raise _unreadable(record, "no list of trees")
    target = _integers(record, model, "tree_info")
    if len(target) != len(raw) or (len(target) and not 0 <= int(target.min()) <= int(target.max()) < width):
        raise _unreadable(record, "tree_info does not fit the trees")
    used = _used(record, learner, model, len(raw), width)
    trees = []
    for item in raw[:used]:
        if not isinstance(item, dict):
            raise _unreadable(record, "a tree that is no object")
        trees.append(_tree(record, item, n_features))
    return tuple(trees), tuple(int(column) for column in target[:used])


def _linear(
    record: Record, model: _Object, n_features: int, margins: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bias plus base score, and the weights [columns, K]; gblinear adds in float32 (src/gbm/gblinear.cc)."""
    width = len(margins)
    if bool((margins != margins[0]).any()):
        raise unsupported(
            record,
            "gblinear with a base score for each class",
            found="several",
            expected="base_score set to one number",
        )
    table = _numbers(record, model, "weights").astype(np.float32)
    if len(table) != (n_features + 1) * width or not bool(np.isfinite(table).all()):
        raise _unreadable(record, "the weights do not fit the columns")
    table = table.reshape(n_features + 1, width)
    with np.errstate(over="ignore"):
        start = (table[-1] + margins.astype(np.float32)).astype(np.float64)
    if not bool(np.isfinite(start).all()):
        raise _unreadable(record, "a bias beyond float32")
    return start, table[:-1].astype(np.float64)


def _weighted(
    record: Record,
    booster: _Object,
    trees: tuple[Tree, ...],
    target: tuple[int, ...],
    baseline: npt.NDArray[np.float64],
) -> tuple[Tree, ...]:
    """Leaves as dart adds them: ``((start + leaf) - start) * weight`` in float32.

    The scikit-learn interface predicts in place, where each tree is asked alone and its answer begins at the base
    score, which is subtracted again (src/gbm/gbtree.cc, ``Dart::InplacePredict``); 1.7 to 3.2 agree.
    """
    if plain(record.get("predictor")) not in (None, "auto"):
        raise unsupported(
            record,
            "With a predictor of its own choice dart adds its leaves in another way",
            found="predictor",
        )
    weights = _numbers(record, booster, "weight_drop").astype(np.float32)
    if len(weights) < len(trees) or not bool(np.isfinite(weights).all()):
        raise _unreadable(record, "weight_drop does not fit the trees")
    found = []
    for tree, column, weight in zip(trees, target, weights, strict=False):
        start = np.float32(baseline[column])
        with np.errstate(over="ignore", invalid="ignore"):
            value = ((start + tree.value.astype(np.float32)) - start) * weight
        if not bool(np.isfinite(value).all()):
            raise _unreadable(record, "a leaf beyond float32")
        found.append(replace(tree, value=value.astype(np.float64)))
    return tuple(found)


def _used(record: Record, learner: _Object, model: _Object, total: int, width: int) -> int:
    """Trees up to the best iteration where early stopping recorded one, as the scikit-learn interface uses them."""
    attributes = learner.get("attributes")
    best = attributes.get("best_iteration") if isinstance(attributes, dict) else None
    if best is None or record.name == "Booster":
        return total
    if not isinstance(best, str) or not best.isdigit() or len(best) > 9:
        raise _unreadable(record, "best_iteration is not a number")
    rounds = int(best) + 1
    if "iteration_indptr" in model:
        ends = _integers(record, model, "iteration_indptr")
        if rounds >= len(ends) or not 0 <= int(ends[rounds]) <= total:
            raise _unreadable(record, "best_iteration past the last tree")
        return int(ends[rounds])
    parallel = _whole(record, _child(record, model, "gbtree_model_param"), "num_parallel_tree")
    used = rounds * parallel * width
    if used > total:
        raise _unreadable(record, "best_iteration past the last tree")
    return used


def _tree(record: Record, item: _Object, n_features: int) -> Tree:
    left = _integers(record, item, "left_children")
    right = _integers(record, item, "right_children")
    feature = _integers(record, item, "split_indices")
    condition = _numbers(record, item, "split_conditions")
    default_left = _integers(record, item, "default_left")
    if len({len(part) for part in (left, right, feature, condition, default_left)}) != 1 or not len(left):
        raise _unreadable(record, "tree arrays of different lengths")
    vector = _child(record, item, "tree_param").get("size_leaf_vector")
    if vector not in ("0", "1", None):
        raise unsupported(record, "Trees with vector leaves are not emitted", found=str(vector))
    order = _reachable(record, left, right)
    place = np.full(len(left), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    leaf = left[order] < 0
    members = {int(place[node]): cats for node, cats in _categories(record, item, len(left)).items()}
    if any(node < 0 or leaf[node] for node in members):
        raise _unreadable(record, "categories of a node that does not split")
    # A category of the set goes right; here the members go left.
    turned = np.isin(np.arange(len(order)), list(members))
    left, right = np.where(turned, right[order], left[order]), np.where(turned, left[order], right[order])
    return checked_tree(
        record.name,
        feature=np.where(leaf, -1, feature[order]),
        threshold=np.where(leaf | turned, np.nan, condition[order]),
        left=np.where(leaf, -1, place[left]),
        right=np.where(leaf, -1, place[right]),
        missing_left=((default_left[order] != 0) ^ turned) & ~leaf,
        value=np.where(leaf, condition[order], 0.0).reshape(-1, 1),
        n_features=n_features,
        members=members,
    )


def _categories(record: Record, item: _Object, count: int) -> dict[int, tuple[int, ...]]:
    """The set of each categorical node, in the numbering of the file."""
    kinds = _integers(record, item, "split_type") if "split_type" in item else np.empty(0, np.int64)
    if not kinds.any():
        return {}
    names = ("categories_nodes", "categories_segments", "categories_sizes")
    nodes, starts, sizes = (_integers(record, item, name) for name in names)
    values = _integers(record, item, "categories")
    if len(kinds) != count or sorted(nodes.tolist()) != np.flatnonzero(kinds).tolist():
        raise _unreadable(record, "categories_nodes are not the categorical splits")
    if not len(nodes) == len(starts) == len(sizes):
        raise _unreadable(record, "category arrays of different lengths")
    found = {}
    for node, start, size in zip(nodes.tolist(), starts.tolist(), sizes.tolist(), strict=True):
        part = values[start : start + size]
        if (
            start < 0
            or size < 0
            or len(part) != size
            or (size and not 0 <= part.min() <= part.max() < MAX_CATEGORY)
        ):
            raise _unreadable(record, "a category set outside the categories")
        found[node] = tuple(sorted(set(part.tolist())))
    return found


def _categorical_columns(record: Record, trees: tuple[Tree, ...]) -> tuple[int, ...]:
    sets = {int(tree.feature[node]) for tree in trees for node in tree.members}
    for tree in trees:
        inner = ~tree.is_leaf
        inner[list(tree.members)] = False
        if sets.intersection(tree.feature[inner].tolist()):
            raise _unreadable(record, "a column with categories and thresholds")
    return tuple(sorted(sets))


def _reachable(
    record: Record, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Nodes that the root reaches, in their own order: pruning leaves deleted nodes behind."""
    seen = np.zeros(len(left), dtype=bool)
    frontier = np.zeros(1, dtype=np.int64)
    while len(frontier):
        if bool((frontier < 0).any()) or int(frontier.max()) >= len(left) or bool(seen[frontier].any()):
            raise _unreadable(record, "a tree whose children are no tree")
        seen[frontier] = True
        inner = frontier[left[frontier] >= 0]
        frontier = np.concatenate([left[inner], right[inner]])
        if len(np.unique(frontier)) != len(frontier):
            raise _unreadable(record, "a node with two parents")
    order: npt.NDArray[np.int64] = np.flatnonzero(seen)
    return order
