# SPDX-License-Identifier: Apache-2.0
"""An ONNX file passes these static rules before a session is made of it; nothing of it runs here.

A file that passes is bounded in size, depth, memory and work for any batch, and names nothing outside itself:

1. Size cap; canonical protobuf with known fields only (`_onnx_wire`).
2. IR and operator sets in the tested range; the two domains, checked on every node.
3. Metadata small, printable, unique, never configuration for onnxruntime.
4. Tensors inside the file, exactly as long as their dimensions say (`_onnx_attributes`).
5. Operators from the allowlist (`_onnx_operators`); no subgraphs; names assigned once and before use.
6. Shapes inferred at three batch sizes (`_onnx_shapes`): memory and work grow with the rows and no faster.
7. Tree ensembles are trees (`_onnx_trees`).
8. Parameter lists agree with one another (`_onnx_ml`).

onnx.checker is no gate: of 190 crafted files it accepted 110, and it hung on one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ._onnx_attributes import DTYPES, MAX_RANK, STRING_TYPE, Attributes, read_tensor
from ._onnx_facts import GATE_SEAL, TensorFacts, TreeFacts, VettedOnnx, sha256_of
from ._onnx_ml import ML_RULES, TREE_RULES
from ._onnx_operators import ML_DOMAIN, OPERATORS
from ._onnx_shapes import RULES, Operation, Shape, Value, stored
from ._onnx_wire import Graph, Model, Node, ValueInfo, read_model
from .errors import OnnxRefusedError

__all__ = ["MAX_ONNX_BYTES", "TensorFacts", "TreeFacts", "VettedOnnx", "check_onnx"]

MAX_ONNX_BYTES: Final = 128 << 20
"""A forest of 1,000 trees of depth 12 takes about 90 MB."""

IR_VERSIONS: Final = range(7, 11)
OPSETS: Final = {"": range(13, 22), ML_DOMAIN: range(1, 6)}
"""Operator sets that the parity tests ran under; semantics differ between them."""

MAX_METADATA_BYTES: Final = 65_536
MAX_NODES: Final = 10_000
MAX_INITIALIZERS: Final = 10_000
MAX_OUTPUTS: Final = 16
MAX_COLUMNS: Final = 65_536
MAX_NAME: Final = 512

BATCHES: Final = (1_009, 1_013, 1_019)
"""Primes, so that a batch is not mistaken for a stored dimension."""

MAX_ELEMENTS_PER_ROW: Final = 1 << 22
"""All intermediate tensors of one row: 32 MB of doubles."""
MAX_FIXED_ELEMENTS: Final = 1 << 24
"""Intermediate tensors that do not depend on the rows: 128 MB of doubles."""
MAX_WORK_PER_ROW: Final = 1 << 27
"""Multiplications and comparisons for one row: about 0.1 s."""
MAX_FIXED_WORK: Final = 1 << 28
"""Work on stored tensors alone, which onnxruntime may do at load: about 0.2 s."""

_DTYPE_NAMES: Final = {**{code: d.name for code, d in DTYPES.items()}, STRING_TYPE: "str"}


def _refuse(message: str, code: str, found: str, expected: str, where: str) -> OnnxRefusedError:
    return OnnxRefusedError(
        message,
        code=code,
        found=found,
        expected=expected,
        where=where,
        next_step=f"depickle explain {code}",
    )


def check_onnx(data: bytes) -> VettedOnnx:
    """Check an ONNX file against every rule.

    Args:
        data: the whole file.

    Returns:
        The same bytes as a `VettedOnnx`, with what they hold.

    Raises:
        OnnxRefusedError: a rule was broken; the code says which (DP301-DP374).
    """
    if not data or len(data) > MAX_ONNX_BYTES:
        expected = f"1 to {MAX_ONNX_BYTES} bytes"
        raise _refuse("ONNX file has an inadmissible size", "DP301", f"{len(data)} bytes", expected, "file")
    data = bytes(data)
    model = read_model(data)
    opsets = _check_header(model)
    graph = model.graph
    initial = _check_names(graph, opsets)
    steps = [_prepare(node, index) for index, node in enumerate(graph.nodes)]
    source = _check_input(graph.inputs)
    cache: dict[int, _TreeAnswer] = {}
    passes = [_infer(graph, steps, initial, source, rows, cache) for rows in BATCHES]
    elements = _per_row(
        [p.elements for p in passes], "DP341", "elements", MAX_ELEMENTS_PER_ROW, MAX_FIXED_ELEMENTS
    )
    _per_row([p.work for p in passes], "DP342", "operations", MAX_WORK_PER_ROW, MAX_FIXED_WORK)
    trees = [answer.facts for answer in cache.values()]
    return VettedOnnx(
        data=data,
        sha256=sha256_of(data),
        inputs=(source,),
        outputs=_check_outputs(graph, passes[0].values),
        operators=tuple(sorted({f"{n.domain}:{n.op_type}" if n.domain else n.op_type for n in graph.nodes})),
        opsets=tuple(sorted(opsets.items())),
        nodes=len(graph.nodes),
        trees=TreeFacts(
            len(trees),
            sum(t.trees for t in trees),
            sum(t.nodes for t in trees),
            max((t.depth for t in trees), default=0),
        ),
        elements_per_row=elements,
        seal=GATE_SEAL,
    )


def _check_header(model: Model) -> dict[str, int]:
    """Rules 2 and 3: versions, domains, metadata."""
    if model.ir_version not in IR_VERSIONS:
        expected = f"{IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
        raise _refuse(
            "ONNX version is not admitted", "DP310", f"IR {model.ir_version}", expected, "ir_version"
        )
    opsets: dict[str, int] = {}
    for domain, version in model.opsets:
        if domain not in OPSETS:
            raise _refuse(
                "ONNX domain is not admitted", "DP312", f"{domain!r:.80}", "'' or ai.onnx.ml", "opset_import"
            )
        if domain in opsets:
            raise _refuse(
                "ONNX operator set imported twice", "DP311", f"{domain!r}", "it once", "opset_import"
            )
        if version not in OPSETS[domain]:
            expected = f"{OPSETS[domain][0]} to {OPSETS[domain][-1]}"
            found = f"{domain or 'ai.onnx'} {version}"
            raise _refuse("ONNX version is not admitted", "DP311", found, expected, "opset_import")
        opsets[domain] = version
    if "" not in opsets:
        raise _refuse("ONNX operator set is missing", "DP311", "no default domain", "it", "opset_import")
    size = sum(len(k.encode()) + len(v.encode()) for k, v in model.metadata)
    if size > MAX_METADATA_BYTES:
        expected = f"at most {MAX_METADATA_BYTES}"
        raise _refuse("ONNX metadata is too large", "DP315", f"{size} bytes", expected, "metadata_props")
    keys = [key for key, _ in model.metadata]
    if len(set(keys)) != len(keys) or "" in keys:
        raise _refuse(
            "ONNX metadata is ambiguous", "DP316", "a key twice or empty", "unique keys", "metadata_props"
        )
    for key in keys:
        if key.lower().startswith("ort"):
            expected = "no configuration of onnxruntime"
            raise _refuse(
                "ONNX metadata is not admitted", "DP317", f"{key!r:.80}", expected, "metadata_props"
            )
    return opsets


def _check_name(name: str, where: str) -> None:
    if not name or len(name) > MAX_NAME:
        found = f"a name of {len(name)} characters"
        raise _refuse("ONNX name is not admitted", "DP335", found, f"1 to {MAX_NAME}", where)


def _check_names(graph: Graph, opsets: dict[str, int]) -> dict[str, Value]:
    """Rules 4 and 5: stored tensors, operators, and every name assigned once and before use."""
    if not 1 <= len(graph.nodes) <= MAX_NODES or len(graph.initializers) > MAX_INITIALIZERS:
        found = f"{len(graph.nodes)} nodes, {len(graph.initializers)} initializers"
        raise _refuse("ONNX graph is too large", "DP335", found, f"1 to {MAX_NODES} of each", "graph")
    assigned: dict[str, str] = {}
    for value in graph.inputs:
        _assign(assigned, value.name, "input")
    initial: dict[str, Value] = {}
    for index, tensor in enumerate(graph.initializers):
        where = f"graph.initializer[{index}] {tensor.name!r:.80}"
        _assign(assigned, tensor.name, where)
        initial[tensor.name] = stored(read_tensor(tensor, where))
    for index, node in enumerate(graph.nodes):
        where = f"graph.node[{index}] {node.op_type:.60}"
        _check_operator(node, opsets, where)
        for name in node.inputs:
            if name and name not in assigned:
                raise _refuse(
                    "ONNX name used before it is assigned", "DP333", f"{name!r:.80}", "it assigned", where
                )
        for name in node.outputs:
            if name:
                _assign(assigned, name, where)
    listed: set[str] = set()
    for value in graph.value_info:
        if value.name not in assigned or value.name in listed:
            expected = "each tensor of the graph at most once"
            raise _refuse(
                "ONNX value_info is not admitted", "DP333", f"{value.name!r:.80}", expected, "value_info"
            )
        listed.add(value.name)
    return initial


def _assign(assigned: dict[str, str], name: str, where: str) -> None:
    _check_name(name, where)
    if name in assigned:
        code = "DP334" if assigned[name] == "input" or where.startswith("graph.initializer") else "DP332"
        found = f"{name!r:.80}, first in {assigned[name]}"
        raise _refuse("ONNX name assigned twice", code, found, "every name once", where)
    assigned[name] = where


def _check_operator(node: Node, opsets: dict[str, int], where: str) -> None:
    if node.domain not in OPSETS:
        raise _refuse(
            "ONNX domain is not admitted", "DP312", f"{node.domain!r:.80}", "'' or ai.onnx.ml", where
        )
    if node.domain not in opsets:
        raise _refuse(
            "ONNX domain is not imported", "DP313", f"{node.domain!r:.80}", "an opset_import", where
        )
    signature = OPERATORS.get((node.domain, node.op_type))
    if signature is None:
        expected = "an operator that converted models use"
        raise _refuse("ONNX operator is not admitted", "DP330", f"{node.op_type!r:.80}", expected, where)
    for kind, names, (low, high) in (
        ("inputs", node.inputs, signature.inputs),
        ("outputs", node.outputs, signature.outputs),
    ):
        if not low <= len(names) <= high:
            found = f"{len(names)} {kind}"
            raise _refuse("ONNX node has the wrong arity", "DP337", found, f"{low} to {high}", where)


def _check_input(inputs: tuple[ValueInfo, ...]) -> TensorFacts:
    """One matrix of floats: a free number of rows, a fixed number of columns."""
    dtypes = {1: "float32", 11: "float64"}
    if len(inputs) == 1 and inputs[0].elem_type in dtypes:
        only = inputs[0]
        rows, columns = only.dims if only.dims is not None and len(only.dims) == 2 else (0, 0)
        if not isinstance(rows, int) and isinstance(columns, int) and 1 <= columns <= MAX_COLUMNS:
            return TensorFacts(only.name, dtypes[only.elem_type], columns)
    found = "; ".join(f"type {i.elem_type} of {i.dims}" for i in inputs[:4]) or "none"
    raise _refuse(
        "ONNX input is not admitted", "DP338", found, "one float or double [N, columns]", "graph.input"
    )


@dataclass(frozen=True, slots=True)
class _Step:
    node: Node
    attributes: Attributes
    where: str


@dataclass(frozen=True, slots=True)
class _TreeAnswer:
    columns: int
    tails: tuple[Shape, ...]
    facts: TreeFacts


@dataclass(frozen=True, slots=True)
class _Pass:
    values: dict[str, Value]
    elements: int
    work: int


def _prepare(node: Node, index: int) -> _Step:
    where = f"graph.node[{index}] {node.op_type}"
    declared = OPERATORS[node.domain, node.op_type].attributes
    attributes = Attributes(node.attributes, declared, where)
    if node.op_type == "Constant" and "value" not in attributes:
        raise _refuse("ONNX attribute is not admitted", "DP336", "a constant without a value", "one", where)
    return _Step(node, attributes, where)


def _infer(
    graph: Graph,
    steps: list[_Step],
    initial: dict[str, Value],
    source: TensorFacts,
    rows: int,
    cache: dict[int, _TreeAnswer],
) -> _Pass:
    """Rules 6 to 8 at one batch size."""
    values = dict(initial)
    values[source.name] = Value((rows, source.columns or 0))
    elements = work = 0
    for index, step in enumerate(steps):
        node = step.node
        inputs = [values[name] if name else None for name in node.inputs]
        operation = Operation(node.op_type, step.attributes, inputs, len(node.outputs), step.where)
        if node.op_type in TREE_RULES:
            outputs = _trees(operation, index, cache)
        else:
            outputs = (ML_RULES if node.domain else RULES)[node.op_type](operation)
        for name, value in zip(node.outputs, outputs, strict=True):
            if len(value.shape) > MAX_RANK:
                operation.refuse("DP325", f"a tensor of rank {len(value.shape)}", f"at most {MAX_RANK}")
            elements += value.elements
            work += value.elements
            if name:
                values[name] = value
        work += operation.work
    for info in graph.value_info:
        _check_declared(info, values[info.name], rows, "value_info")
    return _Pass(values, elements, work)


def _trees(operation: Operation, index: int, cache: dict[int, _TreeAnswer]) -> list[Value]:
    """A tree ensemble is walked once; its other passes differ in the number of rows only."""
    shape = operation[0].shape
    known = cache.get(index)
    if known is not None and len(shape) == 2 and shape[1] == known.columns:
        operation.work = shape[0] * known.facts.trees * known.facts.depth
        return [Value((shape[0], *tail)) for tail in known.tails]
    outputs, facts = TREE_RULES[operation.op_type](operation)
    cache[index] = _TreeAnswer(shape[1], tuple(o.shape[1:] for o in outputs), facts)
    return outputs


def _per_row(totals: list[int], code: str, what: str, per_row_cap: int, fixed_cap: int) -> int:
    """Growth per row of a total known at the three batch sizes; it must be exactly linear and under the caps."""
    (a, b, c), (x, y, z) = BATCHES, totals
    if (y - x) * (c - b) != (z - y) * (b - a) or (y - x) % (b - a):
        expected = "growth in step with the rows"
        raise _refuse(f"ONNX {what} grow faster than the batch", code, f"{x}, {y}, {z}", expected, "graph")
    slope = (y - x) // (b - a)
    fixed = x - a * slope
    if not 0 <= slope <= per_row_cap or not 0 <= fixed <= fixed_cap:
        found = f"{slope} a row and {fixed} besides"
        raise _refuse(
            f"ONNX {what} exceed the cap", code, found, f"at most {per_row_cap} and {fixed_cap}", "graph"
        )
    return slope


def _check_declared(info: ValueInfo, value: Value, rows: int, where: str) -> None:
    if info.dims is None:
        return
    fits = len(info.dims) == len(value.shape) and all(
        not isinstance(d, int) or d == s for d, s in zip(info.dims, value.shape, strict=True)
    )
    if not fits:
        shape = tuple("N" if s == rows else s for s in value.shape)
        raise _refuse(
            "ONNX shape is not the declared one",
            "DP343",
            f"{info.dims}",
            f"{shape}",
            f"{where} {info.name:.60}",
        )


def _check_outputs(graph: Graph, values: dict[str, Value]) -> tuple[TensorFacts, ...]:
    """Outputs are computed tensors of one entry a row."""
    computed = {name for node in graph.nodes for name in node.outputs if name}
    names = [o.name for o in graph.outputs]
    if not 1 <= len(names) <= MAX_OUTPUTS or len(set(names)) != len(names):
        expected = f"1 to {MAX_OUTPUTS} distinct outputs"
        raise _refuse(
            "ONNX outputs are not admitted", "DP339", f"{len(names)} outputs", expected, "graph.output"
        )
    facts = []
    for info in graph.outputs:
        where = f"graph.output {info.name!r:.80}"
        if info.name not in computed:
            raise _refuse(
                "ONNX outputs are not admitted",
                "DP339",
                "an output no node computes",
                "a computed one",
                where,
            )
        value = values[info.name]
        _check_declared(info, value, BATCHES[0], "graph.output")
        dtype = _DTYPE_NAMES.get(info.elem_type)
        if dtype is None or len(value.shape) not in (1, 2) or value.shape[0] != BATCHES[0]:
            found = f"type {info.elem_type} of shape {value.shape}"
            raise _refuse(
                "ONNX outputs are not admitted", "DP339", found, "one entry or one list a row", where
            )
        facts.append(TensorFacts(info.name, dtype, value.shape[1] if len(value.shape) == 2 else None))
    return tuple(facts)
