# SPDX-License-Identifier: Apache-2.0
"""DummyClassifier and DummyRegressor: the same answer for every row, missing values included (dummy.py)."""

from __future__ import annotations

import math

import numpy as np

from ...pickles.graph import Record, plain
from ..walk import Expected
from .derivation import Derivation, NotDerivedError
from .likelihoods import doubles
from .reading import array, flag, integer, labels, text, unreadable
from .vocabulary import INT64, Answer, apply, as_double, cast, columns, constant, scalar, squeeze

__all__ = ["expect_dummy_classifier", "expect_dummy_regressor"]

_EXACT = 2.0**53
"""Up to here every whole number is a double."""


def _never(rows: Expected) -> Expected:
    """False in each row, [N, 1]: a comparison with itself, which a missing value does not pass either."""
    first = columns(rows, [0])
    return apply("Less", first, first)


def expect_dummy_regressor(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """``constant_`` in its own type: a float32 is added and scaled in float32, a whole number has to be a double."""
    value = array(owner, "constant_")
    if integer(owner, "n_outputs_") != 1 or value.size != 1 or value.dtype.kind not in "fiu":
        raise unreadable(owner, "constant_", "one number")
    number = float(value.reshape(-1)[0])
    if not math.isfinite(number) or (value.dtype.kind in "iu" and abs(number) > _EXACT):
        raise unreadable(owner, "constant_", "a finite number in double precision")
    found = apply("Add", as_double(_never(rows)), scalar(number))
    return Answer(scores=found, single=value.dtype == np.float32)


def expect_dummy_classifier(owner: Record, rows: Expected, derive: Derivation) -> Answer:
    """The class of the largest prior, or the constant."""
    if integer(owner, "n_outputs_") != 1 or flag(owner, "sparse_output_"):
        raise unreadable(owner, "n_outputs_", "one label for each row")
    known = labels(owner)
    prior = doubles(owner, "class_prior_", len(known))
    strategy = text(owner, "_strategy")
    if strategy == "constant":
        place = _place(owner, known)
    elif strategy in ("most_frequent", "prior"):
        place = int(prior.argmax())
    else:
        raise NotDerivedError(f"labels drawn by {strategy}")
    shares = prior if strategy == "prior" else np.eye(len(known))[place]
    nothing = _never(rows)
    index = apply("Add", squeeze(cast(nothing, INT64)), scalar(place, np.int64))
    return Answer(
        labels=known,
        index=index,
        probabilities=apply("Add", as_double(nothing), constant(shares)),
    )


def _place(owner: Record, known: tuple[int | float | str | bool, ...]) -> int:
    value = plain(owner.get("constant"))
    places = [place for place, label in enumerate(known) if label == value]
    if len(places) != 1:
        raise unreadable(owner, "constant", "one of the classes")
    return places[0]
