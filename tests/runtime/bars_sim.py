# SPDX-License-Identifier: Apache-2.0
"""Synthetic bars made by integer arithmetic alone: the same bits on every host and numpy version."""

from __future__ import annotations

import numpy as np

Columns = dict[str, np.ndarray]


def synthetic_columns(count: int, *, seed: int = 20250108) -> Columns:
    """`count` hourly candles of a wandering price near 1.1, oldest first."""
    state, price = seed, 110_000
    columns: dict[str, list[float]] = {
        name: [] for name in ("time", "open", "high", "low", "close", "volume")
    }
    for index in range(count):
        draws = []
        for _ in range(4):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            draws.append(state >> 33)
        opened = price
        price = max(50_000, price + draws[0] % 201 - 100)
        columns["time"].append(1_700_000_000 + 3600 * index)
        columns["open"].append(opened / 100_000)
        columns["close"].append(price / 100_000)
        columns["high"].append((max(opened, price) + draws[1] % 80) / 100_000)
        columns["low"].append((min(opened, price) - draws[2] % 80) / 100_000)
        columns["volume"].append(500 + draws[3] % 1000)
    return {name: np.array(values) for name, values in columns.items()}


def as_candles(columns: Columns) -> list[dict[str, float]]:
    """The same candles as a list of mappings."""
    names = list(columns)
    return [
        dict(zip(names, row, strict=True))
        for row in zip(*(columns[name].tolist() for name in names), strict=True)
    ]
