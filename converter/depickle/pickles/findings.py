# SPDX-License-Identifier: Apache-2.0
"""Findings: what the gate saw, where, what it would have reached, and what to do about it."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Finding", "Severity", "Verdict"]


class Severity(enum.StrEnum):
    """How much a finding weighs. Any finding above `NOTE` refuses the file."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Verdict(enum.StrEnum):
    """The gate's answer about one file."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One observation of the gate.

    Attributes:
        rule: identifier, one section each in docs/rules.md.
        severity: see `Severity`.
        message: one sentence for a person.
        offset: byte offset in the decompressed stream of the opcode, or None for whole-file findings.
        opcode: name of the opcode as in `pickletools`, or None.
        reached: the ``module.name`` that a load would have reached, or None.
        remedy: what an honest owner of the file can do.
    """

    rule: str
    severity: Severity
    message: str
    offset: int | None = None
    opcode: str | None = None
    reached: str | None = None
    remedy: str = ""
