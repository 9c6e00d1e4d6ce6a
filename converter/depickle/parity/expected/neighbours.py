# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours: who is among the k nearest in any arithmetic, and what the others could change.

scikit-learn finds them by trees (neighbors/_binary_tree.pxi.tp) or by brute force
(metrics/_pairwise_distances_reduction). Euclidean ones are compared by their squares, added up as (x - r)^2 or as
|x|^2 - 2x.r + |r|^2. With a the size of the row and r that of the largest stored one, either is off by less than
2 gamma(2F) (a + r)^2, and what a tree leaves out by its boxes or balls by less than 4 gamma(2F) (a + r)^2.
A neighbour is certain where it is nearer than the first one left out by 32 gamma(2F) (a + r)^2, or by
32 gamma(2F) (a + r) of sums and maxima of magnitudes. Which of equals are taken depends on the algorithm, so that
equals are not certain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...pickles.graph import Array, DictNode, Record, plain
from ..walk import Expected
from .answers import argmax, dot_gamma, lead
from .derivation import Derivation, NotDerivedError
from .inexact import CARRIED, LEAST
from .reading import Labels, array, integer, labels, text, unreadable
from .support_vectors import ROOM
from .vocabulary import Answer, apply, as_double, columns, constant, scalar, squeeze

__all__ = ["NEIGHBOURS", "expect_neighbours"]

FloatArray = npt.NDArray[np.float64]

NEIGHBOURS = {
    "sklearn.neighbors._classification.KNeighborsClassifier",
    "sklearn.neighbors._regression.KNeighborsRegressor",
}
_MINKOWSKI = {"manhattan": 1.0, "euclidean": 2.0, "chebyshev": math.inf}
_ROWS, _NUMBERS, _NEIGHBOURS, _COLUMNS = 65_536, 2**24, 1_000, 128
_LARGEST = 2.0**500
_FINITE = 2.0**960
"""Doubts below belong to rows whose squares are below 2^1006, so that none of their sums overflows."""
_CLASSES = 2**13
"""Each place among the classes takes 2^-14 from the votes, which must stay below one vote in all."""
_BLURRED = 2.0**-900
"""Sums of squares below may have lost digits below the normal numbers, and reciprocals of others overflow."""
_PROBABILITY = 2.0**-46
"""What sums of shares and a quotient may be off by."""


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """The stored rows [S, F] and their answers [S], how many are asked, and how far they are."""

    rows: FloatArray
    answers: FloatArray
    count: int
    metric: str
    expanded: bool
    by_distance: bool


@dataclass(frozen=True, eq=False)
class _Found:
    """The k nearest: their numbers and answers, which are certain, how many are not, and how near those may be."""

    index: Expected
    answers: Expected
    inside: Expected
    unsure: Expected
    beyond: Expected
    doubt: Expected


