# SPDX-License-Identifier: Apache-2.0
"""`read_model`: an inert record becomes a `TypedModel`, or is refused with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np

from ..errors import UnsupportedModelError
from ..pickles.graph import Array, Record, TupleNode, Value, plain
from .attributes import describe, members, unsupported, wrong
from .certainty import ends_inexact, is_conditional, meets_inexact, rounds, takes_inexact
from .dense_types import (
    LARGEST_POWER,
    Affine,
    Binarize,
    Categories,
    Digitize,
    Function,
    Network,
    Normalize,
    Power,
)
from .forests import FLOAT32_MAX
from .interface import MAX_NESTING, Context, ReadPredictor, ReadTransform
from .registry import PREDICTORS, TRANSFORMS
from .types import (
    Apply,
    Branches,
    Chain,
    Clip,
    Divide,
    Encode,
    Forest,
    Impute,
    InputFacts,
    Leaves,
    Linear,
    Multiply,
    Products,
    Select,
    Shift,
    Subtract,
    Transform,
    TypedModel,
)

__all__ = ["read_model"]


def read_model(estimator: Record, *, writer: Mapping[str, str]) -> TypedModel:
    """The typed model of a fitted estimator or pipeline, read from the inert graph alone.

    Args:
        estimator: record of the estimator, as `depickle.pickles` yields it.
        writer: library name to version, as read out of the same file.

    Returns:
        What the model computes, checked.

    Raises:
        UnsupportedModelError: DP600 for a class without a reader, DP602 to DP612 for what a reader refuses.
    """
    context = Context(
        writer=writer, depth=0, columns=None, predictor=_read_predictor, transform=_read_transform
    )
    try:
        found = _read_predictor(estimator, context)
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise UnsupportedModelError(
            "The model is not laid out as its class documents",
            code="DP608",
            where=describe(estimator),
            found=f"{type(error).__name__}: {error}"[:200],
            expected="the state of a fitted estimator",
            next_step="The file is damaged or written by an unknown version; take it from its backup",
        ) from error
    return TypedModel(
        task=found.task,
        classes=found.classes,
        n_features=found.n_features,
        feature_names=_feature_names(estimator, found.n_features),
        facts=InputFacts(
            dtype="float64",
            allow_nan=found.allow_nan,
            allow_infinite=found.allow_infinite,
            max_abs=found.max_abs,
        ),
        writer=dict(writer),
        family=found.family,
        ceiling=found.ceiling,
        reason=found.reason,
        root=found.root,
    )


def _read_predictor(record: Record, context: Context) -> ReadPredictor:
    if context.depth > MAX_NESTING:
        raise unsupported(record, "Compositions are nested too deeply", found=f"more than {MAX_NESTING}")
    if record.cls == "sklearn.pipeline.Pipeline":
        return _read_pipeline(record, context)
    reader = PREDICTORS.get(record.cls)
    if reader is None:
        raise UnsupportedModelError(
            "There is no exact conversion for this class",
            code="DP600",
            where=record.name,
            found=record.cls,
            expected="a class of docs/models.md",
            next_step="depickle migrate --accept sampled, or refit with a supported class",
        )
    return reader(record, replace(context, depth=context.depth + 1))


def _read_transform(record: Record, columns: int, context: Context) -> ReadTransform:
    if context.depth > MAX_NESTING:
        raise unsupported(record, "Compositions are nested too deeply", found=f"more than {MAX_NESTING}")
    reader = TRANSFORMS.get(record.cls)
    if reader is None:
        raise UnsupportedModelError(
            "There is no exact conversion for this transformer",
            code="DP609",
            where=record.name,
            found=record.cls,
            expected="a transformer of docs/models.md",
            next_step="depickle migrate --accept sampled, or refit with a supported transformer",
        )
    if context.shared and plain(record.get("copy", True)) is not True:
        raise unsupported(
            record,
            "The step overwrites its input, which other parts of the model read after it",
            found="copy=False",
            expected="copy=True inside a composition",
        )
    return reader(record, columns, replace(context, depth=context.depth + 1))


def _read_pipeline(record: Record, context: Context) -> ReadPredictor:
    inner = replace(context, depth=context.depth + 1)
    parts: list[Record] = []
    for item in members(record, "steps", record.get("steps")):
        if not isinstance(item, TupleNode) or len(item) != 2:
            raise wrong(record, "steps", item, "pairs of a name and an estimator")
        step = item[1]
        if isinstance(step, Record):
            parts.append(step)
        elif plain(step) not in (None, "passthrough"):
            raise wrong(record, "steps", step, "an estimator or 'passthrough'")
    if not parts:
        raise wrong(record, "steps", record.get("steps"), "at least one estimator")
    *before, last = parts
    if not before:
        found = _read_predictor(last, inner)
        return replace(found, family=f"Pipeline({found.family})")
    first_width = _input_columns(before[0])
    width = first_width
    transforms: list[ReadTransform] = []
    for part in before:
        step_read = _read_transform(part, width, inner)
        transforms.append(step_read)
        width = step_read.columns
    found = _read_predictor(last, replace(inner, columns=width))
    if found.n_features != width:
        raise wrong(last, "n_features_in_", found.n_features, f"the {width} columns that reach it")
    return _chained(record, transforms, found, first_width)


def _chained(
    record: Record, transforms: Sequence[ReadTransform], found: ReadPredictor, columns: int
) -> ReadPredictor:
    allow_nan = found.allow_nan
    for step in reversed(transforms):
        allow_nan = step.allow_nan and (step.removes_nan or allow_nan)
    steps = tuple(step for part in transforms for step in part.steps)
    found = _conditioned(record, transforms, steps, found)
    bounds = (_bound(record, steps, found.max_abs), _room(record, steps, len(transforms[-1].steps)))
    return replace(
        found,
        n_features=columns,
        root=Chain(steps, found.root),
        allow_nan=allow_nan,
        allow_infinite=False,  # every transformer of scikit-learn here refuses infinity
        max_abs=min((bound for bound in bounds if bound is not None), default=None),
        family=f"Pipeline({', '.join([*(part.family for part in transforms), found.family])})",
    )


_DENSE_ALIKE = (Linear, Network, Forest)
"""Predictors that answer the same for a sparse matrix as for the dense one; XGBoost takes its zeros for missing."""


def _conditioned(
    record: Record, transforms: Sequence[ReadTransform], steps: tuple[Transform, ...], found: ReadPredictor
) -> ReadPredictor:
    """`found` behind `steps`: what is certain of it where they are not exact, or refuse rows.

    Raises:
        UnsupportedModelError: DP603 where no bound or no flag would reach the answer.
    """
    if any(part.sparse for part in transforms[:-1]) or (
        any(part.sparse for part in transforms) and not isinstance(found.root, _DENSE_ALIKE)
    ):
        raise unsupported(
            record,
            "What follows an encoder with sparse output computes differently on it",
            found="sparse output",
            expected="sparse_output=False, or a linear model, network or forest right behind it",
        )
    doubt = ends_inexact(record, steps)
    if meets_inexact(steps):
        if not takes_inexact(record, found.root, doubt):
            raise unsupported(
                record,
                "This model would decide on values that are not exact, and nothing certifies it",
                found=found.family,
                expected="linear models, networks, or trees without sets of categories",
            )
        found = replace(
            found,
            ceiling="certified",
            exact_probabilities=False,
            reason=found.reason if found.ceiling == "certified" else _BEHIND_INEXACT,
        )
    if is_conditional(steps):
        if found.task == "regressor":
            raise unsupported(
                record,
                "The original raises on some rows, and a regressor has no margin to say so",
                found="handle_unknown='error', or a function that is not defined everywhere",
                expected="handle_unknown='ignore' or 'use_encoded_value'",
            )
        found = replace(
            found,
            ceiling="certified",
            exact_probabilities=False,
            reason="The original raises on values that it never saw or has no result for: rows not certified",
        )
    return found


_SCALING = (Subtract, Shift, Divide, Multiply)
_FLOAT64_MAX = float(np.finfo(np.float64).max)


def _room(record: Record, steps: Sequence[Transform], last: int) -> float | None:
    """A bound on |x| under which no transformer hands infinity to the next, which refuses it; None without such.

    The predictor behind them need not refuse it: LightGBM and HistGradientBoosting compare infinity as they find it.
    The last transformer gives the `last` of the steps; pipelines inside are one transformer here, so steps that do
    not scale, and scaling by more than the two operations of one scaler, count as one more that looks.
    """
    trailing = 0
    while trailing < min(len(steps), last, 2) and isinstance(steps[-1 - trailing], _SCALING):
        trailing += 1
    looked_at = steps[: len(steps) - trailing]
    return _bound(record, looked_at, _FLOAT64_MAX) if _overflows(looked_at) else None


def _overflows(steps: Sequence[Transform]) -> bool:
    """Whether finite rows may leave `steps` infinite."""
    return any(
        isinstance(step, (*_SCALING, Products, Affine))
        or (isinstance(step, Apply) and step.function == "Square")
        or (isinstance(step, Branches) and any(_overflows(inner) for _, inner in step.branches))
        for step in steps
    )


_LARGEST_LOGARITHM = 1100.0
"""No logarithm of a double is further from 0; log2 of the smallest one is -1074."""

_BEHIND_INEXACT = (
    "It compares columns whose last bits nobody defines; a row is certified where none is near a threshold"
)


def _input_columns(record: Record, depth: int = 0) -> int:
    inner = {"sklearn.pipeline.Pipeline": "steps", "sklearn.pipeline.FeatureUnion": "transformer_list"}.get(
        record.cls
    )
    if inner is not None and depth < MAX_NESTING:  # these two ask their parts
        for item in members(record, inner, record.get(inner)):
            if isinstance(item, TupleNode) and len(item) == 2 and isinstance(item[1], Record):
                return _input_columns(item[1], depth + 1)
    frozen = record.get("estimator")
    if record.cls == "sklearn.frozen._frozen.FrozenEstimator" and isinstance(frozen, Record):
        return _input_columns(frozen, depth + 1)
    fitted = record.get("estimator_", record.get("estimator"))
    if record.name == "SelectFromModel" and isinstance(fitted, Record):
        record = fitted
    value = plain(record.get("n_features_in_"))
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(record, "n_features_in_", value, "a number of columns")
    return value


def _bound(record: Record, steps: Sequence[Transform], limit: float | None) -> float | None:
    """A bound on |x| under which no column exceeds `limit` after `steps`; a little narrower than the original's.

    One number for all columns, so the narrowest column decides; it matters at 1e30 and beyond only.
    """
    if limit is None:
        if not rounds(steps):
            return None
        limit = math.inf
    per_column: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | float = limit
    shrink = 1.0 - 2.0**-40
    with np.errstate(all="ignore"):
        for step in reversed(steps):
            match step:
                case Subtract(operand=operand) | Shift(operand=operand):
                    per_column = (per_column - np.abs(operand)) * shrink
                case Divide(operand=operand):
                    per_column = per_column * np.abs(operand) * shrink
                case Multiply(operand=operand):
                    per_column = np.where(operand == 0, np.inf, per_column / np.abs(operand)) * shrink
                case Impute() | Select():
                    per_column = float(np.min(per_column))
                case Branches(branches=branches):
                    least = float(np.min(per_column))
                    bounds = (_bound(record, inner, least) for _, inner in branches)
                    per_column = min((bound for bound in bounds if bound is not None), default=math.inf)
                case Products(terms=terms):
                    degree = max(len(term) for term in terms)
                    per_column = max(1.0, float(np.min(per_column)) ** (1.0 / max(degree, 1)) * shrink)
                case Apply():
                    per_column = np.sqrt(per_column) * shrink if step.function == "Square" else per_column
                case Encode(passed=passed):
                    per_column = float(np.min(per_column)) if passed else math.inf
                case Function(name="sqrt"):
                    per_column = per_column * per_column * shrink
                case Function(name="log" | "log1p" | "log2" | "log10" | "tanh"):
                    if float(np.min(per_column)) < _LARGEST_LOGARITHM:
                        raise unsupported(
                            record, "A function that may leave the float32 range", found=step.name
                        )
                    per_column = math.inf
                case Function():
                    # Where it is not finite the row is not certified; but it must not pass a narrower limit either.
                    if float(np.min(per_column)) < 2.0**512:
                        raise unsupported(
                            record, "A function that may leave the float32 range", found=step.name
                        )
                    per_column = math.inf
                case Normalize():
                    # No entry exceeds its norm; where that is below ten epsilons, the row stays as it is.
                    if float(np.min(per_column)) < 2.0:
                        raise unsupported(record, "A limit below the norms", found=repr(per_column))
                    per_column = math.inf
                case Power():
                    if float(np.min(per_column)) < 2.0 * LARGEST_POWER:
                        raise unsupported(
                            record, "A power that may leave the float32 range", found="a narrow scale"
                        )
                    per_column = math.inf
                case Leaves():
                    per_column = FLOAT32_MAX
                case Clip() | Binarize() | Digitize() | Categories():
                    per_column = math.inf
                case Affine():
                    reach = np.maximum(np.abs(step.weights).sum(axis=0), 1.0)
                    per_column = float(np.min((per_column - step.size) / reach)) * shrink
                case _:
                    assert_never(step)
    bound = float(np.min(per_column))
    if math.isnan(bound) or bound <= 0:
        raise unsupported(record, "The scaler leaves no room below the float32 range", found=repr(bound))
    return min(bound, _FLOAT64_MAX)


def _feature_names(record: Record, columns: int) -> tuple[str, ...] | None:
    value: Value = record.get("feature_names_in_")
    if value is None and record.cls == "sklearn.pipeline.Pipeline":
        for item in members(record, "steps", record.get("steps")):
            if isinstance(item, TupleNode) and isinstance(item[1], Record):
                value = item[1].get("feature_names_in_")
                break
    if not isinstance(value, Array) or value.objects is None:
        return None
    names = [plain(item) for item in value.objects]
    if len(names) != columns or not all(isinstance(name, str) for name in names):
        return None
    return tuple(str(name) for name in names)
