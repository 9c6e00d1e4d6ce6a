# SPDX-License-Identifier: Apache-2.0
"""A model of every family, written by each release: what became of it, asked in the worker of that release.

``python -m tests.converter.version_families`` prints the table, with a column for each release whose environment is
installed. Each model is compared with its original on its training rows and rows near them, on made rows (random,
on splits, missing values, corners), on rows between two labels, found by bisection in the converted model and moved
by the last bits, and on some rows one at a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depickle.answerable import answerable_rows
from depickle.emit import EmittedModel, emit_onnx
from depickle.environments import WorkerEnvironment, list_environments, running_environment
from depickle.errors import ConverterError, SandboxError
from depickle.models import TypedModel, read_model
from depickle.parity.check import is_admissible
from depickle.parity.numbers import MAX_REGRESSOR_ULP
from depickle.parity.proof import prove
from depickle.parity.rows import make_rows
from depickle.pickles import VettedPickle, open_package, vet
from depickle.sandbox import ReferenceAnswers, Worker, open_worker
from depickle.skops_files import write_skops
from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.session import Answers, OnnxSession, open_session

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "version_estates"
RELEASES = ("1.2.2", "1.3.0", "1.3.1", "1.3.2", "1.4.2", "1.5.2", "1.6.1", "1.7.2", "1.8.0", "1.9.1")

MOST = {"random": 1200, "splits": 2400, "missing": 300, "answerable": 600, "corners": 100}
"""Rows of each set; every n-th of more."""
PAIRS = 60
"""Pairs of rows with different labels, between which the change is looked for."""
ALONE = 24
"""Rows that are asked one at a time as well."""

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What became of one model of one release.

    Attributes:
        tier: of the file, were its walk passed; or the code with which it is refused.
        walked: whether a derivation exists and passed.
        certified: share of the training rows, rows near them and their ordinary values that are vouched for.
        wrong: rows that are vouched for and answered differently: labels, numbers beyond their bound, and rows on
            which the original raises.
        steps: the largest distance of vouched-for probabilities, in units in the last place of 1.
        bound_share: the largest share of a bound that a number takes up.
        reason: of a refusal.
    """

    release: str
    name: str
    tier: str
    walked: bool = False
    rows: int = 0
    certified: float = 0.0
    wrong: tuple[str, ...] = ()
    steps: float | None = None
    bound_share: float | None = None
    reason: str = ""

    @property
    def cell(self) -> str:
        """The verdict in a table."""
        if self.tier.startswith("DP"):
            return self.tier
        mark = "" if self.walked else " (not walked)"
        share = "" if self.certified == 1.0 else f" {100 * self.certified:.2f} %"
        return f"{self.tier}{mark}{share}" + (f" WRONG: {'; '.join(self.wrong)}" if self.wrong else "")


def writer_of(release: str) -> WorkerEnvironment | None:
    """The installed environment of `release`, or None."""
    for environment in (running_environment(), *list_environments()):
        if environment.versions.get("scikit-learn") == release and "+" not in environment.name:
            return environment
    return None


def write(environment: WorkerEnvironment, folder: Path) -> None:
    """Have the release's own interpreter fit and write every family."""
    program = str(EXAMPLES / "write_families.py")
    subprocess.run([str(environment.python), program, str(folder)], check=True, capture_output=True)


