# SPDX-License-Identifier: Apache-2.0
"""Transformers as arithmetic on single columns, as far as they are that; columns that are not become unknown.

An unknown column costs reach, never correctness: rows behind it are placed by chance and counted only if they arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..errors import ParityError
from ..pickles.graph import Array, DictNode, ListNode, Record, TupleNode, Value, plain
from .expected.dense import PROJECTIONS
from .expected.reading import integer
from .expected.selectors import SELECTORS, selected_columns
from .source import UNKNOWN, FloatArray, Preamble

__all__ = ["after", "embedded"]


def after(transformer: Record, preamble: Preamble) -> Preamble | None:
    """What the columns behind `transformer` are; None where even their number is unknown."""
    try:
        read = _TRANSFORMERS.get(transformer.name)
        return None if read is None else read(transformer, preamble)
    except (IndexError, ValueError, TypeError) as error:
        raise ParityError(
            "The original cannot be read for the proof",
            code="DP710",
            where=transformer.name,
            found=f"{type(error).__name__}: {error}"[:120],
            expected="the fitted attributes of the class",
            next_step="depickle inspect FILE",
        ) from error


def _vector(record: Record, name: str, preamble: Preamble) -> FloatArray:
    value = record.get(name)
    if not isinstance(value, Array):
        raise ValueError(f"{name} is no array")
    raw = [plain(item) for item in value.objects] if value.objects is not None else value.to_numpy()
    vector = np.asarray(raw, dtype=np.float64).reshape(-1)
    if vector.shape != (preamble.columns,):
        raise ValueError(f"{name} has another length than the columns")
    return vector


def _flag(record: Record, name: str) -> bool:
    return bool(plain(record.get(name)))


def _standard(record: Record, preamble: Preamble) -> Preamble:
    if _flag(record, "with_mean"):
        preamble = preamble.then("subtract", _vector(record, "mean_", preamble))
    if _flag(record, "with_std"):
        preamble = preamble.then("divide", _vector(record, "scale_", preamble))
    return preamble


def _robust(record: Record, preamble: Preamble) -> Preamble:
    if _flag(record, "with_centering"):
        preamble = preamble.then("subtract", _vector(record, "center_", preamble))
    if _flag(record, "with_scaling"):
        preamble = preamble.then("divide", _vector(record, "scale_", preamble))
    return preamble


def _min_max(record: Record, preamble: Preamble) -> Preamble:
    preamble = preamble.then("multiply", _vector(record, "scale_", preamble))
    preamble = preamble.then("add", _vector(record, "min_", preamble))
    bounds = record.get("feature_range")
    if _flag(record, "clip") and isinstance(bounds, TupleNode):
        low, high = (float(plain(item)) for item in bounds)  # type: ignore[arg-type]  # a ValueError is caught
        preamble = preamble.then("at least", low).then("at most", high)
    return preamble


def _max_abs(record: Record, preamble: Preamble) -> Preamble:
    preamble = preamble.then("divide", _vector(record, "scale_", preamble))
    return preamble.then("at least", -1.0).then("at most", 1.0) if _flag(record, "clip") else preamble


def _imputer(record: Record, preamble: Preamble) -> Preamble:
    """A value that is present passes unchanged; a column without any is dropped; indicators, 0 for it, come last."""
    statistics = _vector(record, "statistics_", preamble)
    kept = preamble.select(np.flatnonzero(~np.isnan(statistics)))
    indicator = record.get("indicator_")
    if not isinstance(indicator, Record):
        return kept
    features = indicator.get("features_")
    if not isinstance(features, Array):
        raise ValueError("features_ is no array")
    return Preamble.beside([kept, preamble.select(features.to_numpy()).then("multiply", 0.0)])


def _selected(record: Record, preamble: Preamble) -> Preamble:
    return preamble.select(selected_columns(record, preamble.columns))


def _pipeline(record: Record, preamble: Preamble) -> Preamble | None:
    found: Preamble | None = preamble
    for step in _parts(record, "steps"):
        if found is None:
            return None
        found = after(step[-1], found) if isinstance(step[-1], Record) else found
    return found


def _parts(record: Record, name: str) -> list[TupleNode]:
    value = record.get(name)
    if not isinstance(value, ListNode):
        raise ValueError(f"{name} is no list")
    return [item for item in value if isinstance(item, TupleNode) and len(item) >= 2]


def _union(record: Record, preamble: Preamble) -> Preamble | None:
    return _beside([(item[1], preamble) for item in _parts(record, "transformer_list")])


def _columns(record: Record, preamble: Preamble) -> Preamble | None:
    branches = _branches(record, preamble)
    return None if branches is None else _beside(branches)


def _branches(record: Record, preamble: Preamble) -> list[tuple[Value, Preamble]] | None:
    """The parts of a column transformer, each with its columns."""
    resolved = record.get("_transformer_to_input_indices")
    if not isinstance(resolved, DictNode):
        return None
    branches: list[tuple[Value, Preamble]] = []
    for item in _parts(record, "transformers_"):
        value = resolved.get(plain(item[0]))
        if isinstance(value, Array):
            chosen = np.asarray(value.to_numpy(), dtype=np.int64)
        elif isinstance(value, ListNode):
            chosen = np.array([plain(place) for place in value], dtype=np.int64)
        else:
            return None
        if chosen.size:
            branches.append((item[1], preamble.select(chosen)))
    return branches


def _beside(branches: list[tuple[Value, Preamble]]) -> Preamble | None:
    parts = []
    for transformer, columns in branches:
        if plain(transformer) == "drop":
            continue
        found = after(transformer, columns) if isinstance(transformer, Record) else columns
        if found is None:
            return None
        parts.append(found)
    return Preamble.beside(parts) if parts else None


def _embedding(record: Record, preamble: Preamble) -> Preamble | None:
    """A column for each leaf, which is no function of one input column."""
    encoder = record.get("one_hot_encoder_")
    tables = encoder.get("categories_") if isinstance(encoder, Record) else None
    if not isinstance(tables, ListNode):
        return None
    return Preamble.unknown(sum(len(table.to_numpy()) for table in tables if isinstance(table, Array)))


def embedded(transformer: Value, preamble: Preamble) -> Iterator[tuple[Record, Preamble]]:
    """The transformers made of trees in `transformer`, however deep, each with the columns in front of it."""
    if not isinstance(transformer, Record):
        return
    if transformer.name == "RandomTreesEmbedding":
        yield transformer, preamble
    elif transformer.name == "Pipeline":
        found: Preamble | None = preamble
        for step in _parts(transformer, "steps"):
            if found is not None:
                yield from embedded(step[-1], found)
            if found is not None and isinstance(step[-1], Record):
                found = after(step[-1], found)
    elif transformer.name in ("FeatureUnion", "ColumnTransformer"):
        branches = (
            [(item[1], preamble) for item in _parts(transformer, "transformer_list")]
            if transformer.name == "FeatureUnion"
            else _branches(transformer, preamble)
        )
        for part, columns in branches or ():
            yield from embedded(part, columns)


def _polynomial(record: Record, preamble: Preamble) -> Preamble:
    """The columns themselves are terms of degree one; the other terms mix them."""
    total = integer(record, "n_output_features_")
    bias = 1 if _flag(record, "include_bias") else 0
    first = plain(record.get("_min_degree"))
    own = preamble.columns if isinstance(first, int) and first <= 1 else 0
    parts = [Preamble.unknown(bias), preamble.select(np.arange(own)), Preamble.unknown(total - bias - own)]
    return Preamble.beside(parts)


def _function(record: Record, preamble: Preamble) -> Preamble:
    if record.get("func") is None:
        return preamble
    return Preamble(np.full(preamble.columns, UNKNOWN))


def _frozen(record: Record, preamble: Preamble) -> Preamble | None:
    inner = record.get("estimator")
    return after(inner, preamble) if isinstance(inner, Record) else None


def _projected(record: Record, preamble: Preamble) -> Preamble:
    """A column for each row of ``components_``; what stands beside them in a union keeps its place."""
    value = record.get("components_")
    if not isinstance(value, Array) or len(value.shape) != 2:
        raise ValueError("components_ is no matrix")
    return Preamble.unknown(value.shape[0])


def _mixed(record: Record, preamble: Preamble) -> Preamble:
    return Preamble.unknown(preamble.columns)


_TRANSFORMERS: dict[str, Callable[[Record, Preamble], Preamble | None]] = {
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "SimpleImputer": _imputer,
    **dict.fromkeys((name.rpartition(".")[2] for name in SELECTORS), _selected),
    "PolynomialFeatures": _polynomial,
    "RandomTreesEmbedding": _embedding,
    "FunctionTransformer": _function,
    "Normalizer": _mixed,
    "PowerTransformer": _mixed,
    **dict.fromkeys((name.rpartition(".")[2] for name in PROJECTIONS), _projected),
    "ColumnTransformer": _columns,
    "FeatureUnion": _union,
    "Pipeline": _pipeline,
    "FrozenEstimator": _frozen,
}
