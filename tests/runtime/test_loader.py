# SPDX-License-Identifier: Apache-2.0
"""The loader: one damaged thing stops one model, or all, with its own code; nothing on disk changes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from depickle_runtime.audit_log import verify_log
from depickle_runtime.cli import main
from depickle_runtime.errors import AuditError, ConfigurationError, SecurityError, UnsafeModelError
from depickle_runtime.loader import SecureModelLoader
from depickle_runtime.store import RELEASE_NAME, WHITELIST_NAME
from depickle_runtime.verification import VerifiedModel
from tests.model_store_sim import SECRET, StoreSimulator, linear_onnx, linear_record, snapshot

ROWS = np.array([[0.0, 1.0, -1.0], [2.5, 0.5, 0.25]])


@pytest.fixture
def sim(tmp_path: Path) -> StoreSimulator:
    return StoreSimulator(tmp_path, secret=SECRET)


def record_of(sim: StoreSimulator, **changes: Any) -> bytes:
    stem = sim.stems[0]
    return json.dumps(linear_record(stem, "EURUSD") | changes).encode()


def unsigned(data: bytes) -> bytes:
    return json.dumps(json.loads(data) | {"signature": None}).encode()


def relisted(sim: StoreSimulator, **changes: str | None) -> None:
    allowed = sim.whitelist() | changes
    sim.path(WHITELIST_NAME).write_text(json.dumps({k: v for k, v in allowed.items() if v is not None}))


def to_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere.bin"))
    path.symlink_to(path.with_name("elsewhere.bin"))


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


Attack = Callable[[StoreSimulator, str, str, str], object]
"""Simulator, artefact, its metadata file, its record."""

ONE_MODEL: dict[str, tuple[str, Attack]] = {
    "one bit of the artefact is flipped": ("DP140", lambda s, a, m, r: s.flip(a)),
    "the artefact is cut short": ("DP139", lambda s, a, m, r: s.edit(a, lambda d: d[:-1])),
    "the artefact is lengthened": ("DP139", lambda s, a, m, r: s.edit(a, lambda d: d + b"\0")),
    "the artefact is another model of the same size": (
        "DP140",
        lambda s, a, m, r: s.edit(a, lambda d: linear_onnx(9)),
    ),
    "the artefact is deleted": ("DP137", lambda s, a, m, r: s.path(a).unlink()),
    "the artefact is a link": ("DP138", lambda s, a, m, r: to_link(s.path(a))),
    "the artefact is a pipe": ("DP138", lambda s, a, m, r: to_fifo(s.path(a))),
    "the artefact is a folder": ("DP138", lambda s, a, m, r: to_folder(s.path(a))),
    "one bit of the metadata is flipped": ("DP122", lambda s, a, m, r: s.flip(m)),
    "the metadata is deleted": ("DP121", lambda s, a, m, r: s.path(m).unlink()),
    "the metadata is a link": ("DP138", lambda s, a, m, r: to_link(s.path(m))),
    "the signature is taken out of the metadata": ("DP122", lambda s, a, m, r: s.edit(m, unsigned)),
    "metadata without a signature is published": (
        "DP125",
        lambda s, a, m, r: s.put_file(m, unsigned(s.path(m).read_bytes())),
    ),
    "metadata with another signature is published": (
        "DP126",
        lambda s, a, m, r: s.put_file(
            m, s.path(m).read_bytes().replace(b'"authorized_by": null', b'"authorized_by": "X"')
        ),
    ),
    "metadata with an unknown field is published": (
        "DP123",
        lambda s, a, m, r: s.put_file(m, s.path(m).read_bytes().replace(b"{", b'{"safe": true,', 1)),
    ),
    "metadata with a field left out is published": (
        "DP123",
        lambda s, a, m, r: s.put_file(
            m, s.path(m).read_bytes().replace(b'  "training_data_hash": null,\n', b"")
        ),
    ),
    "metadata of another file is published": (
        "DP124",
        lambda s, a, m, r: s.put_file(
            m, s.path(m).read_bytes().replace(b'"file_size": 2', b'"file_size": 3')
        ),
    ),
    "one bit of the record is flipped": ("DP128", lambda s, a, m, r: s.flip(r)),
    "the record is deleted": ("DP127", lambda s, a, m, r: s.path(r).unlink()),
    "a record that is no record is published": ("DP129", lambda s, a, m, r: s.put_file(r, b"{}")),
    "a record of another model is published": (
        "DP130",
        lambda s, a, m, r: s.put_file(r, record_of(s, stem="other")),
    ),
    "a record of another symbol is published": (
        "DP130",
        lambda s, a, m, r: s.put_file(r, record_of(s, symbol="XAU")),
    ),
    "a record without probe rows is published": (
        "DP129",
        lambda s, a, m, r: s.put_file(
            r, record_of(s, probes={"rows": [], "class_index": [], "probabilities": None, "scores": None})
        ),
    ),
    "the stored rows answer otherwise on this host": (
        "DP144",
        lambda s, a, m, r: s.put_file(
            r,
            record_of(
                s,
                probes={
                    "rows": linear_record("x", "x")["probes"]["rows"],
                    "class_index": [1 - c for c in linear_record("x", "x")["probes"]["class_index"]],
                    "probabilities": None,
                    "scores": None,
                },
            ),
        ),
    ),
    "the record promises another input": (
        "DP220",
        lambda s, a, m, r: s.put_file(
            r, record_of(s, input=linear_record("x", "x")["input"] | {"features": 4})
        ),
    ),
    "the entry is taken off the whitelist": ("DP133", lambda s, a, m, r: relisted(s, **{a: None})),
    "the whitelist names another digest": ("DP134", lambda s, a, m, r: relisted(s, **{a: "0" * 64})),
    "the model is revoked": ("DP135", lambda s, a, m, r: s.publish(revoke=(s.release().files[a].sha256,))),
    "the model is sampled and the policy does not admit that": (
        "DP136",
        lambda s, a, m, r: s.put_file(r, record_of(s, tier="sampled")),
    ),
    "bytes that are no ONNX file are published": (
        "DP124",
        lambda s, a, m, r: s.put_file(a, b"not an ONNX file"),
    ),
}


@pytest.mark.parametrize("sentence", ONE_MODEL)
def test_damage_to_one_model_stops_that_model_alone(sentence: str, sim: StoreSimulator) -> None:
    code, attack = ONE_MODEL[sentence]
    sim.publish_symbols("EURUSD", "GBPUSD")
    name = f"{sim.stems[0]}.onnx"
    attack(sim, name, f".metadata/{name}.json", f".metadata/{sim.stems[0]}.conversion.json")
    after = snapshot(sim.models_dir) if "pipe" not in sentence else None
    loader = sim.loader()
    models, refusals = loader.load_current()
    assert list(models) == ["GBPUSD"]
    assert refusals["EURUSD"].code == code
    assert refusals["EURUSD"].where
    assert code in {error["code"] for error in loader.verify_model(name)["errors"]}
    with pytest.raises(SecurityError) as caught:
        loader.load_model(name)
    assert caught.value.code == code
    assert after is None or snapshot(sim.models_dir) == after
    entries = [json.loads(line) for line in loader.audit.path.read_text().splitlines()]
    assert (code, "refused") in {(entry["code"], entry["outcome"]) for entry in entries}
    assert verify_log(loader.audit.path).intact


EVERY_MODEL: dict[str, tuple[str, Callable[[StoreSimulator], object]]] = {
    "the whitelist is deleted": ("DP131", lambda s: s.path(WHITELIST_NAME).unlink()),
    "the whitelist is not JSON": ("DP132", lambda s: s.path(WHITELIST_NAME).write_text("{")),
    "the whitelist names a file twice": (
        "DP132",
        lambda s: s.edit(
            WHITELIST_NAME, lambda d: d.replace(b"{", b'{"a.onnx":"' + b"0" * 64 + b'","a.onnx":"x",', 1)
        ),
    ),
    "the whitelist holds a wildcard": ("DP132", lambda s: relisted(s, **{"*": "0" * 64})),
    "the whitelist is a link": ("DP138", lambda s: to_link(s.path(WHITELIST_NAME))),
}


@pytest.mark.parametrize("sentence", EVERY_MODEL)
def test_damage_to_the_whitelist_stops_every_model(sentence: str, sim: StoreSimulator) -> None:
    code, attack = EVERY_MODEL[sentence]
    sim.publish_symbols("EURUSD", "GBPUSD")
    attack(sim)
    models, refusals = sim.loader().load_current()
    assert models == {}
    assert {fault.code for fault in refusals.values()} == {code}


def test_a_metadata_folder_that_is_a_link_is_not_followed(sim: StoreSimulator) -> None:
    sim.publish_symbols("EURUSD")
    (sim.models_dir / ".metadata").rename(sim.root / "elsewhere")
    (sim.models_dir / ".metadata").symlink_to(sim.root / "elsewhere")
    with pytest.raises(SecurityError) as caught:
        sim.loader().load_current()
    assert caught.value.code == "DP138"


def test_what_is_loaded_keeps_answering(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    model = sim.loader().load_model(name)
    before = model.predict(ROWS)
    for file in snapshot(sim.models_dir):
        sim.path(file).unlink()
    assert np.array_equal(model.predict(ROWS), before)
    assert np.array_equal(before, np.array(model.record.classes)[model.run(ROWS).class_index])


def test_a_revocation_is_remembered_when_a_later_release_leaves_it_out(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    loader = sim.loader()
    sim.publish(revoke=(sim.release().files[name].sha256,))
    assert loader.load_current()[1]["EURUSD"].code == "DP135"
    sim.put_release(revocations=[], serial=sim.release().serial + 1)
    assert loader.load_current()[1]["EURUSD"].code == "DP135"
    assert loader.verify_model(name)["valid"] is False


def test_what_was_decided_about_a_loaded_model_can_be_asked(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD", "GBPUSD")[0]
    loader = sim.loader()
    models, _ = loader.load_current()
    digest = sim.release().files[name].sha256
    assert loader.revoked(digest) is None
    assert loader.withdrawn(models["EURUSD"]) is None
    sim.path(name).unlink()
    assert loader.withdrawn(models["EURUSD"]) is None
    sim.publish(revoke=(digest,))
    assert loader.revoked(digest) == "it lost money"
    relisted(sim, **{f"{sim.stems[1]}.onnx": None})
    found = {symbol: loader.withdrawn(model) for symbol, model in models.items()}
    assert {symbol: fault and fault.code for symbol, fault in found.items()} == {
        "EURUSD": "DP135",
        "GBPUSD": "DP133",
    }
    sim.path(RELEASE_NAME).unlink()
    found = {symbol: loader.withdrawn(model) for symbol, model in models.items()}
    assert {symbol: fault and fault.code for symbol, fault in found.items()} == {
        "EURUSD": "DP135",
        "GBPUSD": None,
    }
    with pytest.raises(SecurityError):
        loader.revoked(digest)


def test_a_damaged_memory_is_not_a_first_use(sim: StoreSimulator) -> None:
    sim.publish_symbols("EURUSD")
    loader = sim.loader()
    loader.load_current()
    (sim.root / "host" / "test-store.json").write_text("{}")
    with pytest.raises(SecurityError) as caught:
        loader.load_current()
    assert caught.value.code == "DP150"


def test_first_use_is_logged_loudly(sim: StoreSimulator, caplog: pytest.LogCaptureFixture) -> None:
    sim.publish_symbols("EURUSD")
    sim.loader().load_current()
    assert "First use" in caplog.text


def test_state_inside_the_store_is_refused(sim: StoreSimulator) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sim.loader(state_dir=sim.models_dir / ".metadata" / "state")
    assert caught.value.code == "DP912"


UNSAFE: dict[str, str] = {
    "model.pkl": "DP146",
    "model.joblib": "DP146",
    "MODEL.PKL": "DP146",
    "model.pkl.gz": "DP146",
    "model.skops": "DP147",
    "model.txt": "DP148",
    "model": "DP148",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_other_formats_are_refused_and_the_error_names_the_converter(name: str, sim: StoreSimulator) -> None:
    sim.publish_symbols("EURUSD")
    sim.path(name).write_bytes(b"\x80\x04.")
    loader = sim.loader()
    with pytest.raises(UnsafeModelError) as caught:
        loader.load_model(name)
    assert caught.value.code == UNSAFE[name]
    assert "depickle migrate" in caught.value.next_step
    assert str(caught.value).startswith("Attempted to load unsafe module")
    assert loader.verify_model(name)["valid"] is False


@pytest.mark.parametrize(
    "path", ["../x.onnx", "/etc/passwd", "sub/x.onnx", "", ".", "..", "x\0.onnx", "a b.onnx"]
)
def test_paths_outside_the_store_are_refused(path: str, sim: StoreSimulator) -> None:
    sim.publish_symbols("EURUSD")
    loader = sim.loader()
    with pytest.raises(SecurityError):
        loader.load_model(path)
    assert loader.verify_model(path)["errors"]


def test_a_full_path_into_the_store_is_its_name(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    assert sim.loader().load_model(sim.path(name)).verified.name == name


def test_the_auditors_copy_verifies_and_never_loads(sim: StoreSimulator) -> None:
    sim.publish(sim.artefact(skops=b"skops bytes"))
    loader = sim.loader()
    result = loader.verify_model(f"{sim.stems[0]}.skops")
    assert (result["valid"], result["loadable"], result["errors"]) == (True, False, [])
    with pytest.raises(UnsafeModelError):
        loader.load_model(f"{sim.stems[0]}.skops")


def test_verify_model_has_the_guides_keys(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    result = sim.loader().verify_model(name)
    keys = ("checksum_valid", "signature_valid", "metadata_found", "in_allowed_list")
    assert [result[key] for key in keys] == [True] * 4
    assert result["checksum_sha256"] == sim.release().files[name].sha256
    assert len(result["checksum_sha512"]) == 128


def test_verify_model_reports_every_fault_at_once(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    sim.flip(name)
    sim.path(f".metadata/{name}.json").unlink()
    relisted(sim, **{name: None})
    result = sim.loader().verify_model(name)
    assert {error["code"] for error in result["errors"]} >= {"DP121", "DP133"}
    assert not result["checksum_valid"]
    assert not result["metadata_found"]
    assert not result["signature_valid"]


def test_turning_a_check_off_needs_admission(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    for arguments in ((False, None), (True, False)):
        with pytest.raises(ConfigurationError) as caught:
            sim.loader().load_model(name, *arguments)
        assert caught.value.code == "DP911"
    with pytest.raises(ConfigurationError):
        sim.loader(enable_signature_verification=False)


def test_an_admitted_insecure_load_is_loud_audited_and_moves_no_floor(
    sim: StoreSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    loader = sim.loader(environ={"ML_ALLOW_INSECURE": "1"})
    with caplog.at_level(logging.WARNING):
        model = loader.load_model(name, verify_signature=False)
    assert model.verified.unchecked == ("signatures",)
    assert "INSECURE" in caplog.text
    assert "model.load.insecure" in loader.audit.path.read_text()
    assert not (sim.root / "host" / "test-store.json").exists()


def test_an_argument_that_is_not_a_boolean_turns_nothing_off(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    with pytest.raises(ConfigurationError) as caught:
        sim.loader(environ={"ML_ALLOW_INSECURE": "1"}).load_model(name, verify_checksum=0)  # type: ignore[arg-type]
    assert caught.value.code == "DP917"


def test_nothing_loads_when_the_load_cannot_be_audited(sim: StoreSimulator) -> None:
    name = sim.publish_symbols("EURUSD")[0]
    loader = sim.loader()
    loader.audit.path.mkdir(parents=True)
    with pytest.raises(AuditError):
        loader.load_model(name)


def test_unsetting_the_key_is_refused(tmp_path: Path) -> None:
    sim = StoreSimulator(tmp_path, mode="secret")
    sim.publish_symbols("EURUSD")
    with pytest.raises(ConfigurationError) as caught:
        sim.loader(secret_key=None)
    assert caught.value.code == "DP901"


def test_an_admitted_tier_loads(sim: StoreSimulator) -> None:
    sim.policy = msgspec.structs.replace(sim.policy, admitted_tiers=["sampled"])
    sim.publish(sim.artefact(tier="sampled"))
    assert sim.loader().load_current()[1] == {}


def test_listing_shows_models_and_the_fault_of_a_damaged_one(sim: StoreSimulator) -> None:
    sim.publish_symbols("EURUSD", "GBPUSD")
    sim.flip(f".metadata/{sim.stems[0]}.onnx.json")
    rows = {row["file"].partition("_")[0]: row for row in sim.loader().list_models()}
    assert rows["EURUSD"]["error"]["code"] == "DP122"
    assert (rows["GBPUSD"]["symbol"], rows["GBPUSD"]["tier"], rows["GBPUSD"]["current"]) == (
        "GBPUSD",
        "certified",
        True,
    )


def test_saving_says_that_it_means_converting(sim: StoreSimulator) -> None:
    with pytest.raises(SecurityError) as caught:
        sim.loader().save_model(object(), "EURUSD_trader", "1")
    assert caught.value.code == "DP919"


def test_a_verified_model_comes_from_the_verifier_only(sim: StoreSimulator) -> None:
    model = sim.loader().load_model(sim.publish_symbols("EURUSD")[0]).verified
    fields = {name: getattr(model, name) for name in VerifiedModel.__dataclass_fields__ if name != "seal"}
    with pytest.raises(SecurityError):
        VerifiedModel(**fields, seal=object())


def run_cli(sim: StoreSimulator, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    for name in ("ML_TRUST_POLICY", "ML_STATE_DIR", "ML_MODELS_DIR", "ML_AUDIT_LOG", "ML_ALLOW_INSECURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODEL_SECRET_KEY", SECRET)
    monkeypatch.setattr(
        SecureModelLoader.__init__,
        "__kwdefaults__",
        SecureModelLoader.__init__.__kwdefaults__ | {"clock": lambda: sim.now},
    )  # type: ignore[operator]
    sim.loader()  # writes the policy
    return main(
        [
            *arguments,
            "--models-dir",
            str(sim.models_dir),
            "--trust-policy",
            str(sim.policy_path),
            "--state-dir",
            str(sim.root / "cli"),
        ]
    )


def test_the_command_line_verifies(
    sim: StoreSimulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sim.publish_symbols("EURUSD", "GBPUSD")
    assert run_cli(sim, monkeypatch, "verify", "--format", "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema_version"], answer["valid"], len(answer["files"])) == (1, True, 2)
    assert run_cli(sim, monkeypatch, "info") == 0
    assert "test-store" in capsys.readouterr().out
    sim.flip(f"{sim.stems[0]}.onnx")
    assert run_cli(sim, monkeypatch, "verify") == 12
    assert "DP140" in capsys.readouterr().out
    sim.path(RELEASE_NAME).unlink()
    assert run_cli(sim, monkeypatch, "verify", "--format", "json") == 12
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "DP101"


def test_the_command_line_has_documented_exit_codes(
    sim: StoreSimulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0
    assert main(["nonsense"]) == 2
    sim.publish()
    assert run_cli(sim, monkeypatch, "verify") == 3
    monkeypatch.delenv("MODEL_SECRET_KEY")
    assert main(["verify", "--models-dir", str(sim.models_dir), "--state-dir", str(sim.root / "cli")]) == 2
    assert "DP901" in capsys.readouterr().err
