# SPDX-License-Identifier: Apache-2.0
"""The gate beside other people's scanners: what each says of hostile and honest files, and how fast the gate is."""

from __future__ import annotations

import hashlib
import logging
import pickle
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from depickle.pickles import Verdict, scan
from examples.legacy_estate.build import FILES
from examples.legacy_estate.cache import cached_estate, estate_manifest
from tests.attacks.compare_scanners import compare, table
from tests.attacks.pickle_corpus import build, marker_of
from tests.converter.pickle_samples import encodings, models

from .timing import print_table

__all__ = ["bench_forest", "bench_scan_speed", "bench_scanners"]

_FOREST_TREES = 130
_ROUNDS = 5


def honest_files(folder: Path) -> list[Path]:
    """The honest files of the estate, and every kind of model in every encoding, with the suffixes people use."""
    estate = cached_estate()
    found = [estate / FILES / entry["file"] for entry in estate_manifest(estate) if entry["kind"] == "honest"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in models().items():
            for encoding, data in encodings(model, folder):
                suffix = "joblib" if encoding.startswith("joblib") else "pkl"
                stem = f"{name}-{encoding}".replace(" ", "-").replace(",", "").replace("+", "-")
                path = folder / f"{stem}.{suffix}"
                path.write_bytes(data)
                found.append(path)
    return found


def bench_scanners() -> None:
    """The hostile corpus and the honest files against picklescan, fickling and modelscan."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "honest").mkdir()
        entries = build(folder / "hostile")
        hostile = [
            (folder / "hostile" / f"{entry.name}.pkl", entry.effect in ("runs", "changes", "on use"))
            for entry in entries
        ]
        honest = honest_files(folder / "honest")
        head, rows = table(compare(hostile, honest))
        touched = sum(marker_of(folder / "hostile", entry).exists() for entry in entries)
    live = sum(alive for _, alive in hostile)
    print_table(
        f"{len(hostile)} hostile files ({live} with a live payload) and {len(honest)} honest ones", head, rows
    )
    print(f"  {touched} payloads ran meanwhile")


def _seconds(function: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def bench_scan_speed() -> None:
    """Every honest file through the gate and through picklescan, in this process."""
    from picklescan.scanner import scan_bytes

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        files = [(path, path.read_bytes()) for path in honest_files(Path(name))]
        rows = [
            list(row)
            for row in _speeds(files, lambda path, data: scan_bytes(_stream(data), path, path.suffix))
        ]
    logging.disable(logging.NOTSET)
    print_table(
        "Scanning honest files, medians", ["", "files", "depickle, ms", "picklescan, ms", "ratio"], rows
    )


def _stream(data: bytes) -> object:
    import io

    return io.BytesIO(data)


def _speeds(
    files: list[tuple[Path, bytes]], peer: Callable[[Path, bytes], object]
) -> Iterator[tuple[str, str, str, str, str]]:
    groups: dict[str, list[tuple[float, float]]] = {}
    for path, data in files:
        result = scan(data)
        if result.verdict is not Verdict.ACCEPTED:
            raise AssertionError(f"{path.name} is honest and was refused")
        pair = _seconds(lambda d=data: scan(d)), _seconds(lambda p=path, d=data: peer(p, d))  # type: ignore[misc]
        if "+" in result.container:
            group = "compressed: picklescan does not look inside"
        elif result.container == "joblib":
            group = "joblib: picklescan stops at the first array"
        else:
            group = "pickle: both read all of it"
        groups.setdefault(group, []).append(pair)
    for group, pairs in sorted(groups.items(), reverse=True):
        mine, theirs = (statistics.median(pair[index] for pair in pairs) for index in (0, 1))
        ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
        yield group, str(len(pairs)), f"{mine * 1e3:.2f}", f"{theirs * 1e3:.2f}", f"{ratio:.2f}"


def forest() -> bytes:
    """A pickled forest of about 100 MB."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(20_000, 8)), rng.integers(0, 3, 20_000)
    return pickle.dumps(RandomForestClassifier(_FOREST_TREES, random_state=1, n_jobs=1).fit(X, y), 5)


def bench_forest() -> None:
    """A large forest: the gate's rate beside reading and hashing the file."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "forest.pkl"
        path.write_bytes(forest())
        size = path.stat().st_size
        read = _seconds(lambda: hashlib.sha256(path.read_bytes()).digest())
        whole = _seconds(lambda: scan(path.read_bytes()))
    rows = [
        ["read and SHA-256", f"{read:.3f}", f"{size / read / 1e6:.0f}", ""],
        ["read and scan", f"{whole:.3f}", f"{size / whole / 1e6:.0f}", f"{whole / read:.2f}"],
    ]
    print_table(f"A forest of {size / 1e6:.0f} MB", ["", "s", "MB/s", "ratio"], rows)
