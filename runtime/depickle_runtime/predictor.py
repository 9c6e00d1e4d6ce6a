# SPDX-License-Identifier: Apache-2.0
"""`SecureMLPredictor`: the guide's predictor, over verified models only.

Guarantees:

* Construction verifies the release and loads the current model of every symbol. A release that does not verify
  raises: there are no models at all. A damaged model costs its own symbol and no other.
* `predict_signal` reads no file and never raises: it gives a signed confidence, or None and a reason. Callers
  test for None.
* `reload_models` swaps all models in one step, between predictions. What cannot be reloaded keeps running,
  unless it was revoked, taken off the whitelist or dropped from the release. A revocation that this host has seen
  counts even where the release in place leaves it out or does not verify.
* One predictor may be used from several threads: models are immutable and the set of them is replaced as one
  reference. The caller's feature engineer is called from those threads as it is.

>>> predictor = create_secure_ml_predictor(models_dir="models", db_path="data/trades.db")  # doctest: +SKIP
>>> confidence, details = predictor.predict_signal("EURUSD", market_data)  # doctest: +SKIP
>>> if confidence is None:  # doctest: +SKIP
...     print(details["abstained"], details["message"])
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from .errors import ConfigurationError, SecurityError
from .feature_rows import check_engineer
from .loader import LoadedModel, SecureModelLoader
from .prediction_log import LogHealth, PredictionLog
from .settings import read_settings
from .signals import Abstention, Details, RunnableModel, SymbolModel, abstain, bind, blank_details

__all__ = ["DEFAULT_DB_PATH", "STATE_FOLDER", "SecureMLPredictor", "create_secure_ml_predictor"]

_logger = logging.getLogger(__name__)

DEFAULT_DB_PATH: Final = Path("data/trades.db")
STATE_FOLDER: Final = "depickle-state"
"""Folder beside the database in which the runtime remembers serials and revocations, unless told otherwise."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Running:
    """All models of one moment; replaced as a whole, never changed."""

    models: Mapping[str, SymbolModel]
    loaded: Mapping[str, LoadedModel]
    """What `models` were bound from, by the same symbols."""
    failures: Mapping[str, SecurityError]


