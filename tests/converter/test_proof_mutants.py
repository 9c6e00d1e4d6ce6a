# SPDX-License-Identifier: Apache-2.0
"""The walk alone refuses every wrong model; most of them no sample of rows would have noticed."""

from __future__ import annotations

import pytest

from .file_mutants import FILE_KINDS
from .proof_kit import SUBJECTS, subject
from .proof_mutants import mutants, survives, table
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
    lines, survivors = table(MANY)
    print("\n".join(lines))
    assert survivors == 0
    kinds = {(line[:12].strip(), line[13:57].strip()) for line in lines[1:-1]}
    named = {("file", kind) for kind in FILE_KINDS} | {("typed model", kind) for kind in TYPED_KINDS}
    assert {kind for kind in kinds if kind[0] != "any field"} == named
    assert len(kinds - named) > 60
    made, alike, refused, random_noticed, _ = (int(part) for part in lines[-1].split()[1:])
    assert refused >= 2000
    assert alike + refused == made
    assert alike < made / 50
    assert random_noticed < refused
