# SPDX-License-Identifier: Apache-2.0
"""What the source calls for, in the vocabulary of ONNX, built from the inert graph alone.

Nothing here imports `depickle.models` or `depickle.emit`: two readings of one file that agree are evidence, one
reading used twice is not. import-linter holds it to that.
"""

from __future__ import annotations

from .model import ExpectedModel, expect_model

__all__ = ["ExpectedModel", "expect_model"]
