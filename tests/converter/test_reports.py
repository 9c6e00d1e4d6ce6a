# SPDX-License-Identifier: Apache-2.0
"""Reports carry text of hostile files as text: escaped for people, valid UTF-8 JSON for programs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depickle.reports.encoding import as_json, plain_text
from depickle.reports.escape import MAX_SHOWN, escape
from depickle.reports.migration import MigrationRow, PlanRow, as_json_lines, as_text, plan_as_text

ESCAPED = {
    "a colour": ("\x1b[31m", "\\x1b[31m"),
    "a new line": ("a\nb", "a\\nb"),
    "a line separator": ("a\u2028b", "a\\u2028b"),
    "text that runs backwards": ("a\u202eb", "a\\u202eb"),
    "a lone surrogate": ("a\udcffb", "a\\udcffb"),
    "a character of no meaning": ("a\U000e0001b", "a\\U000e0001b"),
    "plain text": ("EURUSD – 1.0 é 漢", "EURUSD – 1.0 é 漢"),
}


@pytest.mark.parametrize(("text", "shown"), ESCAPED.values(), ids=ESCAPED.keys())
def test_escapes(text, shown):
    assert escape(text) == shown


def test_a_long_text_is_cut_and_counted():
    assert escape("x" * (MAX_SHOWN + 7)) == "x" * MAX_SHOWN + "… (7 more)"


anything = st.text(st.characters(exclude_categories=()))


@given(anything)
def test_whatever_is_escaped_is_one_printable_line(text):
    shown = escape(text, limit=10_000)
    assert shown.isprintable() or shown == "" or all(c.isprintable() or c.isspace() for c in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(st.recursive(anything, lambda inner: st.lists(inner) | st.dictionaries(anything, inner)))
def test_whatever_becomes_json_is_utf8_and_parses(value):
    json.loads(as_json(value).decode("utf-8"))


@given(anything)
def test_text_that_any_encoder_takes_stays_as_it_is(text):
    clean = plain_text(text)
    assert clean.encode("utf-8").decode("utf-8") == clean
    assert plain_text(clean) == clean


def row(**fields):
    given_fields = {
        "path": "models/EURUSD_a.pkl",
        "status": "converted",
        "reason": None,
        "code": None,
        "onnx": "EURUSD_a.onnx",
        "skops": "EURUSD_a.skops",
        "tier": "proven",
        "label_flips": 0,
        "seconds": 1.234,
    }
    return MigrationRow(**(given_fields | fields))


def test_the_table_of_a_migration():
    rows = [
        row(),
        row(
            path="models/x\x1b.pkl",
            status="refused",
            code="DP420",
            reason="DP420 at byte 2: calls\nos.system",
        ),
        row(path="models/y.pkl", status="skipped", reason="already in the store as EURUSD_a"),
    ]
    release = {"store": "t", "serial": 7, "signed_by": "alice\x1b", "expires": "2027-01-01T00:00:00Z"}
    assert as_text(rows, release).splitlines() == [
        "converted  models/EURUSD_a.pkl  proven, 0 label flips  1.23 s",
        "           → EURUSD_a.onnx",
        "refused    models/x\\x1b.pkl     DP420  1.23 s",
        "           DP420 at byte 2: calls\\nos.system",
        "skipped    models/y.pkl           1.23 s",
        "           already in the store as EURUSD_a",
        "",
        "1 converted, 1 refused, 0 failed, 1 skipped of 3 files",
        "release 7 of store t, signed by alice\\x1b",
    ]


def test_json_lines_are_one_line_each():
    lines = as_json_lines([row(path="a\nb\udcff"), row()], None).splitlines()
    assert [json.loads(line).get("path") for line in lines] == ["a\nb\\udcff", "models/EURUSD_a.pkl", None]
    assert json.loads(lines[-1])["summary"]["total"] == 2


def test_the_plan_sums_up_what_is_needed():
    add = "depickle env add 1.2.2"
    missing = {"status": "refused", "code": "DP520", "needs": "scikit-learn 1.2.2", "hint": add}
    rows = [
        PlanRow(path="a.pkl", **missing),
        PlanRow(path="b.pkl", **missing),
        PlanRow(path="c.pkl", status="would convert", symbol="EURUSD", family="Tree", tier="proven"),
    ]
    text = plan_as_text(rows)
    assert "refused       a.pkl  DP520  needs scikit-learn 1.2.2" in text
    assert text.splitlines()[-2:] == [
        "1 of 3 files would convert; nothing was changed",
        f"2 files need scikit-learn 1.2.2: {add}",
    ]
