# SPDX-License-Identifier: Apache-2.0
"""A folder of legacy files: convert each, back up, publish once, verify what was published, and only then tidy up.

Order of a run, so that nothing is lost wherever it stops: originals are copied and compared → new files, the
whitelist and the release are written (one rename makes them current) → every published artefact is verified as the
trading host would → originals leave the models directory. A run that was killed is simply run again.

Rules:

* every file that was found has a row, whatever happens to it, to another file or to the run
* a file whose bytes were converted already, in this run or an earlier one that still verifies, is not converted again
* an original leaves only when a model made of its bytes stands in the store and verifies, and its backup was compared
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec

from depickle_runtime.errors import AuditError, SecurityError
from depickle_runtime.release import describe_file
from depickle_runtime.store import NewArtefact

from .backup import Backup, back_up, remove_originals
from .errors import ConverterError, GateRefusedError, ParityError, PublishError
from .migrate import ConvertedModel, Converter
from .naming import parse_training_date
from .planning import MigrationOptions, name_source
from .reports.migration import MigrationRow, new_row
from .sources import Original, SourceFile, find_legacy_files, path_as_text, read_source
from .store_access import PublishingStore, migrating

__all__ = ["BatchResult", "migrate_folder", "reason_of"]

_logger = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAILED_CODES = ("DP801", "DP802", "DP803", "DP804", "DP805", "DP843", "DP899")
"""Nothing was found out about the file: it could not be read, the run ended first, or we failed on it."""


@dataclass(frozen=True)
class BatchResult:
    """What became of every legacy file, and of the store.

    Attributes:
        rows: one for each file, link and unreadable folder that was found.
        errors: the refusals behind the rows that were not converted; they decide the exit code.
        fault: what stopped the run as a whole, or None.
        release: the new release, or None where none was published.
        backup: the folder with the copies, or None.
        taken_out: how many originals left the models directory.
    """

    rows: tuple[MigrationRow, ...]
    errors: tuple[SecurityError, ...]
    fault: SecurityError | None
    release: dict[str, object] | None
    backup: Path | None
    taken_out: int


@dataclass
class _Entry:
    """One file of the run."""

    row: MigrationRow
    error: SecurityError | None = None
    model: ConvertedModel | None = None
    original: Original | None = None
    stands: bool = False
    """Whether a model of these bytes stands in the store and verifies."""
    twin: _Entry | None = None
    """The file of this run that has the same bytes and was converted."""

    def refuse(self, error: SecurityError) -> None:
        """Turn the row into that of a refusal."""
        self.error, self.model = error, None
        self.row = msgspec.structs.replace(
            self.row,
            status=_status(error),
            reason=reason_of(error),
            code=error.code,
            onnx=None,
            skops=None,
            tier=None,
            label_flips=None,
        )

    def skip(self, reason: str, *, code: str | None = None, stem: str | None = None) -> None:
        """Turn the row into that of a file for which there is nothing to do."""
        self.model = None
        self.row = msgspec.structs.replace(
            self.row,
            status="skipped",
            reason=reason,
            code=code,
            onnx=None if stem is None else f"{stem}.onnx",
            skops=None if stem is None else f"{stem}.skops",
            tier=None,
            label_flips=None,
        )


def _status(error: SecurityError) -> str:
    refused = isinstance(error, GateRefusedError | ParityError) or (
        isinstance(error, ConverterError)
        and not isinstance(error, PublishError)
        and error.code[:3] in ("DP5", "DP6", "DP8")
        and error.code not in _FAILED_CODES
        and not (
            error.code.startswith("DP5") and error.code < "DP520"
        )  # the sandbox, not a missing environment
    )
    return "refused" if refused else "failed"


def reason_of(error: SecurityError) -> str:
    """The refusal in a line, with the first refusing finding of the gate where there is one."""
    if isinstance(error, GateRefusedError) and error.findings:
        first = error.findings[0]
        place = "" if first.offset is None else f" at byte {first.offset}"
        return f"{first.rule}{place}: {first.message}"
    return str(error)


def migrate_folder(
    models_dir: Path,
    options: MigrationOptions,
    store: PublishingStore,
    *,
    backup: bool,
    progress: Callable[[MigrationRow], None] = lambda row: None,
    say: Callable[[str], None] = _logger.info,
) -> BatchResult:
    """Migrate every legacy file under `models_dir` into the store that stands in it.

    An interrupt (SIGINT) while files are converted ends the run with nothing published; from the backup's end on it
    is held back until the originals are where they belong.

    Args:
        models_dir: the models directory.
        options: what the operator decided.
        store: the store of that directory, opened for publishing.
        backup: copy originals aside and take them out of the directory at the end; without, they stay.
        progress: is told of each file as it is done.
        say: is told what the run does between files.

    Raises:
        ConverterError: DP844, another migration of the folder is under way.
        OSError: the folder cannot be opened.

    Returns:
        What became of each file; faults of the store and of the run are in it too.
    """
    with migrating(models_dir):
        run = _Run(models_dir, options, store, progress, say)
        run.convert_all()
        if run.fault is None:
            run.finish(backup=backup)
        return run.result()


@dataclass
class _Run:
    models_dir: Path
    options: MigrationOptions
    store: PublishingStore
    progress: Callable[[MigrationRow], None]
    say: Callable[[str], None]
    entries: list[_Entry] = field(default_factory=list)
    faults: list[SecurityError] = field(default_factory=list)
    fault: SecurityError | None = None
    release: dict[str, object] | None = None
    backup: Backup = field(default_factory=lambda: Backup(folder=None, done=(), changed={}))
    taken_out: int = 0
    refused: dict[str, GateRefusedError] = field(default_factory=dict)

    def result(self) -> BatchResult:
        """What became of everything."""
        errors = [entry.error for entry in self.entries if entry.error is not None]
        return BatchResult(
            rows=tuple(entry.row for entry in self.entries),
            errors=(*errors, *self.faults, *(() if self.fault is None else (self.fault,))),
            fault=self.fault,
            release=self.release,
            backup=self.backup.folder,
            taken_out=self.taken_out,
        )

    def convert_all(self) -> None:
        """Convert every file; whatever goes wrong with one is its own row and stops no other file."""
        found = find_legacy_files(self.models_dir)
        for error in found.unreadable:
            self._entry(error.where).refuse(error)
        for link in found.links:
            self._entry(path_as_text(link)).skip(
                "a link, which is not followed; its target counts where it stands"
            )
        for entry in self.entries:
            self.progress(entry.row)
        waiting = [(path, self._entry(path_as_text(path))) for path in found.files]
        try:
            with Converter(self.options) as converter:
                while waiting:
                    path, entry = waiting[0]
                    started = time.monotonic()
                    self._convert(path, entry, converter)
                    seconds = round(time.monotonic() - started, 3)
                    entry.row = msgspec.structs.replace(entry.row, seconds=seconds)
                    waiting.pop(0)
                    self.progress(entry.row)
        except KeyboardInterrupt:
            self._interrupt([entry for _, entry in waiting])

    def _entry(self, path: str) -> _Entry:
        entry = _Entry(new_row(path))
        self.entries.append(entry)
        return entry

    def _interrupt(self, unfinished: list[_Entry]) -> None:
        self.fault = ConverterError(
            "The run was interrupted; nothing was published",
            code="DP843",
            found="an interrupt",
            expected="the end of the run",
            next_step="depickle migrate again; every original is where it was",
        )
        for entry in unfinished:
            entry.refuse(self.fault)
        self._fail_converted(self.fault)

    def _fail_converted(self, fault: SecurityError) -> None:
        for entry in self.entries:
            if entry.model is not None or entry.twin is not None:
                entry.refuse(fault)
                entry.twin = None

    def _convert(self, path: Path, entry: _Entry, converter: Converter) -> None:
        try:
            source = read_source(path)
            entry.original = source.original
            earlier = self.refused.get(source.sha256)
            if earlier is not None:
                raise earlier
            if self._seen(source, entry):
                return
            model = converter.convert(source)
            why = self.store.known.revoked(describe_file(model.onnx).sha256)
            if why is not None:
                entry.skip(f"the model made of it was revoked: {why}", code="DP842")
                return
            entry.model = model
            entry.row = msgspec.structs.replace(
                entry.row, status="converted", tier=model.record.tier, label_flips=model.label_flips
            )
        except GateRefusedError as error:
            entry.refuse(error)
            if entry.original is not None:
                self.refused[entry.original.sha256] = error
        except SecurityError as error:
            entry.refuse(error)
        except Exception as error:  # the batch loop: a fault of ours in one file is a failed row
            entry.refuse(_our_fault(error, path))

    def _seen(self, source: SourceFile, entry: _Entry) -> bool:
        """Whether these bytes were converted for this symbol already; the same file may serve two symbols."""
        known = self.store.known.of_source(source.sha256)
        twins = [
            other
            for other in self.entries
            if other.model is not None and other.model.original.sha256 == source.sha256
        ]
        if not known and not twins:
            return False
        symbol = name_source(source, self.options).symbol
        for twin in twins:
            if twin.model is not None and twin.model.name.symbol == symbol:
                entry.skip(f"the same bytes as {twin.row.path}")
                entry.twin = twin
                return True
        standings = [
            (model, *self.store.known.standing(model.stem)) for model in known if model.symbol == symbol
        ]
        for model, standing, _ in standings:
            if standing == "valid":
                entry.skip(f"already in the store as {model.stem}", stem=model.stem)
                entry.stands = True
                return True
        for model, standing, why in standings:
            if standing == "withdrawn":
                entry.skip(f"{model.stem} was withdrawn: {why}", code="DP842", stem=model.stem)
                return True
        for model, _, why in standings:
            self.say(f"{model.stem} does not verify and is made anew: {why}")
        return False

    def finish(self, *, backup: bool) -> None:
        """Back up, publish, verify, and take the originals out."""
        try:
            artefacts = self._artefacts()
            if backup:
                self._back_up()
        except PublishError as fault:
            self.fault = fault
            self._fail_converted(fault)
            return
        except MemoryError as error:
            self.fault = _our_fault(error, self.models_dir)
            self._fail_converted(self.fault)
            return
        except KeyboardInterrupt:
            self._interrupt([])
            return
        with _undisturbed(self.say):
            if self._publish([artefact for artefact in artefacts if self._still(artefact)]):
                self._take_out()

    def _artefacts(self) -> list[NewArtefact]:
        """What is to be published; a model that cannot be stored fails alone."""
        self._name_uniquely()
        current = self._current()
        artefacts = []
        for entry in self.entries:
            if entry.model is None:
                continue
            stem = entry.model.stem
            try:
                artefacts.append(self.store.artefact(entry.model, make_current=stem in current))
            except SecurityError as error:
                entry.refuse(error)
                continue
            except Exception as error:  # the batch loop again: this model fails alone
                entry.refuse(_our_fault(error, entry.model.original.path))
                continue
            entry.row = msgspec.structs.replace(entry.row, onnx=f"{stem}.onnx", skops=f"{stem}.skops")
        return artefacts

    def _name_uniquely(self) -> None:
        """Two inputs that would get one name get the first eight digits of their source digest appended."""
        counts = Counter(entry.model.stem for entry in self.entries if entry.model is not None)
        for entry in self.entries:
            model = entry.model
            if model is not None and (counts[model.stem] > 1 or self.store.known.has(model.stem)):
                stem = f"{model.stem}_{model.original.sha256[:8]}"
                record = msgspec.structs.replace(model.record, stem=stem)
                entry.model = replace(model, stem=stem, record=record)

    def _current(self) -> set[str]:
        """Stems that become current: per symbol the model trained last, unless the store's own is newer.

        Of two trained at the same moment the later stem in sorted order is taken, so that a run is repeatable.
        """
        chosen: dict[str, ConvertedModel] = {}
        known = self.store.known.current_training_dates()
        models = [entry.model for entry in self.entries if entry.model is not None]
        for model in sorted(models, key=lambda model: (_trained(model), model.stem)):
            if _trained(model) >= known.get(model.name.symbol, _EPOCH):
                chosen[model.name.symbol] = model
        return {model.stem for model in chosen.values()}

    def _back_up(self) -> None:
        leaving = [entry for entry in self.entries if self._may_leave(entry)]
        originals = [entry.original for entry in leaving if entry.original is not None]
        self.backup = back_up(originals, self.models_dir, self.options.created)
        for entry in leaving:
            if entry.original is not None and entry.original.path in self.backup.changed:
                entry.refuse(self.backup.changed[entry.original.path])
                entry.stands, entry.twin = False, None

    @staticmethod
    def _may_leave(entry: _Entry) -> bool:
        twin = entry.twin
        return entry.model is not None or entry.stands or (twin is not None and twin.model is not None)

    def _still(self, artefact: NewArtefact) -> bool:
        return any(entry.model is not None and entry.model.stem == artefact.stem for entry in self.entries)

    def _publish(self, artefacts: Sequence[NewArtefact]) -> bool:
        """Publish and verify; whether originals may be taken out at all."""
        if not artefacts and not self.store.known.expired:
            return True
        try:
            self.release = self.store.publish(artefacts)
        except PublishError as fault:
            self.fault = fault
            self._fail_converted(fault)
            return False
        except SecurityError as fault:  # the release is in place, but unaudited or not verified
            self.fault = fault
            if not isinstance(fault, AuditError):
                self._fail_converted(fault)
            return False
        for entry in self.entries:
            if entry.model is not None:
                error = self.store.verify_published(entry.model.stem)
                if error is None:
                    entry.stands = True
                else:
                    entry.refuse(error)
        return True

    def _take_out(self) -> None:
        for entry in self.entries:
            if entry.twin is not None:
                if entry.twin.stands and entry.twin.model is not None:
                    entry.skip(entry.row.reason or "", stem=entry.twin.model.stem)
                    entry.stands = True
                elif entry.twin.error is not None:
                    entry.refuse(entry.twin.error)
        leaving = {
            entry.original.path for entry in self.entries if entry.stands and entry.original is not None
        }
        going = [each for each in self.backup.done if each.original.path in leaving]
        faults = remove_originals(going)
        self.faults += faults
        self.taken_out = len(going) - len(faults)


def _our_fault(error: Exception, path: Path) -> ConverterError:
    _logger.error("converting %s failed", ascii(str(path)), exc_info=error)
    return ConverterError(
        "The converter itself failed on this file",
        code="DP899",
        where=path_as_text(path),
        found=ascii(f"{type(error).__name__}: {error}")[1:300],
        expected="a verdict",
        next_step="the original is untouched; report the error above",
    )


def _trained(model: ConvertedModel) -> datetime:
    stamp = parse_training_date(model.record.trained_at, model.original.path.name)
    return stamp if stamp is not None else _EPOCH


@contextmanager
def _undisturbed(say: Callable[[str], None]) -> Iterator[None]:
    """Hold interrupts back; what happens in the block is short and its end is what the user wants too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def hold(number: int, frame: FrameType | None) -> None:
        say("publishing; the run ends as soon as everything is in its place")

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
