# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501  (an entry of a table reads best on its line)
"""Preprocessing, linear models, networks and pipelines whose parts do not fit each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import kit
from .kit import Effect, Entry, dumped, package, reconstructed
from .structures import spoiled

__all__ = ["entries"]


def entries() -> list[Entry]:
    """Every entry of this class."""
    from sklearn.isotonic import IsotonicRegression
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        KBinsDiscretizer,
        OneHotEncoder,
        OrdinalEncoder,
        RobustScaler,
        SplineTransformer,
        StandardScaler,
    )

    def scaler(make: Callable[[], Any], attribute: str, change: Callable[[Any], Any]) -> Callable[[], Any]:
        def build() -> Any:
            step = kit.fitted(make())
            step.__dict__[attribute] = change(step.__dict__[attribute])
            return make_pipeline(step, kit.fitted(LogisticRegression()))

        return build

    def logistic(**changes: Any) -> Callable[[], Any]:
        return lambda: make_pipeline(
            kit.fitted(StandardScaler()), kit.fitted(LogisticRegression(), **changes)
        )

    def model(make: Callable[[], Any], attribute: str, change: Callable[[Any], Any]) -> Callable[[], Any]:
        def build() -> Any:
            estimator = kit.fitted(make())
            estimator.__dict__[attribute] = change(estimator.__dict__[attribute])
            return estimator

        return build

    def steps_of(change: Callable[[Any], Any]) -> Callable[[], Any]:
        def build() -> Any:
            pipe = make_pipeline(kit.fitted(StandardScaler()), kit.fitted(LogisticRegression()))
            pipe.steps = change(pipe)
            return pipe

        return build

    def isotonic() -> Any:
        X, y = kit.rows()
        regression = IsotonicRegression().fit(X[:, 0], y)
        regression.X_thresholds_ = regression.X_thresholds_[:1]
        return regression

    def spline() -> Any:
        step = kit.fitted(SplineTransformer())
        step.bsplines_[0].__dict__["t"] = step.bsplines_[0].t[:2]
        return make_pipeline(step, kit.fitted(LogisticRegression()))

    s = spoiled
    lies: Effect = "lies"
    return [
        s("scaler-short", "a scaler of fewer columns than the model",
          scaler(StandardScaler, "mean_", lambda a: a[:2]), lies),
        s("scaler-long", "a scaler of more columns than the model",
          scaler(StandardScaler, "scale_", lambda a: np.ones(9)), lies),
        s("scaler-zero", "a scale of zero", scaler(StandardScaler, "scale_", lambda a: a * 0), lies),
        s("scaler-nan", "a mean that is not a number",
          scaler(StandardScaler, "mean_", lambda a: a * np.nan), lies),
        s("scaler-objects", "a mean of words",
          scaler(StandardScaler, "mean_", lambda a: np.array(["x"] * 4, object)), lies),
        s("scaler-matrix", "a mean of two axes, which broadcasts",
          scaler(StandardScaler, "mean_", lambda a: a[:, None] * np.ones((4, 4))), lies),
        s("scaler-features", "a scaler that states another number of features",
          scaler(RobustScaler, "n_features_in_", lambda a: 7), lies),
        s("encoder-categories", "an encoder with fewer lists of categories than columns",
          scaler(OneHotEncoder, "categories_", lambda a: a[:1]), lies),
        s("encoder-descending", "an ordinal encoder whose categories descend, which are searched by halves",
          scaler(OrdinalEncoder, "categories_", lambda a: [c[::-1].copy() for c in a]), lies),
        s("bins-edges", "bins whose edges descend",
          scaler(lambda: KBinsDiscretizer(3, encode="ordinal"), "bin_edges_",
                 lambda a: np.array([e[::-1] for e in a] + [None], object)[:-1]), lies),
        s("linear-coefficients", "coefficients for fewer columns", logistic(coef_=np.ones((3, 2))), lies),
        s("linear-classes", "fewer rows of coefficients than classes", logistic(coef_=np.ones((2, 4))), lies),
        s("linear-intercepts", "fewer intercepts than classes", logistic(intercept_=np.ones(2)), lies),
        s("linear-nan", "coefficients that are not numbers", logistic(coef_=np.full((3, 4), np.nan)), lies),
        s("linear-duplicate-classes", "one class twice", logistic(classes_=np.array([0, 0, 1])), lies),
        s("network-shapes", "layers of a network that do not fit",
          model(lambda: MLPClassifier((5,), max_iter=5), "coefs_", lambda a: [a[0][:, :2], a[1]]), lies),
        s("bayes-variance", "a variance of zero", model(GaussianNB, "var_", lambda a: a * 0), lies),
        s("isotonic-short", "fewer thresholds than values", isotonic, lies),
        s("spline-knots", "a spline with too few knots", spline),
        s("steps-empty", "a pipeline without steps", steps_of(lambda p: []), lies),
        s("steps-text", "a step that is text", steps_of(lambda p: [("a", "passthrough"), ("b", "drop")]), lies),
        s("steps-itself", "a pipeline that is its own step", steps_of(lambda p: [("a", p)]), "lies"),
        s("steps-none", "a last step that is None", steps_of(lambda p: [("a", None)]), lies),
        Entry("steps-state", "a pipeline whose state is a list of pairs",
              lambda m: dumped(package(pipeline=reconstructed(type(kit.pipeline()), [("steps", [])]))), "DP4", "none"),
        Entry("steps-not-a-model", "the model is a list", lambda m: dumped(package(pipeline=[1, 2])), "DP", "lies",
              refused_by="model"),
        Entry("steps-class", "the model is a class, not an instance",
              lambda m: dumped(package(pipeline=type(kit.pipeline()))), "DP4", "lies"),
    ]  # fmt: skip
