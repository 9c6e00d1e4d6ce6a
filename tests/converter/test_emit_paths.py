# SPDX-License-Identifier: Apache-2.0
"""Trees behind projections, logarithms and other models: certified rows agree, rows on a threshold are open."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from depickle.emit.certain import Rows as GraphRows
from depickle.emit.graph import Graph
from depickle.emit.paths import certain_paths, forest_cuts
from depickle.errors import UnsupportedModelError
from depickle.models.trees import checked_tree
from depickle.models.types import Forest, LabelRule
from examples.bars import load_bars
from examples.trading_features import feature_matrix

from .emit_checks import convert, make_data, random_rows, read

Rows = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def _forest() -> Any:
    return RandomForestClassifier(9, max_depth=6, random_state=0)


def _lgbm(**options: Any) -> Any:
    return LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1, random_state=0, **options)


def _xgb() -> Any:
    return XGBClassifier(n_estimators=8, n_jobs=1, random_state=0)


def _hist() -> Any:
    return HistGradientBoostingClassifier(max_iter=8, random_state=0)


def _projected(last: Any) -> Any:
    return make_pipeline(StandardScaler(), PCA(4), last)


TREES: dict[str, Callable[[], Any]] = {
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "forest": _forest,
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=8, random_state=0),
    "histogram boosting": _hist,
    "adaboost": lambda: AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=2), n_estimators=6, random_state=0
    ),
    "bag of trees": lambda: BaggingClassifier(DecisionTreeClassifier(), 6, random_state=0),
    "lightgbm": _lgbm,
    "lightgbm dart": lambda: _lgbm(boosting_type="dart"),
    "xgboost": _xgb,
}
COMPOSED: dict[str, Callable[[], Any]] = {
    "soft vote": lambda: VotingClassifier([("a", _forest()), ("b", LogisticRegression())], voting="soft"),
    "soft vote of forests": lambda: VotingClassifier([("a", _forest()), ("b", _forest())], voting="soft"),
    "hard vote": lambda: VotingClassifier([("a", _forest()), ("b", _hist()), ("c", LogisticRegression())]),
    "calibrated": lambda: CalibratedClassifierCV(_forest(), cv=2),
    "calibrated scores": lambda: CalibratedClassifierCV(_hist(), cv=2),
    "isotonic": lambda: CalibratedClassifierCV(_forest(), cv=2, method="isotonic"),
    "one against the rest": lambda: OneVsRestClassifier(
        GradientBoostingClassifier(n_estimators=4, random_state=0)
    ),
    "bag on some columns": lambda: BaggingClassifier(
        make_pipeline(StandardScaler(), _forest()), 3, max_features=0.6, random_state=0
    ),
    "stack": lambda: StackingClassifier([("a", _forest()), ("b", LogisticRegression())], _lgbm(), cv=2),
    "stack over labels": lambda: StackingClassifier(
        [("a", LogisticRegression()), ("b", _forest())], _forest(), cv=2, stack_method="predict"
    ),
    "stack beside its input": lambda: StackingClassifier(
        [("a", LogisticRegression()), ("b", _hist())], _forest(), cv=2, passthrough=True
    ),
}


def _bars(classes: int) -> tuple[Rows, npt.NDArray[np.int64]]:
    """Features of hourly bars, and thirds or halves of what the price did next."""
    bars = load_bars("EURUSD")
    X = feature_matrix(bars.columns)
    close = bars.columns["close"][-len(X) :]
    forward = close[6:] / close[:-6] - 1.0
    edges = np.quantile(forward, np.arange(1, classes) / classes)
    return np.ascontiguousarray(X[:-6]), np.digitize(forward, edges)


def _fit(live: Any, X: Rows, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(X, y)


def _asked(method: Callable[[Rows], Any], rows: Rows) -> npt.NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(method(rows))


def _certain(answers: dict[str, npt.NDArray[Any]]) -> Flags:
    return np.asarray(answers["margin"] > answers["bound"], dtype=np.bool_)


@pytest.mark.parametrize("labels", [(0, 1), (0, 1, 2)], ids=["binary", "three"])
@pytest.mark.parametrize("case", TREES)
def test_trees_behind_a_projection_are_certified_on_random_rows_and_never_flip(
    case: str, labels: tuple[int, ...]
) -> None:
    X, y = make_data(labels)
    live = _fit(_projected(TREES[case]()), X, y)
    converted = convert(live)
    rows = np.vstack([X, random_rows(X, 4000)])
    answers = converted.answers(rows)
    certain = _certain(answers)
    assert converted.typed.ceiling == "certified"
    assert (_asked(live.predict, rows) == answers["label"])[certain].all()
    assert np.abs(_asked(live.predict_proba, rows) - answers["probabilities"])[certain].max() < 1e-6
    assert (
        certain[len(X) :].mean() > 0.999
    )  # histogram boosting puts thresholds on rows of the training itself


@pytest.mark.parametrize("case", ["forest", "histogram boosting", "lightgbm", "xgboost"])
@pytest.mark.parametrize("front", ["pca", "log1p"])
def test_trees_on_bars_are_certified_nearly_everywhere(case: str, front: str) -> None:
    X, y = _bars(3)
    if front == "log1p":
        X = np.abs(X)
        live = _fit(make_pipeline(FunctionTransformer(np.log1p), TREES[case]()), X[:1500], y[:1500])
    else:
        live = _fit(make_pipeline(StandardScaler(), PCA(5), TREES[case]()), X[:1500], y[:1500])
    answers = convert(live).answers(X[1500:])
    certain = _certain(answers)
    assert (_asked(live.predict, X[1500:]) == answers["label"])[certain].all()
    assert (
        certain.mean() > 0.997
    )  # some columns are the same number but for rounding in many rows, and split there


@pytest.mark.parametrize("case", COMPOSED)
def test_compositions_pass_on_what_is_not_certain(case: str) -> None:
    X, y = make_data((0, 1, 2))
    live = _fit(_projected(COMPOSED[case]()), X, y)
    converted = convert(live)
    rows = random_rows(X, 3000)
    answers = converted.answers(rows)
    certain = _certain(answers)
    assert converted.typed.ceiling == "certified"
    assert (_asked(live.predict, rows) == answers["label"])[certain].all()
    assert certain.mean() > 0.99


def _crossing(
    transform: Callable[[Rows], Rows],
    row: Rows,
    column: int,
    place: int,
    cut: float,
    *,
    single: bool,
    least: float = -np.inf,
) -> Rows | None:
    """Copies of `row` whose entry `column` brings the transformed `place` across `cut`, and around."""

    def image(value: float) -> float:
        moved = row.copy()
        moved[column] = value
        found = transform(moved[np.newaxis])[0, place]
        return float(np.float32(found) if single else found)

    low, high = max(float(row[column]) - 1e3, least), float(row[column]) + 1e3
    if (image(low) > cut) == (image(high) > cut):
        return None
    rising = image(high) > cut
    while np.nextafter(low, high) < high:
        middle = low + (high - low) / 2.0
        if middle in (low, high):
            break
        low, high = (low, middle) if (image(middle) > cut) == rising else (middle, high)
    made = []
    for steps in (-1000, -2, -1, 0, 1, 2, 1000):
        moved = row.copy()
        moved[column] = high + steps * abs(np.spacing(high))
        made.append(moved)
    for far in (-1e-6, 1e-6):
        moved = row.copy()
        moved[column] = high + far * max(abs(high), 1.0)
        made.append(moved)
    return np.array(made)


ON_THRESHOLDS: dict[str, Callable[[], Any]] = {
    "forest behind pca": lambda: _projected(_forest()),
    "histogram boosting behind pca": lambda: _projected(_hist()),
    "lightgbm behind pca": lambda: _projected(_lgbm()),
    "xgboost behind pca": lambda: _projected(_xgb()),
    "gradient boosting behind svd": lambda: make_pipeline(
        StandardScaler(),
        TruncatedSVD(3, random_state=0),
        MinMaxScaler(clip=True),
        GradientBoostingClassifier(n_estimators=8, random_state=0),
    ),
    "vote behind pca": lambda: _projected(COMPOSED["soft vote of forests"]()),
    "lightgbm behind a logarithm": lambda: make_pipeline(FunctionTransformer(np.log1p), _lgbm()),
    "forest behind a logarithm": lambda: make_pipeline(
        FunctionTransformer(np.log1p), StandardScaler(), _forest()
    ),
}


@pytest.mark.parametrize("case", ON_THRESHOLDS)
def test_rows_on_a_threshold_of_the_transformed_space_are_open_and_rows_beside_it_agree(case: str) -> None:
    X, y = make_data((0, 1))
    X = np.abs(X) if "logarithm" in case else X
    live = _fit(ON_THRESHOLDS[case](), X, y)
    converted = convert(live)
    front = live[:-1]
    generator = np.random.default_rng(2)
    made = []
    for place, cuts in converted.typed.split_thresholds().items():
        if "xgboost" in case:  # x < t is x <= the float32 number before t
            cuts = np.nextafter(cuts.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
        for cut in generator.choice(cuts, min(len(cuts), 5), replace=False):
            row = X[generator.integers(len(X))]
            column = place if "logarithm" in case else int(generator.integers(4))
            found = _crossing(
                front.transform,
                row,
                column,
                place,
                float(cut),
                single=not {"lightgbm", "histogram"} & set(case.split()),
                least=0.0 if "logarithm" in case else -np.inf,
            )
            if found is not None:
                made.append(found)
    assert len(made) >= 8
    rows = np.vstack(made)
    answers = converted.answers(rows)
    certain = _certain(answers)
    batch = _asked(live.predict, rows)
    alone = np.concatenate([_asked(live.predict, row[np.newaxis]) for row in rows[:90]])
    assert (batch == answers["label"])[certain].all()
    assert (alone == answers["label"][:90])[certain[:90]].all()
    on_the_threshold = certain.reshape(len(made), -1)[:, 3]
    beside_it = certain.reshape(len(made), -1)[:, -2:]
    assert on_the_threshold.mean() < 0.3  # float32 rounds some of them well beyond their threshold
    assert beside_it.mean() > 0.9


def test_a_row_that_straddles_a_threshold_is_not_certified_and_its_neighbours_are() -> None:
    """One tree, one column, one threshold; the error given to the certificate is known exactly."""
    tree = checked_tree(
        "tree",
        feature=[0, -1, -1],
        threshold=[0.1, np.nan, np.nan],
        left=[1, -1, -1],
        right=[2, -1, -1],
        missing_left=[False, False, False],
        value=[[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]],
        n_features=1,
    )
    for single in (True, False):
        model = Forest((tree,), 2, None, LabelRule("argmax_probabilities"), single=single)
        graph = Graph()
        x = graph.input("X", "float64", 2)
        value, error = (
            graph.add("Gather", x, graph.constant(np.array([place]), "int64"), axis=1) for place in (0, 1)
        )
        rows = GraphRows(value, error, doubt=True)
        flag = certain_paths(graph, rows, forest_cuts(model, True))
        assert flag is not None
        graph.output(flag, "certain", "bool", (None,))
        session = onnx_session(graph.to_bytes())
        edge = 0.1
        if single:  # the largest double that rounds to a float32 number not above the threshold
            below = np.float32(0.1)
            below = below if float(below) <= 0.1 else np.nextafter(below, np.float32(-1))
            edge = (float(below) + float(np.nextafter(below, np.float32(1)))) / 2.0
            edge = edge if float(np.float32(edge)) <= 0.1 else float(np.nextafter(edge, -1.0))
        e = 1e-12
        beyond = float(np.nextafter(edge, 1.0))
        asked = np.array(
            [
                [edge, 0.0],
                [beyond, 0.0],
                [edge - e, e / 2],
                [edge - e / 4, e],
                [beyond + e / 4, e],
                [beyond + 2 * e, e],
                [np.nan, 0.0],
                [np.nan, np.nan],
                [edge, np.nan],
                [5.0, np.inf],
                [np.inf, np.inf],
            ]
        )
        assert session.run(None, {"X": asked})[0].tolist() == [
            True, True, True, False, False, True, True, True, False, False, False
        ]  # fmt: skip


def onnx_session(data: bytes) -> Any:
    """A session without any rewriting."""
    import onnxruntime

    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def test_missing_values_behind_a_logarithm_stay_certified() -> None:
    X, y = make_data((0, 1), missing=True)
    X = np.abs(X)
    for last in (_lgbm(), _hist(), _xgb(), make_pipeline(SimpleImputer(add_indicator=True), _forest())):
        live = _fit(make_pipeline(FunctionTransformer(np.log1p), last), X, y)
        rows = np.abs(random_rows(X, 2000))
        answers = convert(live).answers(rows)
        certain = _certain(answers)
        assert np.isnan(rows).any(axis=1).mean() > 0.1
        assert (_asked(live.predict, rows) == answers["label"])[certain].all()
        assert certain.mean() > 0.99  # log1p of 1e-36 is beside LightGBM's split at 1e-35


def test_only_inexact_columns_are_compared_where_they_stand_beside_others() -> None:
    X, y = make_data((0, 1))
    front = make_column_transformer((PCA(2), [0, 1, 2]), ("passthrough", [3, 4, 5]))
    live = _fit(make_pipeline(front, _forest()), X, y)
    converted = convert(live)
    ensembles = [
        node
        for node in onnx.load_from_string(converted.emitted.onnx).graph.node
        if node.op_type == "TreeEnsemble"
    ]
    assert len(ensembles) == 2
    cuts = converted.typed.split_thresholds()
    counter = {item.name: item for item in ensembles[1].attribute}
    assert set(counter["nodes_featureids"].ints) == {0, 1, 2, 3}  # two columns, both ends
    assert len(counter["nodes_featureids"].ints) <= 2 * (len(cuts[0]) + len(cuts[1]))
    rows = np.vstack([X, random_rows(X, 1000)])
    answers = converted.answers(rows)
    assert _certain(answers).mean() > 0.999
    assert (_asked(live.predict, rows) == answers["label"])[_certain(answers)].all()


REGRESSORS: dict[str, Callable[[], Any]] = {
    "forest": lambda: _projected(RandomForestRegressor(9, max_depth=6, random_state=0)),
    "extra trees": lambda: _projected(ExtraTreesRegressor(9, max_depth=6, random_state=0)),
    "histogram boosting": lambda: _projected(HistGradientBoostingRegressor(max_iter=8)),
    "lightgbm": lambda: _projected(LGBMRegressor(n_estimators=8, verbose=-1, n_jobs=1)),
    "xgboost": lambda: _projected(XGBRegressor(n_estimators=8, n_jobs=1)),
    "vote": lambda: _projected(
        VotingRegressor([("a", RandomForestRegressor(5, max_depth=5)), ("b", LinearRegression())])
    ),
    "stack": lambda: StackingRegressor(
        [("a", LinearRegression()), ("b", RandomForestRegressor(5, max_depth=5))],
        RandomForestRegressor(5, max_depth=5),
        cv=2,
    ),
}


@pytest.mark.parametrize("case", REGRESSORS)
def test_numbers_of_regressors_are_within_a_bound_that_is_infinite_where_the_path_is_open(case: str) -> None:
    X, y = make_data(())
    live = _fit(REGRESSORS[case](), X, y)
    converted = convert(live)
    rows = random_rows(X, 2000)
    answers = converted.answers(rows)
    assert converted.typed.ceiling == "certified"
    assert "margin" not in answers
    apart = np.abs(_asked(live.predict, rows).reshape(-1) - answers["scores"][:, 0])
    assert (apart <= answers["bound"]).all()
    assert np.isfinite(answers["bound"]).mean() > 0.999


def test_an_isolation_forest_behind_a_projection_is_certified() -> None:
    X, y = make_data((0, 1))
    live = _fit(_projected(IsolationForest(n_estimators=12, random_state=0)), X, y)
    rows = random_rows(X, 2000)
    answers = convert(live).answers(rows)
    certain = _certain(answers)
    assert (_asked(live.predict, rows) == answers["label"])[certain].all()
    assert certain.mean() > 0.999


def test_a_regressor_on_a_threshold_states_an_infinite_bound() -> None:
    X, y = make_data(())
    live = _fit(REGRESSORS["forest"](), X, y)
    converted = convert(live)
    opened = 0
    for place, cuts in converted.typed.split_thresholds().items():
        rows = _crossing(live[:-1].transform, X[place], 0, place, float(cuts[len(cuts) // 2]), single=True)
        if rows is None:
            continue
        answers = converted.answers(rows)
        apart = np.abs(_asked(live.predict, rows) - answers["scores"][:, 0])
        assert (apart <= answers["bound"]).all()
        opened += int(np.isinf(answers["bound"][1:6]).any())
    assert opened >= 2


@pytest.mark.parametrize(
    "last",
    [
        _lgbm(zero_as_missing=True),
        XGBClassifier(booster="gblinear", n_estimators=3),
        GradientBoostingClassifier(n_estimators=3, init=DecisionTreeClassifier(max_depth=2)),
    ],
    ids=["zeros that are missing", "products in float32", "boosting from a model"],
)
def test_what_no_comparison_covers_is_refused(last: Any) -> None:
    X, y = make_data((0, 1))
    with pytest.raises(UnsupportedModelError) as refusal:
        read(_fit(_projected(last), X, y))
    assert refusal.value.code == "DP603"


def test_categories_beside_a_projection_are_exact_and_behind_one_are_refused() -> None:
    X, y = make_data((0, 1))
    front = make_column_transformer((PCA(2), [0, 1, 2]), ("passthrough", [5, 3]))
    live = _fit(
        make_pipeline(front, _lgbm(categorical_feature=[2], min_data_per_group=1, cat_smooth=0)), X, y
    )
    rows = np.vstack([X, random_rows(X, 500)])
    answers = convert(live).answers(rows)
    assert (_asked(live.predict, rows) == answers["label"])[_certain(answers)].all()
    behind = make_pipeline(
        FunctionTransformer(np.log1p),
        _lgbm(categorical_feature=[5], min_data_per_group=1, cat_smooth=0),
    )
    with pytest.raises(UnsupportedModelError) as refusal:
        read(_fit(behind, np.abs(X), y))
    assert refusal.value.code == "DP603"


def test_a_logarithmic_link_behind_a_projection_is_refused() -> None:
    X, y = make_data(())
    live = _projected(LGBMRegressor(objective="poisson", n_estimators=3, verbose=-1))
    with pytest.raises(UnsupportedModelError) as refusal:
        read(_fit(live, X, np.abs(y)))
    assert refusal.value.code == "DP603"


def test_a_threshold_at_a_tie_is_decided_where_every_path_is_certain() -> None:
    """An even forest often gives exactly one half; its bits are the original's, so it is no tie to be open about."""
    X, y = make_data((0, 1))
    live = _fit(
        FixedThresholdClassifier(
            _projected(RandomForestClassifier(4, max_depth=None, random_state=0)),
            threshold=0.5,
            response_method="predict_proba",
        ),
        X,
        y,
    )
    rows = random_rows(X, 2000)
    answers = convert(live).answers(rows)
    halves = answers["probabilities"][:, 1] == 0.5
    assert halves.sum() > 20
    assert _certain(answers)[halves].all()
    assert (_asked(live.predict, rows) == answers["label"])[_certain(answers)].all()


def test_the_same_model_gives_the_same_bytes() -> None:
    X, y = make_data((0, 1))
    for case in ("forest", "xgboost"):
        live = _fit(_projected(TREES[case]()), X, y)
        assert convert(live).emitted.onnx == convert(live, protocol=4).emitted.onnx
