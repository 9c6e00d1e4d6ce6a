# SPDX-License-Identifier: Apache-2.0
"""`depickle migrate`: legacy pickles to a signed store of ONNX and skops, nothing lost on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from depickle_runtime.errors import ConfigurationError, SecurityError
from depickle_runtime.trust import configure_trust

from ..batch import BatchResult, migrate_folder
from ..folder_plan import plan_folder
from ..labels import parse_label_map
from ..pickles import extended_policy
from ..planning import MigrationOptions
from ..reference_rows import read_reference_rows
from ..reports.migration import (
    MigrationRow,
    as_json_lines,
    as_text,
    plan_as_json,
    plan_as_text,
)
from ..store_access import KnownModels, PublishingStore, admitted_tiers
from ._common import (
    Exit,
    check_output,
    exit_code_of,
    exit_zero_option,
    finish,
    format_option,
    models_dir_option,
    models_dir_or_default,
    most_severe,
    output_option,
    refusals_to_exit_codes,
    show_refusal,
    talk,
    write_answer,
)
from .allow import gate_policy_option, read_gate_policies
from .verify import run_verify

__all__ = ["command"]


@click.command("migrate")
@models_dir_option
@click.option("--plan", is_flag=True, help="Say what would become of each file, and change nothing.")
@click.option("--verify-only", is_flag=True, help="Verify the store instead; the same as `depickle verify`.")
@click.option("--no-backup", is_flag=True, help="Make no backup; the originals then stay where they are.")
@click.option("--authorized-by", metavar="WHO", help="Who authorised this; written into the metadata.")
@click.option(
    "--reference-rows",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Your own rows to compare the models on: .csv, .npz or .parquet.",
)
@click.option(
    "--accept", type=click.Choice(["sampled"]), multiple=True, help="Publish models of this tier too."
)
@gate_policy_option
@click.option("--symbol", help="Symbol of the models, where neither package nor file name has one.")
@click.option("--label-map", metavar="MAP", help="Meaning of labels, for example 0=sell,1=wait,2=buy.")
@format_option("text", "json")
@output_option
@exit_zero_option
@refusals_to_exit_codes
def command(
    models_dir: Path | None,
    plan: bool,
    verify_only: bool,
    no_backup: bool,
    authorized_by: str | None,
    reference_rows: Path | None,
    accept: tuple[str, ...],
    gate_policies: tuple[Path, ...],
    symbol: str | None,
    label_map: str | None,
    output_format: str,
    output: Path | None,
    exit_zero: bool,
) -> None:
    """Convert every legacy model in the models directory, prove the result, sign it, and publish it.

    Each file is read as data and gated, converted to ONNX and skops, compared with the original on its own splits
    and on your rows, and only then published, all under one new release. Originals are copied to a backup first
    and leave the directory last; files that were migrated before are skipped. Publishing needs ML_SIGNING_KEY with
    ML_TRUST_POLICY, or MODEL_SECRET_KEY.

    Exits with the most severe of its models: 12 verification, 10 refused by the gate, 11 parity, 1 failed, 0 done;
    3 where there is nothing to do.
    """
    folder = models_dir_or_default(models_dir)
    check_output(output)
    if verify_only:
        run_verify(folder, output_format, output, exit_zero=exit_zero)
    if not folder.is_dir():
        raise ConfigurationError(
            "There is no models directory",
            code="DP932",
            where=str(folder),
            found="no such folder",
            expected="the folder that holds the legacy models",
            next_step="depickle migrate --models-dir DIR",
        )
    options = MigrationOptions(
        created=datetime.now(UTC).replace(microsecond=0),
        symbol=symbol,
        label_map=None if label_map is None else parse_label_map(label_map),
        authorized_by=authorized_by,
        accept=frozenset(accept),
        gate_policy=extended_policy(*read_gate_policies(gate_policies)) if gate_policies else None,
        reference=None if reference_rows is None else read_reference_rows(reference_rows),
    )
    if plan:
        _plan(folder, options, output_format, output, exit_zero=exit_zero)
    store = PublishingStore(folder, created=options.created)
    options = _with_tiers(options, store.admitted_tiers)
    signal.signal(signal.SIGTERM, _interrupt)
    result = migrate_folder(folder, options, store, backup=not no_backup, progress=_progress, say=talk)
    render = as_json_lines if output_format == "json" else as_text
    write_answer(render(result.rows, result.release), output)
    _end(result, no_backup=no_backup, exit_zero=exit_zero)


def _with_tiers(options: MigrationOptions, admitted: frozenset[str]) -> MigrationOptions:
    """The options with what the trusting side loads.

    Raises:
        ConfigurationError: DP935, a tier is asked for that no trading host would load.
    """
    beyond = sorted(options.accept - admitted)
    if beyond:
        raise ConfigurationError(
            "The trust policy does not admit the tier that --accept names",
            code="DP935",
            where="--accept",
            found=", ".join(beyond),
            expected=f"one of {', '.join(sorted(admitted))}",
            next_step=f'add "{beyond[0]}" to admitted_tiers of the policy file that ML_TRUST_POLICY names',
        )
    return replace(options, admitted=admitted)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a run as SIGINT does: workers stopped, rows printed."""
    raise KeyboardInterrupt


def _end(result: BatchResult, *, no_backup: bool, exit_zero: bool) -> NoReturn:
    if result.fault is not None:
        show_refusal(result.fault)
    if result.backup is not None:
        talk(f"originals are in {result.backup}; remove it once you are satisfied")
    if no_backup and result.release is not None:
        talk("no backup was made, so the originals stay in the models directory; a later run skips them")
    if not result.errors and result.release is None and not result.taken_out:
        talk("nothing to do: no legacy file that is not in the store already")
        finish(Exit.NOTHING_TO_DO, exit_zero=exit_zero)
    finish(_batch_code(result.errors), exit_zero=exit_zero)


def _batch_code(errors: Sequence[SecurityError]) -> Exit:
    return most_severe([exit_code_of(error) for error in errors])


def _progress(row: MigrationRow) -> None:
    talk(f"{row.status:<10} {Path(row.path).name}  {row.seconds:.2f} s")


def _plan(
    folder: Path, options: MigrationOptions, output_format: str, output: Path | None, *, exit_zero: bool
) -> NoReturn:
    known = None
    if {"ML_TRUST_POLICY", "MODEL_SECRET_KEY"} & set(os.environ):
        options = _with_tiers(
            options,
            admitted_tiers(configure_trust(trust_policy=None, secret_key=None, environ=os.environ)),
        )
        known = KnownModels(folder)
    else:
        options = replace(options, admitted=options.admitted | options.accept)
        talk("neither ML_TRUST_POLICY nor MODEL_SECRET_KEY is set, so the plan knows nothing of the store")
    rows, errors = plan_folder(folder, options, known)
    write_answer(plan_as_json(rows) if output_format == "json" else plan_as_text(rows), output)
    if not rows:
        talk("nothing to do: no legacy files in the models directory")
        finish(Exit.NOTHING_TO_DO, exit_zero=exit_zero)
    finish(_batch_code(errors), exit_zero=exit_zero)
