# SPDX-License-Identifier: Apache-2.0
"""One legacy model: read → gate → typed model → emit → proof → worker → parity → a model to publish.

Each stage returns a type of its own and the next accepts only that, so no stage can be left out. Nothing is
written here: a `ConvertedModel` is bytes, and `depickle.publishing` is the only way into a store.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.record import (
    SCHEMA_VERSION,
    ConversionRecord,
    FeatureContract,
    MarginContract,
    RecordFinding,
    SourceRecord,
)
from depickle_runtime.session import open_session

from .answerable import answerable_rows
from .answering import AnsweredOnce
from .emit import EmittedModel
from .emit.fallback import FallbackModel, convert_in_worker
from .environments import WorkerEnvironment
from .models import TypedModel
from .naming import ArtefactName
from .parity.check import Evidence, check_parity, is_admissible
from .parity.compare import NamedRows
from .parity.rows import MadeRows, make_rows
from .parity.sampled import SAMPLED_TOLERANCE, sampled_rows
from .planning import MigrationOptions, Plan, plan_model, told
from .sandbox import ReferenceAnswers, Worker, open_worker
from .sandbox.converting import ConvertingWorker, open_converting_worker
from .skops_files import write_skops
from .sources import Original, SourceFile

__all__ = ["ConvertedModel", "Converter", "utc_text"]

_RECORDED = ("depickle", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class ConvertedModel:
    """A model that answered as the original did, in bytes, not yet published."""

    original: Original
    name: ArtefactName
    stem: str
    onnx: bytes
    skops: bytes
    record: ConversionRecord
    feature_names: list[str] | None
    performance: dict[str, int | float | None] | None
    training_data_hash: str | None
    authorized_by: str | None

    @property
    def label_flips(self) -> int:
        """Flips over all rows; 0, since any other count refuses the conversion."""
        return self.record.parity.label_flips


class Converter:
    """Converts legacy files, keeping one warm worker per library version.

    >>> with Converter(options) as converter:  # doctest: +SKIP
    ...     model = converter.convert(read_source(path))
    """

    def __init__(self, options: MigrationOptions) -> None:
        self._options = options
        self._workers: dict[str, Worker] = {}
        self._converting: ConvertingWorker | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every worker."""
        self._workers.clear()
        self._converting = None
        self._stack.close()

    def convert(self, source: SourceFile) -> ConvertedModel:
        """Convert one legacy file.

        Raises:
            SecurityError: any of `plan_model`'s; `SandboxError` where the worker failed; `ParityError` where the
                new model does not answer as the original, or its tier is not admitted.
        """
        plan = plan_model(source, self._options)
        emitted = plan.emitted or self._converted(plan)
        made = self._rows(plan, emitted, source)
        evidence = self._evidence(plan, emitted, source, made)
        return ConvertedModel(
            original=source.original,
            name=plan.name,
            stem=plan.name.stem,
            onnx=emitted.onnx,
            skops=write_skops(plan.package.estimator, writer=plan.vetted.writer),
            record=_record(plan, emitted, source, evidence, self._options),
            feature_names=plan.feature_names,
            performance=_numbers(plan.package.performance),
            training_data_hash=told(plan.package, "training_data_hash"),
            authorized_by=self._options.authorized_by,
        )

    def _worker(self, environment: WorkerEnvironment) -> Worker:
        worker = self._workers.get(environment.name)
        if worker is None or worker.closed:
            worker = self._stack.enter_context(open_worker(environment))
            self._workers[environment.name] = worker
        return worker

    def _converting_worker(self, environment: WorkerEnvironment) -> ConvertingWorker:
        """Started only for a model that needs it; it answers as well, so that no second one is needed."""
        if self._converting is None or self._converting.closed:
            self._converting = self._stack.enter_context(open_converting_worker(environment))
        return self._converting

    def _fallback(self, plan: Plan) -> FallbackModel | None:
        """The model to be converted by the worker, sampled around the user's rows where there are any."""
        if not isinstance(plan.model, FallbackModel):
            return None
        rows = self._reference_rows(plan)
        return plan.model if rows is None else plan.model.with_rows(rows)

    def _converted(self, plan: Plan) -> EmittedModel:
        model = self._fallback(plan)
        if model is None:
            raise TypeError("a plan that emits nothing has no typed model")
        worker = self._converting_worker(plan.environment)
        return convert_in_worker(model, plan.vetted, plan.package.estimator_path, worker)

    def _reference_rows(self, plan: Plan) -> npt.NDArray[np.float64] | None:
        reference = self._options.reference
        return None if reference is None else reference.columns(plan.feature_names, plan.model.n_features)

    def _rows(self, plan: Plan, emitted: EmittedModel, source: SourceFile) -> MadeRows:
        contract = emitted.input
        fallback = self._fallback(plan)
        if fallback is not None:
            sets = sampled_rows(fallback.around, allow_nan=contract.allow_nan, seed=_seed(source))
            made = MadeRows(sets=sets, splits=0, splits_reached=0)
        else:
            made = make_rows(
                plan.package.estimator,
                features=contract.features,
                allow_nan=contract.allow_nan,
                max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
                seed=_seed(source),
            )
        if isinstance(plan.model, TypedModel):
            answerable = answerable_rows(plan.model.root, made.sets[0].values, seed=_seed(source))
            if answerable is not None:
                made = replace(made, sets=(*made.sets, NamedRows("answerable", answerable)))
        reference = self._reference_rows(plan)
        if reference is None:
            return made
        users = NamedRows("reference", reference)
        return MadeRows(sets=(users, *made.sets), splits=made.splits, splits_reached=made.splits_reached)

    def _evidence(self, plan: Plan, emitted: EmittedModel, source: SourceFile, made: MadeRows) -> Evidence:
        sampled = plan.emitted is None
        worker: Worker = (self._converting_worker if sampled else self._worker)(plan.environment)
        methods = ["predict"]
        if emitted.outputs.probabilities is not None:
            methods.append("predict_proba")
        if sampled and emitted.task == "outlier" and emitted.outputs.scores is not None:
            methods.append("decision_function")

        def ask(rows: npt.NDArray[np.float64]) -> ReferenceAnswers:
            return worker.answers(plan.vetted, plan.package.estimator_path, rows, methods=tuple(methods))

        contract = emitted.input
        reference = AnsweredOnce(
            ask, [rows.values[is_admissible(rows.values, contract)] for rows in made.sets]
        )
        session = open_session(check_onnx(emitted.onnx), contract=contract, outputs=emitted.outputs)
        proof = plan.proof
        if proof is not None:
            proof = msgspec.structs.replace(proof, splits_reached=made.splits_reached)
        return check_parity(
            made.sets,
            reference=reference,
            session=session,
            contract=contract,
            task=emitted.task,
            classes=plan.model.classes,
            tolerance=SAMPLED_TOLERANCE if sampled else None,
            proof=proof,
            reference_description=_description(plan.environment),
            users_rows=self._options.reference is not None,
            conditions={
                "dtype": contract.dtype,
                "threads": "1",
                "seed": str(_seed(source)),
                "splits_in_rows": str(made.splits_reached),
            },
            where=source.name,
        )


