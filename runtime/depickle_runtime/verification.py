# SPDX-License-Identifier: Apache-2.0
"""From a file name to a `VerifiedModel`, in one fixed order; every step that fails has its own code.

1. mode, and the signatures of the release (`Verifier.open_release`)
2. store name, floor, same payload for the same serial, expiry; earlier revocations are remembered
3. metadata and record: the very bytes that the release pins, strictly parsed, of this artefact
4. HMAC of the metadata, where a secret is set
5. the operator's whitelist; revocations of the release and of every earlier one; admitted tiers
6. the artefact: opened without following links, read once; SHA-256 and SHA-512 of those bytes
7. the ONNX gate, on those bytes

Session, stored probe rows and the raising of the floor follow in `probes` and `loader`. Damage to one artefact,
its metadata or its record stops that model alone; damage to the release, the policy or the key stops all.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from . import _strict_json
from .admission import Admission
from .errors import (
    DigestMismatchError,
    MetadataError,
    ReleaseError,
    RollbackError,
    StoreError,
    UnsafeModelError,
    VerificationError,
)
from .metadata import MAX_METADATA_BYTES, Metadata, metadata_name, parse_metadata, verify_metadata_hmac
from .onnx_gate import VettedOnnx, check_onnx
from .record import ConversionRecord, Tier
from .release import (
    MAX_RELEASE_BYTES,
    FileEntry,
    SignedRelease,
    artefact_stem,
    check_floor,
    record_name,
    verify_release,
)
from .state import TrustState
from .store import RELEASE_NAME, ModelStore
from .trust import Trust, UnsafeNoTrust

__all__ = ["ArtefactFacts", "VerifiedModel", "Verifier", "parse_record", "refuse_format"]

_logger = logging.getLogger(__name__)

MAX_RECORD_BYTES = 32 * 1024 * 1024
"""A record holds a few probe rows; 32 MiB is far beyond the widest model."""
_SEAL = object()
_EXECUTABLE = (
    ".pkl",
    ".pickle",
    ".joblib",
    ".sav",
    ".pt",
    ".pth",
    ".npy",
    ".npz",
    ".h5",
    ".dill",
    ".cloudpickle",
)
_DAMAGE = "restore the file from the publishing host, or publish the model again"


@dataclass(frozen=True, slots=True)
class ArtefactFacts:
    """An artefact's signed entry, metadata and record, all of which verified; its bytes are not read yet."""

    name: str
    stem: str
    entry: FileEntry
    metadata: Metadata
    record: ConversionRecord
    signed: SignedRelease


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedModel:
    """An ONNX artefact that passed every step; only `Verifier.verify_artefact` builds one."""

    name: str
    stem: str
    symbol: str
    onnx: VettedOnnx = field(repr=False)
    record: ConversionRecord = field(repr=False)
    metadata: Metadata = field(repr=False)
    sha256: str
    sha512: str
    store_name: str
    serial: int
    signers: tuple[str, ...]
    warnings: tuple[str, ...]
    signed: SignedRelease = field(repr=False)
    """The release it was verified under."""
    unchecked: tuple[str, ...]
    """Checks that the operator turned off with ML_ALLOW_INSECURE=1; empty in every normal run."""
    seal: object = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse construction by anybody but the verifier."""
        if self.seal is not _SEAL:
            raise VerificationError("A verified model comes from Verifier.verify_artefact only", code="DP100")

    @property
    def tier(self) -> Tier:
        """What its answers rest on: proven, certified or sampled."""
        return self.record.tier


def refuse_format(name: str) -> UnsafeModelError | None:
    """The refusal of a file that the runtime cannot load, judged by its name; None for an ONNX file."""
    lowered = name.lower()
    if lowered.endswith(".onnx"):
        return None
    if lowered.endswith(".skops"):
        return UnsafeModelError(
            "Attempted to load unsafe module: a skops file is the auditor's copy; the runtime has no reader for it",
            code="DP147",
            where=name,
            expected="the .onnx file of the same model",
            next_step="load the .onnx file; for a skops file that has none: depickle migrate",
        )
    executable = lowered.endswith(_EXECUTABLE) or ".pkl." in lowered or ".joblib." in lowered
    return UnsafeModelError(
        "Attempted to load unsafe module: this file can execute code when it is loaded"
        if executable
        else "Attempted to load unsafe module: not a format that the runtime loads",
        code="DP146" if executable else "DP148",
        where=name,
        expected="an .onnx file of a signed store",
        next_step="convert it on the migration host: depickle migrate",
    )


def parse_record(data: bytes, *, where: str) -> ConversionRecord:
    """Parse a conversion record strictly.

    Args:
        data: the file.
        where: its name, for the error.

    Raises:
        MetadataError: DP129.

    Returns:
        The record.
    """
    return _strict_json.decode_as(
        ConversionRecord,
        data,
        max_bytes=MAX_RECORD_BYTES,
        where=where,
        error=MetadataError,
        code="DP129",
        next_step=_DAMAGE,
    )


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Verifier:
    """A store, whom to believe about it, and what this host remembers of it."""

    store: ModelStore
    trust: Trust
    state: TrustState
    clock: Callable[[], datetime] = _now
    verify_checksums: bool = True

    def open_release(self, *, remember: bool = True) -> SignedRelease:
        """Read and verify the release: steps 1 and 2.

        One call chain passes the result on to every artefact, so that the release is verified once; nothing
        is kept between calls.

        Args:
            remember: add its revocations to the state; False for `verify`, which leaves no trace.

        Raises:
            ReleaseError: DP101, absent; otherwise as `verify_release`.
            SignatureError: as `verify_release`.
            RollbackError: as `verify_release`.
            ExpiredError: as `verify_release`.
            StoreError: DP138, DP142, DP143, it cannot be read; DP150, DP151, the state cannot be.

        Returns:
            The release.
        """
        envelope = self._read_release()
        earlier = -1
        while True:
            now = self.clock()
            signed = verify_release(envelope, trust=self.trust, floor=None, now=now)
            try:
                check_floor(signed, self.state.floor(signed.release.store_name), self.trust)
                break
            except RollbackError as fault:
                latest = self._read_release()
                if fault.code != "DP108" or latest == envelope or signed.release.serial <= earlier:
                    raise
                # While this one was verified a later one was published, and another reader has seen it. Serials
                # have to rise from turn to turn, so that nobody can hold a reader here with two old releases.
                envelope, earlier = latest, signed.release.serial
        if remember and not isinstance(self.trust, UnsafeNoTrust):
            self.state.remember_revocations(signed, now=now)
        for warning in signed.warnings:
            _logger.warning("%s: %s", signed.release.store_name, warning)
        return signed

    def _read_release(self) -> bytes:
        try:
            return self.store.read(RELEASE_NAME, max_size=MAX_RELEASE_BYTES)
        except StoreError as fault:
            if fault.code != "DP137":
                raise
            raise ReleaseError(
                "The store has no release; nothing loads",
                code="DP101",
                where=f"{self.store.models_dir}/{RELEASE_NAME}",
                next_step="publish the store with 'depickle migrate', or restore release.json",
            ) from None

    @property
    def admission(self) -> Admission:
        """What was decided about artefacts: step 5."""
        return Admission(store=self.store, trust=self.trust, state=self.state)

    def facts(self, name: str, signed: SignedRelease) -> ArtefactFacts:
        """Verify an artefact's metadata and record: step 3.

        Args:
            name: name of the artefact.
            signed: the release.

        Raises:
            ReleaseError: DP120, the release does not name the artefact.
            MetadataError: DP121 to DP124 the metadata; DP127 to DP130 the record.
            StoreError: one of the two cannot be read.

        Returns:
            Both, parsed.
        """
        entry, stem = signed.entry(name), artefact_stem(name)
        if entry is None or stem is None:
            raise ReleaseError(
                "The release does not name this file",
                code="DP120",
                where=name,
                found="no entry",
                expected="a file of the signed release",
                next_step="publish it with 'depickle migrate', or remove it from the store",
            )
        metadata_file, record_file = metadata_name(name), record_name(stem)
        metadata = parse_metadata(
            self._pinned(metadata_file, signed, MAX_METADATA_BYTES, absent="DP121", differs="DP122"),
            where=metadata_file,
        )
        described = (metadata.checksum_sha256, metadata.checksum_sha512, metadata.file_size)
        if described != (entry.sha256, entry.sha512, entry.size) or not name.endswith(
            f".{metadata.model_type}"
        ):
            raise MetadataError(
                "The metadata describes another file than the release",
                code="DP124",
                found=f"{metadata.model_type} {metadata.checksum_sha256}",
                expected=f"{name} {entry.sha256}",
                where=metadata_file,
                next_step=_DAMAGE,
            )
        record = parse_record(
            self._pinned(record_file, signed, MAX_RECORD_BYTES, absent="DP127", differs="DP128"),
            where=record_file,
        )
        symbols = {symbol for symbol, current in signed.release.current.items() if current == stem}
        if record.stem != stem or symbols - {record.symbol}:
            raise MetadataError(
                "The record describes another model than the release",
                code="DP130",
                found=f"{record.stem} of {record.symbol}",
                expected=f"{stem} of {', '.join(sorted(symbols)) or record.symbol}",
                where=record_file,
                next_step=_DAMAGE,
            )
        return ArtefactFacts(
            name=name, stem=stem, entry=entry, metadata=metadata, record=record, signed=signed
        )

    def check_hmac(self, facts: ArtefactFacts) -> None:
        """Check the metadata's HMAC where a secret is set: step 4.

        Raises:
            SignatureError: DP125, DP126.
        """
        secret = None if isinstance(self.trust, UnsafeNoTrust) else self.trust.secret
        if secret is not None:
            verify_metadata_hmac(facts.metadata, secret, where=metadata_name(facts.name))

    def read_artefact(self, facts: ArtefactFacts) -> bytes:
        """Read the artefact once and check both digests of those bytes: step 6.

        Raises:
            StoreError: DP137, DP138, DP139, DP142, DP143.
            DigestMismatchError: DP140 for SHA-256, DP141 for SHA-512.

        Returns:
            The bytes; nothing reads the file again.
        """
        data = self.store.read(facts.name, size=facts.entry.size)
        self.check_bytes(facts, data)
        return data

    def check_bytes(self, facts: ArtefactFacts, data: bytes) -> None:
        """Check size and both digests of an artefact's bytes: step 6.

        Raises:
            DigestMismatchError: DP139 for the size, DP140 for SHA-256, DP141 for SHA-512.
        """
        entry = facts.entry
        differences = [("DP139", "size", str(entry.size), str(len(data)))]
        if self.verify_checksums:
            sha256, sha512 = describe_digests(data)
            differences += [
                ("DP140", "SHA-256", entry.sha256, sha256),
                ("DP141", "SHA-512", entry.sha512, sha512),
            ]
        for code, label, expected, found in differences:
            if not hmac.compare_digest(expected, found):
                raise DigestMismatchError(
                    "Model checksum mismatch",
                    code=code,
                    where=facts.name,
                    found=f"{label} {found}",
                    expected=expected,
                    next_step=_DAMAGE,
                )

    def verify_artefact(self, name: str, *, signed: SignedRelease | None = None) -> VerifiedModel:
        """Verify an ONNX artefact: every step but session and probes.

        Args:
            name: name of the artefact in the store.
            signed: the release, where this call chain has verified it already.

        Raises:
            UnsafeModelError: DP146, DP147, DP148, it is no ONNX file.
            VerificationError: the subclass and code of the step that failed.

        Returns:
            The model, ready for a session.
        """
        refusal = refuse_format(name)
        if refusal is not None:
            raise refusal
        signed = self.open_release() if signed is None else signed
        facts = self.facts(name, signed)
        self.check_hmac(facts)
        self.admission.check(name, facts.entry.sha256, facts.record.tier, signed)
        return self.vet(facts, self.read_artefact(facts))

    def vet(self, facts: ArtefactFacts, data: bytes) -> VerifiedModel:
        """Pass the artefact's bytes through the ONNX gate: step 7. Called after every other step.

        Raises:
            OnnxRefusedError: the rule that was broken.

        Returns:
            The model.
        """
        unchecked = [] if self.verify_checksums else ["checksums"]
        if isinstance(self.trust, UnsafeNoTrust):
            unchecked.append("signatures")
        return VerifiedModel(
            name=facts.name,
            stem=facts.stem,
            symbol=facts.record.symbol,
            onnx=check_onnx(data),
            record=facts.record,
            metadata=facts.metadata,
            sha256=facts.entry.sha256,
            sha512=facts.entry.sha512,
            store_name=facts.signed.release.store_name,
            serial=facts.signed.release.serial,
            signers=facts.signed.signers,
            warnings=facts.signed.warnings,
            signed=facts.signed,
            unchecked=tuple(unchecked),
            seal=_SEAL,
        )

    def _pinned(self, name: str, signed: SignedRelease, cap: int, *, absent: str, differs: str) -> bytes:
        entry = signed.entry(name)
        if entry is None:  # the release was checked to name it; a second line of defence
            raise MetadataError("The release does not pin this file", code=differs, where=name)
        try:
            data = self.store.read(name, max_size=cap)
        except StoreError as fault:
            if fault.code != "DP137":
                raise
            raise MetadataError(
                "A metadata file is absent",
                code=absent,
                where=name,
                expected="the signed file",
                next_step=_DAMAGE,
            ) from None
        found = describe_digests(data)
        if found != (entry.sha256, entry.sha512):
            raise MetadataError(
                "A metadata file is not the signed one",
                code=differs,
                where=name,
                found=f"SHA-256 {found[0]}",
                expected=entry.sha256,
                next_step=_DAMAGE,
            )
        return data


def describe_digests(data: bytes) -> tuple[str, str]:
    """SHA-256 and SHA-512, hexadecimal."""
    return hashlib.sha256(data).hexdigest(), hashlib.sha512(data).hexdigest()
