# SPDX-License-Identifier: Apache-2.0
"""What callers hand over as ``market_data`` becomes checked `Bars`, or a `FeatureError` that names the fault.

Forms, oldest bar first in every one:

* a mapping of columns: ``{"open": [...], "high": [...], "low": [...], "close": [...], "volume": [...]}``
* a mapping of timeframes to any other form: ``{"H1": ..., "H4": ...}``
* a numpy structured array with such fields, as terminals return it
* a list of candles: mappings, or objects with such attributes; or an object whose ``candles`` is such a list
* an object with ``columns`` and ``[]``, as data frames have (duck typing: no data frame library is imported)

Rules:

1. Column names are compared without case. Two columns that answer to one name are refused.
2. ``volume`` may be absent; ``tick_volume`` stands in for it. ``time`` may be absent; a data frame's index of
   dates stands in for it.
3. Columns have one length and one dimension. Values are real numbers, finite; text, booleans and objects are
   refused rather than converted.
4. Prices are positive, ``low <= open, close <= high``, volumes are not negative, times strictly increase.
5. Only the last ``tail`` bars are read: nothing before them can change an answer.

No input is sorted, filled, dropped or resampled: what is wrong is refused.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import FeatureError

__all__ = ["PRICE_COLUMNS", "Bars", "candle_list", "read_bars", "timeframe"]

FloatArray = npt.NDArray[np.float64]

PRICE_COLUMNS = ("open", "high", "low", "close")
_VOLUME_NAMES = ("volume", "tick_volume")
_TIME_NAMES = ("time", "timestamp", "datetime", "date")
_WHERE = "market_data"
_HINT = "see docs/features.md for the forms of market data"


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Checked candles, oldest first; the arrays are private copies that cannot be written to.

    Attributes:
        open: opening prices.
        high: highest prices.
        low: lowest prices.
        close: closing prices.
        volume: volumes, or None where the source has none.
        time: strictly increasing numbers (nanoseconds for dates), or None where the source has none.
    """

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray | None = None
    time: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.close)

    def until(self, end: int) -> Bars:
        """The bars before position `end`, without copying."""
        return Bars(
            self.open[:end],
            self.high[:end],
            self.low[:end],
            self.close[:end],
            None if self.volume is None else self.volume[:end],
            None if self.time is None else self.time[:end],
        )


def timeframe(market_data: object, name: str) -> object | None:
    """The part of `market_data` for one timeframe, untouched.

    Args:
        market_data: any form of the module's docstring.
        name: ``"H1"`` or another timeframe; compared without case.

    Returns:
        The value under that timeframe; all of `market_data` where it has no timeframes and `name` is
        ``"H1"``; None where there is no such timeframe.

    Raises:
        FeatureError: DP202 where two keys name the timeframe, DP201 where the mapping cannot be read.
    """
    try:
        frames = _timeframes(market_data)
    except FeatureError:
        raise
    except Exception as error:  # the mapping may be the caller's own class
        raise _unreadable(error, _WHERE) from error
    if frames is None:
        return market_data if name.upper() == "H1" else None
    return frames.get(name.upper())


def _timeframes(market_data: object) -> dict[str, object] | None:
    """Timeframe to value where `market_data` is a mapping of timeframes, else None."""
    if not isinstance(market_data, Mapping):
        return None
    found: dict[str, object] = {}
    for key, value in market_data.items():
        upper = key.upper() if isinstance(key, str) else ""
        if len(upper) < 2 or upper[0] not in "MHDW" or not upper[1:].isdecimal():
            continue
        if upper in found:
            raise FeatureError(
                "Market data names one timeframe twice",
                code="DP202",
                found=repr(key),
                where=_WHERE,
                next_step=_HINT,
            )
        found[upper] = value
    return found or None


def read_bars(source: object, *, tail: int | None = None, where: str = _WHERE) -> Bars:
    """Check `source` and copy its last bars.

    Args:
        source: any form of the module's docstring but the mapping of timeframes.
        tail: how many of the last bars to read; None for all of them.
        where: what to call the source in an error.

    Raises:
        FeatureError: DP201 for an unknown form, DP202 columns, DP203 lengths, DP204 values that are not
            numbers, DP205 values that are not finite, DP206 order, DP207 impossible candles.
    """
    if isinstance(source, Bars):
        return source if tail is None or len(source) <= tail else _last(source, tail)
    try:
        return _checked(_columns(source, tail, where), where)
    except FeatureError:
        raise
    except Exception as error:  # a duck-typed source runs the caller's code, which may raise anything
        raise _unreadable(error, where) from error


def candle_list(source: object) -> object:
    """The list ``candles`` of an object that has one; anything else as it is.

    Raises:
        FeatureError: DP201 where the attribute cannot be read.
    """
    try:
        candles = getattr(source, "candles", None)
    except Exception as error:  # a property of the caller's own class
        raise _unreadable(error, _WHERE) from error
    return source if candles is None or callable(candles) else candles


