# SPDX-License-Identifier: Apache-2.0
"""Which columns keep every bit, which carry an error bound along, and which models certify what follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from ..pickles.graph import Record
from .attributes import unsupported
from .dense_types import Affine, Categories, Digitize, Function, Network, Normalize, Power
from .stored_types import SupportVectors
from .types import (
    Apply,
    Averaged,
    Boosted,
    Branches,
    Calibrated,
    Chain,
    Clip,
    Divide,
    Encode,
    Forest,
    HardVote,
    Impute,
    Isolation,
    Leaves,
    Linear,
    Member,
    Multiply,
    OneVsOne,
    OneVsRest,
    Predictor,
    Products,
    Select,
    Shift,
    Stacked,
    Subtract,
    Thresholded,
    Transform,
    Tree,
    TreeVotes,
)

__all__ = [
    "MAX_CUTS",
    "Doubt",
    "columns_after",
    "doubt_after",
    "ends_inexact",
    "is_conditional",
    "is_doubtful",
    "keeps_missing",
    "meets_inexact",
    "rounds",
    "takes_inexact",
    "touched",
]

Doubt: TypeAlias = bool | tuple[bool, ...]
"""Which columns differ from the original's: all of them, none, or each as it says."""

MAX_CUTS = 2**20
"""Distinct thresholds that one certificate compares with: they are counted exactly in float32 up to 2**24."""


def ends_inexact(record: Record, steps: Sequence[Transform], *, inexact: Doubt = False) -> Doubt:
    """Which columns that come out of `steps` differ from the original's by more than nothing.

    Args:
        record: the composition, for the error.
        steps: what happens to the columns.
        inexact: which differ already.

    Raises:
        UnsupportedModelError: DP603 where a step would decide on values that are not exact, without a certificate.
    """
    for step in steps:
        inexact = _checked(record, step, inexact)
    return inexact


def _checked(record: Record, step: Transform, inexact: Doubt) -> Doubt:
    match step:
        case Branches(branches=branches):
            for columns, inner in branches:
                ends_inexact(record, inner, inexact=touched(inexact, columns))
        case Impute() if np.isnan(step.missing):
            pass
        case Encode(encoded=encoded) if not is_doubtful(touched(inexact, [place for place, _ in encoded])):
            pass
        case Affine() | Subtract() | Divide() | Multiply() | Shift() | Clip() | Select():
            pass
        case Apply(function="Abs" | "Neg"):
            pass
        case _ if is_doubtful(inexact):
            raise unsupported(
                record,
                "A step would work on values that are not exact, and no bound covers it",
                found=type(step).__name__,
                expected="scalers, selectors and projections there",
            )
    return doubt_after((step,), inexact)


def doubt_after(steps: Sequence[Transform], doubt: Doubt = False) -> Doubt:
    """Which columns that come out of `steps` differ from the original's, where `doubt` says which go in."""
    for step in steps:
        match step:
            case Affine() | Power():
                doubt = True
            case Function() | Normalize():
                doubt = not step.exact or is_doubtful(doubt)
            case Branches(branches=branches):
                doubt = _joined(
                    (doubt_after(inner, touched(doubt, columns)), columns_after(inner, len(columns)))
                    for columns, inner in branches
                )
            case Select(columns=columns):
                doubt = touched(doubt, columns)
            case Impute(kept=kept, indicators=indicators):
                doubt = _joined([(touched(doubt, kept), len(kept)), (False, len(indicators))])
            case Encode(encoded=encoded, passed=passed):
                doubt = _joined([(False, len(encoded)), (touched(doubt, passed), len(passed))])
            case _:
                pass
    return doubt


def _joined(parts: Iterable[tuple[Doubt, int]]) -> Doubt:
    """Doubts beside each other, each with its number of columns."""
    found: list[bool] = []
    for doubt, columns in parts:
        found += (doubt,) * columns if isinstance(doubt, bool) else doubt
    if all(found):
        return True
    return tuple(found) if any(found) else False


def is_doubtful(doubt: Doubt) -> bool:
    """Whether any column is."""
    return doubt if isinstance(doubt, bool) else any(doubt)


def touched(doubt: Doubt, columns: Sequence[int] | None) -> Doubt:
    """The doubt of the given columns; None for all."""
    if isinstance(doubt, bool) or columns is None:
        return doubt
    return _joined((doubt[column], 1) for column in columns)


