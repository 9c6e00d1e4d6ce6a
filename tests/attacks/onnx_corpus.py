# SPDX-License-Identifier: Apache-2.0
"""Builds hostile ONNX files, one per way of being hostile, each with the code of the rule that must refuse it.

Run as a script to write them to a folder for other tools: ``python -m tests.attacks.onnx_corpus FOLDER``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

F = 4
ML = "ai.onnx.ml"


@dataclass(frozen=True)
class Case:
    """A hostile file: what it does, the code that refuses it, and its bytes."""

    name: str
    code: str
    data: bytes


def info(name: str, kind: int, dims: list[Any]) -> onnx.ValueInfoProto:
    return h.make_tensor_value_info(name, kind, dims)


def model(
    nodes: list[onnx.NodeProto],
    *,
    inits: list[onnx.TensorProto] | None = None,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    opsets: list[tuple[str, int]] | None = None,
    ir: int = 10,
) -> onnx.ModelProto:
    graph = h.make_graph(
        nodes,
        "g",
        inputs if inputs is not None else [info("X", T.DOUBLE, [None, F])],
        outputs if outputs is not None else [info("Y", T.DOUBLE, [None, F])],
        initializer=inits or [],
    )
    imports = [h.make_opsetid(d, v) for d, v in (opsets or [("", 21), (ML, 5)])]
    return h.make_model(graph, opset_imports=imports, ir_version=ir, producer_name="depickle")


def raw(m: onnx.ModelProto) -> bytes:
    return m.SerializeToString(deterministic=True)


def op(name: str, ins: str, outs: str = "Y", domain: str = "", **attributes: Any) -> onnx.NodeProto:
    empty = [key for key, value in attributes.items() if value == []]
    given = {key: value for key, value in attributes.items() if key not in empty}
    node = h.make_node(
        name, ["" if i == "_" else i for i in ins.split()], outs.split(), domain=domain, **given
    )
    for key in empty:
        node.attribute.add(name=key, type=6 if key in ("rho", "target_weights") else 7)
    return node


def f8(name: str, *shape: int) -> onnx.TensorProto:
    return nh.from_array(np.ones(shape), name)


def i8(name: str, *values: int) -> onnx.TensorProto:
    return nh.from_array(np.array(values, dtype=np.int64), name)


def honest() -> onnx.ModelProto:
    """A small model that every rule admits; most cases spoil it in one place."""
    return model([op("Add", "X w")], inits=[f8("w", F)])


def tree(**changes: Any) -> onnx.ModelProto:
    """Two v5 trees: three nodes with four leaves, and one node with two."""
    attributes: dict[str, Any] = {
        "aggregate_function": 1,
        "leaf_targetids": [0, 1, 0, 1, 0, 1],
        "leaf_weights": nh.from_array(np.arange(6.0)),
        "n_targets": 2,
        "nodes_falseleafs": [0, 1, 1, 1],
        "nodes_falsenodeids": [2, 1, 3, 5],
        "nodes_featureids": [0, 1, 2, 3],
        "nodes_modes": nh.from_array(np.zeros(4, dtype=np.uint8)),
        "nodes_splits": nh.from_array(np.arange(4.0)),
        "nodes_trueleafs": [0, 1, 1, 1],
        "nodes_truenodeids": [1, 0, 2, 4],
        "post_transform": 0,
        "tree_roots": [0, 3],
    }
    attributes.update(changes)
    node = op("TreeEnsemble", "X", domain=ML, **attributes)
    return model([node], outputs=[info("Y", T.DOUBLE, [None, 2])])


def legacy(**changes: Any) -> onnx.ModelProto:
    """Two trees of three nodes in the older form."""
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2, 0, 1, 2],
        "nodes_featureids": [0, 0, 0, 1, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0, 0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
        "target_treeids": [0, 0, 1, 1],
        "target_nodeids": [1, 2, 1, 2],
        "target_ids": [0, 0, 0, 0],
        "target_weights": [1.0, 2.0, 3.0, 4.0],
        "n_targets": 1,
        "post_transform": "NONE",
    }
    attributes.update(changes)
    node = op("TreeEnsembleRegressor", "X", domain=ML, **attributes)
    return model(
        [node],
        inputs=[info("X", T.FLOAT, [None, F])],
        outputs=[info("Y", T.FLOAT, [None, 1])],
        opsets=[("", 21), (ML, 3)],
    )


def chain(depth: int) -> onnx.ModelProto:
    """One v5 tree that is a chain."""
    n = depth
    last = n - 1
    return tree(
        leaf_targetids=[0] * (n + 1),
        leaf_weights=nh.from_array(np.ones(n + 1)),
        nodes_falseleafs=[1] * n,
        nodes_falsenodeids=list(range(n)),
        nodes_featureids=[0] * n,
        nodes_modes=nh.from_array(np.zeros(n, dtype=np.uint8)),
        nodes_splits=nh.from_array(np.arange(float(n))),
        nodes_trueleafs=[0] * last + [1],
        nodes_truenodeids=[*range(1, n), n],
        tree_roots=[0],
    )


def svm(**changes: Any) -> onnx.ModelProto:
    attributes: dict[str, Any] = {
        "classlabels_ints": [0, 1],
        "coefficients": [1.0, -1.0],
        "kernel_params": [0.1, 0.0, 3.0],
        "kernel_type": "RBF",
        "post_transform": "NONE",
        "rho": [0.0],
        "support_vectors": [0.0] * (2 * F),
        "vectors_per_class": [1, 1],
    }
    attributes.update(changes)
    node = op("SVMClassifier", "X", "L Y", domain=ML, **attributes)
    outputs = [info("L", T.INT64, [None]), info("Y", T.FLOAT, [None, 2])]
    return model([node], inputs=[info("X", T.FLOAT, [None, F])], outputs=outputs)


def linear(**changes: Any) -> onnx.ModelProto:
    attributes: dict[str, Any] = {"coefficients": [1.0] * F, "intercepts": [0.0], "targets": 1}
    attributes.update(changes)
    return model(
        [op("LinearRegressor", "X", domain=ML, **attributes)], outputs=[info("Y", T.FLOAT, [None, 1])]
    )


def one_ml(name: str, **attributes: Any) -> onnx.ModelProto:
    return model([op(name, "X", domain=ML, **attributes)], outputs=[info("Y", T.FLOAT, [None, None])])


def _set(m: onnx.ModelProto, change: Callable[[onnx.ModelProto], Any]) -> bytes:
    change(m)
    return raw(m)


def _body() -> onnx.GraphProto:
    return h.make_graph([op("Identity", "c", "d")], "b", [], [info("d", T.DOUBLE, [None, F])])


def _functions(depth: int) -> bytes:
    """Functions that call one another twice: 2^depth nodes once onnxruntime inlines them."""
    m = model([op("f0", "X", domain="local")], opsets=[("", 21), ("local", 1)])
    for k in range(depth):
        inner = [op(f"f{k + 1}", "a", "t", domain="local"), op(f"f{k + 1}", "t", "b", domain="local")]
        if k == depth - 1:
            inner = [op("Identity", "a", "b")]
        imports = [h.make_opsetid("", 21), h.make_opsetid("local", 1)]
        m.functions.append(h.make_function("local", f"f{k}", ["a"], ["b"], inner, imports))
    return raw(m)


def _tensor_case(change: Callable[[onnx.TensorProto], Any]) -> bytes:
    m = honest()
    change(m.graph.initializer[0])
    return raw(m)


def _external(t: onnx.TensorProto) -> None:
    t.ClearField("raw_data")
    t.data_location = T.EXTERNAL
    t.external_data.add(key="location", value="../../etc/passwd")


def _location_only(t: onnx.TensorProto) -> None:
    t.data_location = T.EXTERNAL


def _typed_too(t: onnx.TensorProto) -> None:
    t.double_data.extend([1.0] * F)


def _dims(*dims: int) -> Callable[[onnx.TensorProto], None]:
    def change(t: onnx.TensorProto) -> None:
        t.ClearField("dims")
        t.dims.extend(dims)

    return change


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _wire() -> Iterator[tuple[str, str, bytes]]:
    good = raw(honest())
    graph = honest().graph.SerializeToString(deterministic=True)
    head = b"\x08\x0a"
    tail = b"".join(_field(8, o.SerializeToString()) for o in honest().opset_import)
    yield "an empty file", "DP301", b""
    yield "text instead of a model", "DP303", b"\x80not an onnx model at all"
    yield "a pickle instead of a model", "DP303", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00."
    yield "a file cut short", "DP302", good[: len(good) // 2]
    yield "no graph", "DP302", head + tail
    yield "bytes after the model", "DP303", good + b"\x00"
    yield "an unknown field in the model", "DP303", good + _field(99, b"hidden")
    yield "an unknown field in the graph", "DP303", head + _field(7, graph + _field(99, b"x")) + tail
    yield "two graphs, which parsers merge", "DP304", head + _field(7, graph) + _field(7, graph) + tail
    yield "two IR versions", "DP304", b"\x08\x0a" + good
    yield "an overlong number", "DP302", b"\x08\x8a\x00" + good[2:]
    yield "fields out of order", "DP302", tail + head + _field(7, graph)
    yield "a length past the end", "DP302", head + b"\x3a\xff\xff\xff\xff\x0f" + graph
    yield "a number of eleven bytes", "DP302", b"\x08" + b"\xff" * 11 + b"\x01"
    yield "a wrong wire type", "DP302", b"\x0a\x01\x0a" + good[2:]
    yield "millions of empty nodes", "DP308", head + _field(7, b"\x0a\x00" * 500_000) + tail
    yield "a name that is not UTF-8", "DP309", head + b"\x12\x02\xff\xfe" + _field(7, graph) + tail
    yield "terminal escapes in a name", "DP309", head + _field(2, b"\x1b[2J") + _field(7, graph) + tail
    yield (
        "a documentation string of 1 MB",
        "DP309",
        head + _field(6, b"a" * (1 << 20)) + _field(7, graph) + tail,
    )
    packed = op("Add", "X w").SerializeToString() + _field(5, _field(1, b"p") + _field(8, b"\x01" * 80))
    yield "a packed list where onnx has none", "DP302", head + _field(7, _field(1, packed)) + tail


def _headers() -> Iterator[tuple[str, str, bytes]]:
    yield "functions ten deep", "DP305", _functions(10)
    yield "training information", "DP306", _set(honest(), lambda m: m.training_info.add())
    yield "quantisation annotations", "DP307", _set(honest(), lambda m: m.graph.quantization_annotation.add())
    yield "metadata on a node", "DP307", _set(honest(), lambda m: m.graph.node[0].metadata_props.add(key="a"))
    yield (
        "an overloaded operator",
        "DP305",
        _set(honest(), lambda m: setattr(m.graph.node[0], "overload", "o")),
    )
    yield "an old IR version", "DP310", _set(honest(), lambda m: setattr(m, "ir_version", 3))
    yield "a future IR version", "DP310", _set(honest(), lambda m: setattr(m, "ir_version", 99))
    yield "a negative IR version", "DP310", _set(honest(), lambda m: setattr(m, "ir_version", -1))
    yield "a future operator set", "DP311", raw(model([op("Abs", "X")], opsets=[("", 99)]))
    yield "one domain imported twice", "DP311", raw(model([op("Abs", "X")], opsets=[("", 21), ("", 13)]))
    yield "no default operator set", "DP311", raw(model([op("Abs", "X")], opsets=[(ML, 3)]))
    yield (
        "a foreign domain imported",
        "DP312",
        raw(model([op("Abs", "X")], opsets=[("", 21), ("com.microsoft", 1)])),
    )
    yield "a node of a domain never imported", "DP312", raw(model([op("Gelu", "X", domain="com.microsoft")]))
    yield (
        "an ML node without its operator set",
        "DP313",
        raw(model([op("Scaler", "X", domain=ML, offset=[0.0], scale=[1.0])], opsets=[("", 21)])),
    )

    def meta(**entries: str) -> bytes:
        m = honest()
        h.set_model_props(m, entries)
        return raw(m)

    yield "configuration for onnxruntime", "DP317", meta(ort_config='{"session_options":{}}')
    yield "the same in capitals", "DP317", meta(ORT_CONFIG="{}")
    yield "metadata of 100 KB", "DP315", meta(a="x" * 50_000, b="x" * 50_000)
    yield "control characters in metadata", "DP309", meta(a="\x1b]0;owned\x07")
    m = honest()
    m.metadata_props.add(key="a", value="1")
    m.metadata_props.add(key="a", value="2")
    yield "one metadata key with two values", "DP316", raw(m)


def _tensors() -> Iterator[tuple[str, str, bytes]]:
    yield "a tensor read from another file", "DP320", _tensor_case(_external)
    yield "a tensor said to be external", "DP320", _tensor_case(_location_only)
    m = honest()
    sparse = m.graph.sparse_initializer.add()
    sparse.values.CopyFrom(nh.from_array(np.ones(1), "w2"))
    sparse.indices.CopyFrom(nh.from_array(np.zeros(1, dtype=np.int64), "i"))
    sparse.dims.extend([1 << 28])
    yield "a sparse tensor that expands to gigabytes", "DP321", raw(m)
    yield "values in two fields", "DP322", _tensor_case(_typed_too)
    yield "no values at all", "DP322", _tensor_case(lambda t: t.ClearField("raw_data"))
    yield "fewer bytes than dimensions", "DP323", _tensor_case(_dims(5))
    yield "more bytes than dimensions", "DP323", _tensor_case(_dims(3))
    yield "gigabytes without data", "DP326", _tensor_case(_dims(1 << 20, 1 << 20))
    yield "dimensions that overflow", "DP326", _tensor_case(_dims(1 << 32, 1 << 32))
    yield "a negative dimension", "DP325", _tensor_case(_dims(-4))
    yield "rank 7", "DP325", _tensor_case(_dims(1, 1, 1, 1, 1, 1, 4))
    yield "complex numbers", "DP324", _tensor_case(lambda t: setattr(t, "data_type", T.COMPLEX128))
    yield "an unknown element type", "DP324", _tensor_case(lambda t: setattr(t, "data_type", 77))
    yield "half floats", "DP324", _tensor_case(lambda t: setattr(t, "data_type", T.FLOAT16))
    text = T(name="w", data_type=T.STRING, dims=[1 << 22])
    yield (
        "a hundred bytes of strings, 3.1 GB in memory",
        "DP322",
        raw(model([op("Identity", "w")], inits=[text])),
    )
    long = h.make_tensor("w", T.STRING, [1], [b"a" * 5_000])
    yield "a very long class name", "DP326", raw(model([op("Identity", "w")], inits=[long]))
    bidi = h.make_tensor("w", T.STRING, [1], ["evil\u202egnp".encode()])
    yield "a class name that reverses what follows", "DP309", raw(model([op("Identity", "w")], inits=[bidi]))
    boolean = T(name="w", data_type=T.BOOL, dims=[1], raw_data=b"\x07")
    yield "a boolean of seven", "DP324", raw(model([op("Identity", "w")], inits=[boolean]))


def _graphs() -> Iterator[tuple[str, str, bytes]]:
    loop = op("Loop", "n c X", body=_body())
    yield "a loop", "DP331", raw(model([loop], inits=[i8("n", 1 << 60)]))
    yield "a branch", "DP331", raw(model([op("If", "c", then_branch=_body(), else_branch=_body())]))
    for name in (
        "NonZero",
        "Unique",
        "Compress",
        "Tile",
        "Pad",
        "RandomNormalLike",
        "StringSplit",
        "ConvTranspose",
    ):
        yield f"the operator {name}", "DP330", raw(model([op(name, "X")]))
    yield "a map as an output", "DP330", raw(model([op("ZipMap", "X", domain=ML, classlabels_int64s=[0])]))
    yield "an ML operator in the default domain", "DP330", raw(model([op("Scaler", "X")]))
    yield "an initializer that shadows the input", "DP334", raw(model([op("Abs", "X")], inits=[f8("X", F)]))
    yield "a node that overwrites the input", "DP334", raw(model([op("Abs", "X", "X"), op("Abs", "X")]))
    yield "a name assigned twice", "DP332", raw(model([op("Abs", "X", "Y"), op("Neg", "X", "Y")]))
    yield "two tensors of one name", "DP334", raw(model([op("Add", "X w")], inits=[f8("w", F), f8("w", F)]))
    yield "a name used before it exists", "DP333", raw(model([op("Abs", "t"), op("Abs", "X", "t")]))
    yield "a name that never exists", "DP333", raw(model([op("Abs", "outer")]))
    yield "a cycle", "DP333", raw(model([op("Add", "X b", "a"), op("Abs", "a", "b"), op("Abs", "b")]))
    many = [op("Abs", "X" if k == 0 else f"t{k}", f"t{k + 1}") for k in range(10_001)]
    yield "ten thousand nodes", "DP335", raw(model(many, outputs=[info("t10001", T.DOUBLE, [None, F])]))
    yield "a name of 600 characters", "DP335", raw(model([op("Abs", "X", "n" * 600)]))
    yield "an unknown attribute", "DP336", raw(model([op("Abs", "X", backdoor=1)]))
    yield "an attribute of another type", "DP336", raw(model([op("Softmax", "X", axis=1.0)]))
    m = model([op("Softmax", "X", axis=1)])
    m.graph.node[0].attribute.add(name="axis", i=0, type=2)
    yield "an attribute twice", "DP336", raw(m)
    m = model([op("Softmax", "X", axis=1)])
    m.graph.node[0].attribute[0].f = 1.0
    yield "an attribute with two values", "DP336", raw(m)
    m = model([op("Softmax", "X", axis=1)])
    m.graph.node[0].attribute[0].ref_attr_name = "other"
    yield "an attribute by reference", "DP305", raw(m)
    yield "three inputs of an addition", "DP337", raw(model([op("Add", "X X X")]))
    yield "a missing required input", "DP337", raw(model([op("Add", "X _")]))
    yield "too many outputs", "DP337", raw(model([op("Abs", "X", "Y Z")]))
    two = [info("X", T.DOUBLE, [None, F]), info("Z", T.DOUBLE, [None, F])]
    yield "two inputs", "DP338", raw(model([op("Add", "X Z")], inputs=two))
    yield (
        "a string input",
        "DP338",
        raw(model([op("Identity", "X")], inputs=[info("X", T.STRING, [None, F])])),
    )
    yield (
        "an input of any width",
        "DP338",
        raw(model([op("Abs", "X")], inputs=[info("X", T.DOUBLE, [None, None])])),
    )
    yield (
        "an input of fixed rows",
        "DP338",
        raw(model([op("Abs", "X")], inputs=[info("X", T.DOUBLE, [7, F])])),
    )
    yield "a huge width", "DP338", raw(model([op("Abs", "X")], inputs=[info("X", T.DOUBLE, [None, 1 << 40])]))
    seq = h.make_tensor_sequence_value_info("Y", T.DOUBLE, None)
    yield "a sequence output", "DP337", raw(model([op("Abs", "X")], outputs=[seq]))
    yield (
        "the input as an output",
        "DP339",
        raw(model([op("Abs", "X")], outputs=[info("X", T.DOUBLE, [None, F])])),
    )
    yield (
        "an output that is nowhere",
        "DP339",
        raw(model([op("Abs", "X")], outputs=[info("Q", T.DOUBLE, [None])])),
    )
    sums = [op("ReduceSum", "X", keepdims=0)]
    yield "an answer not by row", "DP339", raw(model(sums, outputs=[info("Y", T.DOUBLE, [])]))
    flip = [op("Transpose", "X", perm=[1, 0])]
    yield "a transposed answer", "DP339", raw(model(flip, outputs=[info("Y", T.DOUBLE, [F, None])]))


def _shapes() -> Iterator[tuple[str, str, bytes]]:
    wide = [info("Y", T.DOUBLE, [None, None])]
    by_data = [op("ReduceMax", "X", "m", keepdims=0), op("Cast", "m", "i", to=T.INT64)]
    by_data += [op("Unsqueeze", "i z", "s"), op("ConstantOfShape", "s")]
    yield "a size taken from the data", "DP340", raw(model(by_data, inits=[i8("z", 0)], outputs=wide))
    big = i8("s", 1 << 20, 1 << 20)
    yield (
        "an expansion to terabytes",
        "DP341",
        raw(model([op("Expand", "o s", "e"), op("Abs", "X")], inits=[f8("o", 1), big])),
    )
    yield (
        "a constant of terabytes",
        "DP341",
        raw(model([op("ConstantOfShape", "s", "e"), op("Abs", "X")], inits=[big])),
    )
    doubling = [op("Concat", f"{a} {a}", b, axis=1) for a, b in ((f"t{k}", f"t{k + 1}") for k in range(40))]
    doubling[0].input[:] = ["X", "X"]
    yield "concatenation that doubles forty times", "DP341", raw(model([*doubling, op("Abs", "X")]))
    square = [
        op("Transpose", "X", "t", perm=[1, 0]),
        op("MatMul", "X t", "q"),
        op("ReduceSum", "q a", keepdims=1),
    ]
    outputs = [info("Y", T.DOUBLE, [None, 1])]
    yield (
        "work that grows with the square of the rows",
        "DP341",
        raw(model(square, inits=[i8("a", 1)], outputs=outputs)),
    )
    product = [op("MatMul", "m m" if k == 0 else f"t{k} m", f"t{k + 1}") for k in range(40)]
    constants = model([*product, op("Abs", "X")], inits=[f8("m", 256, 256)])
    yield "a chain of stored matrix products, folded at load", "DP342", raw(constants)
    widening = [op("Expand", "X s", "e"), op("Abs", "X")]
    yield "four million copies of each row", "DP341", raw(model(widening, inits=[i8("s", 1 << 22, 1, F)]))
    yield (
        "more dimensions than six",
        "DP325",
        raw(model([op("Unsqueeze", "X a")], inits=[i8("a", 0, 1, 2, 3, 4)])),
    )
    yield "shapes that do not broadcast", "DP343", raw(model([op("Add", "X w")], inits=[f8("w", F + 1)]))
    yield "matrices that do not fit", "DP343", raw(model([op("MatMul", "X w")], inits=[f8("w", F + 1, F)]))
    yield "a reshape that loses elements", "DP343", raw(model([op("Reshape", "X s")], inits=[i8("s", -1, 3)]))
    yield "an axis that does not exist", "DP343", raw(model([op("Softmax", "X", axis=9)]))
    yield (
        "more of the top than there are",
        "DP343",
        raw(model([op("TopK", "X k", "Y I")], inits=[i8("k", 99)])),
    )
    yield (
        "a step of zero",
        "DP343",
        raw(model([op("Slice", "X s e a z")], inits=[i8("s", 0), i8("e", 1), i8("a", 1), i8("z", 0)])),
    )
    yield (
        "a declared shape that is not the real one",
        "DP343",
        raw(model([op("Abs", "X")], outputs=[info("Y", T.DOUBLE, [None, F + 1])])),
    )
    yield (
        "a stored index out of range",
        "DP344",
        raw(model([op("Gather", "X i", axis=1)], inits=[i8("i", 99)])),
    )
    extract = [op("ArrayFeatureExtractor", "X i", domain=ML)]
    yield "a column that does not exist", "DP344", raw(model(extract, inits=[i8("i", 99)]))
    yield "a cast to strings", "DP324", raw(model([op("Cast", "X", to=T.STRING)]))


def _trees() -> Iterator[tuple[str, str, bytes]]:
    nan, inf = float("nan"), float("inf")
    splits = np.arange(4.0)
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("a list too short", "DP350", {"nodes_featureids": [0, 1, 2]}),
        ("no roots", "DP350", {"tree_roots": []}),
        (
            "float weights on double splits",
            "DP350",
            {"leaf_weights": nh.from_array(np.ones(6, dtype=np.float32))},
        ),
        ("a child that does not exist", "DP351", {"nodes_truenodeids": [9, 0, 2, 4]}),
        ("a leaf that does not exist", "DP351", {"nodes_falsenodeids": [2, 99, 3, 5]}),
        ("a negative child", "DP351", {"nodes_truenodeids": [-1, 0, 2, 4]}),
        ("a root that does not exist", "DP351", {"tree_roots": [0, 9]}),
        ("a flag of two", "DP351", {"nodes_trueleafs": [0, 1, 2, 1]}),
        ("one child of two parents", "DP352", {"nodes_falsenodeids": [1, 1, 3, 5]}),
        ("a leaf of two parents", "DP352", {"nodes_falsenodeids": [2, 1, 1, 5]}),
        ("a node that is its own child", "DP352", {"nodes_truenodeids": [0, 0, 2, 4]}),
        ("one root twice", "DP352", {"tree_roots": [0, 0]}),
        (
            "a cycle beside the tree",
            "DP353",
            {
                "nodes_truenodeids": [0, 2, 1, 4],
                "nodes_trueleafs": [1, 0, 0, 1],
                "nodes_falsenodeids": [1, 2, 3, 5],
                "nodes_falseleafs": [1, 1, 1, 1],
            },
        ),
        ("a feature past the input", "DP355", {"nodes_featureids": [0, 1, 2, F]}),
        ("a negative feature", "DP355", {"nodes_featureids": [0, 1, 2, -1]}),
        ("a target past the output", "DP356", {"leaf_targetids": [0, 1, 0, 1, 0, 2]}),
        ("a billion targets", "DP356", {"n_targets": 1 << 30}),
        ("an infinite weight", "DP357", {"leaf_weights": nh.from_array(np.array([0, 1, 2, 3, 4, inf]))}),
        (
            "a threshold that is not a number",
            "DP358",
            {"nodes_splits": nh.from_array(np.where(splits == 2, nan, splits))},
        ),
        ("set membership", "DP359", {"nodes_modes": nh.from_array(np.full(4, 6, dtype=np.uint8))}),
        ("an unknown mode", "DP359", {"nodes_modes": nh.from_array(np.full(4, 200, dtype=np.uint8))}),
        ("an unknown aggregation", "DP359", {"aggregate_function": 9}),
    ]
    for name, code, changes in cases:
        yield f"a tree with {name}", code, raw(tree(**changes))
    yield "a chain of 501", "DP354", raw(chain(501))
    yield "a chain of 20,000, which crashes onnxruntime", "DP354", raw(chain(20_000))
    older: list[tuple[str, str, dict[str, Any]]] = [
        ("lists of unequal length", "DP350", {"nodes_values": [0.5]}),
        (
            "no weights",
            "DP350",
            {"target_treeids": [], "target_nodeids": [], "target_ids": [], "target_weights": []},
        ),
        ("tree ids with a gap", "DP351", {"nodes_treeids": [0, 0, 0, 2, 2, 2]}),
        ("node ids out of order", "DP351", {"nodes_nodeids": [0, 2, 1, 0, 1, 2]}),
        ("a child in another tree", "DP351", {"nodes_truenodeids": [5, 0, 0, 1, 0, 0]}),
        ("a weight of no node", "DP351", {"target_nodeids": [1, 9, 1, 2]}),
        ("a weight of no tree", "DP351", {"target_treeids": [0, 0, 1, 7]}),
        ("shared children", "DP352", {"nodes_truenodeids": [2, 0, 0, 1, 0, 0]}),
        ("a root as a child", "DP352", {"nodes_truenodeids": [0, 0, 0, 1, 0, 0]}),
        ("a feature past the input", "DP355", {"nodes_featureids": [99, 0, 0, 1, 0, 0]}),
        ("a target past the output", "DP356", {"target_ids": [0, 0, 0, 5]}),
        ("a weight that is not a number", "DP357", {"target_weights": [1.0, 2.0, nan, 4.0]}),
        ("a base value that is infinite", "DP357", {"base_values": [inf]}),
        ("a threshold that is not a number", "DP358", {"nodes_values": [nan, 0.0, 0.0, 0.5, 0.0, 0.0]}),
        ("an unknown mode", "DP359", {"nodes_modes": ["BRANCH_WHATEVER", "LEAF", "LEAF"] * 2}),
        ("an unknown post_transform", "DP359", {"post_transform": "EVIL"}),
        ("a weight on a branch", "DP360", {"target_nodeids": [0, 2, 1, 2]}),
    ]
    for name, code, changes in older:
        yield f"an older tree with {name}", code, raw(legacy(**changes))


def _parameters() -> Iterator[tuple[str, str, bytes]]:
    yield "too few linear coefficients", "DP370", raw(linear(coefficients=[1.0]))
    yield "infinite linear coefficients", "DP370", raw(linear(coefficients=[float("inf")] * F))
    yield "intercepts for other targets", "DP370", raw(linear(intercepts=[0.0] * 3))
    classifier = one_ml("LinearClassifier", coefficients=[1.0] * F, intercepts=[0.0], classlabels_ints=[0, 0])
    classifier.graph.node[0].output.append("Z")
    yield "one class label twice", "DP370", raw(classifier)
    yield "short dual coefficients, read past their end", "DP371", raw(svm(coefficients=[1.0]))
    yield "short support vectors", "DP371", raw(svm(support_vectors=[0.0]))
    yield "support vectors that overflow", "DP371", raw(svm(vectors_per_class=[1 << 62, 1 << 62]))
    yield "negative vectors per class", "DP371", raw(svm(vectors_per_class=[-1, 3]))
    yield "classes without vectors", "DP371", raw(svm(classlabels_ints=list(range(20_001))))
    yield "a missing rho", "DP371", raw(svm(rho=[]))
    yield "probabilities for other pairs", "DP371", raw(svm(prob_a=[1.0] * 9, prob_b=[1.0] * 9))
    yield "an unknown kernel", "DP371", raw(svm(kernel_type="EVIL"))
    yield "a scaler of another width", "DP372", raw(one_ml("Scaler", offset=[0.0] * 3, scale=[1.0] * 3))
    yield "an unknown norm", "DP372", raw(one_ml("Normalizer", norm="L9"))
    yield "an imputer of the wrong length", "DP373", raw(one_ml("Imputer", imputed_value_floats=[0.0] * 3))
    yield "categories given twice", "DP374", raw(one_ml("OneHotEncoder", cats_int64s=[1, 1]))
    encoder = one_ml("LabelEncoder", keys_floats=[0.0, 1.0], values_floats=[1.0])
    yield "an encoder with fewer values than keys", "DP374", raw(encoder)


def cases() -> list[Case]:
    """All hostile files, in a fixed order, with distinct names."""
    parts = (_wire, _headers, _tensors, _graphs, _shapes, _trees, _parameters)
    return [Case(*row) for part in parts for row in part()]


def main(folder: Path) -> None:
    """Write every file to a folder, named by number and code."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases()):
        (folder / f"{number:03d}_{case.code}.onnx").write_bytes(case.data)
        print(f"{number:03d} {case.code} {case.name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
