# SPDX-License-Identifier: Apache-2.0
"""Opens the session of a verified model and makes it prove itself on the record's stored rows.

The rows were answered on the converting host. Another onnxruntime build or architecture that answers otherwise is
refused before it answers anything else: labels must be the same; scores and probabilities may differ by rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import MetadataError, SecurityError, VerificationError
from .record import ConversionRecord
from .release import record_name
from .session import Answers, OnnxSession, open_session
from .verification import VerifiedModel

__all__ = ["check_probes", "start_session"]

RELATIVE_TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
"""The exponential of another math library is off by a few units in the last place, never by more than these."""


def start_session(model: VerifiedModel) -> OnnxSession:
    """Open the session of a verified model and check its probe rows.

    Args:
        model: the model.

    Raises:
        ModelContractError: the graph is not what the record says, or onnxruntime cannot open it.
        MetadataError: DP129, the probe rows are malformed.
        VerificationError: DP144, this host answers otherwise than the converting one.

    Returns:
        The session.
    """
    session = open_session(model.onnx, contract=model.record.input, outputs=model.record.outputs)
    check_probes(session, model.record)
    return session


def check_probes(session: OnnxSession, record: ConversionRecord) -> None:
    """Check that a session gives the stored answers to the stored rows.

    Args:
        session: the session.
        record: the record that holds the rows.

    Raises:
        MetadataError: DP129, the rows or answers are malformed, or there are none.
        VerificationError: DP144, an answer differs, or the session refuses a row.
    """
    where = record_name(record.stem)
    rows = _matrix(record.probes.rows, where)
    if rows.shape[1] != record.input.features:
        raise _malformed(where, f"rows of {rows.shape[1]} columns")
    try:
        with np.errstate(over="ignore"):
            batch = rows.astype(record.input.graph_dtype)
        answers = session.run(batch)
    except SecurityError as fault:
        raise VerificationError(
            "This host cannot answer the stored rows", code="DP144", found=fault.message, where=where
        ) from fault
    _compare(answers, record, len(rows), where)


def _compare(answers: Answers, record: ConversionRecord, count: int, where: str) -> None:
    probes, checked = record.probes, 0
    if probes.class_index is not None and answers.class_index is not None:
        if len(probes.class_index) != count:
            raise _malformed(where, "another number of answers than rows")
        expected = np.asarray(probes.class_index, dtype=np.int64)
        flips = int(np.count_nonzero(answers.class_index.reshape(-1) != expected))
        if flips:
            raise _differs(where, f"{flips} other labels on {count} stored rows")
        checked += 1
    for label, stored, found in (
        ("probabilities", probes.probabilities, answers.probabilities),
        ("scores", probes.scores, answers.scores),
    ):
        if stored is None or found is None:
            continue
        values = _matrix(stored, where)
        if values.shape != found.shape:
            raise _malformed(where, f"{label} of shape {values.shape}, not {found.shape}")
        tolerance = RELATIVE_TOLERANCE[record.input.graph_dtype if found.dtype == np.float64 else "float32"]
        scale = np.maximum(np.abs(values), 1.0)
        same = (values == found) | (np.isnan(values) & np.isnan(found))
        with np.errstate(invalid="ignore"):
            close = np.abs(values - found.astype(np.float64)) <= tolerance * scale
        if not bool(np.all(same | close)):
            raise _differs(where, f"{int(np.count_nonzero(~(same | close)))} other {label}")
        checked += 1
    if not checked:
        raise _malformed(where, "no stored answer that the model gives")


def _matrix(rows: list[list[str]], where: str) -> npt.NDArray[np.float64]:
    try:
        values: Any = [[float.fromhex(text) for text in row] for row in rows]
        matrix = np.array(values, dtype=np.float64)
    except (ValueError, OverflowError):
        raise _malformed(where, "text that is no hexadecimal number, or rows of several widths") from None
    if matrix.ndim != 2 or matrix.size == 0:
        raise _malformed(where, "no rows")
    return matrix


def _malformed(where: str, found: str) -> MetadataError:
    return MetadataError(
        "The stored probe rows are malformed",
        code="DP129",
        found=found,
        expected="rows of hexadecimal numbers, each with its answer",
        where=where,
        next_step="publish the model again",
    )


def _differs(where: str, found: str) -> VerificationError:
    return VerificationError(
        "This host answers otherwise than the converting one",
        code="DP144",
        found=found,
        expected="the stored answers",
        where=where,
        next_step="install the onnxruntime version that the record names, or convert on this architecture",
    )
