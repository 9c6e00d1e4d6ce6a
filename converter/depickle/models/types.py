# SPDX-License-Identifier: Apache-2.0
"""What a fitted model computes, as frozen values: no estimator, no code, nothing that was not checked.

A `TypedModel` holds one predictor. A predictor is a family (`Forest`, `Boosted`, `Linear`) or a composition of
predictors; `Chain` puts transformers in front of one. Arrays are read-only. What each class documents is exactly
what the original library does, in the order in which it does it, so that `depickle.emit` has nothing to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from .boosting_types import Median, Votes
from .dense_types import Leaves, Network
from .score_types import Constant, Curve, Interpolated, Likelihood, Transformed
from .stored_types import Neighbours, SupportVectors
from .transform_types import (
    Apply,
    Branches,
    Clip,
    Divide,
    Elementwise,
    Encode,
    Impute,
    Multiply,
    Products,
    Select,
    Shift,
    Subtract,
    Transform,
)

__all__ = [
    "Apply",
    "Averaged",
    "Boosted",
    "Branches",
    "Calibrated",
    "Chain",
    "ClassLabel",
    "Clip",
    "Continued",
    "Curve",
    "Divide",
    "Elementwise",
    "Encode",
    "FloatArray",
    "Forest",
    "HardVote",
    "Impute",
    "InputFacts",
    "Isolation",
    "LabelRule",
    "Leaves",
    "Linear",
    "Link",
    "Median",
    "Member",
    "Multiply",
    "OneVsOne",
    "OneVsRest",
    "Predictor",
    "Products",
    "Response",
    "Select",
    "Shift",
    "Stacked",
    "Start",
    "Subtract",
    "Thresholded",
    "Transform",
    "Transformed",
    "Tree",
    "TreeVotes",
    "TypedModel",
    "Votes",
    "walk_predictors",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
ClassLabel: TypeAlias = int | float | str | bool
Task: TypeAlias = Literal["classifier", "regressor", "outlier"]
Ceiling: TypeAlias = Literal["proven", "certified", "sampled"]


@dataclass(frozen=True, eq=False)
class Tree:
    """One binary tree in the numbering of its source; node 0 is the root, a leaf has ``left == -1``.

    Attributes:
        feature: column compared at each inner node.
        threshold: what it is compared with, untouched.
        left: child where the comparison holds.
        right: child where it does not.
        missing_left: True where a missing value goes left.
        value: [nodes, K]; meaningful on leaves only.
        members: for a categorical node, the values that go left; `threshold` is NaN there.
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    missing_left: BoolArray
    value: FloatArray
    members: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_leaf(self) -> BoolArray:
        """Mask of the leaves."""
        return self.left < 0

    @property
    def splits(self) -> int:
        """Number of inner nodes."""
        return int(np.count_nonzero(self.left >= 0))


@dataclass(frozen=True)
class LabelRule:
    """How a class index comes out of a row's quantities.

    ``argmax_probabilities`` and ``argmax_scores``: first index of the largest. ``score_at_least`` and
    ``score_above``: class 1 where the single raw score is >= or > `cut`, else class 0.

    `exact` is False where the original decides on a quantity that passed through exp or log; the rule then
    agrees with it wherever the margin of the row exceeds `band`. `sums_exact` is False where the raw sums themselves
    may be off by up to `band`, so that even equal scores decide nothing.
    """

    kind: Literal["argmax_probabilities", "argmax_scores", "score_at_least", "score_above"]
    cut: float = 0.0
    exact: bool = True
    band: float = 0.0
    sums_exact: bool = True


