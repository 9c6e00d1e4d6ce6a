# SPDX-License-Identifier: Apache-2.0
"""A label means sell, wait or buy by what it is, never by where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from depickle.errors import ConverterError
from depickle.labels import map_labels, parse_label_map
from depickle_runtime.errors import ConfigurationError

KNOWN: dict[str, tuple[list[Any], list[str]]] = {
    "minus one, zero, one": ([-1, 0, 1], ["sell", "wait", "buy"]),
    "the same in another order": ([1, -1, 0], ["buy", "sell", "wait"]),
    "the same as floats": ([-1.0, 0.0, 1.0], ["sell", "wait", "buy"]),
    "zero and one": ([0, 1], ["wait", "buy"]),
    "false and true": ([False, True], ["wait", "buy"]),
    "words": (["BUY", "Sell", "wait"], ["buy", "sell", "wait"]),
    "two of the words": (["SELL", "BUY"], ["sell", "buy"]),
}


@pytest.mark.parametrize(("classes", "signals"), KNOWN.values(), ids=KNOWN.keys())
def test_labels_with_a_meaning(classes, signals):
    assert map_labels(classes, None) == signals


UNKNOWN: dict[str, list[Any]] = {
    "zero, one, two": [0, 1, 2],
    "one and two": [1, 2],
    "minus one and one": [-1, 1],
    "one class": [1],
    "other words": ["up", "down"],
    "one word twice in two spellings": ["BUY", "buy"],
    "a word among numbers": [0, "BUY"],
}


@pytest.mark.parametrize("classes", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_labels_without_a_meaning_need_a_map(classes):
    with pytest.raises(ConverterError) as caught:
        map_labels(classes, None, "x.pkl")
    assert caught.value.code == "DP811"
    assert all(str(label) in caught.value.found for label in classes)


def test_a_map_gives_a_meaning_and_has_to_be_complete():
    given = parse_label_map("0=sell, 1=WAIT ,2=buy")
    assert map_labels([2, 0, 1], given) == ["buy", "sell", "wait"]
    with pytest.raises(ConverterError, match="no entry for 3"):
        map_labels([0, 3], given)


BAD_MAPS = {
    "nothing": "",
    "no signal": "0",
    "another word": "0=hold",
    "no label": "=buy",
    "a label twice": "0=sell,0=buy",
    "a trailing comma": "0=sell,",
}


@pytest.mark.parametrize("text", BAD_MAPS.values(), ids=BAD_MAPS.keys())
def test_a_map_that_cannot_be_read(text):
    with pytest.raises(ConfigurationError) as caught:
        parse_label_map(text)
    assert caught.value.code == "DP931"
