# SPDX-License-Identifier: Apache-2.0
"""Walks a decoded model and the expected one in lock step: operators, attributes, constants and trees, by bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ParityError
from .lift import Attribute, DecodedEnsemble, Expression

__all__ = ["Expected", "ExpectedEnsemble", "ExpectedTree", "WalkCount", "walk"]

MODE_LESS_OR_EQUAL, MODE_LESS, MODE_MEMBER = 0, 1, 6
"""Node modes of ``TreeEnsemble`` (ai.onnx.ml 5) that exact emission uses."""


@dataclass(frozen=True, eq=False)
class ExpectedTree:
    """One tree as the source holds it, with what each of its leaves adds.

    Attributes:
        feature: column compared, per node of the source.
        threshold: what it is compared with; ignored at leaves and categorical nodes.
        left: child taken where the comparison holds, -1 at leaves.
        right: the other child.
        missing_left: whether a missing value goes left, per inner node; all False where the source does not say.
        weight: what a leaf adds, per node; ignored at inner nodes.
        target: column it adds to; of a tree whose leaves add to several, per node.
        members: category values that go left, per categorical node.
        mode: comparison of the numeric nodes.
    """

    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    missing_left: npt.NDArray[np.bool_]
    weight: npt.NDArray[np.float64]
    target: int | npt.NDArray[np.int64]
    mode: int
    members: dict[int, frozenset[float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ExpectedEnsemble:
    """The trees in source order, the element type of splits and leaves, and the number of sums."""

    trees: Sequence[ExpectedTree]
    targets: int
    dtype: str
    beside: bool = False
    """Whether it only counts for the certificate, so that its trees are none of the model's."""


@dataclass(frozen=True, eq=False)
class Expected:
    """An expression that the source calls for; the vocabulary is that of ONNX, the content is the source's."""

    operator: str
    inputs: tuple[Expected, ...] = ()
    attributes: dict[str, Attribute] = field(default_factory=dict)
    constant: npt.NDArray[np.generic] | None = None
    ensemble: ExpectedEnsemble | None = None
    output: int = 0


@dataclass
class WalkCount:
    """What a walk looked at."""

    trees: int = 0
    splits: int = 0
    leaves: int = 0
    constants: int = 0
    nodes: int = 0


def walk(
    expected: Expected, found: Expression, *, place: str, count: WalkCount, done: set[tuple[int, int]]
) -> None:
    """Compare two expressions to their last bit.

    Args:
        expected: what the source calls for.
        found: what the file holds.
        place: name of the output, for the error.
        count: is added to.
        done: pairs compared already; shared between the outputs of one model.

    Raises:
        ParityError: DP711 at the first difference, with both sides.
    """
    stack = [(expected, found, place)]
    while stack:
        want, have, where = stack.pop()
        if (id(want), id(have)) in done:
            continue
        done.add((id(want), id(have)))
        if want.operator != have.operator or want.output != have.output:
            raise _differs(where, have.operator, want.operator)
        where = f"{where}/{want.operator}"
        if want.operator == "constant":
            _compare_constant(want.constant, have.constant, where, count)
            continue
        if want.ensemble is not None:
            if have.ensemble is None:
                raise _differs(where, "no trees", "trees")
            own = WalkCount() if want.ensemble.beside else count
            _compare_ensembles(want.ensemble, have.ensemble, where, own)
        elif _typed(want.attributes) != _typed(have.attributes):
            raise _differs(where, str(dict(have.attributes)), str(dict(want.attributes)))
        if len(want.inputs) != len(have.inputs):
            raise _differs(where, f"{len(have.inputs)} inputs", f"{len(want.inputs)} inputs")
        count.nodes += 1
        stack += [(a, b, where) for a, b in zip(want.inputs, have.inputs, strict=True)]


def _typed(attributes: Mapping[str, Attribute]) -> dict[str, tuple[str, Attribute]]:
    """Each value beside its type: 1 and 1.0 are equal in Python, and two attributes in ONNX."""
    return {name: (type(value).__name__, value) for name, value in attributes.items()}


def _compare_constant(
    want: npt.NDArray[np.generic] | None, have: npt.NDArray[np.generic] | None, where: str, count: WalkCount
) -> None:
    if want is None or have is None:
        raise _differs(where, "no constant", "a constant")
    if want.dtype.kind in "OUS" and have.dtype.kind in "OUS":
        texts = [_texts(side) for side in (want, have)]
        if texts[0] != texts[1] or want.shape != have.shape:
            raise _differs(where, str(texts[1][:8]), str(texts[0][:8]))
    elif want.dtype != have.dtype or want.shape != have.shape:
        raise _differs(where, f"{have.dtype} {have.shape}", f"{want.dtype} {want.shape}")
    elif not _same_bits(want, have):
        differing = np.flatnonzero(_bits(want).reshape(-1) != _bits(have).reshape(-1))
        first = int(differing[0])
        raise _differs(
            f"{where}[{first}]", repr(have.reshape(-1)[first].item()), repr(want.reshape(-1)[first].item())
        )
    count.constants += int(want.size)


