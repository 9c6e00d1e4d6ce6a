# SPDX-License-Identifier: Apache-2.0
"""Every form of market data gives the same bars; every fault has its code and changes nothing."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depickle_runtime.errors import FeatureError
from depickle_runtime.market_data import Bars, candle_list, read_bars, timeframe
from tests.runtime.bars_sim import as_candles, synthetic_columns

COLUMNS = synthetic_columns(60)
PRICES = ("open", "high", "low", "close")


def _structured() -> np.ndarray:
    dtype = [("time", "i8"), *((name, "f8") for name in PRICES), ("tick_volume", "u8"), ("real_volume", "u8")]
    array = np.zeros(60, dtype=dtype)
    for name in ("time", *PRICES):
        array[name] = COLUMNS[name]
    array["tick_volume"] = COLUMNS["volume"]
    return array


FORMS: dict[str, Any] = {
    "a mapping of arrays": COLUMNS,
    "a mapping of lists": {name: values.tolist() for name, values in COLUMNS.items()},
    "a mapping with capital names": {name.capitalize(): values for name, values in COLUMNS.items()},
    "a structured array as a terminal returns it": _structured(),
    "a list of candle mappings": as_candles(COLUMNS),
    "a list of candle objects": [SimpleNamespace(**candle) for candle in as_candles(COLUMNS)],
    "an object that holds its candles": SimpleNamespace(candles=as_candles(COLUMNS)),
    "a data frame": pd.DataFrame(COLUMNS),
    "bars that were read before": read_bars(COLUMNS),
}


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("tail", [None, 1, 25, 60, 1000])
def test_every_form_gives_the_same_bars(form: str, tail: int | None) -> None:
    bars = read_bars(FORMS[form], tail=tail)
    start = 0 if tail is None else max(0, 60 - tail)
    assert len(bars) == 60 - start
    assert bars.volume is not None and bars.time is not None
    for name in (*PRICES, "volume", "time"):
        np.testing.assert_array_equal(getattr(bars, name), COLUMNS[name][start:])


def test_a_frame_with_an_index_of_dates_has_a_time() -> None:
    frame = pd.DataFrame({name: COLUMNS[name] for name in PRICES})
    assert read_bars(frame).time is None
    frame.index = pd.to_datetime(COLUMNS["time"], unit="s")
    plain = read_bars(frame, tail=10).time
    frame.index = frame.index.tz_localize("Europe/Berlin")
    zoned = read_bars(frame, tail=10).time
    assert plain is not None and zoned is not None
    assert len(plain) == len(zoned) == 10


def test_bars_are_private_copies_that_cannot_be_written() -> None:
    columns = {name: values.copy() for name, values in COLUMNS.items()}
    bars = read_bars(columns)
    columns["close"][-1] = 99.0
    assert bars.close[-1] == COLUMNS["close"][-1]
    with pytest.raises(ValueError, match="read-only"):
        bars.close[0] = 1.0


def test_naive_times_do_not_depend_on_the_zone_of_the_host() -> None:
    # 2024-10-27 has 02:30 twice in Berlin; read as UTC the two bars are an hour apart.
    times = [datetime.datetime(2024, 10, 27, hour, 30) for hour in (1, 2, 3)]  # noqa: DTZ001  # naive on purpose
    bars = read_bars({name: COLUMNS[name][:3] for name in PRICES} | {"time": times})
    assert bars.time is not None
    assert list(np.diff(bars.time)) == [3600.0, 3600.0]


class _Exploding:
    @property
    def candles(self) -> Any:
        raise ZeroDivisionError("never shown")


class _ExplodingMapping(dict[str, Any]):
    def __iter__(self) -> Any:
        raise RecursionError("never shown")

    def items(self) -> Any:
        raise MemoryError("never shown")


def _with(**changes: Any) -> dict[str, Any]:
    return {**{name: values.copy() for name, values in COLUMNS.items()}, **changes}


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in COLUMNS.items() if key != name}


def _set(name: str, at: int, value: float) -> dict[str, Any]:
    columns = _with()
    columns[name][at] = value
    return columns


BAD: dict[str, tuple[Any, str]] = {
    "None": (None, "DP201"),
    "a number": (1.5, "DP201"),
    "text": ("open,high,low,close", "DP201"),
    "a plain matrix": (np.ones((60, 5)), "DP201"),
    "a list of rows": ([[1.0, 1.0, 1.0, 1.0]], "DP201"),
    "an object whose candles cannot be read": (_Exploding(), "DP201"),
    "a mapping that cannot be walked": (_ExplodingMapping(COLUMNS), "DP201"),
    "no close": (_without("close"), "DP202"),
    "one column twice in two spellings": (_with(Close=COLUMNS["close"]), "DP202"),
    "an empty mapping": ({}, "DP202"),
    "columns of different length": (_with(volume=COLUMNS["volume"][1:]), "DP203"),
    "a column of two dimensions": (_with(close=COLUMNS["close"].reshape(-1, 1)), "DP203"),
    "prices as text": (_with(close=COLUMNS["close"].astype(str)), "DP204"),
    "prices as booleans": (_with(volume=COLUMNS["volume"] > 900), "DP204"),
    "None among the prices": (_with(close=[None, *COLUMNS["close"][1:]]), "DP204"),
    "a ragged column": (_with(close=[[1.0], *COLUMNS["close"][1:]]), "DP204"),
    "times as text": (_with(time=[f"2024-01-01 {i}" for i in range(60)]), "DP204"),
    "a NaN long ago": (_set("close", 0, np.nan), "DP205"),
    "an infinite high": (_set("high", 30, np.inf), "DP205"),
    "a missing date": (_with(time=np.array(["NaT"] * 60, dtype="datetime64[s]")), "DP205"),
    "newest first": ({name: values[::-1] for name, values in COLUMNS.items()}, "DP206"),
    "one time twice": (_set("time", 10, COLUMNS["time"][9]), "DP206"),
    "high below low": (_set("high", 10, 0.5), "DP207"),
    "a close above the high": (_set("close", 10, 2.0), "DP207"),
    "a negative price": (_set("low", 10, -1.0), "DP207"),
    "a negative volume": (_set("volume", 10, -1.0), "DP207"),
    "no candles": ([], "DP208"),
    "no rows": ({name: values[:0] for name, values in COLUMNS.items()}, "DP208"),
}
BAD["volumes that NaN turned into floats"] = (
    {**_with(), "volume": np.where(np.arange(60) == 5, np.nan, COLUMNS["volume"])},
    "DP205",
)
BAD["high below low"] = (_with(high=np.where(np.arange(60) == 10, 0.5, COLUMNS["high"])), "DP207")


@pytest.mark.parametrize("sentence", BAD, ids=str)
def test_a_fault_is_refused_with_its_code(sentence: str) -> None:
    source, code = BAD[sentence]
    with pytest.raises(FeatureError) as refused:
        read_bars(source)
    assert refused.value.code == code
    assert "never shown" not in str(refused.value)


def test_a_fault_before_the_tail_cannot_matter() -> None:
    assert len(read_bars(_set("close", 0, np.nan), tail=59)) == 59


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["open", "high", "low", "close", "H1", "time"]) | st.none(), inner, max_size=6
            )
        ),
        max_leaves=12,
    )
)
def test_arbitrary_values_are_bars_or_a_typed_refusal(source: Any) -> None:
    try:
        bars = read_bars(source)
    except FeatureError as refused:
        assert refused.code.startswith("DP20")
    else:
        assert isinstance(bars, Bars)
        assert np.isfinite(bars.close).all()


def test_timeframes_are_found_without_case_and_never_invented() -> None:
    both = {"h1": "hourly", "H4": "four-hourly"}
    assert timeframe(both, "H1") == "hourly"
    assert timeframe(both, "h4") == "four-hourly"
    assert timeframe({"H4": "x"}, "H1") is None
    assert timeframe(COLUMNS, "H1") is COLUMNS
    assert timeframe(COLUMNS, "H4") is None
    with pytest.raises(FeatureError, match="DP202"):
        timeframe({"h1": 1, "H1": 2}, "H1")
    with pytest.raises(FeatureError, match="DP201"):
        timeframe(_ExplodingMapping(COLUMNS), "H1")
    with pytest.raises(FeatureError, match="DP201"):
        candle_list(_Exploding())