def _record(
    plan: Plan, emitted: EmittedModel, source: SourceFile, evidence: Evidence, options: MigrationOptions
) -> ConversionRecord:
    margin = None
    if emitted.outputs.margin is not None:
        margin = MarginContract(
            gamma=float(emitted.gamma).hex() if emitted.gamma is not None else "0x0p+0",
            certified_fraction=repr(evidence.certified_fraction),
        )
    return ConversionRecord(
        schema_version=SCHEMA_VERSION,
        stem=plan.name.stem,
        symbol=plan.name.symbol,
        created_at=utc_text(options.created),
        source=SourceRecord(
            name=source.name,
            sha256=source.sha256,
            size=len(source.data),
            container=plan.vetted.container,
            writer=dict(plan.vetted.writer),
        ),
        versions={name: version(name) for name in (*_RECORDED, *(() if plan.emitted else ("skl2onnx",)))},
        architecture=platform.machine(),
        derived="graph" if plan.emitted else "worker",
        tier=plan.tier,
        task=emitted.task,
        estimator=plan.family,
        classes=None if plan.model.classes is None else list(plan.model.classes),
        label_map=plan.label_map,
        input=emitted.input,
        outputs=emitted.outputs,
        margin=margin,
        features=FeatureContract(kind="caller", catalogue=None, names=plan.feature_names),
        findings=[
            RecordFinding(
                rule=finding.rule,
                severity=str(finding.severity),
                message=finding.message[:500],
                offset=finding.offset,
            )
            for finding in plan.vetted.findings
        ],
        parity=evidence.parity,
        probes=evidence.probes,
        trained_at=None if plan.training_date is None else utc_text(plan.training_date),
    )


def utc_text(moment: datetime) -> str:
    """``2025-01-08T12:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _description(environment: WorkerEnvironment) -> str:
    libraries = ", ".join(f"{name} {number}" for name, number in sorted(environment.versions.items()))
    return f"confined worker, {libraries}, one thread"


def _seed(source: SourceFile) -> int:
    return int(hashlib.sha256(source.sha256.encode()).hexdigest()[:8], 16)


def _numbers(values: Mapping[str, object]) -> dict[str, int | float | None] | None:
    found: dict[str, int | float | None] = {}
    for key, value in values.items():
        if isinstance(value, bool):
            found[key] = int(value)
        elif isinstance(value, int | float):
            found[key] = value if np.isfinite(value) else None
    return found or None
