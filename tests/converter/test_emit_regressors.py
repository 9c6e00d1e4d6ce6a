# SPDX-License-Identifier: Apache-2.0
"""Regressors that are dot products, functions of one, curves or constants: every number lies within its own bound."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import CCA, PLSCanonical, PLSRegression
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestRegressor, VotingRegressor
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import (
    ARDRegression,
    GammaRegressor,
    Lars,
    LarsCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    MultiTaskLasso,
    OrthogonalMatchingPursuit,
    OrthogonalMatchingPursuitCV,
    PassiveAggressiveRegressor,
    PoissonRegressor,
    QuantileRegressor,
    RANSACRegressor,
    Ridge,
    SGDRegressor,
    TheilSenRegressor,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from depickle.errors import UnsupportedModelError
from depickle.models import read_model
from depickle.pickles import open_package, vet

from .emit_checks import convert, make_data, random_rows, read, ulps

Rows = npt.NDArray[np.float64]

PLAIN: dict[str, Callable[[], Any]] = {
    "ARD": ARDRegression,
    "Lars": Lars,
    "LarsCV": LarsCV,
    "LassoLars": lambda: LassoLars(0.01),
    "LassoLarsCV": LassoLarsCV,
    "LassoLarsIC": LassoLarsIC,
    "matching pursuit": lambda: OrthogonalMatchingPursuit(n_nonzero_coefs=3),
    "matching pursuit CV": OrthogonalMatchingPursuitCV,
    "passive aggressive": lambda: PassiveAggressiveRegressor(random_state=0),
    "quantile": lambda: QuantileRegressor(alpha=0.01),
    "Theil-Sen": lambda: TheilSenRegressor(max_subpopulation=100, random_state=0),
    "RANSAC": lambda: RANSACRegressor(random_state=0),
    "PLS": lambda: PLSRegression(2),
    "canonical PLS": lambda: PLSCanonical(1),
    "CCA": lambda: CCA(1),
    "SGD": lambda: SGDRegressor(random_state=0),
    "averaged SGD": lambda: SGDRegressor(average=True, random_state=0),
    "no function": lambda: TransformedTargetRegressor(Ridge()),
    "scaled target": lambda: TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
    "Tweedie, identity": lambda: TweedieRegressor(power=0),
    "scaled PLS": lambda: make_pipeline(StandardScaler(), PLSRegression(2)),
}
POSITIVE: dict[str, Callable[[], Any]] = {
    "Poisson": PoissonRegressor,
    "gamma": GammaRegressor,
    "Tweedie": lambda: TweedieRegressor(power=1.5),
    "Tweedie, log": lambda: TweedieRegressor(power=0, link="log"),
    "log1p": lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    "log": lambda: TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp),
    "sqrt": lambda: TransformedTargetRegressor(Ridge(), func=np.sqrt, inverse_func=np.square),
    "log of a forest": lambda: TransformedTargetRegressor(
        RandomForestRegressor(5, random_state=0), func=np.log, inverse_func=np.exp
    ),
    "vote of a log link": lambda: VotingRegressor([("a", PoissonRegressor()), ("b", Ridge())]),
    "consensus of a log link": lambda: RANSACRegressor(PoissonRegressor(), min_samples=20, random_state=0),
}


def _data() -> tuple[Rows, Rows]:
    X, y = make_data(())
    return StandardScaler().fit_transform(X) * 2.0 + 1.0, y


def _numbers(live: Any, rows: Rows) -> Rows:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(live.predict(rows), dtype=np.float64).reshape(-1)


@pytest.mark.parametrize("case", [*PLAIN, *POSITIVE])
def test_numbers_lie_within_their_bound(case: str) -> None:
    X, y = _data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations, and fits that did not converge
        live = {**PLAIN, **POSITIVE}[case]()
        live.fit(X, np.exp(y / 3.0) if case in POSITIVE else y)
    converted = convert(live)
    assert converted.typed.ceiling == "certified"
    around = np.vstack([X, random_rows(X, 3000)])
    far = np.vstack([random_rows(X, 300) * 1e3, random_rows(X, 300) * 1e9, random_rows(X, 100) * 1e20])
    rows = np.vstack([around, far])
    answers = converted.answers(rows)
    numbers, bound = answers["scores"][:, 0], answers["bound"]
    expected = _numbers(live, rows)
    bounded = np.isfinite(bound)
    assert (np.abs(expected[bounded] - numbers[bounded]) <= bound[bounded]).all()
    assert ulps(expected[~bounded], numbers[~bounded]) <= 4
    for place in range(0, len(rows), 50):
        alone = _numbers(live, rows[place : place + 1])[0]
        assert not bounded[place] or abs(alone - numbers[place]) <= bound[place]
    ordinary = slice(0, len(X))
    assert bounded[ordinary].all()
    assert np.median(bound[ordinary] / np.abs(expected[ordinary])) < 1e-12


@pytest.mark.parametrize("live", [MultiTaskLasso(0.01), LinearRegression(), PLSRegression(2)])
def test_one_target_in_two_dimensions(live: Any) -> None:
    X, y = _data()
    converted = convert(live.fit(X, y[:, np.newaxis]))
    answers = converted.answers(X)
    assert (np.abs(_numbers(live, X) - answers["scores"][:, 0]) <= answers["bound"]).all()


@pytest.mark.parametrize(
    "live",
    [
        TransformedTargetRegressor(RandomForestRegressor(5, random_state=0), transformer=StandardScaler()),
        TransformedTargetRegressor(
            RandomForestRegressor(5, random_state=0), func=np.sqrt, inverse_func=np.square
        ),
        DummyRegressor(),
        DummyRegressor(strategy="quantile", quantile=0.3),
        DummyRegressor(strategy="constant", constant=3),
    ],
    ids=["scaled forest", "forest squared", "mean", "quantile", "constant"],
)
def test_exact_numbers_stay_bit_equal(live: Any) -> None:
    X, y = _data()
    converted = convert(live.fit(X, np.abs(y)))
    rows = np.vstack([X, random_rows(X)])
    assert converted.typed.ceiling == "proven"
    assert ulps(_numbers(live, rows), converted.answers(rows)["scores"][:, 0]) == 0


@pytest.mark.parametrize("strategy", ["most_frequent", "prior", "constant"])
def test_a_dummy_answers_any_row(strategy: str) -> None:
    X, y = make_data(("a", "b", "c"))
    live = DummyClassifier(strategy=strategy, constant="c" if strategy == "constant" else None).fit(X, y)
    converted = convert(live)
    rows = np.vstack([X[:5], np.full((1, 6), np.nan), np.full((1, 6), np.inf)])
    answers = converted.answers(rows)
    assert converted.typed.ceiling == "proven"
    assert answers["label"].tolist() == live.predict(rows).tolist()
    assert (answers["probabilities"] == live.predict_proba(rows)).all()


@pytest.mark.parametrize("increasing", [True, False])
def test_a_curve_of_one_column(increasing: bool) -> None:
    generator = np.random.default_rng(1)
    x = np.sort(generator.normal(size=(200, 1)), axis=0)
    y = x[:, 0] * (30.0 if increasing else -30.0) + generator.normal(size=200) * 9.0
    live = IsotonicRegression(out_of_bounds="clip", increasing=increasing).fit(x, y)
    rows = np.vstack(
        [x, np.nextafter(x, 9.0), generator.normal(size=(3000, 1)) * 2.0, [[1e100], [-1e300], [-0.0]]]
    )
    answers = convert(live).answers(rows)
    assert (np.abs(_numbers(live, rows) - answers["scores"][:, 0]) <= answers["bound"]).all()
    assert answers["bound"].max() < 1e-11


def test_sums_that_would_overflow_are_out_of_contract() -> None:
    X, y = make_data(())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        live = SGDRegressor(random_state=0, max_iter=50).fit(X, y)  # it diverges on columns of such scales
    converted = convert(live)
    limit = converted.typed.facts.max_abs
    assert limit is not None
    assert np.abs(live.coef_).sum() > 1e6
    rows = np.random.default_rng(2).choice([-limit, limit, 1.0], size=(200, 6))
    answers = converted.answers(rows)
    assert np.isfinite(answers["bound"]).all()
    assert (np.abs(_numbers(live, rows) - answers["scores"][:, 0]) <= answers["bound"]).all()


REFUSALS: dict[str, Callable[[], Any]] = {
    "a curve that is not clipped": lambda: IsotonicRegression().fit([[1.0], [2.0]], [1.0, 2.0]),
    "a curve of one point": lambda: IsotonicRegression(out_of_bounds="clip").fit([[1.0], [1.0]], [1.0, 2.0]),
    "draws by chance": lambda: DummyClassifier(strategy="stratified").fit([[0.0], [1.0]], [0, 1]),
    "no width": lambda: _of_unknown_width(),
    "uniform chance": lambda: DummyClassifier(strategy="uniform").fit([[0.0], [1.0]], [0, 1]),
    "functions that are not known": lambda: TransformedTargetRegressor(
        Ridge(), func=np.exp, inverse_func=np.log, check_inverse=False
    ).fit(*_data()),
    "another scaler of targets": lambda: TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler()).fit(
        *_data()
    ),
    "infinite numbers inside": lambda: TransformedTargetRegressor(
        PoissonRegressor(), func=np.sqrt, inverse_func=np.square
    ).fit(_data()[0], np.exp(_data()[1] / 3.0)),
}


def _of_unknown_width() -> Any:
    live = DummyRegressor().fit(*_data())
    del live.n_features_in_  # as before scikit-learn 1.5
    return live


@pytest.mark.parametrize("case", REFUSALS)
def test_what_has_no_bound_is_refused(case: str) -> None:
    with pytest.raises(UnsupportedModelError) as refusal:
        read(REFUSALS[case]())
    assert refusal.value.code == "DP603"
    assert refusal.value.found


HOSTILE: dict[str, Callable[[], Any]] = {
    "_x_mean coef_ intercept_ n_features_in_": lambda: PLSRegression(1).fit(*_data()),
    "regressor_ transformer_ _training_dim": lambda: TransformedTargetRegressor(Ridge()).fit(*_data()),
    "_base_loss coef_": lambda: PoissonRegressor().fit(_data()[0], np.exp(_data()[1])),
    "estimator_": lambda: RANSACRegressor(random_state=0).fit(*_data()),
    "X_thresholds_ y_thresholds_ X_min_ X_max_": lambda: IsotonicRegression(out_of_bounds="clip").fit(
        [[1.0], [2.0], [3.0]], [1.0, 2.0, 4.0]
    ),
    "constant_": lambda: DummyRegressor().fit(*_data()),
    "class_prior_ classes_ _strategy": lambda: DummyClassifier().fit(_data()[0], _data()[1] > 0),
}


@pytest.mark.parametrize("names", HOSTILE)
def test_state_of_another_shape_is_refused_and_nothing_foreign_escapes(names: str) -> None:
    vetted = vet(pickle.dumps(HOSTILE[names]()))
    for name in names.split():
        for value in ("x", float("nan"), b"", -7, [], {}):
            estimator = open_package(vetted).estimator
            estimator.state.items[name] = value  # type: ignore[union-attr]  # the state of an object is a dictionary
            if (name, value) == ("intercept_", -7):
                continue  # a number is a valid intercept
            with pytest.raises(UnsupportedModelError):
                read_model(estimator, writer=dict(vetted.writer))
