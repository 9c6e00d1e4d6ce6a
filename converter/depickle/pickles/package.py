# SPDX-License-Identifier: Apache-2.0
"""The model package of a trading system: a dict with the estimator and what was kept beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UnsupportedModelError
from .graph import Array, DictNode, ListNode, NumpyScalar, Record, Value, plain

__all__ = ["ESTIMATOR_KEYS", "Package", "find_estimator", "open_package", "render_date"]

#: Keys that hold the estimator, in the order in which they are asked.
ESTIMATOR_KEYS = ("pipeline", "model", "estimator", "classifier")

_NAME_KEYS = ("feature_names", "features", "feature_columns", "feature_cols")
_PERFORMANCE_KEYS = ("performance", "metrics", "performance_metrics", "scores")
_DATE_KEYS = ("training_date", "trained_at", "train_date", "timestamp")
#: Characters of one text in a package's metadata; more is not a name or a remark.
_MAX_TEXT = 10_000


@dataclass(frozen=True)
class Package:
    """A model and what was kept beside it.

    Attributes:
        kind: ``package`` for a dict with an estimator, ``bare`` for an estimator alone.
        estimator: the model or pipeline.
        estimator_path: keys from the root to it; empty where it is bare.
        symbol: the traded symbol, where the package names one.
        training_date: as text (ISO 8601 where it was a date).
        feature_names: in the model's column order, where the package or the estimator keeps them.
        performance: named figures.
        metadata: every other plain value of the package.
        auxiliary: paths of the records that the gate admitted beside the estimator only.
    """

    kind: str
    estimator: Record
    estimator_path: tuple[str | int, ...]
    symbol: str | None = None
    training_date: str | None = None
    feature_names: tuple[str, ...] | None = None
    performance: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)
    auxiliary: tuple[tuple[str | int, ...], ...] = ()


def find_estimator(root: Value) -> tuple[Record, tuple[str | int, ...]] | None:
    """The estimator of a graph and the keys that lead to it, or None."""
    if isinstance(root, Record):
        return root, ()
    if isinstance(root, DictNode):
        for key in ESTIMATOR_KEYS:
            value = root.get(key)
            if isinstance(value, Record):
                return value, (key,)
    return None


def open_package(root: Value, *, unknown: Mapping[int, Record] | None = None, where: str = "") -> Package:
    """Read the package under `root`.

    Args:
        root: the graph of a vetted pickle.
        unknown: the auxiliary records that the gate admitted, by identity.
        where: the file, for errors.

    Raises:
        UnsupportedModelError: DP601 where there is no estimator.
    """
    found = find_estimator(root)
    if found is None:
        raise UnsupportedModelError(
            "Not a valid model package",
            code="DP601",
            where=where,
            found=_describe(root),
            expected=f"an estimator, or a dict with one of {', '.join(ESTIMATOR_KEYS)}",
            next_step="check that the file holds a fitted model and not its data",
        )
    estimator, path = found
    if not path or not isinstance(root, DictNode):
        return Package("bare", estimator, (), feature_names=_names(estimator.get("feature_names_in_")))
    rest = {key: value for key, value in root.items.items() if key != path[0]}
    names = next((columns for key in _NAME_KEYS if (columns := _names(rest.get(key))) is not None), None)
    if names is None:
        names = _names(estimator.get("feature_names_in_"))
    used = {*_NAME_KEYS, *_PERFORMANCE_KEYS, *_DATE_KEYS, "symbol"}
    return Package(
        kind="package",
        estimator=estimator,
        estimator_path=path,
        symbol=_text(rest.get("symbol")),
        training_date=next((text for key in _DATE_KEYS if (text := render_date(rest.get(key)))), None),
        feature_names=names,
        performance=next((figures for key in _PERFORMANCE_KEYS if (figures := _figures(rest.get(key)))), {}),
        metadata={
            key: value
            for key, raw in rest.items()
            if isinstance(key, str) and key not in used and (value := _simple(raw, 4)) is not _DROPPED
        },
        auxiliary=_auxiliary(rest, unknown or {}),
    )


_DROPPED = object()


def _describe(root: Value) -> str:
    if isinstance(root, DictNode):
        keys = ", ".join(repr(key)[:40] for key in list(root.items)[:8])
        return f"a dict with the keys {keys}" if keys else "an empty dict"
    return type(root).__name__.removesuffix("Node").lower()


def _text(value: Value) -> str | None:
    value = plain(value)
    return value if isinstance(value, str) and len(value) <= _MAX_TEXT else None


def _names(value: Value) -> tuple[str, ...] | None:
    if isinstance(value, Record) and value.module.startswith("pandas.") and value.args:
        inner = value.args[-1]
        value = inner.get("data") if isinstance(inner, DictNode) else None
    if isinstance(value, Array):
        if len(value.shape) != 1:
            return None
        items: list[object] = list(value.objects) if value.objects is not None else value.to_numpy().tolist()
    elif isinstance(value, ListNode):
        items = list(value.items)
    else:
        return None
    names = [item.value() if isinstance(item, NumpyScalar) else item for item in items]
    if not names or not all(isinstance(name, str) for name in names):
        return None
    return tuple(str(name) for name in names)


def render_date(value: Value) -> str | None:
    """A date as text: text as it is, a packed `datetime` in ISO 8601 with its fixed offset; else None."""
    if isinstance(value, Record) and value.module == "datetime" and value.args:
        packed = value.args[0]
        if isinstance(packed, bytes) and value.name in ("datetime", "date") and len(packed) in (4, 10):
            text = f"{packed[0] << 8 | packed[1]:04d}-{packed[2] & 0x7F:02d}-{packed[3]:02d}"
            if len(packed) == 10:
                text += f"T{packed[4]:02d}:{packed[5]:02d}:{packed[6]:02d}"
                micro = packed[7] << 16 | packed[8] << 8 | packed[9]
                text += f".{micro:06d}" if micro else ""
                text += _offset(value.args[1]) if len(value.args) > 1 else ""
            return text
    return _text(value)


def _offset(zone: Value) -> str:
    """``+02:00`` of a `datetime.timezone`; nothing for a zone whose offset is not in the file."""
    if not isinstance(zone, Record) or (zone.module, zone.name) != ("datetime", "timezone") or not zone.args:
        return ""
    delta = zone.args[0]
    if not isinstance(delta, Record) or (delta.module, delta.name) != ("datetime", "timedelta"):
        return ""
    parts = [part for part in delta.args if isinstance(part, int)]
    if len(parts) != 3:
        return ""
    seconds = parts[0] * 86_400 + parts[1]
    if parts[2] or seconds % 60 or abs(seconds) >= 86_400:
        return ""
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}"


def _figures(value: Value) -> dict[str, float]:
    if not isinstance(value, DictNode):
        return {}
    figures: dict[str, float] = {}
    for key, raw in value.items.items():
        number = plain(raw)
        if isinstance(key, str) and isinstance(number, int | float) and not isinstance(number, bool):
            try:
                figure = float(number)
            except OverflowError:
                continue
            if math.isfinite(figure):
                figures[key] = figure
    return figures


def _simple(value: Value, depth: int) -> object:
    value = plain(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else _DROPPED
    if depth and isinstance(value, ListNode) and len(value) <= 1000:
        items = [_simple(item, depth - 1) for item in value]
        return _DROPPED if _DROPPED in items else items
    if depth and isinstance(value, DictNode) and len(value) <= 1000:
        pairs = {key: _simple(item, depth - 1) for key, item in value.items.items() if isinstance(key, str)}
        return {key: item for key, item in pairs.items() if item is not _DROPPED}
    date = render_date(value)
    return _DROPPED if date is None else date


def _auxiliary(
    rest: Mapping[object, Value], unknown: Mapping[int, Record]
) -> tuple[tuple[str | int, ...], ...]:
    """The path of each unknown record beside the estimator, the shortest where several lead to it."""
    found: list[tuple[str | int, ...]] = []
    seen: set[int] = set()
    level: list[tuple[tuple[str | int, ...], Value]] = [
        ((key,), value) for key, value in rest.items() if isinstance(key, str | int)
    ]
    while level and unknown:
        below: list[tuple[tuple[str | int, ...], Value]] = []
        for path, value in level:
            if id(value) in seen or not isinstance(value, ListNode | DictNode | Record | Array):
                continue
            seen.add(id(value))
            if id(value) in unknown:
                found.append(path)
            if isinstance(value, ListNode):
                below += [((*path, index), item) for index, item in enumerate(value.items)]
            elif isinstance(value, Array):
                below += [((*path, index), item) for index, item in enumerate(value.objects or ())]
            else:
                pairs = value.items if isinstance(value, DictNode) else value.attrs()
                below += [((*path, key), item) for key, item in pairs.items() if isinstance(key, str | int)]
        level = below
    return tuple(found)
