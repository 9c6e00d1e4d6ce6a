# SPDX-License-Identifier: Apache-2.0
"""The metadata record of one artefact: exactly the guide's keys, and the HMAC of the guide's secret.

Rules:

* every key is present, no other key is, null where unknown
* `signature` is the hexadecimal HMAC-SHA256 under `MODEL_SECRET_KEY` of
  ``json.dumps(all other fields, sort_keys=True)`` in UTF-8
* the signed text and the checked text come from one function, so they cannot drift apart
* the digest of the file is pinned by the release as well: this record alone opens nothing
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Annotated, Any, Literal

import msgspec

from . import _strict_json
from .errors import MetadataError, SignatureError
from .trust import Secret

__all__ = [
    "MAX_METADATA_BYTES",
    "Metadata",
    "describe_artefact",
    "encode_metadata",
    "metadata_name",
    "parse_metadata",
    "sign_metadata",
    "verify_metadata_hmac",
]

MAX_METADATA_BYTES = 4 * 1024 * 1024
"""A metadata file lists feature names and metrics; 4 MiB holds 40,000 of them."""

Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Sha512 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{128}\Z")]
Text = Annotated[str, msgspec.Meta(max_length=512)]
Timestamp = Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z\Z")]


class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the guide says about an artefact, in the guide's order; None where unknown."""

    model_name: Text
    version: Text
    created_at: Timestamp
    checksum_sha256: Sha256
    checksum_sha512: Sha512
    file_size: Annotated[int, msgspec.Meta(ge=0)]
    model_type: Literal["onnx", "skops"]
    feature_names: list[str] | None
    performance_metrics: dict[str, int | float | None] | None
    training_data_hash: Text | None
    authorized_by: Text | None
    signature: Sha256 | None


def metadata_name(artefact: str) -> str:
    """Store-relative name of the metadata file of an artefact."""
    return f".metadata/{artefact}.json"


def describe_artefact(
    data: bytes,
    *,
    model_name: str,
    version: str,
    created_at: str,
    model_type: Literal["onnx", "skops"],
    feature_names: list[str] | None = None,
    performance_metrics: dict[str, int | float | None] | None = None,
    training_data_hash: str | None = None,
    authorized_by: str | None = None,
) -> Metadata:
    """Build the unsigned metadata of an artefact from its bytes.

    Args:
        data: the artefact.
        model_name: ``<SYMBOL>_<purpose>``.
        version: version of the model.
        created_at: UTC time, ``2025-01-08T12:00:00Z``.
        model_type: format of the artefact.
        feature_names: columns in order, where known.
        performance_metrics: figures of the training run, where known; finite or None.
        training_data_hash: digest of the training data, where known.
        authorized_by: who authorised the model, where known.

    Raises:
        MetadataError: a field cannot be stored.

    Returns:
        The metadata, `signature` None.
    """
    fields = {
        "model_name": model_name,
        "version": version,
        "created_at": created_at,
        "checksum_sha256": hashlib.sha256(data).hexdigest(),
        "checksum_sha512": hashlib.sha512(data).hexdigest(),
        "file_size": len(data),
        "model_type": model_type,
        "feature_names": feature_names,
        "performance_metrics": performance_metrics,
        "training_data_hash": training_data_hash,
        "authorized_by": authorized_by,
        "signature": None,
    }
    try:
        metadata = msgspec.convert(fields, Metadata, strict=True)
    except msgspec.ValidationError as fault:
        raise MetadataError(
            "A metadata field cannot be stored", code="DP123", found=str(fault)[:200], where=str(model_name)
        ) from None
    return parse_metadata(encode_metadata(metadata), where=str(model_name))


def encode_metadata(metadata: Metadata) -> bytes:
    """Encode a metadata record as its file: indented JSON in the guide's order.

    Raises:
        MetadataError: a metric is NaN or infinite.
    """
    try:
        text = json.dumps(msgspec.to_builtins(metadata), indent=2, allow_nan=False)
    except ValueError:
        raise MetadataError(
            "A performance metric is not a finite number",
            code="DP123",
            expected="finite numbers, or null where unknown",
            where=metadata.model_name,
        ) from None
    return text.encode("ascii") + b"\n"


def parse_metadata(data: bytes, *, where: str) -> Metadata:
    """Parse a metadata file strictly.

    Args:
        data: the file.
        where: its name, for the error.

    Raises:
        MetadataError: DP123, not strict JSON or not exactly the guide's keys.

    Returns:
        The record.
    """
    return _strict_json.decode_as(
        Metadata,
        data,
        max_bytes=MAX_METADATA_BYTES,
        where=where,
        error=MetadataError,
        code="DP123",
        next_step="publish the model again; metadata is never edited by hand",
    )


def _signed_text(metadata: Metadata) -> bytes:
    fields: dict[str, Any] = msgspec.to_builtins(metadata)
    del fields["signature"]
    return json.dumps(fields, sort_keys=True).encode("utf-8")


def sign_metadata(metadata: Metadata, secret: Secret) -> Metadata:
    """A copy of the record that carries its HMAC under the secret."""
    return msgspec.structs.replace(metadata, signature=secret.metadata_hmac(_signed_text(metadata)))


def verify_metadata_hmac(metadata: Metadata, secret: Secret, *, where: str) -> None:
    """Check the HMAC of a record.

    Args:
        metadata: the record.
        secret: `MODEL_SECRET_KEY`.
        where: name of the file, for the error.

    Raises:
        SignatureError: DP125, no signature; DP126, it is not the one that the secret gives.
    """
    if metadata.signature is None:
        raise SignatureError(
            "Model signature verification failed",
            code="DP125",
            found="no signature in the metadata",
            expected="an HMAC under MODEL_SECRET_KEY",
            where=where,
            next_step="publish the model again with MODEL_SECRET_KEY set",
        )
    if not hmac.compare_digest(metadata.signature, secret.metadata_hmac(_signed_text(metadata))):
        raise SignatureError(
            "Model signature verification failed",
            code="DP126",
            found="an HMAC that this MODEL_SECRET_KEY does not give",
            expected="the HMAC of the other fields",
            where=where,
            next_step="check that MODEL_SECRET_KEY is the one that the store was published with",
        )
