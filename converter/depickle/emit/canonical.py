# SPDX-License-Identifier: Apache-2.0
"""Hostile ONNX bytes, rebuilt: only what the gate can judge is copied, in an order and under names of our own.

Rules:

1. Nothing is carried over but operators, their attributes and inputs, tensors, and which tensors are the outputs.
   Names, documentation, producer, metadata, shapes that were declared: left behind. Functions, training steps,
   subgraphs, sparse, external and quantised tensors mean something, so they are refused rather than left behind.
2. Nodes come in the order in which the outputs need them; what no output needs is dropped. The same computation
   gives the same bytes however the converter happened to order and name it.
3. Operator sets are imported once each, at one version. A graph that was made for another is accepted only where
   every operator it uses has the same definition in both.
4. Tensors are copied field by field and never expanded: what they claim to hold is for the gate to count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto
from onnx.defs import SchemaError, get_schema

from depickle_runtime.onnx_gate import MAX_ONNX_BYTES

from ..errors import UnsupportedModelError

__all__ = ["OPSETS", "Rebuilt", "rebuild"]

OPSETS: Final = {"": 18, "ai.onnx.ml": 3}
"""What the converter is asked for."""
MAX_NODES: Final = 10_000
"""As the gate; checked first so that ordering stays cheap."""

_UNCHANGED_SINCE: Final = {
    **dict.fromkeys(("Abs", "Exp", "Log", "Neg", "Sqrt"), 6),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), 7),
    **dict.fromkeys(("Cast", "Greater", "Less", "MatMul", "Sign", "Where"), 9),
    **dict.fromkeys(("Concat", "Equal", "Gather"), 11),
    "Identity": 1,
    "Reshape": 5,
}
"""Version from which later ones, up to the operator set above, only admit more element types (ONNX change log)."""

_FIELDS: Final = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
}
_DATA: Final = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True)
class Rebuilt:
    """A graph that was copied part by part.

    Attributes:
        nodes: in order of need; tensors are named ``w0``, ``w1`` … and the input ``X``.
        initializers: named ``k0``, ``k1`` … in order of use.
        outputs: the tensors that the graph gave as its outputs, in its order.
        elements: the element type that it declared for each of them, not verified.
    """

    nodes: tuple[NodeProto, ...]
    initializers: tuple[TensorProto, ...]
    outputs: tuple[str, ...]
    elements: tuple[int, ...]


def _refuse(found: str, expected: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "The converter's work cannot be taken over",
        code="DP646",
        where="the worker's ONNX",
        found=found,
        expected=expected,
        next_step="refit with a class of docs/coverage.md; a class that is listed there is a hostile file",
    )


def rebuild(data: bytes, keep: int) -> Rebuilt:
    """Take hostile bytes apart and put together what their first `keep` outputs compute.

    Raises:
        UnsupportedModelError: DP646 for bytes that are no ONNX model of one input, or that hold what is not carried
            over.
    """
    if not 0 < len(data) <= MAX_ONNX_BYTES:
        raise _refuse(f"{len(data)} bytes", f"1 to {MAX_ONNX_BYTES} bytes")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise _refuse(f"bytes that are no protobuf ({type(error).__name__})", "an ONNX model") from error
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer or graph.quantization_annotation:
        raise _refuse("functions, training, sparse or quantised tensors", "none of them")
    if len(graph.node) > MAX_NODES or len(graph.initializer) > MAX_NODES:
        raise _refuse(f"{len(graph.node)} nodes, {len(graph.initializer)} tensors", f"at most {MAX_NODES}")
    _check_text(model)
    if len(graph.input) != 1:
        raise _refuse(f"{len(graph.input)} inputs", "one")
    _check_opsets(model)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers: dict[str, int] = {}
    names = [graph.input[0].name, *stored]
    for place, node in enumerate(graph.node):
        for name in node.output:
            if name:
                makers[name] = place
                names.append(name)
    if len(set(names)) != len(graph.initializer) + 1 + sum(
        bool(n) for node in graph.node for n in node.output
    ):
        raise _refuse("a name that is assigned twice", "every name once")
    if len(graph.output) < keep:
        raise _refuse(f"{len(graph.output)} outputs", f"at least {keep}")
    wanted = [value.name for value in graph.output][:keep]
    order = _order(graph.node, makers, wanted)
    return _renamed(model, stored, order, wanted)


def _check_text(model: ModelProto) -> None:
    """protobuf hands text that is no UTF-8 over as bytes, and says nothing."""
    graph = model.graph
    names: list[object] = [entry.domain for entry in model.opset_import]
    names += [value.name for values in (graph.input, graph.output, graph.initializer) for value in values]
    for node in graph.node:
        names += [node.op_type, node.domain, *node.input, *node.output]
        names += [name for item in node.attribute for name in (item.name, item.ref_attr_name)]
    if not all(isinstance(name, str) for name in names):
        raise _refuse("a name that is no UTF-8", "text")


def _check_opsets(model: ModelProto) -> None:
    declared: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        declared[domain] = max(declared.get(domain, 0), entry.version)
    for node in model.graph.node:
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain not in OPSETS or domain not in declared:
            raise _refuse(f"an operator of the domain {node.domain!r:.60}", "ai.onnx or ai.onnx.ml, imported")
        try:
            ours = get_schema(node.op_type, OPSETS[domain], domain).since_version
            theirs = get_schema(node.op_type, min(declared[domain], 1_000), domain).since_version
        except SchemaError as error:
            raise _refuse(f"the operator {node.op_type!r:.60}", "one that its operator set has") from error
        if ours != theirs and theirs < _UNCHANGED_SINCE.get(node.op_type if not domain else "", ours):
            found = f"{node.op_type} of version {theirs}, operator set {declared[domain]}"
            raise _refuse(found, f"version {ours}, operator set {OPSETS[domain]}")


def _order(nodes: Sequence[NodeProto], makers: dict[str, int], wanted: Sequence[str]) -> list[int]:
    """The nodes that `wanted` need, each after what it needs, first needed first."""
    done: set[int] = set()
    entered: set[int] = set()
    order: list[int] = []
    waiting = [makers[name] for name in reversed(wanted) if name in makers]
    while waiting:
        place = waiting[-1]
        if place in done:
            waiting.pop()
            continue
        needs = [makers[name] for name in nodes[place].input if name in makers]
        left = [need for need in needs if need not in done]
        if not left:
            done.add(place)
            order.append(place)
            waiting.pop()
        elif place in entered:
            raise _refuse("nodes that need each other", "a graph without cycles")
        else:
            entered.add(place)
            waiting.extend(reversed(left))
    return order


def _renamed(
    model: ModelProto, stored: dict[str, TensorProto], order: Sequence[int], wanted: Sequence[str]
) -> Rebuilt:
    graph = model.graph
    named = {"": "", graph.input[0].name: "X"}
    initializers: list[TensorProto] = []
    nodes: list[NodeProto] = []
    outputs = 0
    for place in order:
        source = graph.node[place]
        for name in source.input:
            if name in named:
                continue
            if name not in stored:
                raise _refuse(f"an input {name!r:.60} that nothing makes", "every input made before")
            named[name] = f"k{len(initializers)}"
            initializers.append(_tensor(stored[name], named[name]))
        for name in source.output:
            if name:
                named[name] = f"w{outputs}"
                outputs += 1
        domain = "" if source.domain == "ai.onnx" else source.domain
        node = NodeProto(op_type=source.op_type, domain=domain)
        node.input.extend(named[name] for name in source.input)
        node.output.extend(named[name] for name in source.output)
        for attribute in sorted(source.attribute, key=lambda item: item.name):
            node.attribute.append(_attribute(attribute))
        nodes.append(node)
    if not wanted or any(not named.get(name, "").startswith("w") for name in wanted):
        raise _refuse("an output that no node makes", "computed outputs")
    elements = tuple(value.type.tensor_type.elem_type for value in graph.output)[: len(wanted)]
    return Rebuilt(tuple(nodes), tuple(initializers), tuple(named[name] for name in wanted), elements)


def _attribute(source: AttributeProto) -> AttributeProto:
    field = _FIELDS.get(source.type)
    if field is None or source.ref_attr_name:
        raise _refuse(f"the attribute {source.name!r:.60} of type {source.type}", "numbers, text or a tensor")
    made = AttributeProto(name=source.name, type=source.type)
    if field == "t":
        made.t.CopyFrom(_tensor(source.t, ""))
    elif field in ("floats", "ints", "strings"):
        getattr(made, field).extend(getattr(source, field))
    else:
        setattr(made, field, getattr(source, field))
    return made


def _tensor(source: TensorProto, name: str) -> TensorProto:
    if source.external_data or source.data_location or source.HasField("segment"):
        raise _refuse("a tensor outside the file", "tensors inside it")
    made = TensorProto(name=name, data_type=source.data_type, dims=source.dims)
    if source.HasField("raw_data"):
        made.raw_data = source.raw_data
    for field in _DATA:
        getattr(made, field).extend(getattr(source, field))
    return made
