# SPDX-License-Identifier: Apache-2.0
"""AdaBoost over members of any kind, as frozen values; what each says is what the original does, in its order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these types are part of that module's union
    from .types import FloatArray, Forest, LabelRule, Member

__all__ = ["Median", "Votes"]


@dataclass(frozen=True, eq=False)
class Votes:
    """AdaBoost over other classifiers: votes added in the order of the members and divided; decides as `TreeVotes`.

    `votes` holds, for each member, what it adds to the class that it answers, and what to each other.
    """

    members: tuple[Member, ...]
    votes: tuple[tuple[float, float], ...]
    divisor: float
    outputs: int
    rule: LabelRule


@dataclass(frozen=True, eq=False)
class Median:
    """AdaBoost over regressors: the least answer at which weights, added from the least answer on, reach half of all.

    Attributes:
        answers: the members; or their trees as one forest, the rows of which are not added.
        weights: one for each member, none below 0.
        ties: whether two members may answer alike; the original adds the weights of equal answers in any order.
    """

    answers: Forest | tuple[Member, ...]
    weights: FloatArray
    ties: bool
