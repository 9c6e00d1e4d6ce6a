# SPDX-License-Identifier: Apache-2.0
"""Verifies one file and reports everything that is wrong with it, where loading stops at the first fault.

The steps and their codes are those of `verification`; a step that depends on a failed one is not tried. Nothing is
remembered: neither floor nor revocations change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from .errors import SecurityError, StoreError
from .metadata import MAX_METADATA_BYTES, metadata_name
from .probes import start_session
from .release import FileEntry, SignedRelease
from .verification import ArtefactFacts, Verifier, refuse_format

__all__ = ["survey"]


class _Faults:
    def __init__(self) -> None:
        self.items: list[dict[str, str]] = []

    def add(self, fault: SecurityError) -> None:
        """Note a fault once."""
        item = {"code": fault.code, "message": str(fault)}
        if item not in self.items:
            self.items.append(item)

    def holds(self, step: Callable[[], object]) -> bool:
        """Run a step; note its fault."""
        try:
            step()
        except SecurityError as fault:
            self.add(fault)
            return False
        return True


def survey(
    verifier: Verifier, name: str, *, signed: SignedRelease | SecurityError | None = None
) -> dict[str, Any]:
    """Verify one file of a store.

    Args:
        verifier: store, trust and state.
        name: name of the file.
        signed: the release, or its refusal, where this call chain has it already.

    Returns:
        The dictionary that `SecureModelLoader.verify_model` describes.
    """
    faults = _Faults()
    if signed is None:
        try:
            signed = verifier.open_release(remember=False)
        except SecurityError as fault:
            signed = fault
    result: dict[str, Any] = {
        "file": name,
        "valid": False,
        "loadable": False,
        "checksum_valid": False,
        "signature_valid": False,
        "metadata_found": False,
        "in_allowed_list": False,
        "checksum_sha256": None,
        "checksum_sha512": None,
        "file_size": None,
        "symbol": None,
        "tier": None,
        "store_name": None,
        "serial": None,
        "expires": None,
        "signers": [],
        "warnings": [],
        "errors": faults.items,
    }
    refusal = refuse_format(name)
    if refusal is not None and refusal.code != "DP147":  # an auditor's copy is verified, though never loaded
        faults.add(refusal)
    data = _read(verifier, name, result, faults)
    result["metadata_found"] = _exists(verifier, metadata_name(name))
    if isinstance(signed, SecurityError):
        faults.add(signed)
        return result
    trusted = signed
    release = signed.release
    result |= {
        "store_name": release.store_name,
        "serial": release.serial,
        "expires": release.expires,
        "signers": list(signed.signers),
        "warnings": list(signed.warnings),
    }
    entry = signed.entry(name)
    if entry is not None:
        digests = (result["checksum_sha256"], result["checksum_sha512"], result["file_size"])
        result["checksum_valid"] = digests == (entry.sha256, entry.sha512, entry.size)
        result["in_allowed_list"] = faults.holds(
            lambda: verifier.admission.check_whitelist(name, entry.sha256)
        )
        faults.holds(
            lambda: verifier.admission.check_revoked(name, entry.sha256, release.store_name, trusted)
        )
    facts: ArtefactFacts | None = None
    try:
        facts = verifier.facts(name, signed)
    except SecurityError as fault:
        faults.add(fault)
    if facts is not None and entry is not None:
        result |= {"symbol": facts.record.symbol, "tier": facts.record.tier}
        _check(verifier, facts, entry, data, result, faults)
    result["valid"] = not faults.items
    result["loadable"] = result["valid"] and refusal is None
    return result


def _check(
    verifier: Verifier,
    facts: ArtefactFacts,
    entry: FileEntry,
    data: bytes | None,
    result: dict[str, Any],
    faults: _Faults,
) -> None:
    signature = faults.holds(lambda: verifier.check_hmac(facts))
    result["signature_valid"] = signature and bool(facts.signed.signers)
    faults.holds(lambda: verifier.admission.check_tier(facts.name, facts.record.tier))
    if data is None:
        return
    if faults.holds(lambda: verifier.check_bytes(facts, data)) and facts.name.endswith(".onnx"):
        faults.holds(lambda: start_session(verifier.vet(facts, data)))


def _read(verifier: Verifier, name: str, result: dict[str, Any], faults: _Faults) -> bytes | None:
    try:
        data = verifier.store.read(name)
    except SecurityError as fault:
        faults.add(fault)
        return None
    result["checksum_sha256"] = hashlib.sha256(data).hexdigest()
    result["checksum_sha512"] = hashlib.sha512(data).hexdigest()
    result["file_size"] = len(data)
    return data


def _exists(verifier: Verifier, name: str) -> bool:
    try:
        verifier.store.read(name, max_size=MAX_METADATA_BYTES)
    except StoreError:
        return False
    return True
