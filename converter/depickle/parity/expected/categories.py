# SPDX-License-Identifier: Apache-2.0
"""Categorical columns of HistGradientBoosting: its OrdinalEncoder and the bit sets of its nodes.

By the source since 1.4: gradient_boosting.py ``_preprocess_X``, _predictor.pyx ``in_bitset_2d_memoryview``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, GlobalRef, Record, TupleNode, Value, plain
from ..walk import Expected
from .inexact import Joined, doubtful, error_of
from .not_derived import NotDerivedError
from .reading import array, integer, items, record, unreadable
from .vocabulary import apply, columns, constant, scalar

__all__ = ["encoded_rows", "encoder_categories", "sets_of"]


def encoded_rows(owner: Record, rows: Expected) -> tuple[Expected, int]:
    """What the trees see, and how many of its first columns hold numbers of categories."""
    if owner.get("is_categorical_") is None:
        if isinstance(owner.get("_preprocessor"), Record):
            raise unreadable(owner, "_preprocessor", "no encoder without categorical columns")
        return rows, 0
    encoder, chosen, rest = _parts(owner)
    found = [_numbers(encoder, place, rows, column) for place, column in enumerate(chosen)]
    if len(items(encoder, "categories_")) != len(found) or not found:
        raise unreadable(encoder, "categories_", "a list for each categorical column")
    sets = len(found)
    if error_of(rows) is not None and any(doubtful(rows, column) for column in chosen):
        raise NotDerivedError("categories of a column that is not exact")
    if not rest:
        return (found[0] if sets == 1 else apply("Concat", *found, axis=1)), sets
    parts = (*found, columns(rows, rest))
    joined = Joined("Concat", parts, {"axis": 1}, widths=(*[1] * sets, len(rest)))
    passed = error_of(parts[-1])
    if passed is None:
        return joined, sets
    nothing = apply("Mul", columns(joined, range(sets)), scalar(0.0))
    return replace(joined, error=apply("Concat", nothing, passed, axis=1)), sets


def encoder_categories(owner: Record) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Each categorical column of the input, with the value that each number stands for."""
    encoder, chosen, _ = _parts(owner)
    return [(column, _known(encoder, place)) for place, column in enumerate(chosen)]


def _parts(owner: Record) -> tuple[Record, list[int], list[int]]:
    """The encoder, the columns that it sees, and the others."""
    raw = array(owner, "is_categorical_")
    mask = np.asarray(raw, dtype=np.bool_)
    if raw.dtype != np.bool_ or mask.shape != (integer(owner, "n_features_in_"),):
        raise unreadable(owner, "is_categorical_", "a boolean for each column")
    encoder, rest = _split(record(owner, "_preprocessor"), mask)
    return encoder, np.flatnonzero(mask).tolist(), rest


def _split(transformer: Record, mask: npt.NDArray[np.bool_]) -> tuple[Record, list[int]]:
    first, second = _entry(transformer, 0), _entry(transformer, 1)
    if len(items(transformer, "transformers")) != 2 or plain(first[0]) != "encoder":
        raise unreadable(transformer, "transformers_", "an encoder and a check")
    for entry, wanted in ((first, mask), (second, np.logical_not(mask))):
        chosen = entry[2]
        if not isinstance(chosen, Array) or not np.array_equal(chosen.to_numpy(), wanted):
            raise unreadable(transformer, "transformers_", "is_categorical_ and its opposite")
    encoder, check = first[1], second[1]
    if not isinstance(encoder, Record) or encoder.name != "OrdinalEncoder" or not _passes(check):
        raise unreadable(transformer, "transformers_", "an OrdinalEncoder and a check")
    for name in ("unknown_value", "encoded_missing_value"):
        value = plain(encoder.get(name))
        if not isinstance(value, float) or not math.isnan(value):
            raise unreadable(encoder, name, "NaN")
    if plain(encoder.get("handle_unknown")) != "use_encoded_value" or any(
        encoder.get(name) is not None for name in ("min_frequency", "max_categories")
    ):
        raise unreadable(encoder, "handle_unknown", "every category kept, and NaN for the others")
    return encoder, np.flatnonzero(np.logical_not(mask)).tolist()


def _entry(transformer: Record, place: int) -> TupleNode:
    entries = items(transformer, "transformers_")
    entry = entries[place] if place < len(entries) else None
    if not isinstance(entry, TupleNode) or len(entry) != 3:
        raise unreadable(transformer, "transformers_", "name, transformer, columns")
    return entry


def _passes(step: Value) -> bool:
    """Whether numerical columns come out as they went in."""
    if not isinstance(step, Record):
        return plain(step) == "passthrough"
    inner = step.get("func")
    if step.name != "FunctionTransformer" or inner is None:
        return step.name == "FunctionTransformer"
    wrapped = inner.args[0] if isinstance(inner, Record) and inner.name == "partial" and inner.args else None
    return isinstance(wrapped, GlobalRef) and wrapped.name == "check_array"


def _known(encoder: Record, place: int) -> npt.NDArray[np.float64]:
    """The categories of a column but for the missing value, which comes last."""
    entries = items(encoder, "categories_")
    value = entries[place] if place < len(entries) else None
    if not isinstance(value, Array) or value.is_object:
        raise unreadable(encoder, "categories_", "arrays of numbers")
    known = np.asarray(value.to_numpy(), dtype=np.float64)
    known = known[~np.isnan(known)]
    if not known.size or bool((known[1:] <= known[:-1]).any()):
        raise unreadable(encoder, "categories_", "increasing numbers")
    return known


def _numbers(encoder: Record, place: int, rows: Expected, column: int) -> Expected:
    """``searchsorted`` of a known category; NaN for any other value."""
    known = _known(encoder, place)
    hit = apply("Equal", columns(rows, [column]), constant(known))
    number = apply("Where", hit, constant(np.arange(known.size)), scalar(-1.0))
    number = apply("ReduceMax", number, constant([1], np.int64), keepdims=1)
    return apply("Where", apply("Equal", number, scalar(-1.0)), scalar(math.nan), number)


def sets_of(predictor: Record, nodes: npt.NDArray[np.void], sets: int) -> dict[int, frozenset[float]]:
    """The numbers that go left at each categorical node."""
    if "is_categorical" not in (nodes.dtype.names or ()):
        return {}
    places = np.flatnonzero((nodes["is_leaf"] == 0) & (nodes["is_categorical"] != 0))
    if not places.size:
        return {}
    bits = array(predictor, "raw_left_cat_bitsets")
    if bits.dtype != np.dtype("<u4") or bits.ndim != 2:
        raise unreadable(predictor, "raw_left_cat_bitsets", "words of 32 bits")
    spread = np.unpackbits(np.ascontiguousarray(bits).view(np.uint8), axis=1, bitorder="little")
    found = {}
    for node in places.tolist():
        row = int(nodes["bitset_idx"][node])
        if row >= len(spread) or int(nodes["feature_idx"][node]) >= sets:
            raise unreadable(predictor, "nodes", "sets for categorical columns")
        found[node] = frozenset(float(bit) for bit in np.flatnonzero(spread[row]))
    return found
