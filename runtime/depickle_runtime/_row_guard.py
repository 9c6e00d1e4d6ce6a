# SPDX-License-Identifier: Apache-2.0
"""Lets a row through exactly if the original model would have taken it.

The original raises on the wrong number of columns and, depending on the model, on NaN, on infinities and on values
past the float32 range; ONNX kernels answer all of these without a word.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .errors import FeatureError, ModelContractError
from .record import InputContract

__all__ = ["RowGuard"]

_MAX_NAMED: Final = 8
"""Columns named in one message."""

_FLOAT64: Final = np.dtype(np.float64)
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)

_Floats = npt.NDArray[np.floating[Any]]


class RowGuard:
    """The input contract of one model, made ready to check rows cheaply."""

    def __init__(self, contract: InputContract) -> None:
        """Take the contract apart.

        Raises:
            ModelContractError: its bound is not a positive hexadecimal number (DP220).
        """
        self._features = contract.features
        self._allow_nan = contract.allow_nan
        self._allow_infinite = contract.allow_infinite
        self._max_abs = _parse_bound(contract.max_abs)
        self._dtype: Final = np.dtype(contract.dtype)
        self._graph_dtype: Final = np.dtype(contract.graph_dtype)
        # One dot product settles nearly every row: Σx² is finite only if every x is, and below the square of
        # the bound only if every |x| is below it. (1 - 2⁻²⁰) covers the rounding of the sum; the float32 range
        # keeps the narrowing below from overflowing.
        narrows = np.float32 in (self._dtype.type, self._graph_dtype.type)
        limit = min(self._max_abs or math.inf, _FLOAT32_MAX if narrows else 1e150)
        self._clean_below = limit * limit * (1 - 2.0**-20)
        # Rows that the original saw in float32 are rounded even where the graph takes doubles.
        self._rounds = self._dtype.itemsize < self._graph_dtype.itemsize

    def admit(self, X: npt.ArrayLike) -> _Floats:
        """Check and convert a batch.

        Args:
            X: [N, F] numbers.

        Returns:
            C-contiguous rows in the graph's dtype.

        Raises:
            ModelContractError: DP221 for the shape, DP222 for the dtype.
            FeatureError: DP227, DP228, DP229.
        """
        rows = _numbers(X)
        if rows.ndim != 2 or rows.shape[1] != self._features or rows.shape[0] == 0:
            raise self._wrong_shape(rows.shape, f"(N, {self._features})")
        if not np.vdot(rows, rows) < self._clean_below:
            self._check_values(rows)
        if rows.dtype == self._dtype == self._graph_dtype:
            return np.ascontiguousarray(rows)
        return self._convert(rows)

    def admit_row(self, row: npt.ArrayLike, into: _Floats) -> None:
        """Check one row of F numbers and write it into `into`, which has the graph's dtype.

        Raises:
            ModelContractError: DP221 for the shape, DP222 for the dtype.
            FeatureError: DP227, DP228, DP229.
        """
        values = row if type(row) is np.ndarray and row.dtype is _FLOAT64 else _numbers(row)
        if values.shape != into.shape:
            raise self._wrong_shape(values.shape, f"({self._features},)")
        # vdot, since dot warns where the sum overflows.
        if np.vdot(values, values) < self._clean_below:
            into[:] = values.astype(np.float32) if self._rounds else values
        else:
            self._check_values(values.reshape(1, -1))
            into[:] = self._convert(values)

    def _convert(self, rows: _Floats) -> _Floats:
        # The original saw `dtype`; where that is narrower than the graph's, round first, then widen exactly.
        with np.errstate(over="ignore"):
            narrow = rows.astype(self._dtype, copy=False)
            return np.ascontiguousarray(narrow.astype(self._graph_dtype, copy=False))

    def _check_values(self, rows: _Floats) -> None:
        if np.isfinite(rows).all():
            if self._max_abs is None:
                return
        else:
            if not self._allow_nan:
                self._refuse(np.isnan(rows), "A feature is not a number", "numbers only", "DP227")
            if not self._allow_infinite:
                self._refuse(np.isinf(rows), "A feature is infinite", "finite numbers", "DP228")
        if self._max_abs is not None:
            over = np.abs(rows) > self._max_abs
            if self._allow_infinite:
                over &= ~np.isinf(rows)
            self._refuse(over, "A feature is out of the model's range", f"|x| <= {self._max_abs!r}", "DP229")

    def _refuse(self, bad: npt.NDArray[np.bool_], message: str, expected: str, code: str) -> None:
        if not bad.any():
            return
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        columns = np.flatnonzero(bad[row])
        named = ", ".join(str(c) for c in columns[:_MAX_NAMED]) + (
            " ..." if len(columns) > _MAX_NAMED else ""
        )
        raise FeatureError(
            message,
            code=code,
            found=f"column {named}",
            expected=expected,
            where=f"row {row}",
            next_step="abstain on this row; do not replace the value unless the model was trained so",
        )

    def _wrong_shape(self, found: tuple[int, ...], expected: str) -> ModelContractError:
        return ModelContractError(
            "Rows do not have the model's columns",
            code="DP221",
            found=str(found),
            expected=expected,
            where="rows",
        )


def _parse_bound(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        bound = float.fromhex(text)
    except (ValueError, OverflowError):
        bound = math.nan
    if not bound > 0:
        raise ModelContractError(
            "The record's input bound cannot be used",
            code="DP220",
            found=repr(text),
            expected="a positive hexadecimal number",
            where="input.max_abs",
        )
    return bound


def _numbers(values: npt.ArrayLike) -> _Floats:
    """A float64 (or float32) view or copy of the caller's numbers."""
    try:
        array = np.asarray(values)
        if array.dtype in (np.float64, np.float32):
            return array
        if array.dtype.kind not in "iub":
            raise _not_numbers(str(array.dtype))
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _not_numbers(str(error)) from error


def _not_numbers(found: str) -> ModelContractError:
    return ModelContractError(
        "Rows are not numbers", code="DP222", found=found, expected="float64 or float32", where="rows"
    )
