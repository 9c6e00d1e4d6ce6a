# SPDX-License-Identifier: Apache-2.0
"""One row of features for a model, from whoever the model's record says computes them.

Guarantees:

* A model whose record says ``caller`` gets its row from the caller's feature engineer and from nowhere else:
  equal names never bind it to the catalogue.
* Values are found by the exact names of the record and stand in the record's order. Names that the model does
  not know are ignored; a name that is absent, a value that is no number or not finite is a `FeatureError`.
* An exception of the caller's code becomes a `FeatureError` that names its type.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from .errors import ConfigurationError, FeatureError, ModelContractError
from .market_data import candle_list, read_bars, timeframe
from .record import ConversionRecord

if TYPE_CHECKING:
    from .features import Catalogue

__all__ = ["FeatureEngineer", "FeatureFunction", "RowSource", "check_engineer", "row_source"]

FloatArray = npt.NDArray[np.float64]
_PLAIN: Final = frozenset({float, int, np.float64})
"""Types whose values convert to a float64 as `float` converts them; not bool, which is an int by inheritance."""


@runtime_checkable
class FeatureEngineer(Protocol):
    """The object that trading systems of this kind already have."""

    def extract_features(
        self,
        h1_candles: Any,
        h4_candles: Any,
        current_price: float,
        news_sentiment: float,
        vsa_signal: float,
        /,
    ) -> Mapping[str, float]:
        """Features by name, for the last of the candles.

        Args:
            h1_candles: what stands under ``"H1"`` of the market data (all of it where it has no timeframes),
                untouched; the list ``candles`` of an object that has one.
            h4_candles: the same of ``"H4"``, or None where the market data has no such timeframe.
            current_price: the last hourly close.
            news_sentiment: as handed to ``predict_signal``.
            vsa_signal: as handed to ``predict_signal``.
        """


FeatureFunction = Callable[..., Mapping[str, float] | Sequence[float]]
"""``function(market_data)``; it gets ``news_sentiment`` and ``vsa_signal`` too if it takes them by name."""


class RowSource(Protocol):
    """Computes the row of one model."""

    kind: str
    """``caller``, or the catalogue's name."""
    warm_up: int | None
    """Bars that a row needs, where that is known."""
    catalogue_digest: str | None
    """Digest of the catalogue's definitions, where a catalogue computes the row."""

    def row(self, market_data: object, news_sentiment: float, vsa_signal: float) -> FloatArray:
        """The features in the order of the record, all finite.

        Raises:
            FeatureError: any fault of the market data, of the caller's code or of a value.
        """


def check_engineer(engineer: object) -> None:
    """Refuse, at construction, what can never compute a row.

    Raises:
        ConfigurationError: DP940 where `engineer` is neither an engineer nor a function nor None.
    """
    if engineer is None or isinstance(engineer, FeatureEngineer) or callable(engineer):
        return
    raise ConfigurationError(
        "The feature engineer cannot be used",
        code="DP940",
        found=type(engineer).__name__,
        expected="an object with extract_features(...), or a function of the market data",
        where="feature_engineer",
        next_step="see docs/features.md",
    )


def row_source(record: ConversionRecord, engineer: object | None) -> RowSource:
    """Who computes the rows of the model with this record.

    Args:
        record: the verified conversion record.
        engineer: a `FeatureEngineer`, a `FeatureFunction`, or None.

    Raises:
        FeatureError: DP215 where the record asks for the caller's features and there is no engineer; DP210,
            DP211 or DP212 for a catalogue or name that this runtime does not have.
        ConfigurationError: DP940 where `engineer` can never compute a row.
        ModelContractError: DP236 where the record contradicts itself.
    """
    names, count = record.features.names, record.input.features
    if names is not None and (len(names) != count or len(set(names)) != len(names)):
        raise ModelContractError(
            "The record's feature names do not fit its input",
            code="DP236",
            found=f"{len(names)} names, {len(set(names))} different",
            expected=str(count),
            where="features.names",
            next_step="convert the model again",
        )
    if record.features.kind == "catalogue":
        if names is None or record.features.catalogue is None:
            raise ModelContractError(
                "The record asks for a catalogue and does not say which features of it",
                code="DP236",
                where="features",
                next_step="convert the model again",
            )
        return _CatalogueRows(_catalogue(record.features.catalogue), tuple(names))
    if engineer is None:
        raise FeatureError(
            "The model needs the caller's own features",
            code="DP215",
            found="no feature_engineer",
            expected="an object with extract_features(...), or a function of the market data",
            where=record.stem,
            next_step="pass feature_engineer= to create_secure_ml_predictor",
        )
    ordered = None if names is None else tuple(names)
    check_engineer(engineer)
    if isinstance(engineer, FeatureEngineer):
        return _EngineerRows(engineer, ordered, count)
    return _FunctionRows(cast(FeatureFunction, engineer), ordered, count)


