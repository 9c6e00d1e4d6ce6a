# SPDX-License-Identifier: Apache-2.0
"""The signed release: hostile ones are refused, each with its own code, before anything of them is believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from depickle.signing import Signer
from depickle_runtime.errors import VerificationError
from depickle_runtime.release import Floor, SignedRelease, encode_envelope, pae, verify_release
from depickle_runtime.store import RELEASE_NAME
from depickle_runtime.trust import parse_secret
from tests.model_store_sim import SECRET, START, StoreSimulator, policy_of

THIEF = ec.generate_private_key(ec.SECP256R1())
OTHER_SECRET = parse_secret("another secret of this test, 0123456789abcdef", where="test")


def envelope_of(sim: StoreSimulator) -> dict[str, object]:
    return dict(json.loads(sim.path(RELEASE_NAME).read_bytes()))


def put(sim: StoreSimulator, envelope: object) -> None:
    sim.path(RELEASE_NAME).write_bytes(sim.canonical(envelope) + b"\n")


def payload_of(sim: StoreSimulator) -> dict[str, object]:
    return dict(json.loads(base64.b64decode(str(envelope_of(sim)["payload"]))))


def sign_raw(sim: StoreSimulator, **changes: object) -> None:
    sim.put_release(raw=sim.canonical(payload_of(sim) | changes))


def without(sim: StoreSimulator, name: str) -> dict[str, object]:
    files = dict(payload_of(sim)["files"])  # type: ignore[call-overload]
    del files[name]
    return files


def file_called(sim: StoreSimulator, part: str) -> str:
    return next(name for name in sim.release().files if part in name)


HOSTILE: dict[str, tuple[str, Callable[[StoreSimulator], object]]] = {
    "the release is deleted": ("DP101", lambda s: s.path(RELEASE_NAME).unlink()),
    "the release is empty": ("DP102", lambda s: s.path(RELEASE_NAME).write_bytes(b"")),
    "the release is not JSON": ("DP102", lambda s: s.path(RELEASE_NAME).write_bytes(b"not JSON")),
    "the envelope is laid out otherwise": (
        "DP102",
        lambda s: s.edit(RELEASE_NAME, lambda data: json.dumps(json.loads(data), indent=1).encode()),
    ),
    "the envelope has one more field": ("DP102", lambda s: put(s, envelope_of(s) | {"alg": "none"})),
    "the base64 has another padding": (
        "DP102",
        lambda s: put(s, envelope_of(s) | {"payload": str(envelope_of(s)["payload"]).rstrip("=") + "===="}),
    ),
    "the payload type is another one": (
        "DP114",
        lambda s: put(s, envelope_of(s) | {"payloadType": "text/plain"}),
    ),
    "the signatures are removed": ("DP104", lambda s: put(s, envelope_of(s) | {"signatures": []})),
    "a thief signs with a key of his own": ("DP104", lambda s: s.put_release(Signer(key=THIEF, secret=None))),
    "somebody signs with a secret only": (
        "DP104",
        lambda s: s.put_release(Signer(key=None, secret=OTHER_SECRET)),
    ),
    "a signature is moved to another payload": (
        "DP105",
        lambda s: put(
            s,
            envelope_of(s)
            | {"payload": base64.b64encode(s.canonical(payload_of(s) | {"serial": 99})).decode()},
        ),
    ),
    "the payload is signed but not canonical": (
        "DP103",
        lambda s: s.put_release(raw=json.dumps(payload_of(s), indent=1).encode()),
    ),
    "the payload has a key twice": (
        "DP103",
        lambda s: s.put_release(raw=s.canonical(payload_of(s))[:-1] + b',"serial":1}'),
    ),
    "the payload has a field that nobody knows": ("DP103", lambda s: sign_raw(s, admit="everything")),
    "the payload has another schema version": ("DP103", lambda s: sign_raw(s, schema_version=2)),
    "the serial is true": ("DP103", lambda s: sign_raw(s, serial=True)),
    "the serial is zero": ("DP103", lambda s: sign_raw(s, serial=0)),
    "a pinned name leaves the store": (
        "DP103",
        lambda s: sign_raw(s, files={"../evil.onnx": {"sha256": "0" * 64, "sha512": "0" * 128, "size": 1}}),
    ),
    "a current model has no artefact": ("DP115", lambda s: sign_raw(s, current={"EURUSD": "nowhere"})),
    "an artefact has no metadata pinned": (
        "DP115",
        lambda s: sign_raw(s, files=without(s, file_called(s, ".onnx.json"))),
    ),
    "an artefact has no record pinned": (
        "DP115",
        lambda s: sign_raw(s, files=without(s, file_called(s, ".conversion.json"))),
    ),
    "it expires before it is issued": ("DP115", lambda s: sign_raw(s, expires="2024-01-01T00:00:00Z")),
    "it is issued on a day that does not exist": (
        "DP115",
        lambda s: sign_raw(s, issued="2025-02-30T00:00:00Z"),
    ),
    "it is issued in the future": ("DP112", lambda s: sign_raw(s, issued="2025-01-09T12:00:00Z")),
    "it is that of another store": ("DP107", lambda s: s.put_release(store_name="other-store")),
    "it has expired": ("DP111", lambda s: s.advance(days=91)),
}


@pytest.fixture
def sim(tmp_path: Path) -> StoreSimulator:
    simulator = StoreSimulator(tmp_path)
    simulator.publish_symbols("EURUSD")
    return simulator


@pytest.mark.parametrize("sentence", HOSTILE)
def test_a_hostile_release_stops_every_load(sentence: str, sim: StoreSimulator) -> None:
    code, attack = HOSTILE[sentence]
    loader = sim.loader()
    attack(sim)
    with pytest.raises(VerificationError) as caught:
        loader.load_current()
    assert caught.value.code == code
    assert code in (sim.root / "host" / "audit.jsonl").read_text()
    assert not (sim.root / "host" / "test-store.json").exists()


def test_every_hostile_release_has_a_remedy(sim: StoreSimulator) -> None:
    sim.put_release(store_name="other-store")
    with pytest.raises(VerificationError) as caught:
        sim.loader().open_release()
    assert caught.value.next_step
    assert caught.value.where == "release.json"


def test_an_old_release_is_refused_once_a_newer_one_was_loaded(sim: StoreSimulator) -> None:
    old = sim.path(RELEASE_NAME).read_bytes()
    sim.publish(sim.artefact("GBPUSD"))
    loader = sim.loader()
    loader.load_current()
    sim.path(RELEASE_NAME).write_bytes(old)
    with pytest.raises(VerificationError) as caught:
        loader.load_current()
    assert caught.value.code == "DP108"
    sim.loader(host="a host that never saw the newer one").load_current()


def test_verifying_alone_does_not_raise_the_floor(sim: StoreSimulator) -> None:
    old = sim.path(RELEASE_NAME).read_bytes()
    sim.publish(sim.artefact("GBPUSD"))
    loader = sim.loader()
    assert all(result["valid"] for result in loader.verify_store().values())
    sim.path(RELEASE_NAME).write_bytes(old)
    assert loader.load_current()[1] == {}


def test_two_releases_of_one_serial_are_noticed(sim: StoreSimulator) -> None:
    loader = sim.loader()
    loader.load_current()
    sim.put_release(current={})
    with pytest.raises(VerificationError) as caught:
        loader.load_current()
    assert caught.value.code == "DP109"


def test_a_serial_that_jumps_too_far_is_refused_and_not_remembered(sim: StoreSimulator) -> None:
    loader = sim.loader()
    loader.load_current()
    honest = sim.path(RELEASE_NAME).read_bytes()
    sim.put_release(serial=2**53)
    with pytest.raises(VerificationError) as caught:
        loader.load_current()
    assert caught.value.code == "DP110"
    sim.path(RELEASE_NAME).write_bytes(honest)
    assert loader.load_current()[1] == {}


def test_a_policy_can_pin_a_least_serial(sim: StoreSimulator) -> None:
    sim.policy = msgspec.structs.replace(sim.policy, least_serial=2)
    with pytest.raises(VerificationError) as caught:
        sim.loader().load_current()
    assert caught.value.code == "DP113"


def test_a_release_near_its_expiry_warns(sim: StoreSimulator, caplog: pytest.LogCaptureFixture) -> None:
    loader = sim.loader()
    sim.advance(days=71)
    assert loader.open_release().warnings == ()
    sim.advance(days=2)
    assert "expires" in loader.open_release().warnings[0]


def test_publishing_again_renews_an_expired_release(sim: StoreSimulator) -> None:
    sim.advance(days=200)
    sim.publish()
    assert sim.loader().load_current()[1] == {}
    assert sim.release().serial == 2


def test_two_owners_are_two_owners_and_two_keys_of_one_are_one(sim: StoreSimulator) -> None:
    second, bob = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    sim.policy = policy_of({"alice": sim.key, "alice#2": second, "bob": bob}, threshold=2)  # type: ignore[dict-item]
    payload = sim.canonical(payload_of(sim))

    def envelope(*keys: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
        signatures: dict[str, bytes] = {}
        for key in keys:
            signed = json.loads(Signer(key=key, secret=None).sign(payload))
            signatures |= {s["keyid"]: base64.b64decode(s["sig"]) for s in signed["signatures"]}
        return encode_envelope(payload, signatures)

    with pytest.raises(VerificationError) as caught:
        verify_release(envelope(sim.key, second), trust=sim.trust, floor=None, now=START)  # type: ignore[arg-type]
    assert caught.value.code == "DP106"
    both = verify_release(envelope(sim.key, bob), trust=sim.trust, floor=None, now=START)  # type: ignore[arg-type]
    assert both.signers == ("alice", "bob")


def test_a_key_past_its_validity_counts_no_more(sim: StoreSimulator) -> None:
    entry = msgspec.structs.replace(sim.policy.keys[0], valid_until="2025-01-10T00:00:00Z")
    sim.policy = msgspec.structs.replace(sim.policy, keys=[entry])
    loader = sim.loader()
    assert loader.load_current()[1] == {}
    sim.advance(days=2)
    with pytest.raises(VerificationError) as caught:
        loader.load_current()
    assert caught.value.code == "DP106"


def test_secret_mode_refuses_no_hmac_and_another_secrets(tmp_path: Path) -> None:
    sim = StoreSimulator(tmp_path, mode="secret")
    sim.publish_symbols("EURUSD")
    assert sim.loader().load_current()[1] == {}
    sim.put_release(Signer(key=THIEF, secret=None))
    assert refusal(sim) == "DP116"
    sim.put_release(Signer(key=None, secret=OTHER_SECRET))
    assert refusal(sim) == "DP116"
    assert sim.secret is not None
    raw = sim.canonical(payload_of(sim))
    forged = sim.secret.metadata_hmac(pae(raw))  # the metadata's key, not the release's
    sim.path(RELEASE_NAME).write_bytes(encode_envelope(raw, {sim.secret.keyid: bytes.fromhex(forged)}))
    assert refusal(sim) == "DP117"


def test_a_secret_beside_a_policy_is_checked_in_addition(tmp_path: Path) -> None:
    sim = StoreSimulator(tmp_path, secret=SECRET)
    sim.publish_symbols("EURUSD")
    assert sim.loader().load_current()[1] == {}
    sim.put_release(Signer(key=sim.key, secret=None))
    assert refusal(sim) == "DP116"
    assert sim.loader(secret_key=None).load_current()[1] == {}


def refusal(sim: StoreSimulator) -> str:
    with pytest.raises(VerificationError) as caught:
        sim.loader().load_current()
    return caught.value.code


def test_a_signed_release_comes_from_verification_only(sim: StoreSimulator) -> None:
    with pytest.raises(VerificationError):
        SignedRelease(
            release=sim.release(), payload_sha256="", signers=(), expires=START, warnings=(), seal=object()
        )


def test_the_floor_is_checked_in_one_call_too(sim: StoreSimulator) -> None:
    data = sim.path(RELEASE_NAME).read_bytes()
    with pytest.raises(VerificationError) as caught:
        verify_release(
            data, trust=sim.trust, floor=Floor(serial=5, payload_sha256="0" * 64), now=START + timedelta(1)
        )
    assert caught.value.code == "DP108"
