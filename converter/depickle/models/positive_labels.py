# SPDX-License-Identifier: Apache-2.0
"""The label that a tuned threshold speaks of: what its scorer was given, else what its function defaults to."""

from __future__ import annotations

from collections.abc import Mapping

from ..pickles.graph import DictNode, GlobalRef, Record, Value
from .attributes import describe, unsupported

__all__ = ["positive_label"]

_POSITIVE_LABEL: Mapping[str, int | None] = {
    "accuracy_score": None,
    "average_precision_score": 1,
    "balanced_accuracy_score": None,
    "cohen_kappa_score": None,
    "f1_score": 1,
    "fbeta_score": 1,
    "jaccard_score": 1,
    "matthews_corrcoef": None,
    "precision_score": 1,
    "recall_score": 1,
    "roc_auc_score": None,
}  # default of the parameter pos_label of each score; None where it has no such parameter


def positive_label(scorer: Record) -> Value:
    """The label that the threshold speaks of: as given to the score, else as it defaults; None is the last class."""
    options = scorer.get("_kwargs")
    if isinstance(options, DictNode) and "pos_label" in options:
        return options.get("pos_label")
    function = scorer.get("_score_func")
    if (
        not isinstance(function, GlobalRef)
        or not function.module.startswith("sklearn.metrics.")
        or function.name not in _POSITIVE_LABEL
    ):
        raise unsupported(
            scorer,
            "The positive label of this score is not known",
            found=describe(function),
            expected="a score of sklearn.metrics, or pos_label given to the scorer",
        )
    return _POSITIVE_LABEL[function.name]
