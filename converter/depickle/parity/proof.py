# SPDX-License-Identifier: Apache-2.0
"""Translation validation: walks the decoded ONNX file and the source model in lock step.

The expressions that the file must hold are derived from the inert graph by `expected`, the expressions that it does
hold by `lift`; `walk` compares the two to the last bit. A proof says that the file computes the source's formula,
operator by operator. What an operator computes on this host is for the rows on splits to show.
"""

from __future__ import annotations

from collections.abc import Mapping

from depickle_runtime.record import OutputNames, ProofRecord

from ..errors import ParityError
from ..pickles.graph import Record
from .expected import ExpectedModel, expect_model
from .lift import Lifted, lift
from .walk import WalkCount, walk

__all__ = ["METHOD", "prove"]

METHOD = "translation validation: decoded ONNX against the inert graph, in lock step"

DOUBLE, INT64, STRING = 11, 7, 8
"""Element types of ONNX (TensorProto.DataType)."""


def prove(
    estimator: Record, onnx: bytes, *, outputs: OutputNames, writer: Mapping[str, str], where: str
) -> ProofRecord | None:
    """Walk `onnx` against `estimator`.

    Args:
        estimator: the estimator of the inert graph.
        onnx: the file to be published.
        outputs: the names under which the runtime will ask for each output.
        writer: library versions that wrote the source; formulas differ between them.
        where: name of the source, for the error.

    Returns:
        What was walked, or None where no derivation exists for a class of the source.

    Raises:
        ParityError: DP710 where the source, DP712 where the file cannot be read; DP711 at the first difference;
            DP713 where the source itself decides on a rounding error.
    """
    expected = expect_model(estimator, writer)
    if expected is None:
        return None
    found = lift(onnx)
    names = {
        role: name
        for role in ("class_index", "probabilities", "scores", "margin", "bound", "label")
        if (name := getattr(outputs, role)) is not None
    }
    _check_frame(expected, found, names, where)
    count = WalkCount()
    done: set[tuple[int, int]] = set()
    for role, name in names.items():
        walk(expected.outputs[role], found.outputs[name], place=f"{where}, {name}", count=count, done=done)
    return ProofRecord(
        method=METHOD,
        trees=count.trees,
        splits=count.splits,
        leaves=count.leaves,
        constants=count.constants,
        splits_reached=0,
    )


def _check_frame(expected: ExpectedModel, found: Lifted, names: Mapping[str, str], where: str) -> None:
    """Input width and type, and which outputs there are: what the walk itself does not look at."""
    for place, have, want in (
        ("input", found.columns, expected.columns),
        ("input type", found.input_type, DOUBLE),
        ("outputs", sorted(names), sorted(expected.outputs)),
        ("names of outputs", sorted(names.values()), sorted(found.outputs)),
    ):
        if have != want:
            raise ParityError(
                "The new model is not the one that the original describes",
                code="DP711",
                where=f"{where}, {place}",
                found=str(have),
                expected=str(want),
                next_step="nothing was published and the original is untouched; report the model family",
            )
