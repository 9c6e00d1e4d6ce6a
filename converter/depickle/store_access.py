# SPDX-License-Identifier: Apache-2.0
"""The store of a models directory as the migrating host sees it: what it holds, publishing into it, and checking.

Built before the first file is converted, so that a missing key or a store that does not verify is found out before
an hour of work and not after it.

Rules:

* a release that does not verify is never built upon; one that merely expired is read as of its last moment
* a legacy file counts as migrated only while the artefacts made of it still verify
* what an operator withdrew (revoked, or taken off the whitelist) is not made again
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from depickle_runtime.errors import SecurityError, VerificationError
from depickle_runtime.loader import SecureModelLoader
from depickle_runtime.metadata import describe_artefact, encode_metadata, sign_metadata
from depickle_runtime.record import ConversionRecord
from depickle_runtime.release import SignedRelease, peek_expiry, record_name
from depickle_runtime.settings import default_state_dir, read_settings
from depickle_runtime.state import TrustState
from depickle_runtime.store import RELEASE_NAME, ModelStore, NewArtefact
from depickle_runtime.trust import DEFAULT_TIERS, PolicyTrust, Trust, configure_trust
from depickle_runtime.verification import parse_record

from .errors import ConverterError
from .migrate import ConvertedModel, utc_text
from .naming import parse_training_date
from .publishing import publish
from .signing import configure_signer
from .sources import path_as_text

__all__ = ["KnownModel", "KnownModels", "PublishingStore", "Standing", "admitted_tiers", "migrating"]

_logger = logging.getLogger(__name__)

Standing = Literal["valid", "withdrawn", "damaged"]
_WITHDRAWN = ("DP131", "DP132", "DP133", "DP134", "DP135")
"""Not on the whitelist, with another digest there, or revoked: somebody's decision, and not damage."""


def admitted_tiers(trust: Trust) -> frozenset[str]:
    """The tiers that a runtime with this trust loads."""
    return frozenset(trust.policy.admitted_tiers) if isinstance(trust, PolicyTrust) else DEFAULT_TIERS


