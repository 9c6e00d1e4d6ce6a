# SPDX-License-Identifier: Apache-2.0
"""Typed models as exact, canonical ONNX."""

from __future__ import annotations

from .emitting import EmittedModel, emit_onnx

__all__ = ["EmittedModel", "emit_onnx"]