def expect_neighbours(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """KNeighborsClassifier and KNeighborsRegressor (neighbors/_classification.py, _regression.py)."""
    classifies = owner.name == "KNeighborsClassifier"
    known = _read(owner, classifies)
    found = _nearest(known, rows)
    if not classifies:
        mean, share = _mean_by_distance(known, rows, found) if known.by_distance else _mean(known, found)
        spread = float(known.answers.max() - known.answers.min()) * ROOM
        rounding = 8.0 * dot_gamma(known.count) * float(np.abs(known.answers).max())
        error = apply("Add", apply("Mul", share, scalar(spread)), scalar(rounding))
        error = apply("Add", error, _times(mean, 0.0))  # a mean that is no number has no bound
        return Answer(scores=mean, score_error=error)
    classes = labels(owner)
    if len(classes) > _CLASSES:
        raise NotDerivedError("too many classes")
    if len(classes) < 2 or not bool(np.isin(known.answers, np.arange(len(classes))).all()):
        raise unreadable(owner, "_y", "the numbers of two classes or more")
    if known.by_distance:
        return _weights_of(classes, known, rows, found)
    return _votes_of(classes, known, found)


def _read(owner: Record, classifies: bool) -> _Neighbours:
    stored, answers = owner.get("_fit_X"), array(owner, "_y")
    if not isinstance(stored, Array) or stored.is_object or stored.to_numpy().dtype != np.float64:
        raise NotDerivedError("stored rows that are no table of float64")
    rows = np.array(stored.to_numpy(), dtype=np.float64)
    if answers.ndim != 1:
        raise NotDerivedError("several answers")
    if rows.ndim != 2 or rows.shape[1] != integer(owner, "n_features_in_") or len(answers) != len(rows):
        raise unreadable(owner, "_fit_X", "a row for each answer")
    count = integer(owner, "n_neighbors")
    if not 1 <= count <= len(rows):
        raise unreadable(owner, "n_neighbors", f"1 to {len(rows)}")
    metric, method = _metric(owner), text(owner, "_fit_method")
    if method not in ("brute", "kd_tree", "ball_tree"):
        raise unreadable(owner, "_fit_method", "brute, kd_tree or ball_tree")
    weights = plain(owner.get("weights"))
    if weights not in ("uniform", "distance", None):
        raise NotDerivedError("weights of a function")
    if len(rows) > _ROWS or rows.size > _NUMBERS or count > _NEIGHBOURS:
        raise NotDerivedError("too many neighbours")
    if metric != "euclidean" and rows.shape[1] > _COLUMNS:
        raise NotDerivedError("too many columns")
    if not bool((np.abs(rows) <= _LARGEST).all()):
        raise NotDerivedError("stored rows whose squares overflow")
    kinds = "iu" if classifies else "iuf"
    if answers.dtype.kind not in kinds or (answers.dtype.kind == "f" and answers.dtype != np.float64):
        raise NotDerivedError("answers of another type")
    values = np.asarray(answers, dtype=np.float64)
    if not bool((np.abs(values) <= (_LARGEST if answers.dtype.kind == "f" else 2.0**53)).all()):
        raise NotDerivedError("answers that are too large")
    return _Neighbours(
        rows=rows,
        answers=values,
        count=count,
        metric=metric,
        expanded=method == "brute" and metric == "euclidean",
        by_distance=weights == "distance",
    )


def _metric(owner: Record) -> str:
    """The metric that was fitted, if it still is the one that the parameters name: brute force reads both."""
    metric, given = text(owner, "effective_metric_"), text(owner, "metric")
    extra = owner.get("effective_metric_params_")
    if metric not in _MINKOWSKI or owner.get("metric_params") is not None:
        raise NotDerivedError("another metric")
    if not isinstance(extra, DictNode) or len(extra):
        raise NotDerivedError("a metric with parameters")
    if given != metric and (given != "minkowski" or plain(owner.get("p")) != _MINKOWSKI[metric]):
        raise NotDerivedError("a metric that was changed after the fit")
    return metric


def _axis(place: int = 1) -> Expected:
    return constant([place], np.int64)


def _times(value: Expected, factor: float) -> Expected:
    return apply("Mul", value, scalar(factor))


def _distances(known: _Neighbours, rows: Expected) -> tuple[Expected, Expected]:
    """Distances [N, S], Euclidean ones squared, and by how much two have to differ to be in order, [N, 1].

    Squares below the normal numbers are not rounded relatively; sums and maxima are exact there.
    """
    stored = known.rows
    unit = 32.0 * CARRIED * dot_gamma(2 * stored.shape[1])
    if known.metric == "euclidean":
        own = np.array([math.fsum(row) for row in (stored * stored).tolist()])
        squares = apply("ReduceSum", apply("Mul", rows, rows), _axis(), keepdims=1)
        one = apply("Add", _times(squares, 0.0), scalar(1.0))
        table = np.vstack([-2.0 * stored.T, np.ones(len(stored)), own])
        far = apply("MatMul", apply("Concat", rows, squares, one, axis=1), constant(table))
        reach = apply("Add", apply("Sqrt", squares), scalar(math.sqrt(float(own.max())) * ROOM))
        return far, apply("Max", _times(apply("Mul", reach, reach), unit), scalar(LEAST))
    summed = known.metric == "manhattan"
    parts = [
        apply("Abs", apply("Sub", columns(rows, [place]), constant(stored[np.newaxis, :, place])))
        for place in range(stored.shape[1])
    ]
    far = parts[0]
    for part in parts[1:]:
        far = apply("Add" if summed else "Max", far, part)
    sizes = np.abs(stored).sum(axis=1) if summed else np.abs(stored).max(axis=1)
    size = apply("ReduceSum" if summed else "ReduceMax", apply("Abs", rows), _axis(), keepdims=1)
    return far, _times(apply("Add", size, scalar(float(sizes.max()) * ROOM)), unit)


def _nearest(known: _Neighbours, rows: Expected) -> _Found:
    far, doubt = _distances(known, rows)
    count, stored = known.count, len(known.rows)
    asked = min(count + 1, stored)
    top = apply("TopK", far, constant([asked], np.int64), axis=1, largest=0, sorted=1)
    places = replace(top, output=1)
    near, index = columns(top, range(count)), columns(places, range(count))
    if asked > count:
        after = columns(top, [count])
        inside = apply("Less", apply("Add", near, doubt), after)
        beyond = apply("Sub", apply("Sub", after, doubt), doubt)
    else:
        # distances that overflow never enter the original's heap, which then names the first row k times
        finite = apply("Add", _times(near, 0.0), doubt)
        inside = apply("Less", finite, scalar(_FINITE))
        beyond = doubt
    certain = apply("ReduceSum", as_double(inside), _axis(), keepdims=1)
    return _Found(
        index=index,
        answers=apply("Gather", constant(known.answers), index, axis=0),
        inside=inside,
        unsure=apply("Sub", scalar(float(count)), certain),
        beyond=beyond,
        doubt=doubt,
    )


# Each neighbour counts alike ----------------------------------------------------------------------------------------


def _mean(known: _Neighbours, found: _Found) -> tuple[Expected, Expected]:
    total = apply("ReduceSum", found.answers, _axis(), keepdims=1)
    count = scalar(float(known.count))
    return apply("Div", total, count), apply("Div", found.unsure, count)


def _votes_of(classes: Labels, known: _Neighbours, found: _Found) -> Answer:
    """``_mode``, or the argmax of shares: the first of those with the most votes."""
    count = len(classes)
    hits = as_double(apply("Equal", apply("Unsqueeze", found.answers, _axis(2)), constant(np.arange(count))))
    votes = apply("ReduceSum", hits, _axis(), keepdims=0)
    kept = apply("Mul", hits, apply("Unsqueeze", as_double(found.inside), _axis(2)))
    sure = apply("ReduceSum", kept, _axis(), keepdims=0)
    ranked = apply("Sub", sure, constant(np.arange(count) * 2.0**-14))
    share = apply("Div", found.unsure, scalar(float(known.count)))
    return Answer(
        labels=classes,
        index=argmax(votes),
        probabilities=apply("Div", votes, scalar(float(known.count))),
        margin=lead(ranked, count),
        bound=squeeze(found.unsure),
        probability_error=apply("Add", share, scalar(_PROBABILITY)),
    )


# Each counts by its distance ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Weights:
    """Weights [N, k] as they are computed here, and the least and the most that they may be in the original.

    `slack` is the most that the neighbours which are not certain may weigh together, [N, 1].
    """

    value: Expected
    low: Expected
    high: Expected
    slack: Expected
    whole: Expected
    share: Expected
    """How much of the spread of its terms a weighted mean may be off by."""


def _weights(known: _Neighbours, rows: Expected, found: _Found) -> _Weights:
    """``_get_weights``: reciprocals, or 1 for those at distance 0 and 0 for the others."""
    stored = apply("Gather", constant(known.rows), found.index, axis=0)
    apart = apply("Sub", apply("Unsqueeze", rows, _axis()), stored)
    if known.metric == "euclidean":
        far = apply("ReduceSum", apply("Mul", apart, apart), _axis(2), keepdims=0)
    else:
        reduce = "ReduceSum" if known.metric == "manhattan" else "ReduceMax"
        far = apply(reduce, apply("Abs", apart), _axis(2), keepdims=0)

    def root(value: Expected) -> Expected:
        return apply("Sqrt", value) if known.metric == "euclidean" else value

    nothing, one = scalar(0.0), scalar(1.0)
    same = as_double(apply("Equal", far, nothing))
    met = apply("Greater", apply("ReduceMax", same, _axis(), keepdims=1), nothing)
    value = apply("Where", met, same, apply("Div", one, root(far)))
    relative = 8.0 * dot_gamma(known.rows.shape[1])
    if known.expanded:
        step = apply("Add", _times(far, relative), found.doubt)
        smaller = apply("Max", apply("Sub", far, step), nothing)
        low = apply("Div", one, root(apply("Add", far, step)))
        high = apply("Div", one, root(smaller))
    else:
        step = _times(value, relative)
        blurred = apply("And", apply("Less", far, scalar(_BLURRED)), apply("Greater", far, nothing))
        low = apply("Sub", value, step)
        high = apply("Where", blurred, scalar(math.inf), apply("Add", value, step))
    nearest = root(apply("Max", found.beyond, nothing))
    most = _times(apply("Div", found.unsure, nearest), CARRIED)
    slack = apply("Where", apply("Greater", found.unsure, nothing), most, nothing)
    low = apply("Where", found.inside, low, nothing)
    high = apply("Where", found.inside, high, nothing)
    changed = apply("ReduceSum", apply("Sub", high, low), _axis(), keepdims=1)
    least = apply("ReduceSum", low, _axis(), keepdims=1)
    share = _times(apply("Div", apply("Add", changed, slack), least), CARRIED)
    return _Weights(
        value=value,
        low=low,
        high=high,
        slack=slack,
        whole=apply("ReduceSum", value, _axis(), keepdims=1),
        share=apply("Where", apply("Less", share, one), share, one),
    )


def _mean_by_distance(known: _Neighbours, rows: Expected, found: _Found) -> tuple[Expected, Expected]:
    weights = _weights(known, rows, found)
    total = apply("ReduceSum", apply("Mul", found.answers, weights.value), _axis(), keepdims=1)
    return apply("Div", total, weights.whole), weights.share


def _weights_of(classes: Labels, known: _Neighbours, rows: Expected, found: _Found) -> Answer:
    """``weighted_mode``: the first of those with the largest weight."""
    weights = _weights(known, rows, found)
    hit = apply("Equal", apply("Unsqueeze", found.answers, _axis(2)), constant(np.arange(len(classes))))
    nothing = scalar(0.0)

    def added(value: Expected) -> Expected:
        placed = apply("Where", hit, apply("Unsqueeze", value, _axis(2)), nothing)
        return apply("ReduceSum", placed, _axis(), keepdims=0)

    votes, lows, highs = added(weights.value), added(weights.low), added(weights.high)
    index = argmax(votes)
    own = apply("Equal", apply("Unsqueeze", index, _axis()), constant(np.arange(len(classes)), np.int64))
    rival = apply("ReduceMax", apply("Where", own, nothing, highs), _axis(), keepdims=1)
    against = apply("Add", rival, weights.slack)
    rounding = _times(against, 8.0 * dot_gamma(known.count))
    return Answer(
        labels=classes,
        index=index,
        probabilities=apply("Div", votes, weights.whole),
        margin=apply("ReduceSum", apply("Where", own, lows, nothing), _axis(), keepdims=0),
        bound=squeeze(apply("Add", against, rounding)),
        probability_error=apply("Add", weights.share, scalar(_PROBABILITY)),
    )
