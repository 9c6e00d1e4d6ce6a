# SPDX-License-Identifier: Apache-2.0
"""Decodes an ONNX file into expressions that can be compared node by node; shares nothing with the emitter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, numpy_helper

from ..errors import ParityError

__all__ = ["DecodedEnsemble", "Expression", "Lifted", "lift"]

IR_VERSION = 10
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, eq=False)
class DecodedEnsemble:
    """The attributes of a ``TreeEnsemble`` node (ai.onnx.ml 5) as arrays."""

    feature: npt.NDArray[np.int64]
    split: npt.NDArray[np.generic]
    mode: npt.NDArray[np.uint8]
    missing_true: npt.NDArray[np.int64]
    true_id: npt.NDArray[np.int64]
    true_leaf: npt.NDArray[np.int64]
    false_id: npt.NDArray[np.int64]
    false_leaf: npt.NDArray[np.int64]
    roots: npt.NDArray[np.int64]
    leaf_target: npt.NDArray[np.int64]
    leaf_weight: npt.NDArray[np.generic]
    members: npt.NDArray[np.generic]
    targets: int
    aggregate: int
    transform: int


@dataclass(frozen=True, eq=False)
class Expression:
    """One value of the graph: the input, a constant, or an operator with its attributes and inputs.

    `output` is the place of the value among the outputs of its operator.
    """

    operator: str
    inputs: tuple[Expression, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    constant: npt.NDArray[np.generic] | None = None
    ensemble: DecodedEnsemble | None = None
    output: int = 0


@dataclass(frozen=True)
class Lifted:
    """A decoded model: its one input and the expression of every output."""

    input_name: str
    input_type: int
    columns: int
    outputs: Mapping[str, Expression]
    nodes: int


def lift(data: bytes) -> Lifted:
    """Decode an ONNX file.

    Raises:
        ParityError: DP712 where the file is not a model of one input whose nodes all serve an output.
    """
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise _undecodable(str(error)[:200]) from error
    graph = model.graph
    imports = [(entry.domain, entry.version) for entry in model.opset_import]
    if imports != [("", 21), ("ai.onnx.ml", 5)]:
        raise _undecodable(f"operator sets {imports}")
    if len(graph.input) != 1 or graph.sparse_initializer or model.functions:
        raise _undecodable("another form than one input and plain nodes")
    if (
        model.ir_version != IR_VERSION
        or model.training_info
        or graph.quantization_annotation
        or graph.value_info
    ):
        raise _undecodable("parts that no model of ours has")
    entry = graph.input[0]
    dimensions = entry.type.tensor_type.shape.dim
    if len(dimensions) != 2 or not dimensions[1].dim_value:
        raise _undecodable("an input that is not [N, F]")
    known: dict[str, Expression] = {entry.name: Expression("input")}
    for initializer in graph.initializer:
        if initializer.name in known:
            raise _undecodable(f"the name {initializer.name} twice")
        known[initializer.name] = Expression("constant", constant=_tensor(initializer))
    used: set[int] = set()
    produced: list[Expression] = []
    for node in graph.node:
        if "" in node.input or "" in node.output:  # to ONNX, an input or output that is left out
            raise _undecodable(f"a {node.op_type} with a part left out")
        try:
            inputs = tuple(known[name] for name in node.input)
        except KeyError as error:
            raise _undecodable(f"an input {error} that nothing made") from error
        used |= {id(value) for value in inputs}
        for place, name in enumerate(node.output):
            if name in known:
                raise _undecodable(f"the name {name} twice")
            if node.op_type == "Identity" and node.domain == "":
                known[name] = inputs[0]
                continue
            value = _expression(node, inputs, place)
            known[name] = value
            produced.append(value)
    outputs = {}
    for output in graph.output:
        if output.name not in known:
            raise _undecodable(f"an output {output.name} that nothing made")
        outputs[output.name] = known[output.name]
        used.add(id(known[output.name]))
    idle = [value for value in produced if id(value) not in used and value.output == 0]
    if idle:
        raise _undecodable(f"a {idle[0].operator} that serves no output")
    return Lifted(
        input_name=entry.name,
        input_type=entry.type.tensor_type.elem_type,
        columns=int(dimensions[1].dim_value),
        outputs=outputs,
        nodes=len(graph.node),
    )


def _tensor(tensor: onnx.TensorProto) -> npt.NDArray[np.generic]:
    if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
        raise _undecodable("a tensor outside the file")
    try:
        return numpy_helper.to_array(tensor)
    except (TypeError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise _undecodable("a malformed tensor") from error


def _expression(node: onnx.NodeProto, inputs: tuple[Expression, ...], place: int) -> Expression:
    operator = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    if operator == "ai.onnx.ml:TreeEnsemble":
        return Expression(operator, inputs, ensemble=_ensemble(node), output=place)
    attributes: dict[str, Attribute] = {}
    for attribute in node.attribute:
        if attribute.name in attributes:
            raise _undecodable("an attribute twice")
        match attribute.type:
            case AttributeProto.INT:
                attributes[attribute.name] = int(attribute.i)
            case AttributeProto.FLOAT:
                attributes[attribute.name] = float(attribute.f)
            case AttributeProto.STRING:
                attributes[attribute.name] = attribute.s.decode("utf-8", "surrogateescape")
            case AttributeProto.INTS:
                attributes[attribute.name] = tuple(int(value) for value in attribute.ints)
            case AttributeProto.FLOATS:
                attributes[attribute.name] = tuple(float(value) for value in attribute.floats)
            case _:
                raise _undecodable(f"an attribute {attribute.name} of {operator}")
    return Expression(operator, inputs, attributes, output=place)


_INTEGERS = {
    "nodes_featureids": "feature",
    "nodes_missing_value_tracks_true": "missing_true",
    "nodes_truenodeids": "true_id",
    "nodes_trueleafs": "true_leaf",
    "nodes_falsenodeids": "false_id",
    "nodes_falseleafs": "false_leaf",
    "tree_roots": "roots",
    "leaf_targetids": "leaf_target",
}
_TENSORS = {
    "nodes_splits": "split",
    "nodes_modes": "mode",
    "leaf_weights": "leaf_weight",
    "membership_values": "members",
}
_SCALARS = {"n_targets": "targets", "aggregate_function": "aggregate", "post_transform": "transform"}


def _ensemble(node: onnx.NodeProto) -> DecodedEnsemble:
    arrays: dict[str, npt.NDArray[np.generic]] = {"members": np.empty(0)}
    numbers = {"aggregate": 1, "transform": 0}
    for attribute in node.attribute:
        if attribute.name in _INTEGERS:
            arrays[_INTEGERS[attribute.name]] = np.array(attribute.ints, dtype=np.int64)
        elif attribute.name in _TENSORS:
            arrays[_TENSORS[attribute.name]] = _tensor(attribute.t)
        elif attribute.name in _SCALARS:
            numbers[_SCALARS[attribute.name]] = int(attribute.i)
        else:
            raise _undecodable(f"an attribute {attribute.name} of TreeEnsemble")
    try:
        found = DecodedEnsemble(**arrays, **numbers)  # type: ignore[arg-type]  # names are the table's, above
    except TypeError as error:
        raise _undecodable("a TreeEnsemble with attributes missing") from error
    nodes, leaves = found.feature.shape, found.leaf_target.shape
    same = [found.split, found.mode, found.missing_true, found.true_id, found.true_leaf]
    same += [found.false_id, found.false_leaf]
    if any(part.shape != nodes for part in same) or found.leaf_weight.shape != leaves:
        raise _undecodable("a TreeEnsemble whose arrays differ in length")
    if len({attribute.name for attribute in node.attribute}) != len(node.attribute):
        raise _undecodable("an attribute twice")
    return found


def _undecodable(found: str) -> ParityError:
    return ParityError(
        "The new model cannot be decoded for the proof",
        code="DP712",
        where="translation validation",
        found=found,
        expected="a model as this converter emits it",
        next_step="report the model family; nothing was published",
    )
