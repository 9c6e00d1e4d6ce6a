# SPDX-License-Identifier: Apache-2.0
"""Every refusal is a `SecurityError` that says what was found, what was expected, where, and what to do next.

One class per decision that a caller makes; one stable code per distinct failure. Codes are grouped:

* ``DP1xx`` verification of a store, a release or an artefact
* ``DP2xx`` features, prediction and the caller's contract with a model
* ``DP3xx`` the ONNX gate
* ``DP4xx`` the pickle and skops gates (converter)
* ``DP5xx`` the sandbox and its environments (converter)
* ``DP6xx`` models that cannot be read or emitted (converter)
* ``DP7xx`` parity (converter)
* ``DP8xx`` migration and publishing
* ``DP9xx`` configuration and usage
"""

from __future__ import annotations

__all__ = [
    "AuditError",
    "ConfigurationError",
    "DigestMismatchError",
    "ExpiredError",
    "FeatureError",
    "MetadataError",
    "ModelContractError",
    "NotAllowedError",
    "OnnxRefusedError",
    "ReleaseError",
    "RevokedError",
    "RollbackError",
    "SecurityError",
    "SignatureError",
    "StoreError",
    "UnsafeModelError",
    "VerificationError",
]

_DOCS = "docs/errors.md"


class SecurityError(Exception):
    """Root of every refusal of depickle, the converter's included.

    Attributes:
        code: stable identifier of the failure, ``DP`` and three digits.
        message: one sentence; begins with the guide's sentence where the guide has one.
        found: what was there.
        expected: what should have been there.
        where: file, field or step.
        next_step: the next command or action.
    """

    default_code = "DP100"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        found: str = "",
        expected: str = "",
        where: str = "",
        next_step: str = "",
    ) -> None:
        self.code = code or self.default_code
        self.message = message
        self.found = found
        self.expected = expected
        self.where = where
        self.next_step = next_step
        super().__init__(self._one_line())

    def _one_line(self) -> str:
        parts = [self.message]
        if self.where:
            parts.append(f"in {self.where}")
        if self.found:
            parts.append(f"found {self.found}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        return ", ".join(parts) + f" [{self.code}]"

    def diagnostics(self) -> str:
        """The refusal as several lines for a terminal: error, where, found, expected, hint, docs."""
        lines = [f"error[{self.code}]: {self.message}"]
        for label, text in (
            ("where", self.where),
            ("found", self.found),
            ("expected", self.expected),
            ("hint", self.next_step),
        ):
            if text:
                lines.append(f"  {label}: {text}")
        lines.append(f"  docs: {_DOCS}#{self.code.lower()}")
        return "\n".join(lines)


class ConfigurationError(SecurityError):
    """An environment variable, a key, a policy or an argument cannot be used as given."""

    default_code = "DP900"


class VerificationError(SecurityError):
    """Something in a store did not verify; nothing was loaded."""


class StoreError(VerificationError):
    """A file of the store is absent, not a regular file, a link, or cannot be read."""


class ReleaseError(VerificationError):
    """The signed index of the store is absent, malformed or of another store; no new loads."""


class SignatureError(VerificationError):
    """A signature is absent or does not verify under a trusted key."""


class RollbackError(VerificationError):
    """An older release, or a different one under a serial already seen."""


class ExpiredError(VerificationError):
    """The release is past its expiry; what runs goes on, nothing new loads."""


class MetadataError(VerificationError):
    """A metadata file or a conversion record is absent, malformed or not the signed one."""


class DigestMismatchError(VerificationError):
    """The bytes of an artefact are not the ones that were signed."""


class NotAllowedError(VerificationError):
    """The operator's whitelist, or the admitted tiers, do not admit this artefact."""


class RevokedError(VerificationError):
    """The artefact was revoked by this release or by an earlier one."""


class OnnxRefusedError(VerificationError):
    """An ONNX file broke a static rule; no session was made of it."""

    default_code = "DP300"


class UnsafeModelError(SecurityError):
    """A file that can execute code, or that this distribution cannot open, was offered for loading."""


class ModelContractError(SecurityError):
    """What was asked of a model is not what it was converted for (columns, dtype, classes, method)."""

    default_code = "DP220"


class FeatureError(SecurityError):
    """A feature is missing, not finite or short of its warm-up."""

    default_code = "DP200"


class AuditError(SecurityError):
    """The audit log is broken or cannot be written."""

    default_code = "DP160"
