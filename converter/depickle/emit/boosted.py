# SPDX-License-Identifier: Apache-2.0
"""Boosting: one `TreeEnsemble` whose first tree is the prior, so that sums start where the original's start."""

from __future__ import annotations

import numpy as np

from ..models.trees import constant_tree
from ..models.types import Boosted, FloatArray
from .category_sets import add_category_columns
from .ensembles import EnsembleTree, add_ensemble, constant_ensemble_tree
from .graph import Element, Graph
from .interface import Heads
from .links import distinct_gap, gap, join_columns, label_index, logistic, probabilities
from .spread import EXP_SPREAD, SINGLE_SPREAD, UNKNOWN, as_bound

__all__ = ["emit_boosted", "emit_decision", "narrowed"]


def emit_boosted(graph: Graph, x: str, model: Boosted) -> Heads:
    """`model` on `x` [N, F] of float64."""
    element: Element = model.precision
    x = _inputs(graph, x, model)
    if model.floored:
        x = graph.add("Where", _mask(graph, model.floored, model.columns), graph.add("Floor", x), x)
    if model.weights is not None:
        return emit_decision(graph, _dense_sums(graph, x, model, model.weights, element), model)
    x, asking = add_category_columns(graph, x, model.trees, model.columns, element)
    width = len(model.baseline)
    trees = [
        constant_ensemble_tree(constant_tree([value]), float(value), column)
        for column, value in enumerate(model.baseline)
    ]
    trees += [
        EnsembleTree(tree, tree.value[tree.is_leaf, 0], target)
        for tree, target in zip(asking, model.target, strict=True)
    ]
    raw = add_ensemble(graph, x, trees, targets=width, element=element, comparison=model.comparison)
    if model.average is not None:
        raw = graph.add("Div", raw, graph.scalar(float(model.average), element))
    return emit_decision(graph, raw, model)


def emit_decision(graph: Graph, raw: str, model: Boosted) -> Heads:
    """What `model` answers, given its raw scores [N, K]."""
    element: Element = model.precision
    if model.rule is None:
        return _regressor(graph, raw, model, element)
    return _classifier(graph, raw, model, element, len(model.baseline))


def _dense_sums(graph: Graph, x: str, model: Boosted, weights: FloatArray, element: Element) -> str:
    """[N, K]: each running sum begins at its baseline, which the first column times 0 brings to [N, 1]."""
    x = graph.add("Where", graph.add("IsNaN", x), graph.scalar(0.0, element), x)
    last = graph.constant(np.array([model.columns]), "int64")
    sums = []
    for column, start in enumerate(model.baseline):
        products = graph.add("Mul", x, graph.constant(weights[:, column], element))
        first = graph.add(
            "Mul",
            graph.add("Gather", x, graph.constant(np.array([0]), "int64"), axis=1),
            graph.scalar(0.0, element),
        )
        first = graph.add("Add", first, graph.scalar(float(start), element))
        running = graph.add(
            "CumSum", graph.add("Concat", first, products, axis=1), graph.constant(np.array(1), "int64")
        )
        sums.append(graph.add("Gather", running, last, axis=1))
    return join_columns(graph, sums)


def _inputs(graph: Graph, x: str, model: Boosted) -> str:
    x = _flushed(graph, x, model)
    if model.truncate:
        x = _truncated(graph, x, model)
    if model.zero_is_missing:
        x = _zero_as_missing(graph, x, model)
    return _rounded(graph, x, model)


def narrowed(graph: Graph, x: str, model: Boosted) -> str:
    """`x` as the trees of `model` compare it, in columns without categories and without zeros that are missing."""
    return _rounded(graph, _flushed(graph, x, model), model)


def _flushed(graph: Graph, x: str, model: Boosted) -> str:
    if model.zero_below is None:
        return x
    small = graph.add("LessOrEqual", graph.add("Abs", x), graph.scalar(model.zero_below))
    return graph.add("Where", small, graph.scalar(0.0), x)


def _rounded(graph: Graph, x: str, model: Boosted) -> str:
    if not model.single:
        return x
    x = graph.cast(x, "float32")
    return graph.cast(x, "float64") if model.precision == "float64" else x


def _truncated(graph: Graph, x: str, model: Boosted) -> str:
    """The categorical columns cut toward zero, as a cast to int does; there is no such operator in ONNX."""
    cut = graph.add("Mul", graph.add("Sign", x), graph.add("Floor", graph.add("Abs", x)))
    return graph.add("Where", _mask(graph, model.truncate, model.columns), cut, x)


def _zero_as_missing(graph: Graph, x: str, model: Boosted) -> str:
    chosen = _mask(graph, model.zero_is_missing, model.columns)
    zero = graph.add("And", chosen, graph.add("Equal", x, graph.scalar(0.0)))
    return graph.add("Where", zero, graph.scalar(float("nan")), x)


def _mask(graph: Graph, columns: tuple[int, ...], width: int) -> str:
    result = np.zeros(width, dtype=bool)
    result[list(columns)] = True
    return graph.constant(result, "bool")


def _regressor(graph: Graph, raw: str, model: Boosted, element: Element) -> Heads:
    if model.link == "logistic":
        p = logistic(graph, raw, model.factor, element)
        if element == "float32":
            p = graph.cast(p, "float64")
        spread = model.start_band + (EXP_SPREAD if element == "float64" else SINGLE_SPREAD)
        error = graph.add("Add", graph.add("Mul", p, graph.scalar(0.0)), graph.scalar(spread))
        return Heads(None, None, p, 1, score_error=error)
    if model.link == "exp":
        raw = graph.add("Exp", raw)
    elif model.link == "signed_square":
        raw = graph.add("Mul", graph.add("Sign", raw), graph.add("Mul", raw, raw))
    if element == "float32":
        raw = graph.cast(raw, "float64")
    return Heads(None, None, raw, 1, score_error=0.0 if model.link == "identity" else UNKNOWN)


def _classifier(graph: Graph, raw: str, model: Boosted, element: Element, width: int) -> Heads:
    rule = model.rule
    if rule is None:
        raise TypeError("a classifier has a label rule")
    p = probabilities(graph, raw, model.link, width=width, factor=model.factor, element=element)
    index = label_index(graph, rule, scores=raw, probabilities=p, element=element)
    if element == "float32":
        raw = graph.cast(raw, "float64")
        p = graph.cast(p, "float64") if p else None
    if rule.exact:
        return Heads(index, p, raw, width, probability_error=EXP_SPREAD)
    if rule.kind == "argmax_probabilities" and p is not None:
        margin = gap(graph, p, width)
    else:
        margin = distinct_gap(graph, raw, width) if rule.sums_exact else gap(graph, raw, width)
    error = 0.0 if rule.sums_exact else rule.band
    return Heads(
        index,
        p,
        raw,
        width,
        margin,
        as_bound(graph, rule.band, margin),
        rule.band,
        score_error=error,
        probability_error=error + (EXP_SPREAD if element == "float64" else SINGLE_SPREAD),
    )
