# SPDX-License-Identifier: Apache-2.0
"""The conversion record: how an artefact came to be, what it promises, and how to call it.

Stored as ``.metadata/<stem>.conversion.json`` and pinned by the release. Floating-point values that must
survive exactly are hexadecimal strings (`float.hex`, ``nan``), because JSON has neither NaN nor exactness.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "SCHEMA_VERSION",
    "ConversionRecord",
    "FeatureContract",
    "InputContract",
    "MarginContract",
    "OutputNames",
    "ParityRecord",
    "ProbeRows",
    "ProofRecord",
    "RecordFinding",
    "RowSet",
    "SourceRecord",
    "Task",
    "Tier",
]

SCHEMA_VERSION: Literal[1] = 1

Tier = Literal["proven", "certified", "sampled"]
Task = Literal["classifier", "regressor", "outlier"]
Signal = Literal["sell", "wait", "buy"]


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Immutable; an unknown field is an error."""


class SourceRecord(_Value, frozen=True):
    """The legacy file that was converted."""

    name: str
    sha256: str
    size: int
    container: str
    writer: dict[str, str]
    """Library name to version, as read out of the file without loading it."""


class RecordFinding(_Value, frozen=True):
    """A gate finding that did not refuse the file."""

    rule: str
    severity: str
    message: str
    offset: int | None


class InputContract(_Value, frozen=True):
    """What a row must look like: F columns of one dtype, and which special values the original admits."""

    name: str
    dtype: Literal["float64", "float32"]
    """Dtype that the original was called with; rows are converted to it before anything compares."""
    graph_dtype: Literal["float64", "float32"]
    """Dtype of the ONNX input tensor."""
    features: int
    allow_nan: bool
    allow_infinite: bool
    max_abs: str | None
    """Hexadecimal bound on |x| past which the original raises (the float32 range for forests), or None."""


class OutputNames(_Value, frozen=True):
    """Names of the ONNX outputs; None where the model has no such output."""

    label: str | None
    class_index: str | None
    """int64 [N]: index into `ConversionRecord.classes`."""
    probabilities: str | None
    """[N, C]."""
    scores: str | None
    """Raw scores or decision values, [N, 1] or [N, C]; for regressors the prediction [N, 1]."""
    margin: str | None = None
    bound: str | None = None
    """[N]: what `margin` must exceed; of a regressor, which has none, how far `scores` may be from the original's."""


class MarginContract(_Value, frozen=True):
    """A row's label is certified where the output `margin` exceeds the output `bound`; elsewhere abstain."""

    gamma: str
    """Hexadecimal γₙ of the bound 2γₙ(Σ|w·z|+|b|); N. Higham, Accuracy and Stability, section 3.1."""
    certified_fraction: str
    """Share of reference rows above the bound."""


class FeatureContract(_Value, frozen=True):
    """Which features a row holds, in order, and who computes them."""

    kind: Literal["caller", "catalogue"]
    catalogue: str | None
    names: list[str] | None


class RowSet(_Value, frozen=True):
    """One set of rows on which both models answered."""

    name: str
    rows: int
    label_flips: int
    max_ulp_probabilities: int | None
    max_ulp_scores: int | None
    digest: str
    """SHA-256 of the rows as little-endian float64, row-major."""


class ProofRecord(_Value, frozen=True):
    """What translation validation walked; None of it is a sample."""

    method: str
    trees: int
    splits: int
    leaves: int
    constants: int
    splits_reached: int


class ParityRecord(_Value, frozen=True):
    """The evidence that the new model answers as the old one did."""

    reference: str
    """Who gave the reference answers: library versions and thread conditions."""
    rows: list[RowSet]
    label_flips: int
    proof: ProofRecord | None
    reference_rows: bool
    """True where the user's own rows were given."""
    conditions: dict[str, str]


class ProbeRows(_Value, frozen=True):
    """Stored rows with their answers: guards against another onnxruntime build or architecture."""

    rows: list[list[str]]
    class_index: list[int] | None
    probabilities: list[list[str]] | None
    scores: list[list[str]] | None


class ConversionRecord(_Value, frozen=True):
    """Everything about a conversion that the guide's metadata has no field for."""

    schema_version: Literal[1]
    stem: str
    symbol: str
    created_at: str
    source: SourceRecord
    versions: dict[str, str]
    """depickle, onnxruntime, onnx, numpy of the converting host."""
    architecture: str
    derived: Literal["graph", "worker"]
    """graph: the ONNX file was derived from the inert graph; worker: it is the confined child's work."""
    tier: Tier
    task: Task
    estimator: str
    classes: list[int | float | str | bool] | None
    label_map: list[Signal] | None
    """Signal of each class, in the order of `classes`; None where labels have no trading meaning."""
    input: InputContract
    outputs: OutputNames
    margin: MarginContract | None
    features: FeatureContract
    findings: list[RecordFinding]
    parity: ParityRecord
    probes: ProbeRows
    trained_at: str | None = None
    """When the original was trained, by its own word or its file name; UTC."""
