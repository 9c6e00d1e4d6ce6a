# SPDX-License-Identifier: Apache-2.0
"""`depickle allow`: turns the gate's refusals of unknown names into policy entries for a reviewer."""

from __future__ import annotations

from pathlib import Path

import click

from depickle_runtime.errors import ConfigurationError, SecurityError

from ..pickles import GlobalEntry, PolicyFile, parse_policy_file, scan
from ..pickles.findings import Finding
from ..pickles.policy import Role, encode_policy_file
from ..sources import read_source
from ._common import Exit, check_output, finish, output_option, refusals_to_exit_codes, talk, write_answer

__all__ = ["command", "gate_policy_option", "read_gate_policies"]

_ROLES: dict[str, Role] = {
    "DP421": "called",
    "DP423": "created",
    "DP425": "data",
    "DP428": "created",
    "DP429": "created",
}
"""What a stream does with the name, by the rule that refused it. Dangerous callables (DP420) are never proposed."""


gate_policy_option = click.option(
    "--gate-policy",
    "gate_policies",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A reviewed policy file that admits more names; see `depickle allow`.",
)


@click.command("allow")
@click.option(
    "--propose",
    "file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The refused file whose unknown names to propose.",
)
@output_option
@refusals_to_exit_codes
def command(file: Path, output: Path | None) -> None:
    """Write a policy file with the names that made the gate refuse FILE, for a person to review.

    Nothing is admitted by this command. Read every entry, strike out what you do not know, and hand the file to
    `depickle scan --gate-policy` and `depickle migrate --gate-policy`. Names that can run code are left out and
    cannot be admitted. Exits 3 if there is nothing to propose.
    """
    check_output(output)
    findings = scan(read_source(file).data).findings
    entries, never = _entries(findings)
    for line in never:
        talk(f"left out: {line}")
    others = sorted(
        {finding.rule for finding in findings if finding.rule not in _ROLES and finding.reached is None}
    )
    if others:
        talk(f"no policy lifts these rules: {', '.join(others)}")
    if not entries:
        talk("nothing to propose")
        finish(Exit.NOTHING_TO_DO)
    policy = PolicyFile(
        schema_version=1, family=f"user-{file.name.split('.')[0]}"[:64], versions={}, globals=tuple(entries)
    )
    write_answer(encode_policy_file(policy).decode().rstrip("\n"), output)
    talk(
        f"{len(entries)} entries to review; an entry lets that name into the worker that answers for the model"
    )


def _entries(findings: tuple[Finding, ...]) -> tuple[list[GlobalEntry], list[str]]:
    """Entries that a policy may hold, and why the others may not."""
    roles: dict[tuple[str, str], set[Role]] = {}
    never: list[str] = []
    for finding in findings:
        if finding.reached is None:
            continue
        role = _ROLES.get(finding.rule)
        if role is None:
            never.append(f"{finding.reached} ({finding.rule}: {finding.message})")
            continue
        module, _, name = finding.reached.rpartition(".")
        roles.setdefault((module, name), set()).add(role)
    entries = []
    for (module, name), found in sorted(roles.items()):
        entry = GlobalEntry(module=module, name=name, roles=tuple(sorted(found)))
        try:
            parse_policy_file(encode_policy_file(PolicyFile(1, "user", {}, (entry,))))
        except SecurityError as error:
            never.append(f"{module}.{name} ({error})")
            continue
        entries.append(entry)
    return entries, never


def read_gate_policies(paths: tuple[Path, ...]) -> tuple[PolicyFile, ...]:
    """The user's policy files of ``--gate-policy``.

    Raises:
        ConfigurationError: DP933 where a file cannot be read; DP920 and its kin where it is no policy.
    """
    files = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                "A gate policy cannot be read",
                code="DP933",
                where=str(path),
                found=error.strerror or type(error).__name__,
                expected="a file that `depickle allow --propose` wrote",
            ) from error
        files.append(parse_policy_file(data, where=str(path)))
    return tuple(files)
