# SPDX-License-Identifier: Apache-2.0
"""Runs verified ONNX models for trading code; holds no deserialiser.

Importing the package imports its errors and nothing else. The rest is imported when it is first asked for, so that
`depickle_runtime.lockdown` can be called before numpy, which imports pickle, is in the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import (
    AuditError,
    ConfigurationError,
    DigestMismatchError,
    ExpiredError,
    FeatureError,
    MetadataError,
    ModelContractError,
    NotAllowedError,
    OnnxRefusedError,
    ReleaseError,
    RevokedError,
    RollbackError,
    SecurityError,
    SignatureError,
    StoreError,
    UnsafeModelError,
    VerificationError,
)

if TYPE_CHECKING:
    from .loader import LoadedModel, SecureModelLoader
    from .predictor import SecureMLPredictor, create_secure_ml_predictor
    from .signals import Abstention
else:
    _HOMES = {
        "Abstention": "signals",
        "LoadedModel": "loader",
        "SecureMLPredictor": "predictor",
        "SecureModelLoader": "loader",
        "create_secure_ml_predictor": "predictor",
    }

    def __getattr__(name):
        """Import what was asked for (PEP 562); type checkers see the imports above instead."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        return value

    def __dir__():
        """Everything that can be imported from here."""
        return sorted({*globals(), *__all__})


__all__ = [
    "Abstention",
    "AuditError",
    "ConfigurationError",
    "DigestMismatchError",
    "ExpiredError",
    "FeatureError",
    "LoadedModel",
    "MetadataError",
    "ModelContractError",
    "NotAllowedError",
    "OnnxRefusedError",
    "ReleaseError",
    "RevokedError",
    "RollbackError",
    "SecureMLPredictor",
    "SecureModelLoader",
    "SecurityError",
    "SignatureError",
    "StoreError",
    "UnsafeModelError",
    "VerificationError",
    "create_secure_ml_predictor",
]
