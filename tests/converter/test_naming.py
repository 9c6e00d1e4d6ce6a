# SPDX-License-Identifier: Apache-2.0
"""Artefacts are named by what the package says, else by the file's name; hostile text names nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from depickle.errors import ConverterError
from depickle.naming import MAX_STEM, name_artefact, parse_training_date

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TRAINED = datetime(2025, 1, 8, 12, tzinfo=UTC)


def stem(file_name: str = "x.pkl", **fields: Any) -> str:
    given: dict[str, Any] = {
        "package_symbol": None,
        "package_name": None,
        "package_version": None,
        "training_date": TRAINED,
        "created": CREATED,
    }
    return name_artefact(file_name=file_name, **(given | fields)).stem


NAMED: dict[str, tuple[str, dict[str, Any], str]] = {
    "the file's name alone": ("EURUSD_ml_package_20250108_120000.pkl", {}, "EURUSD_ml_package_v20250108.1.0"),
    "the package's own name": (
        "x.pkl",
        {"package_symbol": "EURUSD", "package_name": "EURUSD_pattern_trader"},
        "EURUSD_pattern_trader_v20250108.1.0",
    ),
    "the package's own version": (
        "EURUSD_a.pkl",
        {"package_version": "20240101.2.0"},
        "EURUSD_a_v20240101.2.0",
    ),
    "a version that begins with v": ("EURUSD_a.pkl", {"package_version": "v1.3.0"}, "EURUSD_a_v1.3.0"),
    "a version that is none": ("EURUSD_a.pkl", {"package_version": "../1"}, "EURUSD_a_v20250108.1.0"),
    "no training date": ("EURUSD_a.pkl", {"training_date": None}, "EURUSD_a_v20260304.1.0"),
    "a symbol with a slash": ("x.pkl", {"package_symbol": "eur/usd"}, "EURUSD_x_v20250108.1.0"),
    "a demo symbol": ("DEMO_EURUSD_a.pkl", {}, "DEMO_EURUSD_a_v20250108.1.0"),
    "the operator's symbol wins": (
        "EURUSD_a.pkl",
        {"symbol": "XAUUSD", "package_symbol": "GBPUSD"},
        "XAUUSD_EURUSD_a_v20250108.1.0",
    ),
    "a symbol and nothing else": ("EURUSD.pkl", {}, "EURUSD_model_v20250108.1.0"),
    "a hostile name of the package": (
        "x.pkl",
        {"package_symbol": "EURUSD", "package_name": "../../etc/\x1b[31m\u202ename"},
        "EURUSD_etc_31m_name_v20250108.1.0",
    ),
}


@pytest.mark.parametrize(("file_name", "fields", "expected"), NAMED.values(), ids=NAMED.keys())
def test_a_name(file_name, fields, expected):
    assert stem(file_name, **fields) == f"{expected}_20260304_050607"


SYMBOLLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "a file name in lower case": ("model.pkl", {}),
    "a file name of digits": ("20250108.pkl", {}),
    "a package's symbol of other characters only": ("x.pkl", {"package_symbol": "€€€"}),
    "a symbol of one letter": ("x.pkl", {"symbol": "A"}),
    "a symbol of twenty letters": ("x.pkl", {"symbol": "A" * 20}),
    "a file name of nothing": (".pkl", {}),
}


@pytest.mark.parametrize(("file_name", "fields"), SYMBOLLESS.values(), ids=SYMBOLLESS.keys())
def test_no_symbol_is_guessed(file_name, fields):
    with pytest.raises(ConverterError) as caught:
        stem(file_name, **fields)
    assert caught.value.code == "DP810"
    assert "--symbol" in caught.value.next_step


def test_the_longest_name_leaves_room_for_digits_and_suffix():
    longest = stem(
        "x.pkl", package_symbol="DEMO_" + "A" * 16, package_name="p" * 500, package_version="1" * 32
    )
    assert len(f"{longest}_12345678") <= MAX_STEM


DATES: dict[str, tuple[str | None, str, str | None]] = {
    "a date and time with a zone": ("2025-01-08T23:30:00-05:00", "x", "2025-01-09T04:30:00+00:00"),
    "a date and time without a zone counts as UTC": ("2025-01-08T12:00:00", "x", "2025-01-08T12:00:00+00:00"),
    "a stamp": ("20250108_120000", "x", "2025-01-08T12:00:00+00:00"),
    "the package wins over the file's name": ("2025-01-08", "E_20240101.pkl", "2025-01-08T00:00:00+00:00"),
    "the file's name alone": (None, "E_ml_20240908_110259.pkl", "2024-09-08T11:02:59+00:00"),
    "nonsense, and a file name": ("last tuesday", "E_20240101.pkl", "2024-01-01T00:00:00+00:00"),
    "nonsense alone": ("last tuesday", "E.pkl", None),
    "a month that is none": (None, "E_20241301.pkl", None),
    "digits that are no stamp": (None, "E_1202401012.pkl", None),
}


@pytest.mark.parametrize(("text", "file_name", "expected"), DATES.values(), ids=DATES.keys())
def test_a_training_date(text, file_name, expected):
    found = parse_training_date(text, file_name)
    assert (None if found is None else found.isoformat()) == expected
