# SPDX-License-Identifier: Apache-2.0
"""Encoders, bins and thresholds of scikit-learn over numeric columns: comparisons only, so exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..pickles.graph import Array, Record, Value, plain
from .attributes import array_of, boolean, integer, members, number, text, unsupported, wrong
from .dense_types import Binarize, Categories, Digitize, FloatArray
from .interface import Context, ReadTransform

__all__ = ["read_binarizer", "read_bins", "read_one_hot_encoder", "read_ordinal_encoder"]

MAX_CATEGORIES = 10_000  # output columns of an encoder; the gate bounds the work per row as well
_BINS_SINCE = (1, 3)  # before, KBinsDiscretizer shifted values by a tolerance


def _width(record: Record, columns: int) -> None:
    if integer(record, "n_features_in_", low=1) != columns:
        raise wrong(record, "n_features_in_", record.get("n_features_in_"), f"{columns} columns")


def _categories(record: Record, columns: int) -> list[FloatArray]:
    found = []
    for item in members(record, "categories_", record.get("categories_")):
        raw = (
            array_of(record, "categories_", item) if isinstance(item, Array) and not item.is_object else None
        )
        if raw is None or raw.dtype.kind not in "fiu" or raw.ndim != 1 or not raw.size:
            raise unsupported(record, "Only numeric categories are emitted", found="other categories")
        values = np.array(raw, dtype=np.float64)
        if raw.dtype.kind in "iu" and not bool((values.astype(raw.dtype) == raw).all()):
            raise unsupported(record, "Categories past 2^53 are not emitted", found="large integers")
        if bool(np.isinf(values).any()) or bool((np.diff(values[~np.isnan(values)]) <= 0).any()):
            raise wrong(
                record, "categories_", item, "numbers in ascending order, as scikit-learn searches them"
            )
        if bool(np.isnan(values[:-1]).any()):
            raise wrong(record, "categories_", item, "NaN as the last category only")
        found.append(values)
    if len(found) != columns or sum(map(len, found)) > MAX_CATEGORIES:
        raise wrong(record, "categories_", record.get("categories_"), f"categories of {columns} columns")
    return found


def _no_groups(record: Record) -> None:
    for name in ("min_frequency", "max_categories"):
        if record.get(name) is not None:
            raise unsupported(record, "Groups of infrequent categories are not emitted", found=name)


def _categories_step(
    categories: Sequence[FloatArray],
    *,
    strict: bool,
    kept: tuple[int, ...] | None,
    codes: FloatArray,
    unknown: float,
) -> Categories:
    column = np.repeat(np.arange(len(categories)), [len(values) for values in categories])
    return Categories(
        width=len(categories),
        column=column.astype(np.int64),
        values=np.concatenate(categories),
        strict=strict,
        kept=kept,
        codes=codes,
        unknown=unknown,
    )


def read_one_hot_encoder(record: Record, columns: int, context: Context) -> ReadTransform:
    """OneHotEncoder of numeric categories, with `drop`; a row that the original refuses is not certified.

    Raises:
        UnsupportedModelError: DP603 for categories that are no numbers and for groups of infrequent ones.
    """
    _width(record, columns)
    _no_groups(record)
    if not _makes_doubles(record.get("dtype")):  # what follows would compute in that type
        raise unsupported(record, "Columns of another type than float64 are not emitted", found="dtype")
    categories = _categories(record, columns)
    handling = text(record, "handle_unknown")
    if handling not in ("error", "ignore", "infrequent_if_exist", "warn"):
        raise wrong(record, "handle_unknown", handling, "error, ignore, infrequent_if_exist or warn")
    dropped = _dropped(record, [len(values) for values in categories])
    kept = tuple(place for place in range(sum(map(len, categories))) if place not in dropped)
    if not kept:
        raise unsupported(record, "The encoder keeps no column", found="every category dropped")
    step = _categories_step(categories, strict=handling == "error", kept=kept, codes=np.zeros(0), unknown=0.0)
    old = (
        record.get("sparse_output") is None
    )  # until 1.1; in 1.2 and 1.3 the old name is there too, not as a boolean
    sparse = boolean(record, "sparse" if old else "sparse_output", default=True)
    return ReadTransform(
        (step,), len(kept), allow_nan=True, family=record.name, removes_nan=True, sparse=sparse
    )


def _dropped(record: Record, sizes: Sequence[int]) -> frozenset[int]:
    """Places, among all categories, of those that have no column."""
    value = record.get("_drop_idx_after_grouping", record.get("drop_idx_"))
    if value is None:
        if record.get("drop") is not None:
            raise wrong(record, "drop_idx_", value, "the dropped categories")
        return frozenset()
    if isinstance(value, Array) and not value.is_object:
        chosen: list[object] = array_of(record, "drop_idx_", value).tolist()
    else:
        chosen = [plain(item) for item in members(record, "drop_idx_", value)]
    if len(chosen) != len(sizes):
        raise wrong(record, "drop_idx_", value, f"{len(sizes)} places")
    found, start = set(), 0
    for place, size in zip(chosen, sizes, strict=True):
        if place is not None:
            if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < size:
                raise wrong(record, "drop_idx_", value, "places of categories")
            found.add(start + place)
        start += size
    return frozenset(found)


def read_ordinal_encoder(record: Record, columns: int, context: Context) -> ReadTransform:
    """OrdinalEncoder of numeric categories to float64.

    Raises:
        UnsupportedModelError: DP603 for other categories, groups, or another output type.
    """
    _width(record, columns)
    _no_groups(record)
    categories = _categories(record, columns)
    handling = text(record, "handle_unknown")
    if handling not in ("error", "use_encoded_value"):
        raise wrong(record, "handle_unknown", handling, "error or use_encoded_value")
    if not _makes_doubles(record.get("dtype")):
        raise unsupported(record, "Codes of another type than float64 are not emitted", found="dtype")
    unknown = _code(record, "unknown_value") if handling == "use_encoded_value" else 0.0
    absent = _code(record, "encoded_missing_value", default=math.nan)
    codes = np.concatenate(
        [np.where(np.isnan(values), absent, np.arange(len(values))) for values in categories]
    )
    step = _categories_step(categories, strict=handling == "error", kept=None, codes=codes, unknown=unknown)
    clean = not math.isnan(unknown) and not bool(np.isnan(codes).any())
    return ReadTransform((step,), columns, allow_nan=True, family=record.name, removes_nan=clean)


def _code(record: Record, name: str, default: float | None = None) -> float:
    """A number that stands for a category; NaN is one."""
    value = plain(record.get(name, default))
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        raise wrong(record, name, value, "a finite number or NaN")
    return float(value)


def _makes_doubles(value: Value) -> bool:
    name = getattr(value, "path", None)
    return name in ("numpy.float64", "builtins.float")


def read_bins(record: Record, columns: int, context: Context) -> ReadTransform:
    """KBinsDiscretizer: a value's bin is the number of inner edges that it reaches.

    Raises:
        UnsupportedModelError: DP603 for releases that shifted values by a tolerance first.
    """
    _width(record, columns)
    if context.version(record) < _BINS_SINCE:
        raise unsupported(record, "Bins of this release are not emitted", found="a tolerance added to values")
    column: list[int] = []
    edges: list[float] = []
    bins: list[int] = []
    for place, item in enumerate(members(record, "bin_edges_", record.get("bin_edges_"))):
        raw = array_of(record, "bin_edges_", item)
        if raw.dtype != np.float64 or raw.ndim != 1 or raw.size < 2:
            raise wrong(record, "bin_edges_", item, "float64 edges")
        inner = [float(edge) for edge in raw[1:-1]]
        if not all(map(math.isfinite, inner)) or inner != sorted(inner):
            raise wrong(record, "bin_edges_", item, "ascending finite edges")
        column += [place] * len(inner)
        edges += inner
        bins.append(len(inner) + 1)
    if len(bins) != columns or not edges or len(edges) > MAX_CATEGORIES:
        raise wrong(record, "bin_edges_", record.get("bin_edges_"), f"edges of {columns} columns")
    dtype = record.get("dtype")
    if dtype is not None and not _makes_doubles(dtype):
        raise unsupported(record, "Bins of another type than float64 are not emitted", found="dtype")
    encoding = text(record, "encode")
    if encoding not in ("ordinal", "onehot", "onehot-dense"):
        raise wrong(record, "encode", encoding, "ordinal, onehot or onehot-dense")
    one_hot = encoding != "ordinal"
    step = Digitize(np.array(column, dtype=np.int64), np.array(edges), tuple(bins), one_hot)
    return ReadTransform(
        (step,),
        sum(bins) if one_hot else columns,
        allow_nan=False,
        family=record.name,
        sparse=encoding == "onehot",
    )


def read_binarizer(record: Record, columns: int, context: Context) -> ReadTransform:
    """Binarizer: 1 where a value exceeds the threshold."""
    _width(record, columns)
    threshold = number(record, "threshold")
    if not math.isfinite(threshold):
        raise wrong(record, "threshold", threshold, "a finite number")
    return ReadTransform((Binarize(threshold),), columns, allow_nan=False, family=record.name)
