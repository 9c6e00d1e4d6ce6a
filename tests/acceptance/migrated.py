# SPDX-License-Identifier: Apache-2.0
"""A real store: one legacy pickle a symbol, migrated by the command that people type, under a key and a secret."""

from __future__ import annotations

import base64
import fcntl
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from depickle.signing import Signer, load_private_key
from depickle_runtime import SecureMLPredictor, SecureModelLoader
from depickle_runtime.metadata import metadata_name
from depickle_runtime.release import Release, describe_file, encode_release, record_name
from depickle_runtime.trust import parse_secret
from examples.bars import SYMBOLS, load_bars
from examples.journey import Journey
from examples.legacy_estate.build import FILES
from examples.legacy_estate.cache import cached_estate, estate_manifest
from examples.trading_features import FEATURE_NAMES, feature_matrix

__all__ = ["SECRET", "Host", "migrated_journey"]

SECRET = "b4b9a3f0c6ad52e81f7d93c05e2a6b8147d3f9be0c58a2716e94fd03ab5c8e27"  # of no other use
RELEASE = ".metadata/release.json"
WHITELIST = "allowed_models.json"


class SecretJourney(Journey):
    """A journey whose store is signed by a key and by a secret."""

    @property
    def environment(self) -> dict[str, str]:
        """As `Journey`, with the secret."""
        return super().environment | {"MODEL_SECRET_KEY": SECRET}


def migrated_journey(shared: Path) -> Journey:
    """The journey below `shared`, made by the first process that asks for it."""
    journey = SecretJourney(shared / "migrated", show=False)
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = journey.folder / "done"
        if not done.exists():
            shutil.rmtree(journey.folder, ignore_errors=True)
            journey.models.mkdir(parents=True)
            estate = cached_estate(quick=True)
            honest = [entry for entry in estate_manifest(estate) if entry["kind"] == "honest"]
            for entry in {entry["symbol"]: entry for entry in honest}.values():
                shutil.copy(estate / FILES / entry["file"], journey.models)
            journey.new_keys()
            rows, _ = journey.reference_rows()
            journey.migrate(rows)
            done.touch()
    return journey


@dataclass
class Host:
    """A trading host with a copy of the store, and a memory of its own."""

    folder: Path
    journey: Journey

    def __post_init__(self) -> None:
        self.models = self.folder / "models"
        shutil.copytree(self.journey.models, self.models)
        self.rows: Mapping[str, dict[str, float]] = {
            symbol: dict(
                zip(FEATURE_NAMES, feature_matrix(load_bars(symbol).columns)[-1].tolist(), strict=True)
            )
            for symbol in SYMBOLS
        }

    @property
    def environment(self) -> dict[str, str]:
        """What the runtime is configured with."""
        return {"ML_TRUST_POLICY": str(self.journey.policy), "MODEL_SECRET_KEY": SECRET}

    def loader(self, environ: Mapping[str, str] | None = None) -> SecureModelLoader:
        """A loader of this host."""
        environ = self.environment if environ is None else environ
        return SecureModelLoader(self.models, state_dir=self.folder / "state", environ=environ)

    def predictor(self, environ: Mapping[str, str] | None = None) -> SecureMLPredictor:
        """A predictor of this host; its market data are the features."""
        return SecureMLPredictor(
            self.models,
            None,
            state_dir=self.folder / "state",
            environ=self.environment if environ is None else environ,
            feature_engineer=lambda market_data: market_data,
        )

    def answers(self, predictor: SecureMLPredictor) -> dict[str, Any]:
        """What it says about the last bar of each symbol: confidence, or the code of the abstention."""
        given = {symbol: predictor.predict_signal(symbol, row) for symbol, row in self.rows.items()}
        return {
            symbol: details["code"] if confidence is None else confidence
            for symbol, (confidence, details) in given.items()
        }

    def path(self, name: str) -> Path:
        """A file of the store."""
        return self.models / name

    def flip(self, name: str, offset: int) -> None:
        """Flip one bit of the byte at an offset."""
        data = bytearray(self.path(name).read_bytes())
        data[offset] ^= 1
        self.path(name).write_bytes(data)

    def release(self) -> Release:
        """The release in place, unverified."""
        envelope = json.loads(self.path(RELEASE).read_bytes())
        return msgspec.json.decode(base64.b64decode(envelope["payload"]), type=Release)

    def files_of(self, symbol: str) -> dict[str, str]:
        """Names of the artefact, metadata and record of a symbol's current model."""
        stem = self.release().current[symbol]
        artefact = f"{stem}.onnx"
        return {"artefact": artefact, "metadata": metadata_name(artefact), "record": record_name(stem)}

    def drop_signatures(self, *, of_secret: bool, of_key: bool) -> None:
        """Take signatures out of the release."""
        envelope = json.loads(self.path(RELEASE).read_bytes())
        envelope["signatures"] = [
            entry
            for entry in envelope["signatures"]
            if not (of_secret if entry["keyid"].startswith("hmac-") else of_key)
        ]
        self.path(RELEASE).write_bytes(
            json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        )

    def sign_without_metadata_signature(self, symbol: str) -> None:
        """Take the signature out of a model's metadata, and have the publisher sign that by mistake."""
        name = self.files_of(symbol)["metadata"]
        metadata = json.loads(self.path(name).read_bytes()) | {"signature": None}
        self.path(name).write_text(json.dumps(metadata, indent=2) + "\n")
        release = self.release()
        changed = msgspec.structs.replace(
            release,
            serial=release.serial + 1,
            files={**release.files, name: describe_file(self.path(name).read_bytes())},
        )
        signer = Signer(
            key=load_private_key(self.journey.signing_key), secret=parse_secret(SECRET, where="test")
        )
        self.path(RELEASE).write_bytes(signer.sign(encode_release(changed)))

    def unlist(self, symbol: str) -> None:
        """Take a model off the whitelist."""
        allowed = json.loads(self.path(WHITELIST).read_bytes())
        del allowed[self.files_of(symbol)["artefact"]]
        self.path(WHITELIST).write_text(json.dumps(allowed))
