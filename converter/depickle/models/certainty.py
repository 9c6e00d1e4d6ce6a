# SPDX-License-Identifier: Apache-2.0
"""Which steps keep every bit, which carry an error bound along, and which rows their original refuses."""

from __future__ import annotations

from collections.abc import Sequence

from ..pickles.graph import Record
from .attributes import unsupported
from .dense_types import Affine, Categories, Function, Network
from .stored_types import SupportVectors
from .types import (
    Apply,
    Branches,
    Chain,
    Clip,
    Divide,
    Linear,
    Multiply,
    Predictor,
    Select,
    Shift,
    Subtract,
    Transform,
)

__all__ = ["ends_inexact", "is_conditional", "takes_inexact"]


def ends_inexact(record: Record, steps: Sequence[Transform], *, inexact: bool = False) -> bool:
    """Whether columns that come out of `steps` differ from the original's by more than nothing.

    Args:
        record: the composition, for the error.
        steps: what happens to the columns.
        inexact: whether they differ already.

    Raises:
        UnsupportedModelError: DP603 where a step would decide on values that are not exact.
    """
    for step in steps:
        match step:
            case Affine():
                inexact = True
            case Branches(branches=branches):
                ends = [
                    ends_inexact(record, inner, inexact=inexact) for _, inner in branches
                ]  # each is checked
                inexact = any(ends)
            case Subtract() | Divide() | Multiply() | Shift() | Clip() | Select():
                pass
            case Apply(function="Abs" | "Neg"):
                pass
            case _ if inexact:
                raise unsupported(
                    record,
                    "A step would work on values that are not exact, and no bound covers it",
                    found=type(step).__name__,
                    expected="scalers, selectors and projections there",
                )
            case Function():
                inexact = not step.exact
    return inexact


def is_conditional(steps: Sequence[Transform]) -> bool:
    """Whether the original refuses some finite rows, which are therefore not certified."""
    for step in steps:
        match step:
            case Function():
                return True
            case Categories(strict=True):
                return True
            case Branches(branches=branches) if any(is_conditional(inner) for _, inner in branches):
                return True
    return False


def takes_inexact(record: Record, root: Predictor) -> bool:
    """Whether `root` bounds its answers for inputs that are not exact."""
    if isinstance(root, Chain):
        ends_inexact(record, root.steps, inexact=True)
        return takes_inexact(record, root.predictor)
    return isinstance(root, Linear | Network | SupportVectors)
