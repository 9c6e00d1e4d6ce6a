# SPDX-License-Identifier: Apache-2.0
"""Runs verified ONNX models for trading code; holds no deserialiser."""

from __future__ import annotations

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
from .loader import LoadedModel, SecureModelLoader
from .predictor import SecureMLPredictor, create_secure_ml_predictor
from .signals import Abstention

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
