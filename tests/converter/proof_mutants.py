# SPDX-License-Identifier: Apache-2.0
"""Wrong models, made on purpose: every kind of slip that a converter could make, in the file or in the typed model.

``python -m tests.converter.proof_mutants [COUNT]`` prints, per kind, how many mutants there were, how many of them
compute the same formula after all (and so have to pass), how many the walk refused, and how many the 10,000 random
rows, and the rows on splits, would have noticed by a changed label (of a regressor, by a changed number).
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

from depickle.emit import EmittedModel, emit_onnx
from depickle.models import TypedModel
from depickle.models.dense_types import Affine, Network
from depickle.models.types import (
    Averaged,
    Boosted,
    Branches,
    Calibrated,
    Chain,
    Clip,
    Divide,
    Forest,
    HardVote,
    Impute,
    Linear,
    Multiply,
    OneVsRest,
    Products,
    Select,
    Shift,
    Stacked,
    Subtract,
    Thresholded,
    Tree,
    TreeVotes,
)
from depickle.parity.rows import make_rows
from depickle_runtime.errors import SecurityError

from .proof_kit import SUBJECTS, Subject, answers, subject

Generator = np.random.Generator
_REFUSALS = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.NotImplemented,
    state.RuntimeException,
)
"""What onnxruntime raises for a file that it does not run."""


@dataclass(frozen=True)
class Mutant:
    """A wrong model: what is wrong with it, and where the slip was made."""

    kind: str
    level: str
    onnx: bytes
    emitted: EmittedModel
    equivalent: str = ""
    """Why it answers as the original on every input, where it does; then nothing has to refuse it."""


# The file -----------------------------------------------------------------------------------------------------------


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(attribute for attribute in node.attribute if attribute.name == name)


def _ensemble(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "TreeEnsemble")


def _nudged(values: npt.NDArray[Any], place: int, generator: Generator) -> npt.NDArray[Any]:
    changed = np.array(values).reshape(-1)
    changed[place] = np.nextafter(changed[place], changed.dtype.type(generator.choice([-np.inf, np.inf])))
    return changed.reshape(values.shape)


def _nudge_tensor(tensor: onnx.TensorProto, places: npt.NDArray[Any], generator: Generator) -> None:
    values = numpy_helper.to_array(tensor)
    tensor.raw_data = _nudged(values, int(generator.choice(places)), generator).tobytes()


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
_FOREST_ONLY = {"leaf number", "row of a leaf ±1 ulp"}
_FORESTS = {"forest", "extra trees", "tree", "forest regressor"}


# The typed model ----------------------------------------------------------------------------------------------------


def _within(root: Any, change: Callable[[Any], Any], generator: Generator) -> Any:
    """`root` with one predictor inside it changed, chosen at random where there are several."""
    if isinstance(root, Chain):
        return replace(root, predictor=_within(root.predictor, change, generator))
    if isinstance(root, TreeVotes):
        return replace(root, forest=change(root.forest))
    if isinstance(root, Calibrated | Thresholded):
        member = root.member
        return replace(root, member=replace(member, predictor=_within(member.predictor, change, generator)))
    if isinstance(root, Averaged | HardVote | OneVsRest | Stacked):
        if isinstance(root, Stacked) and generator.integers(3) == 0:
            return replace(root, final=_within(root.final, change, generator))
        members = list(root.members)
        place = int(generator.integers(len(members)))
        inner = members[place]
        members[place] = replace(inner, predictor=_within(inner.predictor, change, generator))
        return replace(root, members=tuple(members))
    return change(root)


def _typed(typed: TypedModel, change: Callable[[Any], Any], generator: Generator) -> TypedModel:
    return replace(typed, root=_within(typed.root, change, generator))


def _one_tree(change: Callable[[Tree, int, Generator, bool], Tree], *, leaves: bool = False) -> Any:
    def mutate(typed: TypedModel, generator: Generator) -> TypedModel:
        def inner(predictor: Any) -> Any:
            trees = list(predictor.trees)
            single = isinstance(predictor, Boosted) and predictor.precision == "float32"
            single = single or (isinstance(predictor, Forest) and not leaves)  # its thresholds end as float32
            grown = [place for place, tree in enumerate(trees) if tree.splits]
            place = int(generator.choice(grown))
            tree = trees[place]
            nodes = np.flatnonzero(tree.is_leaf if leaves else ~tree.is_leaf)
            trees[place] = change(tree, int(generator.choice(nodes)), generator, single)
            return replace(predictor, trees=tuple(trees))

        return _typed(typed, inner, generator)

    return mutate


def _stepped(value: float, generator: Generator, single: bool) -> float:
    real = np.float32 if single else np.float64
    return float(np.nextafter(real(value), real(generator.choice([-np.inf, np.inf]))))


def _t_threshold(tree: Tree, node: int, generator: Generator, single: bool) -> Tree:
    values = tree.threshold.copy()
    values[node] = _stepped(values[node], generator, single)
    return replace(tree, threshold=values)


def _t_leaf(tree: Tree, node: int, generator: Generator, single: bool) -> Tree:
    values = tree.value.copy()
    column = int(generator.integers(values.shape[1]))
    values[node, column] = _stepped(values[node, column], generator, single)
    return replace(tree, value=values)


def _t_feature(tree: Tree, node: int, generator: Generator, single: bool) -> Tree:
    values = tree.feature.copy()
    values[node] = values[node] - 1 if values[node] else 1
    return replace(tree, feature=values)


def _t_direction(tree: Tree, node: int, generator: Generator, single: bool) -> Tree:
    values = tree.missing_left.copy()
    values[node] = not values[node]
    return replace(tree, missing_left=values)


def _t_children(tree: Tree, node: int, generator: Generator, single: bool) -> Tree:
    left, right = tree.left.copy(), tree.right.copy()
    left[node], right[node] = right[node], left[node]
    return replace(tree, left=left, right=right)


def _t_order(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        trees = list(predictor.trees)
        if len(trees) < 2:
            raise _Inapplicable
        one, other = (int(place) for place in generator.choice(len(trees), 2, replace=False))
        trees[one], trees[other] = trees[other], trees[one]
        return replace(predictor, trees=tuple(trees))

    return _typed(typed, inner, generator)


def _t_lost(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        if len(predictor.trees) < 2:
            raise _Inapplicable
        gone = int(generator.integers(len(predictor.trees)))
        kept = [place for place in range(len(predictor.trees)) if place != gone]
        more = (
            {"target": tuple(predictor.target[place] for place in kept)}
            if isinstance(predictor, Boosted)
            else {}
        )
        return replace(predictor, trees=tuple(predictor.trees[place] for place in kept), **more)

    return _typed(typed, inner, generator)


def _t_base(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        if not isinstance(predictor, Boosted):
            raise _Inapplicable
        values = predictor.baseline.copy()
        place = int(generator.integers(values.size))
        values[place] = _stepped(values[place], generator, predictor.precision == "float32")
        return replace(predictor, baseline=values)

    return _typed(typed, inner, generator)


def _t_rule(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        rule = predictor.rule
        if rule is None:
            raise _Inapplicable
        if rule.kind.startswith("score"):
            single = getattr(predictor, "precision", "") == "float32"
            other = "score_above" if rule.kind == "score_at_least" else "score_at_least"
            changed = (
                replace(rule, cut=_stepped(rule.cut, generator, single))
                if generator.integers(2)
                else replace(rule, kind=other)
            )
        elif isinstance(predictor, Forest):
            raise _Inapplicable
        else:
            other = "argmax_scores" if rule.kind == "argmax_probabilities" else "argmax_probabilities"
            if predictor.link == "none":
                raise _Inapplicable
            changed = replace(rule, kind=other)
        return replace(predictor, rule=changed)

    return _typed(typed, inner, generator)


def _t_certificate(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        rule = predictor.rule
        if not isinstance(predictor, Boosted) or rule is None:
            raise _Inapplicable
        if rule.exact:
            return replace(predictor, rule=replace(rule, exact=False, band=2.0**-48))
        if generator.integers(2):
            return replace(predictor, rule=replace(rule, exact=True))
        return replace(predictor, rule=replace(rule, band=_stepped(rule.band, generator, False)))

    return _typed(typed, inner, generator)


def _t_arithmetic(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        changes: list[dict[str, Any]] = []
        if isinstance(predictor, Boosted):
            changes = [
                {"comparison": "<" if predictor.comparison == "<=" else "<="},
                {"single": not predictor.single},
                {"precision": "float32" if predictor.precision == "float64" else "float64"},
                {"zero_below": None if predictor.zero_below is not None else 1e-35},
                {"zero_is_missing": () if predictor.zero_is_missing else (0,)},
                {"average": None if predictor.average else len(predictor.trees)},
                {"truncate": (0,)},
            ]
            if predictor.rule is not None and len(predictor.baseline) == 1:
                changes.append({"factor": np.nextafter(predictor.factor, 2.0)})
        elif isinstance(predictor, Forest):
            changes = [
                {"single": False},
                {"divisor": None if predictor.divisor else 1},
                {"divisor": (predictor.divisor or 1) + 1},
            ]
        elif isinstance(predictor, Linear):
            others = {"logistic": "softmax", "softmax": "logistic_normalized"}
            if predictor.link in others:
                changes = [{"link": others[predictor.link], "mirrored": predictor.link == "logistic"}]
        elif isinstance(predictor, Network):
            changes = [{"activation": "relu" if predictor.activation != "relu" else "tanh"}]
        if not changes:
            raise _Inapplicable
        return replace(predictor, **changes[int(generator.integers(len(changes)))])

    return _typed(typed, inner, generator)


def _t_linear(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        if isinstance(predictor, Network):
            layers = list(predictor.layers)
            place = int(generator.integers(len(layers)))
            layers[place] = _nudged_affine(layers[place], generator)
            return replace(predictor, layers=tuple(layers))
        if not isinstance(predictor, Linear):
            raise _Inapplicable
        name = str(generator.choice(["coefficients", "intercept"]))
        values = getattr(predictor, name)
        return replace(predictor, **{name: _nudged(values, int(generator.integers(values.size)), generator)})

    return _typed(typed, inner, generator)


def _nudged_affine(layer: Affine, generator: Generator) -> Affine:
    name = str(generator.choice(["weights", "offset", "size"]))
    values = getattr(layer, name)
    return replace(layer, **{name: _nudged(values, int(generator.integers(values.size)), generator)})


def _t_preamble(typed: TypedModel, generator: Generator) -> TypedModel:
    if not isinstance(typed.root, Chain) or not typed.root.steps:
        raise _Inapplicable
    steps: list[Any] = list(typed.root.steps)
    place = int(generator.integers(len(steps)))
    step = steps[place]
    if isinstance(step, Subtract | Divide | Multiply | Shift):
        match int(generator.integers(3)):
            case 0:
                other = {Subtract: Shift, Shift: Subtract, Divide: Multiply, Multiply: Divide}[type(step)]
                steps[place] = other(step.operand)
            case 1:
                steps[place] = replace(step, operand=np.roll(step.operand, 1))
            case _:
                nudged = _nudged(step.operand, int(generator.integers(step.operand.size)), generator)
                steps[place] = replace(step, operand=nudged)
    elif isinstance(step, Impute):
        chosen = step.statistics.copy()
        at = int(generator.choice(step.kept))
        chosen[at] = _stepped(chosen[at], generator, False)
        other = [replace(step, statistics=chosen), replace(step, missing=0.0)]
        if step.indicators:
            other.append(replace(step, indicators=step.indicators[::-1]))
        steps[place] = other[int(generator.integers(len(other)))]
    elif isinstance(step, Affine):
        steps[place] = _nudged_affine(step, generator)
    elif isinstance(step, Clip):
        steps[place] = replace(step, high=_stepped(step.high, generator, False))
    elif isinstance(step, Select):
        steps[place] = replace(step, columns=step.columns[::-1])
    elif isinstance(step, Products):
        steps[place] = replace(step, terms=(*step.terms[:-1], step.terms[0]))
    elif isinstance(step, Branches):
        steps[place] = replace(step, branches=step.branches[::-1])
    else:
        raise _Inapplicable
    return replace(typed, root=replace(typed.root, steps=tuple(steps)))


def _t_composition(typed: TypedModel, generator: Generator) -> TypedModel:
    """How the answers of members are combined."""
    root: Any = typed.root.predictor if isinstance(typed.root, Chain) else typed.root
    changes: list[dict[str, Any]] = []
    match root:
        case Averaged():
            count = len(root.members)
            weights = np.array(root.weights or (1.0,) * count)
            changes = [
                {"divisor": np.nextafter(root.divisor, 0.0)},
                {"members": root.members[::-1]},
                {"weights": tuple(_nudged(weights, int(generator.integers(count)), generator).tolist())},
            ]
            if root.members[0].places:
                wrong = replace(root.members[0], places=root.members[0].places[::-1])
                changes.append({"members": (wrong, *root.members[1:])})
            if root.rule is not None:
                changes.append({"rule": replace(root.rule, exact=not root.rule.exact)})
            if isinstance(root.members[0].predictor, Calibrated):
                inner = root.members[0].predictor
                name = str(generator.choice(["slopes", "offsets"]))
                values = np.array(getattr(inner, name))
                nudged = tuple(_nudged(values, int(generator.integers(values.size)), generator).tolist())
                first = replace(root.members[0], predictor=replace(inner, **{name: nudged}))
                changes.append({"members": (first, *root.members[1:])})
        case HardVote():
            changes = [{"members": root.members[::-1]}, {"weights": (0.5,) * len(root.members)}]
        case Thresholded():
            changes = [{"cut": np.nextafter(root.cut, 1.0)}, {"positive": 1 - root.positive}]
        case OneVsRest():
            changes = [{"last": not root.last}, {"members": root.members[::-1]}]
        case Stacked():
            changes = [{"members": root.members[::-1]}, {"passthrough": not root.passthrough}]
        case TreeVotes():
            changes = [
                {"forest": replace(root.forest, divisor=np.nextafter(root.forest.divisor, 0.0))},
                {"rule": replace(root.rule, kind="score_at_least")},
            ]
        case _:
            raise _Inapplicable
    changed = replace(root, **changes[int(generator.integers(len(changes)))])
    if isinstance(typed.root, Chain):
        return replace(typed, root=replace(typed.root, predictor=changed))
    return replace(typed, root=changed)


def _t_step_order(typed: TypedModel, generator: Generator) -> TypedModel:
    if not isinstance(typed.root, Chain) or len(typed.root.steps) < 2:
        raise _Inapplicable
    steps = list(typed.root.steps)
    place = int(generator.integers(len(steps) - 1))
    steps[place : place + 2] = steps[place : place + 2][::-1]
    return replace(typed, root=replace(typed.root, steps=tuple(steps)))


def _t_classes(typed: TypedModel, generator: Generator) -> TypedModel:
    if typed.classes is None:
        raise _Inapplicable
    turn = int(generator.integers(1, len(typed.classes)))
    return replace(typed, classes=typed.classes[turn:] + typed.classes[:turn])


TYPED_KINDS: dict[str, Callable[[TypedModel, Generator], TypedModel]] = {
    "threshold ±1 ulp": _one_tree(_t_threshold),
    "leaf ±1 ulp": _one_tree(_t_leaf, leaves=True),
    "feature": _one_tree(_t_feature),
    "default direction": _one_tree(_t_direction),
    "children swapped": _one_tree(_t_children),
    "tree order": _t_order,
    "tree lost": _t_lost,
    "base score ±1 ulp": _t_base,
    "label rule": _t_rule,
    "certificate": _t_certificate,
    "arithmetic": _t_arithmetic,
    "weight ±1 ulp": _t_linear,
    "scaler or imputer": _t_preamble,
    "step order": _t_step_order,
    "class order": _t_classes,
    "composition": _t_composition,
}


class _Inapplicable(Exception):  # noqa: N818  # a signal between these functions, not an error
    """The model has nothing of this kind."""


# Running ------------------------------------------------------------------------------------------------------------


def _file_mutant(one: Subject, kind: str, generator: Generator) -> Mutant | None:
    if kind in _FOREST_ONLY and one.name not in _FORESTS:
        return None
    if kind == "leaf ±1 ulp" and one.name in _FORESTS:
        return None
    model = onnx.load_from_string(one.emitted.onnx)
    try:
        FILE_KINDS[kind](model, generator)
    except (StopIteration, ValueError, IndexError):  # nothing of this kind in the file
        return None
    data = model.SerializeToString(deterministic=True)
    return Mutant(kind, "file", data, one.emitted, _same_formula(data, one))


def _typed_mutant(one: Subject, kind: str, generator: Generator) -> Mutant | None:
    try:
        emitted = emit_onnx(TYPED_KINDS[kind](one.typed, generator))
    except (_Inapplicable, AttributeError, TypeError):  # nothing of this kind, or nothing that can be emitted
        return None
    return Mutant(kind, "typed model", emitted.onnx, emitted, _same_formula(emitted.onnx, one))


def _same_formula(data: bytes, one: Subject) -> str:
    """The argument that a file computes what the subject's own does, or nothing where there is none."""
    try:
        alike = _canonical(data) == _canonical(one.emitted.onnx)
    except (IndexError, StopIteration, ValueError):  # too damaged to say
        return ""
    return "only names of inner values, or the order of two leaves that add the same, differ" if alike else ""


