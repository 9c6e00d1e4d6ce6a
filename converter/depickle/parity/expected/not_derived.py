# SPDX-License-Identifier: Apache-2.0
"""How a derivation says that a class, or an operation, has none."""

from __future__ import annotations

__all__ = ["NotDerivedError"]


class NotDerivedError(Exception):
    """A class has no derivation here; `expect_model` turns this into None."""
