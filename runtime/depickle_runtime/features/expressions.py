# SPDX-License-Identifier: Apache-2.0
"""A feature's formula as frozen data, and its value at the last bar of checked bars.

Because a formula is data, its digest covers everything that a definition says: function, inputs, parameters,
number of bars, arithmetic. What this module guarantees:

1. A formula reads a fixed number of last bars and nothing before them. Two callers whose histories differ in
   length get the same bits, and so do training and trading.
2. An undefined value (no bars enough, a division by zero, a flat window, a TA-Lib error) is NaN here and an
   abstention above; TA-Lib's own zeros for undefined values never pass.
3. TA-Lib's process-wide compatibility setting changes the seeds of its averages; where a caller has changed
   it, values are refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
import numpy.typing as npt
import talib

from ..errors import FeatureError
from ..market_data import Bars

__all__ = ["Bar", "Evaluation", "Expression", "Guard", "Op", "Series", "Stat", "Ta", "as_json", "bars_needed"]

FloatArray = npt.NDArray[np.float64]
Series = Literal["open", "high", "low", "close", "volume", "log_return"]

# TA-Lib treats sums below 1e-14 as zero and then answers 0.0; a window that moves less than this, in units of
# price, is flat to us, four orders of magnitude earlier.
FLAT_SPAN = 1e-10


@dataclass(frozen=True, slots=True)
class Bar:
    """A column's value `back` bars before the last."""

    column: Series
    back: int = 0


@dataclass(frozen=True, slots=True)
class Ta:
    """The last value of a TA-Lib function over exactly the last `bars` bars."""

    function: str
    inputs: tuple[Series, ...]
    parameters: tuple[tuple[str, float], ...]
    bars: int
    output: int = 0


@dataclass(frozen=True, slots=True)
class Stat:
    """A statistic of the last `bars` values of a series; ``sample_std`` divides by n − 1, the other by n."""

    name: Literal["max", "min", "mean", "sample_std", "population_std"]
    series: Series
    bars: int


@dataclass(frozen=True, slots=True)
class Op:
    """One arithmetic operation on two values; a division by zero is undefined."""

    sign: Literal["+", "-", "*", "/"]
    left: Expression
    right: Expression


Expression = Bar | Ta | Stat | Op | float


@dataclass(frozen=True, slots=True)
class Guard:
    """Bars on which an indicator is undefined: any of the last `windows` windows of `bars` bars is flat.

    Kinds: ``range`` (highest high over lowest low), ``close`` (closing prices), ``typical`` (mean of high,
    low and close).
    """

    kind: Literal["range", "close", "typical"]
    bars: int
    windows: int = 1


def bars_needed(expression: Expression, guard: Guard | None = None) -> int:
    """How many last bars the expression and its guard read."""
    needed = guard.bars + guard.windows - 1 if guard is not None else 1
    match expression:
        case float():
            own = 1
        case Bar(column=column, back=back):
            own = back + 1 + (column == "log_return")
        case Ta(inputs=inputs, bars=bars):
            own = bars + ("log_return" in inputs)
        case Stat(series=series, bars=bars):
            own = bars + (series == "log_return")
        case Op(left=left, right=right):
            own = max(bars_needed(left), bars_needed(right))
        case _:
            assert_never(expression)
    return max(needed, own)


def columns_read(expression: Expression) -> frozenset[str]:
    """The columns that the expression reads."""
    match expression:
        case float():
            return frozenset()
        case Bar(column=column):
            return frozenset({column})
        case Ta(inputs=inputs):
            return frozenset(inputs)
        case Stat(series=series):
            return frozenset({series})
        case Op(left=left, right=right):
            return columns_read(left) | columns_read(right)
        case _:
            assert_never(expression)


def as_json(expression: Expression | Guard | None) -> Any:
    """The expression as plain JSON values, floats as hexadecimal text."""
    match expression:
        case None:
            return None
        case float():
            return expression.hex()
        case Bar(column=column, back=back):
            return ["bar", column, back]
        case Ta(function=function, inputs=inputs, parameters=parameters, bars=bars, output=output):
            settings = {name: float(value).hex() for name, value in parameters}
            return ["ta", function, list(inputs), settings, bars, output]
        case Stat(name=name, series=series, bars=bars):
            return ["stat", name, series, bars]
        case Op(sign=sign, left=left, right=right):
            return ["op", sign, as_json(left), as_json(right)]
        case Guard(kind=kind, bars=bars, windows=windows):
            return ["guard", kind, bars, windows]
        case _:
            assert_never(expression)