Link: TypeAlias = Literal[
    "identity",  # the raw score is the answer
    "logistic",  # p = 1 / (1 + exp(-factor * raw)), [1 - p, p]; of a regressor p itself
    "softmax",  # exp(raw - max) / sum
    "logistic_each",  # p_k = logistic(raw_k), as they are
    "logistic_normalized",  # p_k = logistic(raw_k), divided by their sum, 0/0 where all are 0
    "logistic_or_uniform",  # the same, but 1/K where all are 0 (scikit-learn 1.9)
    "clipped",  # p_k = (clip(raw_k, -1, 1) + 1) / 2; several classes: over their sum, 1/K where it is 0
    "none",  # a classifier without predict_proba
    "exp",  # regressors with a log link
    "signed_square",  # LightGBM reg_sqrt
]


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees whose leaf rows are added in source order and divided by `divisor` (None: a single tree, no division).

    A classifier's rows are class probabilities; a regressor's have one column.
    """

    trees: tuple[Tree, ...]
    outputs: int
    divisor: float | None
    rule: LabelRule | None
    """None for a regressor."""
    single: bool = True
    """The input is rounded to float32 before it is compared, as scikit-learn's trees do."""


@dataclass(frozen=True, eq=False)
class Boosted:
    """``raw = baseline + Σ trees``, tree t adding its leaf to column ``target[t]``, in source order.

    Attributes:
        trees: with one value a leaf, the learning rate already multiplied in.
        target: column of each tree.
        baseline: where the sum of each column starts.
        precision: format of the sum: float64, or float32 for XGBoost.
        comparison: ``<=``, or ``<`` for XGBoost.
        single: the input is rounded to float32 before it is compared.
        zero_below: inputs of this magnitude or less become 0 first (LightGBM), or None.
        truncate: columns whose value is truncated toward zero before set membership (categories).
        average: divisor applied to the finished sums (LightGBM's random forests), or None.
        link: from raw scores to what predict_proba or predict returns.
        factor: multiplies the raw score inside the logistic link.
        rule: label rule, None for a regressor.
        floored: columns rounded down before set membership (XGBoost's categories; negative ones are in no set).
        zero_is_missing: columns in which 0 counts as missing (LightGBM).
        columns: number of input columns.
        weights: [columns, K] in place of trees (XGBoost's gblinear): each column times its weight, missing ones 0,
            added to the baseline from the first column on.
        start_band: of a regressor of probabilities, how far its sums may be off where they start from a logarithm.
    """

    trees: tuple[Tree, ...]
    target: tuple[int, ...]
    baseline: FloatArray
    columns: int
    link: Link
    rule: LabelRule | None
    precision: Literal["float64", "float32"] = "float64"
    comparison: Literal["<=", "<"] = "<="
    single: bool = False
    zero_below: float | None = None
    truncate: tuple[int, ...] = ()
    average: int | None = None
    factor: float = 1.0
    zero_is_missing: tuple[int, ...] = ()
    weights: FloatArray | None = None
    floored: tuple[int, ...] = ()
    start_band: float = 0.0


@dataclass(frozen=True, eq=False)
class Linear:
    """``scores = z @ coefficients.T + intercept``; not bit-exact by nature, so rows carry a margin certificate."""

    coefficients: FloatArray
    """[K, F]."""
    intercept: FloatArray
    """[K]."""
    link: Link
    rule: LabelRule | None
    mirrored: bool = False
    """Binary soft-max over [-s, s], as a multinomial fit of two classes does."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Transformers, in order, in front of a predictor."""

    steps: tuple[Transform, ...]
    predictor: Predictor


@dataclass(frozen=True, eq=False)
class Member:
    """A predictor inside a composition.

    Attributes:
        predictor: what it computes.
        columns: columns of the composition's input that it sees, or None for all.
        places: for each of its class indices, the class index in the composition.
    """

    predictor: Predictor
    columns: tuple[int, ...] | None = None
    places: tuple[int, ...] = ()


Response: TypeAlias = Literal["scores", "probabilities"]


