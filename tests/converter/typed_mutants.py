# SPDX-License-Identifier: Apache-2.0
"""Slips in the typed model: named mistakes that a reader of the inert graph could make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

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

from .file_mutants import nudged

__all__ = ["TYPED_KINDS", "InapplicableError"]

Generator = np.random.Generator


class InapplicableError(Exception):
    """The model has nothing of this kind: a signal between these functions."""


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
            raise InapplicableError
        one, other = (int(place) for place in generator.choice(len(trees), 2, replace=False))
        trees[one], trees[other] = trees[other], trees[one]
        return replace(predictor, trees=tuple(trees))

    return _typed(typed, inner, generator)


def _t_lost(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        if len(predictor.trees) < 2:
            raise InapplicableError
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
            raise InapplicableError
        values = predictor.baseline.copy()
        place = int(generator.integers(values.size))
        values[place] = _stepped(values[place], generator, predictor.precision == "float32")
        return replace(predictor, baseline=values)

    return _typed(typed, inner, generator)


def _t_rule(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        rule = predictor.rule
        if rule is None:
            raise InapplicableError
        if rule.kind.startswith("score"):
            single = getattr(predictor, "precision", "") == "float32"
            other = "score_above" if rule.kind == "score_at_least" else "score_at_least"
            changed = (
                replace(rule, cut=_stepped(rule.cut, generator, single))
                if generator.integers(2)
                else replace(rule, kind=other)
            )
        elif isinstance(predictor, Forest):
            raise InapplicableError
        else:
            other = "argmax_scores" if rule.kind == "argmax_probabilities" else "argmax_probabilities"
            if predictor.link == "none":
                raise InapplicableError
            changed = replace(rule, kind=other)
        return replace(predictor, rule=changed)

    return _typed(typed, inner, generator)


def _t_certificate(typed: TypedModel, generator: Generator) -> TypedModel:
    def inner(predictor: Any) -> Any:
        rule = predictor.rule
        if not isinstance(predictor, Boosted) or rule is None:
            raise InapplicableError
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
            raise InapplicableError
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
            raise InapplicableError
        name = str(generator.choice(["coefficients", "intercept"]))
        values = getattr(predictor, name)
        return replace(predictor, **{name: nudged(values, int(generator.integers(values.size)), generator)})

    return _typed(typed, inner, generator)


def _nudged_affine(layer: Affine, generator: Generator) -> Affine:
    name = str(generator.choice(["weights", "offset", "size"]))
    values = getattr(layer, name)
    return replace(layer, **{name: nudged(values, int(generator.integers(values.size)), generator)})


def _t_preamble(typed: TypedModel, generator: Generator) -> TypedModel:
    if not isinstance(typed.root, Chain) or not typed.root.steps:
        raise InapplicableError
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
                moved = nudged(step.operand, int(generator.integers(step.operand.size)), generator)
                steps[place] = replace(step, operand=moved)
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
        raise InapplicableError
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
                {"weights": tuple(nudged(weights, int(generator.integers(count)), generator).tolist())},
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
                moved = tuple(nudged(values, int(generator.integers(values.size)), generator).tolist())
                first = replace(root.members[0], predictor=replace(inner, **{name: moved}))
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
            raise InapplicableError
    changed = replace(root, **changes[int(generator.integers(len(changes)))])
    if isinstance(typed.root, Chain):
        return replace(typed, root=replace(typed.root, predictor=changed))
    return replace(typed, root=changed)


def _t_step_order(typed: TypedModel, generator: Generator) -> TypedModel:
    if not isinstance(typed.root, Chain) or len(typed.root.steps) < 2:
        raise InapplicableError
    steps = list(typed.root.steps)
    place = int(generator.integers(len(steps) - 1))
    steps[place : place + 2] = steps[place : place + 2][::-1]
    return replace(typed, root=replace(typed.root, steps=tuple(steps)))


def _t_classes(typed: TypedModel, generator: Generator) -> TypedModel:
    if typed.classes is None:
        raise InapplicableError
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
