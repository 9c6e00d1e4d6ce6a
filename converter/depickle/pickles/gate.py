# SPDX-License-Identifier: Apache-2.0
"""The pickle gate: bytes in, a verdict with findings or a `VettedPickle` out. Nothing in the file ever runs.

* `scan` never raises for what a file holds; `vet` raises `GateRefusedError` unless the file is accepted.
* Only `vet` builds a `VettedPickle`.
* A class that no policy holds is kept as an inert record where the package keeps auxiliary objects, and refused
  anywhere inside the estimator.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ..errors import GateRefusedError
from . import package as _package
from .containers import ContainerError, open_container
from .findings import Finding, Severity, Verdict
from .graph import DictNode, Record, Value
from .interpreter import Interpreter, StreamError
from .package import Package
from .policy import Policy, default_policy
from .rules import RULES, UNREADABLE_RULES, finding
from .structure import StructureError, check_structure
from .survey import reachable_records, survey
from .writer import read_writer

__all__ = ["GlobalUse", "ScanResult", "VettedPickle", "open_package", "scan", "vet"]


#: Bytes; smaller streams are read before the collector would start.
_PAUSE_FROM_BYTES = 1 << 16


class GlobalUse(msgspec.Struct, frozen=True):
    """One name of the stream, spelt as there, and what loading does with it.

    Attributes:
        module: as the stream spells it.
        name: as the stream spells it.
        role: ``auxiliary`` for an unknown class that a stand-in replaces.
        offset: of the first mention.
    """

    module: str
    name: str
    role: Literal["created", "called", "data", "auxiliary"]
    offset: int


class ScanResult(msgspec.Struct, frozen=True):
    """The gate's answer about one file.

    Attributes:
        verdict: see `Verdict`.
        container: ``pickle``, ``joblib``, or either with ``+zlib``, ``+gzip``, …; empty where unreadable.
        sha256: of the file as given.
        findings: the refusing ones first.
        writer: library to version, as far as the stream says.
    """

    verdict: Verdict
    container: str
    sha256: str
    findings: tuple[Finding, ...]
    writer: dict[str, str]


@dataclass(frozen=True)
class VettedPickle:
    """A file that the gate accepted; only `vet` makes one.

    Attributes:
        data: the file as given.
        sha256: of `data`.
        size: bytes of `data`.
        container: as in `ScanResult`.
        protocol: of the pickle, 0 to 5 (0 also stands for 1, which has no mark of its own).
        root: the inert graph.
        writer: library to version, as read from the graph.
        findings: notes.
        globals: what a confined worker's ``find_class`` may serve.
        auxiliary: the unknown records beside the estimator, by identity.
    """

    data: bytes = field(repr=False)
    sha256: str
    size: int
    container: str
    protocol: int
    root: Value = field(repr=False)
    writer: Mapping[str, str]
    findings: tuple[Finding, ...]
    globals: tuple[GlobalUse, ...] = field(repr=False)
    auxiliary: Mapping[int, Record] = field(repr=False, default_factory=dict)


@dataclass
class _Reading:
    """What one pass over a file found."""

    sha256: str
    container: str = ""
    protocol: int = 0
    root: Value = None
    findings: tuple[Finding, ...] = ()
    writer: Mapping[str, str] = field(default_factory=dict)
    uses: tuple[GlobalUse, ...] = ()
    auxiliary: dict[int, Record] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        refusing = [item for item in self.findings if item.severity is not Severity.NOTE]
        if not refusing:
            return Verdict.ACCEPTED
        if all(item.rule in UNREADABLE_RULES for item in refusing):
            return Verdict.UNREADABLE
        return Verdict.REFUSED


def scan(data: bytes, *, policy: Policy | None = None) -> ScanResult:
    """Judge a file; never raises for what it holds.

    Args:
        data: the whole file.
        policy: the admitted globals; the shipped families by default.
    """
    reading = _read(data, policy or default_policy(), listing=False)
    return ScanResult(
        reading.verdict, reading.container, reading.sha256, reading.findings, dict(reading.writer)
    )


def vet(data: bytes, *, policy: Policy | None = None, where: str = "") -> VettedPickle:
    """Read a file as data.

    Args:
        data: the whole file.
        policy: the admitted globals; the shipped families by default.
        where: the file's name, for the error.

    Raises:
        GateRefusedError: with every finding, under the code of the first.
    """
    reading = _read(data, policy or default_policy(), listing=True)
    if reading.verdict is not Verdict.ACCEPTED:
        first = reading.findings[0]
        place = "" if first.offset is None else f" at byte {first.offset}"
        raise GateRefusedError(
            first.message,
            findings=reading.findings,
            code=first.rule,
            found=f"{RULES[first.rule].title.lower()}{place}",
            where=where,
            next_step=first.remedy,
        )
    return VettedPickle(
        data=data,
        sha256=reading.sha256,
        size=len(data),
        container=reading.container,
        protocol=reading.protocol,
        root=reading.root,
        writer=reading.writer,
        findings=reading.findings,
        globals=reading.uses,
        auxiliary=reading.auxiliary,
    )


def open_package(vetted: VettedPickle, *, where: str = "") -> Package:
    """The model package of a vetted pickle.

    Raises:
        UnsupportedModelError: DP601 "Not a valid model package".
    """
    return _package.open_package(vetted.root, unknown=vetted.auxiliary, where=where)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cycle collector from walking a growing graph, which holds no garbage, again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read(data: bytes, policy: Policy, *, listing: bool) -> _Reading:
    reading = _Reading(hashlib.sha256(data).hexdigest())
    interpreter: Interpreter | None = None
    last: tuple[Finding, ...] = ()
    try:
        contents = open_container(data)
        reading.container = f"pickle+{contents.compression}" if contents.compression else "pickle"
        interpreter = Interpreter(contents.stream, policy)
        if len(contents.stream) < _PAUSE_FROM_BYTES:
            root, end = interpreter.run(0)
        else:
            with _collector_paused():
                root, end = interpreter.run(0)
        if end != len(contents.stream):
            raise StreamError("DP403", f"{len(contents.stream) - end} bytes follow the end", end)
        reading.root = survey(interpreter, root)
        _judge_unknown(interpreter, reading)
        if all(item.severity is Severity.NOTE for item in interpreter.findings):
            check_structure(interpreter.records)
    except StructureError as error:
        last = (finding(error.rule, error.message, offset=error.offset, reached=error.reached),)
    except ContainerError as error:
        last = (finding(error.rule, error.message),)
    except StreamError as error:
        last = (error.finding(),)
    except MemoryError:
        last = (finding("DP414", "reading it takes more memory than this host gives"),)
    if interpreter is not None:
        if interpreter.wrappers:
            reading.container = reading.container.replace("pickle", "joblib")
        reading.protocol = interpreter.protocol
        names = {module for module, _, _ in interpreter.uses}
        reading.writer = read_writer(interpreter.records, names)
        if listing:
            reading.uses += tuple(
                GlobalUse(module, name, role, offset)
                for (module, name, role), offset in interpreter.uses.items()
            )
        reading.findings = last
        if interpreter.findings:
            found = [*interpreter.findings, *last]
            found.sort(key=lambda item: item.severity is Severity.NOTE)
            reading.findings = tuple(found)
    else:
        reading.findings = last
    return reading


def _judge_unknown(interpreter: Interpreter, reading: _Reading) -> None:
    """Admit unknown classes beside the estimator as inert records; refuse them anywhere else."""
    if not interpreter.unknown:
        return
    found = _package.find_estimator(reading.root)
    beside = found is not None and bool(found[1])
    inside = reachable_records(found[0]) if found is not None and beside else {}
    uses: dict[tuple[str, str], GlobalUse] = {}
    for record in interpreter.unknown:
        if not beside or id(record) in inside:
            rule, place = (
                ("DP428", "inside the estimator") if beside else ("DP423", "outside any model package")
            )
            interpreter.report(
                rule,
                f"{record.cls} is a class that no policy holds, {place}",
                offset=record.offset,
                opcode="NEWOBJ",
                reached=record.cls,
            )
        elif record.args or not (record.state is None or isinstance(record.state, DictNode)):
            interpreter.report(
                "DP423",
                f"{record.cls} is unknown and has more than a plain dict of attributes",
                offset=record.offset,
                opcode="NEWOBJ",
                reached=record.cls,
            )
        else:
            reading.auxiliary[id(record)] = record
            pair = (record.module, record.name)
            if pair not in uses:
                uses[pair] = GlobalUse(record.module, record.name, "auxiliary", record.offset)
                interpreter.report(
                    "DP427",
                    f"{record.cls} is kept beside the estimator as an inert record",
                    offset=record.offset,
                    reached=record.cls,
                )
    reading.uses += tuple(uses.values())
