# SPDX-License-Identifier: Apache-2.0
"""Policies, keys, secrets, variables: what cannot be used is refused with its own code."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from depickle.keys import list_keys, new_key
from depickle.signing import Signer, configure_signer, load_private_key
from depickle_runtime.errors import ConfigurationError
from depickle_runtime.settings import admit_insecure, read_settings
from depickle_runtime.trust import (
    PolicyTrust,
    SecretTrust,
    UnsafeNoTrust,
    configure_trust,
    encode_policy,
    parse_policy,
    parse_secret,
)
from tests.model_store_sim import SECRET, policy_of, private_pem, public_pem

ALICE, BOB = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
DEMO_KEY = Path(__file__).parents[2] / "examples" / "keys" / "demo-signing-key.pem"


def policy_dict(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(encode_policy(policy_of({"alice": ALICE, "bob": BOB})))
    return fields | changes


def key_entry(public: str, **changes: Any) -> dict[str, Any]:
    return {"owner": "carol", "scheme": "ecdsa-sha2-nistp256", "public": public} | changes


def demo_key() -> Any:
    return load_pem_private_key(DEMO_KEY.read_bytes(), password=None)


def rsa_pem() -> str:
    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


BAD_POLICIES: dict[str, tuple[str, Any]] = {
    "a field that nobody knows": ("DP905", lambda: policy_dict(trust_everything=True)),
    "no store name": ("DP905", lambda: {k: v for k, v in policy_dict().items() if k != "store_name"}),
    "a store name that is a path": ("DP905", lambda: policy_dict(store_name="../other")),
    "another schema version": ("DP905", lambda: policy_dict(schema_version=2)),
    "a threshold of zero": ("DP905", lambda: policy_dict(threshold=0)),
    "a threshold that is text": ("DP905", lambda: policy_dict(threshold="1")),
    "a threshold above the number of owners": ("DP908", lambda: policy_dict(threshold=3)),
    "no keys at all": ("DP908", lambda: policy_dict(keys=[])),
    "a key that is no PEM": ("DP906", lambda: policy_dict(keys=[key_entry("nonsense")])),
    "an RSA key": ("DP906", lambda: policy_dict(keys=[key_entry(rsa_pem())])),
    "a key on another curve": (
        "DP906",
        lambda: policy_dict(keys=[key_entry(public_pem(ec.generate_private_key(ec.SECP384R1())))]),
    ),
    "a key whose scheme is not its own": (
        "DP906",
        lambda: policy_dict(keys=[key_entry(public_pem(ALICE), scheme="ed25519")]),
    ),
    "a private key instead of a public one": (
        "DP906",
        lambda: policy_dict(keys=[key_entry(private_pem(ALICE).decode())]),
    ),
    "a validity on the 30th of February": (
        "DP905",
        lambda: policy_dict(keys=[key_entry(public_pem(ALICE), valid_until="2025-02-30T00:00:00Z")]),
    ),
    "one key twice": ("DP909", lambda: policy_dict(keys=[key_entry(public_pem(ALICE))] * 2)),
    "a demo key for a store that is no demo": (
        "DP907",
        lambda: policy_dict(keys=[key_entry(public_pem(demo_key()))]),
    ),
    "a tier that does not exist": ("DP905", lambda: policy_dict(admitted_tiers=["proven", "hoped"])),
}


@pytest.mark.parametrize("sentence", BAD_POLICIES)
def test_a_bad_policy_is_refused(sentence: str) -> None:
    code, build = BAD_POLICIES[sentence]
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(json.dumps(build()).encode())
    assert caught.value.code == code


BAD_TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "bytes that are not UTF-8": b'{"a": "\xff"}',
    "a key twice": b'{"schema_version": 1, "schema_version": 1}',
    "a number that is none": b'{"threshold": NaN}',
    "an infinity": b"[Infinity]",
    "a number that overflows": b"[1e999]",
    "an integer beyond 64 bits": b"[99999999999999999999]",
    "very many digits": b"[" + b"9" * 100_000 + b"]",
    "deep nesting": b"[" * 100_000,
    "a lone surrogate": b'["\\ud800"]',
    "more than one value": b"{} {}",
    "too much": b" " * (2 * 1024 * 1024),
    "an array": b"[]",
}


@pytest.mark.parametrize("sentence", BAD_TEXTS)
def test_text_that_is_not_strict_json_is_refused(sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(BAD_TEXTS[sentence])
    assert caught.value.code == "DP905"


def test_a_policy_survives_a_round_trip() -> None:
    policy = policy_of({"alice": ALICE, "bob": BOB}, threshold=2, least_serial=7)
    assert parse_policy(encode_policy(policy)) == policy


def test_a_demo_key_is_believed_under_a_demo_policy() -> None:
    policy = policy_of({"demo": demo_key()}, store_name="demo-store")
    assert parse_policy(encode_policy(policy)) == policy


BAD_SECRETS: dict[str, tuple[str, Any]] = {
    "the guide's placeholder": ("DP903", "your-secret-key-here"),
    "the guide's placeholder, lengthened": ("DP903", "your-secret-key-here-your-secret-key-here"),
    "the placeholder in capitals": ("DP903", "YOUR-SECRET-KEY-HERE-0123456789abcdef"),
    "change me": ("DP903", "changeme-changeme-changeme-0123456789"),
    "angle brackets": ("DP903", "<paste the secret of the store in here>"),
    "31 bytes": ("DP902", "0123456789abcdefghijklmnopqrstu"),
    "one character forty times": ("DP902", "a" * 40),
    "nothing": ("DP902", ""),
    "empty bytes": ("DP902", b""),
    "a number": ("DP902", 12345678901234567890123456789012),
}


@pytest.mark.parametrize("sentence", BAD_SECRETS)
def test_a_bad_secret_is_refused_and_not_shown(sentence: str) -> None:
    code, secret = BAD_SECRETS[sentence]
    with pytest.raises(ConfigurationError) as caught:
        parse_secret(secret, where="MODEL_SECRET_KEY")
    assert caught.value.code == code
    assert not secret or str(secret) not in caught.value.diagnostics()


def test_a_secret_shows_itself_nowhere() -> None:
    secret = parse_secret(SECRET, where="test")
    assert SECRET not in repr(secret) + str(secret) + repr(SecretTrust(secret)) + repr(
        Signer(key=None, secret=secret)
    )
    with pytest.raises(ConfigurationError):
        pickle.dumps(secret)


def test_neither_policy_nor_secret_names_both_ways() -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure_trust(trust_policy=None, secret_key=None, environ={})
    assert caught.value.code == "DP901"
    assert "ML_TRUST_POLICY" in caught.value.next_step
    assert "MODEL_SECRET_KEY" in caught.value.next_step


def test_the_secret_alone_is_the_weaker_mode_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trust = configure_trust(trust_policy=None, secret_key=None, environ={"MODEL_SECRET_KEY": SECRET})
    assert isinstance(trust, SecretTrust)
    assert "forge" in caplog.text


def test_a_policy_and_a_secret_are_both_checked(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(encode_policy(policy_of({"alice": ALICE})))
    environ = {"ML_TRUST_POLICY": str(path), "MODEL_SECRET_KEY": SECRET}
    trust = configure_trust(trust_policy=None, secret_key=None, environ=environ)
    assert isinstance(trust, PolicyTrust)
    assert trust.secret is not None


BAD_VARIABLES: dict[str, tuple[str, dict[str, str]]] = {
    "a boolean that is neither": ("DP910", {"ML_VERIFY_CHECKSUMS": "maybe"}),
    "an empty boolean": ("DP910", {"ML_VERIFY_SIGNATURES": ""}),
    "an off that nobody admitted": ("DP911", {"ML_VERIFY_CHECKSUMS": "false"}),
    "signatures off, insecure explicitly not admitted": (
        "DP911",
        {"ML_VERIFY_SIGNATURES": "0", "ML_ALLOW_INSECURE": "0"},
    ),
    "an admission that is neither": ("DP910", {"ML_ALLOW_INSECURE": "yes please"}),
    "an empty folder": ("DP910", {"ML_MODELS_DIR": ""}),
    "an empty state folder": ("DP910", {"ML_STATE_DIR": ""}),
}


@pytest.mark.parametrize("sentence", BAD_VARIABLES)
def test_a_variable_with_an_unknown_value_is_refused(sentence: str) -> None:
    code, environ = BAD_VARIABLES[sentence]
    with pytest.raises(ConfigurationError) as caught:
        read_settings(environ)
    assert caught.value.code == code


def test_variables_have_the_guides_defaults() -> None:
    settings = read_settings({})
    assert (settings.models_dir, settings.verify_checksums, settings.verify_signatures) == (
        Path("models"),
        True,
        True,
    )


def test_an_admitted_insecure_setting_is_logged_loudly(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        admit_insecure("signature verification", {"ML_ALLOW_INSECURE": "1"})
    assert "INSECURE" in caplog.text
    trust = configure_trust(
        trust_policy=None, secret_key=None, environ={"ML_ALLOW_INSECURE": "1"}, verify_signatures=False
    )
    assert isinstance(trust, UnsafeNoTrust)


BAD_POLICY_PATHS: dict[str, tuple[str, str]] = {
    "an empty variable": ("DP910", ""),
    "a file that is not there": ("DP904", "/nonexistent/policy.json"),
    "a folder": ("DP904", "/"),
}


@pytest.mark.parametrize("sentence", BAD_POLICY_PATHS)
def test_a_policy_that_cannot_be_read_is_refused(sentence: str) -> None:
    code, path = BAD_POLICY_PATHS[sentence]
    with pytest.raises(ConfigurationError) as caught:
        configure_trust(trust_policy=None, secret_key=None, environ={"ML_TRUST_POLICY": path})
    assert caught.value.code == code


def test_a_new_key_is_private_and_its_policy_believes_it(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    made = new_key("Risk Desk", store_name="fx", environ=environ)
    assert made.private_path.stat().st_mode & 0o777 == 0o600
    signer = configure_signer(environ={"ML_SIGNING_KEY": str(made.private_path)})
    assert signer.keyid == made.keyid
    other = new_key("Audit", scheme="ed25519", environ=environ)
    assert [key.keyid for key in list_keys(made.policy_path)] == [made.keyid, other.keyid]
    before = made.private_path.read_bytes()
    with pytest.raises(ConfigurationError) as caught:
        new_key("Risk Desk", environ=environ)
    assert caught.value.code == "DP917"
    assert made.private_path.read_bytes() == before
    assert len(list_keys(made.policy_path)) == 2


BAD_SIGNING_KEYS: dict[str, tuple[str, bytes, int]] = {
    "text that is no key": ("DP914", b"nonsense", 0o600),
    "a key that the group may read": ("DP916", private_pem(ALICE), 0o640),
    "a key on another curve": ("DP914", private_pem(ec.generate_private_key(ec.SECP384R1())), 0o600),
    "an empty file": ("DP914", b"", 0o600),
}


@pytest.mark.parametrize("sentence", BAD_SIGNING_KEYS)
def test_a_bad_signing_key_is_refused(sentence: str, tmp_path: Path) -> None:
    code, data, mode = BAD_SIGNING_KEYS[sentence]
    path = tmp_path / "key.pem"
    path.write_bytes(data)
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        load_private_key(path)
    assert caught.value.code == code


def test_nothing_to_sign_with_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure_signer(environ={})
    assert caught.value.code == "DP915"
