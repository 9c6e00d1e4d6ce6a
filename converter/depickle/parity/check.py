# SPDX-License-Identifier: Apache-2.0
"""Runs the original and the new model on the same rows and turns the answers into evidence, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from depickle_runtime.record import InputContract, ParityRecord, ProbeRows, ProofRecord, Task
from depickle_runtime.session import Answers, OnnxSession

from ..errors import ParityError
from ..sandbox import ReferenceAnswers
from .compare import NamedRows, Outcome, compare_answers
from .numbers import bounded_rows, check_numbers, numbers_condition, require_bounded
from .refused import OpenRows
from .sampled import furthest

__all__ = ["Evidence", "check_parity", "is_admissible"]

PROBES_PER_SET = 3
"""Stored probe rows from each set; a handful is enough to notice another build, and cheap at every load."""

MAX_PROBES = 12

Label = int | float | str | bool
Reference = Callable[[npt.NDArray[np.float64]], ReferenceAnswers]


@dataclass(frozen=True)
class Evidence:
    """What parity established, ready for the record."""

    parity: ParityRecord
    probes: ProbeRows
    certified_fraction: float | None
    """Share of the rows that the certificate covers, over the user's rows if given, else over all; None without."""


def is_admissible(rows: npt.NDArray[np.float64], contract: InputContract) -> npt.NDArray[np.bool_]:
    """Which rows the contract lets through, [N]; the original refuses the others and the runtime must too."""
    keep = np.ones(rows.shape[0], dtype=np.bool_)
    if not contract.allow_nan:
        keep &= ~np.isnan(rows).any(axis=1)
    if not contract.allow_infinite:
        keep &= ~np.isinf(rows).any(axis=1)
    if contract.max_abs is not None:
        with np.errstate(invalid="ignore"):
            keep &= ~(np.abs(rows) > float.fromhex(contract.max_abs)).any(axis=1)
    return keep


def check_parity(
    sets: Sequence[NamedRows],
    *,
    reference: Reference,
    session: OnnxSession,
    contract: InputContract,
    task: Task,
    classes: Sequence[Label] | None,
    proof: ProofRecord | None,
    reference_description: str,
    users_rows: bool,
    conditions: dict[str, str],
    where: str,
    tolerance: float | None = None,
) -> Evidence:
    """Compare the answers on every set of rows; where the original raises, on those that the new model certifies.

    Args:
        sets: rows to answer; those that the contract does not admit are left out.
        reference: asks the original, in the writer's library versions.
        session: the new model.
        contract: which rows are admissible.
        task: what the model does.
        classes: labels in class order; None for a regressor.
        proof: what translation validation walked, or None.
        reference_description: who gave the reference answers.
        users_rows: True where one of the sets is the user's own.
        conditions: dtype, threads and seed, for the record.
        where: name of the source, for the error.
        tolerance: for a model that was sampled only: how far probabilities and values may be apart, relative to the
            largest of the set. None holds regressors to `depickle.parity.numbers` instead.

    Raises:
        SandboxError: as the worker's.
        ParityError: DP701 where a label differs, DP702 where a regressor or outlier score does, DP706 where the
            original raises on nearly every row, DP650 where a
            sampled model's numbers are further apart than `tolerance`.
    """
    outcomes: list[Outcome] = []
    most_of_bound: float | None = None
    bounded = without_bound = 0
    open_rows = OpenRows(reference, where=where)
    probe_rows: list[npt.NDArray[np.float64]] = []
    certified_rows = admitted_rows = 0
    for rows in sets:
        admitted = NamedRows(rows.name, rows.values[is_admissible(rows.values, contract)])
        if admitted.values.shape[0] == 0:
            continue
        answers = session.run(admitted.values)
        certified = _certified(answers, task)
        if certified is not None and (not users_rows or rows.name == "reference"):
            certified_rows += int(certified.sum())
            admitted_rows += certified.size
        compared = open_rows.compare(admitted, answers, certified)
        if compared is None:
            continue
        admitted, original = compared.rows, compared.original
        answers, certified = compared.answers, compared.certified
        if original.predict is None:
            raise ParityError(
                "The original gave no answer to compare with",
                code="DP705",
                where=where,
                found="no predictions",
                expected="one per row",
                next_step="depickle inspect FILE",
            )
        _check_form(original, answers, task, where)
        outcome = compare_answers(
            admitted,
            reference_labels=None if task == "regressor" else original.predict,
            labels=_labels(answers, classes, original.predict.dtype) if classes is not None else None,
            certified=certified,
            reference_probabilities=_double(original.predict_proba),
            probabilities=_double(answers.probabilities),
            reference_scores=_double(original.predict if task == "regressor" else original.decision_function),
            scores=_double(answers.scores),
        )
        if outcome.first_flip is not None:
            raise _flip(outcome, admitted, original.predict, answers, classes, where)
        if tolerance is not None:
            _check_tolerance(task, original, answers, tolerance, f"{where}, rows {rows.name}")
        elif task != "classifier":
            share = check_numbers(outcome, original, answers, f"{where}, rows {rows.name}")
            most_of_bound = share if most_of_bound is None else max(most_of_bound, share or 0.0)
            if task == "regressor" and certified is not None:
                bounded += int(certified.sum())
                without_bound += int((~certified).sum())
        outcomes.append(outcome)
        take = np.linspace(0, admitted.values.shape[0] - 1, num=min(PROBES_PER_SET, admitted.values.shape[0]))
        probe_rows += list(admitted.values[take.astype(np.int64)])
    left_open = open_rows.condition()
    require_bounded(bounded, without_bound, where)
    if not outcomes:
        raise ParityError(
            "No admissible row to compare the models on",
            code="DP703",
            where=where,
            found="0 rows",
            expected="at least one row that the original accepts",
            next_step="depickle migrate --reference-rows rows.csv",
        )
    return Evidence(
        parity=ParityRecord(
            reference=reference_description,
            rows=[outcome.rows for outcome in outcomes],
            label_flips=sum(outcome.rows.label_flips for outcome in outcomes),
            proof=proof,
            reference_rows=users_rows,
            conditions=conditions | numbers_condition(most_of_bound, without_bound) | left_open,
        ),
        probes=_probes(np.array(probe_rows[:MAX_PROBES]), session),
        certified_fraction=certified_rows / admitted_rows if admitted_rows else None,
    )


