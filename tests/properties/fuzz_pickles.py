# SPDX-License-Identifier: Apache-2.0
"""Mutates honest and hostile legacy files: the gate may only ever answer with a verdict.

``python -m tests.properties.fuzz_pickles --count 200000 --jobs 1`` runs outside of the tests, which take 2,000 of
the same mutants. What escapes, takes over two seconds of processor time, or is accepted and then upsets the readers
behind the gate, is saved with the numbers that make it again.
"""

from __future__ import annotations

import argparse
import functools
import gc
import io
import json
import multiprocessing
import os
import pickle
import pickletools
import random
import resource
import sys
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from depickle.errors import ConverterError
from depickle.models import read_model
from depickle.pickles import Verdict, open_package, scan, vet
from depickle.reports.escape import escape

__all__ = ["Mutant", "check", "mutant", "run", "seeds"]

SECONDS = 2.0
"""Processor time that one file may take."""
MEMORY_BYTES = 2 << 30
"""Address space of a worker: the gate, the readers behind it, numpy, and the seeds."""
SEED_BYTES = 24_000
"""Larger seeds would only make the runs slower: the opcodes are the same."""

_OPCODES = bytes(ord(opcode.code) for opcode in pickletools.opcodes)
_NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_NAMES = (
    b"os",
    b"system",
    b"eval",
    b"numpy",
    b"dtype",
    b"__setstate__",
    b"predict",
    b"joblib.disk",
    b"O8",
    b"\n",
)


@functools.cache
def seeds() -> tuple[tuple[str, bytes], ...]:
    """Small honest files of every family and encoding, and every hostile file that is small, by name."""
    import joblib

    from ..attacks import pickle_corpus
    from ..converter.pickle_samples import models

    found: list[tuple[str, bytes]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in models().items():
            for protocol in (0, 2, 4, 5):
                found.append((f"{name}, protocol {protocol}", pickle.dumps(model, protocol)))
            buffer = io.BytesIO()
            joblib.dump(model, buffer)
            found.append((f"{name}, joblib", buffer.getvalue()))
            found.append((f"{name}, zlib", zlib.compress(pickle.dumps(model, 4))))
        for entry in pickle_corpus.corpus():
            if not entry.name.startswith(("cost-", "deep-", "bomb-")):
                found.append((entry.name, entry.build(Path("/nonexistent/marker"))))
    return tuple((name, data) for name, data in found if 0 < len(data) <= SEED_BYTES)


# ---- mutations ----------------------------------------------------------------------------------------------------

Change = Callable[[random.Random, bytearray], None]


def _flip(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _opcode(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] = rng.choice(_OPCODES)


def _insert_opcode(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = bytes(rng.choice(_OPCODES) for _ in range(rng.randint(1, 4)))


def _delete(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 16)]


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _repeat(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.randint(1, 64)]
    data[at:at] = piece * rng.randint(1, 8)


def _move(rng: random.Random, data: bytearray) -> None:
    at, to = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[at : at + rng.randint(1, 48)]
    data[to:to] = piece


def _number(rng: random.Random, data: bytearray) -> None:
    """A length or index that lies."""
    width = rng.choice((1, 2, 4, 8))
    at = rng.randrange(len(data))
    number = rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)
    data[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))


def _name(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    word = rng.choice(_NAMES)
    data[at : at + len(word)] = word


def _splice(rng: random.Random, data: bytearray) -> None:
    """A piece of another seed."""
    other = rng.choice(seeds())[1]
    start = rng.randrange(len(other))
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.randint(0, 32)] = other[start : start + rng.randint(1, 512)]


CHANGES: tuple[Change, ...] = (
    *(_flip, _byte, _opcode, _insert_opcode, _delete, _cut, _repeat, _move, _number, _number, _name, _splice),
)


