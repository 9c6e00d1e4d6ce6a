# SPDX-License-Identifier: Apache-2.0
"""The answer of `depickle migrate`: one row a model and a summary, as text or as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from .escape import escape

__all__ = [
    "MigrationRow",
    "PlanRow",
    "as_json_lines",
    "as_text",
    "plan_as_json",
    "plan_as_text",
    "row_as_json",
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
    """What would become of one legacy file."""

    path: str
    status: Literal["would convert", "refused", "skipped"]
    reason: str | None
    code: str | None
    hint: str | None
    symbol: str | None
    family: str | None
    tier: str | None
    writer: dict[str, str]


def row_as_json(row: MigrationRow) -> str:
    """One JSON line."""
    return msgspec.json.encode(row).decode()


def _summary(rows: Sequence[MigrationRow], release: dict[str, object] | None) -> dict[str, object]:
    counts: dict[str, object] = {status: sum(row.status == status for row in rows) for status in STATUSES}
    return {"schema_version": SCHEMA_VERSION, "summary": {**counts, "total": len(rows), "release": release}}


def as_json_lines(rows: Sequence[MigrationRow], release: dict[str, object] | None) -> str:
    """One line per model, then the summary line."""
    lines = [row_as_json(row) for row in rows]
    lines.append(msgspec.json.encode(_summary(rows, release)).decode())
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
        lines.append(
            f"release {release['serial']} of store {release['store']}, signed by {release['signed_by']}"
        )
    return "\n".join(lines)


def plan_as_json(rows: Sequence[PlanRow]) -> str:
    """The plan as one document."""
    return msgspec.json.format(
        msgspec.json.encode({"schema_version": SCHEMA_VERSION, "plan": list(rows)})
    ).decode()


def plan_as_text(rows: Sequence[PlanRow]) -> str:
    """A table: would convert, or refused and why, or what it needs."""
    width = max((len(escape(row.path)) for row in rows), default=0)
    lines = []
    for row in rows:
        writer = ", ".join(f"{escape(name)} {escape(text)}" for name, text in sorted(row.writer.items()))
        what = (
            f"{row.symbol}  {row.family}  {row.tier}" if row.status == "would convert" else (row.code or "")
        )
        lines.append(
            f"{row.status:<13} {escape(row.path):<{width}}  {what}" + (f"  ({writer})" if writer else "")
        )
        if row.reason:
            lines.append(f"              {escape(row.reason, limit=400)}")
        if row.hint and row.status == "refused":
            lines.append(f"              hint: {escape(row.hint, limit=400)}")
    ready = sum(row.status == "would convert" for row in rows)
    lines.append("")
    lines.append(f"{ready} of {len(rows)} files would convert; nothing was changed")
    return "\n".join(lines)
