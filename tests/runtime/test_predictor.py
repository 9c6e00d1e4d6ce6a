# SPDX-License-Identifier: Apache-2.0
"""The predictor over real signed stores: damage, reload, revocation, threads, no input or output in the hot call."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depickle_runtime import (
    ConfigurationError,
    ExpiredError,
    ReleaseError,
    SecureMLPredictor,
    SecurityError,
    SignatureError,
    create_secure_ml_predictor,
)
from depickle_runtime.features import catalogue
from depickle_runtime.market_data import read_bars
from depickle_runtime.release import record_name
from depickle_runtime.trust import encode_policy
from tests.model_store_sim import SECRET, snapshot
from tests.runtime.bars_sim import synthetic_columns
from tests.runtime.signal_store import CATALOGUE_FEATURES, SignalStore, engineer, expected

ROW = {"a": 0.5, "b": -1.0, "c": 2.0}
VALUES = list(ROW.values())


@pytest.fixture
def store(tmp_path: Path) -> SignalStore:
    made = SignalStore(tmp_path)
    made.publish_symbols("EURUSD", "GBPUSD", "USDJPY")
    return made


def test_a_published_model_answers_as_the_bare_model_does(store: SignalStore) -> None:
    with store.predictor() as predictor:
        assert predictor.symbols == ("EURUSD", "GBPUSD", "USDJPY")
        for seed, symbol in enumerate(predictor.symbols):
            confidence, details = predictor.predict_signal(symbol, ROW)
            wanted, label = expected(seed, VALUES)
            assert confidence == pytest.approx(wanted, abs=1e-15)
            assert details["label"] == label
            assert details["serial"] == 1
            assert details["tier"] == "certified"
            assert details["version"] == "1"
            assert details["digest"] == store.whitelist()[details["model"]]
            assert details["logged"] is True


def test_every_prediction_is_in_the_database(store: SignalStore) -> None:
    with store.predictor() as predictor:
        given = [
            predictor.predict_signal(symbol, ROW, news_sentiment=0.25)
            for symbol in ("EURUSD", "GBPUSD", "XAUUSD")
        ]
    with closing(sqlite3.connect(store.root / "data" / "trades.db")) as connection:
        rows = connection.execute(
            "SELECT symbol, confidence, abstained, digest, news_sentiment FROM ml_predictions ORDER BY id"
        ).fetchall()
    assert rows == [
        (details["symbol"], confidence, details["abstained"], details["digest"], 0.25)
        for confidence, details in given
    ]
    assert rows[2][:3] == ("XAUUSD", None, "no_model")


@pytest.mark.parametrize("symbol", ["XAUUSD", "eurusd", "", None, 5, ["EURUSD"], "\ud800"])
def test_an_unknown_symbol_is_an_abstention(store: SignalStore, symbol: Any) -> None:
    with store.predictor() as predictor:
        confidence, details = predictor.predict_signal(symbol, ROW)
        assert (confidence, details["abstained"], details["code"]) == (None, "no_model", "DP230")
        assert predictor.get_model_info(symbol) is None
    assert predictor.log_health is not None and predictor.log_health.ok


DAMAGE: dict[str, tuple[Callable[[SignalStore, str], None], str]] = {
    "a flipped bit of the artefact": (lambda store, name: store.flip(name), "DP140"),
    "a missing artefact": (lambda store, name: store.path(name).unlink(), "DP137"),
    "a flipped bit of the metadata": (lambda store, name: store.flip(f".metadata/{name}.json"), "DP122"),
    "missing metadata": (lambda store, name: store.path(f".metadata/{name}.json").unlink(), "DP121"),
    "a flipped bit of the record": (
        lambda store, name: store.flip(record_name(name.removesuffix(".onnx"))),
        "DP128",
    ),
    "an entry taken off the whitelist": (
        lambda store, name: store.edit(
            "allowed_models.json", lambda data: data.replace(name.encode(), b"other.onnx")
        ),
        "DP133",
    ),
}


@pytest.mark.parametrize("sentence", DAMAGE, ids=str)
def test_a_damaged_model_costs_its_own_symbol_only(store: SignalStore, sentence: str) -> None:
    damage, code = DAMAGE[sentence]
    name = f"{store.stems[1]}.onnx"
    damage(store, name)
    before = snapshot(store.models_dir)
    with store.predictor() as predictor:
        assert predictor.symbols == ("EURUSD", "USDJPY")
        assert predictor.failures["GBPUSD"].code == code
        confidence, details = predictor.predict_signal("GBPUSD", ROW)
        assert (confidence, details["abstained"], details["code"]) == (None, "model_not_loaded", code)
        assert predictor.get_model_info("GBPUSD") is None
        for symbol in predictor.symbols:
            assert predictor.predict_signal(symbol, ROW)[0] is not None
    assert snapshot(store.models_dir) == before


def test_a_damaged_release_means_no_models_at_all(store: SignalStore) -> None:
    store.flip(".metadata/release.json", 100)
    with pytest.raises(SecurityError) as refused:
        store.predictor()
    assert refused.value.code.startswith("DP1")
    store.path(".metadata/release.json").unlink()
    with pytest.raises(ReleaseError, match="DP101"):
        store.predictor()


def test_nobody_to_trust_is_an_error_that_names_both_ways(store: SignalStore) -> None:
    with pytest.raises(ConfigurationError, match="DP901") as refused:
        store.predictor(trust_policy=None, secret_key=None)
    assert "ML_TRUST_POLICY" in refused.value.diagnostics()
    assert "MODEL_SECRET_KEY" in refused.value.diagnostics()


def test_another_secret_is_a_refusal(tmp_path: Path) -> None:
    store = SignalStore(tmp_path, mode="secret")
    store.publish_symbols("EURUSD")
    with store.predictor() as predictor:
        assert predictor.symbols == ("EURUSD",)
    with pytest.raises(SignatureError):
        store.predictor(secret_key=SECRET[::-1])


def test_the_factory_takes_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SignalStore(tmp_path, mode="secret")
    store.publish_symbols("EURUSD")
    monkeypatch.chdir(tmp_path)
    variables = {"MODEL_SECRET_KEY": SECRET, "ML_MODELS_DIR": str(store.models_dir)}
    with create_secure_ml_predictor(environ=variables, feature_engineer=engineer) as predictor:
        assert predictor.predict_signal("EURUSD", ROW)[0] is not None
    assert (tmp_path / "data" / "trades.db").is_file()
    assert (tmp_path / "data" / "depickle-state" / "test-store.json").is_file() or list(
        (tmp_path / "data" / "depickle-state").glob("*.json")
    )
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ML_STATE_DIR", str(tmp_path / "elsewhere"))
    with create_secure_ml_predictor(db_path=None, feature_engineer=engineer) as predictor:
        assert predictor.predict_signal("EURUSD", ROW)[1]["logged"] is None
    assert list((tmp_path / "elsewhere").glob("*.json"))


def test_a_catalogue_model_needs_no_engineer(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    store.publish(store.artefact("EURUSD", seed=3, features=CATALOGUE_FEATURES))
    columns = synthetic_columns(400)
    with store.predictor(feature_engineer=None) as predictor:
        confidence, details = predictor.predict_signal("EURUSD", {"H1": columns, "H4": columns})
        row = catalogue("catalogue@1").row(read_bars(columns), CATALOGUE_FEATURES["names"])
        assert confidence == pytest.approx(expected(3, row.tolist())[0], abs=1e-12)
        assert details["features"] == "catalogue@1"
        assert predictor.predict_signal("EURUSD", {"H4": columns})[1]["abstained"] == "market_data"


def test_engineers_by_symbol_serve_their_own_symbols(store: SignalStore) -> None:
    engineers = {"EURUSD": engineer, "GBPUSD": lambda data: {"a": 1.0, "b": 1.0}}
    with store.predictor(feature_engineer=engineers) as predictor:
        assert predictor.predict_signal("EURUSD", ROW)[0] is not None
        assert predictor.predict_signal("GBPUSD", ROW)[1]["abstained"] == "feature_missing"
        assert predictor.predict_signal("USDJPY", ROW)[1]["abstained"] == "no_feature_engineer"
        info = predictor.get_model_info("USDJPY")
        assert info is not None and info["fault"]["code"] == "DP215"
    for wrong in (5, {"EURUSD": None}, {"EURUSD": "x"}):
        with pytest.raises(ConfigurationError, match="DP940"):
            store.predictor(feature_engineer=wrong)


def test_model_info_is_the_guides_metadata_and_more(store: SignalStore) -> None:
    with store.predictor() as predictor:
        info = predictor.get_model_info("EURUSD")
    assert info is not None
    assert info["model_name"] == "EURUSD_trader"
    assert info["checksum_sha256"] == info["digest"]
    assert info["label_map"] == ["sell", "wait", "buy"]
    assert (info["symbol"], info["serial"], info["fault"]) == ("EURUSD", 1, None)


def test_verifying_all_models_reports_each_file_and_changes_nothing(store: SignalStore) -> None:
    with store.predictor() as predictor:
        store.flip(f"{store.stems[0]}.onnx")
        before = snapshot(store.models_dir)
        results = predictor.verify_all_models()
        assert snapshot(store.models_dir) == before
    assert {name: result["valid"] for name, result in results.items()} == {
        f"{store.stems[0]}.onnx": False,
        f"{store.stems[1]}.onnx": True,
        f"{store.stems[2]}.onnx": True,
    }
    assert results[f"{store.stems[0]}.onnx"]["checksum_valid"] is False


def test_reload_swaps_to_what_was_published_since(store: SignalStore) -> None:
    with store.predictor() as predictor:
        store.publish(store.artefact("EURUSD", seed=9), store.artefact("AUDUSD", seed=8))
        assert predictor.predict_signal("EURUSD", ROW)[1]["serial"] == 1
        report = predictor.reload_models()
        assert {symbol: line["status"] for symbol, line in report.items()} == {
            "AUDUSD": "loaded",
            "EURUSD": "loaded",
            "GBPUSD": "unchanged",
            "USDJPY": "unchanged",
        }
        confidence, details = predictor.predict_signal("EURUSD", ROW)
        assert details["serial"] == 2
        assert confidence == pytest.approx(expected(9, VALUES)[0], abs=1e-15)
        assert details["digest"] == report["EURUSD"]["digest"]


def test_a_model_that_cannot_be_reloaded_keeps_running(store: SignalStore) -> None:
    with store.predictor() as predictor:
        before = predictor.predict_signal("EURUSD", ROW)[0]
        store.publish(store.artefact("EURUSD", seed=9))
        store.flip(f"{store.stems[3]}.onnx")
        report = predictor.reload_models()
        assert (report["EURUSD"]["status"], report["EURUSD"]["code"]) == ("kept", "DP140")
        assert report["GBPUSD"]["status"] == "unchanged"
        assert predictor.predict_signal("EURUSD", ROW)[0] == before
        assert predictor.failures["EURUSD"].code == "DP140"


def test_a_model_whose_own_file_was_damaged_keeps_running(store: SignalStore) -> None:
    with store.predictor() as predictor:
        store.path(f"{store.stems[0]}.onnx").unlink()
        assert predictor.reload_models()["EURUSD"]["status"] == "kept"
        assert predictor.predict_signal("EURUSD", ROW)[0] is not None


def test_a_revoked_model_stops_at_reload(store: SignalStore) -> None:
    with store.predictor() as predictor:
        digest = predictor.predict_signal("EURUSD", ROW)[1]["digest"]
        release = store.release()
        revocations = [{"sha256": digest, "reason": "it lost money", "at": "2025-01-08T12:00:00Z"}]
        store.put_release(serial=release.serial + 1, revocations=revocations)
        report = predictor.reload_models()
        assert (report["EURUSD"]["status"], report["EURUSD"]["code"]) == ("stopped", "DP135")
        confidence, details = predictor.predict_signal("EURUSD", ROW)
        assert (confidence, details["abstained"]) == (None, "model_not_loaded")
        assert predictor.predict_signal("GBPUSD", ROW)[0] is not None


def test_a_revoked_model_stops_even_if_its_successor_is_damaged(store: SignalStore) -> None:
    with store.predictor() as predictor:
        digest = predictor.predict_signal("EURUSD", ROW)[1]["digest"]
        store.publish(store.artefact("EURUSD", seed=9), revoke=(digest,))
        store.flip(f"{store.stems[3]}.onnx")
        report = predictor.reload_models()
        assert (report["EURUSD"]["status"], report["EURUSD"]["code"]) == ("stopped", "DP135")
        assert predictor.predict_signal("EURUSD", ROW)[1]["code"] == "DP135"


def test_a_revocation_seen_earlier_stops_a_model_whose_metadata_and_successor_are_damaged(
    store: SignalStore,
) -> None:
    with store.predictor() as predictor:
        digest = predictor.predict_signal("EURUSD", ROW)[1]["digest"]
        store.publish(store.artefact("EURUSD", seed=9), revoke=(digest,))
        store.predictor(
            db_path=store.root / "data" / "other.db"
        ).close()  # another process of this host saw it
        store.put_release(revocations=[], serial=store.release().serial + 1)
        store.flip(f"{store.stems[3]}.onnx")
        store.path(f".metadata/{store.stems[0]}.onnx.json").unlink()
        report = predictor.reload_models()
        assert (report["EURUSD"]["status"], report["EURUSD"]["code"]) == ("stopped", "DP135")
        assert predictor.failures["EURUSD"].code == "DP135"
        assert "model.withdrawn" in predictor._loader.audit.path.read_text()


def test_a_revocation_seen_earlier_stops_a_model_even_if_the_release_no_longer_verifies(
    store: SignalStore,
) -> None:
    with store.predictor() as predictor:
        digest = predictor.predict_signal("EURUSD", ROW)[1]["digest"]
        store.publish(revoke=(digest,))
        store.predictor(db_path=store.root / "data" / "other.db").close()
        store.flip(".metadata/release.json", 100)
        with pytest.raises(SecurityError):
            predictor.reload_models()
        assert predictor.symbols == ("GBPUSD", "USDJPY")
        assert predictor.predict_signal("EURUSD", ROW)[1]["code"] == "DP135"
        assert predictor.predict_signal("GBPUSD", ROW)[0] is not None


def test_a_deleted_whitelist_stops_nothing_that_runs(store: SignalStore) -> None:
    with store.predictor() as predictor:
        store.path("allowed_models.json").unlink()
        report = predictor.reload_models()
        assert {(line["status"], line["code"]) for line in report.values()} == {("kept", "DP131")}
        assert predictor.predict_signal("EURUSD", ROW)[0] is not None


def test_a_model_taken_off_the_whitelist_stops_at_reload(store: SignalStore) -> None:
    with store.predictor() as predictor:
        DAMAGE["an entry taken off the whitelist"][0](store, f"{store.stems[1]}.onnx")
        assert predictor.predict_signal("GBPUSD", ROW)[0] is not None
        assert predictor.reload_models()["GBPUSD"]["status"] == "stopped"
        assert predictor.predict_signal("GBPUSD", ROW)[1]["code"] == "DP133"


def test_a_symbol_that_left_the_release_is_removed(store: SignalStore) -> None:
    with store.predictor() as predictor:
        release = store.release()
        current = {symbol: stem for symbol, stem in release.current.items() if symbol != "USDJPY"}
        store.put_release(serial=release.serial + 1, current=current)
        assert predictor.reload_models()["USDJPY"]["status"] == "removed"
        assert predictor.predict_signal("USDJPY", ROW)[1]["abstained"] == "no_model"


def test_a_release_that_does_not_verify_leaves_everything_running(store: SignalStore) -> None:
    with store.predictor() as predictor:
        before = predictor.predict_signal("EURUSD", ROW)[0]
        release = store.release()
        issued = store.now - timedelta(days=91)
        store.put_release(
            serial=release.serial + 1,
            issued=issued.strftime("%Y-%m-%dT%H:%M:%SZ"),
            expires=(issued + timedelta(days=90)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        with pytest.raises(ExpiredError):
            predictor.reload_models()
        assert predictor.predict_signal("EURUSD", ROW)[0] == before
        assert predictor.symbols == ("EURUSD", "GBPUSD", "USDJPY")


def test_the_hot_call_reads_and_writes_no_file(store: SignalStore) -> None:
    events: list[str] = []
    me = threading.get_ident()
    recording = False

    def hook(event: str, _: Any) -> None:
        if (
            recording
            and threading.get_ident() == me
            and event.startswith(("open", "os.", "sqlite3", "import", "pickle", "socket", "subprocess"))
        ):
            events.append(event)

    with store.predictor() as predictor:
        predictor.predict_signal("EURUSD", ROW)
        sys.addaudithook(hook)
        recording = True
        for _ in range(100):
            assert predictor.predict_signal("EURUSD", ROW)[0] is not None
        recording = False
    assert events == []


def test_threads_get_their_own_answers_while_models_are_reloaded(store: SignalStore) -> None:
    rows = [{"a": number / 7, "b": -number / 3, "c": 1.0} for number in range(8)]
    wanted = {
        (seed, number): expected(seed, list(row.values()))[0]
        for seed in (0, 9)
        for number, row in enumerate(rows)
    }
    faults: list[Any] = []
    done = threading.Event()

    def work(number: int) -> None:
        while not done.is_set():
            confidence, details = predictor.predict_signal("EURUSD", rows[number])
            seed = 0 if details["serial"] == 1 else 9
            if confidence is None or abs(confidence - wanted[seed, number]) > 1e-12:
                faults.append((number, confidence, details))
                return

    with store.predictor() as predictor:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(rows))]
        for thread in threads:
            thread.start()
        try:
            store.publish(store.artefact("EURUSD", seed=9))
            for _ in range(3):
                predictor.reload_models()
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert predictor.predict_signal("EURUSD", ROW)[1]["serial"] == 2
    assert faults == []
    assert predictor.log_health is not None and predictor.log_health.ok


def test_a_database_that_cannot_be_used_is_refused_at_construction(store: SignalStore) -> None:
    (store.root / "data.db").write_bytes(b"x" * 5000)
    with pytest.raises(ConfigurationError, match="DP941"):
        store.predictor(db_path=store.root / "data.db")


def test_a_log_that_fails_shows_in_the_details_and_costs_no_signal(store: SignalStore) -> None:
    predictor = store.predictor()
    assert predictor.close() == 0
    confidence, details = predictor.predict_signal("EURUSD", ROW)
    assert confidence is not None
    assert details["logged"] is False
    assert predictor.log_health is not None and predictor.log_health.lost == 1


def test_the_guides_positional_arguments_still_work(tmp_path: Path) -> None:
    store = SignalStore(tmp_path, mode="secret")
    store.publish_symbols("EURUSD")
    store.policy_path.write_bytes(encode_policy(store.policy))
    predictor = SecureMLPredictor(
        str(store.models_dir), str(tmp_path / "trades.db"), SECRET, environ={}, feature_engineer=engineer
    )
    confidence, details = predictor.predict_signal(symbol="EURUSD", market_data=ROW)
    assert confidence is not None and np.isfinite(confidence) and details["abstained"] is None
    assert predictor.close() == 0


def test_a_host_whose_talib_does_not_load_still_runs_the_callers_models(tmp_path: Path) -> None:
    store = SignalStore(tmp_path)
    store.publish(store.artefact("EURUSD", features=CATALOGUE_FEATURES), store.artefact("GBPUSD"))
    store.policy_path.write_bytes(encode_policy(store.policy))
    script = (
        "import sys; sys.modules['talib'] = None\n"
        "from depickle_runtime import SecureMLPredictor\n"
        "p = SecureMLPredictor(sys.argv[1], None, trust_policy=sys.argv[2], state_dir=sys.argv[3], environ={},\n"
        "                      feature_engineer=dict)\n"
        "row = {'a': 0.5, 'b': -1.0, 'c': 2.0}\n"
        "print(p.predict_signal('EURUSD', row)[1]['code'], p.predict_signal('GBPUSD', row)[1]['abstained'])\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            str(store.models_dir),
            str(store.policy_path),
            str(tmp_path / "state"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["DP214", "None"]
