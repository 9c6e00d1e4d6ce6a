# SPDX-License-Identifier: Apache-2.0
"""What depickle, picklescan, fickling and modelscan say of the same hostile and honest files, in one table.

A peer *flags* a file where it calls it anything worse than safe, *passes* it where it calls it safe, and *errs* where
it gives no answer, one that crashed or ran over its time included. A peer that saw nothing of a file because it does
not know the format is not credited with a refusal: that is an error, too.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Tally", "compare", "table"]

SECONDS = 10
"""Of one answer; a peer that takes longer gives none."""
MEMORY_BYTES = 6 << 30
FLAGGED, PASSED, ERRED = "flagged", "passed", "erred"


@dataclass
class Tally:
    """The answers of one scanner over one set of files."""

    answers: Counter[str] = field(default_factory=Counter)
    live_passed: int = 0
    seconds: float = 0.0


def _depickle(path: Path) -> str:
    from depickle.errors import ConverterError
    from depickle.models import read_model
    from depickle.pickles import Verdict, open_package, scan, vet

    data = path.read_bytes()
    if scan(data).verdict is not Verdict.ACCEPTED:
        return FLAGGED
    try:
        vetted = vet(data)
        read_model(open_package(vetted).estimator, writer=vetted.writer)
    except ConverterError as error:
        # Only a model that does not fit its class counts as refused; one that has no exact form was read in full.
        return PASSED if error.code in ("DP600", "DP609") else FLAGGED
    return PASSED


def _picklescan(path: Path) -> str:
    from picklescan.scanner import SafetyLevel, scan_file_path

    result = scan_file_path(str(path))
    if result.infected_files or any(found.safety == SafetyLevel.Dangerous for found in result.globals):
        return FLAGGED
    if result.scan_err or not result.scanned_files:
        return ERRED
    return FLAGGED if any(found.safety == SafetyLevel.Suspicious for found in result.globals) else PASSED


def _fickling(path: Path) -> str:
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import Pickled

    with path.open("rb") as file:
        severity = check_safety(Pickled.load(file)).severity
    return PASSED if severity <= Severity.LIKELY_SAFE else FLAGGED


def _modelscan(path: Path) -> str:
    from modelscan.modelscan import ModelScan

    result = ModelScan().scan(str(path))
    if result["issues"]:
        return FLAGGED
    if (
        result["errors"]
        or result["summary"]["skipped"]["total_skipped"]
        or not result["summary"]["scanned"]["total_scanned"]
    ):
        return ERRED
    return PASSED


SCANNERS: dict[str, Callable[[Path], str]] = {
    "depickle": _depickle,
    "picklescan": _picklescan,
    "fickling": _fickling,
    "modelscan": _modelscan,
}


def _answers(scan: Callable[[Path], str], paths: list[Path]) -> Iterator[tuple[str, float]]:
    """Asks in a child, which a file may crash or stop; the next file gets a new one."""
    waiting = list(paths)
    while waiting:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            _ask(scan, waiting, write)
        os.close(write)
        with os.fdopen(read) as lines:
            answered = [json.loads(line) for line in lines]
        os.waitpid(child, 0)
        yield from ((answer, seconds) for answer, seconds in answered)
        waiting = waiting[len(answered) :]
        if waiting:  # the child ended on the next file
            yield ERRED, float(SECONDS)
            waiting = waiting[1:]


def _ask(scan: Callable[[Path], str], paths: list[Path], write: int) -> None:
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(1))
    for path in paths:
        signal.alarm(SECONDS)
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                answer = scan(path)
            except BaseException:  # a peer's failure is an answer, too
                answer = ERRED
        signal.alarm(0)
        os.write(write, (json.dumps([answer, time.process_time() - started]) + "\n").encode())
    os._exit(0)


def compare(hostile: list[tuple[Path, bool]], honest: list[Path]) -> dict[str, tuple[Tally, Tally]]:
    """The answers of every scanner.

    Args:
        hostile: files, and whether a plain load of each runs a payload or changes the process.
        honest: files that nothing is wrong with.

    Returns:
        By scanner, the tallies over the hostile and over the honest files.
    """
    found = {}
    for name, scan in SCANNERS.items():
        tallies = Tally(), Tally()
        for tally, paths in zip(tallies, ([path for path, _ in hostile], honest), strict=True):
            for index, (answer, seconds) in enumerate(_answers(scan, paths)):
                tally.answers[answer] += 1
                tally.seconds += seconds
                if tally is tallies[0] and answer == PASSED and hostile[index][1]:
                    tally.live_passed += 1
        found[name] = tallies
    return found


def table(found: dict[str, tuple[Tally, Tally]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the comparison."""
    head = [
        "",
        "hostile: flagged",
        "called safe",
        "of these live",
        "error",
        "honest: called safe",
        "flagged",
        "error",
    ]
    rows = []
    for name, (bad, good) in found.items():
        cells: list[Any] = [
            *(bad.answers[FLAGGED], bad.answers[PASSED], bad.live_passed, bad.answers[ERRED]),
            *(good.answers[PASSED], good.answers[FLAGGED], good.answers[ERRED]),
        ]
        rows.append([name, *map(str, cells)])
    return head, rows


def main(argv: list[str]) -> int:
    """Compares over the output of `tests.attacks.pickle_corpus` and a folder of honest files."""
    folder, honest = Path(argv[0]), Path(argv[1])
    rows = json.loads((folder / "index.json").read_bytes())["files"]
    hostile = [(folder / row["file"], row["effect"] in ("runs", "changes", "on use")) for row in rows]
    head, lines = table(compare(hostile, sorted(path for path in honest.rglob("*") if path.is_file())))
    for line in (head, *lines):
        print("\t".join(line))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