class SecureMLPredictor:
    """Signals from the verified models of a store.

    Args:
        models_dir: the store.
        db_path: SQLite file of the prediction log, created where absent; None logs nothing.
        secret_key: the secret; ``MODEL_SECRET_KEY`` where None.
        trust_policy: policy file; ``ML_TRUST_POLICY`` where None.
        feature_engineer: computes the features of legacy models: an object with ``extract_features``, a
            function of the market data, or a mapping of symbols to such.
        state_dir: what this host remembers; ``ML_STATE_DIR``, else `STATE_FOLDER` beside `db_path`.
        audit_log: audit log file; ``ML_AUDIT_LOG``, else in the state folder.
        environ: the environment; the process's where None.

    Raises:
        ConfigurationError: an argument or variable cannot be used: DP940 the feature engineer, DP941 and DP942
            the database, others as `SecureModelLoader`.
        VerificationError: the release does not verify; nothing was loaded.
        AuditError: the loads cannot be audited.
    """

    def __init__(
        self,
        models_dir: str | Path,
        db_path: str | Path | None,
        secret_key: str | bytes | None = None,
        *,
        trust_policy: str | Path | None = None,
        feature_engineer: object | None = None,
        state_dir: str | Path | None = None,
        audit_log: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        variables: Mapping[str, str] = os.environ if environ is None else environ
        self._engineers = _Engineers(feature_engineer)
        database = None if db_path is None else Path(db_path)
        if state_dir is None and database is not None and read_settings(variables).state_dir is None:
            state_dir = database.parent / STATE_FOLDER
        self._loader = SecureModelLoader(
            models_dir,
            secret_key,
            trust_policy=trust_policy,
            state_dir=state_dir,
            audit_log=audit_log,
            environ=variables,
        )
        self._reloading = threading.Lock()
        models, failures = self._loader.load_current()
        self._running = self._bind(models, failures)
        self._log = None if database is None else PredictionLog(database)

    def predict_signal(
        self, symbol: str, market_data: object, news_sentiment: float = 0.0, vsa_signal: float = 0.0
    ) -> tuple[float | None, Details]:
        """The signal of a symbol's current model for the last bar of the market data.

        Args:
            symbol: as the store names it.
            market_data: see `market_data`; a caller's own function gets it untouched.
            news_sentiment: for the caller's feature engineer.
            vsa_signal: for the caller's feature engineer.

        Returns:
            The confidence (buy +P, sell −P, wait 0.0; None for an abstention) and its details:
            ``abstained`` (None, or an `Abstention`), ``code`` and ``message`` of the abstention, ``signal``,
            ``label``, ``probabilities`` by class, ``model``, ``digest``, ``version``, ``tier``, ``serial``,
            ``features``, ``catalogue_digest``, ``warm_up``, ``features_sha256``, ``margin``, ``bound``, and
            ``logged``: False where the prediction log cannot be written at present, None without one.
        """
        running = self._running
        model = _of_symbol(running.models, symbol)
        confidence: float | None
        if model is not None:
            confidence, details = model.predict(market_data, news_sentiment, vsa_signal)
        else:
            confidence, details = _no_model(symbol, running)
        log = self._log
        if log is None:
            details["logged"] = None
        else:
            queued = log.put(confidence, details, news_sentiment=news_sentiment, vsa_signal=vsa_signal)
            details["logged"] = queued and not log.failing
        return confidence, details

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that have a loaded model."""
        return tuple(self._running.models)

    @property
    def failures(self) -> Mapping[str, SecurityError]:
        """Symbols of the release whose model did not load, and why."""
        return self._running.failures

    @property
    def log_health(self) -> LogHealth | None:
        """What became of the logged predictions; None without a log."""
        return None if self._log is None else self._log.health

    def get_model_info(self, symbol: str) -> dict[str, Any] | None:
        """What runs for a symbol, or None where nothing does.

        Returns:
            The guide's metadata, and ``file``, ``symbol``, ``digest``, ``serial``, ``tier``, ``task``,
            ``estimator``, ``classes``, ``label_map``, ``features``, ``source``, ``derived``, and ``fault``: why
            this model can never give a signal, or None.
        """
        running = _of_symbol(self._running.models, symbol)
        if running is None:
            return None
        model, record = running.model, running.model.record
        return {
            **model.metadata,
            "file": model.name,
            "symbol": record.symbol,
            "digest": model.sha256,
            "serial": model.serial,
            "tier": record.tier,
            "task": record.task,
            "estimator": record.estimator,
            "classes": None if record.classes is None else list(record.classes),
            "label_map": None if record.label_map is None else list(record.label_map),
            "features": msgspec.to_builtins(record.features),
            "source": msgspec.to_builtins(record.source),
            "derived": record.derived,
            "fault": None
            if running.fault is None
            else {"code": running.fault.code, "message": str(running.fault)},
        }

    def verify_all_models(self) -> dict[str, dict[str, Any]]:
        """Verify every file of the store as it lies on disk now; loads nothing, changes nothing.

        Returns:
            `SecureModelLoader.verify_model` by file name.
        """
        return self._loader.verify_store()

    def reload_models(self) -> dict[str, dict[str, Any]]:
        """Load the current models again and swap them in as one.

        Raises:
            VerificationError: the release does not verify; everything runs on as it was, except for models that
                this host knows to be revoked.
            AuditError: the loads cannot be audited; likewise.

        Returns:
            By symbol: ``status`` (``loaded``, ``unchanged``, ``kept``: what ran runs on, ``stopped``: it was
            revoked or is no longer admitted, ``removed``, ``failed``), ``digest`` and ``serial`` of what runs
            now, ``code`` and ``message`` of what went wrong.
        """
        with self._reloading:
            before = self._running
            try:
                loaded, failures = self._loader.load_current()
            except SecurityError:
                self._running = self._without_withdrawn(before)
                raise
            fresh = self._bind(loaded, failures)
            models, kept, failed = dict(fresh.models), dict(fresh.loaded), dict(fresh.failures)
            report: dict[str, dict[str, Any]] = {}
            for symbol in sorted({*before.models, *fresh.models, *fresh.failures}):
                old, new = before.models.get(symbol), fresh.models.get(symbol)
                refusal = fresh.failures.get(symbol)
                if new is not None:
                    same = old is not None and old.model.sha256 == new.model.sha256
                    report[symbol] = _line("unchanged" if same else "loaded", new, None)
                elif refusal is None:
                    report[symbol] = _line("removed", None, None)
                elif old is None:
                    report[symbol] = _line("failed", None, refusal)
                elif (decision := self._loader.withdrawn(before.loaded[symbol])) is None:
                    models[symbol], kept[symbol] = old, before.loaded[symbol]
                    report[symbol] = _line("kept", old, refusal)
                else:
                    failed[symbol] = decision
                    report[symbol] = _line("stopped", None, decision)
            self._running = _running(models, kept, failed)
        for symbol, line in report.items():
            level = logging.INFO if line["code"] is None else logging.ERROR
            _logger.log(level, "reload %s: %s %s", symbol, line["status"], line["message"] or "")
        return report

    def flush(self, timeout: float = 10.0) -> int:
        """Wait until every logged prediction is committed; how many are not after `timeout` seconds."""
        return 0 if self._log is None else self._log.flush(timeout)

    def close(self, timeout: float = 10.0) -> int:
        """Commit the logged predictions and stop logging; how many could not be written. Predictions go on."""
        return 0 if self._log is None else self._log.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bind(self, models: Mapping[str, LoadedModel], failures: Mapping[str, SecurityError]) -> _Running:
        bound = {
            symbol: bind(_runnable(model), self._engineers.of(symbol)) for symbol, model in models.items()
        }
        for symbol, model in bound.items():
            if model.fault is not None:
                _logger.warning("%s will always abstain: %s", symbol, model.fault)
        return _running(bound, models, failures)

    def _without_withdrawn(self, before: _Running) -> _Running:
        """What runs, without the models that somebody decided against."""
        faults = {symbol: self._loader.withdrawn(model) for symbol, model in before.loaded.items()}
        withdrawn = {symbol: fault for symbol, fault in faults.items() if fault is not None}
        if not withdrawn:
            return before
        return _running(
            {symbol: model for symbol, model in before.models.items() if symbol not in withdrawn},
            {symbol: model for symbol, model in before.loaded.items() if symbol not in withdrawn},
            {**before.failures, **withdrawn},
        )


def create_secure_ml_predictor(
    models_dir: str | Path | None = None,
    db_path: str | Path | None = DEFAULT_DB_PATH,
    secret_key: str | bytes | None = None,
    *,
    trust_policy: str | Path | None = None,
    feature_engineer: object | None = None,
    state_dir: str | Path | None = None,
    audit_log: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> SecureMLPredictor:
    """Make a `SecureMLPredictor`, taking from the environment what is not given.

    Args:
        models_dir: the store; ``ML_MODELS_DIR``, else ``models``, where None.
        db_path: as `SecureMLPredictor`.
        secret_key: as `SecureMLPredictor`.
        trust_policy: as `SecureMLPredictor`.
        feature_engineer: as `SecureMLPredictor`.
        state_dir: as `SecureMLPredictor`.
        audit_log: as `SecureMLPredictor`.
        environ: as `SecureMLPredictor`.

    Raises:
        SecurityError: as `SecureMLPredictor`.
    """
    folder = read_settings(environ).models_dir if models_dir is None else models_dir
    return SecureMLPredictor(
        folder,
        db_path,
        secret_key,
        trust_policy=trust_policy,
        feature_engineer=feature_engineer,
        state_dir=state_dir,
        audit_log=audit_log,
        environ=environ,
    )


def _running(
    models: Mapping[str, SymbolModel],
    loaded: Mapping[str, LoadedModel],
    failures: Mapping[str, SecurityError],
) -> _Running:
    return _Running(MappingProxyType(dict(models)), dict(loaded), MappingProxyType(dict(failures)))


class _Engineers:
    """The caller's feature engineer, one for all symbols or one for each."""

    def __init__(self, given: object | None) -> None:
        self._by_symbol: dict[str, object] | None = None
        self._all = given
        if isinstance(given, Mapping):
            self._by_symbol = {str(symbol): engineer for symbol, engineer in given.items()}
            if any(engineer is None for engineer in self._by_symbol.values()):
                raise ConfigurationError(
                    "A symbol has no feature engineer",
                    code="DP940",
                    found="None",
                    where="feature_engineer",
                    next_step="leave the symbol out of the mapping",
                )
        for engineer in [given] if self._by_symbol is None else self._by_symbol.values():
            check_engineer(engineer)

    def of(self, symbol: str) -> object | None:
        """The engineer of one symbol, or None."""
        return self._all if self._by_symbol is None else self._by_symbol.get(symbol)


def _runnable(model: LoadedModel) -> RunnableModel:
    verified = model.verified
    return RunnableModel(
        record=verified.record,
        session=model.session,
        name=verified.name,
        sha256=verified.sha256,
        version=verified.metadata.version,
        serial=verified.serial,
        metadata=msgspec.to_builtins(verified.metadata),
    )


def _of_symbol(found: Mapping[str, _T], symbol: object) -> _T | None:
    """Look up what callers call a symbol, which may be anything, unhashable values included."""
    return found.get(symbol) if isinstance(symbol, str) else None


def _no_model(symbol: object, running: _Running) -> tuple[None, Details]:
    details = blank_details(symbol if isinstance(symbol, str) else type(symbol).__name__)
    failure = _of_symbol(running.failures, symbol)
    if failure is not None:
        return abstain(details, failure, Abstention.MODEL_NOT_LOADED)
    return abstain(
        details,
        SecurityError(
            "The release has no model for this symbol",
            code="DP230",
            found=repr(symbol)[:80],
            expected=", ".join(sorted(running.models)[:12]) or "no symbol at all",
            next_step="publish a model for it with 'depickle migrate', then reload_models()",
        ),
        Abstention.NO_MODEL,
    )


def _line(status: str, model: SymbolModel | None, refusal: SecurityError | None) -> dict[str, Any]:
    return {
        "status": status,
        "digest": None if model is None else model.model.sha256,
        "serial": None if model is None else model.model.serial,
        "code": None if refusal is None else refusal.code,
        "message": None if refusal is None else str(refusal),
    }