class Mutant:
    """One mutated file, and what makes it again: the seed of the run and its number."""

    def __init__(self, run_seed: int, number: int) -> None:
        rng = random.Random(f"{run_seed}/{number}")
        self.origin, data = seeds()[rng.randrange(len(seeds()))]
        self.changes: list[str] = []
        packed = self.origin.endswith(", zlib") and rng.random() < 0.7
        changed = bytearray(zlib.decompress(data) if packed else data)
        for _ in range(min(1 + int(rng.expovariate(0.7)), 12)):
            if changed:
                change = rng.choice(CHANGES)
                change(rng, changed)
                self.changes.append(change.__name__.strip("_"))
        self.data = zlib.compress(bytes(changed), 1) if packed else bytes(changed)


def mutant(run_seed: int, number: int) -> Mutant:
    """The mutant of that number in the run of that seed."""
    return Mutant(run_seed, number)


def check(data: bytes) -> str:
    """The verdict on `data`; raises whatever should not have escaped.

    An accepted file also goes through the readers behind the gate, which may refuse it with their own errors only.
    """
    result = scan(data)
    for finding in result.findings:
        escape(finding.message)
        json.dumps([finding.rule, finding.message, finding.offset, finding.reached]).encode()
    if result.verdict is not Verdict.ACCEPTED:
        if not result.findings:
            raise AssertionError("a refusal without a finding")
        return str(result.verdict)
    try:
        vetted = vet(data)
        package = open_package(vetted)
        read_model(package.estimator, writer=vetted.writer)
    except ConverterError as error:
        return f"accepted, then {error.code}"
    return "accepted"


# ---- runs ---------------------------------------------------------------------------------------------------------


def run(run_seed: int, numbers: range, folder: Path | None = None) -> tuple[Counter[str], list[str]]:
    """Checks the mutants of those numbers.

    Args:
        run_seed: of the whole run.
        numbers: which mutants.
        folder: where offending files are saved, if any.

    Returns:
        How often each verdict came, and a description of each offence.
    """
    verdicts: Counter[str] = Counter()
    offences: list[str] = []
    for number in numbers:
        made = mutant(run_seed, number)
        started = time.process_time()
        try:
            verdicts[check(made.data)] += 1
            fault = ""
        except Exception as error:  # the whole point: nothing may escape
            fault = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        seconds = time.process_time() - started
        if not fault and seconds > SECONDS:
            fault = f"{seconds:.1f} s"
        if fault:
            verdicts["OFFENCE"] += 1
            offences.append(f"seed {run_seed}, mutant {number} of {made.origin} by {made.changes}: {fault}")
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{run_seed}-{number}.bin").write_bytes(made.data)
                (folder / f"{run_seed}-{number}.txt").write_text(offences[-1], encoding="utf-8")
    return verdicts, offences


def _work(task: tuple[int, range, Path]) -> tuple[Counter[str], list[str]]:
    return run(*task)


def _begin() -> None:
    os.nice(10)
    seeds()
    warnings.simplefilter("error")
    gc.freeze()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main(argv: list[str] | None = None) -> int:
    """Runs, prints what came of it, and exits with 1 where anything escaped."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, default=Path(".build/fuzz"), help="folder for offending files")
    options = parser.parse_args(argv)
    started, step = time.monotonic(), 500
    tasks = [
        (options.seed, range(first, min(first + step, options.count)), options.save)
        for first in range(0, options.count, step)
    ]
    verdicts: Counter[str] = Counter()
    offences: list[str] = []
    with multiprocessing.get_context("spawn").Pool(options.jobs, initializer=_begin) as pool:
        for done, (found, faults) in enumerate(pool.imap_unordered(_work, tasks), 1):
            verdicts += found
            offences += faults
            if sys.stderr.isatty():
                print(f"\r{done * step:,} of {options.count:,}", end="", file=sys.stderr)
    minutes = (time.monotonic() - started) / 60
    print(
        f"{verdicts.total():,} mutants of {len(seeds())} files in {minutes:.1f} minutes, seed {options.seed}"
    )
    for verdict, number in sorted(verdicts.items(), key=lambda item: -item[1]):
        print(f"  {number:>9,}  {verdict}")
    for offence in offences[:20]:
        print(offence)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
