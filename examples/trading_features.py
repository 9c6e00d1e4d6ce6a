# SPDX-License-Identifier: Apache-2.0
"""The feature engineer of the trading system: the same numbers in training and, after migration, per bar.

Every indicator looks at the last `WINDOW` bars and at nothing else, so a row computed live equals the row
that the model was trained on, to the last bit. The RSI is the one of rolling means, as most home-made systems have
it; it is not Wilder's, and a catalogue feature of the same name would feed the model other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["COLUMNS", "FEATURE_NAMES", "WINDOW", "TradingFeatures", "candles_to_columns", "feature_matrix"]

Floats = npt.NDArray[np.float64]

COLUMNS = ("open", "high", "low", "close", "volume")
WINDOW = 48
"""Bars that one row of features needs; the longest indicator looks back 32, the averages fade within 48."""

FEATURE_NAMES = (
    "return_1",
    "return_5",
    "return_10",
    "rsi_14",
    "macd",
    "macd_signal",
    "sma_ratio_10_30",
    "bollinger_position",
    "atr_14",
    "stochastic_k",
    "volatility_10",
    "volume_ratio",
    "body_ratio",
    "h4_trend",
    "news_sentiment",
    "vsa_signal",
)


class TradingFeatures:
    """Computes one row of features from candles; hand it to the predictor as ``feature_engineer=``."""

    feature_names = FEATURE_NAMES

    def extract_features(
        self,
        h1_candles: Any,
        h4_candles: Any = None,
        current_price: float | None = None,
        news_sentiment: float = 0.0,
        vsa_signal: float = 0.0,
    ) -> dict[str, float]:
        """One row of features, by name.

        Args:
            h1_candles: at least `WINDOW` candles, oldest first: a mapping of columns, or a sequence of
                mappings or objects with open, high, low, close and volume.
            h4_candles: not needed; the four-bar trend is taken from the same bars, so that the two agree.
            current_price: replaces the close of the last bar while that bar is still forming.
            news_sentiment: passed through as a feature.
            vsa_signal: passed through as a feature.

        Raises:
            ValueError: with fewer than `WINDOW` candles.
        """
        columns = candles_to_columns(h1_candles)
        if columns["close"].size < WINDOW:
            raise ValueError(f"{columns['close'].size} candles, {WINDOW} are needed")
        tail = {name: values[-WINDOW:].copy() for name, values in columns.items()}
        if current_price is not None:
            tail["close"][-1] = current_price
        row = feature_matrix(tail, news_sentiment=news_sentiment, vsa_signal=vsa_signal)[0]
        return dict(zip(FEATURE_NAMES, row.tolist(), strict=True))


def candles_to_columns(candles: Any) -> dict[str, Floats]:
    """Candles in any of the forms that `TradingFeatures.extract_features` takes, as columns."""
    if isinstance(candles, Mapping):
        by_name = {str(key).lower(): values for key, values in candles.items()}
        return {name: np.asarray(by_name[name], dtype=np.float64) for name in COLUMNS}
    rows: Sequence[Any] = list(candles)
    if rows and isinstance(rows[0], Mapping):
        return {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}
    return {name: np.array([float(getattr(row, name)) for row in rows]) for name in COLUMNS}


def feature_matrix(
    columns: Mapping[str, Floats], *, news_sentiment: float = 0.0, vsa_signal: float = 0.0
) -> Floats:
    """All rows that the bars allow: row i stands for bar i + WINDOW - 1."""
    w = {
        name: np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(columns[name], WINDOW))
        for name in COLUMNS
    }
    close, high, low = w["close"], w["high"], w["low"]
    last = close[:, -1]
    macd, signal = _macd(close)
    spread = high[:, -14:].max(axis=1) - low[:, -14:].min(axis=1)
    deviation = close[:, -20:].std(axis=1)
    body_range = high[:, -1] - low[:, -1]
    rows = [
        last / close[:, -2] - 1.0,
        last / close[:, -6] - 1.0,
        last / close[:, -11] - 1.0,
        _rolling_rsi(close, 14),
        macd / last,
        signal / last,
        _mean(close, 10) / _mean(close, 30) - 1.0,
        _ratio(last - _mean(close, 20), 2.0 * deviation, 0.0),
        _average_true_range(high, low, close, 14) / last,
        _ratio(100.0 * (last - low[:, -14:].min(axis=1)), spread, 50.0),
        np.diff(np.log(close[:, -11:]), axis=1).std(axis=1),
        _ratio(w["volume"][:, -1], _mean(w["volume"], 20), 1.0),
        _ratio(last - w["open"][:, -1], body_range, 0.0),
        _four_bar_trend(close),
        np.full_like(last, news_sentiment),
        np.full_like(last, vsa_signal),
    ]
    return np.column_stack(rows)


def _mean(values: Floats, n: int) -> Floats:
    means: Floats = np.ascontiguousarray(values[:, -n:]).mean(axis=1)
    return means


def _ratio(top: Floats, bottom: Floats, otherwise: float) -> Floats:
    """top ÷ bottom, and `otherwise` where a flat market leaves nothing to divide by."""
    flat = bottom == 0.0
    return np.where(flat, otherwise, top / np.where(flat, 1.0, bottom))


def _rolling_rsi(close: Floats, n: int) -> Floats:
    change = np.diff(close[:, -n - 1 :], axis=1)
    gain = np.where(change > 0.0, change, 0.0).mean(axis=1)
    loss = np.where(change < 0.0, -change, 0.0).mean(axis=1)
    return 100.0 - 100.0 / (1.0 + _ratio(gain, loss, 100.0))


def _fading(values: Floats, span: int) -> Floats:
    """Exponential average over the window's own length: the weights are cut off there and add up to one."""
    weights = (1.0 - 2.0 / (span + 1.0)) ** np.arange(values.shape[1] - 1, -1, -1)
    average: Floats = (values * (weights / weights.sum())).sum(axis=1)
    return average


def _macd(close: Floats) -> tuple[Floats, Floats]:
    history = np.column_stack(
        [
            _fading(close[:, : WINDOW - back], 12) - _fading(close[:, : WINDOW - back], 26)
            for back in range(8, -1, -1)
        ]
    )
    return history[:, -1], _fading(history, 9)


def _average_true_range(high: Floats, low: Floats, close: Floats, n: int) -> Floats:
    before = close[:, -n - 1 : -1]
    up, down = high[:, -n:], low[:, -n:]
    reach = np.maximum(np.abs(up - before), np.abs(down - before))
    average: Floats = np.maximum(up - down, reach).mean(axis=1)
    return average


def _four_bar_trend(close: Floats) -> Floats:
    fours = close[:, ::-4]
    fast: Floats = np.ascontiguousarray(fours[:, :3]).mean(axis=1)
    slow: Floats = np.ascontiguousarray(fours[:, :8]).mean(axis=1)
    return fast / slow - 1.0
