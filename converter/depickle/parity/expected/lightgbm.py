# SPDX-License-Identifier: Apache-2.0
"""LightGBM, from its model text (src/io/tree.cpp, src/boosting/gbdt_prediction.cpp, src/objective/*.hpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...pickles.graph import DictNode, Record, plain
from ..boosters import lightgbm_category_sets, lightgbm_sections, lightgbm_text
from ..walk import MODE_LESS_OR_EQUAL, Expected, ExpectedTree
from .answers import (
    DOUBLE_STEPS,
    argmax,
    distinct_lead,
    even_chance,
    lead,
    logistic,
    soft_max,
    threshold_rule,
    two_classes,
)
from .category_sets import with_category_columns
from .node_tables import constant_tree
from .not_derived import NotDerivedError
from .paths import exact_only, hold_paths, paths_kept
from .reading import Labels, Writer, labels, record, unreadable
from .spread import EXP_SPREAD, UNKNOWN, as_bound, beside
from .vocabulary import Answer, apply, constant, scalar, trees

if TYPE_CHECKING:
    from .derivation import Derivation

__all__ = ["expect_lightgbm", "lightgbm_columns"]

K_ZERO_THRESHOLD = float(np.float32("1e-35"))
"""``kZeroThreshold`` (include/LightGBM/meta.h): dense rows drop what is no larger, and a dropped value is 0."""

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_NONE, _ZERO, _NAN = 0, 1, 2


@dataclass(frozen=True)
class _Text:
    header: dict[str, str]
    sections: Sequence[dict[str, str]]
    averaged: bool
    width: int
    columns: int


def _parse(owner: Record) -> _Text:
    text = lightgbm_text(owner)
    header, sections = lightgbm_sections(text)
    flags = text.partition("\nTree=")[0].splitlines()
    try:
        width, columns = int(header["num_tree_per_iteration"]), int(header["max_feature_idx"]) + 1
    except (KeyError, ValueError) as error:
        raise unreadable(owner, "_handle", "a model text") from error
    if width < 1 or len(sections) % width or not sections:
        raise unreadable(owner, "_handle", "whole iterations")
    return _Text(header, sections, "average_output" in flags, width, columns)


def lightgbm_columns(owner: Record) -> int:
    """Number of columns that the booster was trained on."""
    return _parse(owner).columns


def expect_lightgbm(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """LGBMClassifier, LGBMRegressor, and a Booster by itself."""
    text = _parse(owner)
    iterations = _iterations(owner, text)
    used = text.sections[: iterations * text.width]
    found = [constant_tree(0.0, place) for place in range(text.width)]
    kinds = _Kinds()
    for place, section in enumerate(used):
        found.append(_tree(owner, section, place % text.width, kinds))
    kept = paths_kept(rows, found, _flushed, whole=sorted(kinds.categorical | kinds.zero_missing))
    inputs, found = with_category_columns(_inputs(owner, rows, text, kinds), found, text.columns)
    raw = trees(inputs, found, targets=text.width)
    if text.averaged:
        raw = apply("Div", raw, scalar(iterations))
    name, *options = text.header.get("objective", "").split()
    settings = dict(option.partition(":")[::2] for option in options)
    if owner.name == "LGBMRegressor":
        answer = _regressor(owner, raw, name, settings)
        if answer.score_error != 0.0:
            exact_only(rows)
        return hold_paths(answer, kept)
    if owner.name == "Booster":
        exact_only(rows)
        return _bare(owner, raw, name, settings, text.width)
    classes = labels(record(owner, "_le"))
    factor = float(settings.get("sigmoid") or 1.0)
    decides = _decides(owner, text, derive.writer)
    if derive.elsewhere and not (decides and (_written_since(lightgbm_text(owner)) or (0, 0)) >= (4, 7)):
        decides = None  # an older text, which a composition of 4.7 asks for its decision_function
    if text.averaged and decides:
        decides = None  # its decision_function is the sum, which only predict_proba divides
    if name == "binary" and text.width == 1 and len(classes) == 2:
        band = float(DOUBLE_STEPS) / min(factor, 1.0)
        index = threshold_rule(raw, "GreaterOrEqual", even_chance(factor))
        p = two_classes(logistic(raw, factor=factor))
        return hold_paths(_answer(classes, raw, index, p, distinct_lead(raw, 1), band, decides), kept)
    if text.width != len(classes):
        raise unreadable(owner, "objective", "a raw score for each class")
    if name == "multiclass":
        lead_of = distinct_lead(raw, text.width)
        p = soft_max(raw, text.width)
        answer = _answer(classes, raw, argmax(raw), p, lead_of, float(DOUBLE_STEPS), decides)
        return hold_paths(answer, kept)
    if name == "multiclassova":
        p = logistic(raw, factor=factor)
        # The logistic saturates, so distinct scores may be tied.
        answer = _answer(classes, raw, argmax(p), p, lead(p, text.width), float(DOUBLE_STEPS), decides)
        return hold_paths(answer, kept)
    raise unreadable(owner, "objective", "binary, multiclass or multiclassova")


def _answer(
    known: Labels,
    raw: Expected,
    index: Expected,
    p: Expected,
    margin: Expected,
    band: float,
    decides: bool | None,
) -> Answer:
    bound = as_bound(band, margin)
    return Answer(known, index, p, raw, margin, bound, probability_error=EXP_SPREAD, decides=decides)


_NEWEST_OPTION = {
    "parser_config_file": (4, 0),
    "lambdarank_position_bias_regularization": (4, 1),
    "num_grad_quant_bins": (4, 2),  # and 4.3
    "early_stopping_min_delta": (4, 4),  # and 4.5
    "bagging_by_query": (4, 6),
    "gpu_device_id_list": (4, 7),
}
_OPTIONS = {(4, 0): 111, (4, 1): 112, (4, 2): 118, (4, 4): 119, (4, 6): 120, (4, 7): 121}
"""How many options ``Config::SaveMembersToString`` (src/io/config_auto.cpp) lists, by the first release that does."""


def _decides(owner: Record, text: _Text, writer: Writer) -> bool | None:
    """LGBMClassifier has a decision_function since 4.7 (python-package/lightgbm/sklearn.py).

    Told by the options that the text ends with, by an attribute that ``__init__`` sets since 4.7, and by the writer
    where that is a release; None where they contradict each other or say nothing.
    """
    if text.header.get("version") == "v4":
        since = _written_since(lightgbm_text(owner))
        stated = writer.get("lightgbm", "").split(" or ")[-1].split(".")
        if len(stated) > 1 and stated[0].isdigit() and stated[1].isdigit():
            known = (int(stated[0]), int(stated[1])) >= (4, 7)
            if since is not None and known != (since >= (4, 7)):
                return None
        elif since is None:
            return None
        else:
            known = since >= (4, 7)
    else:
        known = False
    return known if known == ("_fitted_with_feature_names" in owner.attrs()) else None


def _written_since(text: str) -> tuple[int, int] | None:
    """The first release that lists the options at the end of `text`, or None for options of no known release."""
    start, end = text.find("\nparameters:\n"), text.find("\nend of parameters")
    if not 0 < start < end:
        return None
    lines = text[start:end].splitlines()
    options = [line[1 : line.index(":")] for line in lines if line.startswith("[") and ":" in line]
    since = max((_NEWEST_OPTION[name] for name in options if name in _NEWEST_OPTION), default=None)
    expected = {name for name, first in _NEWEST_OPTION.items() if since is not None and first <= since}
    whole = expected <= set(options) and len(set(options)) == len(options) == _OPTIONS.get(since or (0, 0))
    return since if whole else None


def _regressor(owner: Record, raw: Expected, name: str, settings: dict[str, str]) -> Answer:
    if name in ("poisson", "gamma", "tweedie"):
        return Answer(scores=apply("Exp", raw), score_error=UNKNOWN)
    if name not in ("regression", "regression_l1", "huber", "fair", "quantile", "mape"):
        raise unreadable(owner, "objective", "a regression")
    if "sqrt" in settings:
        squared = apply("Mul", apply("Sign", raw), apply("Mul", raw, raw))
        return Answer(scores=squared, score_error=UNKNOWN)
    return Answer(scores=raw)


def _bare(owner: Record, raw: Expected, name: str, settings: dict[str, str], width: int) -> Answer:
    """``Booster.predict`` (basic.py): what the objective makes of the sum; of two classes, a probability."""
    if width != 1:
        raise NotDerivedError("several numbers for each row")
    if name != "binary":
        return _regressor(owner, raw, name, settings)
    factor = float(settings.get("sigmoid") or 1.0)
    if not factor > 0.0:
        raise unreadable(owner, "sigmoid", "a positive number")
    p = logistic(raw, factor=factor)
    return Answer(scores=p, score_error=beside(p, EXP_SPREAD))


def _iterations(owner: Record, text: _Text) -> int:
    """Up to the best iteration, which the scikit-learn interface uses where early stopping left one."""
    others = owner.get("_other_params")
    if isinstance(others, DictNode):
        for name in ("pred_early_stop", "start_iteration_predict", "num_iteration_predict", "linear_tree"):
            if plain(others.get(name)) not in (None, False):
                raise unreadable(owner, name, "the default")
    total = len(text.sections) // text.width
    booster = owner if owner.name == "Booster" else record(owner, "_Booster")
    best = plain(booster.get("best_iteration"))
    if best in (None, -1, 0):
        return total
    if isinstance(best, bool) or not isinstance(best, int) or best < 0:
        raise unreadable(owner, "best_iteration", "a number of iterations")
    return min(best, total)


class _Kinds:
    """Which columns are compared in which way: LightGBM decides that per column, not per node."""

    def __init__(self) -> None:
        self.categorical: set[int] = set()
        self.zero_missing: set[int] = set()
        self.plain: set[int] = set()


def _inputs(owner: Record, rows: Expected, text: _Text, kinds: _Kinds) -> Expected:
    if kinds.plain & kinds.zero_missing or kinds.categorical & (kinds.plain | kinds.zero_missing):
        raise unreadable(owner, "decision_type", "one kind a column")
    rows = _flushed(rows)
    if kinds.categorical:  # a category is the value cut to an int
        cut = apply("Mul", apply("Sign", rows), apply("Floor", apply("Abs", rows)))
        rows = apply("Where", _mask(kinds.categorical, text.columns), cut, rows)
    if kinds.zero_missing:
        zero = apply("Equal", rows, scalar(0.0))
        gone = apply("And", _mask(kinds.zero_missing, text.columns), zero)
        rows = apply("Where", gone, scalar(np.nan), rows)
    return rows


def _flushed(rows: Expected) -> Expected:
    near = apply("LessOrEqual", apply("Abs", rows), scalar(K_ZERO_THRESHOLD))
    return apply("Where", near, scalar(0.0), rows)


def _mask(chosen: set[int], width: int) -> Expected:
    return constant([place in chosen for place in range(width)], np.bool_)


def _tree(owner: Record, section: dict[str, str], target: int, kinds: _Kinds) -> ExpectedTree:
    try:
        leaves = int(section["num_leaves"])
        value = np.array(section["leaf_value"].split(), dtype=np.float64)
        if value.shape != (leaves,) or section.get("is_linear", "0") != "0":
            raise unreadable(owner, "leaf_value", "one constant a leaf")
        if leaves == 1:
            return constant_tree(float(value[0]), target)
        feature, decision, left, right = (
            np.array(section[name].split(), dtype=np.int64)
            for name in ("split_feature", "decision_type", "left_child", "right_child")
        )
        threshold = np.array(section["threshold"].split(), dtype=np.float64)
        members = lightgbm_category_sets(section, decision, threshold)
    except (KeyError, ValueError) as error:
        raise unreadable(owner, "_handle", "a model text") from error
    if any(part.shape != (leaves - 1,) for part in (feature, decision, left, right, threshold)):
        raise unreadable(owner, "_handle", f"{leaves - 1} splits")
    missing = _missing_left(owner, feature, threshold, decision, kinds)
    pad = np.full(leaves, -1, dtype=np.int64)
    return ExpectedTree(
        feature=np.concatenate([feature, pad]),
        threshold=np.concatenate([threshold, np.zeros(leaves)]),
        left=np.concatenate([np.where(left < 0, leaves - 2 - left, left), pad]),
        right=np.concatenate([np.where(right < 0, leaves - 2 - right, right), pad]),
        missing_left=np.concatenate([missing, np.zeros(leaves, dtype=np.bool_)]),
        weight=np.concatenate([np.zeros(leaves - 1), value]),
        target=target,
        mode=MODE_LESS_OR_EQUAL,
        members=members,
    )


def _missing_left(
    owner: Record,
    feature: npt.NDArray[np.int64],
    threshold: npt.NDArray[np.float64],
    decision: npt.NDArray[np.int64],
    kinds: _Kinds,
) -> npt.NDArray[np.bool_]:
    """``NumericalDecision``: NaN counts as 0 unless NaN is the missing type; a missing value takes the default."""
    categorical = (decision & _CATEGORICAL) != 0
    missing_type = (decision >> 2) & 3
    if bool((decision >> 4).any()) or bool((missing_type > _NAN).any()):
        raise unreadable(owner, "decision_type", "known bits")
    kinds.categorical |= set(feature[categorical].tolist())
    kinds.zero_missing |= set(feature[~categorical & (missing_type == _ZERO)].tolist())
    kinds.plain |= set(feature[~categorical & (missing_type != _ZERO)].tolist())
    default_left = (decision & _DEFAULT_LEFT) != 0
    zero_goes_left = threshold >= 0.0
    found = np.where(missing_type == _NONE, zero_goes_left, default_left)
    return np.where(categorical, False, found)  # CategoricalDecision sends NaN right
