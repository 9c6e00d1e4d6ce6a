# SPDX-License-Identifier: Apache-2.0
"""Turns legacy model pickles into ONNX and skops, proves that they answer the same, and signs them.

The command `depickle` is the usual way in. Names are imported when they are first used, so that the gate can be
used without the libraries that conversion needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import (
        ConverterError,
        EnvironmentMissingError,
        GateRefusedError,
        ParityError,
        PublishError,
        SandboxError,
        UnsupportedModelError,
    )
    from .saving import SecureModelLoader
    from .unpickler import RestrictedUnpickler

__all__ = [
    "ConverterError",
    "EnvironmentMissingError",
    "GateRefusedError",
    "ParityError",
    "PublishError",
    "RestrictedUnpickler",
    "SandboxError",
    "SecureModelLoader",
    "UnsupportedModelError",
]

_HOMES = {"SecureModelLoader": ".saving", "RestrictedUnpickler": ".unpickler"}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, ".errors"), __name__), name)
