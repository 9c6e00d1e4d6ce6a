# SPDX-License-Identifier: Apache-2.0
"""`depickle scan`: the gate alone. Nothing is unpickled, nothing that a file names is imported."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ConverterError
from ..pickles import Policy, extended_policy, scan
from ..pickles.findings import Finding, Severity, Verdict
from ..reports.scan import FileReport, as_json, as_sarif, as_text
from ..sources import LegacyFiles, find_legacy_files, path_as_text, read_source
from ._common import (
    Exit,
    check_output,
    exit_zero_option,
    finish,
    format_option,
    output_option,
    refusals_to_exit_codes,
    talk,
    write_answer,
)
from .allow import gate_policy_option, read_gate_policies

__all__ = ["command", "scan_file"]


def scan_file(path: Path, policy: Policy | None = None) -> FileReport:
    """The gate's report about one file; a file that cannot be read is a report too."""
    where = path_as_text(path)
    try:
        source = read_source(path)
    except ConverterError as error:
        return _unreadable(where, error)
    try:
        result = scan(source.data, policy=policy)
    except MemoryError:
        return _unreadable(
            where,
            ConverterError("The input does not fit into memory", code="DP805", where=where),
        )
    return FileReport(
        path=where,
        sha256=source.sha256,
        verdict=result.verdict,
        container=result.container,
        writer=dict(result.writer),
        findings=tuple(result.findings),
    )


def _unreadable(where: str, error: ConverterError) -> FileReport:
    finding = Finding(rule=error.code, severity=Severity.ERROR, message=str(error), remedy=error.next_step)
    return FileReport(
        path=where,
        sha256="",
        verdict=Verdict.UNREADABLE,
        container="unknown",
        writer={},
        findings=(finding,),
    )


@click.command("scan")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@gate_policy_option
@format_option("text", "json", "sarif")
@output_option
@exit_zero_option
@refusals_to_exit_codes
def command(
    paths: tuple[Path, ...],
    gate_policies: tuple[Path, ...],
    output_format: str,
    output: Path | None,
    exit_zero: bool,
) -> None:
    """Say what loading each legacy file would do, without loading it.

    PATHS are files, or folders that are searched for .pkl, .pickle, .joblib, .sav and .p files, compressed or
    not. A link to a file is read; hidden and linked folders are not entered. Exits 0 only if every file is
    accepted, 10 otherwise, 3 if there is none.
    """
    check_output(output)
    policy = extended_policy(*read_gate_policies(gate_policies)) if gate_policies else None
    reports: list[FileReport] = []
    for path in paths:
        found = find_legacy_files(path) if path.is_dir() else LegacyFiles((path,), (), ())
        reports += [_unreadable(error.where, error) for error in found.unreadable]
        for link in found.links:
            if link.is_dir():
                talk(f"not entered, a link: {path_as_text(link)}")
        files = [*found.files, *(link for link in found.links if not link.is_dir())]
        reports += [scan_file(file, policy) for file in sorted(files)]
    match output_format:
        case "json":
            write_answer(as_json(reports), output)
        case "sarif":
            write_answer(as_sarif(reports), output)
        case _:
            write_answer(as_text(reports), output)
    if not reports:
        talk("nothing to scan: no legacy files under the given paths")
        finish(Exit.NOTHING_TO_DO, exit_zero=exit_zero)
    clean = all(report.verdict is Verdict.ACCEPTED for report in reports)
    finish(Exit.OK if clean else Exit.GATE_REFUSED, exit_zero=exit_zero)
