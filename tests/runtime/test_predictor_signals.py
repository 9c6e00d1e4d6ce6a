# SPDX-License-Identifier: Apache-2.0
"""Signals by class label, and an abstention with a reason for everything that is none."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depickle_runtime import feature_rows
from depickle_runtime.errors import ConfigurationError, FeatureError, ModelContractError
from depickle_runtime.feature_rows import check_engineer
from depickle_runtime.features import catalogue
from depickle_runtime.market_data import read_bars
from depickle_runtime.record import FeatureContract, OutputNames
from depickle_runtime.signals import Abstention, bind
from tests.runtime.bars_sim import as_candles, synthetic_columns
from tests.runtime.signal_sim import NAMES, ChosenSession, answers, margin_fields, runnable

GOOD_ROW = {"rsi": 55.0, "atr": 0.001, "news": 0.0}
COLUMNS = synthetic_columns(450)


def _predict(
    session: ChosenSession, engineer: Any = lambda data: GOOD_ROW, data: Any = None, **changes: Any
) -> tuple[float | None, dict[str, Any]]:
    return bind(runnable(session, **changes), engineer).predict(data, 0.0, 0.0)


@pytest.mark.parametrize(("index", "confidence"), [(0, -0.7), (1, 0.0), (2, 0.2)])
def test_confidence_is_the_signed_probability_of_the_chosen_label(index: int, confidence: float) -> None:
    result, details = _predict(ChosenSession(answers(index, [0.7, 0.1, 0.2])))
    assert result == confidence
    assert details["abstained"] is None
    assert details["signal"] == ("sell", "wait", "buy")[index]
    assert details["label"] == (-1, 0, 1)[index]
    assert details["probabilities"] == {-1: 0.7, 0: 0.1, 1: 0.2}
    json.dumps(details)


def test_wait_is_a_positive_zero() -> None:
    result, _ = _predict(ChosenSession(answers(1, [0.0, 1.0, 0.0])))
    assert result is not None and math.copysign(1.0, result) == 1.0


LABELS = st.lists(
    st.one_of(st.integers(-5, 5), st.text(max_size=4)), min_size=2, max_size=6, unique_by=lambda label: label
)


@given(LABELS, st.data())
def test_the_signal_follows_the_label_in_whatever_order_classes_stand(
    classes: list[Any], data: st.DataObject
) -> None:
    size = len(classes)
    signals = data.draw(st.lists(st.sampled_from(["sell", "wait", "buy"]), min_size=size, max_size=size))
    raw = data.draw(st.lists(st.floats(0.01, 1.0), min_size=size, max_size=size))
    chances = [value / sum(raw) for value in raw]
    chosen = data.draw(st.integers(0, size - 1))
    order = data.draw(st.permutations(range(size)))
    results = []
    for places in (list(range(size)), order):
        session = ChosenSession(answers(places.index(chosen), [chances[place] for place in places]))
        result, details = _predict(
            session,
            classes=[classes[place] for place in places],
            label_map=[signals[place] for place in places],
        )
        assert details["label"] == classes[chosen]
        assert details["signal"] == signals[chosen]
        assert details["probabilities"] == dict(zip(classes, chances, strict=True))
        results.append(result)
    sign = {"sell": -1.0, "wait": 0.0, "buy": 1.0}[signals[chosen]]
    assert results == [sign * chances[chosen]] * 2


def _engineer_raises(error: Exception) -> Any:
    def engineer(data: object) -> dict[str, float]:
        raise error

    return engineer


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "no feature engineer": ({"engineer": None}, "no_feature_engineer"),
    "the engineer raises": ({"engineer": _engineer_raises(KeyError("secret"))}, "feature_engineer_failed"),
    "the engineer runs out of stack": (
        {"engineer": _engineer_raises(RecursionError())},
        "feature_engineer_failed",
    ),
    "the engineer returns None": ({"engineer": lambda data: None}, "feature_engineer_failed"),
    "the engineer returns a list for named features": (
        {"engineer": lambda data: [1.0, 2.0, 3.0]},
        "feature_engineer_failed",
    ),
    "a feature is missing": ({"engineer": lambda data: {"rsi": 1.0, "atr": 1.0}}, "feature_missing"),
    "a name differs in case": (
        {"engineer": lambda data: {"RSI": 1.0, "atr": 1.0, "news": 0.0}},
        "feature_missing",
    ),
    "a feature is NaN": ({"engineer": lambda data: GOOD_ROW | {"rsi": math.nan}}, "feature_invalid"),
    "a feature is infinite": ({"engineer": lambda data: GOOD_ROW | {"rsi": -math.inf}}, "feature_invalid"),
    "a feature is None": ({"engineer": lambda data: GOOD_ROW | {"rsi": None}}, "feature_invalid"),
    "a feature is text": ({"engineer": lambda data: GOOD_ROW | {"rsi": "55"}}, "feature_invalid"),
    "a feature is complex": ({"engineer": lambda data: GOOD_ROW | {"rsi": 1j}}, "feature_invalid"),
    "a feature is a huge integer": (
        {"engineer": lambda data: GOOD_ROW | {"rsi": 10**400}},
        "feature_invalid",
    ),
    "a regressor": ({"task": "regressor"}, "not_a_classifier"),
    "an outlier detector": ({"task": "outlier"}, "not_a_classifier"),
    "labels without a meaning": ({"label_map": None}, "no_label_map"),
    "a label map of another length": ({"label_map": ["sell", "buy"]}, "no_label_map"),
    "two classes that are equal": ({"classes": [1, True, 0]}, "no_label_map"),
    "no probabilities": (
        {"outputs": OutputNames(label="label", class_index="i", probabilities=None, scores="s")},
        "no_probabilities",
    ),
    "names that do not fit the input": (
        {"features": FeatureContract(kind="caller", catalogue=None, names=["rsi"])},
        "answer_invalid",
    ),
    "an unknown catalogue": (
        {"features": FeatureContract(kind="catalogue", catalogue="catalogue@9", names=NAMES)},
        "catalogue_unavailable",
    ),
    "names that the catalogue does not have": (
        {"features": FeatureContract(kind="catalogue", catalogue="catalogue@1", names=NAMES)},
        "catalogue_unavailable",
    ),
    "a catalogue that is not named": (
        {"features": FeatureContract(kind="catalogue", catalogue=None, names=NAMES)},
        "answer_invalid",
    ),
}


@pytest.mark.parametrize("sentence", REASONS, ids=str)
def test_a_problem_is_an_abstention_with_its_reason(sentence: str) -> None:
    changes, reason = REASONS[sentence]
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8]))
    result, details = _predict(session, **changes)
    assert result is None
    assert details["abstained"] == reason
    assert Abstention(reason)
    assert details["signal"] is None
    assert details["message"].endswith(f"[{details['code']}]")
    assert session.rows == []
    assert "secret" not in details["message"]
    json.dumps(details)


BAD_ANSWERS = {
    "a probability above one": answers(2, [0.1, 0.1, 1.5]),
    "a negative probability": answers(2, [-0.2, 0.2, 1.0]),
    "a NaN probability": answers(2, [math.nan, 0.2, 0.8]),
    "a class that is none": answers(3, [0.1, 0.1, 0.8]),
    "a negative class": answers(-1, [0.1, 0.1, 0.8]),
    "too few probabilities": answers(1, [0.2, 0.8]),
    "no probabilities at all": answers(1, None),
}


@pytest.mark.parametrize("sentence", BAD_ANSWERS, ids=str)
def test_an_answer_that_is_none_is_an_abstention(sentence: str) -> None:
    result, details = _predict(ChosenSession(BAD_ANSWERS[sentence]))
    assert (result, details["abstained"], details["code"]) == (None, "answer_invalid", "DP236")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelContractError("onnxruntime failed on this input", code="DP223"), "model_failed"),
        (FeatureError("A feature is out of the model's range", code="DP229"), "row_refused"),
    ],
)
def test_a_session_that_refuses_is_an_abstention(error: Exception, reason: str) -> None:
    result, details = _predict(ChosenSession(error))
    assert (result, details["abstained"]) == (None, reason)
    assert details["features_sha256"] is not None


def test_a_soft_maximum_that_rounds_past_one_is_a_confidence_of_one() -> None:
    result, _ = _predict(ChosenSession(answers(2, [0.0, 0.0, 1.0000001])))
    assert result == 1.0


@given(
    st.floats(0, 10),
    st.floats(0, 10, allow_nan=False),
)
def test_only_a_margin_above_its_bound_gives_a_signal(margin: float, bound: float) -> None:
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8], margin=margin, bound=bound))
    result, details = _predict(session, **margin_fields())
    assert (details["margin"], details["bound"]) == (margin, bound)
    if margin > bound:
        assert (result, details["abstained"]) == (0.8, None)
    else:
        assert (result, details["abstained"], details["signal"]) == (None, "not_certified", None)


@pytest.mark.parametrize("missing", ["margin", "bound"])
def test_a_certified_model_without_its_certificate_gives_no_signal(missing: str) -> None:
    given_values = {"margin": 1.0, "bound": 0.1} | {missing: math.nan}
    result, details = _predict(ChosenSession(answers(2, [0.1, 0.1, 0.8], **given_values)), **margin_fields())
    assert (result, details["abstained"]) == (None, "answer_invalid")
    result, details = _predict(ChosenSession(answers(2, [0.1, 0.1, 0.8])), **margin_fields())
    assert (result, details["abstained"]) == (None, "answer_invalid")


def test_values_stand_in_the_order_of_the_record_and_unknown_names_are_ignored() -> None:
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8]))
    engineer = lambda data: {"extra": math.nan, "news": 3, "atr": np.float32(2.0), "rsi": True}  # noqa: E731
    assert _predict(session, engineer)[0] == 0.8
    np.testing.assert_array_equal(session.rows[0], [1.0, 2.0, 3.0])


def test_a_model_without_names_takes_a_row_by_position_and_no_mapping() -> None:
    features = FeatureContract(kind="caller", catalogue=None, names=None)
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8]))
    for row in ([1.0, 2.0, 3.0], (1, 2, 3), np.array([1.0, 2.0, 3.0])):
        assert _predict(session, lambda data, row=row: row, features=features)[0] == 0.8
    for row in (GOOD_ROW, [1.0, 2.0], np.ones((1, 3)), "abc"):
        result, details = _predict(session, lambda data, row=row: row, features=features)
        assert (result, details["abstained"]) == (None, "feature_engineer_failed")


@given(
    st.lists(
        st.one_of(
            st.floats(),
            st.integers(),
            st.sampled_from(
                [1e308, -1e308, 2**62 + 1, 10**400, True, np.float64(0.1), np.float32(0.1), None]
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_checking_a_row_at_once_is_checking_it_number_by_number(values: list[Any]) -> None:
    names = tuple(map(str, range(len(values))))
    try:
        wanted: Any = feature_rows._numbers_one_by_one(values, names)
    except FeatureError as error:
        with pytest.raises(FeatureError) as refused:
            feature_rows._numbers(values, names)
        assert str(refused.value) == str(error)
    else:
        assert feature_rows._numbers(values, names).tobytes() == wanted.tobytes()


def test_a_function_gets_the_readings_it_asks_for() -> None:
    seen: list[Any] = []

    def both(data: object, news_sentiment: float, vsa_signal: float) -> dict[str, float]:
        seen.append((data, news_sentiment, vsa_signal))
        return GOOD_ROW

    def one(data: object, *, vsa_signal: float) -> dict[str, float]:
        seen.append((data, vsa_signal))
        return GOOD_ROW

    def every(data: object, **readings: float) -> dict[str, float]:
        seen.append((data, readings))
        return GOOD_ROW

    for engineer in (both, one, every):
        model = bind(runnable(ChosenSession(answers(2, [0.1, 0.1, 0.8]))), engineer)
        assert model.predict("data", 0.25, -1)[0] == 0.8
    assert seen == [
        ("data", 0.25, -1.0),
        ("data", -1.0),
        ("data", {"news_sentiment": 0.25, "vsa_signal": -1.0}),
    ]


class _Engineer:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def extract_features(
        self, h1_candles: Any, h4_candles: Any, current_price: float, news_sentiment: float, vsa_signal: float
    ) -> dict[str, float]:
        self.seen.append((h1_candles, h4_candles, current_price, news_sentiment, vsa_signal))
        return GOOD_ROW


def test_an_engineer_gets_its_candles_untouched() -> None:
    candles = as_candles(COLUMNS)
    price = candles[-1]["close"]
    engineer = _Engineer()
    model = bind(runnable(ChosenSession(answers(2, [0.1, 0.1, 0.8]))), engineer)
    wrapped = SimpleNamespace(candles=candles)
    for data in (candles, {"H1": candles, "H4": [1]}, {"h1": wrapped, "h4": wrapped}):
        assert model.predict(data, 0.5, 0.25)[0] == 0.8
    assert [(seen[0] is candles, seen[1], *seen[2:]) for seen in engineer.seen] == [
        (True, None, price, 0.5, 0.25),
        (True, [1], price, 0.5, 0.25),
        (True, candles, price, 0.5, 0.25),
    ]
    result, details = model.predict({"H4": candles}, 0.0, 0.0)
    assert (result, details["abstained"]) == (None, "market_data")


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "0.5", True, 10**400])
@pytest.mark.parametrize("place", ["news", "vsa"])
def test_a_reading_that_is_no_finite_number_is_an_abstention(bad: Any, place: str) -> None:
    model = bind(runnable(ChosenSession(answers(2, [0.1, 0.1, 0.8]))), lambda data: GOOD_ROW)
    result, details = model.predict(None, *((bad, 0.0) if place == "news" else (0.0, bad)))
    assert (result, details["abstained"], details["code"]) == (None, "argument", "DP237")


CATALOGUE = {
    "features": FeatureContract(
        kind="catalogue", catalogue="catalogue@1", names=["rsi_14", "bb_width", "cci_20"]
    )
}


@pytest.mark.parametrize("form", ["columns", "candles", "timeframes", "longer history"])
def test_a_catalogue_model_computes_its_own_features(form: str) -> None:
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8]))
    data: Any = {
        "columns": COLUMNS,
        "candles": as_candles(COLUMNS),
        "timeframes": {"H1": COLUMNS, "H4": "never read"},
        "longer history": {name: values[-260:] for name, values in COLUMNS.items()},
    }[form]
    result, details = _predict(session, None, data, **CATALOGUE)
    assert result == 0.8
    assert (details["features"], details["warm_up"]) == ("catalogue@1", 250)
    assert details["catalogue_digest"] == catalogue("catalogue@1").digest
    expected = catalogue("catalogue@1").row(read_bars(COLUMNS), ["rsi_14", "bb_width", "cci_20"])
    np.testing.assert_array_equal(session.rows[0], expected)


def test_a_catalogue_model_never_asks_the_callers_engineer() -> None:
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8]))
    assert _predict(session, _engineer_raises(KeyError()), COLUMNS, **CATALOGUE)[0] == 0.8


def test_a_legacy_model_is_not_bound_to_the_catalogue_by_its_names() -> None:
    features = FeatureContract(kind="caller", catalogue=None, names=["rsi_14", "bb_width", "cci_20"])
    result, details = _predict(ChosenSession(answers(2, [0.1, 0.1, 0.8])), None, COLUMNS, features=features)
    assert (result, details["abstained"]) == (None, "no_feature_engineer")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({name: values[-249:] for name, values in COLUMNS.items()}, "warm_up"),
        ({name: values[::-1] for name, values in COLUMNS.items()}, "market_data"),
        (COLUMNS | {"close": np.where(np.arange(450) == 440, np.nan, COLUMNS["close"])}, "market_data"),
        ({name: np.full(450, 1.5) for name in ("open", "high", "low", "close")}, "feature_undefined"),
        (None, "market_data"),
    ],
    ids=["too few bars", "newest first", "a NaN", "a still market", "nothing"],
)
def test_bars_that_give_no_features_give_no_signal(data: Any, reason: str) -> None:
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8]))
    result, details = _predict(session, None, data, **CATALOGUE)
    assert (result, details["abstained"]) == (None, reason)
    assert session.rows == []


@given(
    st.dictionaries(
        st.sampled_from([*NAMES, "other"]),
        st.floats() | st.none() | st.text(max_size=2) | st.integers() | st.booleans(),
        max_size=4,
    )
    | st.none()
    | st.lists(st.floats(), max_size=4)
)
def test_a_signal_needs_every_feature_finite_and_nothing_else_gives_one(returned: Any) -> None:
    session = ChosenSession(answers(2, [0.1, 0.1, 0.8]))
    result, details = _predict(session, lambda data: returned)
    complete = isinstance(returned, dict) and all(
        isinstance(returned.get(name), (float, int)) and math.isfinite(float(returned[name]))
        for name in NAMES
    )
    assert (result is not None) == complete
    assert (details["abstained"] is None) == complete
    if complete:
        np.testing.assert_array_equal(session.rows[0], [float(returned[name]) for name in NAMES])


def test_details_of_one_prediction_are_not_those_of_the_next() -> None:
    model = bind(runnable(ChosenSession(answers(2, [0.1, 0.1, 0.8]))), lambda data: GOOD_ROW)
    _, first = model.predict(None, 0.0, 0.0)
    first["digest"] = "changed"
    first["probabilities"].clear()
    _, second = model.predict(None, 0.0, 0.0)
    assert second["digest"] == "ab" * 32
    assert second["probabilities"] == {-1: 0.1, 0: 0.1, 1: 0.8}


def test_something_that_cannot_compute_features_is_refused_at_once() -> None:
    check_engineer(None)
    check_engineer(_Engineer())
    check_engineer(len)
    for wrong in (1, "engineer", [1]):
        with pytest.raises(ConfigurationError, match="DP940"):
            check_engineer(wrong)
