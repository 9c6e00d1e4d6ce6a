# SPDX-License-Identifier: Apache-2.0
"""Transformers made of transformers, products of columns, and functions of one value."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations, combinations_with_replacement
from typing import Literal

from ..pickles.graph import Array, DictNode, GlobalRef, Record, TupleNode, Value, plain
from .attributes import array_of, boolean, integer, members, unsupported, wrong
from .dense_types import Function, FunctionName
from .interface import Context, ReadTransform
from .types import Apply, Branches, Products, Transform

__all__ = [
    "function_name",
    "read_column_transformer",
    "read_feature_union",
    "read_function_transformer",
    "read_polynomial",
    "read_transformer_pipeline",
]

MAX_TERMS = 10_000  # columns that PolynomialFeatures may make
MAX_DEGREE = 12

# Exact, and finite for finite input. The others are not finite everywhere, and most of them not exact.
_FUNCTIONS: dict[str, Literal["Abs", "Neg", "Square", "Sign", "Floor", "Ceil", "Round"]] = {
    "abs": "Abs",
    "absolute": "Abs",
    "fabs": "Abs",
    "negative": "Neg",
    "square": "Square",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "rint": "Round",
}
_CONDITIONAL: dict[str, FunctionName] = {
    "sqrt": "sqrt",
    "reciprocal": "reciprocal",
    "exp": "exp",
    "expm1": "expm1",
    "log": "log",
    "log1p": "log1p",
    "log2": "log2",
    "log10": "log10",
    "tanh": "tanh",
}


def read_transformer_pipeline(record: Record, columns: int, context: Context) -> ReadTransform:
    """A pipeline whose last step transforms."""
    width = columns
    parts = []
    for item in members(record, "steps", record.get("steps")):
        if not isinstance(item, TupleNode) or len(item) != 2:
            raise wrong(record, "steps", item, "pairs of a name and a transformer")
        step = item[1]
        if isinstance(step, Record):
            part = context.transform(step, width, context)
            parts.append(part)
            width = part.columns
        elif plain(step) not in (None, "passthrough"):
            raise wrong(record, "steps", step, "a transformer or 'passthrough'")
    allow_nan = True
    for part in reversed(parts):
        allow_nan = part.allow_nan and (part.removes_nan or allow_nan)
    return ReadTransform(
        tuple(step for part in parts for step in part.steps),
        width,
        allow_nan=allow_nan,
        family=f"Pipeline({', '.join(part.family for part in parts)})",
        removes_nan=any(part.removes_nan for part in parts),
        sparse=_sparse_chain(record, parts),
    )


def _sparse_chain(record: Record, parts: list[ReadTransform]) -> bool:
    if any(part.sparse for part in parts[:-1]):
        raise unsupported(
            record,
            "A transformer behind sparse output computes differently on it",
            found="sparse output",
            expected="sparse_output=False",
        )
    return bool(parts) and parts[-1].sparse


def read_column_transformer(record: Record, columns: int, context: Context) -> ReadTransform:
    """ColumnTransformer with dense output; columns as fit resolved them.

    Raises:
        UnsupportedModelError: DP603 for weights, sparse output, or columns that the fit did not resolve.
    """
    _plain_output(record)
    if boolean(record, "sparse_output_", default=False):
        raise unsupported(
            record, "Sparse output of a ColumnTransformer", found="sparse_output_", expected="dense"
        )
    if integer(record, "n_features_in_", low=1) != columns:
        raise wrong(record, "n_features_in_", record.get("n_features_in_"), f"{columns} columns")
    resolved = record.get("_transformer_to_input_indices")
    if not isinstance(resolved, DictNode):
        raise wrong(record, "_transformer_to_input_indices", resolved, "columns by transformer")
    branches: list[tuple[tuple[int, ...], ReadTransform | None]] = []
    for item in members(record, "transformers_", record.get("transformers_")):
        if not isinstance(item, TupleNode) or len(item) != 3:
            raise wrong(record, "transformers_", item, "names, transformers and columns")
        chosen = _columns(record, resolved.get(plain(item[0])), columns)
        part = item[1]
        if not chosen or plain(part) == "drop":
            continue
        if isinstance(part, Record):
            branches.append((chosen, context.transform(part, len(chosen), context.beside())))
        elif plain(part) == "passthrough":
            branches.append((chosen, None))
        else:
            raise wrong(record, "transformers_", part, "a transformer, 'passthrough' or 'drop'")
    return replace(_joined(record, branches), sparse=False)  # sparse_output_ says that it was made dense


def read_feature_union(record: Record, columns: int, context: Context) -> ReadTransform:
    """FeatureUnion without weights."""
    _plain_output(record)
    everything = tuple(range(columns))
    branches: list[tuple[tuple[int, ...], ReadTransform | None]] = []
    for item in members(record, "transformer_list", record.get("transformer_list")):
        if not isinstance(item, TupleNode) or len(item) != 2:
            raise wrong(record, "transformer_list", item, "pairs of a name and a transformer")
        part = item[1]
        if isinstance(part, Record):
            branches.append((everything, context.transform(part, columns, context.beside())))
        elif plain(part) == "passthrough":
            branches.append((everything, None))
        elif plain(part) != "drop":
            raise wrong(record, "transformer_list", part, "a transformer, 'passthrough' or 'drop'")
    return _joined(record, branches)


def _plain_output(record: Record) -> None:
    if record.get("transformer_weights") is not None:
        raise unsupported(record, "Weights of transformers are not emitted", found="transformer_weights")


def _columns(record: Record, value: Value, columns: int) -> tuple[int, ...]:
    name = "_transformer_to_input_indices"
    if isinstance(value, Array) and not value.is_object:
        raw: list[Value] = array_of(record, name, value).reshape(-1).tolist()
    else:
        raw = [plain(item) for item in members(record, name, value)]
    chosen = []
    for item in raw:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < columns:
            raise wrong(record, name, value, "columns of the input")
        chosen.append(item)
    return tuple(chosen)


def _joined(record: Record, branches: list[tuple[tuple[int, ...], ReadTransform | None]]) -> ReadTransform:
    if not branches:
        raise unsupported(record, "No column is left", found="every transformer dropped")
    parts = [part for _, part in branches if part is not None]
    steps: Transform = Branches(
        tuple((chosen, part.steps if part is not None else ()) for chosen, part in branches)
    )
    return ReadTransform(
        (steps,),
        sum(part.columns if part is not None else len(chosen) for chosen, part in branches),
        allow_nan=all(part.allow_nan for part in parts),
        family=f"{record.name}({', '.join(dict.fromkeys(part.family for part in parts))})",
        removes_nan=all(part is not None and part.removes_nan for _, part in branches),
        sparse=any(part.sparse for part in parts),
    )


def read_polynomial(record: Record, columns: int, context: Context) -> ReadTransform:
    """PolynomialFeatures: each term is a column times the term of the degree below.

    Raises:
        UnsupportedModelError: DP603 past `MAX_TERMS` or `MAX_DEGREE`.
    """
    if integer(record, "n_features_in_", low=1) != columns:
        raise wrong(record, "n_features_in_", record.get("n_features_in_"), f"{columns} columns")
    low, high = integer(record, "_min_degree"), integer(record, "_max_degree")
    count = integer(record, "n_output_features_", low=1)
    if high > MAX_DEGREE or count > MAX_TERMS:
        raise unsupported(record, "The polynomial is too large", found=f"{count} terms of degree {high}")
    choose = combinations if boolean(record, "interaction_only") else combinations_with_replacement
    powers = range(max(1, low), high + 1)
    terms = tuple(chain.from_iterable(choose(range(columns), power) for power in powers))
    if boolean(record, "include_bias"):
        terms = ((), *terms)
    if len(terms) != count:
        raise wrong(record, "n_output_features_", count, f"{len(terms)} terms")
    return ReadTransform((Products(terms),), count, allow_nan=False, family=record.name)


def read_function_transformer(record: Record, columns: int, context: Context) -> ReadTransform:
    """FunctionTransformer of nothing, or of a numpy function of each value.

    exp, log and kin differ between libraries in the last bit: only models that bound their answers may follow them.

    Raises:
        UnsupportedModelError: DP603 for other functions and for arguments.
    """
    function = record.get("func")
    if record.get("kw_args") is not None and not _empty(record.get("kw_args")):
        raise unsupported(record, "Arguments of a function are not emitted", found="kw_args")
    if function is None:
        return ReadTransform((), columns, allow_nan=not _validates(record), family=record.name)
    name = function_name(function)
    step: Transform
    if name in _FUNCTIONS:
        step = Apply(_FUNCTIONS[name])
    elif name in _CONDITIONAL:
        step = Function(_CONDITIONAL[name])
    else:
        known = ", ".join([*_FUNCTIONS, *_CONDITIONAL])
        raise unsupported(record, "This function is not emitted", found=name or "?", expected=known)
    return ReadTransform((step,), columns, allow_nan=not _validates(record), family=record.name)


def _validates(record: Record) -> bool:
    return boolean(record, "validate", default=False)


def _empty(value: Value) -> bool:
    return isinstance(value, DictNode) and len(value) == 0


def function_name(value: Value) -> str | None:
    """The name of a numpy function, as a global or as numpy's own reconstruction of a ufunc."""
    if isinstance(value, GlobalRef):
        return value.name if value.module.partition(".")[0] == "numpy" else value.path
    if isinstance(value, Record) and value.name == "_ufunc_reconstruct" and len(value.args) == 2:
        module, name = value.args
        if isinstance(module, str) and module.partition(".")[0] == "numpy" and isinstance(name, str):
            return name
    return None
