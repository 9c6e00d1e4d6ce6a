# SPDX-License-Identifier: Apache-2.0
"""Real bars: hourly EURUSD, daily GOOG and monthly BTCUSD, read as data from the `backtesting` package.

The package is AGPL and serves the demo and the tests only, so nothing of it is imported or copied: its CSV
files are read where they were installed. (Importing it would also start a plotting library.)
"""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .trading_features import COLUMNS, Floats

__all__ = ["SYMBOLS", "Bars", "load_bars"]

SYMBOLS = ("EURUSD", "GOOG", "BTCUSD")


@dataclass(frozen=True)
class Bars:
    """Bars of one symbol, oldest first.

    Attributes:
        symbol: one of `SYMBOLS`.
        times: opening time of each bar, as the file has it.
        columns: open, high, low, close and volume.
    """

    symbol: str
    times: tuple[str, ...]
    columns: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.times)

    def candles(self, first: int, past_last: int) -> list[dict[str, float]]:
        """A slice of the bars as a trading system passes them around: one dict per candle."""
        return [
            {name: float(values[i]) for name, values in self.columns.items()} for i in range(first, past_last)
        ]


def load_bars(symbol: str) -> Bars:
    """The bars of one symbol.

    Raises:
        LookupError: if the `backtesting` package is not installed.
    """
    spec = importlib.util.find_spec("backtesting")  # finds it without importing it
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("the bars come with the package `backtesting`: pip install --group bars")
    path = Path(spec.submodule_search_locations[0]) / "test" / f"{symbol}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    header = [name.lower() for name in rows[0]]
    times = tuple(row[0] for row in rows[1:])
    columns = {
        name: np.array([float(row[header.index(name)]) for row in rows[1:]], dtype=np.float64)
        for name in COLUMNS
    }
    return Bars(symbol, times, columns)
