# SPDX-License-Identifier: Apache-2.0
"""Feature engineer objects as legacy packages carry them: classes that no migration host can import.

One lives in ``__main__`` (the training script was run directly), the other in ``core.ml.feature_engineering``
of a trading system that is not installed here. Both exist under those names only while a package is written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ..trading_features import FEATURE_NAMES, WINDOW, TradingFeatures

__all__ = ["FeatureEngineer", "ProductionFeatureEngineer", "homes"]


class ProductionFeatureEngineer(TradingFeatures):
    """The engineer of a training script: pickled as ``__main__.ProductionFeatureEngineer``."""

    def __init__(self) -> None:
        self.lookback = WINDOW
        self.names = list(FEATURE_NAMES)
        self.periods = {"rsi": 14, "atr": 14, "bollinger": 20, "sma": (10, 30), "macd": (12, 26, 9)}
        self.cache: dict[str, float] = {}


class FeatureEngineer(TradingFeatures):
    """The engineer of an application: pickled as ``core.ml.feature_engineering.FeatureEngineer``."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.scale = 1.0
        self.use_news = False
        self.helper = ProductionFeatureEngineer()


@contextmanager
def homes() -> Iterator[None]:
    """While open, the two classes can be pickled under the names that they have in the trading system."""
    module = ModuleType("core.ml.feature_engineering")
    module.FeatureEngineer = FeatureEngineer  # type: ignore[attr-defined]  # a module made for the occasion
    before = {name: sys.modules.get(name) for name in ("core", "core.ml", module.__name__)}
    main = sys.modules["__main__"]
    moved = {ProductionFeatureEngineer: "__main__", FeatureEngineer: module.__name__}
    origin = __name__
    sys.modules.update(
        {"core": ModuleType("core"), "core.ml": ModuleType("core.ml"), module.__name__: module}
    )
    main.ProductionFeatureEngineer = ProductionFeatureEngineer  # type: ignore[attr-defined]  # as above
    for cls, home in moved.items():
        cls.__module__ = home
    try:
        yield
    finally:
        for cls in moved:
            cls.__module__ = origin
        del main.ProductionFeatureEngineer
        for name, value in before.items():
            if value is None:
                del sys.modules[name]
            else:
                sys.modules[name] = value
