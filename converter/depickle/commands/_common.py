# SPDX-License-Identifier: Apache-2.0
"""What every subcommand shares: exit codes, where answers and talk go, and how a refusal is shown."""

from __future__ import annotations

import enum
import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import click

from depickle_runtime.errors import ConfigurationError, SecurityError, VerificationError

from ..errors import ConverterError, GateRefusedError, ParityError
from ..reports.encoding import plain_text
from ..reports.escape import escape

__all__ = [
    "Exit",
    "check_output",
    "exit_code_of",
    "exit_zero_option",
    "finish",
    "format_option",
    "models_dir_option",
    "most_severe",
    "output_option",
    "refusals_to_exit_codes",
    "show_refusal",
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


SEVERITY_ORDER = (
    Exit.VERIFICATION,
    Exit.GATE_REFUSED,
    Exit.PARITY,
    Exit.FAILED,
    Exit.USAGE,
    Exit.NOTHING_TO_DO,
    Exit.OK,
)
"""A batch exits with the most severe of its models, in this order."""


def most_severe(codes: Sequence[Exit]) -> Exit:
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


def is_quiet() -> bool:
    """Whether ``--quiet`` was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().params.get("quiet"))


def talk(text: str) -> None:
    """Say something to the person: standard error, silenced by --quiet, one escaped line."""
    if not is_quiet():
        click.echo(escape(text, limit=2_000), err=True)


class TalkingHandler(logging.Handler):
    """Log records as talk, each an escaped line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; under --quiet only what is an error."""
        if is_quiet() and record.levelno < logging.ERROR:
            return
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        click.echo(escape(text, limit=2_000), err=True)
        if record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                click.echo(escape(line, limit=2_000), err=True)


def talk_logs() -> None:
    """Send the log of both packages to standard error, once."""
    for name in ("depickle", "depickle_runtime"):
        logger = logging.getLogger(name)
        if not any(isinstance(handler, TalkingHandler) for handler in logger.handlers):
            logger.addHandler(TalkingHandler(level=logging.WARNING))


def check_output(output: Path | None) -> None:
    """Make sure before any work that the answer can be written.

    Raises:
        ConfigurationError: DP930, it cannot.
    """
    if output is None:
        return
    try:
        with output.open("ab"):
            pass  # opening is the check; a file that exists keeps its content until the answer is there
    except (OSError, ValueError) as error:
        raise _unwritable(output, error) from error


def write_answer(text: str, output: Path | None) -> None:
    """Write the answer to `output`, or to standard output; an answer that cannot be written to one goes to the other.

    Raises:
        ConfigurationError: DP930, `output` cannot be written; the answer was printed instead.
    """
    if output is None:
        click.echo(plain_text(text))
        return
    try:
        output.write_text(plain_text(text) + "\n", encoding="utf-8")
    except OSError as error:
        click.echo(plain_text(text))
        raise _unwritable(output, error) from error


def _unwritable(output: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        "The report cannot be written",
        code="DP930",
        where=str(output),
        found=(error.strerror if isinstance(error, OSError) else None) or type(error).__name__,
        expected="a path that this user can write",
        next_step="choose another path for --output",
    )


def finish(code: Exit, *, exit_zero: bool = False) -> NoReturn:
    """End the process with `code`, or with 0 where the caller reads the report instead."""
    sys.exit(0 if exit_zero else int(code))


def show_refusal(error: SecurityError) -> None:
    """A refusal on standard error: error, where, found, expected, hint, docs; text of a file cannot forge a line."""
    click.echo(escape(f"error[{error.code}]: {error.message}", limit=2_000), err=True)
    for label, text in (
        ("where", error.where),
        ("found", error.found),
        ("expected", error.expected),
        ("hint", error.next_step),
        ("docs", f"docs/errors.md#{error.code.lower()}"),
    ):
        if text:
            click.echo(f"  {label}: {escape(text, limit=2_000)}", err=True)


def refusals_to_exit_codes(command: Callable[P, R]) -> Callable[P, R]:
    """Show a refusal as its diagnostics on standard error, and exit with its code; nothing foreign escapes."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        talk_logs()
        try:
            return command(*args, **kwargs)
        except SecurityError as error:
            fault = error
        except BrokenPipeError:
            raise  # click ends quietly when the reader of the answer has gone
        except OSError as error:
            fault = ConfigurationError(
                "The system refused",
                code="DP936",
                where=str(error.filename or ""),
                found=error.strerror or type(error).__name__,
                expected="a file or folder that this user can use",
                next_step="check the path and its permissions",
            )
        except MemoryError:
            fault = ConverterError(
                "There is not enough memory", code="DP937", next_step="give fewer or smaller files at a time"
            )
        show_refusal(fault)
        sys.exit(int(exit_code_of(fault)))

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
