# SPDX-License-Identifier: Apache-2.0
"""Signs releases: with a private key, with the guide's secret, or with both.

Rules:

* private keys are ECDSA P-256 or Ed25519 in PEM, unencrypted, and readable by their owner alone
* a signer signs the DSSE encoding of a payload, never anything else
* key material reaches no message, no log and no `repr`
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from depickle_runtime.errors import ConfigurationError
from depickle_runtime.release import encode_envelope, pae
from depickle_runtime.trust import Secret, load_public_key, parse_secret

__all__ = ["Signer", "configure_signer", "load_private_key"]

MAX_KEY_BYTES = 64 * 1024
_ADVICE = "depickle keys new --owner NAME"

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey


def _unusable(found: str, where: str, *, code: str = "DP914", next_step: str = _ADVICE) -> ConfigurationError:
    return ConfigurationError(
        "The signing key cannot be used",
        code=code,
        found=found,
        expected="an unencrypted ECDSA P-256 or Ed25519 private key in PEM, readable by its owner alone",
        where=where,
        next_step=next_step,
    )


class Signer:
    """Signs releases.

    Args:
        key: private key, or None.
        secret: the guide's secret, or None. Where both are set, both sign.

    Raises:
        ConfigurationError: DP915, neither is given.
    """

    def __init__(self, *, key: PrivateKey | None, secret: Secret | None) -> None:
        if key is None and secret is None:
            raise ConfigurationError(
                "Nothing to sign with",
                code="DP915",
                found="neither a signing key nor a secret",
                expected="ML_SIGNING_KEY, or MODEL_SECRET_KEY",
                next_step=f"{_ADVICE}, then set ML_SIGNING_KEY to the file it wrote",
            )
        self._key = key
        self.secret = secret
        self.keyid: str | None = None
        if key is not None:
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            self.keyid = str(load_public_key(pem.decode("ascii"), where="signing key").keyid)

    def __repr__(self) -> str:
        return f"<Signer {self.keyid or 'MODEL_SECRET_KEY'}>"

    def sign(self, payload: bytes) -> bytes:
        """Sign a canonical release payload.

        Args:
            payload: what `encode_release` gave.

        Returns:
            The file `release.json`.
        """
        text = pae(payload)
        signatures: dict[str, bytes] = {}
        if self.keyid is not None:
            if isinstance(self._key, EllipticCurvePrivateKey):
                signatures[self.keyid] = self._key.sign(text, ECDSA(SHA256()))
            elif self._key is not None:
                signatures[self.keyid] = self._key.sign(text)
        if self.secret is not None:
            signatures[self.secret.keyid] = self.secret.release_hmac(text)
        return encode_envelope(payload, signatures)


def load_private_key(path: Path) -> PrivateKey:
    """Load a signing key.

    Args:
        path: PEM file.

    Raises:
        ConfigurationError: DP914, it is no such key or cannot be read; DP916, others may read it.

    Returns:
        The key.
    """
    where = str(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise _unusable("no regular file", where)
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise _unusable(
                    f"mode {stat.S_IMODE(status.st_mode):04o}",
                    where,
                    code="DP916",
                    next_step=f"chmod 600 {path}",
                )
            data = os.read(fd, MAX_KEY_BYTES)
        finally:
            os.close(fd)
    except (OSError, ValueError) as fault:
        detail = fault.strerror if isinstance(fault, OSError) else None
        raise _unusable(detail or "no path", where) from None
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unusable("no private key that can be read, or an encrypted one", where) from None
    if isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, SECP256R1):
        raise _unusable(f"the curve {key.curve.name}", where)
    if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise _unusable(type(key).__name__.lstrip("_"), where)
    return key


def configure_signer(
    *,
    signing_key: Path | None = None,
    secret_key: str | bytes | None = None,
    environ: Mapping[str, str] | None = None,
) -> Signer:
    """A signer from arguments, else from `ML_SIGNING_KEY` and `MODEL_SECRET_KEY`.

    Args:
        signing_key: PEM file; `ML_SIGNING_KEY` where None.
        secret_key: the secret; `MODEL_SECRET_KEY` where None.
        environ: the environment; the process's where None.

    Raises:
        ConfigurationError: DP915, neither is given; DP914 or DP916, the key cannot be used; DP902 or DP903,
            the secret cannot be.

    Returns:
        The signer.
    """
    variables = os.environ if environ is None else environ
    if signing_key is None and "ML_SIGNING_KEY" in variables:
        if not variables["ML_SIGNING_KEY"]:
            raise _unusable("an empty path", "ML_SIGNING_KEY")
        signing_key = Path(variables["ML_SIGNING_KEY"])
    secret: Secret | None = None
    if secret_key is not None:
        secret = parse_secret(secret_key, where="secret_key=")
    elif "MODEL_SECRET_KEY" in variables:
        secret = parse_secret(variables["MODEL_SECRET_KEY"], where="MODEL_SECRET_KEY")
    return Signer(key=None if signing_key is None else load_private_key(signing_key), secret=secret)
