# SPDX-License-Identifier: Apache-2.0
"""The other subcommands from the outside: answers, exit codes, formats, and hostile text that stays text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from depickle.commands import main
from tests.converter.migration_kit import HOSTILE, MigratingHost, package, share_worker
from tests.model_store_sim import snapshot

SCAN = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema_version", "files"],
    "properties": {
        "schema_version": {"const": 1},
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "sha256", "verdict", "container", "writer", "findings"],
                "properties": {
                    "path": {"type": "string"},
                    "sha256": {"type": "string", "pattern": "^([0-9a-f]{64})?$"},
                    "verdict": {"enum": ["accepted", "refused", "unreadable"]},
                    "container": {"type": "string"},
                    "writer": {"type": "object", "additionalProperties": {"type": "string"}},
                    "findings": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["rule", "severity", "message", "offset", "opcode", "global"],
                            "properties": {
                                "rule": {"type": "string", "pattern": "^DP[1-9][0-9]{2}$"},
                                "severity": {"enum": ["note", "warning", "error"]},
                                "message": {"type": "string"},
                                "offset": {"type": ["integer", "null"]},
                                "opcode": {"type": ["string", "null"]},
                                "global": {"type": ["string", "null"]},
                            },
                        },
                    },
                },
            },
        },
    },
}
VERIFY_KEYS = {
    "checksum_valid",
    "signature_valid",
    "metadata_found",
    "in_allowed_list",
    "checksum_sha256",
    "checksum_sha512",
    "errors",
    "path",
    "valid",
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MigratingHost:
    share_worker(monkeypatch)
    return MigratingHost(tmp_path)


@pytest.fixture
def store(host: MigratingHost) -> MigratingHost:
    host.put("EURUSD_a.pkl")
    result, _, _ = host.migrate()
    assert result.exit_code == 0
    return host


def test_scan_json_is_as_documented(host: MigratingHost):
    host.put("a.pkl")
    host.put("bad.pkl", HOSTILE)
    host.put("torn.pkl", b"\x80\x04")
    os.mkfifo(host.models / "pipe.pkl")
    result = host.run("scan", str(host.models), "--format", "json")
    report = json.loads(result.stdout)
    jsonschema.validate(report, SCAN)
    verdicts = {Path(file["path"]).name: file["verdict"] for file in report["files"]}
    assert (verdicts["a.pkl"], verdicts["bad.pkl"], verdicts["pipe.pkl"]) == (
        "accepted",
        "refused",
        "unreadable",
    )
    assert result.exit_code == 10


def test_scan_shows_rule_offset_opcode_and_what_would_have_been_reached(host: MigratingHost):
    host.put("bad.pkl", HOSTILE)
    result = host.run("scan", str(host.models))
    assert result.exit_code == 10
    for shown in ("error[DP420]", "byte 2", "opcode REDUCE", "would have reached: posix.system"):
        assert shown in result.stdout


@pytest.mark.parametrize("format_", ["text", "json", "sarif"])
def test_scan_exits_alike_whatever_the_format(host: MigratingHost, format_):
    scan = ("scan", str(host.models), "--format", format_)
    assert host.run(*scan).exit_code == 3
    host.put("a.pkl")
    assert host.run(*scan).exit_code == 0
    host.put("bad.pkl", HOSTILE)
    assert host.run(*scan).exit_code == 10
    assert host.run(*scan, "--exit-zero").exit_code == 0


def test_scan_reads_through_a_link_to_a_file(host: MigratingHost):
    (host.root / "elsewhere.bin").write_bytes(HOSTILE)
    (host.models / "latest.pkl").symlink_to(host.root / "elsewhere.bin")
    (host.models / "folder").symlink_to(host.root)
    result = host.run("scan", str(host.models))
    assert (result.exit_code, "DP420" in result.stdout) == (10, True)
    assert "not entered, a link:" in result.stderr


def test_sarif_has_the_structure_that_its_readers_need(host: MigratingHost):
    host.put("a b.pkl", HOSTILE)
    result = host.run("scan", str(host.models), "--format", "sarif")
    log = json.loads(result.stdout)
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == sorted(set(rules))
    assert run["results"][0]["level"] == "error"
    for each in run["results"]:
        assert each["ruleId"] in rules
        assert each["message"]["text"]
        place = each["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"].endswith("a%20b.pkl")
        assert place["region"]["byteOffset"] >= 0
    assert run["artifacts"][0]["hashes"]["sha-256"]


def test_hostile_names_and_texts_are_escaped_in_every_format(host: MigratingHost):
    hostile = b"\x80\x04cposix\nsystem\x1b[2J\n\x8c\x04true\x85R."
    names = [b"a\xff.pkl", b"b\x1b[31m.pkl", b"c\nok.pkl", "d\u202ekl.pkl".encode()]
    for name in names:
        (host.models / os.fsdecode(name)).write_bytes(hostile)
    for format_ in ("text", "json", "sarif"):
        result = host.run("scan", str(host.models), "--format", format_)
        assert result.exit_code == 10
        assert "\x1b" not in result.output
        assert "\nok.pkl" not in result.output
        result.stdout.encode()
    for name in names:
        for format_ in ("text", "json"):
            result = host.run("inspect", os.path.join(host.models, os.fsdecode(name)), "--format", format_)
            assert (result.exit_code, "\x1b" in result.output) == (10, False)


def test_inspect_shows_the_tree_of_a_package(host: MigratingHost):
    path = host.put("a.pkl")
    result = host.run("inspect", str(path))
    assert result.exit_code == 0
    for shown in ("accepted", "DecisionTreeClassifier", "feature_names", "rsi_14", "max_depth"):
        assert shown in result.stdout
    told = json.loads(host.run("inspect", str(path), "--format", "json").stdout)
    assert (told["verdict"], told["tree"]["kind"]) == ("accepted", "dict")


def test_inspect_shows_an_onnx_file_and_refuses_a_broken_one(store: MigratingHost):
    (path,) = store.models.glob("*.onnx")
    result = store.run("inspect", str(path))
    assert (result.exit_code, "input   " in result.stdout) == (0, True)
    (store.root / "bad.onnx").write_bytes(b"\x08\x0a\x12")
    result = store.run("inspect", str(store.root / "bad.onnx"), "--format", "json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["verdict"]) == (10, "refused")
    assert re.fullmatch(r"DP3\d\d", told["findings"][0]["rule"])


def test_verify_json_has_the_guides_keys(store: MigratingHost):
    result = store.run("verify", "--models-dir", str(store.models), "--format", "json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["valid"], report["schema_version"]) == (0, True, 1)
    assert len(report["files"]) == 2
    for file in report["files"]:
        assert set(file) >= VERIFY_KEYS


@pytest.mark.parametrize("arguments", [("verify",), ("migrate", "--verify-only")])
def test_verify_finds_a_flipped_bit(store: MigratingHost, arguments):
    (path,) = store.models.glob("*.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    result = store.run(*arguments, "--models-dir", str(store.models))
    assert result.exit_code == 12
    assert "FAILED" in result.stdout
    assert "1 of 2 artefacts verify" in result.stdout


def test_verify_changes_nothing_and_lists_legacy_files(store: MigratingHost):
    store.put("EURUSD_new.pkl")
    before = snapshot(store.models)
    result = store.run("verify", "--models-dir", str(store.models))
    assert (result.exit_code, "legacy  EURUSD_new.pkl" in result.stdout) == (0, True)
    assert snapshot(store.models) == before


def test_release_show_tells_what_is_signed(store: MigratingHost):
    result = store.run("release", "show", "--models-dir", str(store.models))
    assert result.exit_code == 0
    assert "verified, signed by alice" in result.stdout
    told = json.loads(
        store.run("release", "show", "--models-dir", str(store.models), "--format", "json").stdout
    )
    assert (told["valid"], told["release"]["serial"], list(told["release"]["current"])) == (
        True,
        1,
        ["EURUSD"],
    )


def test_release_show_shows_what_does_not_verify_as_such(store: MigratingHost):
    path = store.models / ".metadata" / "release.json"
    held = json.loads(path.read_bytes())
    held["signatures"][0]["sig"] = "AAAA" + held["signatures"][0]["sig"][4:]
    path.write_text(json.dumps(held, separators=(",", ":"), sort_keys=True))
    result = store.run("release", "show", "--models-dir", str(store.models))
    assert result.exit_code == 12


def test_release_show_of_a_folder_without_a_release(host: MigratingHost):
    result = host.run("release", "show", "--models-dir", str(host.models))
    assert (result.exit_code, "error[DP137]" in result.stderr) == (12, True)


def test_the_audit_log_is_shown_and_its_chain_checked(store: MigratingHost):
    shown = store.run("audit", "show", "-n", "2")
    assert (shown.exit_code, len(shown.stdout.splitlines())) == (0, 2)
    assert "model.load" in shown.stdout
    told = json.loads(store.run("audit", "verify", "--format", "json").stdout)
    assert (told["intact"], told["faults"]) == (True, [])
    log = store.root / "state" / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"ok"', b'"no"', 1))
    result = store.run("audit", "verify")
    assert (result.exit_code, "BROKEN" in result.stdout) == (12, True)


def test_an_audit_log_of_nonsense_is_shown_as_such(host: MigratingHost):
    log = host.root / "log"
    log.write_bytes(b'{"event":"\\u001b[31m"}\n\xff\xfe\n[1]\n' + b"[" * 100_000)
    result = host.run("audit", "show", "--audit-log", str(log))
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert result.stdout.count("not a line of the log") == 3


def test_a_missing_audit_log_is_a_matter_of_usage(host: MigratingHost):
    result = host.run("audit", "verify")
    assert (result.exit_code, "error[DP938]" in result.stderr) == (2, True)


def test_every_code_of_migration_can_be_explained():
    page = (Path(__file__).parents[2] / "docs" / "errors" / "migration.md").read_text()
    documented = set(re.findall(r"^## (DP\d{3})$", page, re.MULTILINE))
    package_dir = Path(__file__).parents[2] / "converter" / "depickle"
    own = ["*.py", "commands/*.py"]
    used = {
        code
        for pattern in own
        for path in package_dir.glob(pattern)
        for code in re.findall(r'code="(DP(?:80[1-9]|81\d|82\d|83\d|84\d|899|93\d))"', path.read_text())
    }
    assert used - documented == set()
    assert documented - used == set()


@pytest.mark.parametrize("name", ["scan", "inspect", "verify", "allow"])
def test_an_output_that_cannot_be_written_is_refused_first(host: MigratingHost, name):
    path = host.put("a.pkl")
    arguments = {
        "scan": ("scan", str(path)),
        "inspect": ("inspect", str(path)),
        "verify": ("verify", "--models-dir", str(host.models)),
        "allow": ("allow", "--propose", str(path)),
    }[name]
    result = host.run(*arguments, "-o", str(host.root / "gone" / "x"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error[DP930]" in result.stderr


def test_an_output_that_exists_keeps_its_content_until_the_answer_is_there(host: MigratingHost):
    report = host.root / "report.json"
    report.write_text("yesterday's")
    del host.environ["ML_TRUST_POLICY"]
    assert host.run("verify", "--models-dir", str(host.models), "-o", str(report)).exit_code == 2
    assert report.read_text() == "yesterday's"


def test_what_the_system_refuses_is_an_error_with_a_code(host: MigratingHost, monkeypatch):
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", refuse)
    result = host.run("migrate", "--models-dir", str(host.models))
    assert (result.exit_code, "error[DP936]" in result.stderr) == (2, True)


def test_a_scan_that_memory_does_not_hold_is_a_report(host: MigratingHost, monkeypatch):
    def exhausted(*arguments: Any, **keywords: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("depickle.commands.scan.scan", exhausted)
    result = host.run("scan", str(host.put("a.pkl")), "--format", "json")
    assert json.loads(result.stdout)["files"][0]["findings"][0]["rule"] == "DP805"
    assert result.exit_code == 10


USAGE = {
    "no command": ([], 2),
    "an unknown command": (["frobnicate"], 2),
    "an unknown option": (["scan", "--loudly", "."], 2),
    "no path": (["scan"], 2),
    "a path that is not there": (["scan", "no-such-file.pkl"], 2),
    "an unknown format": (["scan", ".", "--format", "xml"], 2),
    "an unknown tier": (["migrate", "--accept", "all"], 2),
    "an unknown code": (["explain", "DP000"], 2),
    "help": (["--help"], 0),
    "version": (["--version"], 0),
}


@pytest.mark.parametrize(("arguments", "code"), USAGE.values(), ids=USAGE.keys())
def test_usage(arguments, code):
    assert CliRunner().invoke(main, arguments).exit_code == code


@pytest.mark.parametrize(
    "name", ["scan", "migrate", "verify", "inspect", "keys", "release", "audit", "explain"]
)
def test_every_subcommand_has_help(name):
    result = CliRunner().invoke(main, [name, "--help"])
    assert (result.exit_code, result.stdout.startswith("Usage: ")) == (0, True)


def test_the_command_as_a_process(host: MigratingHost):
    path = host.put("bad.pkl", HOSTILE)
    marker = host.root / "touched"
    path.write_bytes(
        HOSTILE.replace(
            b"\x8c\x04true", b"\x8c" + bytes([len(f"touch {marker}")]) + f"touch {marker}".encode()
        )
    )
    done = host.spawn("scan", str(path))
    assert (done.returncode, marker.exists()) == (10, False)
    assert "posix.system" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_a_terminal_without_our_characters_gets_escapes(host: MigratingHost):
    host.put("a.pkl", package(note="–→"))
    host.environ |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = host.spawn("inspect", str(host.models / "a.pkl"))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away_is_no_traceback(host: MigratingHost):
    host.put("a.pkl")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "depickle", "scan", str(host.models)],
            stdout=gone,
            stderr=subprocess.PIPE,
            env=host.environ,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
