# SPDX-License-Identifier: Apache-2.0
"""`depickle explain`: what a rule or an error code means, and what to do about it."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import click

from depickle_runtime.errors import ConfigurationError

from ._common import refusals_to_exit_codes, write_answer

__all__ = ["command", "section"]

PAGES = ("rules.md", "errors.md")
_CODE = re.compile(r"DP[1-9][0-9]{2}")


@click.command("explain")
@click.argument("rule")
@refusals_to_exit_codes
def command(rule: str) -> None:
    """Explain RULE, such as DP420: a rule of a gate, or the code of an error."""
    write_answer(section(rule.strip().upper()), None)


def section(code: str) -> str:
    """The section of the documentation about `code`.

    Raises:
        ConfigurationError: DP934 where there is none.
    """
    if _CODE.fullmatch(code):
        for page in PAGES:
            found = re.search(rf"^## {code}\b.*?(?=^## |\Z)", _page(page), re.MULTILINE | re.DOTALL)
            if found:
                return found[0].removeprefix("## ").strip()
    raise ConfigurationError(
        "No such rule or code",
        code="DP934",
        where="depickle explain",
        found=code[:40],
        expected="a code such as DP420, as an error or a finding shows it",
        next_step="docs/rules.md and docs/errors.md list them all",
    )


def _page(name: str) -> str:
    """A page of docs/, from the installed package or from the checkout it runs in."""
    packaged = resources.files("depickle").joinpath("docs", name)
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    checkout = Path(__file__).resolve().parents[3] / "docs" / name
    return checkout.read_text(encoding="utf-8") if checkout.is_file() else ""