def _texts(array: npt.NDArray[np.generic]) -> list[str]:
    return [
        value.decode() if isinstance(value, bytes) else str(value) for value in array.reshape(-1).tolist()
    ]


_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def _bits(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The bit patterns, every NaN as one."""
    flat = np.ascontiguousarray(array)
    if flat.dtype.kind == "f":
        flat = np.where(np.isnan(flat), np.array(np.nan, dtype=flat.dtype), flat)
    return flat.view(_UNSIGNED[flat.dtype.itemsize])


def _same_bits(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> bool:
    return bool(np.array_equal(_bits(a), _bits(b)))


def _compare_ensembles(want: ExpectedEnsemble, have: DecodedEnsemble, where: str, count: WalkCount) -> None:
    dtype = np.dtype(want.dtype)
    for name, found, expected in (
        ("aggregate_function", have.aggregate, 1),
        ("post_transform", have.transform, 0),
        ("n_targets", have.targets, want.targets),
        ("trees", len(have.roots), len(want.trees)),
        ("type of splits", have.split.dtype, dtype),
        ("type of leaves", have.leaf_weight.dtype, dtype),
    ):
        if found != expected:
            raise _differs(f"{where}.{name}", str(found), str(expected))
    _LockStep(want, have, where, count).walk()
    count.trees += len(want.trees)


def _members_of(have: DecodedEnsemble, where: str) -> dict[int, frozenset[float]]:
    """Category values per member node; the stream holds one NaN-terminated run per such node, in node order."""
    nodes = np.flatnonzero(have.mode == MODE_MEMBER)
    values = have.members.astype(np.float64)
    ends = np.flatnonzero(np.isnan(values))
    if len(ends) != len(nodes) or (len(values) and (not len(ends) or ends[-1] != len(values) - 1)):
        raise _differs(f"{where}.membership_values", f"{len(ends)} runs", f"{len(nodes)} runs")
    runs = np.split(values, ends + 1)[: len(nodes)]
    return {int(node): frozenset(run[:-1].tolist()) for node, run in zip(nodes, runs, strict=True)}


class _LockStep:
    """All trees of an ensemble at once, level by level, from the roots: source nodes beside decoded nodes."""

    def __init__(self, want: ExpectedEnsemble, have: DecodedEnsemble, where: str, count: WalkCount) -> None:
        trees = want.trees
        dtype = np.dtype(want.dtype)
        sizes = [len(tree.left) for tree in trees]
        self.have, self.where, self.count = have, where, count
        self.start = np.cumsum([0, *sizes])
        self.tree = np.repeat(np.arange(len(trees)), sizes)
        self.feature = _joined([tree.feature for tree in trees], np.int64)
        self.threshold = _joined([tree.threshold for tree in trees], np.float64).astype(dtype)
        self.weight = _joined([tree.weight for tree in trees], np.float64).astype(dtype)
        self.is_leaf = _joined([tree.left < 0 for tree in trees], np.bool_)
        offsets = np.repeat(self.start[:-1], sizes)
        self.left = _joined([tree.left for tree in trees], np.int64) + offsets
        self.right = _joined([tree.right for tree in trees], np.int64) + offsets
        self.target = _joined(
            [np.broadcast_to(tree.target, size) for tree, size in zip(trees, sizes, strict=True)], np.int64
        )
        self.mode = np.repeat([tree.mode for tree in trees], sizes).astype(np.int64)
        self.missing = _joined([tree.missing_left for tree in trees], np.bool_)
        self.members = {
            int(self.start[number]) + node: values
            for number, tree in enumerate(trees)
            for node, values in tree.members.items()
        }
        self.mode[list(self.members)] = MODE_MEMBER
        self.node_seen = np.zeros(len(have.feature), dtype=np.int64)
        self.leaf_seen = np.zeros(len(have.leaf_weight), dtype=np.int64)

    def walk(self) -> None:
        """Compare every node and every leaf; each decoded one must be met exactly once."""
        members = _members_of(self.have, self.where)
        source = self.start[:-1].astype(np.int64)
        node = self.have.roots.astype(np.int64)
        self._check_range(source, node, len(self.have.feature), "root")
        single = self.is_leaf[source]
        self._single_leaves(source[single], node[single])
        source, node = source[~single], node[~single]
        while source.size:
            self._compare_nodes(source, node, members)
            next_source, next_node = [], []
            for children, ids, flags in (
                (self.left[source], self.have.true_id[node], self.have.true_leaf[node]),
                (self.right[source], self.have.false_id[node], self.have.false_leaf[node]),
            ):
                leaf = self.is_leaf[children]
                self._equal(source, flags == 1, leaf, "leaf or split")
                self._compare_leaves(children[leaf], ids[leaf])
                self._check_range(source[~leaf], ids[~leaf], len(self.have.feature), "child")
                next_source.append(children[~leaf])
                next_node.append(ids[~leaf])
            source, node = np.concatenate(next_source), np.concatenate(next_node)
        for name, seen in (("nodes", self.node_seen), ("leaves", self.leaf_seen)):
            if not bool((seen == 1).all()):
                raise _differs(f"{self.where}.{name}", "some shared or unreached", "each reached once")

    def _single_leaves(self, source: npt.NDArray[np.int64], node: npt.NDArray[np.int64]) -> None:
        """A tree of one leaf is written as a split of column 0 at 0 between two equal leaves."""
        np.add.at(self.node_seen, node, 1)
        one = np.ones(source.shape, dtype=np.int64)
        zero = np.zeros(source.shape, dtype=np.int64)
        for name, field_of in (
            ("feature", self.have.feature),
            ("mode", self.have.mode),
            ("missing", self.have.missing_true),
            ("threshold", _bits(self.have.split)),
        ):
            self._equal(source, field_of[node], zero, name)
        for ids, flags in (
            (self.have.true_id, self.have.true_leaf),
            (self.have.false_id, self.have.false_leaf),
        ):
            self._equal(source, flags[node], one, "leaf or split")
            self._compare_leaves(source, ids[node])
        self.count.leaves -= len(source)

    def _compare_nodes(
        self,
        source: npt.NDArray[np.int64],
        node: npt.NDArray[np.int64],
        members: dict[int, frozenset[float]],
    ) -> None:
        have = self.have
        np.add.at(self.node_seen, node, 1)
        if bool((self.node_seen[node] > 1).any()):
            raise _differs(self.where, "a node reached twice", "a tree")
        self._equal(source, have.feature[node], self.feature[source], "feature")
        self._equal(source, have.mode[node].astype(np.int64), self.mode[source], "mode")
        numeric = self.mode[source] != MODE_MEMBER
        self._equal(
            source[numeric],
            _bits(have.split[node[numeric]]),
            _bits(self.threshold[source[numeric]]),
            "threshold",
            (have.split[node[numeric]], self.threshold[source[numeric]]),
        )
        self._equal(source, have.missing_true[node], self.missing[source], "missing")
        for place in np.flatnonzero(~numeric).tolist():
            key = int(source[place])
            if members.get(int(node[place])) != self.members[key]:
                raise _differs(
                    self._place(key, "members"), str(members.get(int(node[place]))), str(self.members[key])
                )
        self.count.splits += len(source)

    def _compare_leaves(self, source: npt.NDArray[np.int64], leaf: npt.NDArray[np.int64]) -> None:
        self._check_range(source, leaf, len(self.have.leaf_weight), "leaf")
        np.add.at(self.leaf_seen, leaf, 1)
        self._equal(source, self.have.leaf_target[leaf], self.target[source], "target")
        self._equal(
            source,
            _bits(self.have.leaf_weight[leaf]),
            _bits(self.weight[source]),
            "weight",
            (self.have.leaf_weight[leaf], self.weight[source]),
        )
        self.count.leaves += len(source)

    def _check_range(
        self, source: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], size: int, name: str
    ) -> None:
        outside = (ids < 0) | (ids >= size)
        if bool(outside.any()):
            first = int(np.argmax(outside))
            raise _differs(self._place(int(source[first]), name), str(int(ids[first])), f"0 to {size - 1}")

    def _equal(
        self,
        source: npt.NDArray[np.int64],
        found: npt.NDArray[np.generic],
        expected: npt.NDArray[np.generic],
        name: str,
        shown: tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]] | None = None,
    ) -> None:
        differs = found != expected
        if bool(np.any(differs)):
            first = int(np.argmax(differs))
            have, want = shown or (found, expected)
            raise _differs(
                self._place(int(source[first]), name), repr(have[first].item()), repr(want[first].item())
            )

    def _place(self, source: int, name: str) -> str:
        tree = int(self.tree[source])
        return f"{self.where}, tree {tree}, node {source - int(self.start[tree])}, {name}"


def _joined(parts: Sequence[npt.NDArray[np.generic]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.asarray(part, dtype=dtype) for part in parts])


def _differs(where: str, found: str, expected: str) -> ParityError:
    return ParityError(
        "The new model is not the one that the original describes",
        code="DP711",
        where=where,
        found=found,
        expected=expected,
        next_step="nothing was published and the original is untouched; report the model family",
    )
