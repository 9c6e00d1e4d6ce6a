# SPDX-License-Identifier: Apache-2.0
"""From an estimator of the inert graph to the expressions of all its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...pickles.graph import Record
from ..walk import Expected
from .centroids import expect_nearest_centroid
from .compositions import (
    FROZEN,
    SEARCHES,
    SELF_TRAINING,
    expect_bagging,
    expect_delegate,
    expect_stacking,
    expect_voting,
    frozen_transformer,
)
from .decisions import expect_calibrated, expect_one_vs_rest, expect_threshold
from .dense import NETWORKS, PROJECTIONS, expect_linear_anywhere, expect_network
from .derivation import Derivation, Family, NotDerivedError, width_of
from .dummies import expect_dummy_classifier, expect_dummy_regressor
from .embeddings import EMBEDDINGS
from .encoders import ENCODERS
from .forests import expect_forest, expect_tree
from .gradient_boosting import expect_gradient_boosting
from .hist_boosting import expect_hist_boosting
from .inexact import error_of
from .isolation import expect_isolation_forest
from .isotonic import expect_isotonic
from .lightgbm import expect_lightgbm
from .likelihoods import LIKELIHOODS
from .linear import LINEAR_CLASSIFIERS, LINEAR_REGRESSORS, LOGISTIC
from .neighbours import NEIGHBOURS, expect_neighbours
from .pairs import expect_one_vs_one
from .powers import POWERS
from .preprocessing import SCALERS
from .reading import Labels, Writer
from .selectors import SELECTORS
from .support_vectors import DETECTORS, PAIRS, VECTOR_REGRESSORS, expect_support_vectors
from .targets import GENERALIZED, expect_generalized, expect_transformed_target
from .unions import UNIONS
from .vocabulary import ROWS, Answer, apply, constant, squeeze
from .weight_boosting import expect_adaboost, expect_weighted_median
from .wrapped_linear import (
    PARTIAL_LEAST_SQUARES,
    expect_one_class_sgd,
    expect_partial_least_squares,
    expect_ransac,
)
from .xgboost import expect_xgboost

__all__ = ["ExpectedModel", "expect_model"]


@dataclass(frozen=True, eq=False)
class ExpectedModel:
    """What the file must hold: the width of its input and the expression of each output, by its role."""

    columns: int
    outputs: dict[str, Expected]


def expect_model(estimator: Record, writer: Writer) -> ExpectedModel | None:
    """What the source calls for, or None where no derivation exists for one of its classes.

    Raises:
        ParityError: DP710 where a fitted attribute is not what its class documents.
    """
    try:
        derive = Derivation(writer, _guarded(FAMILIES), TRANSFORMERS, sparse_readers=_SPARSE_READERS)
        answer = derive.answer(estimator, ROWS)
    except NotDerivedError:
        return None
    label = None
    if answer.index is not None and answer.labels is not None:
        label = _label(answer.index, answer.labels)
    outputs = {
        "class_index": answer.index,
        "probabilities": answer.probabilities,
        "scores": answer.scores,
        "margin": answer.margin,
        "bound": _distance(answer) if answer.index is None else answer.bound,
        "label": label,
    }
    known = {name: value for name, value in outputs.items() if value is not None}
    return ExpectedModel(width_of(estimator), known)


TRANSFORMERS = (
    SCALERS | SELECTORS | UNIONS | ENCODERS | EMBEDDINGS | PROJECTIONS | POWERS | {FROZEN: frozen_transformer}
)


def _guarded(families: Mapping[str, Family]) -> dict[str, Family]:
    """Only families that bound their answers may see columns that are not exact."""

    def exact_only(family: Family) -> Family:
        def answer(owner: Record, rows: Expected, derive: Derivation) -> Answer:
            if error_of(rows) is not None:
                raise NotDerivedError("decisions on values that are not exact")
            return family(owner, rows, derive)

        return answer

    bounded = (
        expect_linear_anywhere,
        expect_network,
        expect_delegate,
        expect_generalized,
        expect_one_class_sgd,
        expect_partial_least_squares,
        expect_ransac,
        expect_transformed_target,
        expect_support_vectors,
        expect_forest,
        expect_tree,
        expect_isolation_forest,
        expect_gradient_boosting,
        expect_hist_boosting,
        expect_lightgbm,
        expect_xgboost,
        expect_adaboost,
        expect_voting,
        expect_bagging,
        expect_stacking,
        expect_calibrated,
        expect_one_vs_rest,
        expect_one_vs_one,
        expect_threshold,
    )
    return {name: family if family in bounded else exact_only(family) for name, family in families.items()}


def _distance(answer: Answer) -> Expected | None:
    """How far a regressor's number may be from the original's, where that depends on the row."""
    return squeeze(answer.score_error) if isinstance(answer.score_error, Expected) else None


def _label(index: Expected, classes: Labels) -> Expected:
    kind = {str: np.str_, float: np.float64}.get(type(classes[0]), np.int64)
    return apply("Gather", constant(classes, kind), index, axis=0)


FAMILIES: dict[str, Family] = {
    **dict.fromkeys(LOGISTIC | LINEAR_CLASSIFIERS | LINEAR_REGRESSORS, expect_linear_anywhere),
    **dict.fromkeys(NETWORKS, expect_network),
    **dict.fromkeys(PAIRS | VECTOR_REGRESSORS | DETECTORS, expect_support_vectors),
    **dict.fromkeys(NEIGHBOURS, expect_neighbours),
    **{
        f"sklearn.tree._classes.{kind}Tree{task}": expect_tree
        for kind in ("Decision", "Extra")
        for task in ("Classifier", "Regressor")
    },
    **{
        f"sklearn.ensemble._forest.{kind}{task}": expect_forest
        for kind in ("RandomForest", "ExtraTrees")
        for task in ("Classifier", "Regressor")
    },
    **{
        f"sklearn.ensemble._gb.GradientBoosting{task}": expect_gradient_boosting
        for task in ("Classifier", "Regressor")
    },
    **{
        f"sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoosting{task}": (
            expect_hist_boosting
        )
        for task in ("Classifier", "Regressor")
    },
    **{f"lightgbm.sklearn.LGBM{task}": expect_lightgbm for task in ("Classifier", "Regressor")},
    "lightgbm.basic.Booster": expect_lightgbm,
    "xgboost.core.Booster": expect_xgboost,
    **{
        f"xgboost.sklearn.{kind}{task}": expect_xgboost
        for kind in ("XGB", "XGBRF")
        for task in ("Classifier", "Regressor")
    },
    **dict.fromkeys(SEARCHES | {FROZEN, SELF_TRAINING}, expect_delegate),
    **{
        f"sklearn.ensemble._{module}.{name}{task}": family
        for module, name, family in (
            ("voting", "Voting", expect_voting),
            ("bagging", "Bagging", expect_bagging),
            ("stacking", "Stacking", expect_stacking),
        )
        for task in ("Classifier", "Regressor")
    },
    **LIKELIHOODS,
    **dict.fromkeys(GENERALIZED, expect_generalized),
    **dict.fromkeys(PARTIAL_LEAST_SQUARES, expect_partial_least_squares),
    "sklearn.compose._target.TransformedTargetRegressor": expect_transformed_target,
    "sklearn.dummy.DummyClassifier": expect_dummy_classifier,
    "sklearn.dummy.DummyRegressor": expect_dummy_regressor,
    "sklearn.isotonic.IsotonicRegression": expect_isotonic,
    "sklearn.linear_model._ransac.RANSACRegressor": expect_ransac,
    "sklearn.linear_model._stochastic_gradient.SGDOneClassSVM": expect_one_class_sgd,
    "sklearn.neighbors._nearest_centroid.NearestCentroid": expect_nearest_centroid,
    "sklearn.ensemble._iforest.IsolationForest": expect_isolation_forest,
    "sklearn.ensemble._weight_boosting.AdaBoostClassifier": expect_adaboost,
    "sklearn.ensemble._weight_boosting.AdaBoostRegressor": expect_weighted_median,
    "sklearn.calibration.CalibratedClassifierCV": expect_calibrated,
    "sklearn.multiclass.OneVsRestClassifier": expect_one_vs_rest,
    "sklearn.multiclass.OneVsOneClassifier": expect_one_vs_one,
    "sklearn.model_selection._classification_threshold.FixedThresholdClassifier": expect_threshold,
    "sklearn.model_selection._classification_threshold.TunedThresholdClassifierCV": expect_threshold,
}

_SPARSE_READERS = frozenset(
    name
    for name, family in FAMILIES.items()
    if family in (expect_linear_anywhere, expect_network, expect_tree, expect_forest)
)
"""Sums in any order are bounded, and trees compare; XGBoost, for one, takes what is left out for missing."""
