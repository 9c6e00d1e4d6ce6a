# SPDX-License-Identifier: Apache-2.0
"""`SecureModelLoader`: the guide's loader, which loads verified ONNX and nothing else.

* `load_model` gives a model only after every step of `verification`, the session and the stored probe rows
* a refusal is raised, logged and audited; a load that cannot be audited is refused
* a check that is turned off needs ``ML_ALLOW_INSECURE=1`` and is logged and audited each time
* what was loaded runs on until somebody decides against it; `withdrawn` says whether somebody has
* `verify_model` does the same work, reports every fault it finds, raises none and leaves the floor alone

>>> loader = SecureModelLoader("models", secret_key=key)  # doctest: +SKIP
>>> model = loader.load_model("EURUSD_pattern_trader_v20250108.1.0_20250108_120000.onnx")  # doctest: +SKIP
>>> model.predict(rows)  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from .audit_log import AuditLog
from .errors import (
    AuditError,
    ConfigurationError,
    NotAllowedError,
    RevokedError,
    RollbackError,
    SecurityError,
    StoreError,
)
from .loaded_model import LoadedModel
from .probes import start_session
from .release import SignedRelease
from .settings import admit_insecure, default_state_dir, read_settings
from .state import TrustState
from .store import ModelStore
from .survey import survey
from .trust import Trust, UnsafeNoTrust, configure_trust
from .verification import VerifiedModel, Verifier

__all__ = ["LoadedModel", "SecureModelLoader"]

_logger = logging.getLogger(__name__)

# A whitelist that is absent or malformed (DP131, DP132) is damage: nobody decided anything about this model.
_DECISIONS = frozenset({"DP133", "DP134", "DP135", "DP136"})


def _now() -> datetime:
    return datetime.now(UTC)


class SecureModelLoader:
    """Loads, verifies and lists the models of a signed store.

    Args:
        models_dir: the store.
        secret_key: the secret; `MODEL_SECRET_KEY` where None.
        enable_signature_verification: False needs ``ML_ALLOW_INSECURE=1``.
        trust_policy: policy file; `ML_TRUST_POLICY` where None.
        state_dir: what this host remembers; `ML_STATE_DIR`, else the user's state folder, where None.
        audit_log: audit log file; `ML_AUDIT_LOG`, else ``audit.jsonl`` in the state folder, where None.
        environ: the environment; the process's where None.
        clock: source of the time.

    Raises:
        ConfigurationError: what was given cannot be used; its code says which.
        AuditError: DP162, the folder of the audit log cannot be made.
    """

    def __init__(
        self,
        models_dir: str | Path,
        secret_key: str | bytes | None = None,
        enable_signature_verification: bool = True,
        *,
        trust_policy: str | Path | None = None,
        state_dir: str | Path | None = None,
        audit_log: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._environ: Mapping[str, str] = os.environ if environ is None else environ
        settings = read_settings(self._environ)
        self.models_dir = Path(models_dir)
        state = settings.state_dir if state_dir is None else Path(state_dir)
        state = default_state_dir(self._environ) if state is None else state
        log = settings.audit_log if audit_log is None else Path(audit_log)
        self._secret_key = secret_key
        self._trust_policy = None if trust_policy is None else Path(trust_policy)
        self._verify_signatures = enable_signature_verification and settings.verify_signatures
        self._verify_checksums = settings.verify_checksums
        self._clock = clock
        self._store = ModelStore(self.models_dir)
        self._state = TrustState(state, models_dir=self.models_dir)
        self.audit = AuditLog(state / "audit.jsonl" if log is None else log, clock=clock)
        self._trust = self._configure(self._verify_signatures)

    def load_model(
        self, model_path: str | Path, verify_checksum: bool = True, verify_signature: bool | None = None
    ) -> LoadedModel:
        """Verify and load an ONNX model.

        Args:
            model_path: name of the model in the store, or its path.
            verify_checksum: False needs ``ML_ALLOW_INSECURE=1``.
            verify_signature: the loader's own setting where None; False needs ``ML_ALLOW_INSECURE=1``.

        Raises:
            UnsafeModelError: DP146 to DP148, a file of another format; `next_step` names `depickle migrate`.
            ConfigurationError: DP911, a check is turned off without admission; DP901, nobody to trust.
            VerificationError: the subclass and code of the step that failed.
            ModelContractError: the graph is not what its record says.
            AuditError: the load cannot be audited.

        Returns:
            The model, ready to answer.
        """
        return self._load(model_path, verify_checksum, verify_signature, signed=None)

    def load_current(self) -> tuple[dict[str, LoadedModel], dict[str, SecurityError]]:
        """Load the current model of every symbol; the release is verified once.

        Raises:
            VerificationError: the release does not verify, so nothing loads.
            AuditError: a load or a refusal cannot be audited.

        Returns:
            Models by symbol, and by symbol the refusals of those that did not load.
        """
        signed = self.open_release()
        models: dict[str, LoadedModel] = {}
        refusals: dict[str, SecurityError] = {}
        for symbol, stem in sorted(signed.release.current.items()):
            try:
                models[symbol] = self._load(f"{stem}.onnx", True, None, signed=signed)
            except AuditError:
                raise
            except SecurityError as fault:
                refusals[symbol] = fault
        return models, refusals

    def open_release(self) -> SignedRelease:
        """Verify the release, and audit a refusal.

        Raises:
            VerificationError: the subclass and code of the step that failed.
            AuditError: the refusal cannot be audited.
        """
        verifier = self._verifier(self._trust)
        try:
            return verifier.open_release()
        except SecurityError as fault:
            self._audit_refusal("release.refused", "", fault)
            raise

    def revoked(self, digest: str) -> str | None:
        """Why an artefact is revoked: by the release, or by any earlier one that this host has seen.

        Args:
            digest: SHA-256 of the artefact, hexadecimal.

        Raises:
            VerificationError: the release does not verify, or the state cannot be read.
            AuditError: the refusal cannot be audited.

        Returns:
            The reason that its publisher gave, which may be empty; None for an artefact that is not revoked.
        """
        signed = self.open_release()
        admission = self._verifier(self._trust).admission
        return admission.revocation(digest, signed.release.store_name, signed)

    def withdrawn(self, model: LoadedModel) -> RevokedError | NotAllowedError | None:
        """Why a model that was loaded earlier must not run on: what was decided about it since, not what broke.

        A revocation counts whether the release in place names it or an earlier one did. Where that release does
        not verify, remembered revocations still count, and the whitelist and the tiers do not.

        Args:
            model: a model of this store.

        Returns:
            The refusal, audited and logged: DP133 or DP134 off the whitelist, DP135 revoked, DP136 of a tier
            that is no longer admitted. None where it may run on, a damaged file or release notwithstanding.
        """
        verified = model.verified
        verifier = self._verifier(self._trust)
        admission = verifier.admission
        signed: SignedRelease | None = None
        try:
            signed = verifier.open_release()
        except SecurityError as damage:
            _logger.warning("%s: only remembered revocations are checked: %s", verified.name, damage)
        steps: list[Callable[[], None]] = [
            lambda: admission.check_revoked(verified.name, verified.sha256, verified.store_name, signed)
        ]
        if signed is not None:
            steps += [
                lambda: admission.check_whitelist(verified.name, verified.sha256),
                lambda: admission.check_tier(verified.name, verified.tier),
            ]
        for step in steps:
            try:
                step()
            except (RevokedError, NotAllowedError) as fault:
                if fault.code in _DECISIONS:
                    self._audit_refusal("model.withdrawn", verified.name, fault)
                    return fault
                _logger.warning("%s runs on after: %s", verified.name, fault)
            except SecurityError as damage:
                _logger.warning("%s runs on after: %s", verified.name, damage)
        return None

    def verify_model(self, model_path: str | Path) -> dict[str, Any]:
        """Verify a file without keeping a session of it; everything that `load_model` checks.

        Args:
            model_path: name of the file in the store, or its path.

        Returns:
            The guide's keys `checksum_valid`, `signature_valid`, `metadata_found`, `in_allowed_list`,
            `checksum_sha256`, `checksum_sha512`, and `valid`, `file`, `symbol`, `tier`, `serial`, `expires`,
            `warnings`, `errors` (a list of ``{"code", "message"}``). Never raises for what it finds.
        """
        return self._verify(model_path, None)

    def verify_store(self) -> dict[str, dict[str, Any]]:
        """`verify_model` of every file in the store's folder and every artefact that the release names.

        Returns:
            Results by name; empty for a store that cannot be read.
        """
        verifier = self._verifier(self._trust)
        names: set[str] = set()
        signed: SignedRelease | SecurityError
        try:
            signed = verifier.open_release(remember=False)
            names |= {name for name in signed.release.files if "/" not in name}
        except SecurityError as fault:
            signed = fault
        try:
            names |= {
                name for name in self._store.files() if name != "allowed_models.json" and name != "model.sig"
            }
        except SecurityError as fault:
            _logger.error("%s", fault)
        return {name: self._verify(name, signed) for name in sorted(names)}

    def orphans(self) -> tuple[str, ...]:
        """Files of the store that its release does not name: what a crashed publishing run leaves.

        Raises:
            VerificationError: the release does not verify, or the store cannot be read.
        """
        signed = self._verifier(self._trust).open_release(remember=False)
        return self._store.orphans(signed.release.files)

    def list_models(self) -> list[dict[str, Any]]:
        """The models of the release, each with its verified metadata, or the reason why it has none.

        Raises:
            VerificationError: the release does not verify.
            AuditError: the refusal cannot be audited.

        Returns:
            One dictionary a model: `file`, `current`, `sha256`, `file_size`, and either the metadata's fields,
            `symbol`, `tier`, `task`, or `error`.
        """
        signed = self.open_release()
        verifier = self._verifier(self._trust)
        current = set(signed.release.current.values())
        listing: list[dict[str, Any]] = []
        for name in sorted(n for n in signed.release.files if n.endswith(".onnx") and "/" not in n):
            entry = signed.release.files[name]
            row: dict[str, Any] = {
                "file": name,
                "current": name.removesuffix(".onnx") in current,
                "sha256": entry.sha256,
                "file_size": entry.size,
            }
            try:
                facts = verifier.facts(name, signed)
                verifier.check_hmac(facts)
                row |= {
                    "model_name": facts.metadata.model_name,
                    "version": facts.metadata.version,
                    "created_at": facts.metadata.created_at,
                    "model_type": facts.metadata.model_type,
                    "feature_names": facts.metadata.feature_names,
                    "performance_metrics": facts.metadata.performance_metrics,
                    "authorized_by": facts.metadata.authorized_by,
                    "symbol": facts.record.symbol,
                    "tier": facts.record.tier,
                    "task": facts.record.task,
                }
            except SecurityError as fault:
                row["error"] = {"code": fault.code, "message": str(fault)}
            listing.append(row)
        return listing

    def save_model(self, model: object, model_name: str, version: str, **kwargs: object) -> NoReturn:
        """Refuse: saving means converting, and this distribution holds no converter.

        Raises:
            SecurityError: DP919, always.
        """
        raise SecurityError(
            "Saving a model means converting it, which the runtime cannot",
            code="DP919",
            where=f"{model_name} {version}",
            expected="depickle.SecureModelLoader, on a migration host",
            next_step="on a migration host: depickle.SecureModelLoader(...).save_model(...)",
        )

    def store_name_of(self, model_path: str | Path) -> str:
        """Name in the store of a path that the caller gave.

        Raises:
            StoreError: DP145, the path is not directly in the store.
        """
        path = Path(model_path)
        try:
            inside = path.parent == Path() or path.parent.resolve() == self.models_dir.resolve()
        except (OSError, RuntimeError, ValueError):
            inside = False
        if not inside or not path.name:
            raise StoreError(
                "A path is not one of the store",
                code="DP145",
                found=ascii(str(model_path))[:200],
                expected=f"a file directly in {self.models_dir}",
                next_step="give the file's name alone",
            )
        return path.name

    def _load(
        self,
        model_path: str | Path,
        verify_checksum: bool,
        verify_signature: bool | None,
        *,
        signed: SignedRelease | None,
    ) -> LoadedModel:
        label = str(model_path)
        try:
            label = self.store_name_of(model_path)
            verifier = self._verifier_for(verify_checksum, verify_signature)
            verified = verifier.verify_artefact(label, signed=signed)
            session = start_session(verified)
            while not self._raise_floor(verifier, verified):  # each turn finds a release that is later still
                verified = verifier.verify_artefact(label)
                session = start_session(verified)
        except SecurityError as fault:
            self._audit_refusal("model.refused", label, fault)
            raise
        for check in verified.unchecked:
            _logger.warning("INSECURE: %s loaded with %s unchecked", verified.name, check)
        self.audit.append(
            "model.load.insecure" if verified.unchecked else "model.load",
            outcome="warning" if verified.unchecked else "ok",
            model=verified.name,
            digest=verified.sha256,
            detail=f"serial {verified.serial}, tier {verified.tier}, by {', '.join(verified.signers) or 'nobody'}"
            + (f", UNCHECKED {', '.join(verified.unchecked)}" if verified.unchecked else ""),
            durable=bool(verified.unchecked),
        )
        return LoadedModel(verified, session)

    def _raise_floor(self, verifier: Verifier, verified: VerifiedModel) -> bool:
        """Raise the floor; False where a later release was published and loaded while this one was verified."""
        if "signatures" in verified.unchecked:
            return True  # what nobody signed must not become the floor
        try:
            verifier.state.raise_floor(verified.signed, now=self._clock())
        except RollbackError as fault:
            if fault.code != "DP108":
                raise
            return False
        return True

    def _verify(self, model_path: str | Path, signed: SignedRelease | SecurityError | None) -> dict[str, Any]:
        try:
            name = self.store_name_of(model_path)
        except SecurityError as fault:
            return survey(self._verifier(self._trust), str(model_path), signed=fault)
        result = survey(self._verifier(self._trust), name, signed=signed)
        if not result["valid"]:
            first = result["errors"][0] if result["errors"] else {"code": "", "message": "loadable nowhere"}
            try:
                self.audit.append(
                    "model.verify",
                    outcome="refused",
                    model=name,
                    digest=result["checksum_sha256"] or "",
                    code=first["code"],
                    detail=first["message"],
                )
            except AuditError as fault:
                result["errors"].append({"code": fault.code, "message": str(fault)})
        return result

    def _audit_refusal(self, event: str, model: str, fault: SecurityError) -> None:
        _logger.error("%s: %s", model or "release", fault)
        try:
            self.audit.append(event, outcome="refused", model=model, code=fault.code, detail=str(fault))
        except AuditError as broken:  # nothing loads either way; the first fault is the one to report
            _logger.error("the refusal could not be audited: %s", broken)

    def _configure(self, verify_signatures: bool) -> Trust:
        return configure_trust(
            trust_policy=self._trust_policy,
            secret_key=self._secret_key,
            environ=self._environ,
            verify_signatures=verify_signatures,
        )

    def _verifier(self, trust: Trust) -> Verifier:
        return Verifier(
            store=self._store,
            trust=trust,
            state=self._state,
            clock=self._clock,
            verify_checksums=self._verify_checksums,
        )

    def _verifier_for(self, verify_checksum: bool, verify_signature: bool | None) -> Verifier:
        for value, name in ((verify_checksum, "verify_checksum"), (verify_signature, "verify_signature")):
            if value is not None and not isinstance(value, bool):
                raise ConfigurationError(
                    "An argument is neither True nor False",
                    code="DP917",
                    found=type(value).__name__,
                    where=name,
                )
        trust = self._trust
        if verify_signature is not None and verify_signature == isinstance(trust, UnsafeNoTrust):
            trust = self._configure(verify_signature)
        checksums = self._verify_checksums
        if not verify_checksum:
            admit_insecure("checksum verification", self._environ)
            checksums = False
        return Verifier(
            store=self._store,
            trust=trust,
            state=self._state,
            clock=self._clock,
            verify_checksums=checksums,
        )
