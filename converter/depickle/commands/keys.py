# SPDX-License-Identifier: Apache-2.0
"""`depickle keys`: a private key to publish with, and the policy that says whom to believe."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import msgspec

from depickle_runtime.trust import Scheme

from ..keys import config_dir, list_keys, new_key
from ._common import format_option, refusals_to_exit_codes, write_answer

__all__ = ["command"]

SCHEMA_VERSION = 1
_SCHEMES: dict[str, Scheme] = {"ecdsa": "ecdsa-sha2-nistp256", "ed25519": "ed25519"}


@click.group("keys")
def command() -> None:
    """Make signing keys, and list the keys that a trust policy believes."""


@command.command("new")
@click.option(
    "--owner", required=True, metavar="NAME", help="Who holds the key; two keys of one owner count once."
)
@click.option(
    "--store-name", default="models", show_default=True, help="Name of the store, for a new policy."
)
@click.option(
    "--key",
    "private_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the private key goes.  [default: NAME.pem in the configuration folder]",
)
@click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The trust policy to add the public half to.  [default: trust-policy.json there]",
)
@click.option(
    "--scheme",
    type=click.Choice(sorted(_SCHEMES)),
    default="ecdsa",
    show_default=True,
    help="ECDSA P-256, which other people's tools verify too, or Ed25519.",
)
@format_option("text", "json")
@refusals_to_exit_codes
def new(
    owner: str,
    store_name: str,
    private_path: Path | None,
    policy_path: Path | None,
    scheme: str,
    output_format: str,
) -> None:
    """Write a new private key and add its public half to a trust policy."""
    made = new_key(
        owner,
        private_path=private_path,
        policy_path=policy_path,
        store_name=store_name,
        scheme=_SCHEMES[scheme],
    )
    if output_format == "json":
        answer = {
            "schema_version": SCHEMA_VERSION,
            "owner": made.owner,
            "keyid": made.keyid,
            "scheme": made.scheme,
            "private_key": str(made.private_path),
            "policy": str(made.policy_path),
        }
        write_answer(msgspec.json.format(msgspec.json.encode(answer)).decode(), None)
        return
    write_answer(
        f"private key  {made.private_path}  (mode 0600; keep it off the trading host)\n"
        f"policy       {made.policy_path}  (deploy it to the trading host)\n"
        f"key id       {made.keyid}\n\n"
        f"export ML_SIGNING_KEY={made.private_path}\n"
        f"export ML_TRUST_POLICY={made.policy_path}",
        None,
    )


@command.command("list")
@click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ML_TRUST_POLICY",
    help="The trust policy.  [default: $ML_TRUST_POLICY, else the one in the configuration folder]",
)
@format_option("text", "json")
@refusals_to_exit_codes
def list_(policy_path: Path | None, output_format: str) -> None:
    """List the keys of a trust policy and whether each is valid now."""
    path = policy_path if policy_path is not None else config_dir() / "trust-policy.json"
    keys = list_keys(path)
    if output_format == "json":
        answer = {"schema_version": SCHEMA_VERSION, "policy": str(path), "keys": keys}
        write_answer(msgspec.json.format(msgspec.json.encode(answer)).decode(), None)
        return
    lines = [
        f"{'valid' if key.valid_now else 'not now':<8} {key.owner}  {cast(str, key.scheme)}  {key.keyid}"
        for key in keys
    ]
    write_answer("\n".join(lines), None)
