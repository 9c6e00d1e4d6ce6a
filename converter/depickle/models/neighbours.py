# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours of scikit-learn: the stored rows, their answers, and how the original measures distances."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UnsupportedModelError
from ..pickles.graph import DictNode, Record, plain
from .attributes import array_of, class_labels, float_array, integer, text, unsupported, wrong
from .interface import Context, ReadPredictor
from .stored_types import FloatArray, Metric, Neighbours
from .types import ClassLabel

__all__ = ["read_neighbours"]

_REASON = (
    "Distances are rounded in an order that nobody defines; a label is certain where no other row could count"
)

MAX_ROWS = 1 << 16
"""Stored rows: every prediction measures the distance to each, and sorts them (a millisecond a row at this size)."""

MAX_VALUES = 1 << 24
"""Stored values, 128 MiB; the file holds them all."""

MAX_COLUMNS = 128
"""Of the metrics that are added up column by column, three operators each."""

MAX_NEIGHBOURS = 1_000
"""Their rows are gathered once more for each prediction."""

MAX_CLASSES = 1 << 13
"""Equal votes go to the first class by 2⁻¹⁴ of a vote for each place, which has to stay below one vote in all."""

MAX_ABS = 2.0**500
"""Values whose squares and their sums are finite."""

_METRICS: dict[str, Metric] = {"euclidean": "euclidean", "manhattan": "manhattan", "chebyshev": "chebyshev"}

_POWERS: dict[float, Metric] = {1.0: "manhattan", 2.0: "euclidean", math.inf: "chebyshev"}


_NUMBERED_SINCE, _NUMBERED_UNTIL = (1, 3), (1, 9)
"""Releases whose ArgKminClassMode is handed the labels as ``intp`` (metrics/_pairwise_distances_reduction)."""


def read_neighbours(record: Record, context: Context) -> ReadPredictor:
    """KNeighborsClassifier and KNeighborsRegressor, whatever their algorithm.

    Raises:
        UnsupportedModelError: DP603 for other metrics and weights and for too many rows, DP607 for several outputs.
    """
    n_features = integer(record, "n_features_in_", low=1)
    rows = _rows(record, n_features)
    metric = _metric(record)
    if metric != "euclidean" and n_features > MAX_COLUMNS:
        raise unsupported(record, "Too many columns for this metric", found=str(n_features), expected="128")
    count = integer(record, "n_neighbors", low=1, high=len(rows))
    if count > MAX_NEIGHBOURS:
        raise unsupported(
            record, "Too many neighbours", found=str(count), expected=f"at most {MAX_NEIGHBOURS}"
        )
    weights = plain(record.get("weights"))
    if weights not in ("uniform", "distance", None):
        raise unsupported(
            record, "The weights are not emitted", found=str(weights)[:80], expected="uniform, distance"
        )
    method = text(record, "_fit_method")
    if method not in ("brute", "kd_tree", "ball_tree"):
        raise wrong(record, "_fit_method", method, "brute, kd_tree or ball_tree")
    answers, classes = _answers(record, len(rows))
    reduced = method == "brute" and metric != "euclidean" and weights == "uniform"
    if (
        reduced
        and classes
        and isinstance(classes[0], str)
        and _NUMBERED_SINCE <= context.version(record) < _NUMBERED_UNTIL
    ):
        raise unsupported(
            record,
            "Releases 1.3 to 1.8 raise on rows in the usual order of memory, since they take labels for numbers",
            found=f"text labels, algorithm 'brute', {metric}",
            expected="another algorithm, or whole numbers as labels",
        )
    root = Neighbours(
        rows,
        answers,
        count,
        metric,
        weights == "distance",
        method == "brute" and metric == "euclidean",
        len(classes or ()),
    )
    return ReadPredictor(
        task="classifier" if classes else "regressor",
        classes=classes,
        n_features=n_features,
        root=root,
        ceiling="certified",
        reason=_REASON,
        allow_nan=False,
        allow_infinite=False,
        max_abs=MAX_ABS,
        family=record.name,
    )


def _rows(record: Record, n_features: int) -> FloatArray:
    value = record.get("_fit_X")
    if isinstance(value, Record):
        raise unsupported(record, "Fitted on a sparse matrix or a tree", found=value.cls)
    if array_of(record, "_fit_X", value).dtype != np.float64:
        raise unsupported(
            record, "Neighbours fitted in another precision", found="_fit_X", expected="float64"
        )
    rows = float_array(record, "_fit_X", shape=(None, n_features))
    if not 1 <= len(rows) <= MAX_ROWS or rows.size > MAX_VALUES:
        raise unsupported(
            record,
            "Too many rows are stored for one pass over all of them",
            found=f"{len(rows)} rows of {n_features} columns",
            expected=f"at most {MAX_ROWS} rows and {MAX_VALUES} values",
        )
    if float(np.abs(rows).max()) > MAX_ABS:
        raise unsupported(
            record, "Stored values whose squares overflow", found=repr(float(np.abs(rows).max()))
        )
    return rows


def _metric(record: Record) -> Metric:
    """The metric of the fit, which the parameters have to name as well: `predict` looks at either."""
    effective = text(record, "effective_metric_")
    further = record.get("effective_metric_params_")
    named = plain(record.get("metric"))
    if named == "minkowski":
        power = plain(record.get("p"))
        named = _POWERS.get(float(power)) if isinstance(power, int | float) else None
    metric = _METRICS.get(effective)
    if (
        metric is None
        or named != effective
        or not isinstance(further, DictNode)
        or len(further)
        or record.get("metric_params") is not None
    ):
        raise unsupported(
            record,
            "The metric is not emitted",
            found=f"{named!r}, fitted with {effective!r}"[:80],
            expected="euclidean, manhattan or chebyshev, without parameters",
        )
    return metric


def _answers(record: Record, rows: int) -> tuple[FloatArray, tuple[ClassLabel, ...] | None]:
    raw = array_of(record, "_y", record.get("_y"))
    if raw.ndim != 1:
        raise UnsupportedModelError(
            "Neighbours with several outputs",
            code="DP607",
            where=record.name,
            found=f"_y of shape {raw.shape}",
            expected="one answer for a row",
            next_step="Fit one model for each output",
        )
    if raw.dtype.kind not in "iu" and raw.dtype != np.float64:
        raise unsupported(record, "Answers of another precision", found=str(raw.dtype), expected="float64")
    answers = float_array(record, "_y", shape=(rows,))
    if float(np.abs(answers).max()) > 2.0**53 and raw.dtype.kind in "iu":
        raise unsupported(record, "Answers that no float64 holds", found=repr(float(np.abs(answers).max())))
    if record.name == "KNeighborsRegressor":
        if float(np.abs(answers).max()) > MAX_ABS:
            raise unsupported(record, "Values whose sums overflow", found=repr(float(np.abs(answers).max())))
        return answers, None
    classes = class_labels(record, "classes_", record.get("classes_"))
    if len(classes) < 2:
        raise unsupported(record, "A classifier of one class", found=str(len(classes)))
    if len(classes) > MAX_CLASSES:
        raise unsupported(
            record, "Too many classes", found=str(len(classes)), expected=f"at most {MAX_CLASSES}"
        )
    if raw.dtype.kind not in "iu" or answers.min() < 0 or answers.max() >= len(classes):
        raise wrong(record, "_y", record.get("_y"), f"class indices below {len(classes)}")
    return answers, classes