def _canonical(data: bytes) -> bytes:
    """The file with constants and values numbered as they come, and equal leaves of one node in one order."""
    model = onnx.load_from_string(data)
    for node in model.graph.node:
        if node.op_type == "TreeEnsemble":
            yes, no = _attribute(node, "nodes_truenodeids").ints, _attribute(node, "nodes_falsenodeids").ints
            for place in range(len(yes)):
                if yes[place] > no[place] and _equal_leaves(node, place):
                    yes[place], no[place] = no[place], yes[place]
    kept = {entry.name for entry in (*model.graph.input, *model.graph.output)}
    names = [tensor.name for tensor in model.graph.initializer]
    names += [name for node in model.graph.node for name in node.output]
    numbered = {name: f"n{place}" for place, name in enumerate(names) if name not in kept}
    for tensor in model.graph.initializer:
        tensor.name = numbered[tensor.name]
    for node in model.graph.node:
        for part in (node.input, node.output):
            for place, name in enumerate(part):
                part[place] = numbered.get(name, name)
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def mutants(one: Subject, count: int, seed: int = 0) -> Iterator[Mutant]:
    """About `count` mutants of a subject, spread evenly over all kinds that apply to it."""
    generator = np.random.default_rng([seed, len(one.name), sum(map(ord, one.name))])
    kinds = [(_file_mutant, kind) for kind in FILE_KINDS] + [(_typed_mutant, kind) for kind in TYPED_KINDS]
    made, tries, order = 0, 0, [0]
    while made < count and tries < 20 * count:
        if tries % len(kinds) == 0:
            order = generator.permutation(len(kinds)).tolist()
        make, kind = kinds[order[tries % len(kinds)]]
        tries += 1
        mutant = make(one, kind, generator)
        if mutant is not None and mutant.onnx != one.emitted.onnx:
            made += 1
            yield mutant


