# SPDX-License-Identifier: Apache-2.0
"""What both readings once misread alike: converted as the original answers, or refused by each reading on its own."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import sklearn.base
from onnx import numpy_helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import f1_score, make_scorer, zero_one_loss
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier, XGBRegressor

from depickle.errors import ParityError, UnsupportedModelError
from depickle.parity.expected import expect_model
from depickle.pickles import open_package, vet

from .emit_checks import compare, convert, make_data, random_rows, read
from .proof_kit import Subject, answers, fitted, subject, subject_of


def _linear() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def _overwriting() -> Any:
    return make_pipeline(StandardScaler(copy=False), LogisticRegression())


def _tree() -> Any:
    return DecisionTreeClassifier(max_depth=4, random_state=0)


def _fit(live: Any, labels: tuple[Any, ...]) -> tuple[Any, Any]:
    X, y = make_data(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(X.copy(), y), X


def _bag(base: Any) -> BaggingClassifier:
    return BaggingClassifier(base, 3, random_state=0)


def _stack() -> StackingClassifier:
    return StackingClassifier([("a", RandomForestClassifier(5, random_state=0))], LogisticRegression(), cv=2)


CONVERTED: dict[str, tuple[tuple[Any, ...], Callable[[], Any]]] = {
    "calibration asks a stack for its scores": ((0, 1), lambda: CalibratedClassifierCV(_stack(), cv=2)),
    "calibration asks one-vs-rest for its scores": (
        (-1, 0, 1),
        lambda: CalibratedClassifierCV(OneVsRestClassifier(_linear()), cv=2),
    ),
    "a score with a positive label of its own": (
        (1, 2),
        lambda: TunedThresholdClassifierCV(_linear(), scoring="precision", cv=2),
    ),
    "a score of both labels": (
        (1, 2),
        lambda: TunedThresholdClassifierCV(_linear(), scoring="balanced_accuracy", cv=2),
    ),
    "a positive label that was given": (
        (1, 2),
        lambda: TunedThresholdClassifierCV(_linear(), scoring=make_scorer(f1_score, pos_label=2), cv=2),
    ),
    "one pipeline that overwrites its own rows": ((0, 1), _overwriting),
    "a bag, which copies the rows of each member": ((0, 1), lambda: _bag(_overwriting())),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_the_original_is_asked_as_it_asks_itself(case: str) -> None:
    labels, make = CONVERTED[case]
    live, X = _fit(make(), labels)
    one = subject_of(case, live, X)
    assert one.prove() is not None
    found = answers(one.emitted.onnx, X)
    certified = found["margin"] > found["bound"]
    assert certified.mean() > 0.5
    assert (live.predict(X.copy())[certified] == found["label"][certified]).all()
    X2 = X * 1.25 + 0.125
    found = answers(one.emitted.onnx, X2)
    certified = found["margin"] > found["bound"]
    assert (live.predict(X2.copy())[certified] == found["label"][certified]).all()


def _encoded(dtype: Any, *after: Any) -> Any:
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore", dtype=dtype)
    return make_pipeline(ColumnTransformer([("a", encoder, [5])]), *after, _tree())


REFUSED: dict[str, tuple[tuple[Any, ...], Callable[[], Any]]] = {
    "calibration over a bag of linear models": (
        (0, 1),
        lambda: CalibratedClassifierCV(_bag(_linear()), cv=2),
    ),
    "calibration over a bag of boosting": (
        (0, 1),
        lambda: CalibratedClassifierCV(_bag(HistGradientBoostingClassifier(max_iter=3)), cv=2),
    ),
    "one-vs-rest over bags": ((-1, 0, 1), lambda: OneVsRestClassifier(_bag(_linear()))),
    "calibration over a stack that ends in a bag": (
        (0, 1),
        lambda: CalibratedClassifierCV(StackingClassifier([("a", _tree())], _bag(_linear()), cv=2), cv=2),
    ),
    "a cut of a bag's scores": (
        (0, 1),
        lambda: FixedThresholdClassifier(_bag(_linear()), response_method="decision_function"),
    ),
    "a score whose positive label is not known": (
        (1, 2),
        lambda: TunedThresholdClassifierCV(
            _linear(), scoring=make_scorer(zero_one_loss, greater_is_better=False), cv=2
        ),
    ),
    "a voter that overwrites the rows of the next": (
        (0, 1),
        lambda: VotingClassifier([("a", _overwriting()), ("b", _tree())], voting="soft"),
    ),
    "a fold that overwrites the rows of the next": (
        (0, 1),
        lambda: CalibratedClassifierCV(_overwriting(), cv=2),
    ),
    "a class that overwrites the rows of the next": ((-1, 0, 1), lambda: OneVsRestClassifier(_overwriting())),
    "a part that overwrites the rows of the union": (
        (0, 1),
        lambda: make_pipeline(
            FeatureUnion([("a", StandardScaler(copy=False)), ("b", "passthrough")]), _tree()
        ),
    ),
    "a slice that overwrites the rows of the next": (
        (0, 1),
        lambda: make_pipeline(
            ColumnTransformer(
                [("a", StandardScaler(copy=False), slice(0, 3)), ("b", "passthrough", slice(0, 6))]
            ),
            _tree(),
        ),
    ),
    "a member that overwrites what is passed through": (
        (0, 1),
        lambda: StackingClassifier(
            [("a", make_pipeline(StandardScaler(copy=False), _tree()))], _tree(), cv=2, passthrough=True
        ),
    ),
    "the negative of bytes": ((0, 1), lambda: _encoded(np.uint8, FunctionTransformer(np.negative))),
    "columns of float32": ((0, 1), lambda: _encoded(np.float32, StandardScaler())),
    "bins of float32": (
        (0, 1),
        lambda: make_pipeline(
            KBinsDiscretizer(3, encode="ordinal", dtype=np.float32, quantile_method="averaged_inverted_cdf"),
            _tree(),
        ),
    ),
    "votes against": (
        (-1, 0, 1),
        lambda: VotingClassifier([("a", _tree()), ("b", _linear())], weights=[-1, -2]),
    ),
    "a mean of numbers of float32": (
        (),
        lambda: VotingRegressor([(name, XGBRegressor(n_estimators=3, n_jobs=1)) for name in "ab"]),
    ),
    "a bag of numbers of float32": ((), lambda: BaggingRegressor(XGBRegressor(n_estimators=3, n_jobs=1), 3)),
    "a scaler over numbers of float32": (
        (),
        lambda: StackingRegressor(
            [("a", XGBRegressor(n_estimators=3, n_jobs=1))],
            make_pipeline(StandardScaler(), DecisionTreeRegressor(max_depth=3)),
            cv=2,
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_reading_refuses_on_its_own(case: str) -> None:
    labels, make = REFUSED[case]
    live, _ = _fit(make(), labels)
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP603"
    vetted = vet(pickle.dumps(live))
    assert expect_model(open_package(vetted).estimator, vetted.writer) is None


def test_a_bag_divides_by_its_parameter() -> None:
    live, _ = _fit(BaggingRegressor(DecisionTreeRegressor(max_depth=3), 4, random_state=0), ())
    live.set_params(n_estimators=5)
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP602"
    vetted = vet(pickle.dumps(live))
    with pytest.raises(ParityError) as found:
        expect_model(open_package(vetted).estimator, vetted.writer)
    assert found.value.code == "DP710"


def test_weighted_numbers_of_float32_are_added_in_double() -> None:
    members = [(name, XGBRegressor(n_estimators=size, n_jobs=1)) for name, size in (("a", 3), ("b", 5))]
    live, X = _fit(VotingRegressor(members, weights=[0.25, 0.75]), ())
    assert compare(convert(live), X).raw_ulp == 0


def test_products_below_the_normal_numbers_are_not_certified() -> None:
    """Added one after the other with and without fused products, these scores have different signs."""
    live, X = _fit(LinearSVC(fit_intercept=False, random_state=0), (0, 1))
    live.coef_ = np.array([[-0.5, -0.5, -0.5, 0.9, 0.0, 0.0]])
    found = answers(subject_of("subnormal", live, X).emitted.onnx, np.full((1, 6), 5e-324))
    assert not (found["margin"] > found["bound"]).any()


def test_a_voter_that_overflows_leaves_the_vote_open() -> None:
    votes, X = _fit(VotingClassifier([("a", LinearSVC()), ("b", LinearSVC()), ("c", LinearSVC())]), (0, 1))
    for member, weight in zip(votes.estimators_, (1.0, 1e200, 1.0), strict=True):
        member.coef_ = np.full((1, 6), weight)
    row = np.full((1, 6), 1e150)
    found = answers(subject_of("overflow", votes, X).emitted.onnx, row)
    assert not (found["margin"] > found["bound"]).any()


def test_the_band_of_logarithms_grows_with_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tuple(range(40))
    live, X = _fit(AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=2), labels)
    live.algorithm = "SAMME.R"
    live.estimator_weights_ = np.ones(len(live.estimators_))
    monkeypatch.setattr(sklearn.base, "__version__", "1.5.2")  # since 1.6 the algorithm is not looked at
    one = subject_of("many classes", live, X)
    assert one.prove() is not None
    bound = answers(one.emitted.onnx, X[:1])["bound"]
    # Two logarithms near -36, each off by a unit in the last place on one side and times 39.
    assert bound.min() > 2 * 39 * np.spacing(36.0)


def _edit(one: Subject, change: Callable[[onnx.GraphProto], None]) -> bytes:
    model = onnx.load_from_string(one.emitted.onnx)
    change(model.graph)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _refusal(one: Subject, data: bytes) -> str:
    with pytest.raises(ParityError) as refusal:
        one.prove(data)
    return refusal.value.code


def test_labels_of_text_are_not_taken_for_equal_numbers() -> None:
    one = fitted("numbers", _tree(), (0, 1))

    def as_text(graph: onnx.GraphProto) -> None:
        gather = next(node for node in graph.node if one.emitted.outputs.label in node.output)
        table = next(tensor for tensor in graph.initializer if tensor.name == gather.input[0])
        words = np.array([str(value) for value in numpy_helper.to_array(table)], dtype=object)
        table.CopyFrom(numpy_helper.from_array(words, table.name))

    assert _refusal(one, _edit(one, as_text)) == "DP711"


def test_a_part_that_is_left_out_is_not_taken_for_a_value() -> None:
    """To ONNX an empty name is no value: the clip would have no lower end."""
    one = subject("forest regressor")

    def without_low(graph: onnx.GraphProto) -> None:
        clip = next(node for node in graph.node if node.op_type == "Clip")
        graph.node.insert(0, onnx.helper.make_node("Identity", [clip.input[1]], [""]))
        clip.input[1] = ""

    assert _refusal(one, _edit(one, without_low)) == "DP712"


def test_an_attribute_of_another_type_is_another_attribute() -> None:
    one = subject("forest")

    def as_real(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.op_type == "ArgMax")
        axis = next(entry for entry in node.attribute if entry.name == "axis")
        axis.CopyFrom(onnx.helper.make_attribute("axis", 1.0))

    assert _refusal(one, _edit(one, as_real)) == "DP711"


def test_the_reach_of_errors_is_the_same_number_in_whatever_order_weights_are_added() -> None:
    live, X = _fit(
        StackingClassifier(
            [("a", RandomForestClassifier(3, random_state=0)), ("b", LogisticRegression())],
            LogisticRegression(),
            cv=2,
            passthrough=True,
        ),
        (-1, 0, 1),
    )
    for seed in range(12):
        live.final_estimator_.coef_ = np.random.default_rng(seed).normal(size=(3, 12))
        assert subject_of("reach", live, X).prove() is not None


def test_ridge_classifiers_of_before_their_own_classes_are_read() -> None:
    live, X = _fit(RidgeClassifier(), ("no", "yes"))
    state = dict(vars(live))
    state.pop("classes_", None)
    vars(live).clear()
    vars(live).update(state)
    one = subject_of("ridge", live, X)
    assert one.prove() is not None
    assert one.typed.classes == ("no", "yes")


def test_encoders_that_carry_the_old_name_beside_the_new_one_are_read() -> None:
    live, X = _fit(_encoded(np.float64), (0, 1))
    live[0].named_transformers_["a"].sparse = "deprecated"
    assert subject_of("two names", live, X).prove() is not None


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_a_base_score_whose_logarithm_is_rounded_apart_stays_within_the_band(booster: str) -> None:
    """glibc's logf of this base score is one unit in the last place off; the sums are apart after some trees."""
    live, X = _fit(
        XGBClassifier(
            n_estimators=200, learning_rate=0.3, n_jobs=1, base_score=0.7084994912147522, booster=booster
        ),
        (0, 1),
    )
    one = subject_of(booster, live, X)
    assert one.prove() is not None
    rows = random_rows(X, 4000)
    found = answers(one.emitted.onnx, rows)
    apart = np.abs(live.predict(rows, output_margin=True).astype(np.float64) - found["scores"][:, 0])
    # what is left of the band has to part two values of the logistic
    assert apart.max() < found["bound"].min() - 2.0**-19
    assert (found["margin"] > found["bound"]).mean() > 0.98


def test_a_base_score_of_one_half_is_exact() -> None:
    live, X = _fit(XGBClassifier(n_estimators=20, n_jobs=1, base_score=0.5), (0, 1))
    assert compare(convert(live), X).raw_ulp == 0
    assert answers(convert(live).emitted.onnx, X)["bound"].max() == 2.0**-19


def test_a_linear_booster_from_a_logarithm_is_refused_by_each_reading() -> None:
    live, _ = _fit(XGBClassifier(booster="gblinear", n_estimators=3, n_jobs=1, base_score=0.3), (0, 1))
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert refusal.value.code == "DP603"
    vetted = vet(pickle.dumps(live))
    with pytest.raises(ParityError) as found:
        expect_model(open_package(vetted).estimator, vetted.writer)
    assert found.value.code == "DP710"
