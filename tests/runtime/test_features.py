# SPDX-License-Identifier: Apache-2.0
"""The catalogue: frozen values, recorded warm-ups that hold, abstention instead of zeros."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from depickle_runtime.errors import FeatureError
from depickle_runtime.features import Catalogue, catalogue, catalogue_names
from depickle_runtime.market_data import Bars, read_bars
from tests.runtime.bars_sim import synthetic_columns

FEATURES = catalogue("catalogue@1")
COLUMNS = synthetic_columns(1500)
BARS = read_bars(COLUMNS)

# catalogue@1 at the last of 400 synthetic bars. These are the definition: never edit them, add catalogue@2.
PINNED_DIGEST = "8f1e8313d440915d3ae428db1301e9a94fbd99d1f176f5aa76dacc354c4218f8"
PINNED_VALUES = {
    "rsi_14": 52.0547321329333,
    "macd": -0.0007133981080349461,
    "macd_signal": -0.000898740045856237,
    "macd_hist": 0.0001853419378212909,
    "atr_14": 0.0013476142260945739,
    "atr_14_ratio": 0.0012258058943709343,
    "adx_14": 19.822898939454376,
    "plus_di_14": 20.300941721203912,
    "minus_di_14": 16.819915311694135,
    "bb_upper": 1.1015568816234138,
    "bb_middle": 1.0987555,
    "bb_lower": 1.0959541183765862,
    "bb_position": 0.6096780236694639,
    "bb_width": 0.005099190171814953,
    "stoch_k": 61.91419141913863,
    "stoch_d": 48.91202121817011,
    "ema_12_ratio": 0.0009972312801123095,
    "ema_26_ratio": 0.00034744308923762013,
    "ema_50_ratio": -0.0004430161837580826,
    "ema_12_26_ratio": -0.0006491408473167093,
    "sma_20_ratio": 0.0005592691003595274,
    "sma_50_ratio": -0.0009888608217921702,
    "roc_10": 0.12568420477416797,
    "momentum_10": 0.0013799999999999368,
    "cci_20": 26.971594518543917,
    "williams_r_14": -25.940594059408806,
    "return_1": 0.000655349747417322,
    "return_5": 0.003056513567270658,
    "return_20": -0.0007453258073605307,
    "volatility_20": 0.0006335367114392758,
    "range_position_20": 0.6003210272873002,
    "body_ratio": 0.5760000000000555,
    "volume_ratio_20": 0.7955801104972375,
}


def _until(end: int, size: int) -> Bars:
    return read_bars({name: values[end - size : end] for name, values in COLUMNS.items()})


def test_catalogue_1_is_the_one_that_was_frozen() -> None:
    assert FEATURES.digest == PINNED_DIGEST
    assert FEATURES.names == tuple(PINNED_VALUES)


@pytest.mark.parametrize("name", FEATURES.names)
def test_values_on_synthetic_bars_do_not_drift(name: str) -> None:
    value = float(FEATURES.row(BARS.until(400), [name])[0])
    assert value == pytest.approx(PINNED_VALUES[name], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", FEATURES.names)
def test_a_value_depends_on_its_warm_up_and_on_nothing_before(name: str) -> None:
    size = FEATURES[name].warm_up
    for end in (700, 1111, 1500):
        exact = FEATURES.row(_until(end, size), [name])
        np.testing.assert_array_equal(exact, FEATURES.row(_until(end, end), [name]))
        np.testing.assert_array_equal(exact, FEATURES.row(BARS.until(end), [name]))


@pytest.mark.parametrize("name", [name for name in FEATURES.names if FEATURES[name].warm_up > 1])
def test_one_bar_short_of_the_warm_up_is_refused(name: str) -> None:
    with pytest.raises(FeatureError) as refused:
        FEATURES.row(_until(900, FEATURES[name].warm_up - 1), [name])
    assert refused.value.code == "DP208"
    assert name in refused.value.where


def _whole_history(name: str) -> np.ndarray:
    high, low, close = BARS.high, BARS.low, BARS.close
    match name:
        case "rsi_14":
            return np.asarray(talib.RSI(close, 14))
        case "macd" | "macd_signal" | "macd_hist":
            return np.asarray(talib.MACD(close, 12, 26, 9)[["macd", "macd_signal", "macd_hist"].index(name)])
        case "atr_14":
            return np.asarray(talib.ATR(high, low, close, 14))
        case "adx_14":
            return np.asarray(talib.ADX(high, low, close, 14))
        case "plus_di_14":
            return np.asarray(talib.PLUS_DI(high, low, close, 14))
        case "minus_di_14":
            return np.asarray(talib.MINUS_DI(high, low, close, 14))
        case "ema_12_ratio" | "ema_26_ratio" | "ema_50_ratio":
            return np.asarray(close / talib.EMA(close, int(name.split("_")[1])) - 1)
        case "bb_upper" | "bb_middle" | "bb_lower":
            bands = talib.BBANDS(close, 20, 2.0, 2.0)
            return np.asarray(bands[["bb_upper", "bb_middle", "bb_lower"].index(name)])
        case "stoch_k" | "stoch_d":
            return np.asarray(
                talib.STOCH(high, low, close, 14, 3, 0, 3, 0)[["stoch_k", "stoch_d"].index(name)]
            )
        case "cci_20":
            return np.asarray(talib.CCI(high, low, close, 20))
        case "williams_r_14":
            return np.asarray(talib.WILLR(high, low, close, 14))
        case "roc_10":
            return np.asarray(talib.ROC(close, 10))
        case _:
            raise LookupError(name)


@pytest.mark.parametrize(
    "name",
    [
        "rsi_14", "macd", "macd_signal", "macd_hist", "atr_14", "adx_14", "plus_di_14", "minus_di_14",
        "ema_12_ratio", "ema_26_ratio", "ema_50_ratio", "bb_upper", "bb_middle", "bb_lower", "stoch_k", "stoch_d",
        "cci_20", "williams_r_14", "roc_10",
    ],
)  # fmt: skip
def test_the_recorded_warm_up_agrees_with_the_whole_history(name: str) -> None:
    whole = _whole_history(name)
    scale = np.nanstd(whole)
    for end in range(1000, 1501, 50):
        value = FEATURES.row(BARS.until(end), [name])[0]
        assert abs(value - whole[end - 1]) < 1e-6 * scale


def test_training_rows_are_the_rows_of_trading() -> None:
    bars = _until(1500, 430)
    matrix = FEATURES.matrix(bars, FEATURES.names)
    assert np.isfinite(matrix[399:]).all()
    for at in (399, 410, 429):
        np.testing.assert_array_equal(matrix[at], FEATURES.row(BARS.until(1070 + at + 1), FEATURES.names))
    for column, name in enumerate(FEATURES.names):
        short = FEATURES[name].warm_up - 1
        assert np.isnan(matrix[:short, column]).all()
        assert np.isfinite(matrix[short:, column]).all()


@pytest.mark.parametrize(
    "name", [n for n in FEATURES.names if FEATURES[n].guard is not None or n == "volume_ratio_20"]
)
def test_a_market_that_stands_still_has_no_value_rather_than_zero(name: str) -> None:
    still = np.full(500, 1.25)
    bars = Bars(still, still, still, still, np.zeros(500))
    with pytest.raises(FeatureError) as refused:
        FEATURES.row(bars, [name])
    assert refused.value.code == "DP209"
    assert refused.value.where == name


def test_every_fault_of_a_row_is_named_together() -> None:
    still = np.full(500, 1.25)
    with pytest.raises(FeatureError, match=r"rsi_14, stoch_k"):
        FEATURES.row(Bars(still, still, still, still), ["rsi_14", "return_1", "stoch_k"])


def test_volume_is_needed_only_by_what_reads_it() -> None:
    bars = read_bars({name: values for name, values in COLUMNS.items() if name != "volume"})
    assert np.isfinite(FEATURES.row(bars, ["rsi_14"])).all()
    with pytest.raises(FeatureError, match="DP202"):
        FEATURES.row(bars, ["volume_ratio_20"])


def test_names_and_versions_that_do_not_exist_are_refused() -> None:
    assert catalogue_names() == ("catalogue@1",)
    for unknown in ("RSI_14", "rsi", "rsi_14 ", ""):
        with pytest.raises(FeatureError, match="DP211"):
            FEATURES.row(BARS, [unknown])
        with pytest.raises(FeatureError, match="DP211"):
            FEATURES[unknown]
    with pytest.raises(FeatureError, match="DP210"):
        catalogue("catalogue@2")


def test_a_changed_definition_cannot_keep_the_version() -> None:
    definitions = list(FEATURES)
    changed = replace(definitions[0], guard=None)
    with pytest.raises(FeatureError, match="DP212"):
        Catalogue("catalogue@1", [changed, *definitions[1:]], FEATURES.digest)
    with pytest.raises(FeatureError, match="DP212"):
        Catalogue("catalogue@1", definitions[:-1], FEATURES.digest)
    reworded = replace(definitions[0], meaning="Another wording of the same formula.")
    assert len(Catalogue("catalogue@1", [reworded, *definitions[1:]], FEATURES.digest)) == len(FEATURES)


def test_a_changed_compatibility_of_talib_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talib, "get_compatibility", lambda: 1)
    with pytest.raises(FeatureError, match="DP213"):
        FEATURES.row(BARS, ["rsi_14"])


def test_an_unstable_period_set_elsewhere_changes_nothing() -> None:
    script = (
        "import talib; from depickle_runtime.features import catalogue\n"
        "from depickle_runtime.market_data import read_bars\n"
        "from tests.runtime.bars_sim import synthetic_columns\n"
        "bars = read_bars(synthetic_columns(500)); c = catalogue('catalogue@1')\n"
        "names = ['rsi_14', 'atr_14', 'ema_26_ratio']\n"
        "before = c.row(bars, names)\n"
        "for name in ('RSI', 'ATR', 'EMA'): talib.set_unstable_period(name, 40)\n"
        "print((before == c.row(bars, names)).all())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_every_definition_says_what_it_is() -> None:
    for definition in FEATURES:
        assert definition.meaning.endswith(".")
        assert definition.unit
        assert definition.source
        assert definition.warm_up >= 1
        assert definition.columns <= {"open", "high", "low", "close", "volume", "log_return"}
    assert len(FEATURES) >= 16


@settings(max_examples=25)
@given(st.lists(st.integers(-50, 50), min_size=420, max_size=420), st.sampled_from([1e-8, 1e-4, 1.0, 6e4]))
def test_a_row_is_finite_or_refused_whatever_the_market_does(steps: list[int], scale: float) -> None:
    close = np.maximum(np.cumsum(steps) + 5000, 1) * scale
    opened = np.concatenate(([close[0]], close[:-1]))
    bars = Bars(
        opened, np.maximum(opened, close), np.minimum(opened, close), close, np.abs(steps).astype(float)
    )
    for name in FEATURES.names:
        try:
            value = FEATURES.row(bars, [name])
        except FeatureError as refused:
            assert refused.code == "DP209"
        else:
            assert np.isfinite(value).all()
