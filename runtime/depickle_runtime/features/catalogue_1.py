# SPDX-License-Identifier: Apache-2.0
"""catalogue@1, frozen: a change to any definition changes `DIGEST` and is refused.

Numbers of bars for recursive indicators (RSI, EMA, MACD, ATR, ADX, DI) are warm-ups measured on hourly and
daily bars and on random walks: with that many bars the value differs from one over the whole history by less
than 1e-6 of the feature's standard deviation. The others read exactly the bars of their formula.

A correction or an addition is a new version in its own file; this one never changes, since models were
trained on it.
"""

from __future__ import annotations

from .definitions import Definition
from .expressions import Bar, Expression, Guard, Op, Series, Stat, Ta

__all__ = ["DEFINITIONS", "DIGEST", "NAME"]

NAME = "catalogue@1"
DIGEST = "8f1e8313d440915d3ae428db1301e9a94fbd99d1f176f5aa76dacc354c4218f8"

_WILDER = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978"
_APPEL = "G. Appel, The Moving Average Convergence-Divergence Method, 1979"
_BOLLINGER = "J. Bollinger, Bollinger on Bollinger Bands, 2001"
_LANE = "G. Lane, Lane's Stochastics, 1984"
_TALIB = "TA-Lib"

_HIGH_LOW_CLOSE: tuple[Series, ...] = ("high", "low", "close")
_CLOSE = Bar("close")


def _ta(
    function: str, inputs: tuple[Series, ...], bars: int, output: int = 0, **parameters: float
) -> Expression:
    return Ta(function, inputs, tuple(sorted(parameters.items())), bars, output)


def _macd(output: int) -> Expression:
    return _ta("MACD", ("close",), 250, output, fastperiod=12, slowperiod=26, signalperiod=9)


# Not TA-Lib's BBANDS: it subtracts two large squares, and takes a variance below 1e-14 for zero.
_MEAN_20 = Stat("mean", "close", 20)
_TWO_DEVIATIONS = Op("*", 2.0, Stat("population_std", "close", 20))
_UPPER = Op("+", _MEAN_20, _TWO_DEVIATIONS)
_LOWER = Op("-", _MEAN_20, _TWO_DEVIATIONS)


def _stochastic(output: int) -> Expression:
    return _ta(
        "STOCH",
        _HIGH_LOW_CLOSE,
        18,
        output,
        fastk_period=14,
        slowk_period=3,
        slowk_matype=0,
        slowd_period=3,
        slowd_matype=0,
    )


def _ratio(left: Expression, right: Expression) -> Expression:
    return Op("/", left, right)


def _above(left: Expression, right: Expression) -> Expression:
    return Op("-", Op("/", left, right), 1.0)


def _ema(period: int, bars: int) -> Expression:
    return _ta("EMA", ("close",), bars, timeperiod=period)


def _change(bars: int) -> Expression:
    return _above(_CLOSE, Bar("close", bars))


_ATR = _ta("ATR", _HIGH_LOW_CLOSE, 250, timeperiod=14)
_RANGE = Op("-", Bar("high"), Bar("low"))
_MOVES_20 = Guard("close", 20)
_MOVES_250 = Guard("close", 250)
_RANGES_250 = Guard("range", 250)

DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        "rsi_14",
        "Relative strength index, Wilder's smoothing, 14 bars.",
        "0 to 100",
        _WILDER,
        _ta("RSI", ("close",), 250, timeperiod=14),
        _MOVES_250,
    ),
    Definition(
        "macd", "12-bar EMA of the close minus its 26-bar EMA.", "price", _APPEL, _macd(0), _MOVES_250
    ),
    Definition("macd_signal", "9-bar EMA of macd.", "price", _APPEL, _macd(1), _MOVES_250),
    Definition("macd_hist", "macd minus macd_signal.", "price", _APPEL, _macd(2), _MOVES_250),
    Definition(
        "atr_14", "Average true range, Wilder's smoothing, 14 bars.", "price", _WILDER, _ATR, _RANGES_250
    ),
    Definition(
        "atr_14_ratio",
        "atr_14 over the close.",
        "fraction of price",
        _WILDER,
        _ratio(_ATR, _CLOSE),
        _RANGES_250,
    ),
    Definition(
        "adx_14",
        "Average directional movement index, 14 bars.",
        "0 to 100",
        _WILDER,
        _ta("ADX", _HIGH_LOW_CLOSE, 300, timeperiod=14),
        Guard("range", 300),
    ),
    Definition(
        "plus_di_14",
        "Plus directional indicator, 14 bars.",
        "0 to 100",
        _WILDER,
        _ta("PLUS_DI", _HIGH_LOW_CLOSE, 250, timeperiod=14),
        _RANGES_250,
    ),
    Definition(
        "minus_di_14",
        "Minus directional indicator, 14 bars.",
        "0 to 100",
        _WILDER,
        _ta("MINUS_DI", _HIGH_LOW_CLOSE, 250, timeperiod=14),
        _RANGES_250,
    ),
    Definition(
        "bb_upper",
        "Upper Bollinger band: 20-bar mean plus two population standard deviations.",
        "price",
        _BOLLINGER,
        _UPPER,
        _MOVES_20,
    ),
    Definition("bb_middle", "Middle Bollinger band: 20-bar mean.", "price", _BOLLINGER, _MEAN_20, _MOVES_20),
    Definition(
        "bb_lower",
        "Lower Bollinger band: 20-bar mean minus two population standard deviations.",
        "price",
        _BOLLINGER,
        _LOWER,
        _MOVES_20,
    ),
    Definition(
        "bb_position",
        "Where the close lies between the bands: 0 at the lower, 1 at the upper.",
        "ratio",
        _BOLLINGER,
        _ratio(Op("-", _CLOSE, _LOWER), Op("-", _UPPER, _LOWER)),
        _MOVES_20,
    ),
    Definition(
        "bb_width",
        "Distance of the bands over the middle band.",
        "ratio",
        _BOLLINGER,
        _ratio(Op("-", _UPPER, _LOWER), _MEAN_20),
        _MOVES_20,
    ),
    Definition(
        "stoch_k",
        "Slow stochastic %K: 14 bars, smoothed over 3.",
        "0 to 100",
        _LANE,
        _stochastic(0),
        Guard("range", 14, 3),
    ),
    Definition(
        "stoch_d",
        "Slow stochastic %D: 3-bar mean of stoch_k.",
        "0 to 100",
        _LANE,
        _stochastic(1),
        Guard("range", 14, 5),
    ),
    Definition(
        "ema_12_ratio", "Close over its 12-bar EMA, minus 1.", "ratio", _TALIB, _above(_CLOSE, _ema(12, 150))
    ),
    Definition(
        "ema_26_ratio", "Close over its 26-bar EMA, minus 1.", "ratio", _TALIB, _above(_CLOSE, _ema(26, 250))
    ),
    Definition(
        "ema_50_ratio", "Close over its 50-bar EMA, minus 1.", "ratio", _TALIB, _above(_CLOSE, _ema(50, 400))
    ),
    Definition(
        "ema_12_26_ratio",
        "12-bar EMA over 26-bar EMA, minus 1.",
        "ratio",
        _TALIB,
        _above(_ema(12, 150), _ema(26, 250)),
    ),
    Definition(
        "sma_20_ratio",
        "Close over its 20-bar mean, minus 1.",
        "ratio",
        _TALIB,
        _above(_CLOSE, _MEAN_20),
    ),
    Definition(
        "sma_50_ratio",
        "Close over its 50-bar mean, minus 1.",
        "ratio",
        _TALIB,
        _above(_CLOSE, Stat("mean", "close", 50)),
    ),
    Definition(
        "roc_10", "Rate of change over 10 bars.", "percent", _TALIB, _ta("ROC", ("close",), 11, timeperiod=10)
    ),
    Definition(
        "momentum_10",
        "Close minus the close 10 bars before.",
        "price",
        _TALIB,
        _ta("MOM", ("close",), 11, timeperiod=10),
    ),
    Definition(
        "cci_20",
        "Commodity channel index, 20 bars.",
        "index",
        "D. Lambert, Commodity Channel Index, 1980",
        _ta("CCI", _HIGH_LOW_CLOSE, 20, timeperiod=20),
        Guard("typical", 20),
    ),
    Definition(
        "williams_r_14",
        "Williams %R, 14 bars.",
        "-100 to 0",
        "L. Williams, How I Made One Million Dollars, 1973",
        _ta("WILLR", _HIGH_LOW_CLOSE, 14, timeperiod=14),
        Guard("range", 14),
    ),
    Definition(
        "return_1", "Close over the close one bar before, minus 1.", "fraction", "definition", _change(1)
    ),
    Definition(
        "return_5", "Close over the close 5 bars before, minus 1.", "fraction", "definition", _change(5)
    ),
    Definition(
        "return_20", "Close over the close 20 bars before, minus 1.", "fraction", "definition", _change(20)
    ),
    Definition(
        "volatility_20",
        "Sample standard deviation of the last 20 logarithmic returns, one bar each.",
        "per bar",
        "definition",
        Stat("sample_std", "log_return", 20),
        Guard("close", 21),
    ),
    Definition(
        "range_position_20",
        "Where the close lies in the range of 20 bars: 0 at the low, 1 at the high.",
        "ratio",
        "definition",
        _ratio(
            Op("-", _CLOSE, Stat("min", "low", 20)), Op("-", Stat("max", "high", 20), Stat("min", "low", 20))
        ),
        Guard("range", 20),
    ),
    Definition(
        "body_ratio",
        "Close minus open, over high minus low.",
        "-1 to 1",
        "definition",
        _ratio(Op("-", _CLOSE, Bar("open")), _RANGE),
        Guard("range", 1),
    ),
    Definition(
        "volume_ratio_20",
        "Volume over its 20-bar mean.",
        "ratio",
        "definition",
        _ratio(Bar("volume"), Stat("mean", "volume", 20)),
    ),
)
