# SPDX-License-Identifier: Apache-2.0
"""`SecureModelLoader` with the guide's `save_model`: saving means converting, proving, signing and publishing.

The estimator is pickled in memory only, and those bytes take the way of any legacy file: through the gate, the
confined worker and the proof. Nothing that could be unpickled is ever written to disk.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from depickle_runtime.loader import SecureModelLoader as _RuntimeLoader

from .errors import ConverterError
from .labels import parse_label_map
from .migrate import Converter
from .planning import MigrationOptions
from .reference_rows import read_reference_rows
from .sources import SourceFile
from .store_access import PublishingStore, migrating

__all__ = ["SecureModelLoader"]


class SecureModelLoader(_RuntimeLoader):
    """The runtime's loader, and the way into the store that it reads.

    >>> loader = SecureModelLoader("models", trust_policy="trust-policy.json")  # doctest: +SKIP
    >>> loader.save_model(pipeline, "EURUSD_pattern_trader", "20250108.1.0")  # doctest: +SKIP
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
    ) -> None:
        """As the runtime's loader; publishing takes its private key from `ML_SIGNING_KEY`."""
        super().__init__(
            models_dir,
            secret_key,
            enable_signature_verification,
            trust_policy=trust_policy,
            state_dir=state_dir,
            audit_log=audit_log,
            environ=environ,
        )
        variables = dict(os.environ if environ is None else environ)
        if secret_key is not None:
            variables["MODEL_SECRET_KEY"] = (
                secret_key if isinstance(secret_key, str) else os.fsdecode(secret_key)
            )
        for name, value in (
            ("ML_TRUST_POLICY", trust_policy),
            ("ML_STATE_DIR", state_dir),
            ("ML_AUDIT_LOG", audit_log),
        ):
            if value is not None:
                variables[name] = str(value)
        self._publishing_variables = variables

    def save_model(  # type: ignore[override]  # the runtime's own says only that it cannot save
        self,
        model: object,
        model_name: str,
        version: str,
        *,
        feature_names: Sequence[str] | None = None,
        performance_metrics: Mapping[str, float] | None = None,
        training_data_hash: str | None = None,
        authorized_by: str | None = None,
        label_map: str | None = None,
        reference_rows: str | Path | None = None,
        accept: Sequence[str] = (),
    ) -> Path:
        """Convert a fitted estimator and publish it as the current model of its symbol.

        Args:
            model: the estimator or pipeline.
            model_name: ``<SYMBOL>_<purpose>``.
            version: version of the model.
            feature_names: columns in the model's order.
            performance_metrics: figures of the training run.
            training_data_hash: digest of the training data.
            authorized_by: who authorised the model.
            label_map: meaning of labels that have none by themselves, as ``0=sell,1=wait,2=buy``.
            reference_rows: a file of rows to compare on as well.
            accept: ``sampled`` admits a model that can be compared on samples only.

        Returns:
            Path of the ONNX file.

        Raises:
            ConverterError: DP845, the estimator cannot be pickled; otherwise as `Converter.convert`.
            ConfigurationError: nothing to sign with, or nobody to trust.
            SecurityError: publishing or verification failed; with the old release standing, or the new one refused.
        """
        created = datetime.now(UTC).replace(microsecond=0)
        data = _pickled(
            {
                "pipeline": model,
                "symbol": model_name.split("_", 1)[0],
                "feature_names": None if feature_names is None else list(feature_names),
                "training_date": created.isoformat(),
                "performance": dict(performance_metrics or {}),
                "metadata": {
                    "name": model_name,
                    "version": version,
                    "training_data_hash": training_data_hash,
                },
            },
            model_name,
        )
        source = SourceFile(
            path=Path(f"{model_name}.memory"), data=data, sha256=hashlib.sha256(data).hexdigest()
        )
        self.models_dir.mkdir(parents=True, exist_ok=True)
        with migrating(self.models_dir):
            store = PublishingStore(self.models_dir, created=created, environ=self._publishing_variables)
            options = MigrationOptions(
                created=created,
                authorized_by=authorized_by,
                label_map=None if label_map is None else parse_label_map(label_map),
                reference=None if reference_rows is None else read_reference_rows(Path(reference_rows)),
                accept=frozenset(accept),
                admitted=store.admitted_tiers,
            )
            with Converter(options) as converter:
                converted = converter.convert(source)
            store.publish([store.artefact(converted, make_current=True)])
            fault = store.verify_published(converted.stem)
        if fault is not None:
            raise fault
        return self.models_dir / f"{converted.stem}.onnx"


def _pickled(package: dict[str, object], model_name: str) -> bytes:
    try:
        return pickle.dumps(package, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ConverterError(
            "The estimator cannot be converted",
            code="DP845",
            where=model_name,
            found=ascii(f"{type(error).__name__}: {error}")[:200],
            expected="a fitted estimator of scikit-learn, LightGBM or XGBoost",
            next_step="see docs/models.md for what is converted",
        ) from error
