# SPDX-License-Identifier: Apache-2.0
"""The documentation of features and their error codes is in step with the code."""

from __future__ import annotations

import re
from pathlib import Path

from depickle_runtime.features import catalogue

ROOT = Path(__file__).parents[2]
SOURCES = ("market_data", "feature_rows", "signals", "predictor", "prediction_log")


def test_every_feature_is_documented_as_it_is_defined() -> None:
    text = (ROOT / "docs" / "features.md").read_text()
    features = catalogue("catalogue@1")
    assert features.digest in text
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 6]
    assert rows == [f"| `{f.name}` | {f.meaning} | {f.unit} | {f.warm_up} | {f.source} |" for f in features]


def test_every_code_that_can_stand_in_the_details_is_explained() -> None:
    package = ROOT / "runtime" / "depickle_runtime"
    files = [package / f"{name}.py" for name in SOURCES] + sorted((package / "features").glob("*.py"))
    raised = {
        code
        for file in files
        for code in re.findall(r'(?:code=|_contract\(\s*)"(DP\d{3})"', file.read_text())
    }
    fragments = [*(ROOT / "docs" / "errors").glob("*.md"), *(ROOT / "docs").glob("errors.md")]
    explained = {
        code for file in fragments for code in re.findall(r"^## (DP\d{3})", file.read_text(), re.MULTILINE)
    }
    assert len(raised) > 25
    assert raised - explained == set()