def _unreadable(error: Exception, where: str) -> FeatureError:
    return FeatureError(
        "Market data could not be read",
        code="DP201",
        found=type(error).__name__,
        where=where,
        next_step=_HINT,
    )


def _last(bars: Bars, tail: int) -> Bars:
    start = max(0, len(bars) - tail)
    return Bars(
        bars.open[start:],
        bars.high[start:],
        bars.low[start:],
        bars.close[start:],
        None if bars.volume is None else bars.volume[start:],
        None if bars.time is None else bars.time[start:],
    )


def _columns(source: object, tail: int | None, where: str) -> dict[str, npt.NDArray[Any]]:
    """Canonical column name to array of the last `tail` values, from whichever form `source` has."""
    source = candle_list(source)
    if isinstance(source, np.ndarray):
        if source.dtype.names is None:
            raise FeatureError(
                "A plain array has no column names",
                code="DP201",
                found=f"array of {source.dtype} and shape {source.shape}",
                expected="a structured array or a mapping of columns",
                where=where,
                next_step=_HINT,
            )
        array = source
        return _select(source.dtype.names, lambda name: array[name], tail, where)
    if isinstance(source, Mapping):
        mapping = source
        return _select(list(source), lambda name: mapping[name], tail, where)
    if isinstance(source, (list, tuple)):
        return _from_candles(source, tail, where)
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):
        return _from_frame(source, tail, where)
    raise FeatureError(
        "Market data has no known form",
        code="DP201",
        found=type(source).__name__,
        expected="a mapping of columns, a structured array, a list of candles or a data frame",
        where=where,
        next_step=_HINT,
    )


