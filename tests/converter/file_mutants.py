# SPDX-License-Identifier: Apache-2.0
"""Slips in the file: every kind of change that a wrong emitter, or a tampering hand, could make to an ONNX model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

__all__ = ["FILE_KINDS", "canonical", "nudged"]

Generator = np.random.Generator


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(attribute for attribute in node.attribute if attribute.name == name)


def _ensemble(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "TreeEnsemble")


def nudged(values: npt.NDArray[Any], place: int, generator: Generator) -> npt.NDArray[Any]:
    changed = np.array(values).reshape(-1)
    changed[place] = np.nextafter(changed[place], changed.dtype.type(generator.choice([-np.inf, np.inf])))
    return changed.reshape(values.shape)


def _nudge_tensor(tensor: onnx.TensorProto, places: npt.NDArray[Any], generator: Generator) -> None:
    values = numpy_helper.to_array(tensor)
    tensor.raw_data = nudged(values, int(generator.choice(places)), generator).tobytes()


def _splits(node: onnx.NodeProto) -> npt.NDArray[np.int64]:
    """Nodes that are no stand-in for a single leaf."""
    constant = _constants(node)
    return np.array(
        [place for place in range(len(_attribute(node, "nodes_modes").t.raw_data)) if place not in constant]
    )


def _constants(node: onnx.NodeProto) -> dict[int, tuple[int, int]]:
    """Trees of one leaf: their node and its two leaves."""
    columns = [
        list(_attribute(node, name).ints)
        for name in ("nodes_truenodeids", "nodes_trueleafs", "nodes_falsenodeids", "nodes_falseleafs")
    ]
    weights = numpy_helper.to_array(_attribute(node, "leaf_weights").t)
    modes = numpy_helper.to_array(_attribute(node, "nodes_modes").t)
    splits = numpy_helper.to_array(_attribute(node, "nodes_splits").t)
    roots = set(_attribute(node, "tree_roots").ints)
    found = {}
    for place in roots:
        yes, yes_leaf, no, no_leaf = (column[place] for column in columns)
        if yes_leaf and no_leaf and weights[yes] == weights[no] and splits[place] == 0 and modes[place] == 0:
            found[place] = (yes, no)
    return found


def _threshold(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    _nudge_tensor(_attribute(node, "nodes_splits").t, _splits(node), generator)


def _leaf(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    weights = _attribute(node, "leaf_weights").t
    spared = {leaf for pair in _constants(node).values() for leaf in pair}
    places = np.array([place for place in range(numpy_helper.to_array(weights).size) if place not in spared])
    _nudge_tensor(weights, places, generator)


def _leaf_number(model: onnx.ModelProto, generator: Generator) -> None:
    tensor = _attribute(_ensemble(model), "leaf_weights").t
    values = np.array(numpy_helper.to_array(tensor))
    place = int(generator.integers(values.size))
    values[place] += 1 if values[place] < values.max() else -1
    tensor.raw_data = values.tobytes()


def _leaf_row(model: onnx.ModelProto, generator: Generator) -> None:
    table = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    _nudge_tensor(table, np.arange(numpy_helper.to_array(table).size), generator)


def _base(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    pair = list(_constants(node).values())[int(generator.integers(len(_constants(node))))]
    _nudge_tensor(_attribute(node, "leaf_weights").t, np.array(pair), generator)


def _base_both(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    pair = list(_constants(node).values())[int(generator.integers(len(_constants(node))))]
    tensor = _attribute(node, "leaf_weights").t
    values = np.array(numpy_helper.to_array(tensor))
    values[list(pair)] = np.nextafter(values[pair[0]], values.dtype.type(generator.choice([-np.inf, np.inf])))
    tensor.raw_data = values.tobytes()


def _feature(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    features = _attribute(node, "nodes_featureids").ints
    place = int(generator.choice(_splits(node)))
    features[place] = features[place] + 1 if features[place] < max(features) else features[place] - 1


def _direction(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    flags = _attribute(node, "nodes_missing_value_tracks_true").ints
    place = int(generator.choice(_splits(node)))
    flags[place] = 1 - flags[place]


def _mode(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    tensor = _attribute(node, "nodes_modes").t
    values = np.array(numpy_helper.to_array(tensor))
    place = int(generator.choice(_splits(node)))
    values[place] = generator.choice([mode for mode in range(6) if mode != values[place]])
    tensor.raw_data = values.tobytes()


def _children(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    place = int(generator.choice(_splits(node)))
    for one, other in (("nodes_truenodeids", "nodes_falsenodeids"), ("nodes_trueleafs", "nodes_falseleafs")):
        a, b = _attribute(node, one).ints, _attribute(node, other).ints
        a[place], b[place] = b[place], a[place]


def _equal_leaves(node: onnx.NodeProto, place: int) -> bool:
    """Whether both children of a node are leaves of one target and weight."""
    leaves = []
    for ids, flags in (("nodes_truenodeids", "nodes_trueleafs"), ("nodes_falsenodeids", "nodes_falseleafs")):
        if not _attribute(node, flags).ints[place]:
            return False
        leaves.append(_attribute(node, ids).ints[place])
    one, other = leaves
    weights = numpy_helper.to_array(_attribute(node, "leaf_weights").t)
    targets = _attribute(node, "leaf_targetids").ints
    return bool(weights[one] == weights[other] and targets[one] == targets[other])


def _tree_order(model: onnx.ModelProto, generator: Generator) -> None:
    roots = _attribute(_ensemble(model), "tree_roots").ints
    one, other = (int(place) for place in generator.choice(len(roots), 2, replace=False))
    roots[one], roots[other] = roots[other], roots[one]


def _tree_lost(model: onnx.ModelProto, generator: Generator) -> None:
    roots = _attribute(_ensemble(model), "tree_roots").ints
    del roots[int(generator.integers(len(roots)))]


def _target(model: onnx.ModelProto, generator: Generator) -> None:
    node = _ensemble(model)
    targets = _attribute(node, "leaf_targetids").ints
    place = int(generator.integers(len(targets)))
    targets[place] = (targets[place] + 1) % _attribute(node, "n_targets").i


def _aggregate(model: onnx.ModelProto, generator: Generator) -> None:
    name, values = [("aggregate_function", (0, 2, 3)), ("post_transform", (1, 2, 4))][
        int(generator.integers(2))
    ]
    _attribute(_ensemble(model), name).i = int(generator.choice(values))


def _constant_of(*operators: str) -> Callable[[onnx.ModelProto, Generator], None]:
    def change(model: onnx.ModelProto, generator: Generator) -> None:
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        named = [
            name
            for node in model.graph.node
            if node.op_type in operators
            for name in node.input
            if name in tensors and tensors[name].data_type in (1, 11) and len(tensors[name].raw_data) < 4096
        ]
        tensor = tensors[str(generator.choice(sorted(set(named))))]
        _nudge_tensor(tensor, np.arange(numpy_helper.to_array(tensor).size), generator)

    return change


def _class_order(model: onnx.ModelProto, generator: Generator) -> None:
    node = next(node for node in model.graph.node if "label" in node.output)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[0])
    values = numpy_helper.to_array(tensor)
    order = np.roll(np.arange(values.size), int(generator.integers(1, values.size)))
    if values.dtype.kind in "OSU":
        texts = list(tensor.string_data)
        del tensor.string_data[:]
        tensor.string_data.extend(texts[place] for place in order.tolist())
    else:
        tensor.raw_data = values[order].tobytes()


_SWAPS = {
    "GreaterOrEqual": ("Greater", "Less"),
    "Greater": ("GreaterOrEqual",),
    "LessOrEqual": ("Less",),
    "Less": ("LessOrEqual",),
    "Sub": ("Add",),
    "Add": ("Sub",),
    "Div": ("Mul",),
    "Mul": ("Div",),
    "ArgMax": ("ArgMin",),
    "ReduceMax": ("ReduceMin",),
    "Abs": ("Neg", "Identity"),
    "Neg": ("Abs", "Identity"),
    "Exp": ("Identity",),
    "Floor": ("Ceil",),
    "IsNaN": ("IsInf",),
}


def _operator(model: onnx.ModelProto, generator: Generator) -> None:
    nodes = [node for node in model.graph.node if node.op_type in _SWAPS]
    node = nodes[int(generator.integers(len(nodes)))]
    node.op_type = str(generator.choice(_SWAPS[node.op_type]))


def _setting(model: onnx.ModelProto, generator: Generator) -> None:
    found = [
        attribute
        for node in model.graph.node
        if node.op_type in ("ArgMax", "Concat", "Gather", "TopK", "ReduceMax")
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.INT
    ]
    attribute = found[int(generator.integers(len(found)))]
    attribute.i = 1 - attribute.i


def _operands(model: onnx.ModelProto, generator: Generator) -> None:
    nodes = [node for node in model.graph.node if node.op_type in ("Sub", "Div", "Where", "Concat")]
    node = nodes[int(generator.integers(len(nodes)))]
    first, *rest = node.input
    rest.append(first)
    del node.input[:]
    node.input.extend(rest)


def _precision(model: onnx.ModelProto, generator: Generator) -> None:
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    attribute = casts[int(generator.integers(len(casts)))].attribute[0]
    attribute.i = {1: 10, 11: 1, 7: 6}[attribute.i]


def _step_lost(model: onnx.ModelProto, generator: Generator) -> None:
    """One step of the preamble or of the answer does nothing."""
    plain = [
        node
        for node in model.graph.node
        if node.op_type in ("Sub", "Div", "Mul", "Add", "Where", "Cast", "Abs")
    ]
    node = plain[int(generator.integers(len(plain)))]
    kept = node.input[2 if node.op_type == "Where" else 0]
    del node.input[:]
    del node.attribute[:]
    node.op_type = "Identity"
    node.input.append(kept)


def _frame(model: onnx.ModelProto, generator: Generator) -> None:
    entry = model.graph.input[0].type.tensor_type
    match int(generator.integers(3)):
        case 0:
            entry.shape.dim[1].dim_value += 1
        case 1:
            entry.elem_type = onnx.TensorProto.FLOAT
        case _:
            outputs = list(model.graph.output)
            del model.graph.output[:]
            model.graph.output.extend(outputs[:-1])


FILE_KINDS: dict[str, Callable[[onnx.ModelProto, Generator], None]] = {
    "threshold ±1 ulp": _threshold,
    "leaf ±1 ulp": _leaf,
    "leaf number": _leaf_number,
    "row of a leaf ±1 ulp": _leaf_row,
    "base score, one of its two leaves": _base,
    "base score ±1 ulp": _base_both,
    "feature": _feature,
    "default direction": _direction,
    "mode": _mode,
    "children swapped": _children,
    "tree order": _tree_order,
    "tree lost": _tree_lost,
    "target": _target,
    "aggregation": _aggregate,
    "scaler ±1 ulp": _constant_of("Sub", "Div", "Mul", "Add"),
    "imputer or cut ±1 ulp": _constant_of(
        "Where", "GreaterOrEqual", "Greater", "Equal", "Clip", "LessOrEqual"
    ),
    "weight ±1 ulp": _constant_of("MatMul"),
    "class order": _class_order,
    "operator": _operator,
    "attribute": _setting,
    "operands": _operands,
    "precision": _precision,
    "step lost": _step_lost,
    "input or outputs": _frame,
}


def canonical(data: bytes) -> list[tuple[str, bytes]]:
    """What each output is made of, whatever inner values are called and in which order parts are written.

    Two leaves of one node that add the same may change places.
    """
    model = onnx.load_from_string(data)
    known = {entry.name: entry.SerializeToString(deterministic=True) for entry in model.graph.input}
    for tensor in model.graph.initializer:
        known[tensor.name] = _digest(_without_name(tensor))
    for node in model.graph.node:
        if node.op_type == "TreeEnsemble":
            yes, no = _attribute(node, "nodes_truenodeids").ints, _attribute(node, "nodes_falsenodeids").ints
            for place in range(len(yes)):
                if yes[place] > no[place] and _equal_leaves(node, place):
                    yes[place], no[place] = no[place], yes[place]
        inputs = [known[name] for name in node.input]
        outputs = list(node.output)
        bare = onnx.NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
        own = _digest(b"\0".join([bare.SerializeToString(deterministic=True), *inputs]))
        for place, name in enumerate(outputs):
            known[name] = own if place == 0 else _digest(own + bytes([place]))
    return [
        (entry.name, known[entry.name] + entry.SerializeToString(deterministic=True))
        for entry in model.graph.output
    ]


def _without_name(tensor: onnx.TensorProto) -> bytes:
    bare = onnx.TensorProto()
    bare.CopyFrom(tensor)
    bare.ClearField("name")
    found: bytes = bare.SerializeToString(deterministic=True)
    return found


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
