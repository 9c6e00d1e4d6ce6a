# SPDX-License-Identifier: Apache-2.0
"""Damage to a real store of several symbols: what stops, what goes on, and what the error says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from depickle_runtime import SecureMLPredictor, SecurityError
from examples.bars import SYMBOLS
from tests.acceptance.migrated import RELEASE, WHITELIST, Host, migrated_journey
from tests.model_store_sim import snapshot

VICTIM, *OTHERS = SYMBOLS
OTHER_SECRET = hashlib.sha256(b"not the store's secret").hexdigest()

Damage = Callable[[Host], object]


@pytest.fixture
def host(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Host:
    base = tmp_path_factory.getbasetemp()
    return Host(tmp_path, migrated_journey(base if worker_id == "master" else base.parent))


@pytest.fixture
def running(host: Host) -> SecureMLPredictor:
    """A predictor that had loaded everything before the damage."""
    predictor = host.predictor()
    answers = host.answers(predictor)
    assert all(isinstance(answer, float) for answer in answers.values()), answers
    assert set(predictor.symbols) == set(SYMBOLS)
    return predictor


def flipped(part: str, where: float) -> Damage:
    """One bit of the byte at a fraction of the file."""

    def damage(host: Host) -> None:
        name = host.files_of(VICTIM)[part]
        host.flip(name, int(where * (host.path(name).stat().st_size - 1)))

    return damage


def deleted(part: str) -> Damage:
    return lambda host: host.path(host.files_of(VICTIM)[part]).unlink()


# Sentence: what is done, the code, which file the error names, and whether it says the signed digest.
ONE_MODEL: dict[str, tuple[Damage, str, str, bool]] = {
    "the first byte of the artefact is flipped": (flipped("artefact", 0.0), "DP140", "artefact", True),
    "a byte within the artefact is flipped": (flipped("artefact", 0.5), "DP140", "artefact", True),
    "the last byte of the artefact is flipped": (flipped("artefact", 1.0), "DP140", "artefact", True),
    "the first byte of the metadata is flipped": (flipped("metadata", 0.0), "DP122", "metadata", True),
    "a byte within the metadata is flipped": (flipped("metadata", 0.5), "DP122", "metadata", True),
    "the last byte of the metadata is flipped": (flipped("metadata", 1.0), "DP122", "metadata", True),
    "the first byte of the record is flipped": (flipped("record", 0.0), "DP128", "record", True),
    "a byte within the record is flipped": (flipped("record", 0.5), "DP128", "record", True),
    "the last byte of the record is flipped": (flipped("record", 1.0), "DP128", "record", True),
    "the artefact is deleted": (deleted("artefact"), "DP137", "artefact", False),
    "the metadata file is deleted": (deleted("metadata"), "DP121", "metadata", False),
    "the record is deleted": (deleted("record"), "DP127", "record", False),
    "the metadata's signature is removed and the publisher signs that": (
        lambda host: host.sign_without_metadata_signature(VICTIM), "DP125", "metadata", False,
    ),
    "the entry is taken off the whitelist": (lambda host: host.unlist(VICTIM), "DP133", "artefact", True),
}  # fmt: skip


@pytest.mark.parametrize("sentence", ONE_MODEL)
def test_damage_to_one_model_stops_that_model_and_no_other(
    sentence: str, host: Host, running: SecureMLPredictor
) -> None:
    damage, code, part, says_digest = ONE_MODEL[sentence]
    healthy, files = host.answers(running), host.files_of(VICTIM)
    signed_digest = host.release().files[files[part]].sha256
    damage(host)
    after = snapshot(host.models)

    # A new start: the model does not load, and the error names the file and what was expected.
    models, refusals = host.loader().load_current()
    assert set(models) == set(OTHERS)
    fault = refusals[VICTIM]
    assert fault.code == code
    assert files[part] in fault.where
    assert fault.expected
    assert (signed_digest in fault.expected) is says_digest
    assert fault.next_step
    assert fault.where in str(fault) and fault.expected in str(fault)
    with pytest.raises(SecurityError, match=code):
        host.loader().load_model(files["artefact"])
    assert code in {error["code"] for error in host.loader().verify_model(files["artefact"])["errors"]}

    # Trading code: the others answer as before, this one abstains with the reason.
    assert host.answers(host.predictor()) == healthy | {VICTIM: code}
    # What ran before runs on, until a reload finds that somebody decided against it.
    assert host.answers(running) == healthy
    running.reload_models()
    stopped = {VICTIM: code} if code == "DP133" else {}
    assert host.answers(running) == healthy | stopped
    assert snapshot(host.models) == after, "a reader changed the store"


# Sentence: what is done, and the code of every refusal.
NOTHING_LOADS: dict[str, tuple[Damage, str]] = {
    "the release is deleted": (lambda host: host.path(RELEASE).unlink(), "DP101"),
    "the release is cut short": (
        lambda host: host.path(RELEASE).write_bytes(host.path(RELEASE).read_bytes()[:-9]), "DP102",
    ),
    "the key's signature is removed from the release": (
        lambda host: host.drop_signatures(of_key=True, of_secret=False), "DP104",
    ),
    "the secret's signature is removed from the release": (
        lambda host: host.drop_signatures(of_key=False, of_secret=True), "DP116",
    ),
    "all signatures are removed from the release": (
        lambda host: host.drop_signatures(of_key=True, of_secret=True), "DP104",
    ),
}  # fmt: skip


def check_nothing_loads(host: Host, running: SecureMLPredictor, code: str | None) -> None:
    healthy = host.answers(running)
    artefacts = sorted(path.name for path in host.models.glob("*.onnx"))
    assert len(artefacts) == len(SYMBOLS)
    refusals: list[SecurityError] = []
    for attempt in (
        lambda: host.loader().load_current(),
        lambda: host.predictor(),
        lambda: running.reload_models(),
        *(lambda name=name: host.loader().load_model(name) for name in artefacts),
    ):
        with pytest.raises(SecurityError) as refused:
            attempt()
        refusals.append(refused.value)
    assert len({fault.code for fault in refusals}) == 1
    assert code is None or refusals[0].code == code
    assert all("release.json" in fault.where for fault in refusals)
    assert host.answers(running) == healthy


@pytest.mark.parametrize("sentence", NOTHING_LOADS)
def test_damage_to_the_release_stops_every_new_load_and_nothing_that_runs(
    sentence: str, host: Host, running: SecureMLPredictor
) -> None:
    damage, code = NOTHING_LOADS[sentence]
    damage(host)
    check_nothing_loads(host, running, code)


def test_one_flipped_byte_anywhere_in_the_release_stops_every_new_load(
    host: Host, running: SecureMLPredictor
) -> None:
    size = host.path(RELEASE).stat().st_size
    for offset in sorted({*range(0, size, max(1, size // 16)), size - 1}):
        host.flip(RELEASE, offset)
        check_nothing_loads(host, running, None)
        host.flip(RELEASE, offset)
    assert set(host.loader().load_current()[0]) == set(SYMBOLS)


CONFIGURED: dict[str, tuple[Callable[[dict[str, str]], dict[str, str]], str]] = {
    "policy and secret are both unset": (lambda environ: {}, "DP901"),
    "the secret is unset to nothing": (lambda environ: environ | {"MODEL_SECRET_KEY": ""}, "DP902"),
    "the secret is another one": (lambda environ: environ | {"MODEL_SECRET_KEY": OTHER_SECRET}, "DP116"),
    "the policy file is gone": (lambda environ: environ | {"ML_TRUST_POLICY": "no-such-file"}, "DP904"),
}  # fmt: skip


@pytest.mark.parametrize("sentence", CONFIGURED)
def test_a_host_without_its_keys_loads_nothing(sentence: str, host: Host, running: SecureMLPredictor) -> None:
    change, code = CONFIGURED[sentence]
    with pytest.raises(SecurityError) as refused:
        host.loader(change(host.environment)).load_current()
    assert refused.value.code == code
    with pytest.raises(SecurityError, match=code):
        host.predictor(change(host.environment))
    assert refused.value.next_step


def test_a_deleted_whitelist_refuses_every_model_and_says_so(host: Host, running: SecureMLPredictor) -> None:
    healthy = host.answers(running)
    host.path(WHITELIST).unlink()
    assert host.answers(host.predictor()) == dict.fromkeys(SYMBOLS, "DP131")
    assert host.answers(running) == healthy


def test_each_thing_that_can_be_taken_away_has_a_code_of_its_own() -> None:
    removals = {
        "metadata file": ONE_MODEL["the metadata file is deleted"][1],
        "keys": CONFIGURED["policy and secret are both unset"][1],
        "metadata signature": ONE_MODEL["the metadata's signature is removed and the publisher signs that"][
            1
        ],
        "release signature by the key": NOTHING_LOADS["the key's signature is removed from the release"][1],
        "release signature by the secret": NOTHING_LOADS[
            "the secret's signature is removed from the release"
        ][1],
        "whitelist entry": ONE_MODEL["the entry is taken off the whitelist"][1],
        "whitelist": "DP131",
        "release": NOTHING_LOADS["the release is deleted"][1],
        "record": ONE_MODEL["the record is deleted"][1],
        "artefact": ONE_MODEL["the artefact is deleted"][1],
    }
    assert len(set(removals.values())) == len(removals)
