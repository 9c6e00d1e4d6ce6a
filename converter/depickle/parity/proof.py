# SPDX-License-Identifier: Apache-2.0
"""Translation validation: walks the decoded ONNX file and the source model in lock step."""

from __future__ import annotations

from collections.abc import Mapping

from depickle_runtime.record import OutputNames, ProofRecord

from ..pickles.graph import Record

__all__ = ["prove"]


def prove(
    estimator: Record, onnx: bytes, *, outputs: OutputNames, writer: Mapping[str, str], where: str
) -> ProofRecord | None:
    """What was walked, or None where no walk exists for this family yet."""
    return None
