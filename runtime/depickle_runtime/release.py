# SPDX-License-Identifier: Apache-2.0
"""The signed index of a store: bytes in, values out; no disk, no clock, no network.

Rules, in the order in which `verify_release` applies them:

1. the envelope is strict canonical JSON, base64 re-encodes to itself, the payload type is ours
2. signatures are checked over the exact payload bytes before the payload is parsed (DSSE)
3. the trusted keys choose the algorithm; distinct owners are counted against the policy's threshold
4. a signature that names a trusted key and does not verify refuses the release, whatever else it carries
5. the payload is strict JSON and equals its own canonical re-encoding
6. store name, least serial, floor, same payload for the same serial, serial jump, issue time, expiry
7. every artefact comes with its metadata file and its record, and every current model is an artefact
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from securesystemslib import exceptions as sslib_exceptions
from securesystemslib.signer import Signature  # type: ignore[attr-defined]  # re-exported without __all__

from ._release_format import (
    DEFAULT_LIFETIME,
    MAX_RELEASE_BYTES,
    NAME,
    PAYLOAD_TYPE,
    FileEntry,
    Release,
    Revocation,
    artefact_stem,
    describe_file,
    encode_envelope,
    encode_release,
    malformed,
    pae,
    parse_envelope,
    parse_payload,
    peek_expiry,
    record_name,
)
from .errors import ExpiredError, ReleaseError, RollbackError, SignatureError
from .trust import (
    MAX_SERIAL_JUMP,
    PolicyTrust,
    Secret,
    SecretTrust,
    Trust,
    UnsafeNoTrust,
    parse_timestamp,
)

__all__ = [
    "DEFAULT_LIFETIME",
    "MAX_RELEASE_BYTES",
    "NAME",
    "PAYLOAD_TYPE",
    "WARN_FRACTION",
    "FileEntry",
    "Floor",
    "Release",
    "Revocation",
    "SignedRelease",
    "artefact_stem",
    "check_floor",
    "describe_file",
    "encode_envelope",
    "encode_release",
    "pae",
    "parse_envelope",
    "peek_expiry",
    "record_name",
    "verify_release",
]

WARN_FRACTION = 0.8
"""Share of its lifetime after which a release asks to be renewed."""
MAX_CLOCK_SKEW = timedelta(hours=1)
"""A release issued further ahead than this says that one of the two clocks is wrong."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The highest release seen: its serial and the SHA-256 of its payload."""

    serial: int
    payload_sha256: str


