# SPDX-License-Identifier: Apache-2.0
"""The answer of `depickle scan`: one typed report, rendered as text, JSON or SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import msgspec

from ..pickles.findings import Finding, Severity, Verdict
from .encoding import as_json as encode
from .escape import escape

__all__ = ["FileReport", "as_json", "as_sarif", "as_text"]

SCHEMA_VERSION = 1
_RULES_PAGE = "docs/rules.md"
_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_SARIF_LEVEL = {Severity.NOTE: "note", Severity.WARNING: "warning", Severity.ERROR: "error"}


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said about one file."""

    path: str
    sha256: str
    verdict: Verdict
    container: str
    writer: dict[str, str]
    findings: tuple[Finding, ...]


def _finding_object(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "message": finding.message,
        "offset": finding.offset,
        "opcode": finding.opcode,
        "global": finding.reached,
        "remedy": finding.remedy,
    }


def as_json(files: Sequence[FileReport]) -> str:
    """The documented JSON, schema version 1."""
    report = {
        "schema_version": SCHEMA_VERSION,
        "files": [
            {
                "path": file.path,
                "sha256": file.sha256,
                "verdict": str(file.verdict),
                "container": file.container,
                "writer": file.writer,
                "findings": [_finding_object(finding) for finding in file.findings],
            }
            for file in files
        ],
    }
    return msgspec.json.format(encode(report)).decode()


def _finding_text(path: str, finding: Finding) -> list[str]:
    lines = [f"{finding.severity}[{finding.rule}]: {escape(finding.message)}"]
    place = escape(path)
    if finding.offset is not None:
        place += f", byte {finding.offset}"
    if finding.opcode:
        place += f", opcode {finding.opcode}"
    lines.append(f"  --> {place}")
    if finding.reached:
        lines.append(f"   = would have reached: {escape(finding.reached)}")
    if finding.remedy:
        lines.append(f"   = help: {escape(finding.remedy, limit=600)}")
    lines.append(f"   = docs: {_RULES_PAGE}#{finding.rule.lower()}")
    return lines


def as_text(files: Sequence[FileReport], *, notes: bool = True) -> str:
    """Findings as a compiler would print them, then one line per file and a count."""
    lines: list[str] = []
    for file in files:
        for finding in file.findings:
            if finding.severity is Severity.NOTE and not notes:
                continue
            lines += [*_finding_text(file.path, finding), ""]
    width = max((len(escape(file.path)) for file in files), default=0)
    for file in files:
        writer = ", ".join(f"{escape(name)} {escape(number)}" for name, number in sorted(file.writer.items()))
        tail = f"  {file.container}" + (f"  ({writer})" if writer else "")
        lines.append(f"{file.verdict!s:<10} {escape(file.path):<{width}}{tail}")
    counts = {verdict: sum(file.verdict is verdict for file in files) for verdict in Verdict}
    lines.append("")
    lines.append(", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict) + f" of {len(files)} files")
    return "\n".join(lines)


def as_sarif(files: Sequence[FileReport]) -> str:
    """SARIF 2.1.0: one run, one rule per rule id seen, byte offsets as regions."""
    rules: dict[str, dict[str, object]] = {}
    results = []
    for file in files:
        for finding in file.findings:
            rules.setdefault(
                finding.rule, {"id": finding.rule, "helpUri": f"{_RULES_PAGE}#{finding.rule.lower()}"}
            )
            physical: dict[str, object] = {"artifactLocation": {"uri": _uri(file.path)}}
            if finding.offset is not None:
                physical["region"] = {"byteOffset": finding.offset, "byteLength": 1}
            results.append(
                {
                    "ruleId": finding.rule,
                    "level": _SARIF_LEVEL[finding.severity],
                    "message": {"text": escape(finding.message, limit=1_000)},
                    "locations": [{"physicalLocation": physical}],
                    "partialFingerprints": {"sha256/v1": f"{file.sha256}:{finding.offset}:{finding.rule}"},
                }
            )
    log = {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "depickle",
                        "version": version("depickle"),
                        "rules": [rules[name] for name in sorted(rules)],
                    }
                },
                "artifacts": [
                    {"location": {"uri": _uri(file.path)}, "hashes": {"sha-256": file.sha256}}
                    for file in files
                ],
                "results": results,
            }
        ],
    }
    return msgspec.json.format(encode(log)).decode()


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path.encode("utf-8", "surrogateescape"), safe="/")
