# SPDX-License-Identifier: Apache-2.0
"""A folder of legacy files: convert each, back up, publish once, verify what was published, and only then tidy up.

Order of a run, so that nothing is lost wherever it stops: originals are copied and compared → new files, the
whitelist and the release are written (one rename makes them current) → every published artefact is verified as the
trading host would → originals leave the models directory. A run that was killed is simply run again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from depickle_runtime.errors import SecurityError, VerificationError
from depickle_runtime.store import NewArtefact

from .backup import BackedUp, back_up, remove_originals
from .errors import ConverterError, EnvironmentMissingError, GateRefusedError, ParityError
from .migrate import ConvertedModel, Converter, MigrationOptions, plan_model
from .naming import parse_training_date
from .reports.migration import MigrationRow, PlanRow
from .sources import SourceFile, find_legacy_files, read_source
from .store_access import PublishingStore

__all__ = ["BatchResult", "migrate_folder", "plan_folder"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchResult:
    """What became of every legacy file, and of the store."""

    rows: tuple[MigrationRow, ...]
    errors: tuple[SecurityError, ...]
    """The refusals behind the rows that were not converted; they decide the exit code."""
    release: dict[str, object] | None
    backup: Path | None


def plan_folder(models_dir: Path, options: MigrationOptions) -> tuple[list[PlanRow], list[SecurityError]]:
    """What a migration would do; nothing is run, written or asked of a worker."""
    rows: list[PlanRow] = []
    errors: list[SecurityError] = []
    for path in find_legacy_files(models_dir):
        where = str(path)
        try:
            plan = plan_model(read_source(path), options)
        except SecurityError as error:
            errors.append(error)
            rows.append(
                PlanRow(
                    path=where,
                    status="refused",
                    reason=reason_of(error),
                    code=error.code,
                    hint=error.next_step or None,
                    symbol=None,
                    family=None,
                    tier=None,
                    writer={},
                )
            )
            continue
        rows.append(
            PlanRow(
                path=where,
                status="would convert",
                reason=None,
                code=None,
                hint=None,
                symbol=plan.name.symbol,
                family=plan.family,
                tier=plan.ceiling,
                writer=dict(plan.vetted.writer),
            )
        )
    return rows, errors


def migrate_folder(
    models_dir: Path,
    options: MigrationOptions,
    store: PublishingStore,
    *,
    backup: bool,
    progress: Callable[[MigrationRow], None] = lambda row: None,
) -> BatchResult:
    """Migrate every legacy file under `models_dir` into the store that stands in it.

    Args:
        models_dir: the models directory.
        options: what the operator decided.
        store: the store of that directory, opened for publishing.
        backup: copy originals aside and take them out of the directory at the end; without, they stay.
        progress: is told of each file as it is done.

    Raises:
        SecurityError: the store, its release or its keys; single files are rows of the result instead.
    """
    known = store.known_sources()
    rows: list[MigrationRow] = []
    errors: list[SecurityError] = []
    converted: list[tuple[int, ConvertedModel]] = []
    with Converter(options) as converter:
        for path in find_legacy_files(models_dir):
            started = time.monotonic()
            row, model, error = _convert(path, converter, known)
            row = msgspec.structs.replace(row, seconds=round(time.monotonic() - started, 3))
            if model is not None:
                converted.append((len(rows), model))
            if error is not None:
                errors.append(error)
            rows.append(row)
            progress(row)
    models = _unique_names([model for _, model in converted])
    if not models:
        return BatchResult(rows=tuple(rows), errors=tuple(errors), release=None, backup=None)
    for (index, _), model in zip(converted, models, strict=True):
        rows[index] = msgspec.structs.replace(
            rows[index], onnx=f"{model.stem}.onnx", skops=f"{model.stem}.skops"
        )
    backed_up: tuple[BackedUp, ...] = ()
    if backup:
        backed_up = back_up([model.source for model in models], models_dir, options.created)
    current = _current_by_symbol(models, store.current_training_dates())
    release = store.publish([_artefact(model, store, model.stem in current) for model in models])
    store.verify_published([f"{model.stem}.onnx" for model in models])
    remove_originals(backed_up)
    return BatchResult(
        rows=tuple(rows),
        errors=tuple(errors),
        release=release,
        backup=backed_up[0].copy.parent if backed_up else None,
    )


def _convert(
    path: Path, converter: Converter, known: Mapping[str, str]
) -> tuple[MigrationRow, ConvertedModel | None, SecurityError | None]:
    """One file of a batch; whatever goes wrong with it is its own row and stops no other file."""
    row = MigrationRow(
        path=str(path),
        status="failed",
        reason=None,
        code=None,
        onnx=None,
        skops=None,
        tier=None,
        label_flips=None,
        seconds=0.0,
    )
    try:
        source = read_source(path)
        stem = known.get(source.sha256)
        if stem is not None:
            reason = f"already in the store as {stem}"
            skipped = msgspec.structs.replace(
                row, status="skipped", reason=reason, onnx=f"{stem}.onnx", skops=f"{stem}.skops"
            )
            return skipped, None, None
        model = converter.convert(source)
    except SecurityError as error:
        refused = isinstance(error, GateRefusedError | ParityError | EnvironmentMissingError) or (
            isinstance(error, ConverterError) and error.code[:3] in ("DP6", "DP8")
        )
        status = "refused" if refused else "failed"
        return (
            msgspec.structs.replace(row, status=status, reason=reason_of(error), code=error.code),
            None,
            error,
        )
    except Exception as error:  # noqa: BLE001 - the one place: a fault of ours in one file is a failed row
        _logger.exception("converting %s failed", path)
        fault = ConverterError(
            "The converter itself failed on this file",
            code="DP899",
            where=path.name,
            found=f"{type(error).__name__}: {error}"[:300],
            expected="a verdict",
            next_step="the original is untouched; report the error above",
        )
        return msgspec.structs.replace(row, reason=reason_of(fault), code=fault.code), None, fault
    done = msgspec.structs.replace(
        row, status="converted", tier=model.record.tier, label_flips=model.label_flips
    )
    return done, model, None


def reason_of(error: SecurityError) -> str:
    """The refusal in a line, with the first refusing finding of the gate where there is one."""
    if isinstance(error, GateRefusedError) and error.findings:
        first = error.findings[0]
        place = "" if first.offset is None else f" at byte {first.offset}"
        return f"{first.rule}{place}: {first.message}"
    return str(error)


def _unique_names(models: Sequence[ConvertedModel]) -> list[ConvertedModel]:
    """Two inputs that would get one name get the first eight digits of their source digest appended."""
    counts = Counter(model.stem for model in models)
    unique = []
    for model in models:
        if counts[model.stem] > 1:
            stem = f"{model.stem}_{model.source.sha256[:8]}"
            model = replace(model, stem=stem, record=msgspec.structs.replace(model.record, stem=stem))
        unique.append(model)
    return unique


def _trained(model: ConvertedModel) -> datetime:
    stamp = parse_training_date(model.record.trained_at, model.source.name)
    return stamp if stamp is not None else datetime(1970, 1, 1, tzinfo=UTC)


def _current_by_symbol(models: Sequence[ConvertedModel], known: Mapping[str, datetime]) -> set[str]:
    """Stems that become current: per symbol the model trained last, unless the store's own is newer.

    Of two trained at the same moment the later stem in sorted order is taken, so that a run is repeatable.
    """
    chosen: dict[str, ConvertedModel] = {}
    for model in sorted(models, key=lambda model: (_trained(model), model.stem)):
        if _trained(model) >= known.get(model.name.symbol, datetime(1970, 1, 1, tzinfo=UTC)):
            chosen[model.name.symbol] = model
    return {model.stem for model in chosen.values()}


def _artefact(model: ConvertedModel, store: PublishingStore, make_current: bool) -> NewArtefact:
    metadata = {
        f"{model.stem}.onnx": store.metadata_bytes(model, model.onnx, "onnx"),
        f"{model.stem}.skops": store.metadata_bytes(model, model.skops, "skops"),
    }
    try:
        record = store.record_bytes(model)
    except msgspec.MsgspecError as error:
        raise VerificationError(
            "The conversion record cannot be encoded", code="DP840", where=model.stem, found=str(error)[:200]
        ) from error
    return NewArtefact(
        stem=model.stem,
        symbol=model.name.symbol,
        onnx=model.onnx,
        skops=model.skops,
        metadata=metadata,
        record=record,
        make_current=make_current,
    )