def listed(folder: Path) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The models of a folder, and those that the release could not fit, with the reason."""
    manifest = json.loads((folder / "families.json").read_text(encoding="utf-8"))
    return manifest["models"], manifest["missing"]


def verdicts(release: str, environment: WorkerEnvironment, folder: Path, only: str = "") -> list[Verdict]:
    """What becomes of every model of a folder, whose name contains `only`."""
    with open_worker(environment) as worker:
        return [
            judge(release, row["name"], folder / row["file"], worker)
            for row in listed(folder)[0]
            if only in row["name"]
        ]


@dataclass(frozen=True)
class _Model:
    """An original that can be asked, beside what was made of it."""

    vetted: VettedPickle
    path: tuple[str | int, ...]
    typed: TypedModel
    emitted: EmittedModel
    session: OnnxSession
    worker: Worker

    def original(self, rows: Rows, *, one_by_one: bool = False) -> ReferenceAnswers:
        return self.worker.answers(self.vetted, self.path, rows, one_by_one=one_by_one)


def judge(release: str, name: str, path: Path, worker: Worker) -> Verdict:
    """Read, emit, walk, write as skops and compare one model; a refusal is a verdict too."""
    vetted = vet(path.read_bytes())
    package = open_package(vetted)
    try:
        typed = read_model(package.estimator, writer=vetted.writer)
        emitted = emit_onnx(typed)
        proof = prove(
            package.estimator, emitted.onnx, outputs=emitted.outputs, writer=vetted.writer, where=name
        )
        write_skops(package.estimator, writer=vetted.writer)
    except ConverterError as refusal:
        return Verdict(release, name, refusal.code, reason=f"{refusal.where}: {refusal.found}")
    session = open_session(check_onnx(emitted.onnx), contract=emitted.input, outputs=emitted.outputs)
    model = _Model(vetted, package.estimator_path, typed, emitted, session, worker)
    rows, ordinary = _rows(model, package.estimator, np.load(f"{path}.npy"))
    answers = session.run(rows)
    certain = _certain(typed, answers, len(rows))
    share = float(certain[:ordinary].mean())
    try:
        original = model.original(rows)
    except SandboxError as refusal:
        if refusal.code != "DP513" or answers.bound is None:
            raise
        # Strict encoders and logarithms raise; what is vouched for has to be answered all the same.
        rows, answers = rows[certain], session.run(rows[certain])
        certain = np.ones(len(rows), dtype=np.bool_)
        try:
            original = model.original(rows)
        except SandboxError as again:
            raises = f"raises on rows that are vouched for: {again.found}"
            return Verdict(release, name, typed.ceiling, proof is not None, len(rows), share, (raises,))
    wrong = _differences(model, answers, original, certain)
    wrong += [f"{text}, alone" for text in _alone(model, rows, certain)]
    return Verdict(
        release,
        name,
        typed.ceiling,
        walked=proof is not None,
        rows=len(rows),
        certified=share,
        wrong=tuple(wrong),
        steps=_steps(answers, original, certain),
        bound_share=_bound_share(model, answers, original, certain),
    )


def _certain(typed: TypedModel, answers: Answers, count: int) -> npt.NDArray[np.bool_]:
    if answers.margin is not None and answers.bound is not None:
        return np.asarray(answers.margin > answers.bound).reshape(-1)
    if typed.task == "regressor" and answers.bound is not None:
        return np.isfinite(answers.bound).reshape(-1)
    return np.ones(count, dtype=np.bool_)


def _differences(
    model: _Model, answers: Answers, original: ReferenceAnswers, certain: npt.NDArray[np.bool_]
) -> list[str]:
    found: list[str] = []
    assert original.predict is not None
    if answers.class_index is not None and model.typed.classes is not None:
        labels = np.array(model.typed.classes)[answers.class_index]
        flips = (labels.astype(str) != np.asarray(original.predict).astype(str)) & certain
        if flips.any():
            found.append(f"{int(flips.sum())} labels")
    else:
        old, new, bound = _numbers(model, answers, original)
        with np.errstate(all="ignore"):
            alike = (old == new) | (np.isnan(old) & np.isnan(new))  # infinities are no distance apart
            beyond = ~(alike | (np.abs(old - new) <= bound)) & certain
        if beyond.any():
            furthest = float(np.abs(old - new)[beyond].max())
            found.append(f"{int(beyond.sum())} numbers, up to {furthest:.3g} apart")
    return found


def _numbers(model: _Model, answers: Answers, original: ReferenceAnswers) -> tuple[Rows, Rows, Rows]:
    """What the original answers, what we answer, and how far they may be apart: not at all where none says so."""
    assert answers.scores is not None
    old = np.asarray(original.predict, dtype=np.float64).reshape(-1)
    new = np.asarray(answers.scores, dtype=np.float64).reshape(-1)
    if answers.bound is None:
        if model.typed.ceiling == "proven":
            return old, new, np.zeros_like(old)
        # an exponential behind exact sums is held to the units of `depickle.parity.numbers`
        unit = np.spacing(np.abs(old).astype(np.float32 if _single(old) else np.float64))
        return old, new, MAX_REGRESSOR_ULP * unit.astype(np.float64)
    return old, new, np.asarray(answers.bound, dtype=np.float64).reshape(-1)


def _single(numbers: Rows) -> bool:
    """Whether all are float32 numbers, as XGBoost's are."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(numbers, numbers.astype(np.float32).astype(np.float64), equal_nan=True))


def _alone(model: _Model, rows: Rows, certain: npt.NDArray[np.bool_]) -> list[str]:
    """The same on a few rows, each asked by itself."""
    chosen = _every(rows[certain], ALONE)
    if not len(chosen):
        return []
    try:
        asked = model.original(chosen, one_by_one=True).alone
    except SandboxError as refusal:
        return [f"raises: {refusal.found}"]
    assert asked is not None
    parts = [model.session.run(row[np.newaxis]) for row in chosen]
    together = Answers(
        **{
            field: None
            if getattr(parts[0], field) is None
            else np.concatenate([getattr(p, field) for p in parts])
            for field in Answers.__dataclass_fields__
        }
    )
    return _differences(model, together, asked, _certain(model.typed, together, len(chosen)))


def _steps(answers: Answers, original: ReferenceAnswers, certain: npt.NDArray[np.bool_]) -> float | None:
    """Probabilities that are vouched for; None where either model has none."""
    if answers.probabilities is None or original.predict_proba is None or not certain.any():
        return None
    unit = 2.0**-23 if _single(np.asarray(original.predict_proba, np.float64)) else 2.0**-52
    apart = np.abs(
        np.asarray(original.predict_proba, np.float64) - np.asarray(answers.probabilities, np.float64)
    )
    return float(np.ceil(np.nanmax(apart[certain]) / unit))


