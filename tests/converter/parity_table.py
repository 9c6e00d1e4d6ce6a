# SPDX-License-Identifier: Apache-2.0
"""Families × labels × what stands in front of them: tiers, flips and distances, on bars and on made rows.

``python -m tests.converter.parity_table -o docs/parity.md`` renews the document; without ``-o`` it prints a line for
each model. Every model is trained on real bars. The original answers in this process, in the library versions that
wrote it, with one thread. Flips are counted among the rows that the model vouches for; "open" are the rows that it
does not. Distances are units in the last place, of float32 for XGBoost.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from depickle.parity.compare import ulp_distance
from depickle.parity.rows import make_rows

from .dense_families import COMPOSITIONS, DENSE, DENSE_REGRESSORS
from .emit_checks import live_raw
from .proof_kit import Subject, answers, opened, subject_of
from .tree_families import CLASSIFIERS, FRONTS, LABELS, OUTLIERS, REGRESSORS, Family, fitted

Rows = npt.NDArray[np.float64]

SINGLES = 100
"""Rows answered one at a time: every n-th of the bars and of the rows on splits."""
NUMBERS, INLIERS = "numbers", "inliers"
"""What stands in place of labels for regressors and outlier detectors."""

KINDS: dict[str, tuple[dict[str, Family], tuple[str, ...]]] = {
    "Trees: classifiers": (CLASSIFIERS, tuple(LABELS)),
    "Trees: regressors": (REGRESSORS, (NUMBERS,)),
    "Trees: outlier detectors": (OUTLIERS, (INLIERS,)),
    "Dense: classifiers": (DENSE, tuple(LABELS)),
    "Dense: regressors": (DENSE_REGRESSORS, (NUMBERS,)),
    "Compositions": (COMPOSITIONS, tuple(LABELS)),
}
"""Sections of the document: their families, and the kinds of label these are fitted with."""


@dataclass(frozen=True)
class Entry:
    """One model to make."""

    kind: str
    family: str
    labels: str
    front: str


@dataclass(frozen=True)
class Line:
    """One model of the table.

    `flips` and `single_flips` count labels; of a regressor, numbers that differ by more than the file says.
    """

    entry: Entry
    tier: str
    rows: int
    flips: int
    uncertain: int
    bars: int
    bars_certain: int
    splits: int
    reached: int
    raw_ulp: int | None
    probability_ulp: int | None
    probability_steps: int | None
    singles: int
    single_flips: int


def entries() -> Iterator[Entry]:
    """Every family with every kind of label and every front."""
    for kind, (families, kinds_of_label) in KINDS.items():
        for name, family in families.items():
            for labels in family.labels or kinds_of_label:
                yield from (Entry(kind, name, labels, front) for front in family.fronts or FRONTS)


def subject(entry: Entry) -> Subject:
    """The fitted model and what conversion makes of it."""
    with threadpool_limits(1):
        live, X = fitted(KINDS[entry.kind][0][entry.family], entry.front, LABELS.get(entry.labels, ()))
    return subject_of(f"{entry.family}, {entry.labels}, {entry.front}", live, X)


def line(entry: Entry) -> Line:
    """Both models, one thread each, on the bars and on every set of made rows."""
    one = subject(entry)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _line(entry, one)


def _line(entry: Entry, one: Subject) -> Line:
    contract = one.emitted.input
    made = make_rows(
        one.record,
        features=contract.features,
        allow_nan=contract.allow_nan,
        max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
        seed=1,
    )
    sets = {"bars": one.rows, **{rows.name: rows.values for rows in made.sets}}
    session = opened(one.emitted.onnx)
    flips = uncertain = total = bars_certain = 0
    raw_ulp: int | None = None
    probability_ulp: int | None = None
    probability_steps: int | None = None
    for rows in sets.values():
        found = answers(session, rows)
        certain = _certain(found, len(rows))
        flips += _flips(one, rows, found, certain)
        total += len(rows)
        uncertain += int((~certain).sum())
        if rows is one.rows:
            bars_certain = int(certain.sum())
        raw = one.live.predict(rows) if one.typed.task == "regressor" else live_raw(one.live, rows)
        if raw is not None and "scores" in found:
            raw_ulp = max(raw_ulp or 0, _distance(raw, found["scores"]))
        if "probabilities" in found:
            original = one.live.predict_proba(rows)
            probability_ulp = max(probability_ulp or 0, _distance(original, found["probabilities"]))
            probability_steps = max(probability_steps or 0, _steps(original, found["probabilities"]))
    alone = np.concatenate([_every(sets[name], SINGLES // 2) for name in ("bars", "splits") if name in sets])
    single_flips = 0
    for row in alone:
        found = answers(session, row[np.newaxis])
        single_flips += _flips(one, row[np.newaxis], found, _certain(found, 1))
    tier = one.typed.ceiling if one.prove() is not None else "sampled"
    return Line(
        entry, tier, total, flips, uncertain, len(one.rows), bars_certain, made.splits, made.splits_reached,
        raw_ulp, probability_ulp, probability_steps, len(alone), single_flips,
    )  # fmt: skip


def _every(rows: Rows, count: int) -> Rows:
    return rows[:: max(1, len(rows) // count)]


def _certain(found: dict[str, npt.NDArray[Any]], count: int) -> npt.NDArray[np.bool_]:
    if "margin" not in found:
        return np.ones(count, dtype=np.bool_)
    return np.asarray(found["margin"] > found["bound"], dtype=np.bool_)


def _flips(
    one: Subject, rows: Rows, found: dict[str, npt.NDArray[Any]], certain: npt.NDArray[np.bool_]
) -> int:
    original = np.asarray(one.live.predict(rows))
    if "label" in found:
        return int((original[certain].astype(str) != found["label"][certain].astype(str)).sum())
    apart = np.abs(original.astype(np.float64) - found["scores"].reshape(-1))
    bound = found.get("bound")
    return int((apart > (0.0 if bound is None else bound.reshape(-1))).sum())


def _distance(original: npt.NDArray[Any], new: npt.NDArray[Any]) -> int:
    wide = np.asarray(original, dtype=np.float64)
    found = ulp_distance(wide, np.asarray(new, dtype=np.float64).reshape(wide.shape))
    return int(found.max(initial=0)) // (2**29 if original.dtype == np.float32 else 1)


def _steps(original: npt.NDArray[Any], new: npt.NDArray[Any]) -> int:
    """The largest difference in units in the last place of 1, rounded up."""
    unit = 2.0**-23 if original.dtype == np.float32 else 2.0**-52
    apart = np.abs(np.asarray(original, dtype=np.float64) - np.asarray(new, dtype=np.float64))
    return int(np.ceil(np.nanmax(apart, initial=0.0) / unit))


# The document -------------------------------------------------------------------------------------------------------

_HEAD = (
    "family", "tier", "models", "rows", "flips", "open", "certain on bars", "splits", "reached",
    "one at a time", "flips", "raw score", "probability", "of 1",
)  # fmt: skip


def _largest(values: Iterable[int | None]) -> str:
    known = [value for value in values if value is not None]
    return str(max(known)) if known else "–"


def _counts(entry: Line) -> tuple[int, ...]:
    return (
        1, entry.rows, entry.flips, entry.uncertain,
        entry.splits, entry.reached, entry.singles, entry.single_flips,
    )  # fmt: skip


def _share(part: int, whole: int) -> str:
    """In per cent; 100 only where nothing is missing."""
    return "100 %" if part == whole else f"{min(100.0 * part / whole, 99.99):.2f} %"


def _summary(name: str, lines: list[Line]) -> str:
    tiers = sorted({entry.tier for entry in lines})
    cells = [
        name,
        ", ".join(tiers),
        *(f"{sum(number):,}" for number in zip(*(_counts(entry)[:4] for entry in lines), strict=True)),
        _share(sum(entry.bars_certain for entry in lines), sum(entry.bars for entry in lines)),
        *(f"{sum(number):,}" for number in zip(*(_counts(entry)[4:] for entry in lines), strict=True)),
        _largest(entry.raw_ulp for entry in lines),
        _largest(entry.probability_ulp for entry in lines),
        _largest(entry.probability_steps for entry in lines),
    ]
    return f"| {' | '.join(cells)} |"


def _section(title: str, groups: dict[str, list[Line]]) -> list[str]:
    every = [entry for group in groups.values() for entry in group]
    return [
        f"## {title}",
        "",
        f"| {' | '.join(_HEAD)} |",
        f"|{'---|' * len(_HEAD)}",
        *(_summary(name, group) for name, group in groups.items()),
        _summary("**all**", every),
        "",
    ]


def _grouped(lines: list[Line], key: str) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for entry in lines:
        found.setdefault(getattr(entry.entry, key), []).append(entry)
    return found


def render(lines: list[Line]) -> str:
    """The document."""
    libraries = ("scikit-learn", "lightgbm", "xgboost", "onnxruntime", "numpy")
    parts = [
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "# Parity",
        "",
        "Every family of trees behind every scaler and imputer, dense models behind scalers and a projection, and",
        "models made of models; with binary, {−1, 0, 1} and word labels. Written by",
        "`python -m tests.converter.parity_table -o docs/parity.md`; do not edit.",
        "",
        f"Measured with {', '.join(f'{name} {version(name)}' for name in libraries)}.",
        "",
        "* Each model is trained on hourly EURUSD bars and compared with the original in the process that fitted it:",
        "  on all bars, 10,000 random rows, rows on every split and one unit in the last place to each side, missing",
        "  values where admitted, and corners ([proof.md](proof.md)).",
        "* **flips**: labels that differ among the rows that the model vouches for; of a regressor, numbers that",
        "  differ by more than the file says (by anything, where it states no bound). **open**: rows that it does",
        "  not vouch for, on which a predictor abstains; many of the random rows and corners are far outside of what",
        "  was trained on. **certain on bars**: the share of the bars that it vouches for.",
        "* **reached**: splits at which two neighbouring doubles were seen to part. The others are behind indicators",
        "  of missing values, part missing values from the rest, or lie where zero is missing; of models with more",
        "  than 8,000 splits every n-th is tried.",
        "* **one at a time**: bars and split rows answered alone, and how many labels flipped among them.",
        "* **raw score**, **probability**: largest distance in units in the last place (of float32 for XGBoost),",
        "  which are the smaller the nearer a number is to 0; **of 1**: that of probabilities in those of 1.",
        "* `certified` is the tier where the label passes through an exponential (LightGBM, XGBoost), a logarithm",
        "  (the prior of GradientBoosting, its start from a forest) or a power (IsolationForest), or comes out of",
        "  sums that nobody orders (everything dense).",
        "",
    ]
    for kind in KINDS:
        chosen = [entry for entry in lines if entry.entry.kind == kind]
        if chosen:
            parts += _section(kind, _grouped(chosen, "family"))
    parts += _section("By what stands in front", _grouped(lines, "front"))
    parts += _section("By kind of label", _grouped(lines, "labels"))
    return "\n".join(parts)


def main() -> int:
    """Make the models, write or print the table; 1 where a label flipped."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="only families whose name contains this")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, help="write the document here")
    arguments = parser.parse_args()
    chosen = [entry for entry in entries() if arguments.only in entry.family]
    found: list[Line] = []
    with get_context("spawn").Pool(arguments.processes) as pool:
        for number, made in enumerate(pool.imap(line, chosen, chunksize=5), 1):
            found.append(made)
            if arguments.output is None or made.flips or made.single_flips:
                print(made)  # a command's answer
            elif number % 50 == 0:
                print(f"{number} of {len(chosen)}", file=sys.stderr)
    if arguments.output is not None:
        arguments.output.write_text(render(found), encoding="utf-8")
    return 1 if any(entry.flips or entry.single_flips for entry in found) else 0


if __name__ == "__main__":
    sys.exit(main())
