# SPDX-License-Identifier: Apache-2.0
"""README and guide say what the program does: help texts word for word, commands and calls that exist.

Checked in every Markdown file given (README.md and docs/guide.md by default):

* a fenced block whose first line is ``$ depickle … --help`` holds exactly what that command prints
* every other line that calls `depickle` names a command, and options, that exist
* every Python block parses, imports names that exist, and calls them with arguments that they take

``python scripts/check_readme.py --write`` renews the help texts in place.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from depickle.commands import main as depickle

_ROOT = Path(__file__).resolve().parents[1]
_DEFAULT = ("README.md", "docs/guide.md")
_WIDTH = 100
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_HELP = re.compile(r"\A\$ depickle(?P<arguments>[ \w-]*) --help\n")
_ENTRY_POINTS = {
    "scripts/migrate_models_to_secure.py": ["migrate"],
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a Markdown file."""

    language: str
    body: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of `text`, with the line on which each begins."""
    for match in _FENCE.finditer(text):
        yield Block(match["language"], match["body"], text.count("\n", 0, match.start()) + 1)


def help_text(arguments: list[str]) -> str:
    """What ``depickle ARGUMENTS --help`` prints."""
    result = CliRunner().invoke(depickle, [*arguments, "--help"], prog_name="depickle", terminal_width=_WIDTH)
    return result.output if result.exit_code == 0 else f"exit code {result.exit_code}\n{result.output}"


def renew_help(text: str) -> str:
    """`text` with every help block as it should be."""

    def renewed(match: re.Match[str]) -> str:
        head = _HELP.match(match["body"])
        if head is None:
            return match[0]
        return f"```{match['language']}\n{head[0]}{help_text(head['arguments'].split())}```"

    return _FENCE.sub(renewed, text)


def command_faults(line: str) -> Iterator[str]:
    """What is wrong with one line of a shell block, if it calls the program at all."""
    try:
        words = shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError as error:
        yield f"cannot be read: {error}"
        return
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    if words[:1] == ["depickle"]:
        words = words[1:]
    elif len(words) > 1 and words[1] in _ENTRY_POINTS:
        words = _ENTRY_POINTS[words[1]] + words[2:]
    else:
        return
    command: click.Command = depickle
    # With its own settings: click remembers the help option of the first context that asks for it.
    context = click.Context(command, info_name="depickle", **command.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        if found is None:
            yield f"no command {name}"
            return
        command = found
        context = click.Context(command, info_name=name, parent=context)
    known = {
        flag
        for parameter in command.get_params(context)
        for flag in [*parameter.opts, *parameter.secondary_opts]
    }
    for word in words:
        if word.startswith("-") and word.split("=")[0] not in known:
            yield f"{command.name} has no option {word}"


def python_faults(source: str) -> Iterator[str]:
    """What is wrong with a Python block: syntax, imports, arguments."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        yield f"does not parse: {error}"
        return
    imported: dict[str, Any] = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0].startswith("depickle")
        ):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if hasattr(module, alias.name):
                    imported[alias.asname or alias.name] = getattr(module, alias.name)
                else:
                    yield f"{node.module} has no {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in imported:
            yield from _call_faults(node, imported[node.func.id])


def _call_faults(call: ast.Call, function: Callable[..., Any]) -> Iterator[str]:
    keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    try:
        inspect.signature(function).bind(*[None] * len(call.args), **keywords)
    except TypeError as error:
        yield f"{ast.unparse(call.func)}: {error}"


def faults(text: str) -> Iterator[tuple[int, str]]:
    """Line and fault, for everything in `text` that is out of step."""
    for block in blocks(text):
        head = _HELP.match(block.body)
        if head is not None:
            if block.body != head[0] + help_text(head["arguments"].split()):
                yield block.line, f"{head[0].strip()} prints another text; renew it with --write"
        elif block.language in {"bash", "console", "sh"}:
            for offset, line in enumerate(block.body.replace("\\\n", " ").splitlines()):
                yield from ((block.line + 1 + offset, fault) for fault in command_faults(line))
        elif block.language == "python":
            yield from ((block.line, fault) for fault in python_faults(block.body))


def main(arguments: list[str] | None = None) -> int:
    """Checks the files, or renews their help texts; 1 if anything is out of step."""
    parser = argparse.ArgumentParser(description="Check that README and guide say what the program does.")
    parser.add_argument("files", nargs="*", type=Path, default=[_ROOT / name for name in _DEFAULT])
    parser.add_argument("--write", action="store_true", help="renew the help texts in place")
    options = parser.parse_args(arguments)
    count = 0
    for path in options.files:
        text = path.read_text(encoding="utf-8")
        if options.write:
            text = renew_help(text)
            path.write_text(text, encoding="utf-8")
        for line, fault in faults(text):
            count += 1
            print(f"{path.name}:{line}: {fault}")
    print(f"{count} faults" if count else "README and guide are in step", file=sys.stderr)
    return int(count > 0)


if __name__ == "__main__":
    raise SystemExit(main())
