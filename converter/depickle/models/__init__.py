# SPDX-License-Identifier: Apache-2.0
"""Fitted models as frozen values, read from the inert graph."""

from __future__ import annotations

from .reading import read_model
from .types import InputFacts, TypedModel

__all__ = ["InputFacts", "TypedModel", "read_model"]
