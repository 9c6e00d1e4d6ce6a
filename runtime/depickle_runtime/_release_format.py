# SPDX-License-Identifier: Apache-2.0
"""How a release is written down: its fields, its canonical payload, and the envelope that carries the signatures.

Nothing here says that a release is to be believed; that is `release.verify_release`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature  # type: ignore[attr-defined]  # re-exported without __all__

from . import _strict_json
from .errors import ReleaseError
from .trust import Serial, StoreName, Timestamp, parse_timestamp

PAYLOAD_TYPE = "application/vnd.depickle.release+json"
MAX_RELEASE_BYTES = 64 * 1024 * 1024
"""About 100,000 files at 500 bytes of payload each, in base64."""
MAX_SIGNATURES = 64
MAX_FILE_SIZE = 2 * 1024 * 1024 * 1024
"""Protocol Buffers cap an ONNX message at 2 GiB."""
DEFAULT_LIFETIME = timedelta(days=90)

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
"""Names of the store: no separators, no leading dot, nothing that needs quoting."""
_FILE = r"\A(\.metadata/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,159}\Z"
_SIGNATURE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ARTEFACT_SUFFIXES = (".onnx", ".skops")

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Sha512 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\Z")]
FileName = Annotated[str, msgspec.Meta(pattern=_FILE)]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file of the store must be: two digests and a size."""

    sha256: Sha256
    sha512: Sha512
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_SIZE)]


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An artefact that must not load any more, by digest; never taken back."""

    sha256: Sha256
    reason: Annotated[str, msgspec.Meta(max_length=512)]
    at: Timestamp


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The signed index: which files make up the store, which model is current for a symbol."""

    schema_version: Literal[1]
    store_name: StoreName
    serial: Serial
    issued: Timestamp
    expires: Timestamp
    current: dict[Name, Name]
    """Symbol to stem of its current model."""
    files: dict[FileName, FileEntry]
    """Store-relative name to what the file must be."""
    revocations: list[Revocation]


def artefact_stem(name: str) -> str | None:
    """Stem of an artefact's name, or None where the name is not one of an artefact."""
    for suffix in _ARTEFACT_SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix) and "/" not in name:
            return name[: -len(suffix)]
    return None


def record_name(stem: str) -> str:
    """Store-relative name of the conversion record of a stem."""
    return f".metadata/{stem}.conversion.json"


def describe_file(data: bytes) -> FileEntry:
    """The entry that pins these bytes."""
    return FileEntry(
        sha256=hashlib.sha256(data).hexdigest(), sha512=hashlib.sha512(data).hexdigest(), size=len(data)
    )


def encode_release(release: Release) -> bytes:
    """Encode a release as its canonical payload, after checking it as a reader will.

    Args:
        release: the release.

    Raises:
        ReleaseError: DP103 or DP115, no reader would accept it.

    Returns:
        The payload, ready to be signed.
    """
    payload = _strict_json.canonical(msgspec.to_builtins(release))
    parse_payload(payload)
    return payload


def pae(payload: bytes) -> bytes:
    """The bytes that a signature covers: DSSE pre-authentication encoding of payload type and payload."""
    return Envelope(payload, PAYLOAD_TYPE, {}).pae()


def encode_envelope(payload: bytes, signatures: Mapping[str, bytes]) -> bytes:
    """Encode the file `release.json`.

    Args:
        payload: the canonical payload.
        signatures: key identifier to signature.

    Returns:
        The envelope, canonical JSON and a line end.
    """
    envelope = Envelope(
        payload,
        PAYLOAD_TYPE,
        {keyid: Signature(keyid, sig.hex()) for keyid, sig in sorted(signatures.items())},
    )
    return _strict_json.canonical(envelope.to_dict()) + b"\n"


def malformed(found: str, code: str = "DP102") -> ReleaseError:
    """The refusal of an envelope that is not well-formed."""
    return ReleaseError(
        "The release is not a well-formed envelope",
        code=code,
        found=found,
        expected="a DSSE envelope as depickle writes it",
        where="release.json",
        next_step="restore release.json from the publishing host, or publish again",
    )


class _Sig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Dsse(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Sig]


def parse_envelope(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Parse `release.json` strictly; nothing of it is believed yet.

    Args:
        data: the file.

    Raises:
        ReleaseError: DP102, malformed or not canonical; DP114, another payload type.

    Returns:
        The payload bytes, and signatures by key identifier.
    """
    envelope = _strict_json.decode_as(
        _Dsse, data, max_bytes=MAX_RELEASE_BYTES, where="release.json", error=ReleaseError, code="DP102"
    )
    if envelope.payload_type != PAYLOAD_TYPE:
        raise malformed(f"payload type {ascii(envelope.payload_type)[:80]}", "DP114")
    if len(envelope.signatures) > MAX_SIGNATURES:
        raise malformed(f"{len(envelope.signatures)} signatures")
    payload = _base64(envelope.payload)
    signatures: dict[str, bytes] = {}
    for entry in envelope.signatures:
        if not _SIGNATURE_ID.fullmatch(entry.keyid) or entry.keyid in signatures:
            raise malformed("a key identifier that is malformed or stands twice")
        signatures[entry.keyid] = _base64(entry.sig)
    if encode_envelope(payload, signatures) != data:
        raise malformed("an envelope that is not in canonical form")
    return payload, signatures


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise malformed("text that is not base64") from None


def parse_payload(payload: bytes) -> Release:
    """Parse a payload strictly: canonical, and consistent in itself.

    Args:
        payload: the bytes that the signatures cover.

    Raises:
        ReleaseError: DP103 malformed or not canonical; DP115 it contradicts itself.

    Returns:
        The release, unverified.
    """
    release = _strict_json.decode_as(
        Release, payload, max_bytes=MAX_RELEASE_BYTES, where="release.json", error=ReleaseError, code="DP103"
    )
    if _strict_json.canonical(msgspec.to_builtins(release)) != payload:
        raise malformed("a payload that is not in canonical form", "DP103")
    problem = _inconsistency(release)
    if problem:
        raise ReleaseError(
            "The release contradicts itself",
            code="DP115",
            found=problem,
            where="release.json",
            next_step="publish again with a current depickle",
        )
    return release


def _inconsistency(release: Release) -> str:
    issued, expires = parse_timestamp(release.issued), parse_timestamp(release.expires)
    if issued is None or expires is None or expires <= issued:
        return "an expiry that is not after the issue"
    files = release.files
    for name in files:
        if name.startswith(".metadata/"):
            if name == ".metadata/release.json" or not name.endswith(".json"):
                return f"the file {name}, which a release cannot pin"
            continue
        stem = artefact_stem(name)
        if stem is None or not NAME.fullmatch(name):
            return f"the file {name}, which is no artefact"
        for companion in (f".metadata/{name}.json", record_name(stem)):
            if companion not in files:
                return f"{name} without {companion}"
    for symbol, stem in release.current.items():
        if f"{stem}.onnx" not in files:
            return f"{stem} as the current model of {symbol}, without its artefact"
    return ""


def peek_expiry(envelope: bytes) -> datetime:
    """The expiry that an envelope claims, unverified: for verifying an expired release as of its last moment.

    Raises:
        ReleaseError: DP102, DP103, DP114, DP115 malformed.
    """
    expires = parse_timestamp(parse_payload(parse_envelope(envelope)[0]).expires)
    if expires is None:  # `_inconsistency` refused this already; narrows the type
        raise malformed("a time that is none", "DP103")
    return expires