@contextmanager
def migrating(models_dir: Path) -> Iterator[None]:
    """Keep other migrations of the same directory out; a lock on the folder itself, gone with the process.

    Raises:
        ConverterError: DP844, another migration is under way.
        OSError: the folder cannot be opened.

    Yields:
        Nothing; the lock is held inside the block.
    """
    descriptor = os.open(models_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConverterError(
                "Another migration of this folder is under way",
                code="DP844",
                where=path_as_text(models_dir),
                next_step="wait for it to end, then try again",
            ) from None
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class KnownModel:
    """A model of the release and the legacy file it was made of."""

    stem: str
    symbol: str
    source_name: str


class KnownModels:
    """What a store holds already, for a reader who has no signing key.

    Args:
        models_dir: the directory.
        environ: the environment; the process's where None.

    Raises:
        ConfigurationError: nobody to trust, or a variable that cannot be used.
        VerificationError: the directory has a release and it does not verify.
    """

    def __init__(self, models_dir: Path, *, environ: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environ is None else environ
        self.models_dir = models_dir
        self.trust = configure_trust(trust_policy=None, secret_key=None, environ=variables)
        self.store = ModelStore(models_dir)
        self.loader = SecureModelLoader(models_dir, environ=variables)
        settings = read_settings(variables)
        self.state = TrustState(settings.state_dir or default_state_dir(variables), models_dir=models_dir)
        self.expired = False
        self._reader = self.loader
        self._signed: SignedRelease | None = None
        self._records: dict[str, ConversionRecord] = {}
        if (models_dir / RELEASE_NAME).exists():
            self._signed = self._open(variables)
            self._records = self._read_records(self._signed)

    def of_source(self, sha256: str) -> tuple[KnownModel, ...]:
        """Models of the release that were made of the legacy file with this digest."""
        return tuple(
            KnownModel(stem=stem, symbol=record.symbol, source_name=record.source.name)
            for stem, record in self._records.items()
            if record.source.sha256 == sha256
        )

    def has(self, stem: str) -> bool:
        """Whether the release names artefacts of this stem."""
        return self._signed is not None and f"{stem}.onnx" in self._signed.release.files

    def standing(self, stem: str) -> tuple[Standing, str]:
        """Whether the artefacts of a model still verify, and what is wrong with the first that does not."""
        for name in (f"{stem}.onnx", f"{stem}.skops"):
            if self._signed is None or name not in self._signed.release.files:
                continue
            faults = self._reader.verify_model(name)["errors"]
            if withdrawn := next((fault for fault in faults if fault["code"] in _WITHDRAWN), None):
                return "withdrawn", withdrawn["message"]
            if faults:
                return "damaged", faults[0]["message"]
        return "valid", ""

    def revoked(self, sha256: str) -> str | None:
        """Why the artefact with this digest was revoked, by this release or any that this host has seen."""
        if self._signed is None:
            return None
        remembered = self.state.read(self._signed.release.store_name)
        reasons = {item.sha256: item.reason for item in self._signed.release.revocations}
        reasons = {**({} if remembered is None else remembered.revoked), **reasons}
        return None if sha256 not in reasons else reasons[sha256] or "no reason given"

    def current_training_dates(self) -> dict[str, datetime]:
        """When the current model of each symbol was trained, where its record says so."""
        dates = {}
        current = {} if self._signed is None else self._signed.release.current
        for symbol, stem in current.items():
            record = self._records.get(stem)
            trained = None if record is None else parse_training_date(record.trained_at, "")
            if trained is not None:
                dates[symbol] = trained
        return dates

    def _open(self, variables: Mapping[str, str]) -> SignedRelease:
        try:
            return self.loader.open_release()
        except VerificationError as error:
            if error.code != "DP111":
                raise
        # Publishing renews an expired release; what it holds is judged as of its last moment.
        self.expired = True
        last = peek_expiry(self.store.read(RELEASE_NAME)) - timedelta(seconds=1)
        self._reader = SecureModelLoader(self.models_dir, environ=variables, clock=lambda: last)
        return self._reader.open_release()

    def _read_records(self, signed: SignedRelease) -> dict[str, ConversionRecord]:
        """Records by stem; a damaged one is left out, so its source counts as not yet converted."""
        records = {}
        for name, entry in sorted(signed.release.files.items()):
            if not name.endswith(".conversion.json"):
                continue
            try:
                record = parse_record(self.store.read(name, size=entry.size), where=name)
            except VerificationError as error:
                _logger.warning("%s", error)
                continue
            records[record.stem] = record
        return records


class PublishingStore:
    """A models directory opened for publishing.

    Args:
        models_dir: the directory.
        created: UTC time of the run.
        environ: the environment; the process's where None.

    Raises:
        ConfigurationError: no signing key or secret, nobody to trust, or a variable that cannot be used.
        VerificationError: the directory has a release and it does not verify; it is never signed over.
    """

    def __init__(
        self, models_dir: Path, *, created: datetime, environ: Mapping[str, str] | None = None
    ) -> None:
        self.models_dir = models_dir
        self._created = created
        self._signer = configure_signer(environ=os.environ if environ is None else environ)
        self.known = KnownModels(models_dir, environ=environ)

    @property
    def admitted_tiers(self) -> frozenset[str]:
        """The tiers that the trusting side loads."""
        return admitted_tiers(self.known.trust)

    def artefact(self, model: ConvertedModel, *, make_current: bool) -> NewArtefact:
        """What is to be published of `model`: its files with metadata and record.

        Raises:
            ConverterError: DP840, a text of the legacy file cannot be stored.
            MetadataError: metadata or record would not be accepted by a reader.
        """
        try:
            return NewArtefact(
                stem=model.stem,
                symbol=model.name.symbol,
                onnx=model.onnx,
                skops=model.skops,
                metadata={
                    f"{model.stem}.onnx": self._metadata(model, model.onnx, "onnx"),
                    f"{model.stem}.skops": self._metadata(model, model.skops, "skops"),
                },
                record=self._record(model),
                make_current=make_current,
            )
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise ConverterError(
                "What the package says of itself cannot be stored",
                code="DP840",
                where=model.stem,
                found=ascii(str(error))[:200],
                expected="names and figures that JSON can hold",
                next_step="correct the package where it was written",
            ) from error

    def _metadata(self, model: ConvertedModel, data: bytes, model_type: Literal["onnx", "skops"]) -> bytes:
        metadata = describe_artefact(
            data,
            model_name=model.name.model_name,
            version=model.name.version,
            created_at=utc_text(self._created),
            model_type=model_type,
            feature_names=model.feature_names,
            performance_metrics=model.performance,
            training_data_hash=model.training_data_hash,
            authorized_by=model.authorized_by,
        )
        if self._signer.secret is not None:
            metadata = sign_metadata(metadata, self._signer.secret)
        return encode_metadata(metadata)

    def _record(self, model: ConvertedModel) -> bytes:
        """JSON, indented for people, strict enough to parse back."""
        data = msgspec.json.format(msgspec.json.encode(model.record), indent=1)
        parse_record(data, where=record_name(model.stem))
        return data

    def publish(self, artefacts: Sequence[NewArtefact]) -> dict[str, object]:
        """Publish under the next release; with no artefacts, renew the release.

        Returns:
            `serial`, `store`, `signed_by` and `expires` of the new release.

        Raises:
            PublishError: the old release still stands.
            AuditError: the release is in place but could not be audited.
            VerificationError: the release is in place but does not verify.
        """
        done = publish(
            self.known.store,
            artefacts,
            signer=self._signer,
            trust=self.known.trust,
            state=self.known.state,
            audit=self.known.loader.audit,
            now=datetime.now(UTC),
        )
        signed = self.known.loader.open_release()
        return {
            "store": done.store_name,
            "serial": done.serial,
            "signed_by": ", ".join(signed.signers),
            "expires": done.expires,
        }

    def verify_published(self, stem: str) -> SecurityError | None:
        """Check a published model as the trading host will, signature, probe rows and all, and the auditor's copy.

        Returns:
            What is wrong with it, with the code of the first fault; None where it verifies.
        """
        try:
            self.known.loader.load_model(f"{stem}.onnx")
        except SecurityError as error:
            return _unverified(f"{stem}.onnx", error.code, str(error), error.next_step)
        faults = self.known.loader.verify_model(f"{stem}.skops")["errors"]
        if faults:
            return _unverified(f"{stem}.skops", faults[0]["code"], faults[0]["message"], "")
        return None


def _unverified(name: str, code: str, found: str, next_step: str) -> VerificationError:
    return VerificationError(
        "What was published does not verify; the original stays where it is",
        code=code,
        where=name,
        found=found,
        expected="what was converted",
        next_step=next_step or "depickle migrate again, which makes the model anew",
    )
