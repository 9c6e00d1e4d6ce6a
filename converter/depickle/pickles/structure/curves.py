# SPDX-License-Identifier: Apache-2.0
"""Splines, isotonic curves and variances: numbers that C code indexes by, or by which is divided."""

from __future__ import annotations

import numpy as np

from ..graph import Record
from .read import array, integer, refuse, shape_of

__all__ = ["check_numbers", "check_spline"]

_RULE = "DP461"


def check_spline(record: Record) -> None:
    """A B-spline: as many knots and coefficients as its degree needs; scipy's C code reads along the knots.

    Raises:
        StructureError: DP461.
    """
    if record.get("t") is None:
        return
    knots = array(_RULE, record, record.get("t"), "its knots", kinds="f", dimensions=1)
    degree = integer(_RULE, record, record.get("k"), "its degree", 0, 100)
    coefficients = shape_of(record.get("c"))
    if len(knots) < 2 * degree + 2 or not np.isfinite(knots).all() or bool((np.diff(knots) < 0).any()):
        raise refuse(
            _RULE, record, f"{len(knots)} knots do not ascend or are too few for the degree {degree}"
        )
    if not coefficients or coefficients[0] < len(knots) - degree - 1:
        raise refuse(_RULE, record, "it has fewer coefficients than its knots need")


def check_numbers(record: Record) -> None:
    """An isotonic regression or a Gaussian naive Bayes classifier; other records pass.

    Raises:
        StructureError: DP461.
    """
    if record.name == "IsotonicRegression" and record.get("X_thresholds_") is not None:
        places = array(_RULE, record, record.get("X_thresholds_"), "its thresholds", kinds="f", dimensions=1)
        values = array(_RULE, record, record.get("y_thresholds_"), "its values", kinds="f", dimensions=1)
        if len(places) != len(values) or not len(places) or not (np.diff(places) >= 0).all():
            raise refuse(_RULE, record, "its thresholds do not ascend or are not one for each value")
    elif record.name == "GaussianNB":
        for name in ("var_", "sigma_"):
            if record.get(name) is not None:
                variances = array(_RULE, record, record.get(name), name, kinds="f", dimensions=2)
                if not (variances > 0).all():
                    raise refuse(_RULE, record, "a variance is not positive")
