# SPDX-License-Identifier: Apache-2.0
"""Whom the runtime believes: keys, thresholds and the secret, all from outside the store.

Rules:

* what a release must carry comes from the trust policy or the secret, never from the release
* an algorithm belongs to a trusted key; an envelope cannot choose one
* two keys of one owner count once towards the threshold
* a secret is at least 32 bytes and no documentation placeholder, and its bytes never reach a message
* keys published with the demo are believed only under a policy for a store whose name begins with ``demo``
* neither a policy nor a secret is an error, never a mode
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeAlias

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # re-exported without __all__

from . import _strict_json
from ._demo_keys import DEMO_KEY_IDS
from .errors import ConfigurationError
from .record import Tier
from .settings import admit_insecure

__all__ = [
    "DEFAULT_TIERS",
    "MAX_SERIAL_JUMP",
    "MIN_SECRET_BYTES",
    "KeyEntry",
    "PolicyTrust",
    "Scheme",
    "Secret",
    "SecretTrust",
    "Trust",
    "TrustPolicy",
    "TrustedKey",
    "UnsafeNoTrust",
    "configure_trust",
    "encode_policy",
    "load_public_key",
    "parse_policy",
    "parse_secret",
    "parse_timestamp",
    "read_policy",
]

_logger = logging.getLogger(__name__)

MIN_SECRET_BYTES = 32
"""The HMAC-SHA256 output length: RFC 2104, section 3, advises no shorter key."""
MIN_DISTINCT_BYTES = 8
"""A random 32-byte secret in hexadecimal has about 14 distinct characters; 'aaaa…' has one."""
MAX_POLICY_BYTES = 1024 * 1024
MAX_SERIAL_JUMP = 10_000
"""A leaked key must not be able to push the floor of a fleet out of every honest publisher's reach."""
DEFAULT_TIERS: frozenset[Tier] = frozenset({"proven", "certified"})

Scheme = Literal["ecdsa-sha2-nistp256", "ed25519"]
Timestamp = Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z")]
StoreName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\Z")]
Serial = Annotated[int, msgspec.Meta(ge=1, le=2**53)]

# Every one of these stands in some documentation; a deployment that copied it has no secret.
_PLACEHOLDERS = (
    "your-secret",
    "your_secret",
    "yoursecret",
    "secret-key-here",
    "secret_key_here",
    "my-secret",
    "my_secret",
    "changeme",
    "change-me",
    "change_me",
    "change-this",
    "placeholder",
    "replace-me",
    "replace_me",
    "example",
    "insert-",
    "not-a-secret",
    "test-secret-key",
)


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key as the policy file holds it."""

    owner: Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,128}\Z")]
    scheme: Scheme
    public: Annotated[str, msgspec.Meta(max_length=4096)]
    """SubjectPublicKeyInfo in PEM."""
    valid_from: Timestamp | None = None
    valid_until: Timestamp | None = None


class TrustPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a release must carry to be believed; deployed by an operator, kept outside the store."""

    schema_version: Literal[1]
    store_name: StoreName
    threshold: Annotated[int, msgspec.Meta(ge=1, le=64)]
    keys: list[KeyEntry]
    least_serial: Serial = 1
    admitted_tiers: list[Tier] = msgspec.field(default_factory=lambda: ["certified", "proven"])
    max_serial_jump: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = MAX_SERIAL_JUMP


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key of the policy, loaded; `keyid` is computed from the key and never read from a file."""

    owner: str
    scheme: Scheme
    key: SSlibKey
    valid_from: datetime | None
    valid_until: datetime | None

    @property
    def keyid(self) -> str:
        """Identifier of the key: SHA-256 of its canonical public form."""
        return str(self.key.keyid)

    def valid_at(self, moment: datetime) -> bool:
        """Whether the policy believes the key at that moment."""
        if self.valid_from is not None and moment < self.valid_from:
            return False
        return self.valid_until is None or moment < self.valid_until


class Secret:
    """`MODEL_SECRET_KEY`, checked once; neither `repr` nor pickling shows its bytes."""

    __slots__ = ("_release_key", "_secret", "keyid")

    keyid: str
    """Identifier of the release subkey: lets an error tell another secret from a damaged signature."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._release_key = HKDF(
            algorithm=SHA256(), length=32, salt=None, info=b"depickle release signature v1"
        ).derive(secret)
        tag = hmac.digest(self._release_key, b"depickle release key identifier v1", "sha256")
        self.keyid = "hmac-sha256-" + tag[:16].hex()

    def metadata_hmac(self, text: bytes) -> str:
        """Hexadecimal HMAC-SHA256 under the secret itself: the guide's `signature`."""
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def release_hmac(self, pae: bytes) -> bytes:
        """HMAC-SHA256 under the release subkey, so that no metadata signature is one of a release."""
        return hmac.digest(self._release_key, pae, "sha256")

    def __repr__(self) -> str:
        return "<Secret>"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError("A secret is not serialisable", code="DP900")


