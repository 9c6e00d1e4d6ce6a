# SPDX-License-Identifier: Apache-2.0
"""`depickle verify`: everything that the trading host will check, without keeping a model loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from depickle_runtime.errors import SecurityError
from depickle_runtime.loader import SecureModelLoader

from ..reports.encoding import as_json
from ..reports.escape import escape
from ..sources import is_legacy_name
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

__all__ = ["command", "run_verify"]

SCHEMA_VERSION = 1


@click.command("verify")
@models_dir_option
@format_option("text", "json")
@output_option
@exit_zero_option
@refusals_to_exit_codes
def command(models_dir: Path | None, output_format: str, output: Path | None, exit_zero: bool) -> None:
    """Verify the store: release, signatures, whitelist, metadata, records, digests, ONNX gate and probe rows.

    Nothing is changed and nothing is remembered. Exits 0 if every artefact would load, 12 otherwise. Legacy files
    that still stand in the directory are listed; no runtime loads them, so they do not count as failures.
    """
    run_verify(models_dir_or_default(models_dir), output_format, output, exit_zero=exit_zero)


def run_verify(models_dir: Path, output_format: str, output: Path | None, *, exit_zero: bool) -> NoReturn:
    """Verify the store in `models_dir`, write the report, and end with its exit code."""
    check_output(output)
    loader = SecureModelLoader(models_dir)
    release: dict[str, Any] = {"valid": True, "code": None, "message": None}
    try:
        signed = loader.open_release()
        release |= {
            "store": signed.release.store_name,
            "serial": signed.release.serial,
            "expires": signed.release.expires,
            "signed_by": list(signed.signers),
            "warnings": list(signed.warnings),
        }
    except SecurityError as error:
        release |= {"valid": False, "code": error.code, "message": str(error)}
        show_refusal(error)
    files: list[dict[str, Any]] = []
    legacy: list[str] = []
    for name, result in loader.verify_store().items():
        if is_legacy_name(name):
            legacy.append(name)
        else:
            files.append({"path": name, **result})
    valid = release["valid"] and all(file["valid"] for file in files)
    if output_format == "json":
        report = {
            "schema_version": SCHEMA_VERSION,
            "valid": valid,
            "release": release,
            "files": files,
            "legacy": legacy,
        }
        write_answer(msgspec.json.format(as_json(report)).decode(), output)
    else:
        write_answer(_as_text(release, files, legacy), output)
    finish(Exit.OK if valid else Exit.VERIFICATION, exit_zero=exit_zero)


def _as_text(release: dict[str, Any], files: list[dict[str, Any]], legacy: list[str]) -> str:
    lines = []
    if release["valid"]:
        signers = ", ".join(release["signed_by"])
        lines.append(f"release {release['serial']} of {release['store']}, signed by {signers}")
        lines.append(f"expires {release['expires']}")
        lines += [f"warning: {warning}" for warning in release["warnings"]]
    else:
        lines.append(f"release does not verify: {escape(str(release['message']), limit=600)}")
    lines.append("")
    for file in files:
        what = f"{file['symbol']}  {file['tier']}" if file["valid"] else ""
        lines.append(
            f"{'ok' if file['valid'] else 'FAILED':<7} {escape(file['path'], limit=150)}  {what}".rstrip()
        )
        lines += [f"        {escape(fault['message'], limit=600)}" for fault in file["errors"]]
    lines += [f"legacy  {escape(name, limit=150)}  (no runtime loads it)" for name in legacy]
    good = sum(file["valid"] for file in files)
    lines += ["", f"{good} of {len(files)} artefacts verify"]
    return "\n".join(lines)
