# SPDX-License-Identifier: Apache-2.0
"""Linear models and networks over inputs that are not exact, with the bound of every sum carried to the label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..models.dense_types import Activation, Affine, Network
from ..models.types import LabelRule, Linear, Link
from .certain import Rows, emit_affine
from .graph import Graph
from .interface import Heads
from .linear import dot_product_gamma, link_error
from .links import gap, label_index, last_axis, probabilities

__all__ = ["emit_linear_behind", "emit_network"]

LABEL_BAND = 2.0**-46
"""Scores further apart than this have distinct probabilities, and a logistic on the same side of one half."""

ACTIVATION_STEPS = 2.0**-46
"""Results in [-1, 1] of exp or tanh, of numpy, scipy and onnxruntime: each within 2⁻⁴⁹."""


def emit_linear_behind(graph: Graph, rows: Rows, model: Linear) -> Heads:
    """A linear model whose inputs carry error bounds."""
    weights = np.ascontiguousarray(model.coefficients.T)
    layer = Affine(weights, model.intercept, np.abs(model.intercept))
    raw, error = emit_affine(graph, rows, layer)
    if model.rule is None:
        return Heads(None, None, raw, 1, score_error=error)
    return _decided(graph, raw, error, layer, model.rule, model.link, mirrored=model.mirrored)


def emit_network(graph: Graph, rows: Rows, model: Network) -> Heads:
    """Layer by layer."""
    *hidden, last = model.layers
    for layer in hidden:
        value, error = emit_affine(graph, rows, layer)
        rows = _activated(graph, value, error, model.activation)
    raw, error = emit_affine(graph, rows, last)
    if model.classes == 0:
        return Heads(None, None, raw, 1, score_error=error)
    link: Link = "logistic" if model.classes == 2 else "softmax"
    rule = (
        LabelRule("score_above", exact=False)
        if model.classes == 2
        else LabelRule("argmax_scores", exact=False)
    )
    heads = _decided(graph, raw, graph.add("Add", error, graph.scalar(LABEL_BAND)), last, rule, link)
    return replace(heads, scores=None, scores_width=0)  # the original has no decision_function


def _activated(graph: Graph, value: str, error: str, activation: Activation) -> Rows:
    """No activation is steeper than 1."""
    match activation:
        case "identity":
            return Rows(value, error)
        case "relu":
            return Rows(graph.add("Max", value, graph.scalar(0.0)), error)
        case "tanh":
            result = graph.add("Tanh", value)
        case "logistic":
            one = graph.scalar(1.0)
            result = graph.add("Div", one, graph.add("Add", one, graph.add("Exp", graph.add("Neg", value))))
    return Rows(result, graph.add("Add", error, graph.scalar(ACTIVATION_STEPS)))


def _decided(
    graph: Graph, raw: str, error: str, layer: Affine, rule: LabelRule, link: Link, *, mirrored: bool = False
) -> Heads:
    terms, width = layer.weights.shape
    p = probabilities(graph, raw, link, width=width, mirrored=mirrored)
    index = label_index(graph, rule, scores=raw, probabilities=p)
    axis = last_axis(graph)
    if width == 1:
        bound = graph.add("Squeeze", error, axis)
    else:  # two scores are compared
        bound = graph.add("Mul", graph.add("ReduceMax", error, axis, keepdims=0), graph.scalar(2.0))
    spread = graph.add("Unsqueeze", bound, axis)
    return Heads(
        index,
        p,
        raw,
        width,
        gap(graph, raw, width),
        bound,
        dot_product_gamma(terms),
        score_error=spread,
        probability_error=link_error(graph, spread, link, raw, width),
    )
