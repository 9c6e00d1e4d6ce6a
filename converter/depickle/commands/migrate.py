# SPDX-License-Identifier: Apache-2.0
"""`depickle migrate`: legacy pickles to a signed store of ONNX and skops, nothing lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from depickle_runtime.errors import ConfigurationError, SecurityError

from ..batch import migrate_folder, plan_folder
from ..labels import parse_label_map
from ..migrate import MigrationOptions
from ..pickles import extended_policy
from ..reference_rows import read_reference_rows
from ..reports.migration import (
    MigrationRow,
    as_json_lines,
    as_text,
    plan_as_json,
    plan_as_text,
)
from ..store_access import PublishingStore
from ._common import (
    Exit,
    exit_code_of,
    exit_zero_option,
    finish,
    format_option,
    models_dir_option,
    models_dir_or_default,
    most_severe,
    output_option,
    refusals_to_exit_codes,
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
    and leave the directory last. Publishing needs ML_SIGNING_KEY with ML_TRUST_POLICY, or MODEL_SECRET_KEY.

    Exits with the most severe of its models: 12 verification, 10 refused by the gate, 11 parity, 1 failed, 0 done;
    3 where there is nothing to do.
    """
    folder = models_dir_or_default(models_dir)
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
    result = migrate_folder(folder, options, store, backup=not no_backup, progress=_progress)
    render = as_json_lines if output_format == "json" else as_text
    write_answer(render(result.rows, result.release), output)
    if result.backup is not None:
        talk(f"originals are in {result.backup}; remove it once you are satisfied")
    if no_backup and result.release is not None:
        talk("no backup was made, so the originals stay in the models directory")
    if not any(row.status == "converted" for row in result.rows) and not result.errors:
        talk("nothing to do: no legacy file that is not in the store already")
        finish(Exit.NOTHING_TO_DO, exit_zero=exit_zero)
    finish(_batch_code(result.errors), exit_zero=exit_zero)


def _batch_code(errors: tuple[SecurityError, ...] | list[SecurityError]) -> Exit:
    return most_severe([exit_code_of(error) for error in errors])


def _progress(row: MigrationRow) -> None:
    talk(f"{row.status:<10} {Path(row.path).name}")


def _plan(
    folder: Path, options: MigrationOptions, output_format: str, output: Path | None, *, exit_zero: bool
) -> None:
    rows, errors = plan_folder(folder, options)
    write_answer(plan_as_json(rows) if output_format == "json" else plan_as_text(rows), output)
    if not rows:
        talk("nothing to do: no legacy files in the models directory")
        finish(Exit.NOTHING_TO_DO, exit_zero=exit_zero)
    finish(_batch_code(errors), exit_zero=exit_zero)
