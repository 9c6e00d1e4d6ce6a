# SPDX-License-Identifier: Apache-2.0
"""Estimators that answer as the one inside them, and those that answer several times."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from ..pickles.graph import Record
from .attributes import wrong
from .interface import Context, ReadPredictor, ReadTransform
from .trees import several_outputs

__all__ = ["read_frozen", "read_frozen_transform", "read_self_training", "read_several_outputs"]


def _inner(record: Record, *names: str) -> Record:
    for name in names:
        value = record.get(name)
        if isinstance(value, Record):
            return value
    raise wrong(record, names[0], record.get(names[0]), "a fitted estimator")


def read_self_training(record: Record, context: Context) -> ReadPredictor:
    """SelfTrainingClassifier: what it fitted last; `base_estimator_` before scikit-learn 1.6."""
    found = context.predictor(_inner(record, "estimator_", "base_estimator_"), context)
    return replace(found, family=f"{record.name}({found.family})")


def read_frozen(record: Record, context: Context) -> ReadPredictor:
    """FrozenEstimator around a predictor, which another release may have fitted."""
    found = context.predictor(_inner(record, "estimator"), replace(context, fitted_before=True))
    return replace(found, family=f"{record.name}({found.family})")


def read_frozen_transform(record: Record, columns: int, context: Context) -> ReadTransform:
    """FrozenEstimator around a transformer."""
    found = context.transform(_inner(record, "estimator"), columns, context)
    return replace(found, family=f"{record.name}({found.family})")


def read_several_outputs(record: Record, context: Context) -> NoReturn:
    """Chains and multi-output estimators, which have no single answer for a row.

    Raises:
        UnsupportedModelError: DP607, always.
    """
    raise several_outputs(record)