@dataclass(frozen=True, slots=True)
class PolicyTrust:
    """A release must carry what the policy requires; and an HMAC too where a secret is set."""

    policy: TrustPolicy
    keys: tuple[TrustedKey, ...]
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class SecretTrust:
    """A release must carry an HMAC: the weaker mode, as whoever verifies can forge."""

    secret: Secret


@dataclass(frozen=True, slots=True)
class UnsafeNoTrust:
    """Signatures are not checked; exists only where ML_ALLOW_INSECURE=1 was set."""

    reason: str = field(default="signature verification was turned off")


Trust: TypeAlias = PolicyTrust | SecretTrust | UnsafeNoTrust


def parse_timestamp(text: str) -> datetime | None:
    """A UTC time ``2025-01-08T12:00:00Z``, or None where there is no such day or hour."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def parse_secret(secret: str | bytes, *, where: str) -> Secret:
    """Check a secret and wrap it.

    Args:
        secret: the secret; text is taken as UTF-8.
        where: the variable or argument, for the error.

    Raises:
        ConfigurationError: DP903, a placeholder; DP902, shorter than 32 bytes or hardly any entropy.

    Returns:
        The secret.
    """
    try:
        raw = secret.encode("utf-8") if isinstance(secret, str) else bytes(memoryview(secret))
    except (UnicodeEncodeError, TypeError):
        raise ConfigurationError(
            "The secret is neither bytes nor text that UTF-8 can hold", code="DP902", where=where
        ) from None
    advice = "generate one: python -c 'import secrets; print(secrets.token_hex(32))'"
    lowered = raw.lower()
    if any(mark.encode() in lowered for mark in _PLACEHOLDERS) or re.fullmatch(
        rb"\s*<.*>\s*", raw, re.DOTALL
    ):
        raise ConfigurationError(
            "The secret is a documentation placeholder",
            code="DP903",
            expected="a random secret of at least 32 bytes",
            where=where,
            next_step=advice,
        )
    if len(raw) < MIN_SECRET_BYTES or len(set(raw)) < MIN_DISTINCT_BYTES:
        raise ConfigurationError(
            "The secret is too weak",
            code="DP902",
            found=f"{len(raw)} bytes, {len(set(raw))} distinct",
            expected=f"at least {MIN_SECRET_BYTES} random bytes",
            where=where,
            next_step=advice,
        )
    return Secret(raw)


def load_public_key(pem: str, *, where: str) -> SSlibKey:
    """Load an ECDSA P-256 or Ed25519 public key from PEM.

    Args:
        pem: SubjectPublicKeyInfo in PEM.
        where: owner or file, for the error.

    Raises:
        ConfigurationError: DP906, not such a key.

    Returns:
        The key, its identifier computed from the key itself.
    """
    try:
        public = load_pem_public_key(pem.encode("ascii"))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        public = None
    is_p256 = isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    if public is None or not (is_p256 or isinstance(public, Ed25519PublicKey)):
        raise ConfigurationError(
            "A key cannot be used",
            code="DP906",
            found="no public key that can be read" if public is None else type(public).__name__,
            expected="an ECDSA P-256 or Ed25519 public key in PEM",
            where=where,
            next_step="depickle keys new --owner NAME",
        )
    return SSlibKey.from_crypto(public)


def parse_policy(data: bytes, *, where: str = "trust policy") -> TrustPolicy:
    """Parse a policy file strictly and check that it can be met.

    Args:
        data: the file.
        where: its name, for the error.

    Raises:
        ConfigurationError: DP905, malformed; DP906, a key is unusable; DP907, a demo key under another
            store's policy; DP908, more owners required than there are; DP909, a key twice.

    Returns:
        The policy.
    """
    policy = _strict_json.decode_as(
        TrustPolicy,
        data,
        max_bytes=MAX_POLICY_BYTES,
        where=where,
        error=ConfigurationError,
        code="DP905",
        next_step="depickle keys new --owner NAME writes a policy",
    )
    load_keys(policy, where=where)
    return policy


def load_keys(policy: TrustPolicy, *, where: str = "trust policy") -> tuple[TrustedKey, ...]:
    """Load and check the keys of a policy.

    Args:
        policy: the policy.
        where: its name, for the error.

    Raises:
        ConfigurationError: as `parse_policy`.

    Returns:
        The keys, in the policy's order.
    """
    keys = tuple(_load_key(entry, where=where) for entry in policy.keys)
    if len({key.keyid for key in keys}) != len(keys):
        raise ConfigurationError(
            "A key stands twice in the policy", code="DP909", where=where, next_step="remove one of them"
        )
    demo = [key.owner for key in keys if key.keyid in DEMO_KEY_IDS]
    if demo and not policy.store_name.startswith("demo"):
        raise ConfigurationError(
            "A demo key is believed under the demo's policy only",
            code="DP907",
            found=f"the demo key of {demo[0]!r}",
            expected="a key of your own",
            where=where,
            next_step="depickle keys new --owner NAME",
        )
    owners = {key.owner for key in keys}
    if policy.threshold > len(owners):
        raise ConfigurationError(
            "The policy requires more owners than it has",
            code="DP908",
            found=f"{len(owners)} distinct owners",
            expected=f"at least {policy.threshold}",
            where=where,
            next_step="add keys of other owners, or lower the threshold",
        )
    return keys


def _load_key(entry: KeyEntry, *, where: str) -> TrustedKey:
    place = f"{where}, key of {entry.owner!r}"
    key = load_public_key(entry.public, where=place)
    if key.scheme != entry.scheme:
        raise ConfigurationError(
            "A key cannot be used", code="DP906", found=str(key.scheme), expected=entry.scheme, where=place
        )
    limits: list[datetime | None] = []
    for text in (entry.valid_from, entry.valid_until):
        moment = None if text is None else parse_timestamp(text)
        if text is not None and moment is None:
            raise ConfigurationError(
                "A key has a validity that is no time", code="DP905", found=text, where=place
            )
        limits.append(moment)
    return TrustedKey(
        owner=entry.owner, scheme=entry.scheme, key=key, valid_from=limits[0], valid_until=limits[1]
    )


def encode_policy(policy: TrustPolicy) -> bytes:
    """Encode a policy as its file: indented JSON."""
    return msgspec.json.format(msgspec.json.encode(policy), indent=2) + b"\n"


def read_policy(path: Path) -> TrustPolicy:
    """Read and parse a policy file.

    Args:
        path: the file.

    Raises:
        ConfigurationError: DP904, it cannot be read; otherwise as `parse_policy`.

    Returns:
        The policy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except OSError as fault:
        raise ConfigurationError(
            "The trust policy cannot be read",
            code="DP904",
            found=fault.strerror or type(fault).__name__,
            where=str(path),
            next_step="set ML_TRUST_POLICY, or trust_policy=, to the policy file",
        ) from None
    return parse_policy(data, where=str(path))


