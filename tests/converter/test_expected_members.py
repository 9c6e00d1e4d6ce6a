# SPDX-License-Identifier: Apache-2.0
"""The second reading of pairs, temperatures, clipped scores, stacked labels and delegates: accepted or not."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from lightgbm import Booster, LGBMClassifier
from onnx import numpy_helper
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from depickle.errors import ParityError, UnsupportedModelError
from depickle.parity.expected import expect_model
from depickle.pickles import open_package, vet

from .emit_checks import make_data
from .proof_kit import Subject, answers, subject, subject_of
from .test_lightgbm_release import without

BINARY, SIGNS, WORDS = (0, 1), (-1, 0, 1), ("BUY", "SELL", "WAIT")


def _forest() -> Any:
    return RandomForestClassifier(6, max_depth=4, random_state=0)


def _boosting() -> Any:
    return GradientBoostingClassifier(n_estimators=4, random_state=0)


def _line() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def _lgbm() -> Any:
    return LGBMClassifier(n_estimators=4, verbose=-1, n_jobs=1, random_state=0)


def _bare() -> Any:
    return SGDClassifier(loss="modified_huber", random_state=0)


def _clipped() -> Any:
    return make_pipeline(StandardScaler(), _bare())


def _network() -> Any:
    return make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=30, random_state=0))


def _warm(member: Any, **options: Any) -> Any:
    return CalibratedClassifierCV(member, cv=2, method="temperature", **options)


def _stack(member: Any, **options: Any) -> Any:
    parts = [("a", member), ("b", _forest())]
    return StackingClassifier(parts, LogisticRegression(), cv=2, stack_method="predict", **options)


MEMBERS: dict[str, Callable[[], Any]] = {
    "forest": _forest,
    "boosting": _boosting,
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_iter=4, random_state=0),
    "lightgbm": _lgbm,
    "lines": _line,
    "network": _network,
    "bag of trees": lambda: BaggingClassifier(DecisionTreeClassifier(max_depth=3), 4, random_state=0),
}
AROUND: dict[str, Callable[[Any], Any]] = {
    "one-vs-one": OneVsOneClassifier,
    "temperature": _warm,
    "temperature of one fit": lambda member: _warm(member, ensemble=False),
    "stacked labels": _stack,
    "stacked labels beside the rows": lambda member: _stack(member, passthrough=True),
    "calibration of pairs": lambda member: CalibratedClassifierCV(OneVsOneClassifier(member), cv=2),
    "vote of pairs": lambda member: VotingClassifier([("a", OneVsOneClassifier(member)), ("b", _forest())]),
    "one against the other": OneVsRestClassifier,
}


def _make(around: str, member: str) -> Callable[[], Any]:
    return lambda: AROUND[around](MEMBERS[member]())


VARIANTS: dict[str, tuple[tuple[Any, ...], Callable[[], Any]]] = (
    {
        f"{around}, {member}": (SIGNS if len(around + member) % 2 else WORDS, _make(around, member))
        for around in AROUND
        for member in MEMBERS
        if around != "one against the other"
        # scikit-learn fits a temperature to three scores of this one by chance only (NaN)
        and (around[:11], member) != ("temperature", "histogram boosting")
    }
    | {
        f"{around}, {member}, two classes": (BINARY, _make(around, member))
        for around in ("one-vs-one", "temperature", "one against the other")
        for member in MEMBERS
    }
    | {
        "clipped scores behind a projection": (SIGNS, lambda: make_pipeline(PCA(3), _bare())),
        "clipped scores at the end of a stack": (
            BINARY,
            lambda: StackingClassifier([("a", _forest()), ("b", _boosting())], _bare(), cv=2),
        ),
        "votes of clipped scores": (
            WORDS,
            lambda: VotingClassifier([("a", _clipped()), ("b", _forest())], voting="soft"),
        ),
        "pairs of self-trained": (SIGNS, lambda: OneVsOneClassifier(SelfTrainingClassifier(_boosting()))),
        "temperature of self-trained": (BINARY, lambda: _warm(SelfTrainingClassifier(_boosting()))),
        "pairs of pairs": (BINARY, lambda: OneVsOneClassifier(OneVsOneClassifier(_boosting()))),
    }
)


def _fit(live: Any, labels: tuple[Any, ...]) -> tuple[Any, Any]:
    X, y = make_data(labels, rows=220)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return live.fit(X, y), X


@pytest.mark.parametrize("case", VARIANTS)
def test_the_walk_passes_and_no_certified_label_differs(case: str) -> None:
    labels, make = VARIANTS[case]
    live, X = _fit(make(), labels)
    one = subject_of(case, live, X)
    assert one.prove() is not None
    rows = np.concatenate([X, X + 0.25 * X.std(axis=0) * np.random.default_rng(0).normal(size=X.shape)])
    found = answers(one.emitted.onnx, rows)
    certified = found["margin"] > found["bound"] if "margin" in found else np.ones(len(rows), dtype=bool)
    assert certified.mean() > 0.75  # where no score is above -1, clipped scores have a step
    assert (live.predict(rows)[certified] == found["label"][certified]).all()


def _proves(name: str, live: Any, X: Any) -> Subject:
    one = subject_of(name, live, X)
    assert one.prove() is not None
    return one


def test_a_frozen_scaler_and_a_frozen_pipeline_answer_as_what_they_hold() -> None:
    X, y = make_data(SIGNS, rows=220)
    inner = _line().fit(X, y)
    frozen = _proves("frozen", FrozenEstimator(inner), X)
    plain = _proves("plain", inner, X)
    assert frozen.emitted.onnx == plain.emitted.onnx
    chain = make_pipeline(FrozenEstimator(make_pipeline(StandardScaler()).fit(X)), _forest()).fit(X, y)
    assert _proves("chain", chain, X).prove() is not None


CHANGED: dict[str, tuple[str, float, float]] = {
    "another share of the confidences": ("one-vs-one", 3.0, 2.0),
    "another epsilon": ("temperature of forests", 1e-12, 1e-15),
    "rows taken for scores too soon": ("temperature of lines", 2.0**-14 / 3, 2.0**-14),
    "a half that is none": ("clipped scores of two", 2.0, 2.0000000000000004),
    "a threshold of scores": ("one against the other", 0.5, 0.0),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_file_with_another_constant_is_refused(case: str) -> None:
    name, old, new = CHANGED[case]
    one = subject(name)
    model = onnx.load_from_string(one.emitted.onnx)
    places = [
        place
        for place, tensor in enumerate(model.graph.initializer)
        if tensor.data_type == onnx.TensorProto.DOUBLE and numpy_helper.to_array(tensor).tolist() == [old]
    ]
    assert len(places) == 1
    tensor = model.graph.initializer[places[0]]
    tensor.CopyFrom(numpy_helper.from_array(np.array([new]), tensor.name))
    with pytest.raises(ParityError) as caught:
        one.prove(model.SerializeToString())
    assert caught.value.code == "DP711"


def _expected(live: Any) -> Any:
    vetted = vet(pickle.dumps(live))
    return expect_model(open_package(vetted).estimator, dict(vetted.writer))


def _set(path: str, value: Any) -> Callable[[Any], None]:
    *before, last = path.split(".")

    def change(live: Any) -> None:
        for name in before:
            live = live[int(name)] if name.isdigit() else getattr(live, name)
        setattr(live, last, value)

    return change


def _add_column(live: Any) -> None:
    live.estimators_ = (*live.estimators_, live.estimators_[0])


_BETA = "calibrated_classifiers_.0.calibrators.0.beta_"
UNREADABLE: dict[str, tuple[tuple[Any, ...], Callable[[], Any], Callable[[Any], None]]] = {
    "a label binarizer of other signs": (
        BINARY,
        lambda: OneVsRestClassifier(_boosting()),
        _set("label_binarizer_.pos_label", 4),
    ),
    "more members than pairs": (SIGNS, lambda: OneVsOneClassifier(_boosting()), _add_column),
    "self-training of other classes": (
        BINARY,
        lambda: SelfTrainingClassifier(_boosting()),
        _set("classes_", np.array([0, 2])),
    ),
    "a temperature of zero": (BINARY, lambda: _warm(_boosting()), _set(_BETA, 0.0)),
    "a temperature out of reach": (BINARY, lambda: _warm(_boosting()), _set(_BETA, 2.0**20)),
    "a temperature of an older release": (
        BINARY,
        lambda: _warm(_boosting()),
        _set("calibrated_classifiers_.0.calibrators", []),
    ),
    "an unknown calibration": (
        BINARY,
        lambda: _warm(_boosting()),
        _set("calibrated_classifiers_.0.method", "none"),
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_attributes_that_no_fit_leaves_are_refused(case: str) -> None:
    labels, make, change = UNREADABLE[case]
    live, _ = _fit(make(), labels)
    assert _expected(live) is not None
    change(live)
    with pytest.raises(ParityError) as caught:
        _expected(live)
    assert caught.value.code == "DP710"


def _beyond_one(live: Any) -> None:
    for fold in live.calibrated_classifiers_:
        tree = fold.estimator.estimators_[0].tree_
        leaf = int(np.flatnonzero(tree.children_left < 0)[0])
        tree.value[leaf, 0] = [1.0 + 2.0**-22, -(2.0**-22)]


NOT_DERIVED: dict[str, tuple[tuple[Any, ...], Callable[[], Any], Callable[[Any], None]]] = {
    "leaves just outside of [0, 1]": (BINARY, lambda: _warm(_forest()), _beyond_one),
    "a single precision temperature": (BINARY, lambda: _warm(_boosting()), _set(_BETA, np.float32(1.5))),
    "chosen columns of a member": (
        SIGNS,
        lambda: OneVsOneClassifier(_boosting()),
        _set("pairwise_indices_", (1,)),
    ),
    "a member of other classes": (
        SIGNS,
        lambda: OneVsOneClassifier(_boosting()),
        _set("estimators_.0.classes_", np.array([1, 2])),
    ),
}


@pytest.mark.parametrize("case", NOT_DERIVED)
def test_what_the_argument_does_not_cover_has_no_derivation(case: str) -> None:
    labels, make, change = NOT_DERIVED[case]
    live, _ = _fit(make(), labels)
    assert _expected(live) is not None
    change(live)
    assert _expected(live) is None


@pytest.mark.parametrize("around", ["calibration", "pairs", "stack"])
def test_an_older_lightgbm_that_was_fitted_before_has_no_derivation(
    around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = make_data(BINARY, rows=220)
    frozen = FrozenEstimator(_lgbm().fit(X, y))
    live: Any = {
        "calibration": lambda: CalibratedClassifierCV(frozen, cv=2),
        "pairs": lambda: OneVsOneClassifier(frozen),
        "stack": lambda: StackingClassifier(
            [("a", OneVsRestClassifier(_lgbm()).fit(X, y))],
            LogisticRegression(),
            cv="prefit",
            stack_method="predict",
        ),
    }[around]().fit(X, y)
    assert _expected(live) is not None
    write = Booster.model_to_string
    monkeypatch.setattr(
        Booster,
        "model_to_string",
        lambda self, *args, **options: without(write(self, *args, **options), ("gpu_device_id_list",)),
    )
    assert _expected(live) is None
    with pytest.raises(UnsupportedModelError) as caught:
        subject_of(around, live, X)
    assert caught.value.code == "DP613"


def test_labels_of_a_user_reach_a_final_estimator_as_numbers_or_not_at_all() -> None:
    X, y = make_data(SIGNS, rows=220)
    members = [("a", _forest().fit(X, y)), ("b", _boosting().fit(X, y))]
    given = {"cv": "prefit", "stack_method": "predict"}
    line = StackingClassifier(members, LogisticRegression(), **given).fit(X, y)
    assert _proves("line", line, X).prove() is not None
    scaled = StackingClassifier(members, _line(), **given).fit(X, y)
    assert _expected(scaled) is None
    words = np.array(WORDS)[y + 1]
    texts = [("a", _forest().fit(X, words)), ("b", _boosting().fit(X, words))]
    live = StackingClassifier(members, LogisticRegression(), **given).fit(X, y)
    live.estimators_ = [member for _, member in texts]
    assert _expected(live) is None
    far = [("a", _forest().fit(X, y * 2**25)), ("b", _boosting().fit(X, y * 2**25))]
    assert _expected(StackingClassifier(far, LogisticRegression(), **given).fit(X, y)) is None


def test_scores_that_look_like_probabilities_are_open_and_others_settle_their_call() -> None:
    live, X = _fit(_warm(LinearSVC(max_iter=20_000)), SIGNS)
    for fold in live.calibrated_classifiers_:  # scores are the first three columns
        fold.estimator.coef_ = np.eye(3, X.shape[1])
        fold.estimator.intercept_ = np.zeros(3)
        fold.calibrators[0].beta_ = np.float64(2.0)
    one = _proves("open", live, X)
    rows = np.zeros((3, X.shape[1]))
    rows[:, :3] = [[0.2, 0.5, 0.3], [0.2, 0.5, 0.3 + 1e-4], [0.2, 0.5, 0.4]]
    found = answers(one.emitted.onnx, rows)
    assert (found["margin"] > found["bound"]).tolist() == [False, False, True]
    alone, together = live.predict_proba(rows[:1])[0], live.predict_proba(rows)[0]
    assert np.abs(alone - together).max() > 0.05
    assert np.abs(live.predict_proba(rows[2:])[0] - found["probabilities"][2]).max() < 1e-15
