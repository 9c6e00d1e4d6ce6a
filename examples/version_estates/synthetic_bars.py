# SPDX-License-Identifier: Apache-2.0
"""Synthetic hourly bars and the features a trading model is trained on; needs numpy only, same values everywhere."""

from __future__ import annotations

import numpy as np

FEATURES = ("ret_1", "ret_4", "ret_24", "momentum", "volatility", "range", "rsi", "hour_sin")


def features_and_labels(count: int = 600, seed: int = 20250108) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (float64), the label of each row (-1 sell, 0 wait, 1 buy) and the return that it stands for.

    Args:
        count: how many rows.
        seed: of the random walk.
    """
    rng = np.random.RandomState(seed)  # RandomState: its stream is frozen across numpy versions
    size = count + 60
    steps = 1e-4 * rng.standard_t(4, size=size) * (1 + 0.5 * np.sin(np.arange(size) * 2 * np.pi / 24))
    close = 1.1 * np.exp(np.cumsum(steps))
    spread = np.abs(1e-4 * rng.standard_normal(size)) * close
    up = np.maximum(np.diff(close, prepend=close[0]), 0)
    down = np.maximum(-np.diff(close, prepend=close[0]), 0)
    rows, labels, targets = [], [], []
    for at in range(48, 48 + count):
        window = close[at - 24 : at + 1]
        gain, loss = up[at - 14 : at + 1].mean(), down[at - 14 : at + 1].mean()
        rows.append([
            close[at] / close[at - 1] - 1, close[at] / close[at - 4] - 1, close[at] / close[at - 24] - 1,
            (close[at] - window.mean()) / window.std(), window.std() / close[at], spread[at] / close[at],
            100 * gain / (gain + loss), np.sin(at * 2 * np.pi / 24),
        ])  # fmt: skip
        target = close[at + 4] / close[at] - 1
        targets.append(target)
        labels.append(0 if abs(target) < 1e-4 else int(np.sign(target)))
    return np.array(rows), np.array(labels, dtype=np.int64), np.array(targets)