@dataclass(frozen=True, eq=False)
class Averaged:
    """``(Σ weight · answer) / divisor``: soft voting, bagging, the mean of calibrated classifiers.

    Answers are probabilities, or predictions where `rule` is None; they are added in the order of the members.
    """

    members: tuple[Member, ...]
    weights: tuple[float, ...] | None
    divisor: float
    outputs: int
    rule: LabelRule | None


@dataclass(frozen=True, eq=False)
class HardVote:
    """The class with the largest sum of weights of the members that answer it; the first of equals."""

    members: tuple[Member, ...]
    weights: tuple[float, ...] | None
    outputs: int


@dataclass(frozen=True, eq=False)
class TreeVotes:
    """AdaBoost over trees: rows of votes added and divided as in `forest`.

    Two classes: the score is the second column minus the first, class 1 where it is > 0. More: argmax of the columns.
    Probabilities are the soft-max of [-s, s] / 2, or of the columns / (K - 1).
    """

    forest: Forest
    rule: LabelRule


@dataclass(frozen=True, eq=False)
class Isolation:
    """An isolation forest: path lengths added over the trees; an inlier, class 1, where they reach `cut`.

    The decision function is ``-(2 ** -(paths / scale)) - offset``.

    Attributes:
        forest: each leaf holds the length of the path to it.
        scale: number of trees times the expected length of a path.
        offset: what the original subtracts from its score.
        cut: length at which the decision function is 0.
        band: sums further from `cut` have the label of the original, whatever its logarithm and its power round to.
    """

    forest: Forest
    scale: float
    offset: float
    cut: float
    band: float


Start: TypeAlias = Literal[
    "value",  # a regressor's prediction
    "log_odds",  # log(p / (1 - p)) of the second class
    "half_log_odds",  # half of it
    "log",  # log(p) of each class
    "centred_log",  # log(p) of each class, less their mean
]


@dataclass(frozen=True, eq=False)
class Continued:
    """Boosting that goes on from another model: ``raw = start(init(float32(x))) + Σ trees``, in source order.

    Attributes:
        init: gives the values or the exact probabilities at which the sums start.
        start: how they become raw scores.
        eps: probabilities are clipped to [eps, 1 - eps] first.
        stages: the trees and the decision; its baseline is not used.
    """

    init: Predictor
    start: Start
    eps: float
    stages: Boosted


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Platt scaling: ``p_k = 1 / (1 + exp(slope_k * response_k + offset_k))``, [1 - p, p] or divided by the sum.

    With `curves`, isotonic: p_k is the curve at response_k.
    With `temperature`, the soft-max of temperature times the logits: [-s, s] of one score, several scores as they
    are, or the logarithm of each probability plus 1e-12.

    `places` says to which class each calibrator belongs; a sum of 0 gives 1/K.
    """

    member: Member
    response: Response
    slopes: tuple[float, ...]
    offsets: tuple[float, ...]
    places: tuple[int, ...]
    outputs: int
    curves: tuple[Curve, ...] = ()
    temperature: float | None = None


@dataclass(frozen=True, eq=False)
class Thresholded:
    """Two classes: `positive` where the member's response for that class is at least `cut`."""

    member: Member
    response: Response
    cut: float
    positive: int


@dataclass(frozen=True, eq=False)
class OneVsRest:
    """The class whose binary member responds most; `last` says which of equals.

    Probabilities, where all members have them, are the members' divided by their sum unless that is 0.
    Of two classes there is one member, and `cut`: the second class where the member's response is above it.
    """

    members: tuple[Member, ...]
    responses: tuple[Response, ...]
    last: bool
    has_probabilities: bool
    cut: float | None = None


@dataclass(frozen=True, eq=False)
class OneVsOne:
    """A binary member for each pair of classes, (0, 1), (0, 2) … (1, 2) …

    The score of a class is the number of members that answer it, plus ``s / (3 * (|s| + 1))`` where s adds up what
    the members respond for it and against it, in their order. The class is the first with the largest score; of two
    classes, the second where its score is above `cut`.
    """

    members: tuple[Member, ...]
    responses: tuple[Response, ...]
    outputs: int
    cut: float


