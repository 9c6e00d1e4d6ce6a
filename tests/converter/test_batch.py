# SPDX-License-Identifier: Apache-2.0
"""A folder is migrated: every file has a row, nothing is lost, and a second run finds nothing left to do."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from depickle import migrate
from depickle.batch import _Run
from depickle.errors import PublishError
from depickle.publishing import publish
from depickle.signing import configure_signer
from depickle.store_access import KnownModels, PublishingStore, migrating
from depickle_runtime.errors import AuditError
from depickle_runtime.release import Revocation
from depickle_runtime.store import WHITELIST_NAME
from tests.converter.migration_kit import HOSTILE, MigratingHost, logistic, package, share_worker, tree
from tests.model_store_sim import snapshot


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MigratingHost:
    share_worker(monkeypatch)
    return MigratingHost(tmp_path)


def test_a_folder_of_honest_and_hostile_files(host: MigratingHost):
    honest = host.put("EURUSD_ml_package_20250108_120000.pkl")
    data = honest.read_bytes()
    host.put("bad.pkl", HOSTILE)
    result, rows, summary = host.migrate()
    assert result.exit_code == 10
    assert [(Path(row["path"]).name, row["status"], row["code"]) for row in rows] == [
        ("EURUSD_ml_package_20250108_120000.pkl", "converted", None),
        ("bad.pkl", "refused", "DP420"),
    ]
    assert (rows[0]["tier"], rows[0]["label_flips"]) == ("proven", 0)
    assert summary["release"]["serial"] == 1
    assert host.legacy() == ["bad.pkl"]
    (backup,) = host.backups()
    assert snapshot(backup) == {honest.name: data}
    models, refusals = host.loader().load_current()
    assert (sorted(models), refusals) == (["EURUSD"], {})


def test_the_name_holds_the_packages_own_version(host: MigratingHost):
    host.put("EURUSD_ml_package_20250108_120000.pkl")
    _, rows, _ = host.migrate()
    assert rows[0]["onnx"].startswith("EURUSD_ml_package_v1.3.0_")


def test_a_second_run_finds_nothing_to_do(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    host.migrate()
    before = snapshot(host.models)
    result, rows, summary = host.migrate()
    assert (result.exit_code, rows, summary["total"]) == (3, [], 0)
    assert snapshot(host.models) == before


def test_without_a_backup_originals_stay_and_the_next_run_skips_them(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    result, rows, _ = host.migrate("--no-backup")
    assert result.exit_code == 0
    assert "no backup was made, so the originals stay" in result.stderr
    assert host.legacy() == ["EURUSD_a.pkl"]
    result, again, summary = host.migrate("--no-backup")
    assert (result.exit_code, again[0]["status"], again[0]["onnx"]) == (3, "skipped", rows[0]["onnx"])
    assert (summary["release"], host.backups()) == (None, [])


def test_an_original_that_an_earlier_run_left_behind_is_backed_up_and_leaves(host: MigratingHost):
    data = host.put("EURUSD_a.pkl").read_bytes()
    host.migrate("--no-backup")
    result, rows, summary = host.migrate()
    assert (result.exit_code, rows[0]["status"], summary["release"]) == (0, "skipped", None)
    assert host.legacy() == []
    assert snapshot(host.backups()[0]) == {"EURUSD_a.pkl": data}


def test_identical_bytes_under_two_names_are_converted_once_and_both_leave(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    data = host.put("sub/EURUSD_b.pkl").read_bytes()
    result, rows, summary = host.migrate()
    assert result.exit_code == 0
    assert [row["status"] for row in rows] == ["converted", "skipped"]
    assert "the same bytes as" in rows[1]["reason"]
    assert rows[1]["onnx"] == rows[0]["onnx"]
    assert (summary["converted"], summary["skipped"]) == (1, 1)
    assert host.legacy() == []
    assert snapshot(host.backups()[0]) == {"EURUSD_a.pkl": data, "sub/EURUSD_b.pkl": data}


def test_identical_bytes_serve_two_symbols_where_the_file_names_say_so(host: MigratingHost):
    data = package(symbol=None)
    host.put("EURUSD_a.pkl", data)
    host.put("GBPUSD_a.pkl", data)
    _, rows, _ = host.migrate()
    assert [row["status"] for row in rows] == ["converted", "converted"]
    assert sorted(host.loader().load_current()[0]) == ["EURUSD", "GBPUSD"]


def test_identical_hostile_bytes_are_gated_once_and_refused_each(host: MigratingHost):
    for name in ("a.pkl", "b.pkl"):
        host.put(name, HOSTILE)
    result, rows, _ = host.migrate()
    assert result.exit_code == 10
    assert [row["code"] for row in rows] == ["DP420", "DP420"]


def test_two_models_of_one_name_get_digits_of_their_source(host: MigratingHost):
    one, two = package(), package(tree(1))
    host.put("EURUSD_a_20250108.pkl", one)
    host.put("EURUSD_a_20250109.pkl", two)
    _, rows, _ = host.migrate()
    ends = [row["onnx"].removesuffix(".onnx").rpartition("_")[2] for row in rows]
    assert ends == [hashlib.sha256(data).hexdigest()[:8] for data in (one, two)]


def test_the_model_trained_last_becomes_current_and_an_older_one_does_not_replace_it(host: MigratingHost):
    host.put("EURUSD_new.pkl", package(tree(1), training_date="2025-02-01T00:00:00+00:00"))
    host.put("EURUSD_old.pkl", package(tree(2), training_date="2025-01-01T00:00:00+00:00"))
    _, rows, _ = host.migrate()
    current = host.loader().open_release().release.current["EURUSD"]
    assert f"{current}.onnx" == rows[0]["onnx"]
    host.put("EURUSD_older.pkl", package(tree(3), training_date="2024-01-01T00:00:00+00:00"))
    host.migrate()
    assert host.loader().open_release().release.current["EURUSD"] == current


def test_a_zone_is_part_of_the_moment_of_training(host: MigratingHost):
    # 23:30 in New York is later than 01:00 of the next day in Berlin.
    host.put("EURUSD_a.pkl", package(tree(1), training_date="2025-01-08T23:30:00-05:00"))
    host.put("EURUSD_b.pkl", package(tree(2), training_date="2025-01-09T01:00:00+01:00"))
    _, rows, _ = host.migrate()
    assert host.loader().open_release().release.current["EURUSD"] + ".onnx" == rows[0]["onnx"]


def test_a_damaged_artefact_is_made_anew(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    _, first, _ = host.migrate("--no-backup")
    path = host.models / first[0]["onnx"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    result, rows, _ = host.migrate()
    assert (result.exit_code, rows[0]["status"]) == (0, "converted")
    assert rows[0]["onnx"] != first[0]["onnx"]
    assert "does not verify and is made anew" in result.stderr
    assert host.loader().load_current()[1] == {}


def test_a_damaged_record_is_made_anew(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    _, first, _ = host.migrate("--no-backup")
    (host.models / ".metadata" / first[0]["onnx"].replace(".onnx", ".conversion.json")).write_text("{}")
    _, rows, _ = host.migrate()
    assert rows[0]["status"] == "converted"
    assert host.loader().load_current()[1] == {}


def test_a_revoked_model_is_not_made_again(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    _, first, _ = host.migrate("--no-backup")
    revoke(host, first[0]["onnx"])
    result, rows, _ = host.migrate()
    assert (result.exit_code, rows[0]["status"], rows[0]["code"]) == (3, "skipped", "DP842")
    assert "it lost money" in rows[0]["reason"]
    assert host.legacy() == ["EURUSD_a.pkl"]


def test_the_same_model_in_another_file_is_not_made_again_after_its_revocation(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    _, first, _ = host.migrate()
    revoke(host, first[0]["onnx"])
    host.put("EURUSD_b.pkl", package(performance={"accuracy": 0.76}))
    result, rows, summary = host.migrate()
    assert (result.exit_code, rows[0]["code"], summary["release"]) == (3, "DP842", None)


def test_what_an_operator_took_off_the_whitelist_is_not_put_back(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    _, first, _ = host.migrate("--no-backup")
    allowed = json.loads((host.models / WHITELIST_NAME).read_bytes())
    del allowed[first[0]["onnx"]]
    (host.models / WHITELIST_NAME).write_text(json.dumps(allowed))
    result, rows, _ = host.migrate()
    assert (result.exit_code, rows[0]["status"], rows[0]["code"]) == (3, "skipped", "DP842")
    assert json.loads((host.models / WHITELIST_NAME).read_bytes()) == allowed


def test_an_expired_release_is_renewed_and_its_models_are_not_converted_again(
    host: MigratingHost, monkeypatch
):
    host.put("EURUSD_a.pkl")
    host.migrate("--no-backup")
    expire(host)
    result, rows, summary = host.migrate("--no-backup")
    assert (result.exit_code, rows[0]["status"]) == (0, "skipped")
    assert summary["release"]["serial"] == 3
    assert host.loader().load_current()[1] == {}


def test_one_file_that_the_converter_fails_on_stops_no_other(host: MigratingHost, monkeypatch):
    real = migrate.write_skops

    def fails(estimator, **keywords):
        if "LogisticRegression" in repr(estimator) or "Pipeline" in repr(estimator):
            raise MemoryError("no memory\x1b[31m")
        return real(estimator, **keywords)

    monkeypatch.setattr(migrate, "write_skops", fails)
    host.put("EURUSD_a.pkl", package(logistic()))
    host.put("EURUSD_b.pkl")
    result, rows, _ = host.migrate()
    assert result.exit_code == 1
    assert [(row["status"], row["code"]) for row in rows] == [("failed", "DP899"), ("converted", None)]
    assert "\x1b" not in result.output
    assert host.legacy() == ["EURUSD_a.pkl"]


def test_a_text_that_json_cannot_hold_fails_alone(host: MigratingHost, monkeypatch):
    real = PublishingStore._record

    def record(self, model):
        # The gate refuses lone surrogates in a stream; this is what another way in would look like.
        if model.performance == {"accuracy": 0.5}:
            model = replace(model, record=msgspec.structs.replace(model.record, estimator="tree\udcff"))
        return real(self, model)

    monkeypatch.setattr(PublishingStore, "_record", record)
    host.put("EURUSD_a.pkl", package(performance={"accuracy": 0.5}))
    host.put("EURUSD_b.pkl")
    result, rows, _ = host.migrate()
    assert [row["code"] for row in rows] == ["DP840", None]
    assert (result.exit_code, host.legacy()) == (1, ["EURUSD_a.pkl"])


@pytest.mark.parametrize("moment", ["converting", "backing up"])
def test_an_interrupt_publishes_nothing_and_loses_nothing(host: MigratingHost, monkeypatch, moment):
    for name in ("EURUSD_a.pkl", "GBPUSD_b.pkl"):
        host.put(name, package(symbol=name[:6]))
    before = snapshot(host.models)
    if moment == "converting":
        real = _Run._convert

        def convert(self, path, entry, converter):
            if path.name.startswith("GBPUSD"):
                raise KeyboardInterrupt
            real(self, path, entry, converter)

        monkeypatch.setattr(_Run, "_convert", convert)
    else:
        monkeypatch.setattr(_Run, "_back_up", interrupted)
    result, rows, summary = host.migrate()
    assert result.exit_code == 1
    assert [(row["status"], row["code"]) for row in rows] == [("failed", "DP843")] * 2
    assert summary["release"] is None
    assert "error[DP843]" in result.stderr
    assert snapshot(host.models) == before


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_store_that_cannot_be_written_leaves_the_rows_and_the_originals(host: MigratingHost, monkeypatch):
    host.put("EURUSD_a.pkl")

    def refuse(self, artefacts):
        raise PublishError("The store cannot be written; the old release still stands", code="DP852")

    monkeypatch.setattr(PublishingStore, "publish", refuse)
    result, rows, summary = host.migrate()
    assert result.exit_code == 1
    assert (rows[0]["status"], rows[0]["code"], summary["release"]) == ("failed", "DP852", None)
    assert "error[DP852]" in result.stderr
    assert host.legacy() == ["EURUSD_a.pkl"]


def test_a_release_that_could_not_be_audited_keeps_the_originals(host: MigratingHost, monkeypatch):
    host.put("EURUSD_a.pkl")
    real = PublishingStore.publish

    def spoil(self, artefacts):
        real(self, artefacts)
        raise AuditError("The audit log cannot be written", code="DP162")

    with monkeypatch.context() as patch:
        patch.setattr(PublishingStore, "publish", spoil)
        result, rows, _ = host.migrate()
    assert (result.exit_code, rows[0]["status"], host.legacy()) == (1, "converted", ["EURUSD_a.pkl"])
    result, rows, _ = host.migrate()
    assert (result.exit_code, rows[0]["status"], host.legacy()) == (0, "skipped", [])


def test_what_was_published_and_does_not_verify_is_told_and_the_next_run_repairs_it(
    host: MigratingHost, monkeypatch
):
    host.put("EURUSD_a.pkl")
    host.put("GBPUSD_b.pkl", package(symbol="GBPUSD"))
    real = PublishingStore.publish

    def spoil(self, artefacts):
        done = real(self, artefacts)
        path = self.models_dir / f"{artefacts[0].stem}.onnx"
        path.write_bytes(b"?" + path.read_bytes()[1:])
        return done

    with monkeypatch.context() as patch:
        patch.setattr(PublishingStore, "publish", spoil)
        result, rows, summary = host.migrate()
    assert result.exit_code == 12
    assert [(row["status"], row["code"]) for row in rows] == [("failed", "DP140"), ("converted", None)]
    assert summary["release"]["serial"] == 1
    assert host.legacy() == ["EURUSD_a.pkl"]
    assert sorted(host.loader().load_current()[0]) == ["GBPUSD"]
    result, rows, _ = host.migrate()
    assert (result.exit_code, rows[0]["status"], host.legacy()) == (0, "converted", [])
    assert sorted(host.loader().load_current()[0]) == ["EURUSD", "GBPUSD"]


def test_a_file_that_changed_since_it_was_read_is_not_published(host: MigratingHost, monkeypatch):
    path = host.put("EURUSD_a.pkl")
    host.put("GBPUSD_b.pkl", package(symbol="GBPUSD"))
    real = _Run._back_up

    def back_up(self):
        path.write_bytes(b"another file")
        real(self)

    monkeypatch.setattr(_Run, "_back_up", back_up)
    result, rows, _ = host.migrate()
    assert result.exit_code == 1
    assert [(row["status"], row["code"]) for row in rows] == [("failed", "DP833"), ("converted", None)]
    assert path.read_bytes() == b"another file"
    assert sorted(host.loader().load_current()[0]) == ["GBPUSD"]


def test_two_migrations_of_one_folder_do_not_meet(host: MigratingHost):
    host.put("EURUSD_a.pkl")
    with migrating(host.models):
        result, _, _ = host.migrate()
    assert result.exit_code == 1
    assert "error[DP844]" in result.stderr
    assert host.legacy() == ["EURUSD_a.pkl"]


def test_links_pipes_and_unreadable_folders_have_rows(host: MigratingHost, monkeypatch):
    host.put("EURUSD_a.pkl")
    (host.models / "latest.pkl").symlink_to("EURUSD_a.pkl")
    (host.models / "gone.pkl").symlink_to("nowhere.pkl")
    os.mkfifo(host.models / "pipe.pkl")
    (host.models / "locked").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):  # chmod does not stop a superuser
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result, rows, _ = host.migrate()
    told = {Path(row["path"]).name: (row["status"], row["code"]) for row in rows}
    assert told == {
        "locked": ("failed", "DP801"),
        "gone.pkl": ("skipped", None),
        "latest.pkl": ("skipped", None),
        "EURUSD_a.pkl": ("converted", None),
        "pipe.pkl": ("failed", "DP802"),
    }
    assert result.exit_code == 1


def test_hostile_file_names_reach_neither_terminal_nor_json(host: MigratingHost):
    for name in (b"a\xff.pkl", b"b\x1b[31m.pkl", b"c\n  hint: run rm.pkl", "d\u202epkl.pkl".encode()):
        (host.models / os.fsdecode(name)).write_bytes(HOSTILE)
    result, rows, _ = host.migrate()
    assert len(rows) == 4
    assert {row["code"] for row in rows} == {"DP420"}
    assert rows[0]["path"].endswith("a\\xff.pkl")
    text = host.run("migrate", "--models-dir", str(host.models))
    for shown in (result.stderr, text.stdout, text.stderr):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\n  hint: run rm" not in shown


def revoke(host: MigratingHost, name: str) -> None:
    digest = hashlib.sha256((host.models / name).read_bytes()).hexdigest()
    at = "2025-01-08T12:00:00Z"
    renew(host, revocations=[Revocation(sha256=digest, reason="it lost money", at=at)], now=datetime.now(UTC))


def expire(host: MigratingHost) -> None:
    renew(host, lifetime=timedelta(seconds=1), now=datetime.now(UTC) - timedelta(hours=1))


def renew(host: MigratingHost, **how: Any) -> None:
    known = KnownModels(host.models, environ=host.environ)
    signer = configure_signer(environ=host.environ)
    audit = known.loader.audit
    publish(known.store, (), signer=signer, trust=known.trust, state=known.state, audit=audit, **how)
