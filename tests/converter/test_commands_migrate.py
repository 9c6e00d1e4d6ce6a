# SPDX-License-Identifier: Apache-2.0
"""`depickle migrate` from the outside: its JSON, its exit codes, and what it refuses before any work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import sklearn

from depickle import batch
from depickle.commands._common import Exit, most_severe
from tests.converter.migration_kit import HOSTILE, NAMES, MigratingHost, logistic, package, share_worker, tree
from tests.model_store_sim import snapshot

TEXT_OR_NULL = {"type": ["string", "null"]}
ROW = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "path", "status", "reason", "code", "onnx", "skops", "tier", "label_flips", "seconds",
    ],
    "properties": {
        "path": {"type": "string"},
        "status": {"enum": ["converted", "refused", "failed", "skipped"]},
        "reason": TEXT_OR_NULL,
        "code": {"type": ["string", "null"], "pattern": "^DP[1-9][0-9]{2}$"},
        "onnx": TEXT_OR_NULL,
        "skops": TEXT_OR_NULL,
        "tier": {"enum": ["proven", "certified", "sampled", None]},
        "label_flips": {"type": ["integer", "null"]},
        "seconds": {"type": "number", "minimum": 0},
    },
}  # fmt: skip
SUMMARY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema_version", "summary"],
    "properties": {
        "schema_version": {"const": 1},
        "summary": {
            "type": "object",
            "additionalProperties": False,
            "required": ["converted", "refused", "failed", "skipped", "total", "release"],
            "properties": {
                **{
                    key: {"type": "integer"} for key in ("converted", "refused", "failed", "skipped", "total")
                },
                "release": {
                    "type": ["object", "null"],
                    "required": ["store", "serial", "signed_by", "expires"],
                },
            },
        },
    },
}
PLAN_ROW = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path", "status", "reason", "code", "hint", "symbol", "family", "tier", "needs", "writer"],
    "properties": {
        "path": {"type": "string"},
        "status": {"enum": ["would convert", "refused", "skipped"]},
        "writer": {"type": "object", "additionalProperties": {"type": "string"}},
        **dict.fromkeys(("reason", "code", "hint", "symbol", "family", "tier", "needs"), TEXT_OR_NULL),
    },
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MigratingHost:
    share_worker(monkeypatch)
    return MigratingHost(tmp_path)


def foreign_version() -> bytes:
    """A package that says an older scikit-learn wrote it."""
    here = sklearn.__version__.encode()
    return package().replace(here, b"0.9.9"[: len(here)].ljust(len(here), b"9"))


def test_the_json_is_as_documented(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    host.put("bad.pkl", HOSTILE)
    host.put("EURUSD_b.pkl")
    result = host.run("migrate", "--models-dir", str(host.models), "--format", "json")
    *rows, summary = [json.loads(line) for line in result.stdout.splitlines()]
    for row in rows:
        jsonschema.validate(row, ROW)
    jsonschema.validate(summary, SUMMARY)
    assert {row["status"] for row in rows} == {"converted", "refused", "skipped"}


def test_the_plan_is_as_documented_and_changes_nothing(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    host.put("EURUSD_b.pkl", foreign_version())
    host.put("bad.pkl", HOSTILE)
    before = snapshot(host.root)
    result = host.run("migrate", "--models-dir", str(host.models), "--plan", "--format", "json")
    assert result.exit_code == 10
    plan = json.loads(result.stdout)
    assert plan["schema_version"] == 1
    for row in plan["plan"]:
        jsonschema.validate(row, PLAN_ROW)
    ready, foreign, bad = plan["plan"]
    assert (ready["status"], ready["symbol"], ready["tier"]) == ("would convert", "EURUSD", "proven")
    assert foreign["needs"].startswith("scikit-learn 0.9.9")
    assert foreign["writer"]["scikit-learn"].startswith("0.9.9")
    assert (bad["status"], bad["code"]) == ("refused", "DP420")
    after = snapshot(host.root)
    assert {name: after[name] for name in before} == before


def test_the_plan_says_which_library_version_is_needed(host: MigratingHost):
    host.put("EURUSD_b.pkl", foreign_version())
    result = host.run("migrate", "--models-dir", str(host.models), "--plan")
    assert re.search(r"^1 file needs scikit-learn 0\.9\.9\S*: ", result.stdout, re.MULTILINE)
    assert result.exit_code == 1


def test_the_plan_knows_what_the_store_holds(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    host.migrate("--no-backup")
    result = host.run("migrate", "--models-dir", str(host.models), "--plan")
    assert "skipped" in result.stdout
    assert "already in the store as EURUSD_a_v1.3.0" in result.stdout


def test_the_plan_needs_no_key_and_says_what_it_does_not_know(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    for name in ("ML_SIGNING_KEY", "ML_TRUST_POLICY"):
        del host.environ[name]
    result = host.run("migrate", "--models-dir", str(host.models), "--plan")
    assert result.exit_code == 0
    assert "the plan knows nothing of the store" in result.stderr


def exit_nothing_to_do(host: MigratingHost) -> list[str]:
    return []


def exit_done(host: MigratingHost) -> list[str]:
    host.put("EURUSD_a.pkl")
    return []


def exit_unreadable(host: MigratingHost) -> list[str]:
    host.put("EURUSD_a.pkl")
    (host.models / "folder.pkl").symlink_to("EURUSD_a.pkl")
    os.mkfifo(host.models / "pipe.pkl")
    return []


def exit_no_such_folder(host: MigratingHost) -> list[str]:
    return ["--models-dir", str(host.root / "gone")]


def exit_label_map(host: MigratingHost) -> list[str]:
    return ["--label-map", "0=hold"]


def exit_gate(host: MigratingHost) -> list[str]:
    host.put("EURUSD_a.pkl")
    host.put("bad.pkl", HOSTILE)
    return []


def exit_parity(host: MigratingHost) -> list[str]:
    held = json.loads((host.root / "policy.json").read_bytes()) | {"admitted_tiers": ["certified"]}
    (host.root / "policy.json").write_text(json.dumps(held))
    host.put("EURUSD_a.pkl")
    return []


def exit_verification(host: MigratingHost) -> list[str]:
    host.put("EURUSD_a.pkl")
    host.migrate("--no-backup")
    (host.models / ".metadata" / "release.json").write_text("{}")
    host.put("bad.pkl", HOSTILE)
    return []


OUTCOMES = {
    "everything converted": (exit_done, 0),
    "a pipe among the files": (exit_unreadable, 1),
    "no such folder": (exit_no_such_folder, 2),
    "a label map that cannot be read": (exit_label_map, 2),
    "nothing to do": (exit_nothing_to_do, 3),
    "a hostile file among honest ones": (exit_gate, 10),
    "a tier that is not admitted": (exit_parity, 11),
    "a store that does not verify": (exit_verification, 12),
}


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.parametrize(("prepare", "code"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_the_exit_code_of_each_outcome_whatever_the_format(host: MigratingHost, prepare, code, format_):
    options = prepare(host)
    result = host.run("migrate", "--models-dir", str(host.models), "--format", format_, *options)
    assert result.exit_code == code, result.output


@pytest.mark.parametrize("prepare", [exit_gate, exit_parity, exit_nothing_to_do])
def test_exit_zero_is_for_those_who_read_the_report(host: MigratingHost, prepare):
    prepare(host)
    assert host.run("migrate", "--models-dir", str(host.models), "--exit-zero").exit_code == 0


SEVERITIES = [([0, 1, 11, 10, 12], 12), ([1, 11, 10], 10), ([1, 11], 11), ([1, 0], 1), ([3, 0], 3), ([], 0)]


@pytest.mark.parametrize(("codes", "expected"), SEVERITIES)
def test_a_batch_exits_with_the_most_severe_of_its_models(codes, expected):
    assert most_severe([Exit(code) for code in codes]) == expected


def refused_before_work(host: MigratingHost, monkeypatch: pytest.MonkeyPatch, *options: str):
    monkeypatch.setattr(batch._Run, "convert_all", lambda self: pytest.fail("work was begun"))
    host.put("EURUSD_a.pkl")
    before = snapshot(host.models)
    result = host.run("migrate", "--models-dir", str(host.models), *options)
    assert snapshot(host.models) == before
    return result


def test_accepting_a_tier_that_the_policy_does_not_admit_is_refused_before_any_work(host, monkeypatch):
    result = refused_before_work(host, monkeypatch, "--accept", "sampled")
    assert result.exit_code == 2
    assert "error[DP935]" in result.stderr
    assert 'hint: add "sampled" to admitted_tiers' in result.stderr


def test_an_output_that_cannot_be_written_is_refused_before_any_work(host, monkeypatch):
    result = refused_before_work(host, monkeypatch, "-o", str(host.root / "gone" / "report.json"))
    assert (result.exit_code, "error[DP930]" in result.stderr) == (2, True)


def test_a_missing_signing_key_is_refused_before_any_work(host, monkeypatch):
    del host.environ["ML_SIGNING_KEY"]
    result = refused_before_work(host, monkeypatch)
    assert (result.exit_code, "error[DP915]" in result.stderr) == (2, True)


def test_nobody_to_trust_is_refused_before_any_work(host, monkeypatch):
    del host.environ["ML_TRUST_POLICY"]
    result = refused_before_work(host, monkeypatch)
    assert (result.exit_code, "error[DP901]" in result.stderr) == (2, True)


def test_a_disk_that_fills_up_sends_the_report_to_standard_output(host: MigratingHost, monkeypatch):
    host.put("EURUSD_a.pkl")
    report = host.root / "report.json"

    def full(self, *arguments: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    result = host.run("migrate", "--models-dir", str(host.models), "--format", "json", "-o", str(report))
    assert json.loads(result.stdout.splitlines()[0])["status"] == "converted"
    assert (result.exit_code, "No space left on device" in result.stderr) == (2, True)


def test_the_tiers_of_a_policy_are_held_to_before_publishing(tmp_path: Path, monkeypatch):
    share_worker(monkeypatch)
    host = MigratingHost(tmp_path, tiers=["proven"])
    host.put("EURUSD_a.pkl", package(logistic()))
    host.put("EURUSD_b.pkl")
    result, rows, _ = host.migrate()
    assert [row["code"] for row in rows] == ["DP841", None]
    assert (result.exit_code, host.legacy()) == (11, ["EURUSD_a.pkl"])
    assert len(list(host.models.glob("*.onnx"))) == 1


def test_a_secret_alone_is_enough(tmp_path: Path, monkeypatch):
    share_worker(monkeypatch)
    host = MigratingHost(tmp_path, mode="secret")
    host.put("EURUSD_a.pkl", package(logistic()))
    result, rows, _ = host.migrate()
    assert (result.exit_code, rows[0]["status"], rows[0]["tier"]) == (0, "converted", "certified")
    assert host.loader().load_current()[1] == {}


def test_the_users_rows_are_compared_and_recorded(host: MigratingHost):
    host.put("EURUSD_a.pkl", package(logistic()))
    rows = host.root / "rows.npz"
    np.savez(rows, X=np.random.default_rng(1).normal(size=(40, 3)), names=np.array(NAMES))
    _, told, _ = host.migrate("--reference-rows", str(rows))
    record = host.loader().load_model(told[0]["onnx"]).record
    assert record.parity.reference_rows is True
    assert next((each.name, each.rows) for each in record.parity.rows) == ("reference", 40)


def test_rows_that_lack_a_feature_refuse_the_model(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    (host.root / "rows.csv").write_text("rsi_14,atr\n1,2\n")
    result, rows, _ = host.migrate("--reference-rows", str(host.root / "rows.csv"))
    assert (result.exit_code, rows[0]["status"], rows[0]["code"]) == (1, "refused", "DP821")


def test_labels_that_need_a_map_get_it(host: MigratingHost):
    host.put("EURUSD_a.pkl", package(tree(0, labels=(3, 4))))
    _, rows, _ = host.migrate()
    assert rows[0]["code"] == "DP811"
    result, rows, _ = host.migrate("--label-map", "3=sell,4=buy")
    record = host.loader().load_model(rows[0]["onnx"]).record
    assert (result.exit_code, record.label_map) == (0, ["sell", "buy"])


PACKAGES = {
    "too few feature names": (package(feature_names=["a", "b"]), "DP812"),
    "no estimator": (package(model="x"), "DP601"),
    "no symbol anywhere": (package(symbol=None), "DP810"),
}


@pytest.mark.parametrize(("data", "code"), PACKAGES.values(), ids=PACKAGES.keys())
def test_a_package_that_cannot_be_migrated_names_its_code(host: MigratingHost, data, code):
    host.put("model.pkl", data)
    result, rows, _ = host.migrate()
    assert (rows[0]["status"], rows[0]["code"], result.exit_code) == ("refused", code, 1)


def test_the_metadata_says_what_the_package_said(host: MigratingHost):
    held = {"version": "2.0.1", "name": "pattern_trader", "training_data_hash": "ab" * 32}
    host.put("x.pkl", package(metadata=held))
    _, rows, _ = host.migrate("--authorized-by", "the desk")
    model = host.loader().load_model(rows[0]["onnx"])
    assert rows[0]["onnx"].startswith("EURUSD_pattern_trader_v2.0.1_")
    assert (model.metadata.version, model.metadata.authorized_by) == ("2.0.1", "the desk")
    assert model.metadata.training_data_hash == "ab" * 32
    assert model.metadata.feature_names == list(NAMES)
    assert model.metadata.performance_metrics == {"accuracy": 0.75, "trades": 12}
    assert model.record.trained_at == "2025-01-08T12:00:00Z"


def test_the_text_as_a_person_sees_it(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    host.put("bad.pkl", HOSTILE)
    result = host.run("migrate", "--models-dir", str(host.models))
    assert masked(result.stdout, host) == (
        "converted  MODELS/EURUSD_a.pkl  proven, 0 label flips  N s\n"
        "           → EURUSD_a_v1.3.0_TIME.onnx\n"
        "refused    MODELS/bad.pkl       DP420  N s\n"
        "           DP420 at byte 2: Attempted to load unsafe module: loading calls posix.system\n"
        "\n"
        "1 converted, 1 refused, 0 failed, 0 skipped of 2 files\n"
        "release 1 of store t, signed by alice\n"
    )


def test_the_plan_as_a_person_sees_it(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    host.put("bad.pkl", HOSTILE)
    result = host.run("migrate", "--models-dir", str(host.models), "--plan")
    text = re.sub(r"\(numpy [^)]*\)", "(LIBRARIES)", masked(result.stdout, host))
    text = re.sub(r"hint: .*", "hint: HINT", text)
    assert text == (
        "would convert MODELS/EURUSD_a.pkl  EURUSD  DecisionTreeClassifier  proven  (LIBRARIES)\n"
        "refused       MODELS/bad.pkl       DP420\n"
        "              DP420 at byte 2: Attempted to load unsafe module: loading calls posix.system\n"
        "              hint: HINT\n"
        "\n"
        "1 of 2 files would convert; nothing was changed\n"
    )


def masked(text: str, host: MigratingHost) -> str:
    text = text.replace(str(host.models), "MODELS")
    return re.sub(r"\d+\.\d\d s$", "N s", re.sub(r"\d{8}_\d{6}", "TIME", text), flags=re.MULTILINE)


def test_quiet_leaves_the_answer_alone(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    result = host.run("-q", "migrate", "--models-dir", str(host.models), "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 2


def test_a_terminated_run_stops_its_worker_prints_its_rows_and_moves_nothing(tmp_path: Path):
    host = MigratingHost(tmp_path)
    host.put("EURUSD_a.pkl")
    before = snapshot(host.models)
    child = subprocess.Popen(
        [sys.executable, "-m", "depickle", "migrate", "--models-dir", str(host.models), "--format", "json"],
        env=host.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    worker = wait_for_a_child(child.pid)
    child.send_signal(signal.SIGTERM)
    answer, talk = child.communicate(timeout=60)
    assert child.returncode == 1, talk
    rows = [json.loads(line) for line in answer.splitlines()]
    assert (rows[0]["code"], rows[-1]["summary"]["failed"]) == ("DP843", 1)
    assert snapshot(host.models) == before
    wait_for(
        lambda: not Path(f"/proc/{worker}").exists()
    )  # at the latest when it finds that nobody asks any more


def wait_for_a_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_for(lambda: bool(children.read_text().split()))
    return int(children.read_text().split()[0])


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