_SEAL = object()


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release that verified; only `verify_release` builds one."""

    release: Release
    payload_sha256: str
    signers: tuple[str, ...]
    """Owners whose signatures verified; ``MODEL_SECRET_KEY`` for an HMAC; empty where nothing was checked."""
    expires: datetime
    warnings: tuple[str, ...]
    seal: object

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise ReleaseError("A signed release comes from verify_release only", code="DP100")

    def entry(self, name: str) -> FileEntry | None:
        """The signed entry of a file, or None."""
        return self.release.files.get(name)


def verify_release(envelope: bytes, *, trust: Trust, floor: Floor | None, now: datetime) -> SignedRelease:
    """Verify `release.json` against the verifier's own trust and memory.

    Args:
        envelope: the file.
        trust: what it must carry.
        floor: the highest release seen; None on first use, or where `check_floor` follows, as the memory is
            kept by a store name that is known only now.
        now: the time, with a zone.

    Raises:
        ReleaseError: DP102, DP103, DP114, DP115 malformed; DP107 another store; DP112 issued in the future.
        SignatureError: DP104 no trusted signature; DP105 one does not verify; DP106 threshold not reached;
            DP116 no HMAC; DP117 an HMAC that the secret does not give.
        RollbackError: DP108 below the floor; DP109 another payload for the same serial; DP110 jump beyond
            the cap; DP113 below the policy's least serial.
        ExpiredError: DP111.

    Returns:
        The release, verified.
    """
    payload, signatures = parse_envelope(envelope)
    signers = _check_signatures(payload, signatures, trust, now)
    release = parse_payload(payload)
    digest = hashlib.sha256(payload).hexdigest()
    if isinstance(trust, PolicyTrust):
        _check_policy(release, trust)
    expires, warnings = _check_time(release, now)
    signed = SignedRelease(
        release=release,
        payload_sha256=digest,
        signers=signers,
        expires=expires,
        warnings=warnings,
        seal=_SEAL,
    )
    check_floor(signed, floor, trust)
    return signed


def _refuse_signature(code: str, found: str, expected: str, next_step: str) -> SignatureError:
    return SignatureError(
        "Model signature verification failed",
        code=code,
        found=found,
        expected=expected,
        where="release.json",
        next_step=next_step,
    )


def _check_signatures(
    payload: bytes, signatures: Mapping[str, bytes], trust: Trust, now: datetime
) -> tuple[str, ...]:
    if isinstance(trust, UnsafeNoTrust):
        return ()
    text = pae(payload)
    if isinstance(trust, SecretTrust):
        _check_hmac(text, signatures, trust.secret)
        return ("MODEL_SECRET_KEY",)
    owners: set[str] = set()
    expired_owners: set[str] = set()
    for key in trust.keys:
        signature = signatures.get(key.keyid)
        if signature is None:
            continue
        try:
            key.key.verify_signature(Signature(key.keyid, signature.hex()), text)
        except sslib_exceptions.UnverifiedSignatureError:  # VerificationError is a subclass of it
            raise _refuse_signature(
                "DP105",
                f"a signature that the key of {key.owner} did not make",
                "a signature of this very payload",
                "restore release.json from the publishing host, or publish again",
            ) from None
        (owners if key.valid_at(now) else expired_owners).add(key.owner)
    threshold = trust.policy.threshold
    if len(owners) < threshold:
        if not owners and not expired_owners:
            raise _refuse_signature(
                "DP104",
                f"no signature by a key of the policy, {len(signatures)} by others",
                f"signatures of {threshold} of {_listing({key.owner for key in trust.keys})}",
                "publish with a key of the policy, or deploy the policy that holds the publisher's key",
            )
        lapsed = (
            f", and of {_listing(expired_owners)} by keys no longer or not yet valid"
            if expired_owners
            else ""
        )
        raise _refuse_signature(
            "DP106",
            f"signatures of {len(owners)} owners{lapsed}",
            f"signatures of {threshold} distinct owners",
            "have further owners approve the release",
        )
    if trust.secret is not None:
        _check_hmac(text, signatures, trust.secret)
        return (*sorted(owners), "MODEL_SECRET_KEY")
    return tuple(sorted(owners))


def _check_hmac(text: bytes, signatures: Mapping[str, bytes], secret: Secret) -> None:
    signature = signatures.get(secret.keyid)
    if signature is None:
        other = any(keyid.startswith("hmac-sha256-") for keyid in signatures)
        raise _refuse_signature(
            "DP116",
            "an HMAC under another secret" if other else "no HMAC",
            "an HMAC under MODEL_SECRET_KEY",
            "check that MODEL_SECRET_KEY is the one that the store was published with, or publish again",
        )
    if not hmac.compare_digest(signature, secret.release_hmac(text)):
        raise _refuse_signature(
            "DP117",
            "an HMAC of another payload",
            "the HMAC of this very payload",
            "restore release.json from the publishing host, or publish again",
        )


def _listing(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"


def _check_policy(release: Release, trust: PolicyTrust) -> None:
    if release.store_name != trust.policy.store_name:
        raise ReleaseError(
            "The release is one of another store",
            code="DP107",
            found=release.store_name,
            expected=trust.policy.store_name,
            where="release.json",
            next_step="check ML_MODELS_DIR against ML_TRUST_POLICY",
        )
    if release.serial < trust.policy.least_serial:
        raise RollbackError(
            "The release is older than the policy admits",
            code="DP113",
            found=f"serial {release.serial}",
            expected=f"at least {trust.policy.least_serial}",
            where="release.json",
            next_step="deploy the current store",
        )


def check_floor(signed: SignedRelease, floor: Floor | None, trust: Trust) -> None:
    """Check a verified release against what this host has seen before.

    Args:
        signed: the release.
        floor: the highest release seen, or None on first use.
        trust: caps the step over the floor.

    Raises:
        RollbackError: DP108 below the floor; DP109 another payload for the same serial; DP110 jump beyond
            the cap.
    """
    if floor is None:
        return
    cap = trust.policy.max_serial_jump if isinstance(trust, PolicyTrust) else MAX_SERIAL_JUMP
    release, digest = signed.release, signed.payload_sha256
    if release.serial < floor.serial:
        raise RollbackError(
            "The release is older than one already seen",
            code="DP108",
            found=f"serial {release.serial}",
            expected=f"at least {floor.serial}",
            where="release.json",
            next_step="deploy the current store; to go back to older models, publish them as a new release",
        )
    if release.serial == floor.serial and digest != floor.payload_sha256:
        raise RollbackError(
            "Two different releases have one serial",
            code="DP109",
            found=f"serial {release.serial} with payload {digest[:16]}…",
            expected=f"payload {floor.payload_sha256[:16]}…, as seen before",
            where="release.json",
            next_step="find out who signed the second one; then publish a release with a higher serial",
        )
    if release.serial - floor.serial > cap:
        raise RollbackError(
            "The serial jumps further than is admitted",
            code="DP110",
            found=f"serial {release.serial}",
            expected=f"at most {floor.serial + cap}",
            where="release.json",
            next_step="find out who signed this release; raise max_serial_jump in the policy if it is honest",
        )


def _check_time(release: Release, now: datetime) -> tuple[datetime, tuple[str, ...]]:
    issued, expires = parse_timestamp(release.issued), parse_timestamp(release.expires)
    if issued is None or expires is None:  # `_inconsistency` refused this already; narrows the types
        raise malformed("a time that is none", "DP103")
    if issued > now + MAX_CLOCK_SKEW:
        raise ReleaseError(
            "The release was issued in the future",
            code="DP112",
            found=release.issued,
            expected=f"at most one hour after {now:%Y-%m-%dT%H:%M:%SZ}",
            where="release.json",
            next_step="check the clock of this host and of the publishing host",
        )
    if now >= expires:
        raise ExpiredError(
            "The release has expired; nothing new loads",
            code="DP111",
            found=f"expired {release.expires}",
            expected=f"an expiry after {now:%Y-%m-%dT%H:%M:%SZ}",
            where="release.json",
            next_step="publish again; that renews the release",
        )
    if now >= issued + (expires - issued) * WARN_FRACTION:
        return expires, (f"the release expires {release.expires}; publish again to renew it",)
    return expires, ()
