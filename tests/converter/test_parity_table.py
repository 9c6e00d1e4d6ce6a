# SPDX-License-Identifier: Apache-2.0
"""Every family with scalers, imputers and kinds of label, on bars: no flips, in batch or one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import get_context

import pytest

from .parity_table import KINDS, Entry, Line, entries, line
from .tree_families import FRONTS

_DIRECT = ("StandardScaler", "RobustScaler", "MinMaxScaler", "MaxAbsScaler")
"""Behind these, every numerical split is a value of one input column."""


def _check(lines: Sequence[Line]) -> None:
    assert [found for found in lines if found.flips or found.single_flips or found.tier == "sampled"] == []
    assert [found for found in lines if found.bars_certain < 0.999 * found.bars] == []
    trees = [found for found in lines if found.entry.kind.startswith("Trees")]
    assert [found for found in trees if found.uncertain >= found.rows / 100] == []
    exact = [found for found in lines if found.tier == "proven"]
    assert [found for found in exact if found.raw_ulp or found.uncertain] == []
    assert [found for found in trees if (found.probability_steps or 0) > 4] == []
    # Sums that start from a logarithm of each row's own, and powers, are not bit-equal; all others are.
    summed = [
        found for found in trees if not found.entry.family.endswith("init a forest") or found.tier == "proven"
    ]
    summed = [found for found in summed if not found.entry.family.startswith("IsolationForest")]
    assert [found for found in summed if found.raw_ulp] == []
    small = [found for found in trees if not found.entry.family.endswith("200 trees")]
    assert [found for found in small if (found.probability_ulp or 0) >= 64] == []
    plain = [found for found in trees if found.entry.front in _DIRECT]
    plain = [found for found in plain if found.splits < 8_000]  # of more, not every one is tried
    # Where zero counts as missing, a split beside zero has no two neighbouring doubles that part there.
    assert [found for found in plain if found.reached < found.splits - ("zero" in found.entry.family)] == []
    assert all(found.splits > 0 and found.singles > 0 for found in plain)


def test_a_sample_of_every_family_never_flips() -> None:
    """One model of each family; labels and fronts take turns."""
    chosen = []
    for kind, (families, kinds_of_label) in KINDS.items():
        for turn, (name, family) in enumerate(families.items()):
            fronts, labels = list(family.fronts or FRONTS), family.labels or kinds_of_label
            chosen.append(Entry(kind, name, labels[turn % len(labels)], fronts[turn % len(fronts)]))
    assert set(chosen) <= set(entries())
    _check([line(entry) for entry in chosen])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_vouched_label_flips_on_bars_or_made_rows() -> None:
    with get_context("spawn").Pool(2) as pool:
        _check(pool.map(line, list(entries()), chunksize=5))