def survives(one: Subject, mutant: Mutant) -> bool:
    """Whether the walk lets the mutant pass."""
    try:
        return one.prove(mutant.onnx, mutant.emitted) is not None
    except SecurityError as error:
        if error.code not in ("DP711", "DP712"):
            raise
        return False


def _noticed(
    original: dict[str, npt.NDArray[Any]], onnx_bytes: bytes, rows: npt.NDArray[np.float64]
) -> bool | None:
    """Whether a label (of a regressor: a number) changes on `rows`; None where onnxruntime refuses the file."""
    role = "label" if "label" in original else "scores"
    try:
        found = answers(onnx_bytes, rows)
    except _REFUSALS:
        return None
    if role not in found or found[role].shape != original[role].shape:
        return True
    return bool((found[role] != original[role]).any())


def table(count: int) -> tuple[list[str], int]:
    """Lines of the table over `count` mutants, and the number of survivors."""
    tally: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    each = -(-count // len(SUBJECTS))
    for name in SUBJECTS:
        one = subject(name)
        contract = one.emitted.input
        made = make_rows(
            one.record,
            features=contract.features,
            allow_nan=contract.allow_nan,
            max_abs=None if contract.max_abs is None else float.fromhex(contract.max_abs),
            seed=1,
        )
        sets = {rows.name: rows.values for rows in made.sets if rows.name in ("random", "splits")}
        original = {key: answers(one.emitted.onnx, rows) for key, rows in sets.items()}
        for mutant in mutants(one, each):
            row = tally[mutant.level, mutant.kind]
            row["mutants"] += 1
            row["equivalent"] += bool(mutant.equivalent)
            row["killed"] += not mutant.equivalent and not survives(one, mutant)
            for key, rows in sets.items():
                row[key] += _noticed(original[key], mutant.onnx, rows) is not False
    lines = [_line("made in", "kind", "mutants", "alike", "refused", "random", "splits")]
    total: Counter[str] = Counter()
    for (level, kind), row in sorted(tally.items()):
        total += row
        lines.append(_line(level, kind, *(row[name] for name in _COLUMNS)))
    lines.append(_line("all", "", *(total[name] for name in _COLUMNS)))
    return lines, total["mutants"] - total["equivalent"] - total["killed"]


_COLUMNS = ("mutants", "equivalent", "killed", "random", "splits")


def _line(level: str, kind: str, *figures: object) -> str:
    return f"{level:<12} {kind:<34}" + "".join(f"{figure!s:>9}" for figure in figures)


if __name__ == "__main__":
    printed, survivors = table(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    print("\n".join(printed))
    sys.exit(1 if survivors else 0)
