# SPDX-License-Identifier: Apache-2.0
"""Publishes: the next release is built from the current verified one, signed, and put in place at once.

Rules:

* the current release must verify under the publisher's own trust; a store that does not is never signed over
* files only gather: what the old release pins, the new one pins with the same digests
* the serial rises by one; revocations are carried over and added to, never taken out
* everything about the new release is checked as a reader will check it before anything is written
* if anything fails, the old release still stands

The OpenSSF bundle `model.sig` is not written here yet.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from depickle_runtime.audit_log import AuditLog
from depickle_runtime.errors import AuditError, ConfigurationError, SecurityError
from depickle_runtime.metadata import metadata_name, parse_metadata, verify_metadata_hmac
from depickle_runtime.release import (
    DEFAULT_LIFETIME,
    FileEntry,
    Floor,
    Release,
    Revocation,
    SignedRelease,
    describe_file,
    encode_release,
    peek_expiry,
    record_name,
    verify_release,
)
from depickle_runtime.state import TrustState
from depickle_runtime.store import RELEASE_NAME, ModelStore, NewArtefact, Publication
from depickle_runtime.trust import PolicyTrust, Trust, UnsafeNoTrust
from depickle_runtime.verification import Verifier, parse_record

from .errors import PublishError
from .signing import Signer

__all__ = ["Published", "publish"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """What a publishing run put in place."""

    store_name: str
    serial: int
    files: tuple[str, ...]
    cleared: tuple[str, ...]
    """Files of an earlier run that had crashed; removed."""
    expires: str


def publish(
    store: ModelStore,
    artefacts: Sequence[NewArtefact],
    *,
    signer: Signer,
    trust: Trust,
    state: TrustState,
    audit: AuditLog,
    revocations: Sequence[Revocation] = (),
    store_name: str | None = None,
    lifetime: timedelta = DEFAULT_LIFETIME,
    now: datetime | None = None,
) -> Published:
    """Put new artefacts and revocations into a store, under a new release.

    With neither artefacts nor revocations it renews the release: same files, later expiry.

    Args:
        store: the store; its folders are made for the first release.
        artefacts: new models; their names do not exist yet.
        signer: who signs.
        trust: what the publisher believes; the new release must verify under it.
        state: what this host remembers.
        audit: where the run is recorded.
        revocations: artefacts that must not load any more.
        store_name: name of a new store; the policy's where None, else ``models``.
        lifetime: how long the release may be loaded from.
        now: the time; the clock's where None.

    Raises:
        PublishError: DP851, an artefact is inconsistent; DP855, the current release does not verify; DP856, the
            signer is not one that the trust believes; otherwise with the store's own code; the old release
            stands.
        ConfigurationError: DP917, an argument cannot be used.
        AuditError: the run cannot be recorded. The release is in place then.

    Returns:
        What was put in place.
    """
    moment = (datetime.now(UTC) if now is None else now).replace(microsecond=0)
    if isinstance(trust, UnsafeNoTrust):
        raise ConfigurationError(
            "Publishing needs a trust policy or a secret", code="DP917", next_step="set ML_TRUST_POLICY"
        )
    if not timedelta(0) < lifetime <= timedelta(days=3650):
        raise ConfigurationError("The lifetime is none", code="DP917", found=str(lifetime), where="lifetime")
    files = _files(artefacts, signer)
    allow = _whitelist_entries(artefacts)
    try:
        with store.writing(create=True) as writer:
            old = _current(store, trust, state, moment)
            cleared = writer.clear_unfinished(() if old is None else old.release.files)
            release = _next(
                old,
                artefacts,
                files,
                revocations,
                store_name=_name(old, trust, store_name),
                floor=state.floor(_name(old, trust, store_name)),
                moment=moment,
                lifetime=lifetime,
            )
            payload = encode_release(release)
            envelope = signer.sign(payload)
            _check_readable(envelope, trust, old, moment)
            writer.publish(Publication(envelope=envelope, files=files, allow=allow))
    except SecurityError as fault:
        _audit_refusal(audit, fault)
        if isinstance(fault, PublishError):
            raise
        raise PublishError(
            fault.message,
            code=fault.code,
            found=fault.found,
            expected=fault.expected,
            where=fault.where,
            next_step=fault.next_step,
        ) from fault
    for artefact in artefacts:
        entry = release.files[f"{artefact.stem}.onnx"]
        audit.append("model.publish", outcome="ok", model=f"{artefact.stem}.onnx", digest=entry.sha256)
    for item in revocations:
        audit.append("model.revoke", outcome="ok", digest=item.sha256, detail=item.reason)
    audit.append("release.publish", outcome="ok", detail=f"{release.store_name} serial {release.serial}")
    return Published(
        store_name=release.store_name,
        serial=release.serial,
        files=tuple(sorted(files)),
        cleared=cleared,
        expires=release.expires,
    )


def _audit_refusal(audit: AuditLog, fault: SecurityError) -> None:
    try:
        audit.append("release.publish", outcome="refused", code=fault.code, detail=str(fault))
    except AuditError as broken:  # nothing was published either way; the first fault is the one to report
        _logger.error("the refusal could not be audited: %s", broken)


def _inconsistent(where: str, found: str) -> PublishError:
    return PublishError(
        "An artefact on its way into the store is inconsistent", code="DP851", where=where, found=found
    )


def _files(artefacts: Sequence[NewArtefact], signer: Signer) -> dict[str, bytes]:
    """Every file of the artefacts by name, after checking that each says the same as the others."""
    files: dict[str, bytes] = {}
    for artefact in artefacts:
        parts = {f"{artefact.stem}.onnx": artefact.onnx}
        if artefact.skops is not None:
            parts[f"{artefact.stem}.skops"] = artefact.skops
        if set(artefact.metadata) != set(parts):
            raise _inconsistent(
                artefact.stem, f"metadata of {', '.join(sorted(artefact.metadata)) or 'no file'}"
            )
        record = parse_record(artefact.record, where=record_name(artefact.stem))
        if (record.stem, record.symbol) != (artefact.stem, artefact.symbol):
            raise _inconsistent(artefact.stem, f"a record of {record.stem}, {record.symbol}")
        for name, data in parts.items():
            where = metadata_name(name)
            metadata = parse_metadata(artefact.metadata[name], where=where)
            entry = describe_file(data)
            described = (metadata.checksum_sha256, metadata.checksum_sha512, metadata.file_size)
            if described != (entry.sha256, entry.sha512, entry.size):
                raise _inconsistent(where, "digests of other bytes")
            if signer.secret is not None:
                verify_metadata_hmac(metadata, signer.secret, where=where)
            new = {name: data, where: artefact.metadata[name], record_name(artefact.stem): artefact.record}
            for key, value in new.items():
                if files.setdefault(key, value) is not value:
                    raise _inconsistent(key, "one name for two files")
    return files


def _whitelist_entries(artefacts: Sequence[NewArtefact]) -> Mapping[str, str]:
    entries: dict[str, str] = {}
    for artefact in artefacts:
        entries[f"{artefact.stem}.onnx"] = describe_file(artefact.onnx).sha256
        if artefact.skops is not None:
            entries[f"{artefact.stem}.skops"] = describe_file(artefact.skops).sha256
    return entries


def _current(store: ModelStore, trust: Trust, state: TrustState, moment: datetime) -> SignedRelease | None:
    verifier = Verifier(store=store, trust=trust, state=state, clock=lambda: moment)
    try:
        return verifier.open_release()
    except SecurityError as fault:
        if fault.code == "DP101":
            return None
        if (
            fault.code == "DP111"
        ):  # an expired release is renewed by publishing; everything else of it verified
            return _expired(store, trust, state, moment)
        raise PublishError(
            "The current release does not verify; it is not signed over",
            code="DP855",
            found=str(fault),
            where=RELEASE_NAME,
            next_step=fault.next_step,
        ) from fault


def _expired(store: ModelStore, trust: Trust, state: TrustState, moment: datetime) -> SignedRelease:
    envelope = store.read(RELEASE_NAME)
    just_before = peek_expiry(envelope) - timedelta(seconds=1)
    signed = verify_release(envelope, trust=trust, floor=None, now=just_before)
    floor = state.floor(signed.release.store_name)
    return verify_release(envelope, trust=trust, floor=floor, now=just_before)


def _name(old: SignedRelease | None, trust: Trust, store_name: str | None) -> str:
    if old is not None:
        return old.release.store_name
    if isinstance(trust, PolicyTrust):
        return trust.policy.store_name
    return "models" if store_name is None else store_name


def _next(
    old: SignedRelease | None,
    artefacts: Sequence[NewArtefact],
    files: Mapping[str, bytes],
    revocations: Sequence[Revocation],
    *,
    store_name: str,
    floor: Floor | None,
    moment: datetime,
    lifetime: timedelta,
) -> Release:
    entries: dict[str, FileEntry] = {} if old is None else dict(old.release.files)
    twice = sorted(set(entries) & set(files))
    if twice:
        raise _inconsistent(twice[0], "a name that the release pins already")
    entries |= {name: describe_file(data) for name, data in files.items()}
    current = {} if old is None else dict(old.release.current)
    current |= {artefact.symbol: artefact.stem for artefact in artefacts if artefact.make_current}
    kept = [] if old is None else list(old.release.revocations)
    known = {item.sha256 for item in kept}
    kept += [item for item in revocations if item.sha256 not in known]
    seen = max(0 if old is None else old.release.serial, 0 if floor is None else floor.serial)
    return Release(
        schema_version=1,
        store_name=store_name,
        serial=seen + 1,
        issued=_stamp(moment),
        expires=_stamp(moment + lifetime),
        current=current,
        files=entries,
        revocations=kept,
    )


def _check_readable(envelope: bytes, trust: Trust, old: SignedRelease | None, moment: datetime) -> None:
    floor = None if old is None else Floor(serial=old.release.serial, payload_sha256=old.payload_sha256)
    try:
        verify_release(envelope, trust=trust, floor=floor, now=moment)
    except SecurityError as fault:
        raise PublishError(
            "The new release would not verify under the trust policy; nothing was written",
            code="DP856",
            found=str(fault),
            where=RELEASE_NAME,
            next_step="sign with a key of the policy: ML_SIGNING_KEY, and MODEL_SECRET_KEY where it is set",
        ) from fault


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
