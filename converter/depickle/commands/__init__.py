# SPDX-License-Identifier: Apache-2.0
"""The command `depickle`: one module per subcommand, loaded when it is asked for."""

from __future__ import annotations

import importlib
import io
import sys
from importlib.metadata import version

import click

__all__ = ["main"]

_COMMANDS = (
    "scan",
    "migrate",
    "verify",
    "inspect",
    "keys",
    "release",
    "audit",
    "env",
    "allow",
    "explain",
)


class _LazyGroup(click.Group):
    """Imports a subcommand's module only when it is used: `depickle scan` must not wait for onnx."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the journey."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, or None where there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f".{cmd_name}", __package__)
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.command is not a click command")
        return command


@click.command(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("-q", "--quiet", is_flag=True, help="Print the answer only.")
@click.version_option(version("depickle"), prog_name="depickle")
def main(quiet: bool) -> None:
    """Turn legacy model pickles into ONNX and skops, prove that they answer the same, and sign them.

    The answer goes to standard output, talk to standard error. Exit codes: 0 done and clean, 1 the tool failed,
    2 usage, 3 nothing to do, 10 refused by the gate, 11 parity not reached, 12 verification failed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows its escape
            stream.reconfigure(errors="backslashreplace")
