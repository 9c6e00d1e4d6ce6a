# SPDX-License-Identifier: Apache-2.0
"""Infers the shape of every tensor of a graph at a given batch size, without allocating or computing any of them.

Small integer tensors (the operands of Reshape, Expand, Slice and the like) are carried as values, so that a shape
that depends on the batch is known exactly. A shape that depends on the data is refused (DP340): it could not be
bounded. One function per operator; `RULES` names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from ._onnx_attributes import MAX_RANK, Attributes
from .errors import OnnxRefusedError

__all__ = ["RULES", "Operation", "Rule", "Value", "stored"]

MAX_CARRIED: Final = 64
"""Elements of an integer tensor that is carried as a value; shapes have at most a handful."""

MAX_DIMENSION: Final = 1 << 40
"""Far beyond every cap; keeps the arithmetic below in small integers."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor's shape, and its contents where they are stored in the file or follow from shapes."""

    shape: Shape
    known: npt.NDArray[Any] | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def stored(array: npt.NDArray[Any] | Shape) -> Value:
    """The value of a stored tensor (or the shape of one that holds strings)."""
    return Value(array) if isinstance(array, tuple) else Value(array.shape, array)


@dataclass(slots=True)
class Operation:
    """One node at one batch size: its inputs, attributes, and the work it does beyond its output's size."""

    op_type: str
    attributes: Attributes
    inputs: Sequence[Value | None]
    outputs: int
    where: str
    work: int = 0

    def refuse(self, code: str, found: str, expected: str) -> NoReturn:
        """Refuse the file at this node."""
        raise OnnxRefusedError(
            "ONNX shapes cannot be admitted", code=code, found=found, expected=expected, where=self.where
        )

    def __getitem__(self, index: int) -> Value:
        """A required input."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            self.refuse("DP337", f"no input {index}", "it")
        return value

    def has(self, index: int) -> bool:
        """Whether an optional input is present."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def integers(self, index: int) -> list[int]:
        """The values of an integer operand that decides a shape."""
        known = self[index].known
        if known is None:
            self.refuse(
                "DP340", f"a shape decided by data (input {index})", "a shape decided by the batch size"
            )
        if known.dtype.kind not in "iu" or known.ndim > 1 or known.size > MAX_CARRIED:
            self.refuse("DP340", f"{known.dtype} of shape {known.shape}", f"at most {MAX_CARRIED} integers")
        return [int(v) for v in known.reshape(-1)]

    def axis(self, default: int, rank: int) -> int:
        """The attribute `axis`, made non-negative."""
        return self.normal(self.attributes.integer("axis", default), rank)

    def normal(self, axis: int, rank: int) -> int:
        """An axis, made non-negative."""
        if not -rank <= axis < rank:
            self.refuse("DP343", f"axis {axis} of a tensor of rank {rank}", "an axis of the tensor")
        return axis % rank

    def axes(self, index: int) -> list[int] | None:
        """Axes from an input (newer operators) or the attribute; None where neither is given."""
        if self.has(index):
            return self.integers(index)
        given = self.attributes.ints("axes")
        return [int(a) for a in given] if given.size else None

    def broadcast(self, *shapes: Shape) -> Shape:
        """Common shape under numpy's rules."""
        rank = max(map(len, shapes))
        padded = [(1,) * (rank - len(s)) + s for s in shapes]
        out = []
        for sizes in zip(*padded, strict=True):
            wide = {s for s in sizes if s != 1}
            if len(wide) > 1:
                self.refuse("DP343", f"shapes {' and '.join(map(str, shapes))}", "shapes that broadcast")
            out.append(wide.pop() if wide else 1)
        return tuple(out)


Rule = Callable[[Operation], list[Value]]


def _carried(*values: Value) -> list[npt.NDArray[np.int64]] | None:
    known = [v.known for v in values]
    if any(k is None or k.dtype.kind not in "iu" or k.size > MAX_CARRIED for k in known):
        return None
    return [np.asarray(k).astype(np.int64) for k in known]


def _same(op: Operation) -> list[Value]:
    return [Value(op[0].shape)] * op.outputs


def _identity(op: Operation) -> list[Value]:
    return [op[0]]


