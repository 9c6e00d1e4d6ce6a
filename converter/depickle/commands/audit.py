# SPDX-License-Identifier: Apache-2.0
"""`depickle audit`: the hash-chained log of what was published, loaded and refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import msgspec

from depickle_runtime.audit_log import MAX_LINE_BYTES, verify_log
from depickle_runtime.errors import ConfigurationError
from depickle_runtime.settings import default_state_dir, read_settings

from ..reports.encoding import as_json
from ..reports.escape import escape
from ..sources import path_as_text
from ._common import Exit, exit_zero_option, finish, format_option, refusals_to_exit_codes, write_answer

__all__ = ["command"]

SCHEMA_VERSION = 1

_log_option = click.option(
    "--audit-log",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The log.  [default: $ML_AUDIT_LOG, else audit.jsonl in the state folder]",
)


@click.group("audit")
def command() -> None:
    """Look at the audit log, and check that nothing in it was changed."""


@command.command("verify")
@_log_option
@format_option("text", "json")
@exit_zero_option
@refusals_to_exit_codes
def verify(path: Path | None, output_format: str, exit_zero: bool) -> None:
    """Check every link of the log's hash chain.

    A chain shows what was changed, removed or put in between; that its end was cut off shows only if you keep the
    last hash, which is printed, elsewhere. Exits 0 if the chain holds, 12 otherwise, 3 if there is no log.
    """
    log = _log(path)
    report = verify_log(log)
    answer: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "path": path_as_text(log),
        "intact": report.intact,
        "entries": report.entries,
        "torn": report.torn,
        "head": report.head,
        "faults": [{"line": fault.line, "message": fault.message} for fault in report.faults],
    }
    if output_format == "json":
        write_answer(msgspec.json.format(as_json(answer)).decode(), None)
    else:
        lines = [f"line {fault.line}: {escape(fault.message)}" for fault in report.faults]
        lines.append(
            f"{'intact' if report.intact else 'BROKEN'}: {report.entries} entries, head {report.head}"
        )
        write_answer("\n".join(lines), None)
    finish(Exit.OK if report.intact else Exit.VERIFICATION, exit_zero=exit_zero)


@command.command("show")
@_log_option
@click.option(
    "-n", "--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many entries."
)
@format_option("text", "json")
@refusals_to_exit_codes
def show(path: Path | None, last: int, output_format: str) -> None:
    """Show the last entries of the log; `depickle audit verify` says whether to believe them."""
    lines = _last_lines(_log(path), last)
    entries = [_decoded(line) for line in lines]
    if output_format == "json":
        answer = {"schema_version": SCHEMA_VERSION, "entries": entries}
        write_answer(msgspec.json.format(as_json(answer)).decode(), None)
        return
    fields = ("time", "outcome", "event", "model", "code", "detail")
    shown = [
        "  ".join(escape(str(entry[field])) for field in fields if entry.get(field))
        if "unreadable" not in entry
        else f"not a line of the log: {escape(str(entry['unreadable']))}"
        for entry in entries
    ]
    write_answer("\n".join(shown), None)


def _log(path: Path | None) -> Path:
    if path is None:
        settings = read_settings(os.environ)
        state = settings.state_dir or default_state_dir(os.environ)
        path = settings.audit_log or state / "audit.jsonl"
    if not path.exists():
        raise ConfigurationError(
            "There is no audit log",
            code="DP938",
            where=path_as_text(path),
            found="no such file",
            expected="the log of this host",
            next_step="name it with --audit-log, or set ML_AUDIT_LOG as where the models are loaded",
        )
    return path


def _last_lines(path: Path, count: int) -> list[bytes]:
    """The last lines, out of no more of the file than they can take."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        start = max(0, file.tell() - (count + 1) * (MAX_LINE_BYTES + 1))
        file.seek(start)
        lines = file.read().splitlines()
    return (lines if start == 0 else lines[1:])[-count:]


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entry = None
    return entry if isinstance(entry, dict) else {"unreadable": line[:200].decode("utf-8", "replace")}
