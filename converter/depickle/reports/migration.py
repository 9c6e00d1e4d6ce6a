# SPDX-License-Identifier: Apache-2.0
"""The answer of `depickle migrate`: one row a model and a summary, as text or as JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from .encoding import as_json
from .escape import escape

__all__ = [
    "MigrationRow",
    "PlanRow",
    "as_json_lines",
    "as_text",
    "new_row",
    "plan_as_json",
    "plan_as_text",
]

SCHEMA_VERSION = 1
Status = Literal["converted", "refused", "failed", "skipped"]
STATUSES: tuple[Status, ...] = ("converted", "refused", "failed", "skipped")


class MigrationRow(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one legacy file."""

    path: str
    status: Status
    reason: str | None
    code: str | None
    onnx: str | None
    skops: str | None
    tier: str | None
    label_flips: int | None
    seconds: float


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one legacy file.

    `needs` names the library version whose environment is missing, ``scikit-learn 1.2.2``; `hint` what to do.
    """

    path: str
    status: Literal["would convert", "refused", "skipped"]
    reason: str | None = None
    code: str | None = None
    hint: str | None = None
    symbol: str | None = None
    family: str | None = None
    tier: str | None = None
    needs: str | None = None
    writer: dict[str, str] = msgspec.field(default_factory=dict)


def new_row(path: str) -> MigrationRow:
    """The row of a file about which nothing is known yet."""
    return MigrationRow(
        path=path,
        status="failed",
        reason=None,
        code=None,
        onnx=None,
        skops=None,
        tier=None,
        label_flips=None,
        seconds=0.0,
    )


def _summary(rows: Sequence[MigrationRow], release: dict[str, object] | None) -> dict[str, object]:
    counts: dict[str, object] = {status: sum(row.status == status for row in rows) for status in STATUSES}
    return {"schema_version": SCHEMA_VERSION, "summary": {**counts, "total": len(rows), "release": release}}


def as_json_lines(rows: Sequence[MigrationRow], release: dict[str, object] | None) -> str:
    """One line per model, then the summary line."""
    lines = [as_json(row).decode() for row in rows]
    lines.append(as_json(_summary(rows, release)).decode())
    return "\n".join(lines)


def as_text(rows: Sequence[MigrationRow], release: dict[str, object] | None) -> str:
    """A line per model, the reason below where it was not converted, and a count."""
    width = max((len(escape(row.path)) for row in rows), default=0)
    lines = []
    for row in rows:
        what = f"{row.tier}, {row.label_flips} label flips" if row.status == "converted" else (row.code or "")
        lines.append(f"{row.status:<10} {escape(row.path):<{width}}  {what}  {row.seconds:.2f} s")
        if row.status == "converted":
            lines.append(f"           → {row.onnx}")
        elif row.reason:
            lines.append(f"           {escape(row.reason, limit=400)}")
    counts = ", ".join(f"{sum(row.status == status for row in rows)} {status}" for status in STATUSES)
    lines.append("")
    lines.append(f"{counts} of {len(rows)} files")
    if release:
        signers = escape(str(release["signed_by"]))
        lines.append(f"release {release['serial']} of store {release['store']}, signed by {signers}")
    return "\n".join(lines)


def plan_as_json(rows: Sequence[PlanRow]) -> str:
    """The plan as one document."""
    return msgspec.json.format(as_json({"schema_version": SCHEMA_VERSION, "plan": list(rows)})).decode()


def plan_as_text(rows: Sequence[PlanRow]) -> str:
    """A table: would convert, or refused and why; then the environments that are missing, and what adds them."""
    width = max((len(escape(row.path)) for row in rows), default=0)
    lines = []
    for row in rows:
        writer = ", ".join(f"{escape(name)} {escape(text)}" for name, text in sorted(row.writer.items()))
        what = (
            f"{row.symbol}  {row.family}  {row.tier}" if row.status == "would convert" else (row.code or "")
        )
        if row.needs:
            what += f"  needs {escape(row.needs)}"
        line = f"{row.status:<13} {escape(row.path):<{width}}  {what}" + (f"  ({writer})" if writer else "")
        lines.append(line.rstrip())
        if row.reason:
            lines.append(f"              {escape(row.reason, limit=400)}")
        if row.hint and row.status == "refused":
            lines.append(f"              hint: {escape(row.hint, limit=400)}")
    ready = sum(row.status == "would convert" for row in rows)
    lines.append("")
    lines.append(f"{ready} of {len(rows)} files would convert; nothing was changed")
    missing = Counter((row.needs, row.hint) for row in rows if row.needs)
    for (needs, hint), count in sorted(missing.items(), key=str):
        files = "1 file needs" if count == 1 else f"{count} files need"
        lines.append(f"{files} {escape(str(needs))}: {escape(hint or 'no environment is known', limit=400)}")
    return "\n".join(lines)
