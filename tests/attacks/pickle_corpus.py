# SPDX-License-Identifier: Apache-2.0
"""Builds the hostile legacy files: ``python -m tests.attacks.pickle_corpus --out FOLDER``.

No file is checked in; each is built from an entry that says what it does, which published bypass it is, what a plain
load of it does, and which rule has to refuse it. ``index.json`` beside the files repeats that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

from .corpus import (
    boosters,
    callables,
    files,
    lengths,
    numpy_lies,
    parts,
    reexports,
    roles,
    states,
    streams,
    structures,
)
from .corpus.kit import Entry

__all__ = ["INDEX", "MARKERS", "build", "corpus", "marker_of"]

INDEX = "index.json"
MARKERS = "markers"
_CLASSES = (
    callables,
    reexports,
    streams,
    lengths,
    states,
    roles,
    numpy_lies,
    files,
    structures,
    parts,
    boosters,
)


def corpus() -> list[Entry]:
    """Every entry, in a fixed order."""
    return [entry for module in _CLASSES for entry in module.entries()]


def marker_of(folder: Path, entry: Entry) -> Path:
    """Where the payload of `entry` would leave its mark."""
    return folder / MARKERS / entry.name


def build(folder: Path) -> list[Entry]:
    """Writes every file below `folder`, and the index.

    Args:
        folder: created where absent; its ``markers`` folder stays empty unless a payload runs.

    Returns:
        The entries, in the order of the index.
    """
    folder = folder.resolve()
    (folder / MARKERS).mkdir(parents=True, exist_ok=True)
    rows = []
    entries = corpus()
    for entry in entries:
        marker = marker_of(folder, entry)
        data = entry.build(marker)
        (folder / f"{entry.name}.pkl").write_bytes(data)
        rows.append(
            {
                "file": f"{entry.name}.pkl",
                "technique": entry.technique,
                "rule": entry.rule,
                "effect": entry.effect,
                "advisory": entry.advisory,
                "probe": entry.probe and entry.probe.replace("{marker!r}", repr(str(marker))),
                "loader": entry.loader,
                "refused_by": entry.refused_by,
                "marker": str(marker),
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    (folder / INDEX).write_text(
        json.dumps({"schema_version": 1, "files": rows}, indent=1) + "\n", encoding="utf-8"
    )
    return entries


def main(argv: list[str] | None = None) -> int:
    """Builds the corpus and prints how many files each class and effect has."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    entries = build(parser.parse_args(argv).out)
    print(f"{len(entries)} files")
    for title, counts in (
        ("class", Counter(entry.name.partition("-")[0] for entry in entries)),
        ("effect", Counter(entry.effect for entry in entries)),
    ):
        print(f"by {title}: " + ", ".join(f"{key} {number}" for key, number in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
