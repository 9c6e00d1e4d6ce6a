# SPDX-License-Identifier: Apache-2.0
"""`depickle env`: worker environments that hold the library versions which wrote the legacy models."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..environments import WorkerEnvironment, add_environment, list_environments, remove_environment
from ..environments.table import known_specs
from ..environments.worker import running_environment
from ._common import format_option, refusals_to_exit_codes, talk, write_answer

__all__ = ["command"]

SCHEMA_VERSION = 1


@click.group("env")
def command() -> None:
    """Manage environments with the library versions that wrote the models.

    A model answers as it should only in the library version that wrote it, so that is where its reference answers
    come from. Environments are made by uv from shipped locks with hashes, wheels only.
    """


def _line(environment: WorkerEnvironment) -> str:
    libraries = ", ".join(
        f"{name} {number}"
        for name, number in sorted(environment.versions.items())
        if name in ("scikit-learn", "numpy", "lightgbm", "xgboost")
    )
    return f"{environment.name:<10} Python {environment.python_version}  {libraries}"


@command.command("list")
@click.option("--known", is_flag=True, help="List the versions that can be added instead.")
@format_option("text", "json")
@refusals_to_exit_codes
def list_(known: bool, output_format: str) -> None:
    """List the environments at hand, the running interpreter first."""
    if known:
        specs = known_specs()
        if output_format == "json":
            rows = [{"name": spec.name, "versions": spec.versions} for spec in specs]
            answer = {"schema_version": SCHEMA_VERSION, "known": rows}
            write_answer(msgspec.json.format(msgspec.json.encode(answer)).decode(), None)
            return
        lines = [
            f"{spec.name:<10} " + ", ".join(f"{name} {number}" for name, number in spec.versions.items())
            for spec in specs
        ]
        write_answer("\n".join(lines), None)
        return
    environments = (running_environment(), *list_environments())
    if output_format == "json":
        rows = [
            {"name": each.name, "python": each.python_version, "versions": each.versions}
            for each in environments
        ]
        answer = {"schema_version": SCHEMA_VERSION, "environments": rows}
        write_answer(msgspec.json.format(msgspec.json.encode(answer)).decode(), None)
        return
    write_answer("\n".join(_line(environment) for environment in environments), None)


@command.command("add")
@click.argument("version")
@click.option(
    "--offline-folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take the wheels from this folder and from nowhere else.",
)
@refusals_to_exit_codes
def add(version: str, offline_folder: Path | None) -> None:
    """Add the environment of scikit-learn VERSION, such as 1.2.2; `depickle env list --known` lists them."""
    talk(f"installing the environment {version}; every wheel is checked against its hash")
    environment = add_environment(version, offline_folder=offline_folder)
    write_answer(_line(environment), None)


@command.command("remove")
@click.argument("version")
@refusals_to_exit_codes
def remove(version: str) -> None:
    """Remove the environment VERSION."""
    write_answer(f"removed {remove_environment(version)}", None)
