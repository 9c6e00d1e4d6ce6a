# SPDX-License-Identifier: Apache-2.0
"""The audit log: one JSON object a line, each holding the hash of the line before.

Rules:

* the writer locks the file and reads its last line again before it appends, so several processes share one log
* security events are on disk before `append` returns; loads are left to the system to write out
* control characters are escaped, lengths are capped, and no field takes a secret or a feature value
* a last line torn by a power cut is recorded in the next entry and kept where it is
* a last line that is whole and not ours stops the log: it is never continued over a break

The chain shows a changed, removed or inserted line. It cannot show that its end was cut off: keep the
sequence and hash of `AuditLog.head` elsewhere for that.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from . import _strict_json
from ._files import exclusive, write_all
from .errors import AuditError

__all__ = ["GENESIS", "AuditEntry", "AuditFault", "AuditLog", "AuditReport", "Outcome", "verify_log"]

GENESIS = "0" * 64
"""What the first line holds in place of the hash of a line before it."""
MAX_LINE_BYTES = 8192
"""Caps below leave room for six-byte escapes of every character."""
_MAX_FIELD = 256
_MAX_DETAIL = 512
_LOCK_SECONDS = 10.0
_TORN = "log.torn-line"

Outcome = Literal["ok", "refused", "warning"]


class AuditEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the log."""

    sequence: Annotated[int, msgspec.Meta(ge=1)]
    time: str
    actor: str
    event: str
    model: str
    digest: str
    outcome: Outcome
    code: str
    detail: str
    previous: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True, slots=True)
class AuditFault:
    """Something wrong with the log, at a line counted from 1."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a walk over the whole log found."""

    entries: int
    torn: int
    head: str
    faults: tuple[AuditFault, ...]

    @property
    def intact(self) -> bool:
        """Whether every link of the chain holds."""
        return not self.faults


def _now() -> datetime:
    return datetime.now(UTC)


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


class AuditLog:
    """An append-only, hash-chained log that several processes may share.

    Args:
        path: the file; its folder is made where it does not exist.
        actor: who acts; the operating-system user where None.
        clock: source of the time.

    Raises:
        AuditError: DP162, the folder cannot be made.
    """

    def __init__(self, path: Path, *, actor: str | None = None, clock: Callable[[], datetime] = _now) -> None:
        self.path = path
        self._actor = _actor() if actor is None else actor
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as fault:
            raise self._unwritable(fault) from None

    def append(
        self,
        event: str,
        *,
        outcome: Outcome,
        model: str = "",
        digest: str = "",
        code: str = "",
        detail: str = "",
        durable: bool = True,
    ) -> AuditEntry:
        """Append one entry.

        Args:
            event: what happened, ``model.load``.
            outcome: how it ended.
            model: name of the artefact.
            digest: its SHA-256.
            code: code of the refusal.
            detail: a few words; never a secret, never a feature value.
            durable: wait until the entry is on disk; False for ordinary loads.

        Raises:
            AuditError: DP161, the last line is not one of this log; DP162, the log cannot be written.

        Returns:
            The entry as written.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            fd = os.open(self.path, flags, 0o640)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise AuditError("The audit log is no regular file", code="DP162", where=str(self.path))
                with exclusive(fd, seconds=_LOCK_SECONDS):
                    sequence, previous = self._resume(fd)
                    entry, _ = self._write(
                        fd,
                        sequence,
                        previous,
                        event=event[:_MAX_FIELD],
                        outcome=outcome,
                        model=model[:_MAX_FIELD],
                        digest=digest[:_MAX_FIELD],
                        code=code[:_MAX_FIELD],
                        detail=detail[:_MAX_DETAIL],
                    )
                    if durable:
                        os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as fault:
            raise self._unwritable(fault) from None
        return entry

    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last whole line, to be kept elsewhere; (0, `GENESIS`) of an empty log.

        Raises:
            AuditError: DP161, the last line is not one of this log; DP162, the log cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                tail = _tail(file.fileno())
        except FileNotFoundError:
            return 0, GENESIS
        except OSError as fault:
            raise self._unwritable(fault) from None
        return self._last(tail.rpartition(b"\n")[0])

    def _resume(self, fd: int) -> tuple[int, str]:
        tail = _tail(fd)
        whole, _, torn = tail.rpartition(b"\n")
        sequence, previous = self._last(whole)
        if not torn:
            return sequence, previous
        write_all(fd, b"\n")
        detail = f"{len(torn)} bytes, SHA-256 {hashlib.sha256(torn).hexdigest()}"
        entry, line_hash = self._write(
            fd,
            sequence,
            previous,
            event=_TORN,
            outcome="warning",
            model="",
            digest="",
            code="",
            detail=detail,
        )
        return entry.sequence, line_hash

    def _last(self, whole: bytes) -> tuple[int, str]:
        line = whole.rpartition(b"\n")[2]
        if not line:
            return 0, GENESIS
        return _parse(line, str(self.path)).sequence, hashlib.sha256(line).hexdigest()

    def _write(
        self,
        fd: int,
        sequence: int,
        previous: str,
        *,
        event: str,
        outcome: Outcome,
        model: str,
        digest: str,
        code: str,
        detail: str,
    ) -> tuple[AuditEntry, str]:
        entry = AuditEntry(
            sequence=sequence + 1,
            time=self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            actor=_clean(self._actor[:_MAX_FIELD]),
            event=_clean(event),
            model=_clean(model),
            digest=_clean(digest),
            outcome=outcome,
            code=_clean(code),
            detail=_clean(detail),
            previous=previous,
        )
        line = _strict_json.canonical(msgspec.to_builtins(entry))
        write_all(fd, line + b"\n")
        return entry, hashlib.sha256(line).hexdigest()

    def _unwritable(self, fault: OSError) -> AuditError:
        return AuditError(
            "The audit log cannot be written",
            code="DP162",
            found=fault.strerror or type(fault).__name__,
            where=str(self.path),
            next_step="make the file writable, or name another with ML_AUDIT_LOG",
        )


def _clean(text: str) -> str:
    """Text whose display moves no cursor and turns no line around; lone surrogates become U+FFFD."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)[:_MAX_DETAIL]