@dataclass(frozen=True, eq=False)
class Stacked:
    """The members' answers side by side, then the input where `passthrough`, through `final`.

    A member of two classes that answers probabilities gives the second column only. Where `labels` has a table for a
    member, it answers the entry of its class.
    """

    members: tuple[Member, ...]
    responses: tuple[Response, ...]
    drop_first: bool
    passthrough: bool
    final: Predictor
    labels: tuple[tuple[float, ...] | None, ...] = ()


Composition: TypeAlias = Union[  # noqa: UP007
    Averaged,
    HardVote,
    TreeVotes,
    Votes,
    Median,
    Calibrated,
    Thresholded,
    OneVsRest,
    OneVsOne,
    Stacked,
    Continued,
    Transformed,
]
Single: TypeAlias = Union[  # noqa: UP007
    Forest,
    Boosted,
    Linear,
    Network,
    Isolation,
    SupportVectors,
    Neighbours,
    Likelihood,
    Constant,
    Interpolated,
]
Predictor: TypeAlias = Union[Single, Chain, Composition]  # noqa: UP007


@dataclass(frozen=True)
class InputFacts:
    """What the original admits as a row."""

    dtype: Literal["float64", "float32"]
    """Dtype that rows are converted to before anything compares."""
    allow_nan: bool
    allow_infinite: bool
    max_abs: float | None
    """Bound on |x| past which the original raises, or None."""


@dataclass(frozen=True, eq=False)
class TypedModel:
    """A fitted model, read from the inert graph and checked.

    Attributes:
        task: classifier, regressor or outlier detector.
        classes: labels in the order of their class index, or None.
        n_features: columns of the input.
        feature_names: as the original recorded them, or None.
        facts: which rows the original admits.
        writer: library versions that wrote the model.
        family: class names along the model, outermost first.
        ceiling: the best tier that its decision arithmetic allows.
        reason: one sentence saying why `ceiling` is what it is.
        root: what it computes.
    """

    task: Task
    classes: tuple[ClassLabel, ...] | None
    n_features: int
    feature_names: tuple[str, ...] | None
    facts: InputFacts
    writer: Mapping[str, str]
    family: str
    ceiling: Ceiling
    reason: str
    root: Predictor

    def split_thresholds(self) -> dict[int, FloatArray]:
        """Distinct finite thresholds per column, in the space in which the trees compare (after all transforms)."""
        found: dict[int, set[float]] = {}
        for predictor in walk_predictors(self.root):
            if isinstance(predictor, Forest | Boosted):
                for tree in predictor.trees:
                    inner = ~tree.is_leaf & np.isfinite(tree.threshold)
                    for column, cut in zip(tree.feature[inner], tree.threshold[inner], strict=True):
                        found.setdefault(int(column), set()).add(float(cut))
        return {column: np.array(sorted(cuts)) for column, cuts in sorted(found.items())}


def walk_predictors(root: Predictor) -> Iterator[Predictor]:
    """`root` and every predictor inside it, outermost first."""
    yield root
    match root:
        case Chain() | Transformed():
            yield from walk_predictors(root.predictor)
        case TreeVotes() | Isolation():
            yield root.forest
        case Continued():
            yield from walk_predictors(root.init)
            yield root.stages
        case Calibrated() | Thresholded():
            yield from walk_predictors(root.member.predictor)
        case Median(answers=Forest() as forest):
            yield forest
        case Median(answers=tuple() as members):
            for member in members:
                yield from walk_predictors(member.predictor)
        case Averaged() | HardVote() | Votes() | OneVsRest() | OneVsOne() | Stacked():
            for member in root.members:
                yield from walk_predictors(member.predictor)
            if isinstance(root, Stacked):
                yield from walk_predictors(root.final)
        case _:
            return
