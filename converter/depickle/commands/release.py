# SPDX-License-Identifier: Apache-2.0
"""`depickle release`: the signed index of a store, decoded for a person and verified."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import click
import msgspec

from depickle_runtime.errors import SecurityError
from depickle_runtime.loader import SecureModelLoader
from depickle_runtime.release import MAX_RELEASE_BYTES, parse_envelope
from depickle_runtime.store import RELEASE_NAME, ModelStore

from ..reports.encoding import as_json
from ..reports.escape import escape
from ._common import (
    Exit,
    check_output,
    exit_zero_option,
    finish,
    format_option,
    models_dir_option,
    models_dir_or_default,
    output_option,
    refusals_to_exit_codes,
    show_refusal,
    write_answer,
)

__all__ = ["command"]

SCHEMA_VERSION = 1


@click.group("release")
def command() -> None:
    """Look at the signed index of a store."""


@command.command("show")
@models_dir_option
@format_option("text", "json")
@output_option
@exit_zero_option
@refusals_to_exit_codes
def show(models_dir: Path | None, output_format: str, output: Path | None, exit_zero: bool) -> None:
    """Show what the release says, and whether it verifies.

    What is shown of a release that does not verify is what somebody wrote there, and no more. Exits 0 if it
    verifies, 12 otherwise.
    """
    check_output(output)
    folder = models_dir_or_default(models_dir)
    payload, signatures = parse_envelope(ModelStore(folder).read(RELEASE_NAME, max_size=MAX_RELEASE_BYTES))
    verdict: dict[str, Any] = {"valid": True, "code": None, "message": None, "signed_by": [], "warnings": []}
    try:
        signed = SecureModelLoader(folder).open_release()
        verdict |= {"signed_by": list(signed.signers), "warnings": list(signed.warnings)}
    except SecurityError as error:
        verdict |= {"valid": False, "code": error.code, "message": str(error)}
        show_refusal(error)
    try:
        release = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        release = None
    answer = {
        "schema_version": SCHEMA_VERSION,
        **verdict,
        "signatures": {keyid: base64.b64encode(value).decode() for keyid, value in signatures.items()},
        "release": release,
    }
    if output_format == "json":
        write_answer(msgspec.json.format(as_json(answer)).decode(), output)
    else:
        write_answer(_as_text(answer), output)
    finish(Exit.OK if verdict["valid"] else Exit.VERIFICATION, exit_zero=exit_zero)


def _as_text(answer: dict[str, Any]) -> str:
    lines = [
        f"verified, signed by {escape(', '.join(answer['signed_by']))}"
        if answer["valid"]
        else f"NOT VERIFIED: {escape(answer['message'], limit=600)}"
    ]
    lines += [f"warning  {escape(warning, limit=300)}" for warning in answer["warnings"]]
    lines += [f"key      {escape(keyid)}" for keyid in sorted(answer["signatures"])]
    release = answer["release"]
    if not isinstance(release, dict):
        return "\n".join([*lines, "the payload is no release"])
    for field in ("store_name", "serial", "issued", "expires"):
        lines.append(f"{field.partition('_')[0]:<8} {escape(str(release.get(field)))}")
    for field, title in (("current", "current"), ("files", "file"), ("revocations", "revoked")):
        held = release.get(field)
        if isinstance(held, dict):
            lines += [
                f"{title:<8} {escape(str(name))}  {_shown(value)}" for name, value in sorted(held.items())
            ]
        elif isinstance(held, list):
            lines += [f"{title:<8} {_shown(value)}" for value in held]
    return "\n".join(lines)


def _shown(value: object) -> str:
    """A digest or a symbol's stem on one line."""
    if isinstance(value, dict):
        parts = [str(value[key]) for key in ("sha256", "size", "at", "reason") if key in value]
        return escape("  ".join(parts), limit=300)
    return escape(str(value), limit=300)
