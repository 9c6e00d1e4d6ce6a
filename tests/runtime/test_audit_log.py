# SPDX-License-Identifier: Apache-2.0
"""The audit log shows every change but the loss of its end, and survives several writers and a power cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from depickle_runtime.audit_log import GENESIS, AuditLog, verify_log
from depickle_runtime.errors import AuditError


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    audit = AuditLog(tmp_path / "audit.jsonl", actor="tester")
    for number in range(5):
        audit.append("model.load", outcome="ok", model=f"m{number}.onnx", durable=False)
    return audit


def lines(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def test_an_honest_log_is_intact(log: AuditLog) -> None:
    report = verify_log(log.path)
    assert (report.intact, report.entries, report.torn) == (True, 5, 0)
    assert log.head() == (5, report.head)
    assert json.loads(lines(log)[0])["previous"] == GENESIS


@pytest.mark.parametrize("change", ["edit", "remove", "swap", "insert", "cut the front"])
def test_a_changed_log_is_noticed(log: AuditLog, change: str) -> None:
    text = lines(log)
    if change == "edit":
        text[2] = text[2].replace(b"m2", b"m9")
    elif change == "remove":
        del text[2]
    elif change == "swap":
        text[1], text[2] = text[2], text[1]
    elif change == "insert":
        text.insert(2, text[2])
    else:
        del text[0]
    log.path.write_bytes(b"".join(text))
    assert not verify_log(log.path).intact


def test_a_line_torn_by_a_power_cut_is_recorded_and_kept(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"actor":"tes')
    assert not verify_log(log.path).intact
    log.append("model.load", outcome="ok", model="after.onnx")
    report = verify_log(log.path)
    assert (report.intact, report.torn, report.entries) == (True, 1, 7)
    assert log.path.read_bytes().startswith(whole + b'{"actor":"tes\n')


def test_a_broken_last_line_is_never_continued(log: AuditLog) -> None:
    log.path.write_bytes(log.path.read_bytes() + b"somebody was here\n")
    before = log.path.read_bytes()
    with pytest.raises(AuditError) as caught:
        log.append("model.load", outcome="ok")
    assert caught.value.code == "DP161"
    assert log.path.read_bytes() == before


def test_control_characters_cannot_forge_a_line(log: AuditLog) -> None:
    log.append(
        "model.refused",
        outcome="refused",
        model='x\n{"event":"model.load"}\x1b[2J\u202e',
        detail="\ud800" * 9000,
    )
    last = lines(log)[-1]
    assert len(lines(log)) == 6
    assert b"\x1b" not in last
    assert "\u202e" not in json.loads(last)["model"]
    assert verify_log(log.path).intact


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError) as caught:
        AuditLog(tmp_path / "file" / "audit.jsonl")
    assert caught.value.code == "DP162"
    (tmp_path / "folder").mkdir()
    with pytest.raises(AuditError):
        AuditLog(tmp_path / "folder").append("x", outcome="ok")


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / "audit.jsonl").symlink_to(target)
    with pytest.raises(AuditError):
        AuditLog(tmp_path / "audit.jsonl").append("x", outcome="ok")
    assert target.read_bytes() == b""


def test_several_processes_share_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    script = (
        "import sys; from pathlib import Path; from depickle_runtime.audit_log import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), actor=sys.argv[2])\n"
        "for _ in range(200): log.append('model.load', outcome='ok', durable=False)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), f"writer {i}"]) for i in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    report = verify_log(path)
    assert (report.intact, report.entries) == (True, 600)
