# SPDX-License-Identifier: Apache-2.0
"""Tree families × labels × what stands in front of them: tiers, flips and distances, on bars and on made rows.

``python -m tests.converter.parity_table`` prints one line per model, trained on real bars. The original answers in
this process, in the library versions that wrote it, with one thread. Flips are counted among the rows that the model
vouches for; "open" are the rows that it does not. Distances are units in the last place, of float32 for XGBoost.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from threadpoolctl import threadpool_limits

from depickle.parity.compare import ulp_distance
from depickle.parity.rows import make_rows
from examples.bars import load_bars
from examples.trading_features import feature_matrix

from .emit_checks import live_raw
from .proof_kit import Subject, answers, opened, subject_of
from .test_emit_families import INTEGERS_ONLY, NO_MISSING, TREES

Rows = npt.NDArray[np.float64]

FRONTS: dict[str, Callable[[], list[Any]]] = {
    "none": list,
    "standard": lambda: [StandardScaler()],
    "robust": lambda: [RobustScaler()],
    "min-max": lambda: [MinMaxScaler()],
    "max-abs": lambda: [MaxAbsScaler()],
    "median, standard": lambda: [SimpleImputer(strategy="median"), StandardScaler()],
    "mean, indicator": lambda: [SimpleImputer(add_indicator=True)],
}
LABELS: dict[str, tuple[Any, ...]] = {"binary": (0, 1), "signs": (-1, 0, 1), "words": ("BUY", "SELL", "WAIT")}
SINGLES = 60
"""Rows answered one at a time: every n-th of the bars and of the rows on splits."""


@dataclass(frozen=True)
class Line:
    """One model of the table."""

    family: str
    labels: str
    front: str
    tier: str
    rows: int
    flips: int
    uncertain: int
    splits: int
    reached: int
    raw_ulp: int | None
    probability_ulp: int
    single_flips: int


def models(seed: int = 3) -> Iterator[tuple[str, str, str, Subject]]:
    """Every family with every front; labels take turns, so that every pair of family and labels occurs too."""
    bars = load_bars("EURUSD")
    X = feature_matrix(bars.columns)
    close = bars.columns["close"][-len(X) :]
    forward = close[6:] / close[:-6] - 1.0
    X = np.ascontiguousarray(X[:-6])
    generator = np.random.default_rng(seed)
    for turn, (family, make) in enumerate(TREES.items()):
        for place, (front, steps) in enumerate(FRONTS.items()):
            labels = list(LABELS)[(turn + place) % len(LABELS)]
            names: tuple[Any, ...] = LABELS[labels]
            if family in INTEGERS_ONLY:
                names = tuple(range(len(names)))
            edges = np.quantile(forward, np.arange(1, len(names)) / len(names))
            y = np.array(names)[np.digitize(forward, edges)]
            train = X[:1500].copy()
            gaps = front.startswith(("median", "mean")) or (front == "none" and family not in NO_MISSING)
            if gaps:
                train[generator.random(train.shape) < 0.02] = np.nan
            live = make_pipeline(*steps(), make())
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore")
                live.fit(train, y[:1500])
            yield family, labels, front, subject_of(f"{family}, {labels}, {front}", live, X)


def line(family: str, labels: str, front: str, one: Subject) -> Line:
    """Both models, one thread each, on the bars and on every set of made rows."""
    with threadpool_limits(1):
        return _line(family, labels, front, one)


def _line(family: str, labels: str, front: str, one: Subject) -> Line:
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
    flips = uncertain = total = 0
    raw_ulp: int | None = None
    probability_ulp = 0
    for rows in sets.values():
        found = answers(session, rows)
        certain = _certain(found, len(rows))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flips += _flips(one.live.predict(rows), found["label"], certain)
            raw = live_raw(one.live, rows)
            probabilities = one.live.predict_proba(rows)
        total += len(rows)
        uncertain += int((~certain).sum())
        if raw is not None and "scores" in found:
            raw_ulp = max(raw_ulp or 0, _distance(raw, found["scores"]))
        probability_ulp = max(probability_ulp, _distance(probabilities, found["probabilities"]))
    singles = np.concatenate(
        [sets[name][:: max(1, len(sets[name]) // (SINGLES // 2))] for name in ("bars", "splits")]
    )
    single_flips = 0
    for row in singles:
        found = answers(session, row[np.newaxis])
        single_flips += _flips(one.live.predict(row[np.newaxis]), found["label"], _certain(found, 1))
    tier = one.typed.ceiling if one.prove() is not None else "sampled"
    return Line(
        family, labels, front, tier, total, flips, uncertain, made.splits, made.splits_reached,
        raw_ulp, probability_ulp, single_flips,
    )  # fmt: skip


def _certain(found: dict[str, npt.NDArray[Any]], count: int) -> npt.NDArray[np.bool_]:
    if "margin" not in found:
        return np.ones(count, dtype=np.bool_)
    return np.asarray(found["margin"] > found["bound"], dtype=np.bool_)


def _flips(original: Any, new: npt.NDArray[Any], certain: npt.NDArray[np.bool_]) -> int:
    return int((np.asarray(original)[certain].astype(str) != new[certain].astype(str)).sum())


def _distance(original: npt.NDArray[Any], new: npt.NDArray[Any]) -> int:
    wide = np.asarray(original, dtype=np.float64)
    found = ulp_distance(wide, np.asarray(new, dtype=np.float64).reshape(wide.shape))
    return int(found.max(initial=0)) // (2**29 if original.dtype == np.float32 else 1)


def main() -> int:
    """Print the table; 1 where a label flipped."""
    flipped = 0
    print(  # a command's answer
        f"{'family':<26}{'labels':<8}{'in front':<18}{'tier':<11}{'rows':>7}{'flips':>6}{'open':>6}"
        f"{'splits':>8}{'reached':>8}{'raw':>5}{'proba':>7}{'single':>7}"
    )
    for entry in models():
        found = line(*entry)
        flipped += found.flips + found.single_flips
        raw = "-" if found.raw_ulp is None else found.raw_ulp
        print(
            f"{found.family:<26}{found.labels:<8}{found.front:<18}{found.tier:<11}{found.rows:>7}{found.flips:>6}"
            f"{found.uncertain:>6}{found.splits:>8}{found.reached:>8}{raw:>5}{found.probability_ulp:>7}"
            f"{found.single_flips:>7}"
        )
    return 1 if flipped else 0


if __name__ == "__main__":
    sys.exit(main())
