# SPDX-License-Identifier: Apache-2.0
"""What every subcommand shares: exit codes, where answers and talk go, and how a refusal is shown."""

from __future__ import annotations

import enum
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import click

from depickle_runtime.errors import ConfigurationError, SecurityError, VerificationError

from ..errors import ConverterError, GateRefusedError, ParityError
from ..reports.escape import escape

__all__ = [
    "Exit",
    "exit_code_of",
    "exit_zero_option",
    "finish",
    "format_option",
    "models_dir_option",
    "output_option",
    "refusals_to_exit_codes",
    "talk",
    "write_answer",
]

P = ParamSpec("P")
R = TypeVar("R")


class Exit(enum.IntEnum):
    """Exit codes; the same whatever the format."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOTHING_TO_DO = 3
    GATE_REFUSED = 10
    PARITY = 11
    VERIFICATION = 12


SEVERITY_ORDER = (Exit.VERIFICATION, Exit.GATE_REFUSED, Exit.PARITY, Exit.FAILED, Exit.NOTHING_TO_DO, Exit.OK)
"""A batch exits with the most severe of its models, in this order."""


def most_severe(codes: list[Exit]) -> Exit:
    """The exit code of a batch."""
    return next((code for code in SEVERITY_ORDER if code in codes), Exit.OK)


def exit_code_of(error: SecurityError) -> Exit:
    """The exit code that a refusal stands for."""
    match error:
        case GateRefusedError():
            return Exit.GATE_REFUSED
        case ParityError():
            return Exit.PARITY
        case VerificationError():
            return Exit.VERIFICATION
        case ConfigurationError():
            return Exit.USAGE
        case ConverterError():
            return Exit.FAILED
        case _:
            return Exit.FAILED


def _no_color() -> bool:
    return bool(os.environ.get("NO_COLOR"))


def style(text: str, **how: object) -> str:
    """`text` styled, unless NO_COLOR is set."""
    return text if _no_color() else click.style(text, **how)  # type: ignore[arg-type]  # click's own keywords


def talk(text: str) -> None:
    """Say something to the person: standard error, silenced by --quiet."""
    context = click.get_current_context(silent=True)
    if context is not None and context.find_root().params.get("quiet"):
        return
    click.echo(text, err=True)


def write_answer(text: str, output: Path | None) -> None:
    """Write the answer to `output`, or to standard output."""
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            "The report cannot be written",
            code="DP930",
            where=str(output),
            found=error.strerror or type(error).__name__,
            next_step="choose another path for --output",
        ) from error


def finish(code: Exit, *, exit_zero: bool = False) -> NoReturn:
    """End the process with `code`, or with 0 where the caller reads the report instead."""
    sys.exit(0 if exit_zero else int(code))


def refusals_to_exit_codes(command: Callable[P, R]) -> Callable[P, R]:
    """Show a refusal as its diagnostics on standard error, and exit with its code."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except SecurityError as error:
            for line in error.diagnostics().splitlines():
                click.echo(escape(line, limit=2_000), err=True)
            sys.exit(int(exit_code_of(error)))

    return wrapper


def format_option(*formats: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """``--format``, the first being the default."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="Form of the answer on standard output.",
    )


models_dir_option = click.option(
    "--models-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The models directory.  [default: $ML_MODELS_DIR, else models]",
)

output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write the answer to this file instead of standard output.",
)

exit_zero_option = click.option(
    "--exit-zero", is_flag=True, help="Exit 0 whatever was found, for pipelines that read the report."
)


def models_dir_or_default(models_dir: Path | None) -> Path:
    """The models directory: the option, else ML_MODELS_DIR, else ``models``."""
    return models_dir if models_dir is not None else Path(os.environ.get("ML_MODELS_DIR") or "models")