def _cast(op: Operation) -> list[Value]:
    to = op.attributes.integer("to", 0)
    if to not in (1, 2, 6, 7, 9, 11):
        op.refuse("DP324", f"a cast to element type {to}", "a number or boolean")
    values = _carried(op[0])
    return [Value(op[0].shape, values[0] if values and to in (6, 7) else None)]


_ARITHMETIC: Final[dict[str, Callable[..., npt.NDArray[np.int64]]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
}


def _broadcast(op: Operation) -> list[Value]:
    values = [op[i] for i in range(len(op.inputs))]
    shape = op.broadcast(*(v.shape for v in values))
    function = _ARITHMETIC.get(op.op_type)
    known = _carried(*values) if function else None
    if function and known and len(known) == 2:
        return [Value(shape, function(*known))]
    return [Value(shape)]


def _where(op: Operation) -> list[Value]:
    return [Value(op.broadcast(op[0].shape, op[1].shape, op[2].shape))]


def _clip(op: Operation) -> list[Value]:
    if any(op.has(i) and op[i].elements != 1 for i in (1, 2)):
        op.refuse("DP343", "bounds that are not single numbers", "single numbers")
    return [Value(op[0].shape)]


def _matmul(op: Operation) -> list[Value]:
    a, b = op[0].shape, op[1].shape
    if not a or not b:
        op.refuse("DP343", "a scalar", "matrices")
    left = a if len(a) > 1 else (1, *a)
    right = b if len(b) > 1 else (*b, 1)
    if left[-1] != right[-2]:
        op.refuse("DP343", f"{a} times {b}", "equal inner dimensions")
    out = (*op.broadcast(left[:-2], right[:-2]), left[-2], right[-1])
    op.work = math.prod(out) * left[-1]
    if len(b) == 1:
        out = out[:-1]
    if len(a) == 1:
        out = (*out[:-2], *out[-1:]) if len(b) > 1 else out[:-1]
    return [Value(out)]


def _gemm(op: Operation) -> list[Value]:
    if len(op[0].shape) != 2 or len(op[1].shape) != 2:
        op.refuse("DP343", f"{op[0].shape} times {op[1].shape}", "matrices")
    m, k = op[0].shape[:: -1 if op.attributes.integer("transA", 0) else 1]
    k2, n = op[1].shape[:: -1 if op.attributes.integer("transB", 0) else 1]
    if k != k2:
        op.refuse("DP343", f"inner dimensions {k} and {k2}", "equal ones")
    if op.has(2) and op.broadcast((m, n), op[2].shape) != (m, n):
        op.refuse("DP343", f"a bias of shape {op[2].shape}", f"one that broadcasts to {(m, n)}")
    op.work = m * n * k
    return [Value((m, n))]


def _reduce(op: Operation) -> list[Value]:
    shape = op[0].shape
    axes = op.axes(1)
    if axes is None and op.attributes.integer("noop_with_empty_axes", 0):
        return [Value(shape)]
    chosen = set(range(len(shape))) if not axes else {op.normal(a, len(shape)) for a in axes}
    keep = op.attributes.integer("keepdims", 1)
    op.work = op[0].elements
    return [Value(tuple(1 if i in chosen else d for i, d in enumerate(shape) if keep or i not in chosen))]


def _arg(op: Operation) -> list[Value]:
    shape = op[0].shape
    axis = op.axis(0, len(shape))
    op.work = op[0].elements
    middle = (1,) if op.attributes.integer("keepdims", 1) else ()
    return [Value((*shape[:axis], *middle, *shape[axis + 1 :]))]


def _along_axis(op: Operation) -> list[Value]:
    op.axis(-1, len(op[0].shape))
    op.work = 8 * op[0].elements
    return [Value(op[0].shape)]


def _cumsum(op: Operation) -> list[Value]:
    axis = op.integers(1)
    if len(axis) != 1:
        op.refuse("DP343", f"{len(axis)} axes", "one")
    op.normal(axis[0], len(op[0].shape))
    return [Value(op[0].shape)]


def _concat(op: Operation) -> list[Value]:
    values = [op[i] for i in range(len(op.inputs))]
    shape = values[0].shape
    axis = op.axis(0, len(shape))
    for value in values[1:]:
        if len(value.shape) != len(shape) or any(
            a != b for i, (a, b) in enumerate(zip(value.shape, shape, strict=True)) if i != axis
        ):
            op.refuse("DP343", f"{value.shape} beside {shape}", "shapes that agree off the axis")
    total = sum(v.shape[axis] for v in values)
    known = _carried(*values)
    array = np.concatenate(known) if known and len(shape) == 1 and total <= MAX_CARRIED else None
    return [Value((*shape[:axis], total, *shape[axis + 1 :]), array)]


def _slice(op: Operation) -> list[Value]:
    shape = list(op[0].shape)
    starts, ends = op.integers(1), op.integers(2)
    axes = op.integers(3) if op.has(3) else list(range(len(starts)))
    steps = op.integers(4) if op.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        op.refuse("DP343", "slices of unequal length or step 0", "one start, end, axis and step each")
    index: list[slice] = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = op.normal(axis, len(shape))
        # A negative step counts down; an end below -size stands for "through the first".
        stop = None if step < 0 and end < -shape[at] else end
        index[at] = slice(start, stop, step)
        shape[at] = len(range(*index[at].indices(shape[at])))
    known = _carried(op[0])
    return [Value(tuple(shape), known[0][tuple(index)] if known else None)]


def _check_indices(op: Operation, value: Value, limit: int) -> None:
    known = value.known
    if known is None or not known.size:
        return
    if known.dtype.kind != "i" or int(known.min()) < -limit or int(known.max()) >= limit:
        op.refuse("DP344", "a stored index outside its tensor", f"-{limit} to {limit - 1}")


def _gather(op: Operation) -> list[Value]:
    shape, index = op[0].shape, op[1]
    axis = op.axis(0, len(shape))
    _check_indices(op, index, shape[axis])
    values = _carried(op[0], index)
    known = np.take(values[0], values[1], axis=axis) if values else None
    if known is not None and known.size > MAX_CARRIED:
        known = None
    return [Value((*shape[:axis], *index.shape, *shape[axis + 1 :]), known)]


def _gather_elements(op: Operation) -> list[Value]:
    shape, index = op[0].shape, op[1]
    axis = op.axis(0, len(shape))
    if len(index.shape) != len(shape) or any(
        a > b for i, (a, b) in enumerate(zip(index.shape, shape, strict=True)) if i != axis
    ):
        op.refuse("DP343", f"indices {index.shape} into {shape}", "indices within the tensor")
    _check_indices(op, index, shape[axis])
    return [Value(index.shape)]


def _gather_nd(op: Operation) -> list[Value]:
    shape, index = op[0].shape, op[1].shape
    batch = op.attributes.integer("batch_dims", 0)
    if not index or not 0 <= batch < min(len(shape), len(index)) or shape[:batch] != index[:batch]:
        op.refuse("DP343", f"indices {index} into {shape}", "equal batch dimensions")
    if not 1 <= index[-1] <= len(shape) - batch:
        op.refuse("DP343", f"index tuples of {index[-1]}", f"1 to {len(shape) - batch}")
    return [Value((*index[:-1], *shape[batch + index[-1] :]))]


def _reshape(op: Operation) -> list[Value]:
    wanted = op.integers(1)
    if wanted.count(-1) > 1 or any(d < -1 for d in wanted):
        op.refuse("DP343", f"a reshape to {wanted}", "at most one -1")
    shape = op[0].shape
    if not op.attributes.integer("allowzero", 0):
        if any(d == 0 and i >= len(shape) for i, d in enumerate(wanted)):
            op.refuse(
                "DP343", f"a reshape of {shape} to {wanted}", "0 only where there is a dimension to copy"
            )
        wanted = [shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    rest = math.prod(d for d in wanted if d != -1)
    if -1 in wanted:
        if rest == 0 or op[0].elements % rest:
            op.refuse("DP343", f"a reshape of {shape} to {wanted}", "the same number of elements")
        wanted[wanted.index(-1)] = op[0].elements // rest
    if math.prod(wanted) != op[0].elements:
        op.refuse("DP343", f"a reshape of {shape} to {wanted}", "the same number of elements")
    known = _carried(op[0])
    return [Value(tuple(wanted), known[0].reshape(wanted) if known and len(wanted) <= MAX_RANK else None)]


def _expand(op: Operation) -> list[Value]:
    wanted = tuple(op.integers(1))
    if any(d < 0 for d in wanted):
        op.refuse("DP343", f"an expansion to {wanted}", "sizes")
    return [Value(op.broadcast(op[0].shape, wanted))]


def _constant_of_shape(op: Operation) -> list[Value]:
    wanted = tuple(op.integers(0))
    if any(d < 0 for d in wanted):
        op.refuse("DP343", f"a constant of shape {wanted}", "sizes")
    return [Value(wanted)]


def _squeeze(op: Operation) -> list[Value]:
    shape = op[0].shape
    axes = op.axes(1)
    chosen = (
        {i for i, d in enumerate(shape) if d == 1}
        if axes is None
        else {op.normal(a, len(shape)) for a in axes}
    )
    if any(shape[i] != 1 for i in chosen):
        op.refuse("DP343", f"axes {sorted(chosen)} of {shape}", "axes of size 1")
    out = tuple(d for i, d in enumerate(shape) if i not in chosen)
    known = _carried(op[0])
    return [Value(out, known[0].reshape(out) if known else None)]


def _unsqueeze(op: Operation) -> list[Value]:
    axes = op.axes(1) or []
    rank = len(op[0].shape) + len(axes)
    chosen = {op.normal(a, rank) for a in axes}
    if len(chosen) != len(axes) or not axes:
        op.refuse("DP343", f"axes {axes}", "distinct axes")
    rest = iter(op[0].shape)
    out = tuple(1 if i in chosen else next(rest) for i in range(rank))
    known = _carried(op[0])
    return [Value(out, known[0].reshape(out) if known else None)]


def _transpose(op: Operation) -> list[Value]:
    shape = op[0].shape
    perm = [int(p) for p in op.attributes.ints("perm")] or list(range(len(shape)))[::-1]
    if sorted(perm) != list(range(len(shape))):
        op.refuse("DP343", f"a permutation {perm} of rank {len(shape)}", "a permutation of the axes")
    return [Value(tuple(shape[p] for p in perm))]


def _shape(op: Operation) -> list[Value]:
    shape = op[0].shape
    start, end = op.attributes.integer("start", 0), op.attributes.integer("end", len(shape))
    part = np.array(shape[start:end], dtype=np.int64)
    return [Value(part.shape, part)]


def _flatten(op: Operation) -> list[Value]:
    shape = op[0].shape
    axis = op.attributes.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        op.refuse("DP343", f"axis {axis}", "an axis of the tensor")
    axis = axis % len(shape) if axis < 0 else axis
    return [Value((math.prod(shape[:axis]), math.prod(shape[axis:])))]


def _top_k(op: Operation) -> list[Value]:
    shape = op[0].shape
    k = op.integers(1)
    axis = op.axis(-1, len(shape))
    if len(k) != 1 or not 0 < k[0] <= shape[axis]:
        op.refuse("DP343", f"the top {k} of {shape[axis]}", "at most all of them")
    op.work = 8 * op[0].elements
    return [Value((*shape[:axis], k[0], *shape[axis + 1 :]))] * op.outputs


def _one_hot(op: Operation) -> list[Value]:
    depth = op.integers(1)
    if len(depth) != 1 or depth[0] < 1 or op[2].shape != (2,):
        op.refuse("DP343", f"depth {depth}", "one positive number and two values")
    rank = len(op[0].shape) + 1
    axis = op.axis(-1, rank)
    return [Value((*op[0].shape[:axis], depth[0], *op[0].shape[axis:]))]


def _constant(op: Operation) -> list[Value]:
    return [stored(op.attributes.constant("value"))]


def _lists(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: Final[dict[str, Rule]] = {
    **_lists(
        _same,
        "Abs Ceil Elu Erf Exp Floor IsInf IsNaN Log Neg Not Reciprocal Relu Round Sigmoid Sign Softplus Sqrt Tanh",
    ),
    **_lists(
        _broadcast,
        "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow Sub Sum Xor",
    ),
    **_lists(
        _reduce,
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        "ReduceSumSquare",
    ),
    **_lists(_along_axis, "LogSoftmax LpNormalization Softmax"),
    **_lists(_arg, "ArgMax ArgMin"),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "OneHot": _one_hot,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
