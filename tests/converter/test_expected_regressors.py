# SPDX-License-Identifier: Apache-2.0
"""Linear regressors, log links, transformed targets, curves and dummies are walked, and stay within their bounds."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.base
from sklearn._loss.link import IdentityLink
from sklearn._loss.loss import AbsoluteError
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import CCA, PLSCanonical, PLSRegression
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    GradientBoostingRegressor,
    RandomForestRegressor,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import (
    ARDRegression,
    GammaRegressor,
    Lars,
    LarsCV,
    Lasso,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LogisticRegression,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    OrthogonalMatchingPursuit,
    OrthogonalMatchingPursuitCV,
    PassiveAggressiveRegressor,
    PoissonRegressor,
    QuantileRegressor,
    RANSACRegressor,
    Ridge,
    SGDOneClassSVM,
    TheilSenRegressor,
    TweedieRegressor,
)
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBRegressor

from depickle.errors import ParityError
from depickle.parity.expected import ExpectedModel, expect_model
from depickle.pickles import open_package, vet

from .emit_checks import make_data
from .proof_kit import Rows, answers, subject_of

ROWS, SIGNAL = (np.asarray(part) for part in make_data((), rows=250))
ABOVE_ZERO = np.exp(SIGNAL / 4)
RELEASES = ("1.2.2", "1.3.2", "1.4.2", "1.5.2", "1.6.1", "1.7.2", "1.8.0")

LINEAR: dict[str, Callable[[], Any]] = {
    "ARD": ARDRegression,
    "Lars": Lars,
    "LarsCV": LarsCV,
    "LassoLars": lambda: LassoLars(alpha=0.01),
    "LassoLarsCV": LassoLarsCV,
    "LassoLarsIC": LassoLarsIC,
    "OMP": OrthogonalMatchingPursuit,
    "OMP CV": OrthogonalMatchingPursuitCV,
    "passive aggressive": PassiveAggressiveRegressor,
    "quantile": lambda: QuantileRegressor(alpha=0.01),
    "quantile without intercept": lambda: QuantileRegressor(alpha=0.01, fit_intercept=False),
    "Theil-Sen": lambda: TheilSenRegressor(random_state=0, max_subpopulation=100),
    "RANSAC": lambda: RANSACRegressor(random_state=0),
    "PLS": lambda: PLSRegression(2),
    "PLS, not scaled": lambda: PLSRegression(2, scale=False),
    "canonical": lambda: PLSCanonical(1),
    "CCA": lambda: CCA(1),
    "one-class descent": lambda: SGDOneClassSVM(random_state=0),
    "Tweedie of power 0": lambda: TweedieRegressor(power=0),
}
TASKS: dict[str, Callable[[], Any]] = {
    "Lasso": lambda: MultiTaskLasso(0.01),
    "LassoCV": MultiTaskLassoCV,
    "ElasticNet": lambda: MultiTaskElasticNet(0.01),
    "ElasticNetCV": MultiTaskElasticNetCV,
}
LINKS: dict[str, Callable[[], Any]] = {
    "poisson": PoissonRegressor,
    "poisson without intercept": lambda: PoissonRegressor(fit_intercept=False, solver="newton-cholesky"),
    "gamma": GammaRegressor,
    "tweedie": lambda: TweedieRegressor(power=1.5),
    "tweedie, log of power 0": lambda: TweedieRegressor(power=0, link="log"),
}
TARGETS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "log1p": {"func": np.log1p, "inverse_func": np.expm1},
    "log": {"func": np.log, "inverse_func": np.exp},
    "sqrt": {"func": np.sqrt, "inverse_func": np.square},
    "scaled": {"transformer": StandardScaler()},
    "spread": {"transformer": StandardScaler(with_mean=False)},
    "centred": {"transformer": StandardScaler(with_std=False)},
    "a scaler of nothing": {"transformer": StandardScaler(with_mean=False, with_std=False)},
    "a function that is not inverted": {
        "transformer": FunctionTransformer(np.log1p),
        "check_inverse": False,
    },
}
INNER: dict[str, Callable[[], Any]] = {
    "linear": Ridge,
    "behind a projection": lambda: make_pipeline(StandardScaler(), PCA(3), Ridge()),
    "tree": lambda: DecisionTreeRegressor(max_depth=4),
    "forest": lambda: RandomForestRegressor(4, max_depth=3, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=4),
    "network": lambda: MLPRegressor(hidden_layer_sizes=(4,), max_iter=30, random_state=0),
}


def _fit(live: Any, rows: Rows, target: Rows) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(rows, target)


def _expected(live: Any) -> ExpectedModel | None:
    vetted = vet(pickle.dumps(live, protocol=5))
    return expect_model(open_package(vetted).estimator, vetted.writer)


def _walked(live: Any, rows: Rows = ROWS) -> None:
    """The walk passes, and the original is within the bound of every row, in batches and one row at a time."""
    one = subject_of("regressor", live, rows)
    assert one.prove() is not None
    found = answers(one.emitted.onnx, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = np.array([live.predict(row[None]) for row in rows]).reshape(-1)
        together = np.asarray(live.predict(rows)).reshape(-1)
    if "label" in found:
        certified = found["margin"] > found["bound"]
        assert certified.mean() > 0.99
        assert ((found["label"] == together) & (found["label"] == alone))[certified].all()
        return
    bound = found.get("bound", np.zeros(len(rows)))
    for original in (together, alone):
        assert (np.abs(found["scores"].reshape(-1) - original) <= bound).all()
    assert np.isfinite(bound).all()


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("case", LINEAR)
def test_linear_regressors_are_walked(case: str, projected: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 1.9 deprecates one of them
        live = LINEAR[case]()
    _walked(_fit(make_pipeline(StandardScaler(), PCA(3), live) if projected else live, ROWS, SIGNAL))


@pytest.mark.parametrize("case", TASKS)
def test_tasks_of_one_target_are_walked(case: str) -> None:
    _walked(_fit(TASKS[case](), ROWS, SIGNAL[:, np.newaxis]))


@pytest.mark.parametrize("case", LINKS)
def test_log_links_are_walked_on_exact_columns(case: str) -> None:
    _walked(_fit(make_pipeline(StandardScaler(), LINKS[case]()), ROWS, ABOVE_ZERO))
    behind = make_pipeline(StandardScaler(), PCA(3), LINKS[case]())
    assert _expected(_fit(behind, ROWS, ABOVE_ZERO)) is None


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("case", TARGETS)
def test_transformed_targets_are_walked(case: str, inner: str) -> None:
    options = {name: clone(part) if hasattr(part, "fit") else part for name, part in TARGETS[case].items()}
    _walked(_fit(TransformedTargetRegressor(INNER[inner](), **options), ROWS, ABOVE_ZERO))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("case", ["PLS", "quantile", "one-class descent", "Tweedie of power 0"])
def test_every_release_is_walked(case: str, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = _fit(LINEAR[case](), ROWS, SIGNAL)
    if case == "PLS" and release == "1.2.2":
        live._coef_ = vars(live).pop("coef_")  # a property in that release
    monkeypatch.setattr(sklearn.base, "__version__", release)
    assert subject_of(case, live, ROWS).prove() is not None


def test_columns_are_scaled_where_the_release_scales_them(monkeypatch: pytest.MonkeyPatch) -> None:
    live = _fit(PLSRegression(2), ROWS, SIGNAL)
    now = subject_of("now", live, ROWS)
    monkeypatch.setattr(sklearn.base, "__version__", "1.4.2")
    before = subject_of("before", live, ROWS)
    for one, other in ((now, before), (before, now)):
        with pytest.raises(ParityError):
            one.prove(other.emitted.onnx)


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_curves_are_walked(increasing: bool, scaled: bool) -> None:
    live = IsotonicRegression(out_of_bounds="clip", increasing=increasing)
    rows = np.sort(ROWS[:, :1], axis=0)
    target = SIGNAL * (1.0 if increasing else -1.0)
    _walked(_fit(make_pipeline(StandardScaler(), live) if scaled else live, rows, target), rows)


@pytest.mark.parametrize("strategy", ["mean", "median", "constant", "quantile"])
def test_dummies_are_walked(strategy: str) -> None:
    _walked(_fit(DummyRegressor(strategy=strategy, constant=3, quantile=0.3), ROWS, SIGNAL))
    labels = np.array(["BUY", "SELL"])[(SIGNAL > 0.5).astype(int)]
    if strategy in ("mean", "constant"):
        live = DummyClassifier(strategy="prior" if strategy == "mean" else "constant", constant="SELL")
        one = subject_of("dummy", live.fit(ROWS, labels), ROWS)
        assert one.prove() is not None
        found = answers(one.emitted.onnx, np.full_like(ROWS, np.nan))
        assert (found["label"] == live.predict(ROWS)).all()
        assert (found["probabilities"] == live.predict_proba(ROWS)).all()


def test_compositions_of_them_are_walked() -> None:
    target = TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp)
    members = [("a", target), ("b", PoissonRegressor()), ("c", PLSRegression(2)), ("d", DummyRegressor())]
    rows = StandardScaler().fit_transform(ROWS)
    _walked(_fit(VotingRegressor(members), rows, ABOVE_ZERO), rows)
    _walked(_fit(StackingRegressor(members, Lasso(0.01), cv=2), rows, ABOVE_ZERO), rows)
    votes = VotingClassifier(
        [("a", DummyClassifier()), ("b", DecisionTreeClassifier(max_depth=2))], voting="soft"
    )
    one = subject_of("votes", votes.fit(rows, SIGNAL > 0), rows)
    proved = one.prove()
    assert proved is not None
    assert "margin" not in answers(one.emitted.onnx, rows)  # shares that are exact on both sides


# Attributes that a file may hold ------------------------------------------------------------------------------------


def _set(name: str, value: Any, *inside: str) -> Callable[[Any], None]:
    def change(live: Any) -> None:
        for part in inside:
            live = getattr(live, part)
        setattr(live, name, value(getattr(live, name)) if isinstance(value, FunctionType) else value)

    return change


def _single(value: Any) -> Any:
    return np.asarray(value).astype(np.float32)


def _fitted(case: str) -> Any:
    made: dict[str, Callable[[], Any]] = {
        "quantile": lambda: _fit(LINEAR["quantile"](), ROWS, SIGNAL),
        "PLS": lambda: _fit(PLSRegression(2), ROWS, SIGNAL),
        "one-class descent": lambda: _fit(LINEAR["one-class descent"](), ROWS, SIGNAL),
        "gamma": lambda: _fit(GammaRegressor(), StandardScaler().fit_transform(ROWS), ABOVE_ZERO),
        "target": lambda: _fit(TransformedTargetRegressor(Ridge(), **TARGETS["log"]), ROWS, ABOVE_ZERO),
        "curve": lambda: _fit(IsotonicRegression(out_of_bounds="clip"), np.sort(ROWS[:, :1], axis=0), SIGNAL),
        "dummy": lambda: _fit(DummyRegressor(), ROWS, SIGNAL),
        "dummy labels": lambda: _fit(DummyClassifier(strategy="constant", constant=1), ROWS, SIGNAL > 0),
    }
    return made[case]()


HOSTILE: list[tuple[str, str, Callable[[Any], None]]] = [
    ("quantile", "weights in float32", _set("coef_", _single)),
    ("quantile", "a column of weights", _set("coef_", lambda value: value.reshape(-1, 1))),
    ("quantile", "two targets", _set("coef_", lambda value: np.stack([value, value]))),
    ("quantile", "an intercept in words", _set("intercept_", np.array(["3"]))),
    ("quantile", "a complex intercept", _set("intercept_", np.array([3j]))),
    ("PLS", "weights in float32", _set("coef_", _single)),
    ("PLS", "two targets", _set("coef_", lambda value: np.concatenate([value, value]))),
    ("PLS", "a mean too few", _set("_x_mean", lambda value: value[:-1])),
    ("one-class descent", "weights in float32", _set("coef_", _single)),
    ("gamma", "weights in float32", _set("coef_", _single)),
    ("gamma", "another link than that of its loss", _set("link", IdentityLink(), "_base_loss")),
    ("target", "a target of two dimensions", _set("_training_dim", 2)),
    ("curve", "another lower end", _set("X_min_", 0.0)),
    ("curve", "another upper end", _set("X_max_", 0.0)),
    ("curve", "a value that is infinite", _set("y_thresholds_", lambda value: value + np.inf)),
    ("dummy", "a number that is infinite", _set("constant_", np.array([[np.inf]]))),
    ("dummy", "two numbers", _set("constant_", np.array([[1.0, 2.0]]))),
    ("dummy", "a number that is no double", _set("constant_", np.array([[2**60 + 1]]))),
    ("dummy labels", "a constant that is no class", _set("constant", 7)),
    ("dummy labels", "sparse answers", _set("sparse_output_", True)),
]


@pytest.mark.parametrize(("case", "what", "change"), HOSTILE, ids=[f"{a}: {b}" for a, b, _ in HOSTILE])
def test_attributes_that_the_class_does_not_document_are_refused(
    case: str, what: str, change: Callable[[Any], None]
) -> None:
    live = _fitted(case)
    assert _expected(live) is not None
    change(live)
    with pytest.raises(ParityError) as refusal:
        _expected(live)
    assert refusal.value.code == "DP710", what


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("gamma", _set("_base_loss", AbsoluteError())),
        ("target", _set("inverse_func", np.cbrt, "transformer_")),
        ("target", _set("inv_kw_args", {"where": False}, "transformer_")),
        ("target", _set("regressor_", LogisticRegression().fit(ROWS, SIGNAL > 0))),
        ("target", _set("regressor_", XGBRegressor(n_estimators=2).fit(ROWS, ABOVE_ZERO))),
        ("target", _set("transformer_", PCA(1).fit(SIGNAL[:, np.newaxis]))),
        ("curve", _set("out_of_bounds", "nan")),
        ("curve", _set("X_thresholds_", _single)),
        ("dummy labels", _set("_strategy", "uniform")),
    ],
)
def test_what_has_no_bound_is_not_derived(case: str, change: Callable[[Any], None]) -> None:
    live = _fitted(case)
    change(live)
    assert _expected(live) is None


def test_only_what_predict_reads_is_read() -> None:
    """Parameters of the constructor and the function of the fit may say what they like."""
    live = _fitted("target")
    one = subject_of("target", live, ROWS)
    for change in (_set("inverse_func", np.square), _set("func", np.sqrt), _set("regressor", Lasso())):
        change(live)
    assert one.prove(subject_of("changed", live, ROWS).emitted.onnx) is not None
    live.transformer_.inverse_func = np.expm1
    live.transformer_.func = np.log1p
    with pytest.raises(ParityError):
        one.prove(subject_of("another", live, ROWS).emitted.onnx)


def test_numbers_in_float32_are_added_in_float32() -> None:
    members = [("a", DummyRegressor()), ("b", DummyRegressor())]
    single = _fit(VotingRegressor(members), ROWS, SIGNAL.astype(np.float32))
    assert single.predict(ROWS).dtype == np.float32
    assert _expected(single) is None
    assert _expected(_fit(VotingRegressor(members), ROWS, SIGNAL)) is not None


def test_no_step_of_a_part_overwrites_the_rows_of_others() -> None:
    scaled = make_pipeline(StandardScaler(copy=False), Ridge())
    for part in (RANSACRegressor(scaled, min_samples=50, random_state=0), TransformedTargetRegressor(scaled)):
        assert _expected(_fit(clone(part), ROWS.copy(), SIGNAL)) is not None
        votes = VotingRegressor([("a", clone(part)), ("b", Ridge())])
        assert _expected(_fit(votes, ROWS.copy(), SIGNAL)) is None


# The certificates ---------------------------------------------------------------------------------------------------


def _within(live: Any, rows: Rows, exact: npt.NDArray[np.longdouble]) -> npt.NDArray[np.bool_]:
    """Where a bound is stated; there the two sides are within it of one another and of the exact number."""
    found = answers(subject_of("regressor", live, rows).emitted.onnx, rows)
    bound = found["bound"]
    stated = np.isfinite(bound)
    with np.errstate(all="ignore"):
        original = live.predict(rows)
        assert (np.abs(found["scores"].reshape(-1) - original) <= bound)[stated].all()
        assert (np.abs(found["scores"].reshape(-1) - exact) <= bound)[stated].all()
        assert (np.abs(original - exact) <= bound)[stated].all()
    return stated


@pytest.mark.parametrize("function", ["exp", "expm1", "square", "scaled"])
def test_numbers_of_every_size_stay_within_their_bound(function: str) -> None:
    """Exponents from -800 to 800 made of terms that cancel, so that the exponent itself is off."""
    generator = np.random.default_rng(1)
    far = 10.0 ** generator.uniform(-3, 14, size=(4000, 1)) * np.array([1.0, -1.0])
    rows = far + generator.uniform(-800, 800, size=(4000, 2))
    case = {"exp": "log", "expm1": "log1p", "square": "sqrt", "scaled": "scaled"}[function]
    live = _fit(
        TransformedTargetRegressor(Ridge(fit_intercept=False), **TARGETS[case]), ROWS[:, :2], ABOVE_ZERO
    )
    live.regressor_.coef_ = np.array([1.0, 1.0])
    value = rows.astype(np.longdouble).sum(axis=1)
    with np.errstate(all="ignore"):
        if function == "scaled":
            scaler = live.transformer_
            exact = value * scaler.scale_.astype(np.longdouble) + scaler.mean_.astype(np.longdouble)
        else:
            exact = getattr(np, function)(value)
    stated = _within(live, rows, exact)
    assert 0.3 < stated.mean() <= 1.0
    assert stated.all() == (function in ("square", "scaled"))
    if function in ("exp", "expm1"):
        assert not stated[value > 720].any()  # infinite, or so near that an original could be
        assert stated[(np.abs(value) < 700) & (np.abs(far[:, 0]) < 1e12)].all()


def test_curves_stay_within_their_bound() -> None:
    rows = np.sort(ROWS[:, :1], axis=0)
    live = _fit(IsotonicRegression(out_of_bounds="clip", increasing=False), rows, -SIGNAL * 1e6)
    knots = live.X_thresholds_
    asked = np.concatenate(
        [knots, np.nextafter(knots, 9e9), np.nextafter(knots, -9e9), knots * 1.1, [-1e300, 1e300, 0.0, -0.0]]
    )
    x = np.clip(asked, knots[0], knots[-1]).astype(np.longdouble)
    place = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    values = live.y_thresholds_.astype(np.longdouble)
    run = (x - knots[place]) / (knots[place + 1].astype(np.longdouble) - knots[place])
    exact = values[place] + (values[place + 1] - values[place]) * run
    assert _within(live, asked[:, np.newaxis], exact).all()
