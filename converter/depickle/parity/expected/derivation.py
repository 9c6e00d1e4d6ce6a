# SPDX-License-Identifier: Apache-2.0
"""Passes an estimator to the derivation of its class, as often as compositions nest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...pickles.graph import Record, TupleNode, plain
from ..walk import Expected
from .inexact import conditions, hold_back
from .lightgbm import lightgbm_columns
from .not_derived import NotDerivedError
from .reading import Writer, flag, integer, items, record, records, text, unreadable, version
from .vocabulary import Answer
from .xgboost import xgboost_columns

__all__ = [
    "Derivation",
    "Family",
    "NotDerivedError",
    "Transformer",
    "holds_trees",
    "steps",
    "width_of",
]

MAX_NESTING = 24
"""Compositions within compositions; the typed model allows fewer."""


@dataclass(frozen=True)
class Derivation:
    """What a family needs of its surroundings.

    Attributes:
        writer: library versions that wrote the file.
        families: derivation of each predictor class.
        transformers: derivation of each transformer class.
        depth: how many compositions enclose the estimator.
        shared: whether others read the same rows, so that no step may overwrite them.
        sparse_readers: predictors that compute with a sparse matrix as with the same numbers in full.
        elsewhere: whether an earlier release than that of the composition may have fitted the estimator.
        compared: whether trees follow the transformers of the pipeline.
    """

    writer: Writer
    families: Mapping[str, Family]
    transformers: Mapping[str, Transformer]
    depth: int = 0
    shared: bool = False
    sparse_readers: frozenset[str] = frozenset()
    elsewhere: bool = False
    compared: bool = False

    def version(self, owner: Record) -> tuple[int, int]:
        """(major, minor) of the scikit-learn that wrote `owner`."""
        return version(owner, self.writer)

    def beside(self) -> Derivation:
        """The same for one of several readers of the same rows."""
        return replace(self, shared=True)

    def given(self, *, fitted: bool = True) -> Derivation:
        """The same for an estimator that the composition got as it was, if it was `fitted` before."""
        return replace(self, elsewhere=self.elsewhere or fitted)

    def answer(self, owner: Record, rows: Expected) -> Answer:
        """What `owner` answers for `rows`.

        Raises:
            NotDerivedError: for a class without a derivation.
            ParityError: DP710 where a fitted attribute is not what its class documents.
        """
        if self.depth > MAX_NESTING:
            raise NotDerivedError(owner.cls)
        inner = replace(self, depth=self.depth + 1)
        if owner.cls == "sklearn.pipeline.Pipeline":
            *before, last = steps(owner)
            if not before:
                return inner.answer(last, rows)
            outside = conditions(rows)  # those are for the composition around to hold back
            front = replace(inner, compared=holds_trees(last))
            rows, _ = front.transformed(before, rows, width_of(before[0]))
            if _gives_sparse(before[-1]) and _searched(last).cls not in self.sparse_readers:
                raise NotDerivedError("a predictor of sparse columns")
            own = [flag for flag in conditions(rows) if flag not in outside]
            return hold_back(inner.answer(last, rows), own)
        family = self.families.get(owner.cls)
        if family is None:
            raise NotDerivedError(owner.cls)
        return family(owner, rows, inner)

    def transformed(self, chain: list[Record], rows: Expected, width: int) -> tuple[Expected, int]:
        """`rows` after each transformer in turn, and their width."""
        if self.depth > MAX_NESTING:
            raise NotDerivedError("transformers within transformers")
        for place, step in enumerate(chain):
            if place and _gives_sparse(chain[place - 1]):  # scalers multiply those by a reciprocal
                raise NotDerivedError("a step behind sparse columns")
            transformer = self.transformers.get(step.cls)
            if transformer is None:
                raise NotDerivedError(step.cls)
            if self.shared and plain(step.get("copy", True)) is not True:
                raise NotDerivedError("a step that overwrites the rows of others")
            rows, width = transformer(step, rows, width, self)
        return rows, width


_TREES = (
    "sklearn.tree.",
    *(
        f"sklearn.ensemble._{name}."
        for name in ("forest", "gb", "hist_gradient_boosting", "iforest", "weight_boosting")
    ),
    "lightgbm.",
    "xgboost.",
)
_PARTS = (
    "best_estimator_",
    "estimators_",
    "calibrated_classifiers_",
    "estimator_",
    "estimator",
    "base_estimator",
)
"""Where compositions keep what they fitted; the last two are templates where an earlier one is there."""


def holds_trees(predictor: Record, depth: int = 0) -> bool:
    """Whether trees are among what `predictor` asks, at any depth."""
    if depth > MAX_NESTING:
        raise NotDerivedError(predictor.cls)
    if predictor.cls.startswith(_TREES):
        return True
    parts: list[Record] = []
    if predictor.cls == "sklearn.pipeline.Pipeline":
        parts = steps(predictor)[-1:]
    else:
        name = next((name for name in _PARTS if predictor.get(name) is not None), None)
        if name is not None:
            value = predictor.get(name)
            parts = [value] if isinstance(value, Record) else records(predictor, name)
        final = predictor.get("final_estimator_")
        parts += [final] if isinstance(final, Record) else []
    return any(holds_trees(part, depth + 1) for part in parts)


Family = Callable[[Record, Expected, Derivation], Answer]
Transformer = Callable[[Record, Expected, int, Derivation], tuple[Expected, int]]
"""From a transformer, the rows and their width to the transformed rows and theirs."""


def steps(pipeline: Record) -> list[Record]:
    """The steps of a pipeline that do something."""
    found = []
    for item in items(pipeline, "steps"):
        if not isinstance(item, TupleNode) or len(item) != 2:
            raise unreadable(pipeline, "steps", "pairs of a name and an estimator")
        if isinstance(item[1], Record):
            found.append(item[1])
        elif plain(item[1]) not in (None, "passthrough"):
            raise unreadable(pipeline, "steps", "an estimator or 'passthrough'")
    if not found:
        raise unreadable(pipeline, "steps", "at least one estimator")
    return found


def _gives_sparse(step: Record) -> bool:
    """Whether a transformer's output is a sparse matrix."""
    match step.name:
        case "OneHotEncoder":
            return flag(step, "sparse_output", default=True)
        case "KBinsDiscretizer":
            return text(step, "encode") == "onehot"
        case "RandomTreesEmbedding":
            return _gives_sparse(record(step, "one_hot_encoder_"))
        case "FrozenEstimator":
            return _gives_sparse(record(step, "estimator"))
        case "Pipeline":
            return _gives_sparse(steps(step)[-1])
        case "FeatureUnion":
            parts = [item[1] for item in items(step, "transformer_list") if isinstance(item, TupleNode)]
            return any(_gives_sparse(part) for part in parts if isinstance(part, Record))
    return False