def columns_after(steps: Sequence[Transform], columns: int) -> int:
    """How many columns come out of `steps`."""
    for step in steps:
        match step:
            case Affine():
                columns = step.weights.shape[1]
            case Branches(branches=branches):
                columns = sum(columns_after(inner, len(chosen)) for chosen, inner in branches)
            case Select():
                columns = len(step.columns)
            case Impute():
                columns = len(step.kept) + len(step.indicators)
            case Encode():
                columns = len(step.encoded) + len(step.passed)
            case Products():
                columns = len(step.terms)
            case Categories():
                columns = step.width if step.kept is None else len(step.kept)
            case Leaves():
                columns = sum(int(np.count_nonzero(tree.is_leaf)) for tree in step.trees)
            case Digitize():
                columns = sum(step.bins) if step.one_hot else len(step.bins)
            case _:
                pass
    return columns


def meets_inexact(steps: Sequence[Transform]) -> bool:
    """Whether columns are inexact anywhere among `steps`."""
    return any(
        isinstance(step, Affine | Power)
        or (isinstance(step, Function | Normalize) and not step.exact)
        or (isinstance(step, Branches) and any(meets_inexact(inner) for _, inner in step.branches))
        for step in steps
    )


def keeps_missing(steps: Sequence[Transform]) -> bool:
    """Whether a NaN that comes out of `steps` is a missing value of the input, never an overflow.

    A sum of products can be infinity minus infinity, and 0 times infinity is NaN too; whatever else there is maps
    numbers to numbers and infinities, and functions flag what is not finite.
    """
    for step in steps:
        match step:
            case Affine() | Normalize():
                return False
            case Multiply(operand=operand) if not operand.all():
                return False
            case Branches(branches=branches) if not all(keeps_missing(inner) for _, inner in branches):
                return False
            case _:
                pass
    return True


def is_conditional(steps: Sequence[Transform]) -> bool:
    """Whether the original refuses some finite rows, which are therefore not certified."""
    for step in steps:
        match step:
            case Function() | Power():
                return True
            case Categories(strict=True):
                return True
            case Branches(branches=branches) if any(is_conditional(inner) for _, inner in branches):
                return True
    return False


def rounds(steps: Sequence[Transform]) -> bool:
    """Whether a step rounds rows to float32, and so raises beyond its range."""
    return any(
        isinstance(step, Leaves)
        or (isinstance(step, Branches) and any(rounds(inner) for _, inner in step.branches))
        for step in steps
    )


def takes_inexact(record: Record, root: Predictor, doubt: Doubt = True) -> bool:
    """Whether `root` certifies or bounds its answers where columns differ from the original's as `doubt` says.

    Raises:
        UnsupportedModelError: DP603 where a transformer inside would decide on them.
    """
    if not is_doubtful(doubt):
        return True
    match root:
        case Chain():
            return takes_inexact(record, root.predictor, ends_inexact(record, root.steps, inexact=doubt))
        case Linear() | Network() | SupportVectors():
            return True
        case Forest():
            return _few_cuts(root.trees)
        case TreeVotes() | Isolation():
            return _few_cuts(root.forest.trees)
        case Boosted():
            return _takes_boosted(root, doubt)
        case Averaged() | HardVote() | OneVsRest() | OneVsOne():
            return all(_takes_member(record, member, doubt) for member in root.members)
        case Calibrated() | Thresholded():
            return _takes_member(record, root.member, doubt)
        case Stacked():
            within = all(_takes_member(record, member, doubt) for member in root.members)
            return within and takes_inexact(record, root.final)
        case _:
            return False


def _takes_member(record: Record, member: Member, doubt: Doubt) -> bool:
    return takes_inexact(record, member.predictor, touched(doubt, member.columns))


def _takes_boosted(root: Boosted, doubt: Doubt) -> bool:
    """Sets of categories, zeros for missing values, float32 products and links of regressors have no certificate."""
    special = {*root.truncate, *root.floored, *root.zero_is_missing}
    for tree in root.trees:
        special.update(int(tree.feature[node]) for node in tree.members)
    return (
        root.weights is None
        and (root.rule is not None or root.link == "identity")
        and not is_doubtful(touched(doubt, sorted(special)) if special else False)
        and _few_cuts(root.trees)
    )


def _few_cuts(trees: Sequence[Tree]) -> bool:
    return sum(tree.splits for tree in trees) <= MAX_CUTS