def _check_form(original: ReferenceAnswers, answers: Answers, task: Task, where: str) -> None:
    """Hold the original's answers to the form of the new model's; a child that was taken over answers as it likes."""
    rows = len(original.predict) if original.predict is not None else 0
    for name, value, size, numbers in (
        ("predict", original.predict, rows, task == "regressor"),
        ("predict_proba", original.predict_proba, _size(answers.probabilities), True),
        ("decision_function", original.decision_function, _size(answers.scores), True),
    ):
        if value is None or size is None:
            continue
        if value.size != size or (numbers and value.dtype.kind not in "fiub"):
            raise ParityError(
                "The original gave no answer to compare with",
                code="DP705",
                where=f"{where}, {name}",
                found=f"{value.dtype} of shape {value.shape}",
                expected=f"{size} {'numbers' if numbers else 'answers'}",
                next_step="depickle inspect FILE",
            )


def _size(values: npt.NDArray[np.generic] | None) -> int | None:
    return None if values is None else values.size


def _check_tolerance(
    task: Task, original: ReferenceAnswers, answers: Answers, tolerance: float, where: str
) -> None:
    values = original.predict if task == "regressor" else original.decision_function
    apart = max(
        furthest(original.predict_proba, answers.probabilities),
        0.0 if task == "classifier" else furthest(values, answers.scores),
    )
    if apart > tolerance:
        raise ParityError(
            "The worker's conversion does not give the same numbers",
            code="DP650",
            where=where,
            found=f"{apart:.2g} apart, relative to the largest",
            expected=f"at most {tolerance:g}",
            next_step="nothing was published and the original is untouched; refit with a class of docs/coverage.md",
        )


def _certified(answers: Answers, task: Task) -> npt.NDArray[np.bool_] | None:
    """Rows that the new model vouches for, [N]; None where it states nothing of the kind."""
    if answers.bound is None:
        return None
    if answers.margin is None:
        return bounded_rows(answers.bound) if task == "regressor" else None
    return np.asarray(answers.margin > answers.bound, dtype=np.bool_).reshape(-1)


def _labels(
    answers: Answers, classes: Sequence[Label], like: np.dtype[np.generic]
) -> npt.NDArray[np.generic] | None:
    if answers.class_index is None:
        return None
    table = np.array(classes) if like.kind in "US" else np.array(classes, dtype=like)
    return table[answers.class_index]


def _double(values: npt.NDArray[np.generic] | None) -> npt.NDArray[np.float64] | None:
    return None if values is None else np.asarray(values, dtype=np.float64)


def _probes(rows: npt.NDArray[np.float64], session: OnnxSession) -> ProbeRows:
    answers = session.run(rows)
    return ProbeRows(
        rows=[[_hex(value) for value in row] for row in rows],
        class_index=None if answers.class_index is None else [int(index) for index in answers.class_index],
        probabilities=_hex_rows(answers.probabilities),
        scores=_hex_rows(answers.scores),
    )


def _hex_rows(values: npt.NDArray[np.floating[Any]] | None) -> list[list[str]] | None:
    if values is None:
        return None
    return [
        [_hex(value) for value in row]
        for row in np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    ]


def _hex(value: float) -> str:
    return "nan" if value != value else float(value).hex()


def _flip(
    outcome: Outcome,
    rows: NamedRows,
    original: npt.NDArray[np.generic],
    answers: Answers,
    classes: Sequence[Label] | None,
    where: str,
) -> ParityError:
    index = outcome.first_flip or 0
    new = "nothing"
    if answers.class_index is not None and classes is not None:
        new = str(classes[int(answers.class_index[index])])
    return ParityError(
        "The new model gives another label than the original",
        code="DP701",
        where=f"{where}, rows {rows.name}, row {index}",
        found=f"{outcome.rows.label_flips} of {outcome.rows.rows} labels differ, the first {new}",
        expected=str(original[index]),
        next_step="nothing was published and the original is untouched; report the model family",
    )