def _tail(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    # Two capped lines: the whole one that is continued, and a torn one behind it.
    length = min(size, 2 * MAX_LINE_BYTES + 2)
    return os.pread(fd, length, size - length)


def _parse(line: bytes, where: str) -> AuditEntry:
    return _strict_json.decode_as(
        AuditEntry,
        line,
        max_bytes=MAX_LINE_BYTES,
        where=where,
        error=AuditError,
        code="DP161",
        next_step="move the log aside, keep it as evidence, and start a new one",
    )


def verify_log(path: Path) -> AuditReport:
    """Walk a whole log and check every link.

    Args:
        path: the file.

    Raises:
        AuditError: DP162, it cannot be read.

    Returns:
        Entries, torn lines that the log itself recorded, the last hash, and every fault.
    """
    faults: list[AuditFault] = []
    previous, sequence, torn, number = GENESIS, 0, 0, 0
    fragment: tuple[int, bytes] | None = None
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                body = line.removesuffix(b"\n")
                try:
                    if body is line:
                        raise AuditError("A line without an end", code="DP161")
                    entry = _parse(body, str(path))
                except AuditError:
                    if fragment is not None:
                        faults.append(AuditFault(fragment[0], "not a line of the log"))
                    fragment = (number, body)
                    continue
                if fragment is not None:
                    if entry.event == _TORN and hashlib.sha256(fragment[1]).hexdigest() in entry.detail:
                        torn += 1
                    else:
                        faults.append(AuditFault(fragment[0], "not a line of the log"))
                    fragment = None
                if entry.previous != previous:
                    faults.append(AuditFault(number, "does not continue the line before"))
                if entry.sequence != sequence + 1:
                    faults.append(AuditFault(number, f"sequence {entry.sequence} after {sequence}"))
                previous, sequence = hashlib.sha256(body).hexdigest(), entry.sequence
    except OSError as fault:
        raise AuditError(
            "The audit log cannot be read",
            code="DP162",
            found=fault.strerror or type(fault).__name__,
            where=str(path),
        ) from None
    if fragment is not None:
        faults.append(AuditFault(fragment[0], "a torn last line"))
    return AuditReport(entries=number - torn, torn=torn, head=previous, faults=tuple(faults))
