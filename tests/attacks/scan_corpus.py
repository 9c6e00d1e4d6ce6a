# SPDX-License-Identifier: Apache-2.0
"""Judges every file of a corpus within 1 GB, and tells of everything that the interpreter audits meanwhile.

``python -m tests.attacks.scan_corpus FOLDER`` prints one JSON line a file and one of what was seen in all. A process
of its own, since neither its memory bound nor its audit hook can be taken back.
"""

from __future__ import annotations

import builtins
import json
import pickle
import resource
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from depickle.errors import ConverterError
from depickle.models import read_model
from depickle.pickles import open_package, scan, vet

ADDRESS_SPACE_BYTES = 1 << 30
"""Of the whole process: interpreter, libraries, the file, and what the gate makes of it."""

_seen: list[str] = []
_imports: set[str] = set()
_armed = False
_real_import = builtins.__import__


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _armed and event != "builtins.id":
        _seen.append(f"{event} {arguments[:2]!r}"[:200])


def _import(name: str, namespace: Any = None, locals_: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    if _armed:
        _imports.add("." * level + name)
    return _real_import(name, namespace, locals_, fromlist, level)


def _warm(folder: Path) -> None:
    """Lets the first use of codecs and decompressors pass, which imports them whatever the file says."""
    value = {"a": [1.0, "é", b"x", None], "b": {1, 2}}
    for protocol in range(6):
        data = pickle.dumps(value, protocol)
        for packed in (data, zlib.compress(data)):
            scan(packed)
    for name in ("pack-lz4", "pack-xz", "pack-bz2", "lightgbm-cut", "xgboost-cut", "linear-nan"):
        path = folder / f"{name}.pkl"
        if path.exists():
            _judge(path.read_bytes())


def _judge(data: bytes) -> dict[str, Any]:
    """The gate's verdict, and where it accepts, the model reader's."""
    result = scan(data)
    row: dict[str, Any] = {
        "verdict": str(result.verdict),
        "rules": [finding.rule for finding in result.findings],
    }
    if row["verdict"] == "accepted":
        try:
            vetted = vet(data)
            read_model(open_package(vetted).estimator, writer=vetted.writer)
        except ConverterError as error:
            row["model"] = error.code
    return row


def peak_bytes() -> int:
    """Peak resident size of this program; unlike ru_maxrss it does not count what the parent held before exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def main(argv: list[str]) -> int:
    """Judges every file of a folder."""
    global _armed
    folder = Path(argv[0])
    rows = json.loads((folder / "index.json").read_bytes())["files"]
    _warm(folder)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    modules = set(sys.modules)
    sys.addaudithook(_audit)
    builtins.__import__ = _import
    for row in rows:
        data = (folder / row["file"]).read_bytes()
        started = time.process_time()
        _armed = True
        try:
            found = _judge(data)
        finally:
            _armed = False
        print(
            json.dumps({"file": row["file"], "seconds": time.process_time() - started, **found}), flush=True
        )
    print(
        json.dumps(
            {
                "events": _seen,
                "imports": sorted(_imports),
                "new_modules": sorted(set(sys.modules) - modules),
                "peak_bytes": peak_bytes(),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
