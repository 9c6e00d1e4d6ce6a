# SPDX-License-Identifier: Apache-2.0
"""The walk alone refuses every wrong model; most of them no sample of rows would have noticed."""

from __future__ import annotations

import pytest

from .file_mutants import FILE_KINDS
from .proof_kit import SUBJECTS, subject
from .proof_mutants import by_kind, mutants, summed, survives, survivors, tallies
from .typed_mutants import TYPED_KINDS

A_FEW = 8
"""Mutants of each subject in the everyday run: some 200 in all."""

MANY = 6000
"""Mutants of the slow run, over all kinds; half of them in any field of the typed model."""


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_walk_refuses_every_mutant_of_a_small_sample(name: str) -> None:
    one = subject(name)
    assert one.prove() is not None
    made = list(mutants(one, A_FEW))
    assert len(made) == A_FEW
    passed = [
        (mutant.level, mutant.kind) for mutant in made if not mutant.equivalent and survives(one, mutant)
    ]
    assert passed == []
    assert sum(bool(mutant.equivalent) for mutant in made) <= A_FEW // 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_walk_refuses_two_thousand_mutants_of_all_kinds() -> None:
    kinds = by_kind(tallies(MANY))
    total = summed(kinds.values())
    assert [kind for kind, row in kinds.items() if survivors(row)] == []
    named = {("file", kind) for kind in FILE_KINDS} | {("typed model", kind) for kind in TYPED_KINDS}
    assert {kind for kind in kinds if kind[0] != "any field"} == named
    assert len(kinds.keys() - named) > 60
    assert total["killed"] >= 2000
    assert total["equivalent"] < total["mutants"] / 50
    assert total["random"] < total["killed"]