def _catalogue(name: str) -> Catalogue:
    # Imported here and not above: TA-Lib imports pandas where that is installed, for seconds, and only a
    # catalogue needs it.
    try:
        from .features import catalogue
    except Exception as error:  # TA-Lib's import runs foreign code and loads a C library
        raise FeatureError(
            "TA-Lib cannot be loaded",
            code="DP214",
            found=f"{type(error).__name__}: {str(error)[:100]}",
            where=name,
            next_step="reinstall TA-Lib; models with the caller's own features do not need it",
        ) from error
    return catalogue(name)


class _CatalogueRows:
    """Rows of a frozen catalogue over the hourly bars."""

    def __init__(self, features: Catalogue, names: tuple[str, ...]) -> None:
        self._features = features
        self._names = names
        self.kind = features.name
        self.warm_up: int | None = features.warm_up(names)
        self.catalogue_digest: str | None = features.digest
        self._tail = self.warm_up

    def row(self, market_data: object, news_sentiment: float, vsa_signal: float) -> FloatArray:
        bars = read_bars(_hourly(market_data), tail=self._tail)
        return self._features.row(bars, self._names)


class _CallerRows:
    """What the two forms of the caller's features share: finding the values by name."""

    kind = "caller"
    warm_up: int | None = None
    catalogue_digest: str | None = None

    def __init__(self, names: tuple[str, ...] | None, count: int) -> None:
        self._names = names
        self._count = count

    def _ordered(self, answer: object) -> FloatArray:
        if self._names is None:
            return self._by_position(answer)
        if type(answer) is not dict and not isinstance(answer, Mapping):
            raise FeatureError(
                "The feature engineer did not return a mapping of names to numbers",
                code="DP217",
                found=type(answer).__name__,
                expected="a mapping",
                where="feature_engineer",
                next_step="return a dict, e.g. dict(frame.iloc[-1]) for the last row of a data frame",
            )
        missing = [name for name in self._names if name not in answer]
        if missing:
            raise FeatureError(
                "The feature engineer left features out",
                code="DP218",
                found=f"{len(answer)} names",
                expected=", ".join(missing[:8])
                + (f" and {len(missing) - 8} more" if len(missing) > 8 else ""),
                where="feature_engineer",
                next_step="return every feature under the exact name that the model was trained with",
            )
        return _numbers([answer[name] for name in self._names], self._names)

    def _by_position(self, answer: object) -> FloatArray:
        """A model that was trained without names takes a row by position; a mapping has no defined order."""
        if isinstance(answer, np.ndarray) and answer.ndim == 1:
            answer = answer.tolist()
        if not isinstance(answer, (list, tuple)) or len(answer) != self._count:
            size = f" of {len(answer)}" if isinstance(answer, (list, tuple)) else ""
            raise FeatureError(
                "The model knows no feature names and needs a row by position",
                code="DP217",
                found=f"{type(answer).__name__}{size}",
                expected=f"a list of {self._count} numbers",
                where="feature_engineer",
                next_step="return the numbers in the order of training",
            )
        return _numbers(answer, tuple(f"column {index}" for index in range(self._count)))