def _searched(owner: Record) -> Record:
    """What a search refitted, which answers in its place."""
    while owner.name.endswith("SearchCV"):
        owner = record(owner, "best_estimator_")
    return owner


def width_of(owner: Record) -> int:
    """Number of input columns of an estimator, found where it is kept."""
    if owner.module.startswith("lightgbm."):
        return lightgbm_columns(owner)
    if owner.module.startswith("xgboost."):
        return xgboost_columns(owner)
    if owner.get("n_features_in_") is not None:
        return integer(owner, "n_features_in_")
    if owner.cls == "sklearn.isotonic.IsotonicRegression":
        return 1
    if owner.cls == "sklearn.pipeline.Pipeline":
        return width_of(steps(owner)[0])
    if owner.cls == "sklearn.pipeline.FeatureUnion":
        for item in items(owner, "transformer_list"):
            if isinstance(item, TupleNode) and len(item) == 2 and isinstance(item[1], Record):
                return width_of(item[1])
    for name in ("best_estimator_", "estimator_", "regressor_"):
        if isinstance(owner.get(name), Record):
            return width_of(record(owner, name))
    for name in ("estimators_", "calibrated_classifiers_"):
        if owner.get(name) is not None and records(owner, name):
            return width_of(records(owner, name)[0])
    return width_of(record(owner, "base_estimator" if owner.get("estimator") is None else "estimator"))
