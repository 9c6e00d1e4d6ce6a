# SPDX-License-Identifier: Apache-2.0
"""Column transformers, unions, inner pipelines, polynomials and functions of one value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement

from ...pickles.graph import Array, DictNode, GlobalRef, ListNode, Record, TupleNode, Value, plain
from ..walk import Expected
from .derivation import Derivation, NotDerivedError, Transformer, steps
from .encoders import function_of_one_value
from .inexact import Joined
from .reading import flag, integer, items, unreadable
from .vocabulary import apply, columns, scalar

__all__ = ["UNIONS", "numpy_name"]

_EXACT_FUNCTIONS = {
    **dict.fromkeys(("abs", "absolute", "fabs"), "Abs"),
    "negative": "Neg",
    "square": "Square",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "rint": "Round",
}
"""Functions that IEEE arithmetic defines to the last bit, and that keep finite values finite or refuse them."""


def _pipeline(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    return derive.transformed(steps(owner), rows, width)


def _column_transformer(
    owner: Record, rows: Expected, width: int, derive: Derivation
) -> tuple[Expected, int]:
    """``transform`` (compose/_column_transformer.py): each part on the columns that fit resolved for it."""
    if owner.get("transformer_weights") is not None or flag(owner, "sparse_output_", default=False):
        raise NotDerivedError("weights or sparse output")
    resolved = owner.get("_transformer_to_input_indices")
    if not isinstance(resolved, DictNode) or integer(owner, "n_features_in_") != width:
        raise unreadable(owner, "_transformer_to_input_indices", "columns by transformer")
    branches: list[tuple[list[int], Value]] = []
    for item in items(owner, "transformers_"):
        if not isinstance(item, TupleNode) or len(item) != 3:
            raise unreadable(owner, "transformers_", "names, transformers and columns")
        chosen = _numbers(owner, resolved.get(plain(item[0])), width)
        if chosen and plain(item[1]) != "drop":
            branches.append((chosen, item[1]))
    return _side_by_side(owner, branches, rows, derive)


def _feature_union(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    if owner.get("transformer_weights") is not None:
        raise NotDerivedError("weights")
    branches: list[tuple[list[int], Value]] = []
    for item in items(owner, "transformer_list"):
        if not isinstance(item, TupleNode) or len(item) != 2:
            raise unreadable(owner, "transformer_list", "names and transformers")
        if plain(item[1]) != "drop":
            branches.append((list(range(width)), item[1]))
    return _side_by_side(owner, branches, rows, derive)


def _side_by_side(
    owner: Record, branches: Sequence[tuple[list[int], Value]], rows: Expected, derive: Derivation
) -> tuple[Expected, int]:
    parts: list[Expected] = []
    widths: list[int] = []
    for chosen, part in branches:
        value, width = columns(rows, chosen), len(chosen)
        if isinstance(part, Record):
            value, width = derive.beside().transformed([part], value, width)
        elif plain(part) != "passthrough":
            raise unreadable(owner, "transformers", "a transformer, 'passthrough' or 'drop'")
        parts.append(value)
        widths.append(width)
    if not parts:
        raise unreadable(owner, "transformers", "at least one column")
    return _joined(parts, widths), sum(widths)


def _joined(parts: Sequence[Expected], widths: Sequence[int]) -> Expected:
    if len(parts) == 1:
        return parts[0]
    return Joined("Concat", tuple(parts), {"axis": 1}, widths=tuple(widths))


def _numbers(owner: Record, value: Value, width: int) -> list[int]:
    found: list[object]
    if isinstance(value, Array) and not value.is_object:
        found = value.to_numpy().reshape(-1).tolist()
    elif isinstance(value, ListNode):
        found = [plain(item) for item in value]
    else:
        raise unreadable(owner, "_transformer_to_input_indices", "column numbers")
    chosen = [item for item in found if isinstance(item, int) and not isinstance(item, bool)]
    if len(chosen) != len(found) or any(not 0 <= place < width for place in chosen):
        raise unreadable(owner, "_transformer_to_input_indices", "columns of the input")
    return chosen


def _polynomial(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    """``transform`` (preprocessing/_polynomial.py): a term is its first column times the term of the others."""
    choose = combinations if flag(owner, "interaction_only") else combinations_with_replacement
    low, high = integer(owner, "_min_degree"), integer(owner, "_max_degree")
    parts: list[Expected] = []
    widths: list[int] = []
    if flag(owner, "include_bias"):
        nothing = apply("Mul", columns(rows, [0]), scalar(0.0))
        parts.append(apply("Add", nothing, scalar(1.0)))
        widths.append(1)
    for degree in range(max(1, low), high + 1):
        terms = list(choose(range(width), degree))
        if not terms:
            continue
        product = columns(rows, [term[-1] for term in terms])
        for place in reversed(range(degree - 1)):
            product = apply("Mul", columns(rows, [term[place] for term in terms]), product)
        parts.append(product)
        widths.append(len(terms))
    if sum(widths) != integer(owner, "n_output_features_") or not parts:
        raise unreadable(owner, "n_output_features_", f"{sum(widths)} terms")
    return _joined(parts, widths), sum(widths)


def _function(owner: Record, rows: Expected, width: int, derive: Derivation) -> tuple[Expected, int]:
    arguments = owner.get("kw_args")
    if arguments is not None and not (isinstance(arguments, DictNode) and len(arguments) == 0):
        raise NotDerivedError("a function with arguments")
    function = owner.get("func")
    if function is None:
        return rows, width
    name = numpy_name(function) or ""
    operator = _EXACT_FUNCTIONS.get(name)
    if operator is None:
        return function_of_one_value(name, rows, compared=derive.compared), width
    if operator == "Sign":
        return apply("Where", apply("IsNaN", rows), rows, apply("Sign", rows)), width
    return (apply("Mul", rows, rows) if operator == "Square" else apply(operator, rows)), width


def numpy_name(value: Value) -> str | None:
    """The name of a function of numpy, however its release wrote it; None for anything else."""
    if isinstance(value, GlobalRef):
        module, name = value.module, value.name
    elif isinstance(value, Record) and value.name == "_ufunc_reconstruct" and len(value.args) == 2:
        module, name = (part if isinstance(part, str) else "" for part in value.args)
    else:
        return None
    return name if module.partition(".")[0] == "numpy" else None


UNIONS: dict[str, Transformer] = {
    "sklearn.pipeline.Pipeline": _pipeline,
    "sklearn.pipeline.FeatureUnion": _feature_union,
    "sklearn.compose._column_transformer.ColumnTransformer": _column_transformer,
    "sklearn.preprocessing._polynomial.PolynomialFeatures": _polynomial,
    "sklearn.preprocessing._function_transformer.FunctionTransformer": _function,
}
