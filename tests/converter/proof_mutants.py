# SPDX-License-Identifier: Apache-2.0
"""Wrong models, made on purpose: every kind of slip that a converter could make, in the file or in the typed model.

``python -m tests.converter.proof_mutants [COUNT]`` prints, per kind, how many mutants there were, how many of them
compute the same formula after all (and so have to pass), how many the walk refused, and how many the 10,000 random
rows, and the rows on splits, would have noticed by a changed label (of a regressor, by a changed number). Named
slips come first; then every field of every class of the typed model, changed where it stands.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.capi import onnxruntime_pybind11_state as state

from depickle.emit import EmittedModel, emit_onnx
from depickle.errors import UnsupportedModelError
from depickle.parity.rows import make_rows
from depickle_runtime.errors import SecurityError

from .field_mutants import Field, changed, fields_of
from .file_mutants import FILE_KINDS, canonical
from .proof_kit import SUBJECTS, Subject, answers, subject
from .typed_mutants import TYPED_KINDS, InapplicableError

Generator = np.random.Generator
_REFUSALS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.NotImplemented,
    state.RuntimeException,
)
"""What onnxruntime raises for a file that it does not run."""
_NOT_EMITTED = (
    UnsupportedModelError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)
"""What a typed model that no reader could have made may end in; no file comes of it."""


@dataclass(frozen=True)
class Mutant:
    """A wrong model: what is wrong with it, and where the slip was made."""

    kind: str
    level: str
    onnx: bytes
    emitted: EmittedModel
    equivalent: str = ""
    """Why it answers as the original on every input, where it does; then nothing has to refuse it."""


_FOREST_ONLY = {"leaf number", "row of a leaf ±1 ulp"}
_FORESTS = {"forest", "extra trees", "tree", "forest regressor"}


def _file_mutant(one: Subject, kind: str, generator: Generator) -> Mutant | None:
    if kind in _FOREST_ONLY and one.name not in _FORESTS:
        return None
    if kind == "leaf ±1 ulp" and one.name in _FORESTS:
        return None
    model = onnx.load_from_string(one.emitted.onnx)
    try:
        FILE_KINDS[kind](model, generator)
    except (StopIteration, ValueError, IndexError):  # nothing of this kind in the file
        return None
    data = model.SerializeToString(deterministic=True)
    return Mutant(kind, "file", data, one.emitted, _same_formula(data, one))


def _typed_mutant(one: Subject, kind: str, generator: Generator) -> Mutant | None:
    try:
        emitted = emit_onnx(TYPED_KINDS[kind](one.typed, generator))
    except (InapplicableError, *_NOT_EMITTED):
        return None
    return Mutant(kind, "typed model", emitted.onnx, emitted, _same_formula(emitted.onnx, one))


def _field_mutant(one: Subject, places: list[Field], generator: Generator) -> Mutant | None:
    place = places[int(generator.integers(len(places)))]
    try:
        emitted = emit_onnx(replace(one.typed, root=changed(one.typed.root, place, generator)))
    except _NOT_EMITTED:
        return None
    return Mutant(place.kind, "any field", emitted.onnx, emitted, _same_formula(emitted.onnx, one))


def _same_formula(data: bytes, one: Subject) -> str:
    """The argument that a file computes what the subject's own does, or nothing where there is none."""
    try:
        alike = canonical(data) == canonical(one.emitted.onnx)
    except (IndexError, KeyError, StopIteration, ValueError):  # too damaged to say
        return ""
    return "only names and the order of parts, or of two leaves that add the same, differ" if alike else ""


def mutants(one: Subject, count: int, seed: int = 0) -> Iterator[Mutant]:
    """About `count` mutants of a subject, spread over all kinds that apply to it; half of them in any field."""
    generator = np.random.default_rng([seed, len(one.name), sum(map(ord, one.name))])
    named = [partial(_file_mutant, one, kind) for kind in FILE_KINDS]
    named += [partial(_typed_mutant, one, kind) for kind in TYPED_KINDS]
    places: dict[str, list[Field]] = defaultdict(list)
    for place in fields_of(one.typed.root):
        places[place.kind].append(place)
    anywhere = [partial(_field_mutant, one, places[kind]) for kind in sorted(places)]
    made = 0
    for turn in _turns(generator, named, anywhere, 20 * count):
        if made == count:
            return
        mutant = turn(generator)
        if mutant is not None and mutant.onnx != one.emitted.onnx:
            made += 1
            yield mutant


Make = Callable[[Generator], "Mutant | None"]


def _turns(generator: Generator, named: list[Make], anywhere: list[Make], count: int) -> Iterator[Make]:
    """One of either list in turn; each list in a new order whenever it is through."""
    orders: list[list[Make]] = [[], []]
    for number in range(count):
        every, order = (named, anywhere)[number % 2], orders[number % 2]
        if not order:
            order += [every[place] for place in generator.permutation(len(every))]
        yield order.pop()


def survives(one: Subject, mutant: Mutant) -> bool:
    """Whether the walk lets the mutant pass."""
    try:
        return one.prove(mutant.onnx, mutant.emitted) is not None
    except SecurityError as error:
        if error.code not in ("DP711", "DP712"):
            raise
        return False


def _noticed(
    original: dict[str, npt.NDArray[Any]], onnx_bytes: bytes, rows: npt.NDArray[np.float64]
) -> bool | None:
    """Whether a label (of a regressor: a number) changes on `rows`; None where onnxruntime refuses the file."""
    role = "label" if "label" in original else "scores"
    try:
        found = answers(onnx_bytes, rows)
    except _REFUSALS:
        return None
    if role not in found or found[role].shape != original[role].shape:
        return True
    return bool((found[role] != original[role]).any())


def table(count: int) -> tuple[list[str], int]:
    """Lines of the table over `count` mutants, and the number of survivors."""
    tally: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    each = -(-count // len(SUBJECTS))
    for name in SUBJECTS:
        one = subject(name)
        contract = one.emitted.input
        made = make_rows(
            one.record,
            features=contract.features,
            allow_nan=contract.allow_nan,
            max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
            seed=1,
        )
        sets = {rows.name: rows.values for rows in made.sets if rows.name in ("random", "splits")}
        original = {key: answers(one.emitted.onnx, rows) for key, rows in sets.items()}
        for mutant in mutants(one, each):
            row = tally[mutant.level, mutant.kind]
            row["mutants"] += 1
            row["equivalent"] += bool(mutant.equivalent)
            row["killed"] += not mutant.equivalent and not survives(one, mutant)
            for key, rows in sets.items():
                row[key] += _noticed(original[key], mutant.onnx, rows) is not False
    lines = [_line("made in", "kind", "mutants", "alike", "refused", "random", "splits")]
    total: Counter[str] = Counter()
    for (level, kind), row in sorted(tally.items()):
        total += row
        lines.append(_line(level, kind, *(row[name] for name in _COLUMNS)))
    lines.append(_line("all", "", *(total[name] for name in _COLUMNS)))
    return lines, total["mutants"] - total["equivalent"] - total["killed"]


_COLUMNS = ("mutants", "equivalent", "killed", "random", "splits")


def _line(level: str, kind: str, *figures: object) -> str:
    return f"{level:<12} {kind:<44}" + "".join(f"{figure!s:>9}" for figure in figures)


if __name__ == "__main__":
    printed, survivors = table(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    print("\n".join(printed))
    sys.exit(1 if survivors else 0)
