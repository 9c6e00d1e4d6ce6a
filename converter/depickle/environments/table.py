# SPDX-License-Identifier: Apache-2.0
"""The table of environments that this release ships locks for; a version is looked up here by exact match or refused.

A spec such as ``1.2.2`` names a scikit-learn version with the LightGBM and XGBoost of its time; any other locked
pair is spelled ``1.2.2+lightgbm-4.1.0+xgboost-2.0.3``. Every string that leaves this module (a folder name, a
command, a requirement) is a key of the table, never the text that was looked up.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from ..errors import EnvironmentMissingError

__all__ = [
    "BOOSTERS",
    "EnvironmentSpec",
    "known_specs",
    "lock_text",
    "parse_spec",
    "python_version",
    "shown",
    "spec_of",
]

BOOSTERS = ("lightgbm", "xgboost")

#: Characters of a hostile version string that a message may repeat.
_SHOWN_LENGTH = 40


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    packages: dict[str, str]
    lightgbm: str
    xgboost: str


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema_version: int
    python: str
    environments: dict[str, _Row]
    boosters: dict[str, tuple[str, ...]]


class EnvironmentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """Which scikit-learn, LightGBM and XGBoost an environment holds; every value is a key of the table."""

    sklearn: str
    lightgbm: str
    xgboost: str

    @property
    def name(self) -> str:
        """The shortest spelling that `parse_spec` reads back; also the folder's name."""
        row = _table().environments[self.sklearn]
        extras = (
            f"+{library}-{version}"
            for library, version, usual in (
                ("lightgbm", self.lightgbm, row.lightgbm),
                ("xgboost", self.xgboost, row.xgboost),
            )
            if version != usual
        )
        return self.sklearn + "".join(extras)

    @property
    def versions(self) -> dict[str, str]:
        """Every package of the environment with its exact version."""
        return {
            **_table().environments[self.sklearn].packages,
            "lightgbm": self.lightgbm,
            "xgboost": self.xgboost,
        }


@functools.cache
def _table() -> _Table:
    data = (resources.files(__package__) / "table.json").read_bytes()
    return msgspec.json.decode(data, type=_Table)


def shown(text: object) -> str:
    """`text` as a message may repeat it: quoted, printable ASCII, short."""
    written = ascii(text)
    return written if len(written) <= _SHOWN_LENGTH else written[: _SHOWN_LENGTH - 1] + "…"


def python_version() -> str:
    """The Python that every locked environment has wheels for, as ``3.11``."""
    return _table().python


def known_specs() -> tuple[EnvironmentSpec, ...]:
    """The usual environment of every scikit-learn version in the table, oldest first."""
    return tuple(
        EnvironmentSpec(name, row.lightgbm, row.xgboost) for name, row in _table().environments.items()
    )


def spec_of(
    *, sklearn: str, lightgbm: str | None = None, xgboost: str | None = None
) -> EnvironmentSpec | None:
    """The spec with these exact versions, or None where one of them is not in the table.

    Args:
        sklearn: the scikit-learn version.
        lightgbm: the LightGBM version, by default the one of that scikit-learn's time.
        xgboost: likewise for XGBoost.
    """
    table = _table()
    known = {name: name for name in table.environments}.get(sklearn)
    if known is None:
        return None
    chosen = {"lightgbm": table.environments[known].lightgbm, "xgboost": table.environments[known].xgboost}
    for library, version in (("lightgbm", lightgbm), ("xgboost", xgboost)):
        if version is not None:
            row = {name: name for name in table.boosters[library]}.get(version)
            if row is None:
                return None
            chosen[library] = row
    return EnvironmentSpec(known, chosen["lightgbm"], chosen["xgboost"])


def parse_spec(text: str) -> EnvironmentSpec:
    """Read a spec as a person types it, such as ``1.2.2`` or ``1.2.2+xgboost-2.0.3``.

    Raises:
        EnvironmentMissingError: DP523 where it is not a spec, or names a version that no lock holds.
    """
    base, *extras = text.split("+")
    wanted: dict[str, str] = {}
    for extra in extras:
        library, _, version = extra.partition("-")
        if library not in BOOSTERS or library in wanted:
            raise _unknown(text)
        wanted[library] = version
    spec = spec_of(sklearn=base, lightgbm=wanted.get("lightgbm"), xgboost=wanted.get("xgboost"))
    if spec is None:
        raise _unknown(text)
    return spec


def lock_text(spec: EnvironmentSpec) -> str:
    """The requirements of an environment: every package pinned, every wheel by its hashes."""
    folder = resources.files(__package__) / "locks"
    names = (f"scikit-learn-{spec.sklearn}", f"lightgbm-{spec.lightgbm}", f"xgboost-{spec.xgboost}")
    return "".join((folder / f"{name}.txt").read_text(encoding="utf-8") for name in names)


def _unknown(text: str) -> EnvironmentMissingError:
    return EnvironmentMissingError(
        "No shipped lock for this environment",
        code="DP523",
        found=shown(text),
        expected="a scikit-learn version of the table, optionally +lightgbm-VERSION or +xgboost-VERSION: "
        + ", ".join(_table().environments),
        next_step="depickle env list --known",
    )
