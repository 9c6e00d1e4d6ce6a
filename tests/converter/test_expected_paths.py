# SPDX-License-Identifier: Apache-2.0
"""Trees behind inexact columns, norms and powers are walked, and no certified row follows another order of sums."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import sklearn.base
from lightgbm import LGBMClassifier, LGBMRegressor
from onnx import numpy_helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA, FastICA, TruncatedSVD
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
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
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.random_projection import GaussianRandomProjection
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from depickle.errors import ParityError, UnsupportedModelError
from depickle.parity.expected import ExpectedModel, expect_model
from depickle.parity.groups import tree_groups
from depickle.pickles import open_package, vet

from .emit_checks import make_data
from .proof_kit import Rows, Subject, answers, fitted, subject, subject_of

Steps = Callable[[], list[Any]]

FRONTS: dict[str, Steps] = {
    "PCA": lambda: [PCA(4)],
    "whitened PCA": lambda: [StandardScaler(), PCA(3, whiten=True)],
    "TruncatedSVD": lambda: [TruncatedSVD(3, random_state=0)],
    "FastICA": lambda: [StandardScaler(), FastICA(3, random_state=0)],
    "FastICA without whitening": lambda: [StandardScaler(), FastICA(whiten=False, random_state=0)],
    "neighbourhood components": lambda: [
        StandardScaler(),
        NeighborhoodComponentsAnalysis(3, max_iter=4, random_state=0),
    ],
    "random projection": lambda: [GaussianRandomProjection(3, random_state=0), StandardScaler()],
    "l1": lambda: [Normalizer("l1")],
    "l2": lambda: [Normalizer("l2"), RobustScaler()],
    "max": lambda: [Normalizer("max")],
    "Yeo-Johnson": lambda: [PowerTransformer()],
    "Yeo-Johnson as it is": lambda: [PowerTransformer(standardize=False)],
    "Box-Cox": lambda: [MinMaxScaler((1, 2)), PowerTransformer("box-cox")],
    "log1p": lambda: [MinMaxScaler((0, 3)), FunctionTransformer(np.log1p)],
    "log, scaled": lambda: [
        MinMaxScaler((1, 3)),
        FunctionTransformer(np.log),
        RobustScaler(),
        MinMaxScaler(clip=True),
    ],
    "a projection of some": lambda: [make_column_transformer((PCA(2), [0, 1, 2]), remainder="passthrough")],
    "a function beside the columns": lambda: [make_union(FunctionTransformer(np.tanh), "passthrough")],
    "products beside a function": lambda: [
        make_column_transformer((PolynomialFeatures(2), [0, 1]), (FunctionTransformer(np.tanh), [2, 3, 4]))
    ],
    "a projection and an imputer": lambda: [PCA(4), SimpleImputer()],
}
FRONTS_OF_MISSING: dict[str, Steps] = {
    "Yeo-Johnson": lambda: [PowerTransformer()],
    "tanh, imputed": lambda: [
        RobustScaler(),
        FunctionTransformer(np.tanh),
        SimpleImputer(add_indicator=True),
    ],
    "some logarithms, imputed": lambda: [
        make_column_transformer(
            (make_pipeline(MinMaxScaler(), FunctionTransformer(np.log1p)), [0, 1, 2]), remainder="passthrough"
        ),
        SimpleImputer(add_indicator=True),
        StandardScaler(),
    ],
}


def _forest() -> RandomForestClassifier:
    return RandomForestClassifier(4, max_depth=3, random_state=0)


def _boosting() -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=3, random_state=0)


def _histogram() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=3, random_state=0)


def _lgbm() -> LGBMClassifier:
    return LGBMClassifier(n_estimators=4, verbose=-1, n_jobs=1, random_state=0)


def _xgb() -> XGBClassifier:
    return XGBClassifier(n_estimators=4, n_jobs=1, random_state=0)


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "forest": _forest,
    "tree": lambda: DecisionTreeClassifier(max_depth=4, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(4, max_depth=3, random_state=0),
    "boosting": _boosting,
    "boosting from zero": lambda: GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
    "histogram boosting": _histogram,
    "lightgbm": _lgbm,
    "xgboost": _xgb,
    "boosted trees": lambda: AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=2), n_estimators=4, random_state=0
    ),
}
COMPOSITIONS: dict[str, Callable[[], Any]] = {
    "exact vote": lambda: VotingClassifier(
        [("a", _forest()), ("b", DecisionTreeClassifier())], voting="soft"
    ),
    "vote": lambda: VotingClassifier(
        [("a", _forest()), ("b", _boosting()), ("c", LogisticRegression())], voting="soft"
    ),
    "hard vote": lambda: VotingClassifier([("a", _forest()), ("b", _boosting())]),
    "bag of boosting": lambda: BaggingClassifier(_boosting(), 3, max_features=0.7, random_state=0),
    "bag of trees": lambda: BaggingClassifier(
        DecisionTreeClassifier(max_depth=3), 4, max_features=0.7, random_state=0
    ),
    "bag of forests": lambda: BaggingClassifier(_forest(), 3, max_features=0.7, random_state=0),
    "calibrated": lambda: CalibratedClassifierCV(_forest(), cv=2),
    "calibrated by curves": lambda: CalibratedClassifierCV(_forest(), method="isotonic", cv=2),
    "one-vs-one": lambda: OneVsOneClassifier(_boosting()),
    "stack of a search": lambda: StackingClassifier(
        [("a", _boosting())], GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2), cv=2
    ),
    "search": lambda: GridSearchCV(_forest(), {"max_depth": [2]}, cv=2),
    "stack": lambda: StackingClassifier(
        [("a", _forest()), ("b", _boosting())], LogisticRegression(), cv=2, passthrough=True
    ),
    "stack of trees": lambda: StackingClassifier([("a", _forest()), ("b", _histogram())], _forest(), cv=2),
    "stack of a pipeline": lambda: StackingClassifier(
        [("a", _forest()), ("b", _histogram())],
        make_pipeline(StandardScaler(), LogisticRegression()),
        cv=2,
        passthrough=True,
    ),
    "stack of a network": lambda: StackingClassifier(
        [("a", _forest()), ("b", _histogram())], MLPClassifier((3,), max_iter=10, random_state=0), cv=2
    ),
}
OF_TWO: dict[str, Callable[[], Any]] = {
    "threshold": lambda: FixedThresholdClassifier(_forest(), threshold=0.4),
    "threshold of boosting": lambda: FixedThresholdClassifier(_boosting(), threshold=0.4),
}
NUMBERS: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestRegressor(4, max_depth=4, random_state=0),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=3, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingRegressor(max_iter=3, random_state=0),
    "lightgbm": lambda: LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1),
    "xgboost": lambda: XGBRegressor(n_estimators=3, n_jobs=1),
    "isolation forest": lambda: IsolationForest(n_estimators=6, random_state=0),
    "isolation forest of some": lambda: IsolationForest(n_estimators=6, max_features=2, random_state=0),
    "vote": lambda: VotingRegressor([("a", NUMBERS["forest"]()), ("b", Ridge())]),
    "bag": lambda: BaggingRegressor(NUMBERS["histogram boosting"](), 3, max_features=0.7, random_state=0),
    "stack": lambda: StackingRegressor([("a", NUMBERS["forest"]())], Ridge(), cv=2),
    "stack of trees": lambda: StackingRegressor(
        [("a", NUMBERS["forest"]()), ("b", Ridge())], NUMBERS["boosting"](), cv=2, passthrough=True
    ),
}


def _made(steps: list[Any], labels: tuple[Any, ...] = (0, 1), *, missing: bool = False) -> Subject:
    return fitted("made", make_pipeline(*steps), labels, missing=missing, lightgbm=lightgbm.__version__)


@pytest.mark.parametrize("labels", [(0, 1), (0, 1, 2)], ids=["two", "three"])
@pytest.mark.parametrize("family", CLASSIFIERS)
@pytest.mark.parametrize("front", FRONTS)
def test_every_family_is_walked_behind_every_front(front: str, family: str, labels: tuple[int, ...]) -> None:
    assert _made([*FRONTS[front](), CLASSIFIERS[family]()], labels).prove() is not None


@pytest.mark.parametrize("family", ["forest", "histogram boosting", "lightgbm", "xgboost"])
@pytest.mark.parametrize("front", FRONTS_OF_MISSING)
def test_missing_values_are_walked(front: str, family: str) -> None:
    one = _made([*FRONTS_OF_MISSING[front](), CLASSIFIERS[family]()], (0, 1, 2), missing=True)
    assert one.prove() is not None


@pytest.mark.parametrize("labels", [(0, 1), (0, 1, 2)], ids=["two", "three"])
@pytest.mark.parametrize("composition", [*COMPOSITIONS, *OF_TWO, "one-vs-rest"])
@pytest.mark.parametrize("front", ["PCA", "Box-Cox", "a projection of some", "max"])
def test_every_composition_is_walked(front: str, composition: str, labels: tuple[int, ...]) -> None:
    if composition in OF_TWO:
        live, labels = OF_TWO[composition](), (0, 1)
    elif composition == "one-vs-rest":
        live, labels = OneVsRestClassifier(_boosting()), (0, 1, 2)
    else:
        live = COMPOSITIONS[composition]()
    assert _made([*FRONTS[front](), live], labels).prove() is not None


@pytest.mark.parametrize("family", NUMBERS)
@pytest.mark.parametrize("front", ["PCA", "l2", "random projection", "a projection and an imputer"])
def test_regressors_and_detectors_are_walked(front: str, family: str) -> None:
    assert _made([*FRONTS[front](), NUMBERS[family]()], ()).prove() is not None


@pytest.mark.parametrize("release", ["1.2.2", "1.3.2", "1.5.2", "1.7.2", "1.8.0"])
@pytest.mark.parametrize("front", ["PCA", "FastICA", "FastICA without whitening", "l1", "Yeo-Johnson"])
def test_every_release_is_walked(front: str, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _made([*FRONTS[front](), _forest()])
    if front.startswith("FastICA"):
        one.live[1]._whiten = one.live[1].whiten  # of 1.2
    monkeypatch.setattr(sklearn.base, "__version__", release)
    assert subject_of(release, one.live, one.rows).prove() is not None


@pytest.mark.parametrize("one_step", [False, True])
def test_a_linear_model_inside_a_search_or_a_pipeline_is_final_as_itself(one_step: bool) -> None:
    final = LogisticRegression()
    live = StackingClassifier(
        [("a", _boosting())],
        make_pipeline(final) if one_step else GridSearchCV(final, {"C": [1.0]}, cv=2),
        cv=2,
    )
    assert _made([StandardScaler(), live]).prove() is not None


def test_trees_of_the_model_are_counted_without_those_of_the_certificate() -> None:
    one = subject("forest behind a projection")
    found = one.prove()
    assert found is not None
    trees = [tree.tree_ for tree in one.live[-1].estimators_]
    assert (found.trees, found.splits) == (
        len(trees),
        sum(int((tree.children_left >= 0).sum()) for tree in trees),
    )


def test_columns_of_a_projection_keep_the_places_of_those_beside_it() -> None:
    one = _made([*FRONTS["a projection of some"](), _forest()])
    (group,) = tree_groups(one.record, 6)
    assert group.preamble is not None
    assert group.preamble.source.tolist() == [-1, -1, 3, 4, 5]


# What a wrong file would say. --------------------------------------------------------------------------------------


def _counters(one: Subject, change: Callable[[onnx.NodeProto], None]) -> bytes:
    model = onnx.load_from_string(one.emitted.onnx)
    nodes = [node for node in model.graph.node if node.op_type == "TreeEnsemble"]
    change(min(nodes, key=lambda node: len(_tensor(node, "leaf_weights"))))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(entry for entry in node.attribute if entry.name == name)


def _tensor(node: onnx.NodeProto, name: str) -> np.ndarray[Any, Any]:
    return np.array(numpy_helper.to_array(_attribute(node, name).t))


def _with(name: str, change: Callable[[Any], Any]) -> Callable[[onnx.NodeProto], None]:
    def apply(node: onnx.NodeProto) -> None:
        found = _attribute(node, name)
        if found.ints:
            found.ints[:] = [int(value) for value in change(np.array(found.ints))]
        else:
            values = _tensor(node, name)
            found.t.raw_data = np.asarray(change(values), dtype=values.dtype).tobytes()

    return apply


@pytest.mark.parametrize(
    "change",
    [
        _with("nodes_splits", lambda splits: np.nextafter(splits, np.inf)),
        _with("nodes_splits", lambda splits: np.where(np.arange(len(splits)) == 1, splits[0], splits)),
        _with("leaf_weights", lambda weights: np.zeros_like(weights)),
        _with("leaf_weights", lambda weights: -weights),
        _with("nodes_featureids", lambda columns: columns[::-1]),
        _with("nodes_missing_value_tracks_true", lambda flags: np.ones_like(flags)),
        _with("nodes_modes", lambda modes: np.ones_like(modes)),
    ],
    ids=["a double above", "one threshold lost", "no count", "signs", "columns", "missing", "mode"],
)
def test_a_wrong_counter_is_refused(change: Callable[[onnx.NodeProto], None]) -> None:
    one = subject("boosting regressor behind sums of magnitudes")
    with pytest.raises(ParityError) as refusal:
        one.prove(_counters(one, change))
    assert refusal.value.code in ("DP711", "DP712")


def test_a_file_without_the_certificate_is_refused() -> None:
    one, plain = (
        subject("forest behind a projection"),
        _made([StandardScaler(), PCA(3), LogisticRegression()]),
    )
    with pytest.raises(ParityError):
        one.prove(plain.emitted.onnx, plain.emitted)


def test_a_function_is_exact_at_its_fixed_point_only_where_trees_follow() -> None:
    def at_zero(last: Any) -> float:
        one = _made([MinMaxScaler((0, 3)), FunctionTransformer(np.log1p), last])
        assert one.prove() is not None
        (row,) = one.live[0].inverse_transform(np.zeros((1, 6)))
        found = answers(one.emitted.onnx, row[np.newaxis])
        return float(found["bound"][0])

    assert at_zero(_forest()) == 0.0
    assert at_zero(LogisticRegression()) > 0.0


# What the readers refuse, and what the proof does. -----------------------------------------------------------------


def _derived(live: Any) -> ExpectedModel | None:
    """What the proof alone makes of the pickle of `live`."""
    vetted = vet(pickle.dumps(live))
    return expect_model(open_package(vetted).estimator, vetted.writer)


def _live(front: str) -> Any:
    return _made([*FRONTS[front](), _forest()]).live


def test_powers_fitted_on_float32_are_refused_by_both_readings() -> None:
    live = _live("Yeo-Johnson")
    assert _derived(live) is not None
    live[0].lambdas_ = live[0].lambdas_.astype(np.float32)
    with pytest.raises(UnsupportedModelError) as refusal:
        subject_of("made", live, make_data((0, 1))[0])
    assert refusal.value.code == "DP603"
    with pytest.raises(ParityError) as other:
        _derived(live)
    assert other.value.code == "DP710"


@pytest.mark.parametrize(
    ("front", "place", "name", "value"),
    [
        ("Yeo-Johnson", 0, "method", "box"),
        ("Yeo-Johnson", 0, "standardize", 1),
        ("Yeo-Johnson", 0, "_scaler", None),
        ("Yeo-Johnson", 0, "lambdas_", np.full(6, np.nan)),
        ("l1", 0, "norm", "l3"),
        ("FastICA", 1, "whiten", 1),
        ("FastICA", 1, "mean_", None),
        ("random projection", 0, "components_", np.zeros((3, 6), dtype=np.float32)),
    ],
)
def test_hostile_attributes_are_refused(front: str, place: int, name: str, value: Any) -> None:
    live = _live(front)
    setattr(live[place], name, value)
    with pytest.raises(ParityError) as refusal:
        _derived(live)
    assert refusal.value.code == "DP710"


def test_fast_ica_of_1_2_asks_what_its_fit_left(monkeypatch: pytest.MonkeyPatch) -> None:
    live = _live("FastICA")
    live[1]._whiten = "unit-variance"
    live[1].whiten = False
    monkeypatch.setattr(sklearn.base, "__version__", "1.2.2")
    with pytest.raises(ParityError) as refusal:
        subject_of("made", live, make_data((0, 1))[0]).prove()
    assert refusal.value.code == "DP711"


@pytest.mark.parametrize(
    "last",
    [
        [FunctionTransformer(np.tanh), _forest()],
        [Normalizer(), _forest()],
        [PowerTransformer(), _forest()],
        [PolynomialFeatures(2), _forest()],
        [SimpleImputer(missing_values=0.0), _forest()],
        [AdaBoostClassifier(LogisticRegression(), n_estimators=2)],
        [GradientBoostingClassifier(init=DecisionTreeClassifier(), n_estimators=2)],
    ],
    ids=lambda steps: type(steps[0]).__name__,
)
def test_what_no_bound_is_known_of_has_no_derivation(last: list[Any]) -> None:
    X, y = make_data((0, 1), rows=160)
    live = make_pipeline(PCA(4), *last).fit(X, y)
    with pytest.raises(UnsupportedModelError):
        subject_of("made", live, X)
    assert _derived(live) is None


# Rows on thresholds of the transformed space. ----------------------------------------------------------------------


def _orders(live: Any, rows: Rows) -> Iterator[Rows]:
    """The projected rows as releases and libraries may compute them, the last correctly rounded."""
    projection, weights = live[0], live[0].components_
    mean = getattr(projection, "mean_", np.zeros(weights.shape[1]))
    yield (rows - mean) @ weights.T
    yield rows @ weights.T - mean @ weights.T
    yield np.vstack([row[np.newaxis] @ weights.T - mean @ weights.T for row in rows])
    for order in (range(rows.shape[1]), reversed(range(rows.shape[1]))):
        total = np.zeros((len(rows), len(weights)))
        for column in order:
            total = total + (rows[:, [column]] - mean[column]) * weights[:, column]
        yield total
    yield np.array([[math.fsum(row * line) for line in weights] for row in rows - mean])


def _between(live: Any, rows: Rows, generator: np.random.Generator) -> Rows:
    """Pairs of neighbouring rows that reach different leaves, and some doubles around them."""
    first, last = (rows[generator.integers(0, len(rows), 300)] for _ in range(2))
    first = first + generator.normal(size=first.shape) * rows.std(axis=0) * 0.1
    before = live.predict_proba(first)[:, 1]
    apart = live.predict_proba(last)[:, 1] != before
    first, last, before = first[apart], last[apart], before[apart]
    low, high = np.zeros(len(first)), np.ones(len(first))
    for _ in range(60):
        middle = (low + high) / 2
        same = live.predict_proba(first + (last - first) * middle[:, np.newaxis])[:, 1] == before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    found = [first + (last - first) * end[:, np.newaxis] for end in (low, high)]
    for distance in (1, 30, 300, 3000):
        moved = found[0].copy()
        moved[:, 1] += np.spacing(moved[:, 1]) * distance
        found.append(moved)
    return np.vstack(found)


@pytest.mark.parametrize("family", ["forest", "boosting", "histogram boosting", "lightgbm", "xgboost"])
@pytest.mark.parametrize("front", [lambda: PCA(4), lambda: TruncatedSVD(3, random_state=0)])
def test_no_certified_row_changes_with_the_order_of_sums(front: Callable[[], Any], family: str) -> None:
    one = _made([front(), CLASSIFIERS[family]()])
    rows = _between(one.live, one.rows, np.random.default_rng(0))
    found = answers(one.emitted.onnx, rows)
    certain = found["margin"] > found["bound"]
    assert 0 < int(certain.sum()) < len(rows)
    changed = 0
    for transformed in _orders(one.live, rows):
        labels = one.live[1:].predict(transformed)
        assert (labels == found["label"])[certain].all()
        changed += int((labels != found["label"]).sum())
    assert changed > 0


def test_a_number_in_place_of_an_overflow_is_not_certified() -> None:
    """Halves of a sum overflow to infinities of both signs, whose sum is no number; in other orders it is one."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(200, 600)) + generator.normal(size=(200, 1)) * 3
    live = make_pipeline(TruncatedSVD(2, random_state=0), SimpleImputer(), _lgbm()).fit(X, X.sum(axis=1) > 0)
    one = subject_of("made", live, X)
    assert one.prove() is not None
    row = np.sign(live[0].components_[:1]) * 1.7e308
    row[:, 300:] *= -1
    found = answers(one.emitted.onnx, row)
    assert not (found["margin"] > found["bound"]).any()
