# SPDX-License-Identifier: Apache-2.0
"""The store of a models directory as the migrating host sees it: what it holds, publishing into it, and checking.

Built before the first file is converted, so that a missing key or a store that does not verify is found out before
an hour of work and not after it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from depickle_runtime.audit_log import AuditLog
from depickle_runtime.errors import SecurityError, VerificationError
from depickle_runtime.loader import SecureModelLoader
from depickle_runtime.metadata import describe_artefact, encode_metadata, sign_metadata
from depickle_runtime.record import ConversionRecord
from depickle_runtime.release import SignedRelease, record_name
from depickle_runtime.settings import default_state_dir, read_settings
from depickle_runtime.state import TrustState
from depickle_runtime.store import RELEASE_NAME, ModelStore, NewArtefact
from depickle_runtime.trust import configure_trust
from depickle_runtime.verification import parse_record

from .errors import PublishError
from .migrate import ConvertedModel, utc_text
from .naming import parse_training_date
from .publishing import publish
from .signing import configure_signer

__all__ = ["PublishingStore"]

_logger = logging.getLogger(__name__)


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
        variables = os.environ if environ is None else environ
        settings = read_settings(variables)
        state_dir = settings.state_dir or default_state_dir(variables)
        self.models_dir = models_dir
        self._created = created
        self._signer = configure_signer(environ=variables)
        self._trust = configure_trust(trust_policy=None, secret_key=None, environ=variables)
        self._state = TrustState(state_dir, models_dir=models_dir)
        self._store = ModelStore(models_dir)
        self._loader = SecureModelLoader(models_dir, environ=variables)
        self._audit: AuditLog = self._loader.audit
        self._records = self._current_records()

    def known_sources(self) -> dict[str, str]:
        """SHA-256 of every legacy file that the release has a conversion of, to the stem of its artefacts."""
        return {record.source.sha256: record.stem for record in self._records.values()}

    def current_training_dates(self) -> dict[str, datetime]:
        """When the current model of each symbol was trained, where its record says so."""
        dates = {}
        for symbol, stem in self._current.items():
            record = self._records.get(stem)
            trained = None if record is None else parse_training_date(record.trained_at, "")
            if trained is not None:
                dates[symbol] = trained
        return dates

    def metadata_bytes(
        self, model: ConvertedModel, data: bytes, model_type: Literal["onnx", "skops"]
    ) -> bytes:
        """The metadata file of one artefact of `model`, signed where a secret is set.

        Raises:
            MetadataError: a field cannot be stored.
        """
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

    def record_bytes(self, model: ConvertedModel) -> bytes:
        """The conversion record as the store holds it: JSON, indented for people, strict enough to parse back.

        Raises:
            MetadataError: the record would not be accepted by a reader.
        """
        data = msgspec.json.format(msgspec.json.encode(model.record), indent=1)
        parse_record(data, where=record_name(model.stem))
        return data

    def publish(self, artefacts: Sequence[NewArtefact]) -> dict[str, object]:
        """Publish under the next release.

        Returns:
            `serial`, `store`, `signed_by` and `expires` of the new release.

        Raises:
            PublishError: the old release still stands.
            AuditError: the release is in place but could not be audited.
        """
        done = publish(
            self._store,
            artefacts,
            signer=self._signer,
            trust=self._trust,
            state=self._state,
            audit=self._audit,
            now=self._created,
        )
        signed = self._loader.open_release()
        return {
            "store": done.store_name,
            "serial": done.serial,
            "signed_by": ", ".join(signed.signers),
            "expires": done.expires,
        }

    def verify_published(self, names: Sequence[str]) -> None:
        """Check published artefacts as the trading host will, signature, probe rows and all.

        Raises:
            PublishError: with the code of the first fault; originals must stay where they are.
        """
        for name in names:
            try:
                self._loader.load_model(name)
            except SecurityError as error:
                raise PublishError(
                    "What was published does not verify; the originals stay where they are",
                    code=error.code,
                    where=name,
                    found=str(error),
                    next_step=error.next_step or "depickle verify",
                ) from error

    def _current_records(self) -> dict[str, ConversionRecord]:
        """Records of the release by stem; a damaged one is left out, so its source counts as not yet converted."""
        self._current: dict[str, str] = {}
        if not (self.models_dir / RELEASE_NAME).exists():
            return {}
        signed = self._open()
        if signed is None:
            return {}
        self._current = dict(signed.release.current)
        records = {}
        for name, entry in signed.release.files.items():
            if not name.endswith(".conversion.json"):
                continue
            try:
                data = self._store.read(name, size=entry.size)
                record = parse_record(data, where=name)
            except VerificationError as error:
                _logger.warning("%s", error)
                continue
            records[record.stem] = record
        return records

    def _open(self) -> SignedRelease | None:
        """The release; None where it has merely expired, which publishing renews."""
        try:
            return self._loader.open_release()
        except VerificationError as error:
            if error.code == "DP111":
                return None
            raise
