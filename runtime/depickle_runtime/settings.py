# SPDX-License-Identifier: Apache-2.0
"""The environment variables, parsed strictly: an unknown value is an error, never a default.

| variable | meaning | default |
|---|---|---|
| `MODEL_SECRET_KEY` | secret of the metadata and release HMAC | none |
| `ML_TRUST_POLICY` | policy file | none |
| `ML_MODELS_DIR` | the store | `models` |
| `ML_STATE_DIR` | floor and revocations seen | the caller's |
| `ML_AUDIT_LOG` | audit log file | in the state folder |
| `ML_VERIFY_CHECKSUMS`, `ML_VERIFY_SIGNATURES` | `true` or `false` | `true` |
| `ML_ALLOW_INSECURE` | `1` admits a check that is turned off | `0` |
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigurationError

__all__ = ["Settings", "admit_insecure", "default_state_dir", "read_settings"]

_logger = logging.getLogger(__name__)

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """The variables other than the secret and the policy, which `trust.configure_trust` reads."""

    models_dir: Path
    state_dir: Path | None
    audit_log: Path | None
    verify_checksums: bool
    verify_signatures: bool
    allow_insecure: bool


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Parse the variables.

    Args:
        environ: the environment; `os.environ` where None.

    Raises:
        ConfigurationError: DP910, a variable has a value that is none of its values; DP911, a check is
            turned off and `ML_ALLOW_INSECURE` is not 1.

    Returns:
        The settings.
    """
    variables = os.environ if environ is None else environ
    settings = Settings(
        models_dir=_path(variables, "ML_MODELS_DIR") or Path("models"),
        state_dir=_path(variables, "ML_STATE_DIR"),
        audit_log=_path(variables, "ML_AUDIT_LOG"),
        verify_checksums=_boolean(variables, "ML_VERIFY_CHECKSUMS", default=True),
        verify_signatures=_boolean(variables, "ML_VERIFY_SIGNATURES", default=True),
        allow_insecure=_boolean(variables, "ML_ALLOW_INSECURE", default=False),
    )
    if not settings.verify_checksums:
        admit_insecure("checksum verification", variables)
    if not settings.verify_signatures:
        admit_insecure("signature verification", variables)
    return settings


def admit_insecure(check: str, environ: Mapping[str, str] | None = None) -> None:
    """Let a check be turned off, loudly, only where the operator admitted it.

    Args:
        check: what is turned off, for the log and the error.
        environ: the environment; `os.environ` where None.

    Raises:
        ConfigurationError: DP911, `ML_ALLOW_INSECURE` is not 1; DP910, it has another value.
    """
    variables = os.environ if environ is None else environ
    if not _boolean(variables, "ML_ALLOW_INSECURE", default=False):
        raise ConfigurationError(
            f"Turning off {check} is not admitted",
            code="DP911",
            found="ML_ALLOW_INSECURE unset or 0",
            expected="ML_ALLOW_INSECURE=1, which is logged and audited",
            next_step=f"leave {check} on",
        )
    _logger.warning("INSECURE: %s is turned off (ML_ALLOW_INSECURE=1)", check)


def default_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where state lives when nobody says: `$XDG_STATE_HOME/depickle`, else `~/.local/state/depickle`.

    Raises:
        ConfigurationError: DP912, the process has no home folder.
    """
    variables = os.environ if environ is None else environ
    base = variables.get("XDG_STATE_HOME", "")
    if base and Path(base).is_absolute():  # the XDG specification: relative paths are to be ignored
        return Path(base) / "depickle"
    try:
        return Path.home() / ".local" / "state" / "depickle"
    except RuntimeError:
        raise ConfigurationError(
            "There is no folder for the runtime's state", code="DP912", next_step="set ML_STATE_DIR"
        ) from None


def _boolean(variables: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = variables.get(name)
    if text is None:
        return default
    value = _BOOLEANS.get(text.strip().lower())
    if value is None:
        raise ConfigurationError(
            "An environment variable has a value that it cannot have",
            code="DP910",
            found=ascii(text)[:40],
            expected="true or false",
            where=name,
            next_step=f"unset {name}, or set it to true or false",
        )
    return value


def _path(variables: Mapping[str, str], name: str) -> Path | None:
    text = variables.get(name)
    if text is None:
        return None
    if not text or "\0" in text:
        raise ConfigurationError(
            "An environment variable has a value that it cannot have",
            code="DP910",
            found="no path",
            expected="a path",
            where=name,
            next_step=f"unset {name}, or set it to a path",
        )
    return Path(text)