def _bound_share(
    model: _Model, answers: Answers, original: ReferenceAnswers, certain: npt.NDArray[np.bool_]
) -> float | None:
    if model.typed.task != "regressor" or answers.bound is None:
        return None
    old, new, bound = _numbers(model, answers, original)
    held = certain & (bound > 0)
    with np.errstate(all="ignore"):
        return float(np.max(np.abs(old - new)[held] / bound[held], initial=0.0))


# The rows -----------------------------------------------------------------------------------------------------------


def _rows(model: _Model, record: Any, trained: Rows) -> tuple[Rows, int]:
    """Rows to compare, and how many of the first of them are ordinary ones."""
    contract = model.emitted.input
    made = make_rows(
        record,
        features=contract.features,
        allow_nan=contract.allow_nan,
        max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
        seed=1,
    )
    rng = np.random.default_rng(2)
    near = trained * (1 + 0.1 * rng.standard_normal(trained.shape))
    apart = trained[rng.integers(0, len(trained), 300)].copy()
    for column in range(apart.shape[1]):  # ordinary values, in another company
        apart[:, column] = trained[rng.integers(0, len(trained), len(apart)), column]
    sets = [trained, near, apart, *(_every(rows.values, MOST[rows.name]) for rows in made.sets)]
    answerable = answerable_rows(model.typed.root, np.vstack([trained, near, apart]), seed=1)
    if answerable is not None:
        sets.append(answerable)
    sets = [rows[is_admissible(rows, contract)] for rows in sets]
    ordinary = np.vstack(sets[:3])
    sets.append(_between(model, ordinary, rng))
    if model.typed.task == "regressor":
        sets.append(ordinary[:200] * (1 + 1e-15 * rng.standard_normal((min(200, len(ordinary)), 1))))
    return np.vstack([rows for rows in sets if len(rows)]), len(ordinary)


def _between(model: _Model, rows: Rows, rng: np.random.Generator) -> Rows:
    """Rows where the converted model changes its label, and beside them by 1e-16 to 1e-12 of themselves."""
    index = model.session.run(rows).class_index
    if index is None or len(np.unique(index)) < 2:
        return rows[:0]
    one = rng.integers(0, len(rows), 8 * PAIRS)
    two = rng.integers(0, len(rows), 8 * PAIRS)
    differ = np.flatnonzero((index[one] != index[two]) & ~np.isnan(rows[one] + rows[two]).any(axis=1))[:PAIRS]
    low, high, label = rows[one[differ]], rows[two[differ]], index[one[differ]]
    if not len(differ):
        return rows[:0]
    for _ in range(70):
        middle = low + (high - low) / 2
        same = np.asarray(model.session.run(middle).class_index) == label
        low = np.where(same[:, np.newaxis], middle, low)
        high = np.where(same[:, np.newaxis], high, middle)
    moved = [low * (1 + size * rng.standard_normal(low.shape)) for size in (1e-16, 1e-15, 1e-14, 1e-12)]
    return np.vstack([low, high, *moved])


def _every(rows: Rows, count: int) -> Rows:
    return rows[:: max(1, -(-len(rows) // count))]


# The table ----------------------------------------------------------------------------------------------------------


def render(found: Sequence[Verdict]) -> str:
    """Families by releases."""
    releases = [release for release in RELEASES if any(each.release == release for each in found)]
    names = list(dict.fromkeys(each.name for each in found))
    cells = {(each.name, each.release): each.cell for each in found}
    lines = [f"| family | {' | '.join(releases)} |", f"|---{'|---' * len(releases)}|"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(cells.get((name, release), '–') for release in releases)} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 where anything that is vouched for is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "folder", type=Path, help="where the models go; folders of releases are used as they are"
    )
    parser.add_argument("--release", action="append", choices=RELEASES, help="only these")
    parser.add_argument("--only", default="", help="only families whose name contains this")
    arguments = parser.parse_args()
    found: list[Verdict] = []
    for release in arguments.release or RELEASES:
        environment = writer_of(release)
        if environment is None:
            print(f"no environment {release}; add it with: depickle env add {release}", file=sys.stderr)
            continue
        folder = arguments.folder / release
        if not (folder / "families.json").exists():
            write(environment, folder)
        made = verdicts(release, environment, folder, arguments.only)
        found += made
        for each in made:
            if each.wrong or each.tier.startswith("DP"):
                print(f"{release}: {each.name}: {each.cell} {each.reason}", file=sys.stderr)
        for name, reason in listed(folder)[1].items():
            print(f"{release}: {name}: not fitted: {reason}", file=sys.stderr)
    print(render(found))  # the answer
    return 1 if any(each.wrong for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
