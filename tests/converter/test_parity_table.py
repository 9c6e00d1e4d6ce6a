# SPDX-License-Identifier: Apache-2.0
"""Every tree family with every scaler and kind of label, on bars: no label flips, in batch or one at a time."""

from __future__ import annotations

import pytest

from .parity_table import FRONTS, LABELS, line, models
from .test_emit_families import TREES


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_vouched_label_flips_on_bars_or_made_rows() -> None:
    lines = [line(*entry) for entry in models()]
    assert {(entry.family, entry.front) for entry in lines} == {(a, b) for a in TREES for b in FRONTS}
    assert {(entry.family, entry.labels) for entry in lines} == {(a, b) for a in TREES for b in LABELS}
    assert [entry for entry in lines if entry.flips or entry.single_flips or entry.tier == "sampled"] == []
    assert all(entry.uncertain < entry.rows / 100 for entry in lines)
    assert all(entry.raw_ulp in (0, None) and entry.probability_ulp < 64 for entry in lines)
    plain = [entry for entry in lines if entry.front in ("standard", "robust", "min-max", "max-abs")]
    # Where zero counts as missing, a split beside zero has no two neighbouring doubles that part there.
    assert all(entry.reached >= entry.splits - ("zero" in entry.family) > 0 for entry in plain)
