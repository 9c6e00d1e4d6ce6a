# SPDX-License-Identifier: Apache-2.0
"""One verified model bound to its features: market data in, a signal or a reasoned abstention out; no I/O.

Rules:

1. Confidence is +P for buy, −P for sell and 0.0 for wait, where P is the probability of the chosen class. The
   class comes from the model's class index, its meaning from the record's label map, entry by entry; no column
   has a meaning of its own.
2. A row whose label is not certified (margin not above bound) is an abstention.
3. A model that is no classifier, has no trading meaning for its labels, or no probabilities, abstains always.
4. Whatever fails is an abstention with a reason and a code, never a number.
"""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import FeatureError, ModelContractError, SecurityError
from .feature_rows import RowSource, row_source
from .record import ConversionRecord, Signal
from .session import Answers

__all__ = ["Abstention", "RunnableModel", "SymbolModel", "abstain", "bind", "blank_details"]

_logger = logging.getLogger(__name__)

PROBABILITY_SLACK = 1e-6
"""How far outside [0, 1] a float32 soft-max may round; anything further is not a probability."""

Details = dict[str, Any]


_DETAIL_NAMES = (
    "abstained",
    "code",
    "message",
    "signal",
    "label",
    "probabilities",
    "model",
    "digest",
    "version",
    "tier",
    "serial",
    "features",
    "catalogue_digest",
    "warm_up",
    "features_sha256",
    "margin",
    "bound",
)


class Abstention(StrEnum):
    """Why there is no signal; the value stands in ``details["abstained"]``."""

    NO_MODEL = "no_model"
    MODEL_NOT_LOADED = "model_not_loaded"
    MODEL_FAILED = "model_failed"
    NOT_A_CLASSIFIER = "not_a_classifier"
    NO_LABEL_MAP = "no_label_map"
    NO_PROBABILITIES = "no_probabilities"
    NO_FEATURE_ENGINEER = "no_feature_engineer"
    FEATURE_ENGINEER_FAILED = "feature_engineer_failed"
    FEATURE_MISSING = "feature_missing"
    FEATURE_INVALID = "feature_invalid"
    FEATURE_UNDEFINED = "feature_undefined"
    CATALOGUE_UNAVAILABLE = "catalogue_unavailable"
    MARKET_DATA = "market_data"
    WARM_UP = "warm_up"
    ARGUMENT = "argument"
    ROW_REFUSED = "row_refused"
    NOT_CERTIFIED = "not_certified"
    ANSWER_INVALID = "answer_invalid"


_REASONS = {
    "DP200": Abstention.FEATURE_INVALID,
    **{f"DP20{digit}": Abstention.MARKET_DATA for digit in range(1, 8)},
    "DP208": Abstention.WARM_UP,
    "DP209": Abstention.FEATURE_UNDEFINED,
    **{f"DP21{digit}": Abstention.CATALOGUE_UNAVAILABLE for digit in range(5)},
    "DP215": Abstention.NO_FEATURE_ENGINEER,
    "DP216": Abstention.FEATURE_ENGINEER_FAILED,
    "DP217": Abstention.FEATURE_ENGINEER_FAILED,
    "DP218": Abstention.FEATURE_MISSING,
    "DP219": Abstention.FEATURE_INVALID,
    "DP221": Abstention.ROW_REFUSED,
    "DP222": Abstention.ROW_REFUSED,
    "DP227": Abstention.ROW_REFUSED,
    "DP228": Abstention.ROW_REFUSED,
    "DP229": Abstention.ROW_REFUSED,
    "DP232": Abstention.NOT_A_CLASSIFIER,
    "DP233": Abstention.NO_LABEL_MAP,
    "DP234": Abstention.NO_PROBABILITIES,
    "DP235": Abstention.NOT_CERTIFIED,
    "DP236": Abstention.ANSWER_INVALID,
    "DP237": Abstention.ARGUMENT,
}


class RowSession(Protocol):
    """What is asked of a session: one row."""

    def run_row(self, row: npt.ArrayLike, /) -> Answers:
        """Answer one row of F numbers."""


@dataclass(frozen=True, slots=True)
class RunnableModel:
    """A verified model as a signal needs it.

    Attributes:
        record: its verified conversion record.
        session: its open session.
        name: the artefact's file name.
        sha256: digest of the artefact.
        version: version from the metadata.
        serial: serial of the release that admitted it.
        metadata: the guide's metadata, as plain values.
    """

    record: ConversionRecord
    session: RowSession
    name: str
    sha256: str
    version: str | None
    serial: int
    metadata: dict[str, Any]


