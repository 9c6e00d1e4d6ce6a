# SPDX-License-Identifier: Apache-2.0
"""Values that the ONNX gate hands out: what a vetted file holds, and the constructor only the gate can use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

__all__ = ["TensorFacts", "TreeFacts", "VettedOnnx"]

GATE_SEAL: Final = object()
"""Passed by the gate to `VettedOnnx`; keeps the type from being built in passing, not from a determined caller."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A graph input or output: `columns` is its second dimension, None for a vector."""

    name: str
    dtype: str
    """numpy name of the element type: ``float64``, ``float32``, ``int64``, ``str``, ``bool``."""
    columns: int | None


@dataclass(frozen=True, slots=True)
class TreeFacts:
    """Size of all tree ensembles of a graph together."""

    ensembles: int
    trees: int
    nodes: int
    depth: int


@dataclass(frozen=True, slots=True, eq=False)
class VettedOnnx:
    """The bytes of an ONNX file that passed every static rule; only `check_onnx` builds one."""

    data: bytes = field(repr=False)
    sha256: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    operators: tuple[str, ...]
    """Operators used, sorted, with the domain where it is not the default one."""
    opsets: tuple[tuple[str, int], ...]
    nodes: int
    trees: TreeFacts
    elements_per_row: int
    """Upper bound on the elements that all intermediate tensors of one row hold together."""
    seal: object = field(repr=False, default=None)

    def __post_init__(self) -> None:
        """Refuse construction by anybody but the gate."""
        if self.seal is not GATE_SEAL:
            raise TypeError("VettedOnnx is built by depickle_runtime.onnx_gate.check_onnx only")

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return len(self.data)


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
