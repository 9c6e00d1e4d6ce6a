# SPDX-License-Identifier: Apache-2.0
"""Writes the estate and its manifest: every file with its digest and what must become of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .containers import write
from .engineers import homes
from .honest import HONEST, Spec, build_package
from .hostile import HOSTILE

__all__ = ["FILES", "MANIFEST", "MARKERS", "build_estate"]

FILES = "models"
"""Folder of the estate that holds the legacy files and nothing else, as ``models/`` of a trading system."""
MANIFEST = "manifest.json"
MARKERS = "markers"
"""Folder where the payloads of hostile files would leave a file each; it stays empty."""

_FOREIGN_VERSION = b"1.7.2"
_FOREIGN_NAME = "EURUSD_ml_package_20231120_093000.pkl"
_CARRIER = HONEST[-1]
"""Whose package the hostile files are built around: a small one."""


def build_estate(out: Path, *, quick: bool = False, say: Callable[[str], None] = lambda line: None) -> Path:
    """Writes the estate below `out`, which must be empty or absent.

    Args:
        out: gets ``models/``, ``markers/`` and ``manifest.json``.
        quick: only the honest models marked for it; the hostile files are always all there.
        say: is told of every file written.

    Returns:
        The path of the manifest.

    Raises:
        FileExistsError: if `out` holds anything.
    """
    out = out.resolve()
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    for folder in (out / FILES, out / MARKERS):
        folder.mkdir(parents=True)
    entries: list[dict[str, Any]] = []

    def add(name: str, data: bytes, entry: dict[str, Any]) -> None:
        (out / FILES / name).write_bytes(data)
        entries.append({"file": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **entry})
        say(f"{name:45s} {len(data):>9,d} bytes  {entry['description']}")

    with homes():
        for spec in HONEST:
            if spec.quick or not quick:
                add(spec.file_name, write(build_package(spec), spec.form), _honest_entry(spec))
        carrier = build_package(_CARRIER)
        add(_FOREIGN_NAME, _with_foreign_version(carrier), _foreign_entry())
        for attack in HOSTILE:
            marker = out / MARKERS / f"{Path(attack.file_name).stem}.touched"
            entry = {
                "kind": "hostile",
                "description": attack.technique,
                # Loading crooked numbers does nothing yet, so a scan of what loading does may let them pass.
                "scan": None if attack.rule_class == "structure" else "refused",
                "migrate": "refused",
                "rule_class": attack.rule_class,
                "fires": attack.fires,
                "loader": attack.loader,
                "marker": None if attack.fires == "never" else str(marker),
            }
            add(attack.file_name, attack.build(dict(carrier), marker), entry)
    manifest = out / MANIFEST
    text = json.dumps(
        {"schema_version": 1, "quick": quick, "versions": _versions(), "files": entries}, indent=1
    )
    manifest.write_text(text + "\n", encoding="utf-8")
    return manifest


def _honest_entry(spec: Spec) -> dict[str, Any]:
    steps = " + ".join([*spec.scalers, spec.family])
    return {
        "kind": "honest",
        "description": f"{steps}, {spec.labels}, {spec.form}" + ("" if spec.engineer else ", bare pipeline"),
        "scan": "accepted",
        "migrate": "converted",
        "symbol": spec.symbol,
        "family": spec.family,
        "steps": list(spec.scalers),
        "labels": spec.labels,
        "container": spec.form,
        "package": spec.engineer is not None,
    }


def _foreign_entry() -> dict[str, Any]:
    return {
        "kind": "foreign-version",
        "description": f"states scikit-learn {_FOREIGN_VERSION.decode()}, for which no worker is at hand",
        "scan": None,
        "migrate": "refused",
        "rule_class": "version",
    }


def _with_foreign_version(package: dict[str, Any]) -> bytes:
    """The package as if another scikit-learn had written it: only the versions stated differ."""
    import sklearn

    here = sklearn.__version__.encode()
    data = write(package, "pickle4")
    if len(here) != len(_FOREIGN_VERSION) or here not in data:
        raise LookupError(f"cannot put {_FOREIGN_VERSION.decode()} in the place of {here.decode()}")
    return data.replace(here, _FOREIGN_VERSION)


def _versions() -> dict[str, str]:
    import importlib.metadata

    names = ("numpy", "scikit-learn", "lightgbm", "xgboost", "joblib", "backtesting")
    return {name: importlib.metadata.version(name) for name in names}
