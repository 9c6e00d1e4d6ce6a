# SPDX-License-Identifier: Apache-2.0
"""The legacy estate is what its manifest says: honest files that answer, hostile files that would bite."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from depickle.errors import ConverterError
from depickle.models import read_model
from depickle.pickles import ScanResult, open_package, scan, vet
from examples.bars import SYMBOLS, load_bars
from examples.legacy_estate.build import FILES, MARKERS, build_estate
from examples.legacy_estate.cache import cached_estate, estate_manifest
from examples.trading_features import FEATURE_NAMES, WINDOW, TradingFeatures, feature_matrix

_ROOT = Path(__file__).resolve().parents[2]
_FAMILIES = {
    "RandomForestClassifier",
    "GradientBoostingClassifier",
    "HistGradientBoostingClassifier",
    "LGBMClassifier",
    "XGBClassifier",
    "LogisticRegression",
}


@pytest.fixture(scope="module")
def estate() -> Path:
    return cached_estate()


def of_kind(estate: Path, kind: str) -> list[dict]:
    return [entry for entry in estate_manifest(estate) if entry["kind"] == kind]


def test_the_manifest_lists_every_file_with_its_digest_and_no_other(estate):
    listed = {entry["file"]: entry["sha256"] for entry in estate_manifest(estate)}
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (estate / FILES).iterdir()}
    assert found == listed


def test_honest_models_cover_symbols_families_containers_and_labels(estate):
    honest = of_kind(estate, "honest")
    assert len(honest) >= 14
    assert {entry["symbol"] for entry in honest} == set(SYMBOLS)
    assert {entry["family"] for entry in honest} == _FAMILIES
    assert {entry["labels"] for entry in honest} == {"wait-buy", "sell-wait-buy", "words"}
    assert len({entry["container"] for entry in honest}) >= 4
    assert Counter(entry["package"] for entry in honest)[False] >= 2


def test_a_hostile_file_cannot_be_told_by_its_name(estate):
    pattern = re.compile(r"(EURUSD|GOOG|BTCUSD)_ml_package_\d{8}_\d{6}\.(pkl|joblib)")
    assert [e["file"] for e in estate_manifest(estate) if not pattern.fullmatch(e["file"])] == []


def test_hostile_files_use_a_technique_each(estate):
    hostile = of_kind(estate, "hostile")
    assert len({entry["description"] for entry in hostile}) == len(hostile) >= 8


def test_every_payload_bites_when_loaded_as_an_unsuspecting_user_would(tmp_path):
    build_in_a_process_of_its_own(tmp_path / "estate")
    command = [sys.executable, "-m", "examples.legacy_estate.detonate", str(tmp_path / "estate")]
    answer = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
    touched = dict(line.split() for line in answer.splitlines())
    armed = [e["file"] for e in of_kind(tmp_path / "estate", "hostile") if e["marker"]]
    assert touched == dict.fromkeys(armed, "True")
    assert len(armed) >= 8


@pytest.mark.slow
def test_the_same_libraries_give_the_same_bytes(tmp_path):
    build_in_a_process_of_its_own(tmp_path / "estate")
    again = {e["file"]: e["sha256"] for e in of_kind(tmp_path / "estate", "honest")}
    once = {e["file"]: e["sha256"] for e in of_kind(cached_estate(quick=True), "honest")}
    assert again == once


def test_the_builder_writes_into_no_folder_that_holds_something(tmp_path):
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(FileExistsError):
        build_estate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.fixture(scope="module")
def scans(estate: Path) -> dict[str, ScanResult]:
    return {
        entry["file"]: scan((estate / FILES / entry["file"]).read_bytes())
        for entry in estate_manifest(estate)
    }


def test_the_gate_accepts_every_honest_file(estate, scans):
    refused = {
        e["file"]: scans[e["file"]].findings for e in of_kind(estate, "honest") if not accepts(scans, e)
    }
    assert refused == {}


def test_the_gate_refuses_every_hostile_file(estate, scans):
    hostile = [entry for entry in of_kind(estate, "hostile") if entry["scan"] == "refused"]
    assert [entry["description"] for entry in hostile if accepts(scans, entry)] == []
    assert len(hostile) >= 8


def test_a_crooked_tree_is_refused_before_anything_predicts_with_it(estate):
    (crooked,) = [e for e in of_kind(estate, "hostile") if e["rule_class"] == "structure"]
    data = (estate / FILES / crooked["file"]).read_bytes()
    with pytest.raises(ConverterError, match=r"outside the (tree|nodes)"):
        read_crooked(data)


def test_a_scan_runs_no_payload(estate, scans):
    assert len(scans) == len(estate_manifest(estate))
    assert list((estate / MARKERS).iterdir()) == []


def test_every_refusal_names_a_rule(estate, scans):
    silent = [
        entry["file"]
        for entry in of_kind(estate, "hostile")
        if entry["scan"] == "refused"
        and not any(re.fullmatch(r"DP4\d\d", finding.rule) for finding in scans[entry["file"]].findings)
    ]
    assert silent == []


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_live_row_of_features_equals_the_row_of_training_to_the_last_bit(symbol):
    bars = load_bars(symbol)
    rows = feature_matrix(bars.columns)
    engineer = TradingFeatures()
    for index in range(0, len(rows), max(1, len(rows) // 40)):
        live = engineer.extract_features(bars.candles(0, index + WINDOW))
        assert live == dict(zip(FEATURE_NAMES, rows[index].tolist(), strict=True))


def test_features_of_real_bars_are_finite():
    assert all(np.isfinite(feature_matrix(load_bars(symbol).columns)).all() for symbol in SYMBOLS)


def test_features_before_the_warm_up_are_refused():
    with pytest.raises(ValueError, match="47 candles, 48 are needed"):
        TradingFeatures().extract_features(load_bars("GOOG").candles(0, WINDOW - 1))


def test_the_bars_are_read_without_importing_the_package_they_ship_in():
    code = (
        "import sys, json; from examples.bars import load_bars; load_bars('GOOG');"
        "print(json.dumps([m for m in ('backtesting', 'bokeh', 'pandas') if m in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=True, capture_output=True)
    assert json.loads(answer.stdout) == []


def build_in_a_process_of_its_own(folder: Path) -> None:
    command = [sys.executable, "-m", "examples.legacy_estate", "--quick", "--out", str(folder)]
    subprocess.run(command, cwd=_ROOT, check=True, capture_output=True)


def read_crooked(data: bytes) -> None:
    vetted = vet(data)
    read_model(open_package(vetted).estimator, writer=vetted.writer)


def accepts(scans: dict[str, ScanResult], entry: dict) -> bool:
    return str(scans[entry["file"]].verdict) == "accepted"
