# SPDX-License-Identifier: Apache-2.0
"""`emit_onnx`: a typed model as canonical ONNX bytes, with the contract of its input and the names of its outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never

import numpy as np

from depickle_runtime.record import InputContract, OutputNames

from ..errors import UnsupportedModelError
from ..models.dense_types import Network
from ..models.score_types import Constant, Interpolated, Likelihood
from ..models.stored_types import Neighbours, SupportVectors
from ..models.types import (
    Averaged,
    Boosted,
    Calibrated,
    Chain,
    ClassLabel,
    Continued,
    Forest,
    HardVote,
    Isolation,
    Linear,
    Median,
    OneVsOne,
    OneVsRest,
    Predictor,
    Stacked,
    Thresholded,
    Transformed,
    TreeVotes,
    TypedModel,
    Votes,
    walk_predictors,
)
from .boosted import emit_boosted
from .certain import Rows, emit_steps, held_back
from .compositions import (
    emit_averaged,
    emit_calibrated,
    emit_hard_vote,
    emit_stacked,
    emit_thresholded,
)
from .continued import emit_continued
from .forests import emit_forest
from .graph import Element, Graph
from .interface import Heads
from .isolation import emit_isolation
from .likelihood import emit_likelihood
from .linear import emit_linear
from .links import last_axis
from .multiclass import emit_one_vs_one, emit_one_vs_rest
from .neighbours import emit_neighbours
from .networks import emit_linear_behind, emit_network
from .paths import boosted_cuts, certain_paths, forest_cuts, hold_paths
from .responses import emit_constant, emit_interpolated, emit_transformed
from .support_vectors import emit_support_vectors
from .weight_boosting import emit_median, emit_tree_votes, emit_votes

__all__ = ["EmittedModel", "emit_onnx"]

INPUT = "X"
MAX_BYTES = 1 << 30  # 1 GiB; protobuf itself stops at 2


@dataclass(frozen=True)
class EmittedModel:
    """An ONNX file and how to call it.

    Attributes:
        onnx: canonical bytes.
        input: contract of the rows.
        outputs: names of the outputs.
        task: classifier, regressor or outlier.
        classes: labels in the order of `class_index`, or None.
        gamma: constant of the bound of a label, where `outputs.margin` exists.
        max_batch: rows a run should hold at most, or None where memory grows with the outputs only.
    """

    onnx: bytes
    input: InputContract
    outputs: OutputNames
    task: Literal["classifier", "regressor", "outlier"]
    classes: tuple[ClassLabel, ...] | None
    gamma: float | None
    max_batch: int | None


def emit_onnx(model: TypedModel) -> EmittedModel:
    """ONNX that answers as `model` does.

    Raises:
        UnsupportedModelError: DP612 where the file would exceed `MAX_BYTES`.
    """
    graph = Graph()
    x = graph.input(INPUT, "float64", model.n_features)
    heads = emit_predictor(graph, Rows(x), model.root)
    outputs = _outputs(graph, model, heads)
    try:
        data = graph.to_bytes()
    except ValueError as error:  # protobuf refuses to serialise past its own limit
        raise _too_large(str(error)) from error
    if len(data) > MAX_BYTES:
        raise _too_large(f"{len(data)} bytes")
    return EmittedModel(
        onnx=data,
        input=InputContract(
            name=INPUT,
            dtype=model.facts.dtype,
            graph_dtype="float64",
            features=model.n_features,
            allow_nan=model.facts.allow_nan,
            allow_infinite=model.facts.allow_infinite,
            max_abs=None if model.facts.max_abs is None else model.facts.max_abs.hex(),
        ),
        outputs=outputs,
        task=model.task,
        classes=model.classes,
        gamma=heads.gamma,
        max_batch=heads.max_batch,
    )


def emit_predictor(graph: Graph, rows: Rows, predictor: Predictor) -> Heads:
    """Append `predictor` to `graph`, on rows of which not everything need be certain."""
    match predictor:
        case Chain():
            behind = emit_steps(graph, replace(rows, compared=_has_trees(predictor)), predictor.steps)
            heads = emit_predictor(graph, replace(behind, known=()), predictor.predictor)
            return held_back(graph, heads, behind.known)
        case Network():
            return emit_network(graph, rows, predictor)
        case SupportVectors():
            return emit_support_vectors(graph, rows, predictor)
        case Neighbours():
            return emit_neighbours(graph, rows.value, predictor)
        case Forest():
            heads = emit_forest(graph, rows.value, predictor)
            return hold_paths(graph, heads, certain_paths(graph, rows, forest_cuts(predictor, rows.doubt)))
        case Likelihood():
            return emit_likelihood(graph, rows.value, predictor)
        case Constant():
            return emit_constant(graph, rows.value, predictor)
        case Interpolated():
            return emit_interpolated(graph, rows.value, predictor)
        case Transformed():
            return emit_transformed(graph, rows, predictor, emit_predictor)
        case TreeVotes():
            heads = emit_tree_votes(graph, rows.value, predictor)
            cuts = forest_cuts(predictor.forest, rows.doubt)
            return hold_paths(graph, heads, certain_paths(graph, rows, cuts))
        case Boosted():
            heads = emit_boosted(graph, rows.value, predictor)
            return hold_paths(graph, heads, certain_paths(graph, rows, boosted_cuts(predictor, rows.doubt)))
        case Linear():
            if rows.error is not None:
                return emit_linear_behind(graph, rows, predictor)
            return emit_linear(graph, rows.value, predictor)
        case Isolation():
            heads = emit_isolation(graph, rows.value, predictor)
            cuts = forest_cuts(predictor.forest, rows.doubt)
            return hold_paths(graph, heads, certain_paths(graph, rows, cuts))
        case Averaged():
            return emit_averaged(graph, rows, predictor, emit_predictor)
        case HardVote():
            return emit_hard_vote(graph, rows, predictor, emit_predictor)
        case Votes():
            return emit_votes(graph, rows, predictor, emit_predictor)
        case Median():
            return emit_median(graph, rows, predictor, emit_predictor)
        case Calibrated():
            return emit_calibrated(graph, rows, predictor, emit_predictor)
        case Continued():
            return emit_continued(graph, rows.value, predictor, _emit_exact)
        case Thresholded():
            return emit_thresholded(graph, rows, predictor, emit_predictor)
        case OneVsRest():
            return emit_one_vs_rest(graph, rows, predictor, emit_predictor)
        case OneVsOne():
            return emit_one_vs_one(graph, rows, predictor, emit_predictor)
        case Stacked():
            return emit_stacked(graph, rows, predictor, emit_predictor)
        case _:
            assert_never(predictor)


def _has_trees(predictor: Predictor) -> bool:
    """Whether trees are part of `predictor`."""
    return any(isinstance(part, Forest | Boosted) for part in walk_predictors(predictor))


def _emit_exact(graph: Graph, x: str, predictor: Predictor) -> Heads:
    return emit_predictor(graph, Rows(x), predictor)


def _outputs(graph: Graph, model: TypedModel, heads: Heads) -> OutputNames:
    label = index = probabilities = scores = margin = bound = None
    if heads.class_index is not None and model.classes is not None:
        label = _label(graph, heads.class_index, model.classes)
        index = graph.output(heads.class_index, "class_index", "int64", (None,))
    if heads.probabilities is not None and model.classes is not None:
        shape = (None, len(model.classes))
        probabilities = graph.output(heads.probabilities, "probabilities", "float64", shape)
    if heads.scores is not None:
        scores = graph.output(heads.scores, "scores", "float64", (None, heads.scores_width))
    if heads.margin is not None and heads.bound is not None:
        margin = graph.output(heads.margin, "margin", "float64", (None,))
        bound = graph.output(heads.bound, "bound", "float64", (None,))
    elif heads.class_index is None and isinstance(heads.score_error, str):
        # Of a number, not of a label: how far it may be from the original's.
        error = graph.add("Squeeze", heads.score_error, last_axis(graph))
        bound = graph.output(error, "bound", "float64", (None,))
    return OutputNames(
        label=label,
        class_index=index,
        probabilities=probabilities,
        scores=scores,
        margin=margin,
        bound=bound,
    )


def _label(graph: Graph, index: str, classes: tuple[ClassLabel, ...]) -> str:
    element: Element
    if isinstance(classes[0], str):
        element, table = "string", graph.strings([str(label) for label in classes])
    elif isinstance(classes[0], float):
        element, table = "float64", graph.constant(np.array(classes, dtype=np.float64), "float64")
    else:
        element, table = "int64", graph.constant(np.array([int(label) for label in classes]), "int64")
    return graph.output(graph.add("Gather", table, index, axis=0), "label", element, (None,))


def _too_large(found: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "The ONNX file would be too large",
        code="DP612",
        where="emit_onnx",
        found=found,
        expected=f"at most {MAX_BYTES} bytes",
        next_step="Fit with fewer or shallower trees",
    )
