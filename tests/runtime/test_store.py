# SPDX-License-Identifier: Apache-2.0
"""Publishing: names are never written twice, the whitelist is the operator's, failures leave the old release."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import threading
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from depickle.errors import PublishError
from depickle.signing import Signer
from depickle_runtime import verification
from depickle_runtime.errors import RollbackError, SecurityError, StoreError
from depickle_runtime.loader import SecureModelLoader
from depickle_runtime.store import RELEASE_NAME, WHITELIST_NAME, ModelStore, NewArtefact, Publication
from tests.model_store_sim import SECRET, StoreSimulator, policy_of, snapshot


@pytest.fixture
def sim(tmp_path: Path) -> StoreSimulator:
    simulator = StoreSimulator(tmp_path)
    simulator.publish_symbols("EURUSD")
    return simulator


def test_a_second_run_keeps_what_the_first_published(sim: StoreSimulator) -> None:
    before = snapshot(sim.models_dir)
    sim.publish(sim.artefact("GBPUSD"))
    after = snapshot(sim.models_dir)
    unchanged = set(before) - {RELEASE_NAME, WHITELIST_NAME}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    assert (sim.release().serial, set(sim.release().current)) == (2, {"EURUSD", "GBPUSD"})


def test_a_newer_model_becomes_current_and_the_older_one_still_loads(sim: StoreSimulator) -> None:
    sim.publish(sim.artefact("EURUSD", seed=3))
    assert sim.release().current == {"EURUSD": sim.stems[1]}
    assert sim.loader().load_model(f"{sim.stems[0]}.onnx").verified.stem == sim.stems[0]


def test_publishing_never_puts_back_what_an_operator_removed(sim: StoreSimulator) -> None:
    sim.path(WHITELIST_NAME).write_text("{}")
    sim.publish(sim.artefact("GBPUSD"))
    assert list(sim.whitelist()) == [f"{sim.stems[1]}.onnx"]


BAD_ARTEFACTS: dict[str, tuple[str, Callable[[StoreSimulator, NewArtefact], NewArtefact]]] = {
    "a name that the release has": ("DP851", lambda s, a: renamed(s, a, s.stems[0])),
    "a name that a stray file has": ("DP850", lambda s, a: stray(s, a)),
    "a name that is a path": ("DP103", lambda s, a: renamed(s, a, "../evil")),
    "a name that is hidden": ("DP103", lambda s, a: renamed(s, a, ".hidden")),
    "metadata of other bytes": ("DP851", lambda s, a: dataclasses.replace(a, onnx=a.onnx + b"\0")),
    "no metadata": ("DP851", lambda s, a: dataclasses.replace(a, metadata={})),
    "metadata that is none": (
        "DP123",
        lambda s, a: dataclasses.replace(a, metadata=dict.fromkeys(a.metadata, b"{}")),
    ),
    "a record that is none": ("DP129", lambda s, a: dataclasses.replace(a, record=b"[]")),
    "a record of another symbol": ("DP851", lambda s, a: dataclasses.replace(a, symbol="XAUUSD")),
}


def renamed(sim: StoreSimulator, artefact: NewArtefact, stem: str) -> NewArtefact:
    record = json.loads(artefact.record) | {"stem": stem}
    metadata = {f"{stem}.onnx": next(iter(artefact.metadata.values()))}
    return dataclasses.replace(artefact, stem=stem, metadata=metadata, record=json.dumps(record).encode())


def stray(sim: StoreSimulator, artefact: NewArtefact) -> NewArtefact:
    sim.path(f"{artefact.stem}.onnx").write_bytes(b"somebody's")
    return artefact


@pytest.mark.parametrize("sentence", BAD_ARTEFACTS)
def test_a_bad_artefact_is_not_published_and_changes_nothing(sentence: str, sim: StoreSimulator) -> None:
    code, change = BAD_ARTEFACTS[sentence]
    artefact = change(sim, sim.artefact("GBPUSD"))
    before = snapshot(sim.models_dir)
    with pytest.raises(SecurityError) as caught:
        sim.publish(artefact)
    assert caught.value.code == code
    after = snapshot(sim.models_dir)
    assert {k: v for k, v in after.items() if not k.endswith(".lock")} == {
        k: v for k, v in before.items() if not k.endswith(".lock")
    }


def test_a_store_that_does_not_verify_is_not_signed_over(sim: StoreSimulator) -> None:
    sim.put_release(Signer(key=ec.generate_private_key(ec.SECP256R1()), secret=None))
    before = snapshot(sim.models_dir)
    with pytest.raises(PublishError) as caught:
        sim.publish(sim.artefact("GBPUSD"))
    assert caught.value.code == "DP855"
    assert snapshot(sim.models_dir) == before


def test_a_signer_that_the_policy_does_not_know_publishes_nothing(sim: StoreSimulator) -> None:
    before = snapshot(sim.models_dir)
    sim.policy = policy_of({"alice": sim.key})
    honest, sim.key = sim.key, ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(PublishError) as caught:
        sim.publish(sim.artefact("GBPUSD"))
    assert caught.value.code == "DP856"
    assert snapshot(sim.models_dir) == before
    sim.key = honest
    sim.publish()


def test_a_secret_signer_refuses_unsigned_metadata(tmp_path: Path) -> None:
    sim = StoreSimulator(tmp_path)
    artefact = sim.artefact()
    sim.secret_text = SECRET
    with pytest.raises(SecurityError) as caught:
        sim.publish(artefact)
    assert caught.value.code == "DP125"


def test_revocations_are_carried_over(sim: StoreSimulator) -> None:
    digest = sim.release().files[f"{sim.stems[0]}.onnx"].sha256
    sim.publish(revoke=(digest,))
    sim.publish(sim.artefact("GBPUSD"), revoke=(digest,))
    assert [item.sha256 for item in sim.release().revocations] == [digest]


def test_a_store_that_cannot_be_written_keeps_its_release(
    sim: StoreSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sim.path(RELEASE_NAME).read_bytes()

    def full(fd: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(PublishError) as caught:
        sim.publish(sim.artefact("GBPUSD"))
    assert caught.value.code == "DP852"
    monkeypatch.undo()
    assert sim.path(RELEASE_NAME).read_bytes() == before
    sim.publish(sim.artefact("GBPUSD"))
    assert sim.loader().load_current()[1] == {}
    assert sim.store.orphans(sim.release().files) == ()


def test_orphans_are_listed(sim: StoreSimulator) -> None:
    sim.path("stray.onnx").write_bytes(b"")
    sim.path(".metadata/stray.onnx.json").write_bytes(b"")
    assert sim.loader().orphans() == (".metadata/stray.onnx.json", "stray.onnx")


def test_a_damaged_note_of_an_unfinished_run_deletes_nothing(sim: StoreSimulator) -> None:
    for note in (b'["allowed_models.json"]', b'["../policy.json"]', b"{", b'[".metadata/release.json"]'):
        sim.path(".metadata/.unfinished").write_bytes(note)
        before = snapshot(sim.models_dir)
        with pytest.raises(SecurityError) as caught:
            sim.publish()
        assert caught.value.code == "DP854"
        assert snapshot(sim.models_dir) == before


def test_a_note_that_names_published_files_deletes_none_of_them(sim: StoreSimulator) -> None:
    sim.path(".metadata/.unfinished").write_text(json.dumps(sorted(sim.release().files)))
    sim.publish()
    assert sim.loader().load_current()[1] == {}


def test_the_store_itself_never_overwrites(sim: StoreSimulator) -> None:
    with sim.store.writing() as writer, pytest.raises(StoreError) as caught:
        writer.publish(Publication(envelope=b"", files={f"{sim.stems[0]}.onnx": b"other"}))
    assert caught.value.code == "DP850"
    assert sim.loader().load_current()[1] == {}


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", ".hidden", "x" * 200, "a\0b", "ä.onnx", ".metadata/../x", "/x"]
)
def test_reading_takes_names_of_the_store_only(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        ModelStore(tmp_path).read(name)
    assert caught.value.code == "DP145"


def test_a_file_is_read_up_to_the_cap(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 100)
    with pytest.raises(StoreError) as caught:
        ModelStore(tmp_path).read("big", max_size=99)
    assert caught.value.code == "DP143"
    assert len(ModelStore(tmp_path).read("big", max_size=100)) == 100


def hold_lock(models_dir: str, held: Any, release: Any) -> None:
    with ModelStore(Path(models_dir)).writing():
        held.set()
        release.wait(30)


def test_two_publishers_never_run_at_once(sim: StoreSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depickle_runtime.store._LOCK_SECONDS", 0.05)
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold_lock, args=(str(sim.models_dir), held, release))
    process.start()
    try:
        assert held.wait(30)
        with pytest.raises(PublishError) as caught:
            sim.publish(sim.artefact("GBPUSD"))
        assert caught.value.code == "DP853"
        assert sim.loader().load_current()[1] == {}
    finally:
        release.set()
        process.join(30)
    sim.publish(sim.artefact("GBPUSD"))


def test_an_expired_release_of_a_thief_is_not_renewed(sim: StoreSimulator) -> None:
    sim.put_release(Signer(key=ec.generate_private_key(ec.SECP256R1()), secret=None))
    sim.advance(days=200)
    with pytest.raises(PublishError):
        sim.publish()


def test_a_publisher_does_not_fall_behind_what_it_has_seen(sim: StoreSimulator) -> None:
    old = snapshot(sim.models_dir)
    sim.loader(host="publisher-state").load_current()
    sim.publish(sim.artefact("GBPUSD"))
    sim.loader(host="publisher-state").load_current()
    sim.path(RELEASE_NAME).write_bytes(old[RELEASE_NAME])
    with pytest.raises(PublishError) as caught:
        sim.publish()
    assert caught.value.code == "DP855"


def test_the_release_of_a_new_store_has_the_policys_name(tmp_path: Path) -> None:
    sim = StoreSimulator(tmp_path)
    sim.policy = msgspec.structs.replace(sim.policy, store_name="fx-desk")
    published = sim.publish(sim.artefact())
    assert (published.store_name, published.serial) == ("fx-desk", 1)


def test_readers_of_one_host_meet_no_fault_while_releases_are_published(sim: StoreSimulator) -> None:
    artefacts = [sim.artefact("EURUSD", seed=seed) for seed in range(1, 9)]
    done = threading.Event()
    loads: list[int] = []
    faults: list[object] = []

    def read(loader: SecureModelLoader) -> None:
        while not done.is_set():
            try:
                models, refusals = loader.load_current()
            except SecurityError as fault:
                faults.append(fault)
                return
            faults.extend(refusals.values())
            loads.append(len(models))

    loaders = [sim.loader() for _ in range(2)]  # made here: the simulator writes the policy file each time
    readers = [threading.Thread(target=read, args=(loader,)) for loader in loaders]
    for reader in readers:
        reader.start()
    for artefact in artefacts:
        sim.publish(artefact)
    done.set()
    for reader in readers:
        reader.join(30)
    assert faults == []
    assert len(loads) >= 2
    assert set(loads) == {1}


def test_a_release_that_is_replaced_while_it_is_verified_is_no_rollback(
    sim: StoreSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, other = sim.loader(), sim.loader()
    verify, later = verification.verify_release, sim.artefact("EURUSD", seed=2)
    published: list[object] = []

    def interrupted(envelope: bytes, **options: Any) -> Any:
        found = verify(envelope, **options)
        if not published:
            published.append(later)  # the publisher verifies too
            sim.publish(later)
            other.load_current()
        return found

    monkeypatch.setattr(verification, "verify_release", interrupted)
    models, refusals = reader.load_current()
    assert refusals == {}
    assert list(models) == ["EURUSD"]
    assert reader.open_release().release.serial == 2


def test_two_old_releases_that_take_turns_are_a_rollback(
    sim: StoreSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = []
    for seed in (1, 2, 3):
        sim.publish(sim.artefact("EURUSD", seed=seed))
        old.append(sim.path(RELEASE_NAME).read_bytes())
    loader = sim.loader()
    loader.load_current()
    turns = cycle([old[1], old[0]])
    monkeypatch.setattr(verification.Verifier, "_read_release", lambda verifier: next(turns))
    with pytest.raises(RollbackError) as refusal:
        loader.load_current()
    assert refusal.value.code == "DP108"