class SymbolModel:
    """The model of one symbol with its feature source; immutable, usable from several threads at once.

    That holds for the caller's feature engineer only as far as the caller made it so.
    """

    def __init__(self, model: RunnableModel, rows: RowSource | None, fault: SecurityError | None) -> None:
        """Use `bind`."""
        self.model = model
        self._rows = rows
        self.fault = fault
        record = model.record
        self._classes: tuple[Any, ...] = tuple(record.classes or ())
        self._signals: tuple[Signal, ...] = tuple(record.label_map or ())
        self._certified = record.outputs.margin is not None or record.margin is not None
        self._facts: Details = blank_details(record.symbol) | {
            "model": model.name,
            "digest": model.sha256,
            "version": model.version,
            "tier": record.tier,
            "serial": model.serial,
            "features": record.features.kind if rows is None else rows.kind,
            "catalogue_digest": None if rows is None else rows.catalogue_digest,
            "warm_up": None if rows is None else rows.warm_up,
        }

    def predict(
        self, market_data: object, news_sentiment: object, vsa_signal: object
    ) -> tuple[float | None, Details]:
        """The signed confidence and its details, or None and the reason.

        Never raises for what the caller handed over, for the caller's own code, or for the model.
        """
        details = self._facts.copy()
        try:
            if self.fault is not None or self._rows is None:
                raise self.fault or _contract("DP236", "The model has no source of features")
            news = _finite(news_sentiment, "news_sentiment")
            vsa = _finite(vsa_signal, "vsa_signal")
            row = self._rows.row(market_data, news, vsa)
            details["features_sha256"] = hashlib.sha256(row.tobytes()).hexdigest()
            answers = self.model.session.run_row(row)
            return self._decide(answers, details), details
        except SecurityError as error:
            _logger.debug("%s abstains: %s", details["symbol"], error, exc_info=error)
            return abstain(details, error)

    def _decide(self, answers: Answers, details: Details) -> float:
        """Fill in the details and give the confidence.

        Raises:
            ModelContractError: DP235 outside the certified region, DP236 for an answer that is none.
        """
        if self._certified:
            margin, bound = _one(answers.margin, "margin"), _one(answers.bound, "bound")
            details["margin"], details["bound"] = margin, bound
            if not margin > bound:
                raise _contract(
                    "DP235",
                    "The label is too close to call: rounding could change it",
                    found=f"margin {margin:.3g}",
                    expected=f"more than {bound:.3g}",
                    next_step="no signal is the right answer for this row",
                )
        index = _one(answers.class_index, "class_index")
        probabilities = answers.probabilities
        if probabilities is None or probabilities.shape != (1, len(self._classes)):
            raise _contract(
                "DP236",
                "The model did not answer one probability for each class",
                found="none" if probabilities is None else str(probabilities.shape),
                expected=f"(1, {len(self._classes)})",
            )
        chances: list[float] = probabilities[0].tolist()
        chosen = int(index)
        if not 0 <= chosen < len(chances):
            raise _contract("DP236", "The model chose a class that it does not have", found=str(chosen))
        for chance in chances:  # not min and max: they may pass over a NaN
            if not -PROBABILITY_SLACK <= chance <= 1.0 + PROBABILITY_SLACK:
                raise _contract(
                    "DP236", "The model answered something that is no probability", found=str(chances)
                )
        signal = self._signals[chosen]
        details["signal"] = signal
        details["label"] = self._classes[chosen]
        details["probabilities"] = dict(zip(self._classes, chances, strict=True))
        # max and min: a confidence of 1.0000001 would surprise a position size; -0.0 would print as a sell.
        chance = min(max(chances[chosen], 0.0), 1.0)
        if signal == "wait":
            return 0.0
        return chance if signal == "buy" else -chance


def bind(model: RunnableModel, engineer: object | None) -> SymbolModel:
    """Bind a verified model to whoever computes its features.

    What makes the model unable to ever give a signal is kept as its `fault`, and every prediction abstains
    with it: the other models are no worse for it.
    """
    try:
        _check_trades(model.record)
        return SymbolModel(model, row_source(model.record, engineer), None)
    except (FeatureError, ModelContractError) as error:
        return SymbolModel(model, None, error)


def blank_details(symbol: str) -> Details:
    """Details with every key and nothing known but the symbol."""
    return {"symbol": symbol, **dict.fromkeys(_DETAIL_NAMES)}


def abstain(details: Details, error: SecurityError, reason: Abstention | None = None) -> tuple[None, Details]:
    """No signal, and `details` that say why."""
    chosen = reason or _REASONS.get(error.code, Abstention.MODEL_FAILED)
    details["abstained"] = chosen.value
    details["code"] = error.code
    details["message"] = str(error)
    details["signal"] = None
    return None, details


def _check_trades(record: ConversionRecord) -> None:
    if record.task != "classifier":
        raise _contract(
            "DP232",
            "Only a classifier gives a signal",
            found=record.task,
            expected="classifier",
            next_step="run the model through SecureModelLoader instead",
        )
    classes, signals = record.classes, record.label_map
    if classes is None or signals is None:
        raise _contract(
            "DP233",
            "The model's labels have no trading meaning",
            found=str(classes)[:80],
            next_step="migrate again with --label-map",
        )
    if len(classes) != len(signals) or len(set(classes)) != len(classes):
        raise _contract(
            "DP233",
            "The label map does not fit the classes",
            found=f"{len(signals)} signals",
            expected=f"{len(classes)} for {len(classes)} different classes",
            next_step="migrate again with --label-map",
        )
    if record.outputs.probabilities is None or record.outputs.class_index is None:
        raise _contract(
            "DP234",
            "The model has no probabilities, so there is no confidence",
            expected="a model with predict_proba",
            next_step="train it with probabilities, or calibrate it",
        )
    margin, bound = record.outputs.margin, record.outputs.bound
    if (margin is None) != (bound is None) or (record.margin is not None and margin is None):
        raise _contract("DP236", "The record promises a margin and names no output for it", where="outputs")


def _finite(value: object, name: str) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, (float, int, np.floating, np.integer)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise FeatureError(
        "An argument is not a finite number",
        code="DP237",
        found=type(value).__name__ if not isinstance(value, float) else str(value),
        expected="a finite number",
        where=name,
        next_step="leave the argument out where there is no such reading",
    )


def _one(values: npt.NDArray[Any] | None, name: str) -> float:
    if values is None or values.size != 1 or not math.isfinite(number := values.item()):
        raise _contract(
            "DP236",
            "The model did not answer one number",
            found="none" if values is None else str(values)[:40],
            where=name,
        )
    return float(number)


def _contract(
    code: str, message: str, *, found: str = "", expected: str = "", where: str = "", next_step: str = ""
) -> ModelContractError:
    return ModelContractError(
        message, code=code, found=found, expected=expected, where=where, next_step=next_step
    )
