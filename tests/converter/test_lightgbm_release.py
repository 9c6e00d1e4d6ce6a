# SPDX-License-Identifier: Apache-2.0
"""LightGBM's release is told by the settings of its text, and decides what compositions ask of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm import Booster, LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from depickle.environments import match, running_environment
from depickle.errors import EnvironmentMissingError, UnsupportedModelError
from depickle.models import read_model
from depickle.models.types import Calibrated, OneVsRest, walk_predictors
from depickle.parity.expected.model import expect_model
from depickle.pickles import open_package, vet
from depickle.pickles.lightgbm_release import lightgbm_releases

from .emit_checks import compare, convert, make_data, read
from .proof_kit import subject_of

_ADDED = {
    "4.7.0": ("gpu_device_id_list",),
    "4.6.0": ("bagging_by_query",),
    "4.5.0": ("early_stopping_min_delta",),
    "4.3.0": ("data_sample_strategy", "num_grad_quant_bins", "quant_train_renew_leaf", "seed",
              "stochastic_rounding", "use_quantized_grad"),
    "4.1.0": ("lambdarank_position_bias_regularization",),
}  # fmt: skip
"""What ``scripts/lightgbm_releases.py`` printed as new in each release, newest first."""


def lgbm() -> Any:
    return LGBMClassifier(n_estimators=6, verbose=-1, n_jobs=1, random_state=0)


def without(text: str, names: tuple[str, ...]) -> str:
    """`text` with none of the settings `names`."""
    head, found, settings = text.partition("\nparameters:\n")
    kept = [line for line in settings.split("\n") if line[1:].partition(":")[0] not in names]
    return head + found + "\n".join(kept)


@pytest.fixture
def before_47(monkeypatch: pytest.MonkeyPatch) -> None:
    """LGBMClassifier and its pickles as they were in 4.6: no decision_function, and no trace of 4.7."""
    write = Booster.model_to_string
    start = LGBMClassifier.__init__

    def text(self: Any, *args: Any, **options: Any) -> str:
        return without(write(self, *args, **options), ("gpu_device_id_list",))

    def state(self: Any) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_fitted_with_feature_names"}

    monkeypatch.setattr(Booster, "model_to_string", text)
    monkeypatch.setattr(LGBMClassifier, "__init__", start)
    monkeypatch.setattr(LGBMClassifier, "__getstate__", state)
    monkeypatch.delattr(LGBMClassifier, "decision_function")


COMPOSITIONS: dict[str, Callable[[], Any]] = {
    "sigmoid": lambda: CalibratedClassifierCV(lgbm(), cv=2),
    "isotonic": lambda: CalibratedClassifierCV(lgbm(), cv=2, method="isotonic"),
    "one fit for all folds": lambda: CalibratedClassifierCV(lgbm(), cv=2, ensemble=False),
    "over a pipeline": lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), lgbm()), cv=2),
    "one-vs-rest": lambda: OneVsRestClassifier(lgbm()),
}
TWO_OR_THREE = [
    (case, labels)
    for case in COMPOSITIONS
    for labels in ((0, 1), (-1, 0, 1))
    if case != "one-vs-rest" or len(labels) > 2
]


def asked(live: Any) -> set[str]:
    """What the compositions of the typed model ask of their members."""
    found: set[str] = set()
    for part in walk_predictors(read(live).root):
        if isinstance(part, Calibrated):
            found.add(part.response)
        elif isinstance(part, OneVsRest):
            found.update(part.responses)
    return found


def holds(case: str, labels: tuple[Any, ...], expected: str) -> None:
    """No flip on random rows and rows on splits, rows certified, and walked to the last bit."""
    X, y = make_data(labels)
    live = COMPOSITIONS[case]().fit(X, y)
    assert asked(live) == {expected}
    converted = convert(live)
    outcome = compare(converted, X)
    assert outcome.flips == 0
    assert (
        outcome.certified > 0.99 if case == "isotonic" else outcome.certified == 1.0
    )  # steps of a curve can tie
    alone = np.concatenate([converted.answers(row[np.newaxis])["label"] for row in X[:40]])
    assert np.array_equal(alone, live.predict(X[:40]))
    assert subject_of(case, live, X).prove() is not None


@pytest.mark.parametrize(("case", "labels"), TWO_OR_THREE)
def test_since_47_raw_scores_are_asked(case: str, labels: tuple[Any, ...]) -> None:
    holds(case, labels, "scores")


@pytest.mark.parametrize(("case", "labels"), TWO_OR_THREE)
@pytest.mark.usefixtures("before_47")
def test_before_47_probabilities_are_asked(case: str, labels: tuple[Any, ...]) -> None:
    holds(case, labels, "probabilities")


def _text() -> str:
    X, y = make_data((0, 1))
    return str(lgbm().fit(X, y).booster_.model_to_string())


def test_the_settings_tell_the_release() -> None:
    text = _text()
    assert lightgbm_releases(text) == ("4.7.0",)
    gone: tuple[str, ...] = ()
    told = []
    for names in _ADDED.values():
        gone += names
        told.append(lightgbm_releases(without(text, gone)))
    assert told == [("4.6.0",), ("4.4.0", "4.5.0"), ("4.2.0", "4.3.0"), ("4.1.0",), ("4.0.0",)]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(
            "[gpu_device_id_list: ]", "[gpu_device_id_list: ]\n[of_a_later_release: 0]"
        ),
        lambda text: without(text, ("max_bin",)),
        lambda text: text.replace("[max_bin: 255]", "[max_bin: 255]\n[max_bin: 255]"),
        lambda text: without(text, ("bagging_by_query",)),
        lambda text: text.replace("\nend of parameters", ""),
        lambda text: text.replace("\nparameters:", "\nsettings:"),
        lambda text: text.replace("[max_bin: 255]", "max_bin: 255"),
    ],
    ids=[
        "a new setting",
        "one less",
        "one twice",
        "one of before 4.7 less",
        "no end",
        "no section",
        "no bracket",
    ],
)
def test_settings_of_no_known_release_tell_nothing(
    change: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = _text()
    assert change(text) != text
    assert lightgbm_releases(change(text)) == ()
    write = Booster.model_to_string
    monkeypatch.setattr(Booster, "model_to_string", lambda self, **options: change(write(self, **options)))
    X, y = make_data((0, 1))
    vetted = vet(pickle.dumps(CalibratedClassifierCV(lgbm(), cv=2).fit(X, y)))
    refused(vetted)
    assert expect_model(open_package(vetted).estimator, vetted.writer) is None


def refused(vetted: Any) -> None:
    """The file is refused since it does not tell what is asked of its members."""
    with pytest.raises(UnsupportedModelError) as refusal:
        read_model(open_package(vetted).estimator, writer=vetted.writer)
    assert refusal.value.code == "DP613"
    assert "under one release" in refusal.value.next_step


@pytest.mark.parametrize(
    "keep", ["the text of 4.6 in the state of 4.7", "the text of 4.7 in the state of 4.6"]
)
def test_a_text_and_a_state_that_disagree_are_refused(keep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = make_data((0, 1))
    live = CalibratedClassifierCV(lgbm(), cv=2).fit(X, y)
    if keep.startswith("the text of 4.6"):
        write = Booster.model_to_string
        monkeypatch.setattr(
            Booster, "model_to_string", lambda self, **o: without(write(self, **o), _ADDED["4.7.0"])
        )
    else:
        for fold in live.calibrated_classifiers_:
            del fold.estimator._fitted_with_feature_names
    vetted = vet(pickle.dumps(live))
    refused(vetted)
    assert expect_model(open_package(vetted).estimator, vetted.writer) is None


@pytest.mark.usefixtures("before_47")
def test_a_release_that_was_stated_must_agree_with_the_text() -> None:
    X, y = make_data((0, 1))
    live = CalibratedClassifierCV(lgbm(), cv=2).fit(X, y)
    assert read(live, lightgbm="4.6.0").root is not None
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live, lightgbm="4.7.0")
    assert refusal.value.code == "DP613"


def test_the_worker_holds_the_release_that_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPICKLE_ENVIRONMENTS", str(tmp_path))  # none is installed
    X, y = make_data((0, 1))
    live = lgbm().fit(X, y)
    assert vet(pickle.dumps(live)).writer["lightgbm"] == "v4"
    writer = vet(pickle.dumps(CalibratedClassifierCV(live, cv=2).fit(X, y))).writer
    assert writer["lightgbm"] == "4.7.0"
    assert match(writer) == running_environment()
    assert match({**writer, "lightgbm": "4.6.0 or 4.7.0"}) == running_environment()
    with pytest.raises(EnvironmentMissingError) as refusal:
        match({"scikit-learn": "1.5.2", "lightgbm": "4.2.0 or 4.3.0"})
    assert refusal.value.next_step == "depickle env add 1.5.2+lightgbm-4.3.0"
    with pytest.raises(EnvironmentMissingError) as usual:
        match({"scikit-learn": "1.5.2", "lightgbm": "4.4.0 or 4.5.0"})
    assert usual.value.next_step == "depickle env add 1.5.2"


@pytest.mark.parametrize(
    "make",
    [
        lambda member: CalibratedClassifierCV(member, cv=2),
        lambda member: CalibratedClassifierCV(make_pipeline(StandardScaler(), member), cv=2),
        lambda member: FixedThresholdClassifier(member, response_method="decision_function"),
        lambda member: StackingClassifier([("a", member)], cv=2, stack_method="decision_function"),
    ],
    ids=["calibrated", "calibrated pipeline", "threshold", "stacked"],
)
def test_the_sums_of_a_random_forest_are_not_taken_for_its_means(make: Callable[[Any], Any]) -> None:
    X, y = make_data((0, 1))
    live = make(lgbm().set_params(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5)).fit(X, y)
    with pytest.raises(UnsupportedModelError) as refusal:
        read(live)
    assert (refusal.value.code, "adds up" in str(refusal.value)) == ("DP603", True)


@pytest.mark.usefixtures("before_47")
def test_the_means_of_a_random_forest_of_before_47_are_calibrated() -> None:
    X, y = make_data((0, 1))
    rf = lgbm().set_params(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5)
    live = CalibratedClassifierCV(rf, cv=2).fit(X, y)
    outcome = compare(convert(live), X)
    assert (outcome.flips, outcome.certified) == (0, 1.0)
    assert subject_of("rf", live, X).prove() is not None
