# SPDX-License-Identifier: Apache-2.0
"""What would become of a legacy file: gated, read, emitted and walked as data; nothing of it runs.

`plan_model` is the first half of a migration and the whole of `depickle migrate --plan`, so the two cannot differ in
what they refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from depickle_runtime.record import ProofRecord, Signal, Tier
from depickle_runtime.trust import DEFAULT_TIERS

from .emit import EmittedModel, emit_onnx
from .emit.fallback import FALLBACK_CODES, FallbackModel, read_fallback
from .environments import WorkerEnvironment, match
from .errors import ParityError, UnsupportedModelError
from .labels import map_labels
from .models import TypedModel, read_model
from .naming import ArtefactName, name_artefact, parse_training_date
from .parity.proof import prove
from .pickles import Package, Policy, VettedPickle, open_package, vet
from .reference_rows import ReferenceRows
from .sources import SourceFile

__all__ = ["MigrationOptions", "Plan", "name_source", "plan_model", "told"]


@dataclass(frozen=True, kw_only=True)
class MigrationOptions:
    """What the operator decided for a run.

    Attributes:
        created: UTC time of the run; part of every name.
        symbol: symbol to use instead of the package's own.
        label_map: meaning of labels that have none by themselves.
        authorized_by: who authorised the migration.
        accept: tiers admitted by name beside `proven` and `certified`.
        admitted: tiers that the trust policy admits; another is refused before anything is published.
        reference: the user's own rows.
        gate_policy: what the gate admits; the shipped policy where None.
    """

    created: datetime
    symbol: str | None = None
    label_map: Mapping[str, Signal] | None = None
    authorized_by: str | None = None
    accept: frozenset[str] = frozenset()
    admitted: frozenset[str] = DEFAULT_TIERS
    reference: ReferenceRows | None = None
    gate_policy: Policy | None = None


@dataclass(frozen=True)
class Plan:
    """What would become of a legacy file, found out without running anything of it."""

    name: ArtefactName
    family: str
    tier: Tier
    proof: ProofRecord | None
    environment: WorkerEnvironment
    vetted: VettedPickle
    package: Package
    model: TypedModel | FallbackModel
    emitted: EmittedModel | None
    """None where the model has no exact conversion: the worker will convert it, as the operator admitted by name."""
    feature_names: list[str] | None
    label_map: list[Signal] | None
    training_date: datetime | None


def plan_model(source: SourceFile, options: MigrationOptions) -> Plan:
    """Gate a legacy file, read it as a typed model, emit that, and walk the two; nothing of the file runs.

    Raises:
        GateRefusedError: a rule of the gate.
        UnsupportedModelError: not a package or a model that can be read and emitted.
        EnvironmentMissingError: no interpreter with the writer's library versions.
        ParityError: the walk found a difference, or DP704 or DP841, the tier is not admitted.
        ConverterError: the symbol or the meaning of the labels cannot be told.
    """
    vetted = vet(source.data, policy=options.gate_policy, where=source.name)
    package = open_package(vetted)
    environment = match(vetted.writer)
    model, emitted = _model(package, vetted, environment, options)
    training_date = _training_date(package, source)
    name = _name(package, source, options, training_date)
    signals = (
        map_labels(model.classes, options.label_map, source.name)
        if model.task == "classifier" and model.classes is not None
        else None
    )
    names = _feature_names(package, model, source.name)
    proof = None
    if emitted is not None:
        proof = prove(
            package.estimator,
            emitted.onnx,
            outputs=emitted.outputs,
            writer=vetted.writer,
            where=source.name,
        )
    return Plan(
        name=name,
        family=model.family,
        tier=_admitted_tier(model, proof, options, source),
        proof=proof,
        environment=environment,
        vetted=vetted,
        package=package,
        model=model,
        emitted=emitted,
        feature_names=names,
        label_map=signals,
        training_date=training_date,
    )


def name_source(source: SourceFile, options: MigrationOptions) -> ArtefactName:
    """The name that a legacy file would get, without reading the model in it.

    Raises:
        GateRefusedError: a rule of the gate.
        UnsupportedModelError: not a package.
        ConverterError: DP810, the symbol cannot be told.
    """
    package = open_package(vet(source.data, policy=options.gate_policy, where=source.name))
    return _name(package, source, options, _training_date(package, source))


def told(package: Package, *keys: str) -> str | None:
    """What the package says of itself under one of `keys`, at its top or under ``metadata``."""
    inner = package.metadata.get("metadata")
    for level in (package.metadata, inner if isinstance(inner, Mapping) else {}):
        for key in keys:
            if found := _text(level.get(key)):
                return found
    return None


def _training_date(package: Package, source: SourceFile) -> datetime | None:
    text = package.training_date or told(package, "training_date", "trained_at", "train_date")
    return parse_training_date(text, source.name)


def _name(
    package: Package, source: SourceFile, options: MigrationOptions, training_date: datetime | None
) -> ArtefactName:
    return name_artefact(
        file_name=source.name,
        package_symbol=package.symbol or told(package, "symbol"),
        package_name=told(package, "name", "model_name"),
        package_version=told(package, "version", "model_version"),
        training_date=training_date,
        created=options.created,
        symbol=options.symbol,
    )


def _model(
    package: Package, vetted: VettedPickle, environment: WorkerEnvironment, options: MigrationOptions
) -> tuple[TypedModel | FallbackModel, EmittedModel | None]:
    """The model read and emitted exactly; or, where that is refused and `--accept sampled` was given, its facts."""
    try:
        model = read_model(package.estimator, writer=vetted.writer)
        return model, emit_onnx(model)
    except UnsupportedModelError as refusal:
        if "sampled" not in options.accept or refusal.code not in FALLBACK_CODES:
            raise
        return read_fallback(package.estimator, is_running=environment.is_running), None


def _admitted_tier(
    model: TypedModel | FallbackModel,
    proof: ProofRecord | None,
    options: MigrationOptions,
    source: SourceFile,
) -> Tier:
    tier: Tier = model.ceiling if proof is not None else "sampled"
    if tier == "sampled" and tier not in options.accept:
        raise ParityError(
            "The model can be compared on samples only",
            code="DP704",
            where=source.name,
            found=f"tier sampled: {model.reason or 'its arithmetic cannot be walked'}",
            expected="tier proven or certified",
            next_step="depickle migrate --accept sampled, if answers on sampled rows are evidence enough",
        )
    if tier not in options.admitted:
        raise ParityError(
            "The trust policy does not admit the model's tier",
            code="DP841",
            where=source.name,
            found=f"tier {tier}",
            expected=f"tier {' or '.join(sorted(options.admitted)) or 'none'}",
            next_step="add the tier to admitted_tiers of the trust policy, if its evidence is enough",
        )
    return tier


def _feature_names(package: Package, model: TypedModel | FallbackModel, where: str) -> list[str] | None:
    """The package's own list where it has one of the right length, else what the estimator recorded.

    Raises:
        UnsupportedModelError: DP812 or DP813 where the two disagree: a row in the wrong order is a wrong answer.
    """
    packaged, recorded = package.feature_names, model.feature_names
    if packaged is not None and len(packaged) != model.n_features:
        raise UnsupportedModelError(
            "The package lists another number of features than its model takes",
            code="DP812",
            where=where,
            found=f"{len(packaged)} names",
            expected=f"{model.n_features} names",
            next_step="depickle inspect shows both lists; correct the package where it was written",
        )
    if packaged is not None and recorded is not None and tuple(packaged) != tuple(recorded):
        pairs = enumerate(zip(packaged, recorded, strict=False))
        at = next((place for place, (a, b) in pairs if a != b), min(len(packaged), len(recorded)) - 1)
        raise UnsupportedModelError(
            "The package and its model list different features",
            code="DP813",
            where=where,
            found=f"{packaged[at]} as feature {at} of the package",
            expected=f"{recorded[at]}, as the model recorded it",
            next_step="depickle inspect shows both lists; correct the package where it was written",
        )
    names = packaged if packaged is not None else recorded
    return None if names is None else list(names)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
