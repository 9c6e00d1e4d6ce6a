# SPDX-License-Identifier: Apache-2.0
"""Names of artefacts: ``<SYMBOL>_<purpose>_v<version>_<UTC time>``, from the package, else from the file name.

Text of a legacy file is hostile: only characters that a store admits survive, and a name that is nothing but
others is refused rather than guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import ConverterError

__all__ = ["ArtefactName", "name_artefact", "parse_training_date"]

_FILE_SYMBOL = re.compile(r"(?:DEMO_)?[A-Z][A-Z0-9]{1,15}")
_STAMP = re.compile(r"(?<![0-9])(20\d{6})(?:_(\d{6}))?(?![0-9])")
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,31}")

MAX_STEM = 112
"""Characters; with the longest suffix, ``.conversion.json``, still within the store's 128."""


@dataclass(frozen=True)
class ArtefactName:
    """The parts of an artefact's name."""

    symbol: str
    purpose: str
    version: str
    created: datetime

    @property
    def model_name(self) -> str:
        """``<SYMBOL>_<purpose>``."""
        return f"{self.symbol}_{self.purpose}"

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return f"{self.model_name}_v{self.version}_{self.created:%Y%m%d_%H%M%S}"


def parse_training_date(text: str | None, file_name: str) -> datetime | None:
    """When the model was trained: the package's own word, else the stamp in its file name, else None."""
    if text:
        try:
            parsed = datetime.fromisoformat(text.strip())
        except ValueError:
            parsed = None
        if parsed is not None:
            return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
        stamp = _STAMP.fullmatch(text.strip())
    else:
        stamp = None
    stamp = stamp or _STAMP.search(file_name)
    if stamp is None:
        return None
    try:
        return datetime.strptime(stamp[1] + (stamp[2] or "000000"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def name_artefact(
    *,
    file_name: str,
    package_symbol: str | None,
    package_name: str | None,
    package_version: str | None,
    training_date: datetime | None,
    created: datetime,
    symbol: str | None = None,
) -> ArtefactName:
    """Name the artefact that a legacy file becomes.

    Args:
        file_name: name of the legacy file, without its folder.
        package_symbol: the package's own symbol, if it has one.
        package_name: the package's own name for the model, if it has one.
        package_version: the package's own version, if it has one.
        training_date: see `parse_training_date`.
        created: the time of this conversion.
        symbol: what the operator gave with ``--symbol``; it wins.

    Raises:
        ConverterError: DP810 where no symbol can be told.
    """
    stem = file_name.split(".", 1)[0]
    parts = [part for part in _STAMP.sub("", stem).split("_") if part]
    chosen = symbol or package_symbol or None
    if chosen is not None:
        chosen = _UNSAFE.sub("", chosen) if not chosen.startswith("DEMO_") else chosen
        chosen = chosen.upper()
    elif parts and parts[0] == "DEMO" and len(parts) > 1:
        chosen = f"DEMO_{parts[1]}"
    elif parts:
        chosen = parts[0]
    if chosen is None or not _FILE_SYMBOL.fullmatch(chosen):
        raise ConverterError(
            "The symbol of this model cannot be told",
            code="DP810",
            where=file_name,
            found="neither a `symbol` in the package nor a file name that begins with one",
            expected="for example EURUSD_ml_package_20250108_120000.pkl",
            next_step=f"depickle migrate --symbol SYMBOL {file_name}",
        )
    rest = parts[len(chosen.split("_")) :] if "_".join(parts).upper().startswith(chosen) else parts
    purpose_text = _UNSAFE.sub("_", package_name or "_".join(rest)).strip("_")
    purpose = purpose_text.removeprefix(f"{chosen}_") or "model"
    if package_version and _VERSION.fullmatch(package_version):
        number = package_version.removeprefix("v")
    else:
        number = f"{training_date or created:%Y%m%d}.1.0"
    room = MAX_STEM - len(f"{chosen}__v{number}_20250108_120000_12345678")
    return ArtefactName(symbol=chosen, purpose=purpose[: max(room, 8)], version=number, created=created)