def configure_trust(
    *,
    trust_policy: Path | None,
    secret_key: str | bytes | None,
    environ: Mapping[str, str],
    verify_signatures: bool = True,
) -> Trust:
    """Choose the mode: a policy, else the secret alone, else an error that names both ways.

    Args:
        trust_policy: policy file; `ML_TRUST_POLICY` where None.
        secret_key: the secret; `MODEL_SECRET_KEY` where None.
        environ: the environment.
        verify_signatures: False asks for `UnsafeNoTrust`, which `ML_ALLOW_INSECURE=1` must admit.

    Raises:
        ConfigurationError: DP901, neither is configured; DP911, insecure without admission; otherwise as
            `read_policy` and `parse_secret`.

    Returns:
        What a release is checked against.
    """
    if not verify_signatures:
        admit_insecure("signature verification", environ)
        return UnsafeNoTrust()
    if trust_policy is None and "ML_TRUST_POLICY" in environ:
        trust_policy = Path(environ["ML_TRUST_POLICY"])
        if not environ["ML_TRUST_POLICY"]:
            raise ConfigurationError(
                "ML_TRUST_POLICY is set and empty",
                code="DP910",
                next_step="unset it, or name the policy file",
            )
    secret: Secret | None = None
    if secret_key is not None:
        secret = parse_secret(secret_key, where="secret_key=")
    elif "MODEL_SECRET_KEY" in environ:
        secret = parse_secret(environ["MODEL_SECRET_KEY"], where="MODEL_SECRET_KEY")
    if trust_policy is not None:
        policy = read_policy(trust_policy)
        return PolicyTrust(policy=policy, keys=load_keys(policy), secret=secret)
    if secret is not None:
        _logger.warning(
            "No trust policy: releases are checked with MODEL_SECRET_KEY alone. Whoever can verify so can"
            " also forge; set ML_TRUST_POLICY for public-key trust."
        )
        return SecretTrust(secret=secret)
    raise ConfigurationError(
        "Nothing says whom to trust",
        code="DP901",
        found="neither a trust policy nor a secret",
        expected="ML_TRUST_POLICY (or trust_policy=), or MODEL_SECRET_KEY (or secret_key=)",
        next_step="set ML_TRUST_POLICY to the policy that 'depickle keys new' wrote,"
        " or MODEL_SECRET_KEY to the secret of the store",
    )
