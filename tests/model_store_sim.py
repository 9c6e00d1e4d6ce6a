# SPDX-License-Identifier: Apache-2.0
"""Publishes honest and hostile stores, so that a test reads as a story.

`StoreSimulator` is the publishing host: it owns keys and a clock, and publishes through the product's own code.
Hostile stores are made by changing the honest one's files, or by signing what the product would refuse to sign.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from onnx import TensorProto, helper

from depickle.publishing import Published, publish
from depickle.signing import Signer
from depickle_runtime import _strict_json
from depickle_runtime.audit_log import AuditLog
from depickle_runtime.loader import SecureModelLoader
from depickle_runtime.metadata import describe_artefact, encode_metadata, sign_metadata
from depickle_runtime.release import Release, Revocation, encode_release
from depickle_runtime.state import TrustState
from depickle_runtime.store import RELEASE_NAME, WHITELIST_NAME, ModelStore, NewArtefact
from depickle_runtime.trust import (
    KeyEntry,
    PolicyTrust,
    Secret,
    SecretTrust,
    Trust,
    TrustPolicy,
    encode_policy,
    load_keys,
    parse_secret,
)

__all__ = ["SECRET", "START", "StoreSimulator", "linear_onnx", "policy_of", "public_pem", "snapshot"]

SECRET = hashlib.sha256(b"the simulator's secret, of no other use").hexdigest()
START = datetime(2025, 1, 8, 12, 0, 0, tzinfo=UTC)
FEATURES = 3
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def linear_onnx(seed: int = 0) -> bytes:
    """A classifier of two classes over three columns, as small as ONNX gets."""
    weights = np.random.default_rng(seed).normal(size=(FEATURES, 2))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["X", "W"], ["scores"], name="scores"),
            helper.make_node("ArgMax", ["scores"], ["class_index"], name="argmax", axis=1, keepdims=0),
        ],
        "linear",
        [helper.make_tensor_value_info("X", TensorProto.DOUBLE, [None, FEATURES])],
        [
            helper.make_tensor_value_info("class_index", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("scores", TensorProto.DOUBLE, [None, 2]),
        ],
        [helper.make_tensor("W", TensorProto.DOUBLE, weights.shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10, producer_name="depickle"
    )
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def linear_record(stem: str, symbol: str, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """The conversion record of `linear_onnx`."""
    weights = np.random.default_rng(seed).normal(size=(FEATURES, 2))
    rows = np.array([[0.0, 1.0, -1.0], [2.5, 0.5, 0.25], [-1.0, -2.0, 3.0]])
    scores = rows @ weights
    return {
        "schema_version": 1,
        "stem": stem,
        "symbol": symbol,
        "created_at": "2025-01-08T12:00:00Z",
        "source": {"name": f"{stem}.pkl", "sha256": "0" * 64, "size": 1, "container": "pickle", "writer": {}},
        "versions": {"depickle": "0"},
        "architecture": "any",
        "derived": "graph",
        "tier": "certified",
        "task": "classifier",
        "estimator": "sklearn.linear_model.LogisticRegression",
        "classes": [0, 1],
        "label_map": ["wait", "buy"],
        "input": {
            "name": "X",
            "dtype": "float64",
            "graph_dtype": "float64",
            "features": FEATURES,
            "allow_nan": False,
            "allow_infinite": False,
            "max_abs": None,
        },
        "outputs": {
            "label": None,
            "class_index": "class_index",
            "probabilities": None,
            "scores": "scores",
            "margin": None,
            "bound": None,
        },
        "margin": None,
        "features": {"kind": "caller", "catalogue": None, "names": ["a", "b", "c"]},
        "findings": [],
        "parity": {
            "reference": "the simulator",
            "rows": [],
            "label_flips": 0,
            "proof": None,
            "reference_rows": False,
            "conditions": {},
        },
        "probes": {
            "rows": [[x.hex() for x in row] for row in rows.tolist()],
            "class_index": np.argmax(scores, axis=1).tolist(),
            "probabilities": None,
            "scores": [[x.hex() for x in row] for row in scores.tolist()],
        },
    } | changes


def public_pem(key: PrivateKey) -> str:
    """PEM of the public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> bytes:
    """PEM of the private half."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def policy_of(keys: dict[str, PrivateKey], *, store_name: str = "test-store", **changes: Any) -> TrustPolicy:
    """A policy that believes these keys, by owner."""
    entries = [
        KeyEntry(
            owner=owner.partition("#")[0],
            scheme="ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "ecdsa-sha2-nistp256",
            public=public_pem(key),
        )
        for owner, key in keys.items()
    ]
    fields: dict[str, Any] = {"schema_version": 1, "store_name": store_name, "threshold": 1, "keys": entries}
    return TrustPolicy(**(fields | changes))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, for asserting that nothing changed."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class StoreSimulator:
    """A publishing host and the runtime hosts that read its store."""

    def __init__(self, root: Path, *, mode: str = "policy", secret: str | None = None) -> None:
        self.root = root
        self.models_dir = root / "models"
        self.now = START
        self.key: PrivateKey = ec.generate_private_key(ec.SECP256R1())
        self.mode = mode
        self.secret_text = SECRET if mode == "secret" and secret is None else secret
        self.policy = policy_of({"alice": self.key})
        self.policy_path = root / "policy.json"
        self.store = ModelStore(self.models_dir)
        self.stems: list[str] = []

    @property
    def secret(self) -> Secret | None:
        """The secret, wrapped."""
        return None if self.secret_text is None else parse_secret(self.secret_text, where="test")

    @property
    def trust(self) -> Trust:
        """What publisher and runtime believe."""
        if self.mode == "secret":
            assert self.secret is not None
            return SecretTrust(self.secret)
        return PolicyTrust(policy=self.policy, keys=load_keys(self.policy), secret=self.secret)

    @property
    def signer(self) -> Signer:
        """Who signs."""
        return Signer(key=self.key if self.mode == "policy" else None, secret=self.secret)

    def artefact(
        self, symbol: str = "EURUSD", *, seed: int = 0, skops: bytes | None = None, **record: Any
    ) -> NewArtefact:
        """A new artefact under a name of its own."""
        stem = f"{symbol}_trader_v1.{len(self.stems)}_20250108_120000"
        self.stems.append(stem)
        parts = {f"{stem}.onnx": linear_onnx(seed)} | ({} if skops is None else {f"{stem}.skops": skops})
        metadata = {}
        for name, data in parts.items():
            described = describe_artefact(
                data,
                model_name=f"{symbol}_trader",
                version="1",
                created_at="2025-01-08T12:00:00Z",
                model_type="onnx" if name.endswith(".onnx") else "skops",
                feature_names=["a", "b", "c"],
                performance_metrics={"accuracy": 0.75, "trades": 12},
            )
            metadata[name] = encode_metadata(
                described if self.secret is None else sign_metadata(described, self.secret)
            )
        return NewArtefact(
            stem=stem,
            symbol=symbol,
            onnx=linear_onnx(seed),
            skops=skops,
            metadata=metadata,
            record=json.dumps(linear_record(stem, symbol, seed, **record)).encode(),
        )

    def publish(self, *artefacts: NewArtefact, revoke: tuple[str, ...] = (), **options: Any) -> Published:
        """Publish through the product's own code."""
        state = TrustState(self.root / "publisher-state", models_dir=self.models_dir)
        return publish(
            self.store,
            artefacts,
            signer=self.signer,
            trust=self.trust,
            state=state,
            audit=AuditLog(self.root / "publisher-audit.jsonl", actor="publisher"),
            revocations=[
                Revocation(sha256=d, reason="it lost money", at="2025-01-08T12:00:00Z") for d in revoke
            ],
            now=self.now,
            **options,
        )

    def publish_symbols(self, *symbols: str) -> list[str]:
        """Publish one model a symbol; their file names."""
        artefacts = [self.artefact(symbol, seed=i) for i, symbol in enumerate(symbols)]
        self.publish(*artefacts)
        return [f"{a.stem}.onnx" for a in artefacts]

    def release(self) -> Release:
        """The current release, as it is."""
        envelope = json.loads(self.path(RELEASE_NAME).read_bytes())
        import base64

        return msgspec.json.decode(base64.b64decode(envelope["payload"]), type=Release)

    def put_release(self, signer: Signer | None = None, *, raw: bytes | None = None, **changes: Any) -> None:
        """Sign a changed release, or any payload at all, and put it in place: what a thief of the key can do."""
        payload = (
            raw if raw is not None else encode_release(msgspec.structs.replace(self.release(), **changes))
        )
        self.path(RELEASE_NAME).write_bytes((signer or self.signer).sign(payload))

    def put_file(self, name: str, data: bytes) -> None:
        """Change a file and re-pin it in a newly signed release: a publisher's mistake, not a thief's work."""
        from depickle_runtime.release import describe_file

        self.path(name).write_bytes(data)
        files = dict(self.release().files)
        files[name] = describe_file(data)
        if name.endswith(".onnx"):
            allowed = self.whitelist() | {name: files[name].sha256}
            self.path(WHITELIST_NAME).write_text(json.dumps(allowed))
        self.put_release(files=files, serial=self.release().serial + 1)

    def whitelist(self) -> dict[str, str]:
        """The whitelist as it is."""
        return dict(json.loads(self.path(WHITELIST_NAME).read_bytes()))

    def path(self, name: str) -> Path:
        """A file of the store."""
        return self.models_dir / name

    def flip(self, name: str, offset: int = -2) -> None:
        """Flip one bit of a file."""
        data = bytearray(self.path(name).read_bytes())
        data[offset] ^= 1
        self.path(name).write_bytes(bytes(data))

    def edit(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Rewrite a file."""
        self.path(name).write_bytes(change(self.path(name).read_bytes()))

    def advance(self, **delta: float) -> None:
        """Let time pass."""
        self.now += timedelta(**delta)

    def loader(self, *, host: str = "host", **options: Any) -> SecureModelLoader:
        """A runtime host's loader; hosts of different names have different memories."""
        self.policy_path.write_bytes(encode_policy(self.policy))
        arguments: dict[str, Any] = {
            "secret_key": self.secret_text,
            "trust_policy": self.policy_path if self.mode == "policy" else None,
            "state_dir": self.root / host,
            "environ": {},
            "clock": lambda: self.now,
        }
        return SecureModelLoader(self.models_dir, **(arguments | options))

    def canonical(self, value: object) -> bytes:
        """Canonical JSON, for payloads that the product would not encode."""
        return _strict_json.canonical(value)
