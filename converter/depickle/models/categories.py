# SPDX-License-Identifier: Apache-2.0
"""Categorical columns of HistGradientBoosting: the encoder in front of its trees, and the sets inside them.

Since scikit-learn 1.4 an OrdinalEncoder turns each category into its number and everything else into NaN, and puts
the categorical columns first. A node then holds the numbers that go left as a set of bits; the other numbers go
right, and NaN goes where missing values go. Before 1.4 raw values were cast to 8 bits, which C defines for 0 to 255
only: refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..pickles.graph import GlobalRef, Record, TupleNode, plain
from .attributes import array_of, members, unsupported, wrong
from .types import Encode, FloatArray

__all__ = ["left_categories", "read_categories"]

MAX_CATEGORIES = 255  # bins of a column; the sets have 256 bits
_WORDS, _WORD = 8, 32  # layout of a set: 8 words of 32 bits, lowest first


def read_categories(record: Record, n_features: int) -> Encode | None:
    """What the model's own encoder does to its columns, or None where all columns are numbers.

    Raises:
        UnsupportedModelError: DP603 for text categories and for models written before 1.4, DP602 for an encoder that
            is not the one that the class builds.
    """
    marked = record.get("is_categorical_")
    encoder = record.get("_preprocessor")
    if marked is None and encoder is None:
        return None
    mask = array_of(record, "is_categorical_", marked)
    if mask.dtype != np.bool_ or mask.shape != (n_features,) or not bool(mask.any()):
        raise wrong(record, "is_categorical_", marked, f"{n_features} booleans, one of them True")
    if not isinstance(encoder, Record):
        raise unsupported(
            record,
            "Categories of before scikit-learn 1.4 are cast to 8 bits, which is not defined beyond 255",
            found="categorical columns without an encoder",
            expected="a model written by scikit-learn 1.4 or later",
        )
    columns = tuple(int(column) for column in np.flatnonzero(mask))
    passed = tuple(int(column) for column in np.flatnonzero(np.logical_not(mask)))
    ordinal = _parts(record, encoder, columns, passed)
    values = members(ordinal, "categories_", ordinal.get("categories_"))
    if len(values) != len(columns):
        raise wrong(ordinal, "categories_", ordinal.get("categories_"), f"{len(columns)} lists of categories")
    encoded = tuple(
        (column, _categories(ordinal, array_of(ordinal, "categories_", value)))
        for column, value in zip(columns, values, strict=True)
    )
    return Encode(encoded, passed)


def _parts(record: Record, encoder: Record, columns: tuple[int, ...], passed: tuple[int, ...]) -> Record:
    """The OrdinalEncoder in front; the rest of the ColumnTransformer must be what the class builds."""
    if encoder.name != "ColumnTransformer":
        raise wrong(record, "_preprocessor", encoder, "a ColumnTransformer")
    steps = [
        item
        for item in members(encoder, "transformers_", encoder.get("transformers_"))
        if isinstance(item, TupleNode) and len(item) == 3 and plain(item[1]) != "drop"
    ]
    if [plain(item[0]) for item in steps] != ["encoder", "numerical"] or plain(
        encoder.get("remainder")
    ) != "drop":
        raise wrong(record, "_preprocessor", encoder, "an encoder and the numerical columns")
    for item, chosen in zip(steps, (columns, passed), strict=True):
        mask = array_of(encoder, "transformers_", item[2])
        if mask.dtype != np.bool_ or tuple(np.flatnonzero(mask).tolist()) != chosen:
            raise wrong(encoder, "transformers_", item[2], "the columns of is_categorical_")
    ordinal, numerical = steps[0][1], steps[1][1]
    if not isinstance(ordinal, Record) or ordinal.name != "OrdinalEncoder":
        raise wrong(encoder, "encoder", ordinal, "an OrdinalEncoder")
    marker, instead = (plain(ordinal.get(name)) for name in ("unknown_value", "encoded_missing_value"))
    missing = all(isinstance(value, float) and math.isnan(value) for value in (marker, instead))
    if not missing or plain(ordinal.get("handle_unknown")) != "use_encoded_value":
        raise wrong(ordinal, "unknown_value", ordinal.get("unknown_value"), "NaN for what is unknown")
    if ordinal.get("max_categories") is not None or ordinal.get("min_frequency") is not None:
        raise wrong(
            ordinal, "max_categories", ordinal.get("max_categories"), "no grouping of rare categories"
        )
    if not _checks_only(numerical):
        raise wrong(encoder, "numerical", numerical, "a step that only checks its input")
    return ordinal


def _checks_only(step: object) -> bool:
    """A FunctionTransformer of nothing, or of ``partial(check_array, ...)``, which returns its float64 input."""
    if not isinstance(step, Record):
        return plain(step) == "passthrough"  # type: ignore[arg-type]  # a value of the graph
    if step.name != "FunctionTransformer" or step.get("kw_args") is not None:
        return False
    function = step.get("func")
    if function is None:
        return True
    return (
        isinstance(function, Record)
        and function.cls == "functools.partial"
        and len(function.args) == 1
        and isinstance(function.args[0], GlobalRef)
        and function.args[0].path == "sklearn.utils.validation.check_array"
    )


def _categories(ordinal: Record, raw: npt.NDArray[np.generic]) -> FloatArray:
    if raw.dtype.kind not in "fiu" or raw.ndim != 1:
        raise unsupported(
            ordinal, "Categories that are no numbers", found=str(raw.dtype), expected="columns of numbers"
        )
    values = np.array(raw, dtype=np.float64)
    if values.size and math.isnan(values[-1]):
        values = values[:-1]
    whole = raw[: values.size]
    if not bool(np.isfinite(values).all()) or not bool((np.diff(values) > 0).all()):
        raise wrong(ordinal, "categories_", None, "increasing categories")
    if raw.dtype.kind in "iu" and bool((np.abs(values) > 2.0**53).any()):
        raise wrong(ordinal, "categories_", None, "categories that a double holds exactly")
    if not 1 <= len(whole) <= MAX_CATEGORIES:
        raise wrong(ordinal, "categories_", None, f"1 to {MAX_CATEGORIES} categories")
    values.flags.writeable = False
    return values


def left_categories(
    owner: Record, predictor: Record, nodes: npt.NDArray[np.void], categorical: int
) -> Mapping[int, tuple[int, ...]]:
    """For each categorical node the category numbers that go left.

    Args:
        owner: the model.
        predictor: one of its trees.
        nodes: the table of its nodes.
        categorical: how many columns are categorical; they come first.

    Raises:
        UnsupportedModelError: DP602 where nodes and columns disagree or a set is malformed.
    """
    names = nodes.dtype.names or ()
    if "is_categorical" not in names or "bitset_idx" not in names:
        if categorical:
            raise wrong(predictor, "nodes", predictor.get("nodes"), "nodes that say which are categorical")
        return {}
    inner = nodes["is_leaf"] == 0
    chosen = inner & (nodes["is_categorical"] != 0)
    if bool((chosen[inner] != (nodes["feature_idx"][inner] < categorical)).any()):
        raise wrong(
            owner, "is_categorical_", owner.get("is_categorical_"), "sets on the categorical columns only"
        )
    if not bool(chosen.any()):
        return {}
    table = array_of(predictor, "raw_left_cat_bitsets", predictor.get("raw_left_cat_bitsets"))
    if table.dtype != np.uint32 or table.ndim != 2 or table.shape[1] != _WORDS:
        raise wrong(
            predictor, "raw_left_cat_bitsets", predictor.get("raw_left_cat_bitsets"), "sets of 256 bits"
        )
    found: dict[int, tuple[int, ...]] = {}
    for node in np.flatnonzero(chosen).tolist():
        place = int(nodes["bitset_idx"][node])
        if place >= len(table):
            raise wrong(predictor, "bitset_idx", None, "the number of a set")
        words = [int(word) for word in table[place].tolist()]
        numbers = tuple(bit for bit in range(_WORDS * _WORD) if words[bit // _WORD] >> (bit % _WORD) & 1)
        found[node] = numbers  # may be empty: only missing values go left then
    return found
