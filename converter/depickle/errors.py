# SPDX-License-Identifier: Apache-2.0
"""The converter's refusals; each is a `depickle_runtime.SecurityError`, one class per decision of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from depickle_runtime.errors import SecurityError

if TYPE_CHECKING:
    from .pickles.findings import Finding

__all__ = [
    "ConverterError",
    "EnvironmentMissingError",
    "GateRefusedError",
    "ParityError",
    "PublishError",
    "SandboxError",
    "UnsupportedModelError",
]


class ConverterError(SecurityError):
    """Root of the converter's refusals."""

    default_code = "DP800"


class GateRefusedError(ConverterError):
    """A legacy file broke a rule of the gate; nothing of it ran.

    Attributes:
        findings: every finding of the file, the refusing ones first.
    """

    default_code = "DP400"

    def __init__(
        self,
        message: str,
        *,
        findings: tuple[Finding, ...] = (),
        code: str | None = None,
        found: str = "",
        expected: str = "",
        where: str = "",
        next_step: str = "",
    ) -> None:
        super().__init__(message, code=code, found=found, expected=expected, where=where, next_step=next_step)
        self.findings = findings


class SandboxError(ConverterError):
    """The confined worker could not be confined, was killed, or answered nonsense."""

    default_code = "DP500"


class EnvironmentMissingError(SandboxError):
    """No interpreter with the library versions that wrote the file; `next_step` is the command that adds one."""

    default_code = "DP520"


class UnsupportedModelError(ConverterError):
    """The model holds something that cannot be read or emitted exactly."""

    default_code = "DP600"


class ParityError(ConverterError):
    """The new model does not answer as the old one did; nothing was published."""

    default_code = "DP700"


class PublishError(ConverterError):
    """The store could not be written; the old release still stands."""

    default_code = "DP800"
