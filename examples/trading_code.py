# SPDX-License-Identifier: Apache-2.0
"""Trading code after the migration: one object built at start, one call per bar, no unpickler in the process.

Before, this file said ``MLPredictor`` and loaded pickles. What changed is the import, the keys in the
environment, and who computes the features: a legacy model gets them from its own feature engineer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from depickle_runtime import create_secure_ml_predictor

from .bars import SYMBOLS, load_bars
from .trading_features import TradingFeatures

_BARS_HANDED_OVER = 100
"""More than any feature looks back; a live system keeps about as many candles."""

unpickled: list[str] = []
"""Every name that an unpickler of this process asked for; it stays empty."""


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        unpickled.append(".".join(map(str, arguments)))


def main() -> int:
    """Predicts from the last bars of each symbol and prints one JSON line per symbol."""
    parser = argparse.ArgumentParser(prog="python -m examples.trading_code", description=__doc__)
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--db-path", type=Path, default=Path("data/trades.db"))
    arguments = parser.parse_args()
    sys.addaudithook(_watch)

    predictor = create_secure_ml_predictor(
        models_dir=arguments.models_dir,
        db_path=arguments.db_path,
        secret_key=os.environ.get("MODEL_SECRET_KEY"),
        feature_engineer=TradingFeatures(),
    )
    for symbol in SYMBOLS:
        bars = load_bars(symbol)
        market_data = bars.candles(len(bars) - _BARS_HANDED_OVER, len(bars))
        confidence, details = predictor.predict_signal(symbol, market_data)
        answer = {
            "symbol": symbol,
            "bar": bars.times[-1],
            "confidence": confidence,  # None is an abstention, never 0.0
            "signal": details["signal"],
            "abstained": details["abstained"],
            "model": details["model"],
            "tier": details["tier"],
            "digest": details["digest"],
        }
        print(json.dumps(answer))
    print(json.dumps({"unpickled": unpickled}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
