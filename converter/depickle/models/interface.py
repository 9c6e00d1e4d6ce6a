# SPDX-License-Identifier: Apache-2.0
"""The contract between `read_model` and one module per family: what a reader gets and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from ..pickles.graph import Record
from .attributes import version_of
from .types import Ceiling, ClassLabel, Predictor, Task, Transform

__all__ = ["Context", "PredictorReader", "ReadPredictor", "ReadTransform", "TransformReader"]

MAX_NESTING = 16  # compositions inside compositions; deeper ones are hostile or mistaken


@dataclass(frozen=True)
class Context:
    """What a reader may know besides the record: who wrote it, and how to read a part.

    Attributes:
        writer: library to version.
        depth: how many compositions enclose the record.
        columns: number of input columns of this part where the composition knows it, else None.
        shared: whether other parts read the same rows, so that none may overwrite them.
        predictor: reads a nested predictor.
        transform: reads a nested transformer.
        fitted_before: a composition around took the part over as it was fitted, perhaps by earlier releases.
    """

    writer: Mapping[str, str]
    depth: int
    columns: int | None
    predictor: Callable[[Record, Context], ReadPredictor]
    transform: Callable[[Record, int, Context], ReadTransform]
    fitted_before: bool = False
    shared: bool = False

    def beside(self) -> Context:
        """The same for one of several readers of the same rows."""
        return replace(self, shared=True)

    def version(self, record: Record, library: str = "scikit-learn") -> tuple[int, int]:
        """(major, minor) that wrote `record`: its own `_sklearn_version` where it has one."""
        own = record.get("_sklearn_version") if library == "scikit-learn" else None
        writer = {library: own} if isinstance(own, str) else self.writer
        return version_of(writer, library, owner=record.name)


@dataclass(frozen=True, eq=False)
class ReadPredictor:
    """A predictor as read, with the facts of its input at its own place in the model."""

    task: Task
    classes: tuple[ClassLabel, ...] | None
    n_features: int
    root: Predictor
    ceiling: Ceiling
    reason: str
    allow_nan: bool
    allow_infinite: bool
    max_abs: float | None
    family: str
    decision_function: bool | None = False
    """The original has a decision_function (which some compositions prefer); None where the file does not tell."""
    exact_probabilities: bool = False
    """Its probabilities come out bit-equal."""
    unstated_probabilities: bool = False
    """The original has probabilities that are not emitted, so that nothing may ask for them."""
    single: bool = False
    """A regressor whose numbers are float32 in the original, which then adds them in float32."""


@dataclass(frozen=True, eq=False)
class ReadTransform:
    """A transformer as read: its steps, and the number of columns that come out."""

    steps: tuple[Transform, ...]
    columns: int
    allow_nan: bool
    """NaN is accepted at its input."""
    family: str
    removes_nan: bool = False
    """No NaN comes out."""
    sparse: bool = False
    """The original hands a sparse matrix on, with which some of its steps compute differently."""


PredictorReader: TypeAlias = Callable[[Record, Context], ReadPredictor]


class TransformReader(Protocol):
    """Reads one transformer class."""

    def __call__(self, record: Record, columns: int, context: Context) -> ReadTransform:
        """The transformer for an input of `columns` columns."""