def digest_of(value: Any) -> str:
    """SHA-256 of JSON values in one canonical spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Evaluation:
    """Values of expressions at the last of some bars; calls that several features share are made once.

    Not for use by several threads; make one per row.
    """

    def __init__(self, bars: Bars) -> None:
        """Prepare the last bar of `bars`.

        Raises:
            FeatureError: DP213 where the process has changed TA-Lib's compatibility setting.
        """
        compatibility: int = talib.get_compatibility()  # type: ignore[attr-defined]  # absent from its stubs
        if compatibility != 0:
            raise FeatureError(
                "TA-Lib's compatibility setting was changed in this process",
                code="DP213",
                found=str(compatibility),
                expected="0 (the default)",
                where="talib.set_compatibility",
                next_step="remove the call: it changes the seeds of every average",
            )
        self._bars = bars
        self._calls: dict[tuple[Any, ...], tuple[float, ...]] = {}
        self._stats: dict[Stat, float] = {}
        self._guards: dict[Guard, bool] = {}
        self._log_returns: FloatArray | None = None

    def value(self, expression: Expression, guard: Guard | None, needed: int) -> float:
        """The expression's value, or NaN where it is undefined on these bars; `needed` is its `bars_needed`."""
        if len(self._bars) < needed:
            return math.nan
        if guard is not None:
            flat = self._guards.get(guard)
            if flat is None:
                flat = self._guards[guard] = self._flat(guard)
            if flat:
                return math.nan
        value = self._evaluate(expression)
        return value if math.isfinite(value) else math.nan

    def _evaluate(self, expression: Expression) -> float:
        match expression:
            case float():
                return expression
            case Bar(column=column, back=back):
                return float(self._series(column)[-1 - back])
            case Stat():
                value = self._stats.get(expression)
                if value is None:
                    value = self._stats[expression] = self._statistic(expression)
                return value
            case Ta():
                return self._indicator(expression)
            case Op(sign=sign, left=left, right=right):
                return _arithmetic(sign, self._evaluate(left), self._evaluate(right))
            case _:
                assert_never(expression)

    def _statistic(self, stat: Stat) -> float:
        window = self._series(stat.series)[-stat.bars :]
        match stat.name:
            case "max":
                return float(window.max())
            case "min":
                return float(window.min())
            case "mean":
                return float(window.mean())
            case "sample_std":
                return float(window.std(ddof=1))
            case "population_std":
                return float(window.std())
            case _:
                assert_never(stat.name)

    def _series(self, name: Series) -> FloatArray:
        match name:
            case "open":
                return self._bars.open
            case "high":
                return self._bars.high
            case "low":
                return self._bars.low
            case "close":
                return self._bars.close
            case "volume":
                if self._bars.volume is None:
                    raise FeatureError(
                        "The model needs volumes and market data has none",
                        code="DP202",
                        expected="a column volume or tick_volume",
                        where="market_data",
                        next_step="add the column",
                    )
                return self._bars.volume
            case "log_return":
                if self._log_returns is None:
                    close = self._bars.close
                    self._log_returns = np.log(close[1:] / close[:-1])
                return self._log_returns
            case _:
                assert_never(name)

    def _indicator(self, call: Ta) -> float:
        key = (call.function, call.inputs, call.parameters, call.bars)
        outputs = self._calls.get(key)
        if outputs is None:
            arrays = [self._series(name)[-call.bars :] for name in call.inputs]
            try:
                answer = getattr(talib, call.function)(*arrays, **dict(call.parameters))
            except Exception as error:  # TA-Lib raises bare Exception for every refusal of its C library
                raise FeatureError(
                    "TA-Lib refused to compute an indicator",
                    code="DP214",
                    found=f"{type(error).__name__}: {str(error)[:100]}",
                    where=call.function,
                    next_step="check the TA-Lib installation",
                ) from error
            outputs = tuple(
                float(array[-1]) for array in (answer if isinstance(answer, tuple) else (answer,))
            )
            self._calls[key] = outputs
        return outputs[call.output]

    def _flat(self, guard: Guard) -> bool:
        bars, size = self._bars, guard.bars
        match guard.kind:
            case "range":
                top, bottom = bars.high, bars.low
            case "close":
                top = bottom = bars.close
            case "typical":
                reach = guard.bars + guard.windows - 1
                top = bottom = (bars.high[-reach:] + bars.low[-reach:] + bars.close[-reach:]) / 3.0
            case _:
                assert_never(guard.kind)
        end = len(top)
        return any(
            float(top[stop - size : stop].max()) - float(bottom[stop - size : stop].min()) < FLAT_SPAN
            for stop in range(end - guard.windows + 1, end + 1)
        )


def _arithmetic(sign: Literal["+", "-", "*", "/"], left: float, right: float) -> float:
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right if right != 0.0 else math.nan
        case _:
            assert_never(sign)