class _EngineerRows(_CallerRows):
    """Rows of an object with ``extract_features``."""

    def __init__(self, engineer: FeatureEngineer, names: tuple[str, ...] | None, count: int) -> None:
        super().__init__(names, count)
        self._engineer = engineer

    def row(self, market_data: object, news_sentiment: float, vsa_signal: float) -> FloatArray:
        h1 = candle_list(_hourly(market_data))
        h4 = candle_list(timeframe(market_data, "H4"))
        price = float(read_bars(h1, tail=1).close[-1])
        try:
            answer = self._engineer.extract_features(h1, h4, price, news_sentiment, vsa_signal)
            return self._ordered(answer)
        except FeatureError:
            raise
        except Exception as error:  # the caller's code may raise anything; none of it is a prediction
            raise _engineer_raised(error) from error


class _FunctionRows(_CallerRows):
    """Rows of a function of the market data."""

    def __init__(self, function: FeatureFunction, names: tuple[str, ...] | None, count: int) -> None:
        super().__init__(names, count)
        self._function = function
        self._takes_news, self._takes_vsa = _sentiment_parameters(function)

    def row(self, market_data: object, news_sentiment: float, vsa_signal: float) -> FloatArray:
        extra: dict[str, float] = {}
        if self._takes_news:
            extra["news_sentiment"] = news_sentiment
        if self._takes_vsa:
            extra["vsa_signal"] = vsa_signal
        try:
            return self._ordered(self._function(market_data, **extra))
        except FeatureError:
            raise
        except Exception as error:  # the caller's code may raise anything; none of it is a prediction
            raise _engineer_raised(error) from error


def _hourly(market_data: object) -> object:
    bars = timeframe(market_data, "H1")
    if bars is None:
        raise FeatureError(
            "Market data has no hourly bars",
            code="DP202",
            expected="a key H1, or market data without timeframes",
            where="market_data",
            next_step="hand the model's own timeframe over under the key H1",
        )
    return bars


def _sentiment_parameters(function: FeatureFunction) -> tuple[bool, bool]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a callable written in C may have no signature
        return False, False
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return True, True
    by_name = {
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    return "news_sentiment" in by_name, "vsa_signal" in by_name


def _numbers(values: Sequence[object], names: tuple[str, ...]) -> FloatArray:
    # Plain numbers, which is what nearly every row is made of, are converted and checked all at once: the sum of
    # squares is finite only if every one of them is. Whatever does not pass is looked at one by one.
    if _PLAIN.issuperset(map(type, values)):
        try:
            row = np.array(values, dtype=np.float64)
        except OverflowError:  # an integer past the float64 range
            return _numbers_one_by_one(values, names)
        if math.isfinite(np.vdot(row, row)):  # vdot, since a sum warns where it overflows
            return row
    return _numbers_one_by_one(values, names)


def _numbers_one_by_one(values: Sequence[object], names: tuple[str, ...]) -> FloatArray:
    row = np.empty(len(values), dtype=np.float64)
    for index, value in enumerate(values):
        if not isinstance(value, (float, int, np.floating, np.integer, np.bool_)):
            raise _not_a_number(names[index], type(value).__name__)
        try:
            number = float(value)
        except OverflowError as error:
            raise _not_a_number(names[index], "an integer past the float64 range") from error
        if not math.isfinite(number):
            raise FeatureError(
                "A feature is not finite",
                code="DP200",
                found=str(number),
                expected="a finite number",
                where=names[index][:80],
                next_step="repair the feature; do not replace it by zero",
            )
        row[index] = number
    return row


def _not_a_number(name: str, found: str) -> FeatureError:
    return FeatureError(
        "A feature is not a number",
        code="DP219",
        found=found,
        expected="a number",
        where=name[:80],
        next_step="return plain numbers",
    )


def _engineer_raised(error: Exception) -> FeatureError:
    # The text of a foreign exception may hold anything; its type is enough to find it in the caller's own log.
    return FeatureError(
        "The feature engineer raised an exception",
        code="DP216",
        found=type(error).__name__,
        where="feature_engineer",
        next_step="see the chained exception in the log",
    )
