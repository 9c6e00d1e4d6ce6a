# SPDX-License-Identifier: Apache-2.0
"""What every composition needs: its members read and placed, what it may ask of them, and the model around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import UnsupportedModelError
from ..pickles.graph import Record, Value
from .attributes import records, unsupported, wrong
from .dense_types import Network
from .interface import Context, ReadPredictor
from .score_types import Constant, Interpolated, Likelihood
from .stored_types import Neighbours, SupportVectors
from .types import (
    Averaged,
    Boosted,
    Calibrated,
    Ceiling,
    Chain,
    ClassLabel,
    Continued,
    Forest,
    HardVote,
    Isolation,
    Linear,
    Median,
    Member,
    OneVsOne,
    OneVsRest,
    Predictor,
    Response,
    Stacked,
    Task,
    Thresholded,
    Transformed,
    TreeVotes,
    Votes,
)

__all__ = ["askable", "composed", "has_probabilities", "is_exact", "member_of", "preferred", "read_members"]

_EXACT = "Its members' answers are exact, and it adds, divides and compares them in the original's order"
_INEXACT = "It compares quantities that passed through exp or a dot product; a margin certifies rows"


def read_members(record: Record, context: Context, value: Value, name: str) -> list[ReadPredictor]:
    """The fitted members of a composition, of which there is at least one."""
    found = [context.predictor(item, context) for item in records(record, name, value)]
    if not found:
        raise wrong(record, name, value, "at least one fitted member")
    return found


def member_of(
    record: Record,
    part: ReadPredictor,
    classes: Sequence[ClassLabel] | None,
    columns: tuple[int, ...] | None = None,
) -> Member:
    """`part` with its classes found among `classes`, the labels under which the composition fitted its members."""
    if classes is None or part.classes is None:
        return Member(part.root, columns)
    places = []
    for label in part.classes:
        match_ = [place for place, known in enumerate(classes) if known == label]
        if len(match_) != 1:
            raise wrong(record, "estimators_", None, f"members that know the classes {list(classes)!r:.60}")
        places.append(match_[0])
    return Member(part.root, columns, tuple(places))


def composed(
    record: Record,
    parts: Sequence[ReadPredictor],
    root: Predictor,
    *,
    classes: tuple[ClassLabel, ...] | None,
    exact: bool,
    n_features: int | None = None,
) -> ReadPredictor:
    """The composition: it asks of its input what its members ask, and all of them have its task."""
    task: Task = "classifier" if classes else "regressor"
    for part in parts:
        if part.task != task:
            raise wrong(record, "estimators_", None, f"members that are {task}s, not {part.family}")
    bounds = [part.max_abs for part in parts if part.max_abs is not None]
    widths = {part.n_features for part in parts}
    if n_features is None and len(widths) != 1:
        raise wrong(record, "n_features_in_", None, "members of one width")
    ceiling: Ceiling = "proven" if exact else "certified"
    return ReadPredictor(
        task=task,
        classes=classes,
        n_features=n_features or parts[0].n_features,
        root=root,
        ceiling=ceiling,
        reason=_EXACT if exact else _INEXACT,
        allow_nan=all(part.allow_nan for part in parts),
        allow_infinite=all(part.allow_infinite for part in parts),
        max_abs=min(bounds) if bounds else None,
        family=f"{record.name}({', '.join(dict.fromkeys(part.family for part in parts))})",
        unstated_probabilities=any(part.unstated_probabilities for part in parts),
    )


def is_exact(parts: Sequence[ReadPredictor], responses: Sequence[Response]) -> bool:
    """Whether what is asked of every member comes out bit-equal."""
    return all(
        part.exact_probabilities if response == "probabilities" else part.ceiling == "proven"
        for part, response in zip(parts, responses, strict=True)
    )


def preferred(record: Record, part: ReadPredictor) -> Response:
    """What a composition asks of a member: its decision_function where it has one, else its probabilities."""
    if part.decision_function is None:
        raise UnsupportedModelError(
            "The file does not tell whether the member had a decision_function when it was asked",
            code="DP613",
            where=record.name,
            found=f"{part.family} of an unknown release",
            expected="the release of LightGBM, since 4.7 changed what is asked of it",
            next_step="Fit the composition together with its members, under one release, and save it again",
        )
    return askable(record, part, "scores" if part.decision_function else "probabilities")


def askable(record: Record, part: ReadPredictor, response: Response) -> Response:
    """`response`, unless it is not what the original hands on.

    Raises:
        UnsupportedModelError: DP603.
    """
    if response == "probabilities" and not has_probabilities(part.root):
        raise unsupported(
            record,
            "A member has no probabilities here",
            found=part.family,
            expected="members with probabilities, or CalibratedClassifierCV around them",
        )
    last = list(_last(part.root))
    if response == "scores" and any(isinstance(inner, Likelihood) and not inner.compared for inner in last):
        raise unsupported(record, "Only the label of this member is emitted", found=part.family)
    if response == "scores" and any(
        isinstance(inner, Boosted) and inner.average is not None for inner in _last(part.root)
    ):
        raise unsupported(
            record,
            "The decision_function of LightGBM's random forest adds up what predict averages",
            found=part.family,
            expected="another boosting type, or a composition that asks for probabilities",
        )
    if response == "scores" and any(isinstance(inner, Averaged) and inner.rule for inner in _last(part.root)):
        raise unsupported(
            record,
            "The mean of the members' decision functions is not emitted",
            found=part.family,
            expected="bags of members that have probabilities only",
        )
    return response


def _last(root: Predictor) -> Iterator[Predictor]:
    """`root` and what its scores come from."""
    yield root
    if isinstance(root, Chain):
        yield from _last(root.predictor)
    elif isinstance(root, Thresholded):
        yield from _last(root.member.predictor)
    elif isinstance(root, Stacked):
        yield from _last(root.final)
    elif isinstance(root, OneVsRest):
        for member in root.members:
            yield from _last(member.predictor)


def has_probabilities(root: Predictor) -> bool:
    """Whether the emitted form of `root` has probabilities."""
    match root:
        case Chain():
            return has_probabilities(root.predictor)
        case Isolation() | Median():
            return False
        case Forest():
            return root.rule is not None
        case Network() | Neighbours():
            return root.classes > 0
        case Boosted() | Linear():
            return root.rule is not None and root.link not in ("none", "identity", "exp", "signed_square")
        case Averaged():
            return root.rule is not None
        case HardVote() | OneVsOne() | SupportVectors() | Interpolated() | Transformed():
            return False
        case Likelihood():
            return root.soft_max
        case Constant():
            return root.index is not None
        case TreeVotes() | Votes() | Calibrated():
            return True
        case Thresholded():
            return has_probabilities(root.member.predictor)
        case Continued():
            return has_probabilities(root.stages)
        case OneVsRest():
            return root.has_probabilities
        case Stacked():
            return has_probabilities(root.final)
