# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph under construction, and its canonical bytes.

The same calls give the same bytes, in any process: names are counted, never hashed; tensors are raw little-endian;
both operator sets are imported once, in one order; nothing carries a date, a path or a version of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

__all__ = ["ELEMENT", "Element", "Graph"]

IR_VERSION = 10
OPSET = 21
ML_OPSET = 5
PRODUCER = "depickle"

Element: TypeAlias = Literal["float64", "float32", "int64", "bool", "uint8", "string"]

ELEMENT: dict[Element, int] = {
    "float64": TensorProto.DOUBLE,
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "string": TensorProto.STRING,
}

_LITTLE = {"float64": "<f8", "float32": "<f4", "int64": "<i8", "bool": "|b1", "uint8": "|u1"}

Attribute: TypeAlias = int | str | Sequence[int] | TensorProto


class Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self._proto = GraphProto(name=PRODUCER)
        self._count = 0
        self._constants: dict[tuple[str, str, tuple[int, ...], bytes], str] = {}
        self._renamed: dict[str, str] = {}

    def input(self, name: str, element: Element, columns: int) -> str:
        """Declare the input [None, columns]."""
        self._proto.input.append(_value_info(name, element, (None, columns)))
        return name

    def output(self, value: str, name: str, element: Element, shape: tuple[int | None, ...]) -> str:
        """Declare the output `name`: the value itself under that name, or a copy where it has a name already."""
        if value.startswith("v") and value not in self._renamed:
            self._renamed[value] = name
        else:
            self._node("Identity", "", [value], [name], {})
        self._proto.output.append(_value_info(name, element, shape))
        return name

    def constant(self, array: npt.ArrayLike, element: Element) -> str:
        """A constant tensor; equal constants share one initializer."""
        tensor = self.tensor(array, element)
        content = tensor.raw_data if element != "string" else b"\0".join(tensor.string_data)
        key = (element, "", tuple(tensor.dims), content)
        if key not in self._constants:
            tensor.name = f"c{len(self._constants)}"
            self._proto.initializer.append(tensor)
            self._constants[key] = tensor.name
        return self._constants[key]

    def strings(self, labels: Sequence[str]) -> str:
        """A constant vector of strings."""
        tensor = TensorProto(data_type=TensorProto.STRING, dims=[len(labels)])
        tensor.string_data.extend(label.encode("utf-8") for label in labels)
        tensor.name = f"c{len(self._constants)}"
        self._constants["string", tensor.name, (len(labels),), b""] = tensor.name
        self._proto.initializer.append(tensor)
        return tensor.name

    @staticmethod
    def tensor(array: npt.ArrayLike, element: Element) -> TensorProto:
        """`array` as a tensor proto without a name."""
        data = np.ascontiguousarray(np.asarray(array, dtype=_LITTLE[element]))
        shape = np.shape(array)
        return TensorProto(data_type=ELEMENT[element], dims=list(shape), raw_data=data.tobytes())

    def add(
        self, operator: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Attribute
    ) -> str:
        """Append a node; returns the name of its first output."""
        return self.add_all(operator, *inputs, domain=domain, outputs=outputs, **attributes)[0]

    def add_all(
        self, operator: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Attribute
    ) -> list[str]:
        """Append a node; returns the names of all its outputs."""
        names = [f"v{self._count + place}" for place in range(outputs)]
        self._count += outputs
        self._node(operator, domain, list(inputs), names, attributes)
        return names

    def add_pair(self, operator: str, *inputs: str, **attributes: Attribute) -> tuple[str, str]:
        """Append a node of two outputs; returns the names of both."""
        first = self.add(operator, *inputs, domain="", outputs=2, **attributes)
        return first, f"v{self._count - 1}"

    def cast(self, value: str, element: Element) -> str:
        """`value` in another element type."""
        return self.add("Cast", value, to=ELEMENT[element])

    def scalar(self, value: float, element: Element = "float64") -> str:
        """A constant of one element that broadcasts."""
        return self.constant(np.array([value]), element)

    def _node(
        self,
        operator: str,
        domain: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: dict[str, Attribute],
    ) -> None:
        node = NodeProto(op_type=operator, domain=domain, input=inputs, output=outputs)
        for name in sorted(attributes):
            node.attribute.append(_attribute(name, attributes[name]))
        self._proto.node.append(node)

    def to_bytes(self) -> bytes:
        """The model, serialised deterministically."""
        model = ModelProto(ir_version=IR_VERSION, producer_name=PRODUCER)
        model.opset_import.append(onnx.OperatorSetIdProto(domain="", version=OPSET))
        model.opset_import.append(onnx.OperatorSetIdProto(domain="ai.onnx.ml", version=ML_OPSET))
        model.graph.CopyFrom(self._proto)
        nodes, constants = self._live()
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(constants)
        for node in model.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name in self._renamed:
                        names[place] = self._renamed[name]
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _live(self) -> tuple[list[NodeProto], list[TensorProto]]:
        """The nodes and constants that an output depends on; what serves no output would only cost time."""
        original = {name: value for value, name in self._renamed.items()}
        needed = {original.get(output.name, output.name) for output in self._proto.output}
        nodes: list[NodeProto] = []
        for node in reversed(self._proto.node):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        return nodes[::-1], [tensor for tensor in self._proto.initializer if tensor.name in needed]


def _attribute(name: str, value: Attribute) -> AttributeProto:
    attribute = AttributeProto(name=name)
    if isinstance(value, TensorProto):
        attribute.type = AttributeProto.TENSOR
        attribute.t.CopyFrom(value)
    elif isinstance(value, str):
        attribute.type = AttributeProto.STRING
        attribute.s = value.encode("utf-8")
    elif isinstance(value, int):
        attribute.type = AttributeProto.INT
        attribute.i = value
    else:
        attribute.type = AttributeProto.INTS
        attribute.ints.extend(value)
    return attribute


def _value_info(name: str, element: Element, shape: tuple[int | None, ...]) -> ValueInfoProto:
    info = ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = ELEMENT[element]
    for size in shape:
        dimension = info.type.tensor_type.shape.dim.add()
        if size is None:
            dimension.dim_param = "N"
        else:
            dimension.dim_value = size
    return info
