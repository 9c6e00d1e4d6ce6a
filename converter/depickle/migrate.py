# SPDX-License-Identifier: Apache-2.0
"""One legacy model: read → gate → typed model → emit → gate → worker → proof and parity → a model to publish.

Each stage returns a type of its own and the next accepts only that, so no stage can be left out. Nothing is
written here: a `ConvertedModel` is bytes, and `depickle.publishing` is the only way into a store.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from depickle_runtime.onnx_gate import check_onnx
from depickle_runtime.record import (
    SCHEMA_VERSION,
    ConversionRecord,
    FeatureContract,
    MarginContract,
    ProofRecord,
    RecordFinding,
    Signal,
    SourceRecord,
    Tier,
)
from depickle_runtime.session import open_session

from .emit import EmittedModel, emit_onnx
from .environments import WorkerEnvironment, match
from .errors import ParityError, UnsupportedModelError
from .labels import map_labels
from .models import TypedModel, read_model
from .naming import ArtefactName, name_artefact, parse_training_date
from .parity.check import Evidence, check_parity
from .parity.compare import NamedRows
from .parity.proof import prove
from .parity.rows import MadeRows, make_rows
from .pickles import Package, Policy, VettedPickle, open_package, vet
from .reference_rows import ReferenceRows
from .sandbox import ReferenceAnswers, Worker, open_worker
from .skops_files import write_skops
from .sources import SourceFile

__all__ = ["ConvertedModel", "Converter", "MigrationOptions", "Plan", "plan_model"]


@dataclass(frozen=True, kw_only=True)
class MigrationOptions:
    """What the operator decided for a run.

    Attributes:
        created: UTC time of the run; part of every name.
        symbol: symbol to use instead of the package's own.
        label_map: meaning of labels that have none by themselves.
        authorized_by: who authorised the migration.
        accept: tiers admitted by name beside `proven` and `certified`.
        reference: the user's own rows.
        gate_policy: what the gate admits; the shipped policy where None.
    """

    created: datetime
    symbol: str | None = None
    label_map: Mapping[str, Signal] | None = None
    authorized_by: str | None = None
    accept: frozenset[str] = frozenset()
    reference: ReferenceRows | None = None
    gate_policy: Policy | None = None


@dataclass(frozen=True)
class Plan:
    """What would become of a legacy file, found out without running anything of it."""

    name: ArtefactName
    family: str
    ceiling: Tier
    reason: str
    environment: WorkerEnvironment
    vetted: VettedPickle
    package: Package
    model: TypedModel
    emitted: EmittedModel
    label_map: list[Signal] | None
    training_date: datetime | None


@dataclass(frozen=True)
class ConvertedModel:
    """A model that answered as the original did, in bytes, not yet published."""

    source: SourceFile
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


def plan_model(source: SourceFile, options: MigrationOptions) -> Plan:
    """Gate a legacy file, read it as a typed model, and emit that; nothing of the file runs.

    Raises:
        GateRefusedError: a rule of the gate.
        UnsupportedModelError: not a package or a model that can be read and emitted.
        EnvironmentMissingError: no interpreter with the writer's library versions.
        ConverterError: the symbol or the meaning of the labels cannot be told.
    """
    vetted = vet(source.data, policy=options.gate_policy, where=source.name)
    package = open_package(vetted)
    environment = match(vetted.writer)
    model = read_model(package.estimator, writer=vetted.writer)
    emitted = emit_onnx(model)
    training_date = parse_training_date(package.training_date, source.name)
    name = name_artefact(
        file_name=source.name,
        package_symbol=package.symbol,
        package_name=_text(package.metadata.get("name")) or _text(package.metadata.get("model_name")),
        package_version=_text(package.metadata.get("version")),
        training_date=training_date,
        created=options.created,
        symbol=options.symbol,
    )
    signals = (
        map_labels(model.classes, options.label_map, source.name)
        if model.task == "classifier" and model.classes is not None
        else None
    )
    return Plan(
        name=name,
        family=model.family,
        ceiling=model.ceiling,
        reason=model.reason,
        environment=environment,
        vetted=vetted,
        package=package,
        model=model,
        emitted=emitted,
        label_map=signals,
        training_date=training_date,
    )


class Converter:
    """Converts legacy files, keeping one warm worker per library version.

    >>> with Converter(options) as converter:  # doctest: +SKIP
    ...     model = converter.convert(read_source(path))
    """

    def __init__(self, options: MigrationOptions) -> None:
        self._options = options
        self._workers: dict[str, Worker] = {}
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
        self._stack.close()

    def convert(self, source: SourceFile) -> ConvertedModel:
        """Convert one legacy file.

        Raises:
            SecurityError: any of `plan_model`'s; `SandboxError` where the worker failed; `ParityError` where the
                new model does not answer as the original, or its tier is not admitted.
        """
        plan = plan_model(source, self._options)
        proof = prove(
            plan.package.estimator,
            plan.emitted.onnx,
            outputs=plan.emitted.outputs,
            writer=plan.vetted.writer,
            where=source.name,
        )
        tier: Tier = plan.ceiling if proof is not None else "sampled"
        if tier == "sampled" and "sampled" not in self._options.accept:
            raise ParityError(
                "The model can be compared on samples only",
                code="DP704",
                where=source.name,
                found=f"tier sampled: {plan.reason}",
                expected="tier proven or certified",
                next_step=f"depickle migrate --accept sampled {source.name}",
            )
        made = self._rows(plan, source)
        evidence = self._evidence(plan, source, made, proof)
        stem = plan.name.stem
        return ConvertedModel(
            source=source,
            name=plan.name,
            stem=stem,
            onnx=plan.emitted.onnx,
            skops=write_skops(plan.package.estimator, writer=plan.vetted.writer),
            record=_record(plan, source, tier, evidence, proof, self._options),
            feature_names=_feature_names(plan),
            performance=_numbers(plan.package.performance),
            training_data_hash=_text(plan.package.metadata.get("training_data_hash")),
            authorized_by=self._options.authorized_by,
        )

    def _worker(self, environment: WorkerEnvironment) -> Worker:
        worker = self._workers.get(environment.name)
        if worker is None:
            worker = self._stack.enter_context(open_worker(environment))
            self._workers[environment.name] = worker
        return worker

    def _rows(self, plan: Plan, source: SourceFile) -> MadeRows:
        contract = plan.emitted.input
        made = make_rows(
            plan.package.estimator,
            features=contract.features,
            allow_nan=contract.allow_nan,
            max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
            seed=_seed(source),
        )
        reference = self._options.reference
        if reference is None:
            return made
        users = NamedRows("reference", reference.columns(_feature_names(plan), contract.features))
        return MadeRows(sets=(users, *made.sets), splits=made.splits, splits_reached=made.splits_reached)

    def _evidence(
        self, plan: Plan, source: SourceFile, made: MadeRows, proof: ProofRecord | None
    ) -> Evidence:
        worker = self._worker(plan.environment)
        outputs = plan.emitted.outputs
        methods = ["predict"]
        if outputs.probabilities is not None:
            methods.append("predict_proba")

        def reference(rows: npt.NDArray[np.float64]) -> ReferenceAnswers:
            return worker.answers(plan.vetted, plan.package.estimator_path, rows, methods=tuple(methods))

        session = open_session(
            check_onnx(plan.emitted.onnx), contract=plan.emitted.input, outputs=plan.emitted.outputs
        )
        if proof is not None:
            proof = ProofRecord(
                method=proof.method,
                trees=proof.trees,
                splits=proof.splits,
                leaves=proof.leaves,
                constants=proof.constants,
                splits_reached=made.splits_reached,
            )
        return check_parity(
            made.sets,
            reference=reference,
            session=session,
            contract=plan.emitted.input,
            task=plan.emitted.task,
            classes=plan.model.classes,
            proof=proof,
            reference_description=_description(plan.environment),
            users_rows=self._options.reference is not None,
            conditions={
                "dtype": plan.emitted.input.dtype,
                "threads": "1",
                "seed": str(_seed(source)),
                "splits_in_rows": str(made.splits_reached),
            },
            where=source.name,
        )


def _record(
    plan: Plan,
    source: SourceFile,
    tier: Tier,
    evidence: Evidence,
    proof: ProofRecord | None,
    options: MigrationOptions,
) -> ConversionRecord:
    margin = None
    if plan.emitted.outputs.margin is not None:
        margin = MarginContract(
            gamma=float(plan.emitted.gamma).hex() if plan.emitted.gamma is not None else "0x0p+0",
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
        versions={name: version(name) for name in ("depickle", "onnx", "onnxruntime", "numpy")},
        architecture=platform.machine(),
        derived="graph",
        tier=tier,
        task=plan.emitted.task,
        estimator=plan.family,
        classes=None if plan.model.classes is None else list(plan.model.classes),
        label_map=plan.label_map,
        input=plan.emitted.input,
        outputs=plan.emitted.outputs,
        margin=margin,
        features=FeatureContract(kind="caller", catalogue=None, names=_feature_names(plan)),
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


def _feature_names(plan: Plan) -> list[str] | None:
    """The package's own list where it has one of the right length, else what the estimator recorded.

    Raises:
        UnsupportedModelError: DP812 or DP813 where the two disagree: a row in the wrong order is a wrong answer.
    """
    packaged, recorded = plan.package.feature_names, plan.model.feature_names
    if packaged is not None and len(packaged) != plan.emitted.input.features:
        raise UnsupportedModelError(
            "The package lists another number of features than its model takes",
            code="DP812",
            where=plan.name.model_name,
            found=f"{len(packaged)} names",
            expected=f"{plan.emitted.input.features} names",
            next_step="depickle inspect FILE",
        )
    if packaged is not None and recorded is not None and tuple(packaged) != tuple(recorded):
        raise UnsupportedModelError(
            "The package and its model list different features",
            code="DP813",
            where=plan.name.model_name,
            found=", ".join(packaged[:8]),
            expected=", ".join(recorded[:8]),
            next_step="depickle inspect FILE",
        )
    names = packaged if packaged is not None else recorded
    return None if names is None else list(names)


def _numbers(values: Mapping[str, object]) -> dict[str, int | float | None] | None:
    found: dict[str, int | float | None] = {}
    for key, value in values.items():
        if isinstance(value, bool):
            found[key] = int(value)
        elif isinstance(value, int | float):
            found[key] = value if np.isfinite(value) else None
    return found or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
