# SPDX-License-Identifier: Apache-2.0
"""The error of the structural validators."""

from __future__ import annotations

__all__ = ["StructureError"]


class StructureError(Exception):
    """Internal: a structure that native code must not follow; becomes a finding.

    Attributes:
        rule: DP450 to DP469.
        offset: of the record in the stream, or None.
        reached: the class concerned.
    """

    def __init__(
        self, rule: str, message: str, *, offset: int | None = None, reached: str | None = None
    ) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.offset = offset
        self.reached = reached