def _select(
    names: Sequence[Any], get: Callable[[Any], Any], tail: int | None, where: str
) -> dict[str, npt.NDArray[Any]]:
    """Find each column by name, once; check lengths; cut to the tail."""
    spelled: dict[str, Any] = {}
    wanted = {*PRICE_COLUMNS, *_VOLUME_NAMES, *_TIME_NAMES}
    for name in names:
        lowered = name.lower() if isinstance(name, str) else None
        if lowered not in wanted:
            continue
        if lowered in spelled:
            raise FeatureError(
                "Market data has two columns of one name",
                code="DP202",
                found=f"{spelled[lowered]!r} and {name!r}",
                where=where,
                next_step=_HINT,
            )
        spelled[lowered] = name
    missing = [name for name in PRICE_COLUMNS if name not in spelled]
    if missing:
        raise FeatureError(
            "Market data lacks columns",
            code="DP202",
            found=", ".join(str(name)[:40] for name in list(names)[:12]) or "no columns",
            expected=", ".join(missing),
            where=where,
            next_step=_HINT,
        )
    picked = {name: spelled[name] for name in PRICE_COLUMNS}
    for target, candidates in (("volume", _VOLUME_NAMES), ("time", _TIME_NAMES)):
        for name in candidates:
            if name in spelled:
                picked[target] = spelled[name]
                break
    arrays = {target: _array(get(name), target, where) for target, name in picked.items()}
    lengths = {target: len(array) for target, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise FeatureError(
            "Market data columns differ in length",
            code="DP203",
            found=", ".join(f"{name} {count}" for name, count in lengths.items()),
            where=where,
            next_step=_HINT,
        )
    if tail is not None:
        arrays = {target: array[max(0, len(array) - tail) :] for target, array in arrays.items()}
    return arrays


def _array(values: Any, name: str, where: str) -> npt.NDArray[Any]:
    """`values` as an array of one dimension, of whatever dtype it has."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise FeatureError(
            "A column of market data is not an array of numbers",
            code="DP204",
            found=type(values).__name__,
            where=f"{where}.{name}",
            next_step=_HINT,
        ) from error
    if array.ndim != 1:
        raise FeatureError(
            "A column of market data has not one dimension",
            code="DP203",
            found=f"shape {array.shape}",
            where=f"{where}.{name}",
            next_step=_HINT,
        )
    return array


def _from_candles(candles: Sequence[Any], tail: int | None, where: str) -> dict[str, npt.NDArray[Any]]:
    """Columns from a list of mappings or of objects with attributes."""
    if not candles:
        raise FeatureError("Market data holds no bars", code="DP208", where=where, next_step=_HINT)
    recent = candles if tail is None else candles[max(0, len(candles) - tail) :]
    first = recent[0]
    if isinstance(first, Mapping):
        names = list(first)
        return _select(names, lambda name: [candle[name] for candle in recent], None, where)
    if isinstance(first, (str, bytes, int, float, list, tuple)):
        raise FeatureError(
            "A candle is neither a mapping nor an object with attributes",
            code="DP201",
            found=type(first).__name__,
            where=where,
            next_step=_HINT,
        )
    attributes = [name for name in (*PRICE_COLUMNS, *_VOLUME_NAMES, *_TIME_NAMES) if hasattr(first, name)]
    return _select(attributes, lambda name: [getattr(candle, name) for candle in recent], None, where)


def _from_frame(frame: Any, tail: int | None, where: str) -> dict[str, npt.NDArray[Any]]:
    """Columns of a data frame; its index of dates serves as the time where no column does."""
    arrays = _select(list(frame.columns), lambda name: frame[name], tail, where)
    if "time" not in arrays and hasattr(frame, "index") and not callable(frame.index):
        index = _array(frame.index, "index", where)
        dates = index.dtype.kind == "M" or (
            index.dtype.kind == "O" and all(isinstance(value, datetime.datetime) for value in index)
        )
        if dates:
            arrays["time"] = index[max(0, len(index) - len(arrays["close"])) :]
    return arrays


def _checked(columns: dict[str, npt.NDArray[Any]], where: str) -> Bars:
    if not len(columns["close"]):
        raise FeatureError("Market data holds no bars", code="DP208", where=where, next_step=_HINT)
    numbers = {name: _numbers(columns[name], f"{where}.{name}") for name in columns if name != "time"}
    high, low = numbers["high"], numbers["low"]
    for name in ("open", "close"):
        outside = (numbers[name] > high) | (numbers[name] < low)
        if outside.any():
            raise _impossible(f"{name} outside low to high", outside, where)
    if (low <= 0.0).any():
        raise _impossible("a price that is not positive", low <= 0.0, where)
    volume = numbers.get("volume")
    if volume is not None and (volume < 0.0).any():
        raise _impossible("a negative volume", volume < 0.0, where)
    time = _times(columns["time"], f"{where}.time") if "time" in columns else None
    return Bars(numbers["open"], high, low, numbers["close"], volume, time)


def _numbers(values: npt.NDArray[Any], where: str) -> FloatArray:
    if values.dtype.kind not in "fiu":
        raise FeatureError(
            "A column of market data does not hold numbers",
            code="DP204",
            found=f"values of type {values.dtype}",
            expected="integers or floating-point numbers",
            where=where,
            next_step="convert the column before the call; text and None are not converted",
        )
    array = np.array(values, dtype=np.float64, order="C")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[-1])
        raise FeatureError(
            "Market data is not finite",
            code="DP205",
            found=f"{array[at]} {len(array) - 1 - at} bars before the last",
            where=where,
            next_step="repair the feed: one missing value would spoil every later value of an indicator",
        )
    array.flags.writeable = False
    return array


def _times(values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    times = _comparable_times(values, where)
    rising = times[1:] > times[:-1]
    if not rising.all():
        at = int(np.flatnonzero(~rising)[0]) + 1
        raise FeatureError(
            "Market data is not in order of time",
            code="DP206",
            found=f"bar {at} is not after bar {at - 1}",
            expected="oldest first, each time once",
            where=where,
            next_step="sort the bars by time before the call",
        )
    return times


def _comparable_times(values: npt.NDArray[Any], where: str) -> npt.NDArray[Any]:
    kind = values.dtype.kind
    if kind == "M":
        if np.isnat(values).any():
            raise FeatureError("A time is missing", code="DP205", found="NaT", where=where, next_step=_HINT)
        return values.astype("datetime64[ns]").astype(np.int64)
    if kind in "iu":
        return values.astype(np.int64)
    if kind == "f":
        return _numbers(values, where)
    if kind == "O" and all(isinstance(value, datetime.datetime) for value in values):
        if len({value.tzinfo is None for value in values}) != 1:
            raise FeatureError(
                "Times with and without a time zone are mixed",
                code="DP206",
                where=where,
                next_step="give every time the same form",
            )
        # A naive time is read as UTC: the host's own zone would fold one hour a year onto another.
        naive = values[0].tzinfo is None
        zoned = [value.replace(tzinfo=datetime.UTC) if naive else value for value in values]
        return np.array([value.timestamp() for value in zoned], dtype=np.float64)
    raise FeatureError(
        "Times are neither numbers nor dates",
        code="DP204",
        found=f"values of type {values.dtype}",
        expected="numbers, datetime64 or datetime objects",
        where=where,
        next_step="parse times before the call",
    )


def _impossible(what: str, rows: npt.NDArray[np.bool_], where: str) -> FeatureError:
    at = int(np.flatnonzero(rows)[-1])
    return FeatureError(
        "A candle is impossible",
        code="DP207",
        found=f"{what}, {len(rows) - 1 - at} bars before the last",
        expected="0 < low <= open, close <= high and volume >= 0",
        where=where,
        next_step="repair the feed",
    )
