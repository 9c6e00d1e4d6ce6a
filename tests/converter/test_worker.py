# SPDX-License-Identifier: Apache-2.0
"""The warm worker gives exactly the answers of the original model, and a typed error for everything else."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler

from depickle.errors import GateRefusedError, SandboxError
from depickle.sandbox import Limits, Worker, open_worker, open_worker_dangerously_unconfined

from .worker_kit import Use, Vetted, as_joblib, as_pickle, environment, numbers


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with open_worker(environment()) as opened:
        yield opened


def _labels() -> np.ndarray:
    return (numbers()[:, 0] > numbers()[:, 1]).astype(int)


CLASSIFIERS = {
    "a forest that asks for two threads": RandomForestClassifier(5, n_jobs=2, random_state=0),
    "a pipeline of boosted trees": make_pipeline(RobustScaler(), GradientBoostingClassifier(n_estimators=4)),
    "a linear model": LogisticRegression(),
}


@pytest.mark.parametrize("form", [as_pickle, as_joblib])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_to_the_last_bit(worker: Worker, name: str, form) -> None:
    model = CLASSIFIERS[name].fit(numbers(), _labels())
    answers = worker.answers(form({"pipeline": model}), ("pipeline",), numbers())
    assert np.array_equal(answers.predict, model.predict(numbers()))
    assert np.array_equal(answers.predict_proba, model.predict_proba(numbers()))


def test_text_labels_come_back_as_text(worker: Worker) -> None:
    words = np.where(_labels() == 1, "BUY", "SELL — verkäufe")
    model = LogisticRegression().fit(numbers(), words)
    answers = worker.answers(as_pickle(model), (), numbers())
    assert answers.predict.tolist() == model.predict(numbers()).tolist()
    assert answers.dtypes["predict"] == "text"


def test_boosters_answer_with_their_raw_scores(worker: Worker) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    xgboost = pytest.importorskip("xgboost")
    light = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=2, verbose=-1, min_child_samples=3)
    extreme = xgboost.XGBClassifier(n_estimators=3, n_jobs=2)
    for model, keyword in ((light, "raw_score"), (extreme, "output_margin")):
        model.fit(numbers(), _labels())
        answers = worker.answers(as_pickle(model), (), numbers(), methods=("predict", "raw_score"))
        assert np.array_equal(answers.predict, model.predict(numbers()))
        assert np.array_equal(answers.others["raw_score"], model.predict(numbers(), **{keyword: True}))


def test_a_method_that_the_model_lacks_is_none(worker: Worker) -> None:
    model = LinearRegression().fit(numbers(), numbers()[:, 0])
    answers = worker.answers(as_pickle(model), (), numbers())
    assert answers.predict_proba is None
    assert answers.decision_function is None
    assert answers.predict.dtype == np.float64


def test_an_object_that_is_no_model_answers_nothing(worker: Worker) -> None:
    assert worker.answers(as_pickle({"pipeline": 5}), ("pipeline",), numbers()).predict is None


def test_rows_can_be_asked_one_by_one_as_well(worker: Worker) -> None:
    model = HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=3).fit(numbers(), numbers()[:, 0])
    answers = worker.answers(as_pickle(model), (), numbers(), methods=("predict",), one_by_one=True)
    assert answers.alone is not None
    assert np.array_equal(answers.alone.predict, answers.predict)


def test_columns_chosen_by_name_get_a_data_frame(worker: Worker) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(numbers(), columns=["rsi", "macd", "atr", "ema"])
    chosen = ColumnTransformer([("scaled", RobustScaler(), ["atr", "rsi"])], remainder="passthrough")
    model = make_pipeline(chosen, LogisticRegression()).fit(frame, _labels())
    answers = worker.answers(as_pickle(model), (), numbers())
    assert np.array_equal(answers.predict_proba, model.predict_proba(frame))


def test_an_auxiliary_class_becomes_an_inert_stand_in(worker: Worker) -> None:
    model = LogisticRegression().fit(numbers(), _labels())
    vetted = as_pickle({"pipeline": model, "feature_engineer": Use("a", "b")})
    home = Use.__module__
    data = vetted.data.replace(home.encode(), b"x" * len(home))
    uses = tuple(use for use in vetted.globals if use.module != home)
    hidden = Vetted(data, "pickle", (*uses, Use("x" * len(home), "Use", "auxiliary")))
    answers = worker.answers(hidden, ("pipeline",), numbers())
    assert np.array_equal(answers.predict, model.predict(numbers()))


def test_arrays_of_objects_in_a_joblib_stream_stay_under_the_policy(worker: Worker) -> None:
    holder = np.empty(1, dtype=object)
    holder[0] = io.StringIO  # a global inside the nested pickle only
    model = LogisticRegression().fit(numbers(), _labels())
    vetted = as_joblib({"pipeline": model, "extra": holder})
    missing = dataclasses.replace(
        vetted, globals=tuple(use for use in vetted.globals if use.name != "StringIO")
    )
    with pytest.raises(GateRefusedError, match="Attempted to load unsafe module") as caught:
        worker.answers(missing, ("pipeline",), numbers())
    assert caught.value.code == "DP510"


@pytest.mark.parametrize("name", ["os.system", "system"])
def test_a_global_outside_the_table_is_refused(worker: Worker, name: str) -> None:
    data = b"\x80\x04" + _text("os") + _text(name) + b"\x93."
    with pytest.raises(GateRefusedError, match="Attempted to load unsafe module") as caught:
        worker.answers(Vetted(data, "pickle", ()), (), numbers())
    assert caught.value.code == "DP510"


def _text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def _two_outputs() -> Vetted:
    return as_pickle(RandomForestClassifier(2).fit(numbers(), np.stack([_labels(), 1 - _labels()], 1)))


REFUSALS = {
    "the package holds nothing at the path": (
        lambda: as_pickle({"model": 1}),
        ("pipeline",),
        numbers,
        "DP512",
    ),
    "the rows have another width": (
        lambda: as_pickle(LinearRegression().fit(numbers(), numbers()[:, 0])),
        (),
        lambda: numbers()[:, :2],
        "DP513",
    ),
    "the model has several outputs": (_two_outputs, (), numbers, "DP514"),
    "the rows are integers": (lambda: as_pickle({}), (), lambda: numbers().astype(int), "DP516"),
    "there are no rows": (lambda: as_pickle({}), (), lambda: numbers()[:0], "DP516"),
    "the stream ends early": (
        lambda: Vetted(pickle.dumps(1.5)[:-4] + b".", "pickle", ()),
        (),
        numbers,
        "DP511",
    ),
    "a vetted name is dotted": (
        lambda: Vetted(pickle.dumps(1), "pickle", (Use("os", "path.join"),)),
        (),
        numbers,
        "DP516",
    ),
    "a vetted role is unknown": (
        lambda: Vetted(pickle.dumps(1), "pickle", (Use("os", "getpid", "trusted"),)),
        (),
        numbers,
        "DP516",
    ),
    "a vetted module does not exist": (
        lambda: Vetted(pickle.dumps(1), "pickle", (Use("sklearn.absent", "Model"),)),
        (),
        numbers,
        "DP502",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_question_without_an_answer_is_a_typed_error(worker: Worker, name: str) -> None:
    make, path, rows, code = REFUSALS[name]
    with pytest.raises(SandboxError) as caught:
        worker.answers(make(), path, rows())
    assert caught.value.code == code
    assert worker.answers(as_pickle(_constant()), (), numbers()).predict is not None  # it serves on


def _constant() -> DummyRegressor:
    return DummyRegressor().fit(numbers(), numbers()[:, 0])


def test_a_model_past_the_time_limit_is_killed_and_the_worker_serves_on(worker: Worker) -> None:
    slow = IsolationForest(n_estimators=300, random_state=0).fit(numbers())
    with pytest.raises(SandboxError) as caught:
        worker.answers(as_pickle(slow), (), numbers(), one_by_one=True, limits=Limits(seconds=0.3))
    assert caught.value.code == "DP504"
    assert worker.answers(as_pickle(_constant()), (), numbers()).predict is not None


def test_a_model_past_the_memory_limit_is_refused(worker: Worker) -> None:
    many = np.zeros((200_000, 4))
    wide = LinearRegression().fit(numbers(), np.tile(numbers()[:, :1], 600))
    with pytest.raises(SandboxError) as caught:
        worker.answers(as_pickle(wide), (), many, limits=Limits(memory_bytes=64 << 20))
    assert caught.value.code in ("DP505", "DP513")


def test_a_reply_over_the_cap_is_not_read() -> None:
    with open_worker(environment(), limits=Limits(reply_bytes=64)) as small:
        with pytest.raises(SandboxError) as caught:
            small.answers(as_pickle(_constant()), (), numbers())
        assert caught.value.code == "DP509"


def test_a_worker_says_its_versions_and_its_confinement(worker: Worker) -> None:
    import sklearn

    assert worker.versions()["scikit-learn"] == sklearn.__version__
    assert int(worker.confinement()["landlock"]) >= 1


def test_an_environment_that_lies_about_its_versions_is_refused() -> None:
    lying = dataclasses.make_dataclass("Lying", ["python", "name", "versions"])
    with pytest.raises(SandboxError) as caught:
        open_worker(lying(Path(sys.executable), "lying", {"scikit-learn": "0.24.2"}))
    assert caught.value.code == "DP517"


def test_a_missing_interpreter_is_a_typed_error(tmp_path: Path) -> None:
    absent = dataclasses.make_dataclass("Absent", ["python", "name", "versions"])
    with pytest.raises(SandboxError) as caught:
        open_worker(absent(tmp_path / "python", "absent", {}))
    assert caught.value.code == "DP500"


def test_a_closed_worker_says_so_and_leaves_no_process() -> None:
    opened = open_worker(environment())
    process = opened._process.pid
    opened.close()
    opened.close()
    assert not os.path.exists(f"/proc/{process}")
    with pytest.raises(SandboxError) as caught:
        opened.answers(as_pickle(_constant()), (), numbers())
    assert caught.value.code == "DP515"


def test_running_without_a_sandbox_is_loud(caplog: pytest.LogCaptureFixture) -> None:
    with (
        pytest.warns(RuntimeWarning, match="WITHOUT a sandbox"),
        open_worker_dangerously_unconfined(environment()) as opened,
    ):
        assert opened.confinement() == {}
        assert opened.answers(as_pickle(_constant()), (), numbers()).predict is not None
    assert "WITHOUT a sandbox" in caplog.text


def test_files_past_the_real_gate_are_served_in_full(worker: Worker) -> None:
    """The gate settles some names in place; whatever it accepts, the worker can rebuild."""
    from sklearn.model_selection import GridSearchCV

    from depickle.pickles import open_package, vet

    searched = GridSearchCV(LogisticRegression(), {"C": [0.5, 1.0]}, cv=2).fit(numbers(), _labels())
    for form in (as_pickle, as_joblib):
        vetted = vet(form({"model": searched}).data)
        answers = worker.answers(vetted, open_package(vetted).estimator_path, numbers())
        assert np.array_equal(answers.predict_proba, searched.predict_proba(numbers()))


def test_the_public_unpickler_passes_the_gate_first() -> None:
    from depickle.unpickler import RestrictedUnpickler

    model = LogisticRegression().fit(numbers(), _labels())
    for form in (as_pickle, as_joblib):
        package = RestrictedUnpickler(io.BytesIO(form({"model": model}).data)).load()
        assert np.array_equal(package["model"].predict(numbers()), model.predict(numbers()))
    with pytest.raises(GateRefusedError, match="Attempted to load unsafe module"):
        RestrictedUnpickler(
            io.BytesIO(b"\x80\x04" + _text("os") + _text("system") + b"\x93" + _text("true") + b"\x85R.")
        )
    with pytest.raises(GateRefusedError, match="Attempted to load unsafe module"):
        RestrictedUnpickler(io.BytesIO(form({"model": model}).data)).find_class("os", "system")
