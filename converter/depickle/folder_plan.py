# SPDX-License-Identifier: Apache-2.0
"""What a migration of a folder would do; nothing is run, written or asked of a worker."""

from __future__ import annotations

import logging
from pathlib import Path

from depickle_runtime.errors import SecurityError

from .batch import reason_of
from .errors import ConverterError, EnvironmentMissingError, GateRefusedError
from .pickles import scan
from .planning import MigrationOptions, plan_model
from .reports.migration import PlanRow
from .sources import SourceFile, find_legacy_files, path_as_text, read_source
from .store_access import KnownModels

__all__ = ["plan_folder"]

_logger = logging.getLogger(__name__)
_VERSIONED = ("scikit-learn", "lightgbm", "xgboost")


def plan_folder(
    models_dir: Path, options: MigrationOptions, known: KnownModels | None
) -> tuple[list[PlanRow], list[SecurityError]]:
    """Plan the migration of every legacy file under `models_dir`.

    Args:
        models_dir: the models directory.
        options: what the operator decided.
        known: what the store holds; None where nobody is trusted yet.

    Returns:
        A row for each file, link and unreadable folder, and the refusals among them.
    """
    found = find_legacy_files(models_dir)
    rows = [_refused(error.where, error) for error in found.unreadable]
    errors: list[SecurityError] = list(found.unreadable)
    rows += [
        PlanRow(path=path_as_text(link), status="skipped", reason="a link, which is not followed")
        for link in found.links
    ]
    seen: dict[tuple[str, str], str] = {}
    for path in found.files:
        where = path_as_text(path)
        source: SourceFile | None = None
        try:
            source = read_source(path)
            row = _plan(where, source, options, known, seen)
        except SecurityError as error:
            errors.append(error)
            row = _refused(where, error, source)
        except Exception as error:  # a fault of ours in one file must not hide the others
            _logger.error("planning %s failed", ascii(where), exc_info=error)
            fault = ConverterError(
                "The converter itself failed on this file",
                code="DP899",
                where=where,
                found=ascii(f"{type(error).__name__}: {error}")[1:300],
                expected="a verdict",
                next_step="report the error above",
            )
            errors.append(fault)
            row = _refused(where, fault)
        rows.append(row)
    return rows, errors


def _plan(
    where: str,
    source: SourceFile,
    options: MigrationOptions,
    known: KnownModels | None,
    seen: dict[tuple[str, str], str],
) -> PlanRow:
    plan = plan_model(source, options)
    symbol = plan.name.symbol
    twin = seen.setdefault((source.sha256, symbol), where)
    if twin != where:
        return PlanRow(path=where, status="skipped", reason=f"the same bytes as {twin}")
    for model in () if known is None else known.of_source(source.sha256):
        standing, why = (
            known.standing(model.stem) if known is not None and model.symbol == symbol else ("", "")
        )
        if standing == "valid":
            return PlanRow(path=where, status="skipped", reason=f"already in the store as {model.stem}")
        if standing == "withdrawn":
            reason = f"{model.stem} was withdrawn: {why}"
            return PlanRow(path=where, status="skipped", reason=reason, code="DP842")
    return PlanRow(
        path=where,
        status="would convert",
        symbol=symbol,
        family=plan.family,
        tier=plan.tier,
        writer=dict(plan.vetted.writer),
    )


def _refused(where: str, error: SecurityError, source: SourceFile | None = None) -> PlanRow:
    writer: dict[str, str] = {}
    if source is not None and not isinstance(error, GateRefusedError):
        writer = dict(scan(source.data).writer)
    needs = None
    if isinstance(error, EnvironmentMissingError):
        needs = ", ".join(f"{name} {writer[name]}" for name in _VERSIONED if name in writer) or None
    return PlanRow(
        path=where,
        status="refused",
        reason=reason_of(error),
        code=error.code,
        hint=error.next_step or None,
        needs=needs,
        writer=writer,
    )
