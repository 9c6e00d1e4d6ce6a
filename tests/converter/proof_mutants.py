# SPDX-License-Identifier: Apache-2.0
"""Wrong models, made on purpose: every kind of slip that a converter could make, in the file or in the typed model.

``python -m tests.converter.proof_mutants [COUNT] [-o FILE]`` prints, per kind, how many mutants there were, how many
of them compute the same formula after all (and so have to pass), how many the walk refused, and how many the 10,000
random rows, and the rows on splits, would have noticed by a changed label (of a regressor, by a changed number).
Named slips come first; then every field of every class of the typed model, changed where it stands.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
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


_COLUMNS = ("mutants", "equivalent", "killed", "random", "splits")
Tally = dict[tuple[str, str], Counter[str]]


def tally(name: str, count: int) -> Tally:
    """`count` mutants of one subject, by where and how they were made."""
    found: Tally = defaultdict(Counter)
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
    for mutant in mutants(one, count):
        row = found[mutant.level, mutant.kind]
        row["mutants"] += 1
        row["equivalent"] += bool(mutant.equivalent)
        row["killed"] += not mutant.equivalent and not survives(one, mutant)
        for key, rows in sets.items():
            row[key] += _noticed(original[key], mutant.onnx, rows) is not False
    return found


def tallies(count: int, *, processes: int = 2) -> dict[str, Tally]:
    """About `count` mutants over all subjects."""
    each = -(-count // len(SUBJECTS))
    with get_context("spawn").Pool(processes) as pool:
        return dict(zip(SUBJECTS, pool.map(partial(tally, count=each), SUBJECTS, chunksize=1), strict=True))


def summed(rows: Iterable[Counter[str]]) -> Counter[str]:
    """All of `rows` together."""
    total: Counter[str] = Counter()
    for row in rows:
        total += row
    return total


def survivors(row: Counter[str]) -> int:
    """Wrong models that the walk let pass."""
    return row["mutants"] - row["equivalent"] - row["killed"]


def by_kind(found: dict[str, Tally]) -> Tally:
    """All subjects together."""
    kinds: Tally = defaultdict(Counter)
    for part in found.values():
        for kind, row in part.items():
            kinds[kind] += row
    return dict(sorted(kinds.items()))


def render(found: dict[str, Tally]) -> str:
    """The document."""
    kinds = by_kind(found)
    total = summed(kinds.values())
    parts = [
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "# Wrong models, made on purpose",
        "",
        f"Written by `python -m tests.converter.proof_mutants {total['mutants']} -o docs/mutants.md`; do not edit.",
        "",
        f"{total['mutants']:,} wrong models of {len(found)} small ones: the walk alone refuses {total['killed']:,};",
        f"{total['equivalent']} say the same in another way; {survivors(total)} pass. A changed label (of a",
        f"regressor: a changed number) would have betrayed {total['random']:,} of them on 10,000 random rows and",
        f"{total['splits']:,} on the rows placed on splits.",
        "",
        "* **file**: the ONNX file is changed, as a wrong emitter or a tampering hand would. **typed model**: a",
        "  named mistake of the reading. **any field**: a field of any class of the typed model is changed where it",
        "  stands: numbers by one unit in the last place, flags and modes to another value, entries exchanged or",
        "  lost.",
        "* **alike**: the outputs are made of the same parts all the same: a label rule that a composition never",
        "  asks for, or two equal leaves that change places. It is found out by comparing what outputs are made of.",
        "",
        *_section("By kind", {f"{level}: {kind}": row for (level, kind), row in kinds.items()}, total),
        *_section("By model", {name: summed(part.values()) for name, part in found.items()}, total),
    ]
    return "\n".join(parts)


def _section(title: str, rows: dict[str, Counter[str]], total: Counter[str]) -> list[str]:
    head = ("", "mutants", "alike", "refused", "noticed on random rows", "on splits")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, row in (*rows.items(), ("**all**", total)):
        lines.append(f"| {' | '.join([name, *(f'{row[column]:,}' for column in _COLUMNS)])} |")
    return [f"## {title}", "", *lines, ""]


def main() -> int:
    """Print or write the tables; 1 where a wrong model passes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument("-o", "--output", type=Path, help="write the document here")
    arguments = parser.parse_args()
    found = tallies(arguments.count)
    if arguments.output is None:
        print(render(found))  # a command's answer
    else:
        arguments.output.write_text(render(found), encoding="utf-8")
    return 1 if survivors(summed(by_kind(found).values())) else 0


if __name__ == "__main__":
    sys.exit(main())
