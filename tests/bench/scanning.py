# SPDX-License-Identifier: Apache-2.0
"""The gate's scan against picklescan's, file by file, both warm and in this process."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

from depickle.commands.scan import scan_file
from examples.legacy_estate.build import FILES
from examples.legacy_estate.cache import cached_estate, estate_manifest

from .timing import print_table, seconds_per_call

__all__ = ["bench_scan"]

_NOT_OPENED = "saw nothing"
"""It looks at the compressed bytes of joblib files as they are, and reports them like clean ones."""


def _verdict_of_picklescan(path: Path) -> str:
    from picklescan.scanner import scan_file_path

    result = scan_file_path(str(path))
    if result.scan_err:
        return "error"
    if not result.globals:
        return _NOT_OPENED
    return "unsafe" if result.infected_files else "safe"


def bench_scan() -> None:
    """Time per file, and what each of the two said."""
    logging.disable(logging.CRITICAL)  # picklescan logs every finding
    estate = cached_estate()
    rows = []
    for entry in sorted(estate_manifest(estate), key=lambda entry: entry["kind"]):
        path = estate / FILES / entry["file"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ours, theirs = scan_file(path).verdict, _verdict_of_picklescan(path)
            mine = seconds_per_call(lambda p=path: scan_file(p), budget=0.2)
            other = seconds_per_call(lambda p=path: _verdict_of_picklescan(p), budget=0.2)
        size = f"{entry['size'] / 1024:.0f}"
        ratio = "" if theirs == _NOT_OPENED else f"{mine / other:.1f}"
        cells = [f"{mine * 1e3:.2f}", f"{other * 1e3:.2f}", ratio, str(ours), theirs]
        rows.append([f"{entry['kind']:8.8s} {entry['description'][:60]}", size, *cells])
    logging.disable(logging.NOTSET)
    print_table(
        "Scanning a file",
        ["", "KB", "depickle, ms", "picklescan, ms", "ratio", "depickle", "picklescan"],
        rows,
    )
